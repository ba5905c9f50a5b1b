//! A project's webhook configuration: which events go where, and how they are written.
//!
//! A host (or a person) writes a [`PolicyDraft`]; the policy store numbers it and keeps it as a [`Policy`]. Each of its
//! [`Target`]s is one endpoint with its own queue, format and credentials.

mod check;
mod following;
mod harbor;
mod mask;
mod matching;
mod options;
pub(crate) mod pairing;
mod target;
mod tls;

use chrono::{DateTime, Utc};

pub use harbor::{HarborPolicy, HarborTarget};
pub(crate) use mask::address as masked_address;
pub use matching::{Match, PolicyIndex};
pub use options::TargetOptions;
pub use target::{Address, AuthHeader, Target, TargetType};
pub use tls::{CaBundle, ClientIdentity};

use crate::event::EventType;
use crate::id::{PolicyId, ProjectId, TargetId};

/// A stored policy.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Policy {
    /// Given by the store.
    pub id: PolicyId,
    /// The project it belongs to.
    pub project_id: ProjectId,
    /// Unique within the project; may be empty, as in Harbor.
    pub name: String,
    /// Free text.
    pub description: String,
    /// The endpoints, at least one.
    pub targets: Vec<PolicyTarget>,
    /// The subscribed event types, at least one, each once.
    pub event_types: Vec<EventType>,
    /// Who made it.
    pub creator: String,
    /// When it was made.
    pub creation_time: DateTime<Utc>,
    /// When it was last changed.
    pub update_time: DateTime<Utc>,
    /// Whether events are sent.
    pub enabled: bool,
}

/// A target within a stored policy.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PolicyTarget {
    /// Kept across updates of the policy, so that waiting deliveries follow their target.
    pub id: TargetId,
    /// Where and how to send.
    pub target: Target,
}

impl Policy {
    /// For stores: the policy that a draft becomes. `ids` are those of its targets, in their order and as many;
    /// [`pair_targets`](crate::store::pair_targets) says which targets of a replaced policy keep theirs.
    pub fn new(
        id: PolicyId,
        project_id: ProjectId,
        draft: PolicyDraft,
        ids: impl IntoIterator<Item = TargetId>,
        made: DateTime<Utc>,
    ) -> Self {
        let targets = std::iter::zip(ids, draft.targets).map(|(id, target)| PolicyTarget { id, target }).collect();
        Self {
            id,
            project_id,
            name: draft.name,
            description: draft.description,
            targets,
            event_types: draft.event_types,
            creator: draft.creator,
            creation_time: made,
            update_time: made,
            enabled: draft.enabled,
        }
    }
}

impl PolicyTarget {
    /// For stores: a target with its number.
    pub const fn new(id: TargetId, target: Target) -> Self {
        Self { id, target }
    }
}

/// A policy as its author writes it: to be created, or to replace an existing one.
///
/// ```
/// use harbor_webhook::policy::{PolicyDraft, Target};
/// use harbor_webhook::EventType;
///
/// let ci = Target::http("https://ci.example.com/hook")?.auth_header("Bearer s3cret")?;
/// let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(ci);
/// assert!(draft.enabled);
/// # Ok::<(), harbor_webhook::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PolicyDraft {
    /// Unique within the project; at most 256 characters.
    pub name: String,
    /// Free text.
    pub description: String,
    /// The endpoints.
    pub targets: Vec<Target>,
    /// The event types to subscribe to.
    pub event_types: Vec<EventType>,
    /// Who made it.
    pub creator: String,
    /// Whether events are sent. A new draft is enabled.
    pub enabled: bool,
}

impl PolicyDraft {
    /// An enabled policy of this name, without events and targets yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            targets: Vec::new(),
            event_types: Vec::new(),
            creator: String::new(),
            enabled: true,
        }
    }

    /// Subscribes to an event type; twice is once.
    #[must_use]
    pub fn on(mut self, event_type: EventType) -> Self {
        if !self.event_types.contains(&event_type) {
            self.event_types.push(event_type);
        }
        self
    }

    /// Subscribes to several event types.
    #[must_use]
    pub fn on_all(self, event_types: impl IntoIterator<Item = EventType>) -> Self {
        event_types.into_iter().fold(self, Self::on)
    }

    /// Adds an endpoint.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    /// Sets the description.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// Sets who made the policy.
    #[must_use]
    pub fn creator(mut self, name: impl Into<String>) -> Self {
        self.creator = name.into();
        self
    }

    /// Sets whether events are sent.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }
}
