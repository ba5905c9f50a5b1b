use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::delivery::breaker::{Breaker, News, Verdict};
use crate::delivery::{Attempt, CancelReason, DeadReason, Delivery, Rate, State};
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
}

impl Hold {
    /// All reasons.
    pub const ALL: [Self; 6] =
        [Self::SwitchedOff, Self::Disabled, Self::Sealed, Self::RetryAfter, Self::CircuitOpen, Self::TargetDisabled];

    /// The reason's stable name, as stores keep it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SwitchedOff => "switched_off",
            Self::Disabled => "disabled",
            Self::Sealed => "sealed",
            Self::RetryAfter => "retry_after",
            Self::CircuitOpen => "circuit_open",
            Self::TargetDisabled => "target_disabled",
        }
    }

    /// The reason of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hold| hold.as_str() == name)
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

/// A part of a listing. Listings run from the newest to the oldest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// Goes on behind this id, the last one of the page before.
    pub after: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

impl Page {
    /// The first `limit` entries.
    pub const fn first(limit: usize) -> Self {
        Self { after: None, limit }
    }

    /// The `limit` entries behind the one with this id.
    pub const fn after(id: i64, limit: usize) -> Self {
        Self { after: Some(id), limit }
    }
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
}

impl NewDelivery {
    /// A delivery of `body` to a target.
    pub fn new(policy_id: PolicyId, target: &PolicyTarget, body: Result<Uuid, String>, lane: LaneLimits) -> Self {
        Self { target_id: target.id, policy_id, target_type: target.target.target_type, body, lane }
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
    pub fn new(lease: Lease, event_id: Uuid, event_type: EventType, at: (PolicyId, TargetId), body: Body) -> Self {
        let (policy_id, target_id) = at;
        Self {
            lease,
            id: DeliveryId(lease.key),
            event_id,
            event_type,
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

/// Which deliveries: all those that every given part selects.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Filter {
    /// Only this delivery.
    pub id: Option<DeliveryId>,
    /// Only of this event.
    pub event_id: Option<Uuid>,
    /// Only of this project.
    pub project_id: Option<ProjectId>,
    /// Only of this policy.
    pub policy_id: Option<PolicyId>,
    /// Only for this target.
    pub target_id: Option<TargetId>,
    /// Only of this event type.
    pub event_type: Option<EventType>,
    /// Only in this state.
    pub state: Option<StateKind>,
    /// Only those made at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Only those made before this time.
    pub until: Option<DateTime<Utc>>,
}

impl Filter {
    /// All deliveries.
    pub fn all() -> Self {
        Self::default()
    }

    /// The deliveries of a policy.
    pub fn policy(id: PolicyId) -> Self {
        Self { policy_id: Some(id), ..Self::default() }
    }

    /// The deliveries of a project.
    pub fn project(id: ProjectId) -> Self {
        Self { project_id: Some(id), ..Self::default() }
    }

    /// The deliveries of an event.
    pub fn event(id: Uuid) -> Self {
        Self { event_id: Some(id), ..Self::default() }
    }

    /// This delivery.
    pub fn id(id: DeliveryId) -> Self {
        Self { id: Some(id), ..Self::default() }
    }

    /// Narrows to a state.
    #[must_use]
    pub fn state(mut self, state: StateKind) -> Self {
        self.state = Some(state);
        self
    }

    /// Narrows to those made at this time or later.
    #[must_use]
    pub fn since(mut self, time: DateTime<Utc>) -> Self {
        self.since = Some(time);
        self
    }

    /// Whether a delivery is selected.
    pub fn selects(&self, delivery: &Delivery) -> bool {
        self.id.is_none_or(|id| id == delivery.id)
            && self.event_id.is_none_or(|id| id == delivery.event_id)
            && self.project_id.is_none_or(|id| id == delivery.project_id)
            && self.policy_id.is_none_or(|id| id == delivery.policy_id)
            && self.target_id.is_none_or(|id| id == delivery.target_id)
            && self.event_type.is_none_or(|kind| kind == delivery.event_type)
            && self.state.is_none_or(|state| state == StateKind::of(delivery.state))
            && self.since.is_none_or(|time| delivery.created_at >= time)
            && self.until.is_none_or(|time| delivery.created_at < time)
    }
}

/// A [`State`] without its reason.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum StateKind {
    /// Waits for its next attempt.
    Due,
    /// An attempt is being made.
    Leased,
    /// Set aside by an operator.
    Parked,
    /// Taken by the receiver.
    Delivered,
    /// Given up.
    Dead,
    /// No longer wanted.
    Cancelled,
}

impl StateKind {
    /// The kind of a state.
    pub const fn of(state: State) -> Self {
        match state {
            State::Due => Self::Due,
            State::Leased => Self::Leased,
            State::Parked => Self::Parked,
            State::Delivered => Self::Delivered,
            State::Dead(_) => Self::Dead,
            State::Cancelled(_) => Self::Cancelled,
        }
    }
}

/// A change to many deliveries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// Final and parked deliveries become due now, with a fresh attempt budget and age: the same row, id and body. Lost
    /// leases count anew too. A delivery without a body (dead by its format) is left as it is.
    Redeliver,
    /// Due, leased and parked deliveries are cancelled; a lease on one goes stale.
    Cancel(CancelReason),
    /// Due and leased deliveries are parked; a lease on one goes stale.
    Park,
    /// Parked deliveries become due now; their attempts and age go on.
    Unpark,
    /// The lanes of the selected policy, target or project (of all, if none is given) that are closed for this reason open;
    /// deliveries are not touched. Those that failures had closed (`CircuitOpen`, `TargetDisabled`) start anew, as if none had happened.
    OpenLanes(Hold),
    /// The deliveries are deleted with their attempts, in whatever state; lanes left empty go too, once open.
    Forget,
}

/// How far a change came.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Changed {
    /// Deliveries (or lanes) changed.
    pub count: u64,
    /// Where to go on; `None` when all selected ones were seen. Behind a page that was just full there may be nothing.
    pub next: Option<i64>,
}

impl Changed {
    /// For stores.
    pub const fn new(count: u64, next: Option<i64>) -> Self {
        Self { count, next }
    }
}

/// A delivery with everything that is kept about it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Detail {
    /// The delivery.
    pub delivery: Delivery,
    /// What is sent; `None` if the format failed.
    pub body: Option<Body>,
    /// The attempts, oldest first.
    pub attempts: Vec<Attempt>,
}

impl Detail {
    /// For stores.
    pub fn new(delivery: Delivery, body: Option<Body>, attempts: Vec<Attempt>) -> Self {
        Self { delivery, body, attempts }
    }
}

/// How long things are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Retention {
    /// A due delivery that waited longer is dead with the reason `expired`; what is leased or parked stays.
    pub max_age: Duration,
    /// Delivered and cancelled deliveries kept for each policy: the newest.
    pub finished_per_policy: usize,
    /// How long dead deliveries are kept.
    pub dead: Duration,
    /// Dead deliveries kept for each policy: the newest.
    pub dead_per_policy: usize,
    /// How long the ids of events are remembered after they were fanned out.
    pub event_ids: Duration,
}

impl Default for Retention {
    /// Four days of waiting; the newest 50 per policy; dead ones 30 days and 10,000 per policy; ids for a day.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self { max_age: 4 * DAY, finished_per_policy: 50, dead: 30 * DAY, dead_per_policy: 10_000, event_ids: DAY }
    }
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Swept {
    /// Deliveries and event ids removed.
    pub removed: u64,
    /// Deliveries given up because they waited too long.
    pub expired: u64,
    /// Whether there is more to do at once.
    pub more: bool,
}

impl Swept {
    /// For stores.
    pub const fn new(removed: u64, expired: u64, more: bool) -> Self {
        Self { removed, expired, more }
    }
}

/// What waits in a store.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// Events not fanned out yet.
    pub outbox: u64,
    /// The age of the oldest of them.
    pub oldest_event: Option<Duration>,
    /// Deliveries that are due or leased.
    pub waiting: u64,
    /// The age of the oldest of them.
    pub oldest_waiting: Option<Duration>,
    /// How many bytes they take, if the store knows without counting.
    pub waiting_bytes: Option<u64>,
    /// Deliveries set aside by an operator.
    pub parked: u64,
    /// Deliveries given up and kept.
    pub dead: u64,
    /// Lanes that are closed now, at most 100.
    pub closed_lanes: Vec<ClosedLane>,
    /// Events whose rows could not be read, at most 100.
    pub set_aside: Vec<SetAside>,
}

/// A lane whose gate is closed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClosedLane {
    /// The lane's target.
    pub target_id: TargetId,
    /// Its policy.
    pub policy_id: PolicyId,
    /// How long it stays closed.
    pub opens_in: Duration,
    /// Why.
    pub why: Hold,
}

impl ClosedLane {
    /// For stores.
    pub const fn new(target_id: TargetId, policy_id: PolicyId, opens_in: Duration, why: Hold) -> Self {
        Self { target_id, policy_id, opens_in, why }
    }
}

/// An outbox row that could not be read.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SetAside {
    /// The row's number.
    pub key: i64,
    /// What is wrong with it.
    pub reason: String,
}

impl SetAside {
    /// For stores.
    pub fn new(key: i64, reason: impl Into<String>) -> Self {
        Self { key, reason: reason.into() }
    }
}
