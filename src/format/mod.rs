//! How an event becomes a request body.
//!
//! Three formats are built in: Default, CloudEvents and
//! Slack. A host adds its own by implementing [`Format`] and registering it with the builder.

use std::fmt;

use uuid::Uuid;

use crate::event::Event;
use crate::id::PolicyId;

/// How far one rendered body is shared.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Scope {
    /// All policies send the same bytes: rendered once per event.
    Event,
    /// The body names its policy: rendered once per event and policy.
    Policy,
}

/// A way to write an event as the body of a request.
///
/// # Contract
///
/// The bytes depend on the event and the context only: they are rendered once, stored, and sent unchanged on every
/// attempt. A format that fails or panics makes that delivery dead with the reason `format`; no other delivery is
/// touched.
pub trait Format: fmt::Debug + Send + Sync + 'static {
    /// The name that a target's `payload_format` selects it by, for example `CloudEvents`.
    fn name(&self) -> &str;

    /// The `Content-Type` of the body.
    fn content_type(&self) -> &str;

    /// How far one body is shared. The default is the safe choice: one body per policy.
    fn scope(&self) -> Scope {
        Scope::Policy
    }

    /// Appends the body to `out`.
    fn render(&self, event: &Event, cx: &RenderContext, out: &mut Vec<u8>) -> Result<(), FormatError>;
}

/// What a format may use besides the event.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RenderContext {
    /// The body's id: the CloudEvents `id` and the `webhook-id` header. Equal for every attempt.
    pub body_id: Uuid,
    /// The policy the body is for; `None` under [`Scope::Event`].
    pub policy_id: Option<PolicyId>,
}

/// Why a format could not write an event.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FormatError(String);

impl FormatError {
    /// `reason` is kept with the dead delivery and shown in its history.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}
