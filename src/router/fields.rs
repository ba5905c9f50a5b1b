use crate::error::{Error, ErrorKind, Result};
use crate::policy::HarborPolicy;

/// Beginnings of messages about a policy, and the member that each is about.
const OF_POLICY: [(&str, &str); 6] = [
    ("description: ", "description"),
    ("name: ", "name"),
    ("notification policy named ", "name"),
    ("empty event type", "event_types"),
    ("unsupported event type ", "event_types"),
    ("empty notification target ", "targets"),
];

/// The same of a target.
const OF_TARGET: [(&str, &str); 8] = [
    ("empty URL", "address"),
    ("invalid scheme: ", "address"),
    ("address: ", "address"),
    ("unsupported target type ", "type"),
    ("set payload format ", "payload_format"),
    ("unsupported payload format ", "payload_format"),
    ("auth_header: ", "auth_header"),
    ("skip_cert_verify: ", "skip_cert_verify"),
];

/// Which input an error is about, for a form to show it beside: `name`, `targets[0].address`. Harbor's messages do not say it.
///
/// `check` says what is wrong with a policy: each target is tried alone, and the first one that is refused for the same is meant.
pub(super) fn field_of(
    error: &Error,
    sent: &HarborPolicy,
    check: impl Fn(HarborPolicy) -> Result<()>,
) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Conflict) {
        return None;
    }
    let message = error.to_string();
    // Some say it themselves.
    if let Some((field, _)) = message.split_once(": ").filter(|_| message.starts_with("targets[")) {
        return Some(field.to_owned());
    }
    let find = |of: &[(&str, &'static str)]| of.iter().find(|(start, _)| message.starts_with(start)).map(|of| of.1);
    if let Some(field) = find(&OF_POLICY) {
        return Some(field.to_owned());
    }
    let field = find(&OF_TARGET)?;
    let alone = |n: usize| HarborPolicy { targets: vec![sent.targets[n].clone()], ..sent.clone() };
    let is_meant = |n: &usize| check(alone(*n)).is_err_and(|error| error.to_string() == message);
    // What depends on the stored policy cannot be found like that; of a single target it is clear.
    let only = Some(0).filter(|_| sent.targets.len() == 1);
    (0..sent.targets.len()).find(is_meant).or(only).map(|n| format!("targets[{n}].{field}"))
}
