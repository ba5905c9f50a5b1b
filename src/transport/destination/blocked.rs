use std::borrow::Cow;
use std::fmt;

/// An address that a [`DestinationPolicy`](super::DestinationPolicy) forbids, with the rule and the line that would allow it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{what} {rule}; {remedy}")]
pub struct Blocked {
    what: String,
    rule: Cow<'static, str>,
    remedy: String,
}

impl Blocked {
    /// `call` is the line, without its dot.
    pub(super) fn allow_with(what: impl fmt::Display, rule: impl Into<Cow<'static, str>>, call: &str) -> Self {
        Self { what: what.to_string(), rule: rule.into(), remedy: format!("allow it with .{call}") }
    }

    /// Refused by something that was configured: `call` is that line.
    pub(super) fn denied_with(what: impl fmt::Display, rule: &'static str, call: &str) -> Self {
        Self {
            what: what.to_string(),
            rule: rule.into(),
            remedy: format!("denied with .{call}, which wins over the rest"),
        }
    }
}
