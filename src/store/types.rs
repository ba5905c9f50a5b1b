use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::delivery::breaker::{Breaker, News, Verdict};
use crate::delivery::{Attempt, CancelReason, DeadReason, Rate};
use crate::event::{Event, EventType};
use crate::id::{DeliveryId, PolicyId, ProjectId, TargetId};
use crate::policy::{PolicyTarget, Target, TargetType};

/// Where a target's deliveries go now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Resolved {
    /// Send them there.
    Send(Arc<Target>),
    /// Keep them: the lane closes and no attempt is counted.
    Hold(Hold),
    /// The target or its policy was deleted: they are cancelled.
    Gone,
}

/// Why a lane is closed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Hold {
    /// Webhooks are switched off.
    SwitchedOff,
    /// The policy is disabled.
    Disabled,
    /// The secrets of the target are [sealed](super::Sealed), and cannot be opened with the keys that are there.
    Sealed,
    /// The receiver asked for a pause with `Retry-After`, or its answer calls for one.
    RetryAfter,
    /// The receiver failed too often in a row: it is tried again when the pause is over.
    CircuitOpen,
    /// The target was given up: it stays closed until somebody opens it.
    TargetDisabled,
    /// A node has as many deliveries of the project in hand as it may, and the store did not leave them out of a claim
    /// ([`claim_beside`](super::DeliveryStore::claim_beside)).
    ProjectBusy,
    /// Receivers that do not answer take most of a node's room, and this one has not answered since.
    Crowded,
}

impl Hold {
    /// All reasons.
    pub const ALL: [Self; 8] = [
        Self::SwitchedOff,
        Self::Disabled,
        Self::Sealed,
        Self::RetryAfter,
        Self::CircuitOpen,
        Self::TargetDisabled,
        Self::ProjectBusy,
        Self::Crowded,
    ];

    /// The reason's stable name, as stores keep it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SwitchedOff => "switched_off",
            Self::Disabled => "disabled",
            Self::Sealed => "sealed",
            Self::RetryAfter => "retry_after",
            Self::CircuitOpen => "circuit_open",
            Self::TargetDisabled => "target_disabled",
            Self::ProjectBusy => "project_busy",
            Self::Crowded => "crowded",
        }
    }

    /// The reason of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hold| hold.as_str() == name)
    }

    /// Whether failures that come in while a lane is closed for this reason count as late
    /// ([`Before::closed`](crate::delivery::breaker::Before::closed)). That a project or a node is busy says nothing of
    /// the target.
    pub const fn makes_late(self) -> bool {
        !matches!(self, Self::ProjectBusy | Self::Crowded)
    }
}

/// Which policies.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum PolicyFilter {
    /// All of them.
    All,
    /// Those of one project.
    Project(ProjectId),
    /// This one.
    Id(PolicyId),
}

/// What became of an appended event.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[allow(clippy::exhaustive_enums)] // A third answer would change the contract.
pub enum Appended {
    /// It is in the outbox.
    Inserted,
    /// An event of this id was appended before; this one changed nothing.
    Duplicate,
}

/// The right to settle one claimed thing, until it runs out or is given to somebody else.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct Lease {
    /// What is leased: a row of the outbox, or a delivery.
    pub key: i64,
    /// Different for every lease of the same thing.
    pub token: i64,
}

impl Lease {
    /// For stores: a lease on the thing numbered `key`.
    pub const fn new(key: i64, token: i64) -> Self {
        Self { key, token }
    }
}

/// After so many bytes of events a claim of this crate's stores ends.
pub(super) const CLAIMED_BYTES: usize = 16 * 1024 * 1024;

/// An event to fan out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClaimedEvent {
    /// Goes back with [`fan_out`](super::DeliveryStore::fan_out).
    pub lease: Lease,
    /// The event, or why its row cannot be read.
    pub event: Result<Event, String>,
}

impl ClaimedEvent {
    /// For stores.
    pub fn new(lease: Lease, event: Result<Event, String>) -> Self {
        Self { lease, event }
    }
}

/// A part of an event's deliveries.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FanOut {
    /// The bodies that the deliveries of this part send; one that exists is left as it is.
    pub bodies: Vec<Body>,
    /// The deliveries.
    pub deliveries: Vec<NewDelivery>,
    /// Whether this is the last part.
    pub last: bool,
    /// Sets the event aside as unreadable, with this reason, instead of taking it out of the outbox.
    pub set_aside: Option<String>,
}

/// A rendered event.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Body {
    /// The CloudEvents `id` and the `webhook-id` header.
    pub id: Uuid,
    /// The name of the format that wrote it.
    pub format: Arc<str>,
    /// The `Content-Type` header.
    pub content_type: Arc<str>,
    /// What is sent.
    pub bytes: Bytes,
}

impl Body {
    /// A body with its `Content-Type`.
    pub fn new(id: Uuid, format: impl Into<Arc<str>>, content_type: impl Into<Arc<str>>, bytes: Bytes) -> Self {
        Self { id, format: format.into(), content_type: content_type.into(), bytes }
    }
}

/// A delivery to add.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NewDelivery {
    /// The endpoint.
    pub target_id: TargetId,
    /// Its policy.
    pub policy_id: PolicyId,
    /// Its kind.
    pub target_type: TargetType,
    /// The id of the body it sends, or why there is none.
    pub body: Result<Uuid, String>,
    /// The limits of the target's lane.
    pub lane: LaneLimits,
    /// Whether it is stored parked, as its project has no room for it.
    pub parked: bool,
}

impl NewDelivery {
    /// A delivery of `body` to a target.
    pub fn new(policy_id: PolicyId, target: &PolicyTarget, body: Result<Uuid, String>, lane: LaneLimits) -> Self {
        Self { target_id: target.id, policy_id, target_type: target.target.target_type, body, lane, parked: false }
    }
}

/// How much of the store and of the sender one lane may use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LaneLimits {
    /// Deliveries that are due, leased or parked.
    pub max_waiting: u32,
    /// Deliveries in flight.
    pub max_in_flight: u32,
    /// Deliveries claimed in a time.
    pub rate: Rate,
}

impl LaneLimits {
    /// These limits, each at least one, and no limit to the rate.
    pub fn new(max_waiting: u32, max_in_flight: u32) -> Self {
        Self { max_waiting: max_waiting.max(1), max_in_flight: max_in_flight.max(1), rate: Rate::UNLIMITED }
    }

    /// Limits the rate.
    #[must_use]
    pub const fn rate(mut self, rate: Rate) -> Self {
        self.rate = rate;
        self
    }
}

/// A delivery to attempt.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Claimed {
    /// Goes back with the [`Settlement`].
    pub lease: Lease,
    /// The delivery.
    pub id: DeliveryId,
    /// The event it carries.
    pub event_id: Uuid,
    /// The event's type.
    pub event_type: EventType,
    /// The project.
    pub project_id: ProjectId,
    /// The policy.
    pub policy_id: PolicyId,
    /// The endpoint.
    pub target_id: TargetId,
    /// What to send.
    pub body: Body,
    /// Attempts made since the delivery was made or last redelivered.
    pub attempts: u32,
    /// Time since the delivery was made or last redelivered.
    pub age: Duration,
}

impl Claimed {
    /// For stores: the first claim of a new delivery. Set `attempts` and `age` for a later one.
    pub fn new(
        lease: Lease,
        event_id: Uuid,
        event_type: EventType,
        at: (ProjectId, PolicyId, TargetId),
        body: Body,
    ) -> Self {
        let (project_id, policy_id, target_id) = at;
        Self {
            lease,
            id: DeliveryId(lease.key),
            event_id,
            event_type,
            project_id,
            policy_id,
            target_id,
            body,
            attempts: 0,
            age: Duration::ZERO,
        }
    }
}

/// What came of a claimed delivery.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settlement {
    /// From the claim.
    pub lease: Lease,
    /// The attempt, if one was made. It is numbered behind those that are kept.
    pub attempt: Option<Attempt>,
    /// What the delivery becomes.
    pub next: Next,
    /// Closes the lane for so long from now, unless it is closed for longer already.
    pub close_lane: Option<(Duration, Hold)>,
    /// What the attempt says about the target, and what follows from that for its lane.
    pub verdict: Option<(Verdict, Breaker)>,
}

impl Settlement {
    /// A settlement without an attempt.
    pub fn new(lease: Lease, next: Next) -> Self {
        Self { lease, attempt: None, next, close_lane: None, verdict: None }
    }

    /// Adds the attempt that was made.
    #[must_use]
    pub fn attempt(mut self, attempt: Attempt) -> Self {
        self.attempt = Some(attempt);
        self
    }

    /// Closes the lane.
    #[must_use]
    pub fn close_lane(mut self, time: Duration, why: Hold) -> Self {
        self.close_lane = Some((time, why));
        self
    }

    /// Says what the attempt means for the target's lane.
    #[must_use]
    pub fn verdict(mut self, verdict: Verdict, breaker: Breaker) -> Self {
        self.verdict = Some((verdict, breaker));
        self
    }
}

/// What a claimed delivery becomes.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Next {
    /// Taken by the receiver.
    Delivered,
    /// Due again after this time.
    Retry(Duration),
    /// Due again after this time, as if it had not been claimed.
    Release(Duration),
    /// Given up, with a reason and more words for people.
    Dead(DeadReason, Option<String>),
    /// No longer wanted.
    Cancelled(CancelReason),
}

/// Whether a lease was still good.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[allow(clippy::exhaustive_enums)] // A third answer would change the contract.
pub enum Fenced {
    /// It was; the change is written.
    Done,
    /// It was not; nothing changed.
    Stale,
}

/// What became of a settlement.
///
/// It compares with a [`Fenced`] as its first half does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Settled {
    /// Whether it was written.
    pub fenced: Fenced,
    /// What it changed for the target.
    pub news: Option<(TargetId, News)>,
}

impl Settled {
    /// For stores: its lease was stale.
    pub const STALE: Self = Self { fenced: Fenced::Stale, news: None };

    /// For stores: it was written.
    pub const fn done(news: Option<(TargetId, News)>) -> Self {
        Self { fenced: Fenced::Done, news }
    }
}

impl PartialEq<Fenced> for Settled {
    fn eq(&self, fenced: &Fenced) -> bool {
        self.fenced == *fenced
    }
}
