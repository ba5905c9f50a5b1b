//! How an event becomes a request body.
//!
//! Three formats are built in: [`Default`](DefaultFormat), [`CloudEvents`](CloudEventsFormat) and
//! [`Slack`](SlackFormat). A host adds its own by implementing [`Format`] and registering it with the builder.

mod cloudevents;
mod default;
mod json;
#[cfg(feature = "cloudevents")]
pub mod sdk;
mod slack;
mod time;

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

pub use cloudevents::CloudEventsFormat;
pub use default::DefaultFormat;
pub use slack::SlackFormat;

use crate::error::{Error, ErrorKind, Result};
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
    ///
    /// # Errors
    ///
    /// Whatever makes it impossible; the text is kept with the dead delivery.
    fn render(&self, event: &Event, cx: &RenderContext, out: &mut Vec<u8>) -> Result<(), FormatError>;

    /// Appends the body of the same event for another policy. `known` is what [`render`](Self::render) has written for the
    /// first one.
    ///
    /// Worth implementing where much of the body is the same for all policies: the default renders anew.
    ///
    /// # Errors
    ///
    /// As for [`render`](Self::render).
    fn render_again(
        &self,
        event: &Event,
        cx: &RenderContext,
        known: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        let _ = known;
        self.render(event, cx, out)
    }
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

impl RenderContext {
    /// The context of rendering this event in this format for this policy.
    ///
    /// The body's id is a UUID of version 5: in the namespace `5e0c1ffa-9b0f-4d1c-8f0e-2a6d3c6a7f10`, of the event id's 16
    /// bytes, the format's name, and, if the format's scope is the policy, the policy id's 8 bytes (big-endian).
    pub fn new(event: &Event, format: &dyn Format, policy: PolicyId) -> Self {
        const BODY: Uuid = Uuid::from_u128(0x5e0c_1ffa_9b0f_4d1c_8f0e_2a6d_3c6a_7f10);
        let policy_id = match format.scope() {
            Scope::Event => None,
            Scope::Policy => Some(policy),
        };
        let policy_bytes = policy.0.to_be_bytes();
        let policy_bytes: &[u8] = if policy_id.is_some() { &policy_bytes } else { &[] };
        let parts = [event.id.as_bytes(), format.name().as_bytes(), policy_bytes];
        Self { body_id: uuid_of(&BODY, parts), policy_id }
    }

    /// A context with a given id, for receivers and tests.
    pub fn with_id(body_id: Uuid, policy_id: Option<PolicyId>) -> Self {
        Self { body_id, policy_id }
    }
}

/// A UUID of version 5 of the parts together.
fn uuid_of(namespace: &Uuid, parts: [&[u8]; 3]) -> Uuid {
    // Names of formats are short, so there is seldom need of an allocation.
    let mut name = [0; 64];
    let mut left = &mut name[..];
    let fits = parts.iter().all(|part| std::io::Write::write_all(&mut left, part).is_ok());
    let unused = left.len();
    if fits { Uuid::new_v5(namespace, &name[..64 - unused]) } else { Uuid::new_v5(namespace, &parts.concat()) }
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

/// Formats by name: the three built-in ones and the host's.
#[derive(Clone, Debug)]
pub struct Formats(Vec<Arc<dyn Format>>);

impl Default for Formats {
    fn default() -> Self {
        Self(vec![Arc::new(DefaultFormat), Arc::new(CloudEventsFormat), Arc::new(SlackFormat::default())])
    }
}

impl Formats {
    /// Adds a format.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if its name is empty; [`Conflict`](ErrorKind::Conflict) if the name is taken.
    pub fn register(&mut self, format: Arc<dyn Format>) -> Result<()> {
        let name = format.name();
        if name.is_empty() {
            return Err(Error::invalid("format", "has an empty name"));
        }
        if self.find(name).is_some() {
            return Err(Error::new(ErrorKind::Conflict, format!("a format of the name {name} is registered already")));
        }
        self.0.push(format);
        Ok(())
    }

    /// The format of this name.
    pub fn find(&self, name: &str) -> Option<&Arc<dyn Format>> {
        self.0.iter().find(|format| format.name() == name)
    }

    /// All names, the built-in ones first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|format| format.name())
    }
}
