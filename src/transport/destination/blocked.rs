use std::borrow::Cow;
use std::fmt;

/// An address that a [`DestinationPolicy`](super::DestinationPolicy) forbids, with the rule and the line that would allow it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{what} {rule}; {remedy}")]
pub struct Blocked {
    what: String,
    rule: Cow<'static, str>,
    remedy: String,
    for_now: bool,
}

impl Blocked {
    /// `call` is the line, without its dot.
    pub(super) fn allow_with(what: impl fmt::Display, rule: impl Into<Cow<'static, str>>, call: &str) -> Self {
        Self { what: what.to_string(), rule: rule.into(), remedy: format!("allow it with .{call}"), for_now: false }
    }

    /// Refused by something that was configured: `call` is that line.
    pub(super) fn denied_with(what: impl fmt::Display, rule: &'static str, call: &str) -> Self {
        Self {
            what: what.to_string(),
            rule: rule.into(),
            remedy: format!("denied with .{call}, which wins over the rest"),
            for_now: false,
        }
    }

    /// Refused because it cannot be told now whether it is allowed.
    pub(super) fn for_now(what: impl fmt::Display, rule: &'static str) -> Self {
        let remedy = "this process has too many open files to find out".to_owned();
        Self { what: what.to_string(), rule: rule.into(), remedy, for_now: true }
    }

    /// Whether it may be allowed in a moment: this machine had no socket to find out. A transport then fails with
    /// [`FailureKind::Connect`](crate::delivery::FailureKind::Connect), as [`Blocked`](crate::delivery::FailureKind::Blocked) is
    /// final.
    pub fn is_for_now(&self) -> bool {
        self.for_now
    }
}
