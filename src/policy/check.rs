use super::{PolicyDraft, Target, TargetType};
use crate::error::{Error, ErrorKind, Result};

/// The longest name of a policy, in characters: the width of Harbor's column.
const MAX_NAME: usize = 256;

impl PolicyDraft {
    /// Checks the draft by Harbor's rules, with Harbor's messages; `known_format` says which formats are registered.
    ///
    /// [`Policies::create`](crate::Policies::create) does this by itself.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid). Source: Harbor 2.16, `server/v2.0/handler/webhook.go:405-447`.
    pub fn check(&self, known_format: impl Fn(&str) -> bool) -> Result<()> {
        check_name(&self.name)?;
        if self.event_types.is_empty() {
            return Err(invalid("empty event type"));
        }
        if self.targets.is_empty() {
            return Err(invalid(format!("empty notification target with policy {}", self.name)));
        }
        self.targets.iter().try_for_each(|target| check_format(target, &known_format))
    }
}

pub(super) fn check_name(name: &str) -> Result<()> {
    if name.chars().count() > MAX_NAME {
        return Err(Error::invalid("name", format_args!("is longer than {MAX_NAME} characters")));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::invalid("name", "contains a line break or control character; remove it"));
    }
    Ok(())
}

fn check_format(target: &Target, known_format: &impl Fn(&str) -> bool) -> Result<()> {
    match (target.target_type, &target.payload_format) {
        (_, None) => Ok(()),
        (TargetType::Slack, Some(_)) => Err(invalid("set payload format is not allowed for slack")),
        // The Slack format is for Slack targets: Harbor does not offer it for others.
        (TargetType::Http, Some(name)) if name != "Slack" && known_format(name) => Ok(()),
        (TargetType::Http, Some(name)) => {
            Err(invalid(format!("unsupported payload format type: {}", name.escape_debug())))
        }
    }
}

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventType;

    #[test]
    fn drafts_are_checked_with_harbors_messages() {
        let target = || Target::http("http://ci").unwrap();
        let draft = || PolicyDraft::new("ci").on(EventType::PushArtifact);
        let problem = |draft: PolicyDraft| {
            draft.check(|name| ["Default", "CloudEvents", "Slack"].contains(&name)).map_err(|e| e.to_string()).err()
        };
        let slack = Target::slack("http://slack").unwrap().payload_format("Default");
        assert_eq!(problem(PolicyDraft::new("ci")).unwrap(), "empty event type");
        assert_eq!(problem(draft()).unwrap(), "empty notification target with policy ci");
        assert_eq!(problem(draft().target(slack)).unwrap(), "set payload format is not allowed for slack");
        let xml = draft().target(target().payload_format("XML"));
        assert_eq!(problem(xml).unwrap(), "unsupported payload format type: XML");
        assert_eq!(problem(draft().target(target().payload_format("CloudEvents"))), None);
        assert!(problem(PolicyDraft::new("a\nb")).unwrap().starts_with("name: "));
        assert!(problem(PolicyDraft::new("é".repeat(257))).unwrap().starts_with("name: "));
    }
}
