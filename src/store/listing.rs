//! Which deliveries, what is changed about them, how long they are kept, and what is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Body, Hold};
use crate::delivery::{Attempt, CancelReason, Delivery, State};
use crate::event::EventType;
use crate::id::{DeliveryId, PolicyId, ProjectId, TargetId};

/// A part of a listing. Listings run from the newest to the oldest, or the other way if the page says so, and leave out as many
/// of the first as it says.
///
/// Pages that go on behind an id join without gaps whatever is made meanwhile; pages that skip may not. Changes are asked for
/// with `after` and `limit` alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// Goes on behind this id, the last one of the page before.
    pub after: Option<i64>,
    /// At most so many.
    pub limit: usize,
    /// Leaves out so many of the first. It costs as much as listing them.
    pub skip: usize,
    /// Begins with the oldest.
    pub oldest_first: bool,
}

impl Page {
    /// The first `limit` entries.
    pub const fn first(limit: usize) -> Self {
        Self { after: None, limit, skip: 0, oldest_first: false }
    }

    /// The `limit` entries behind the one with this id.
    pub const fn after(id: i64, limit: usize) -> Self {
        Self { after: Some(id), ..Self::first(limit) }
    }

    /// Leaves out the first `entries`.
    #[must_use]
    pub const fn skip(mut self, entries: usize) -> Self {
        self.skip = entries;
        self
    }

    /// Begins with the oldest, or with the newest as by default.
    #[must_use]
    pub const fn oldest_first(mut self, oldest_first: bool) -> Self {
        self.oldest_first = oldest_first;
        self
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

    /// The deliveries for a target.
    pub fn target(id: TargetId) -> Self {
        Self { target_id: Some(id), ..Self::default() }
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

    /// Whether nothing but project, policy, target and state is given: of these, lanes keep count.
    pub(crate) fn is_of_lanes(&self) -> bool {
        let rest = Self { project_id: None, policy_id: None, target_id: None, state: None, ..self.clone() };
        rest == Self::all()
    }

    /// Whether it selects among all deliveries of a project, which are found by its policies.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn is_of_project(&self) -> bool {
        let narrower = [self.policy_id.is_some(), self.target_id.is_some(), self.id.is_some(), self.event_id.is_some()];
        self.project_id.is_some() && narrower == [false; 4]
    }

    /// Whether it is all of some lanes.
    pub(crate) fn is_whole(&self) -> bool {
        self.state.is_none() && self.is_of_lanes()
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

    /// The kind of this name, which is [`State::as_str`]'s.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "due" => Self::Due,
            "leased" => Self::Leased,
            "parked" => Self::Parked,
            "delivered" => Self::Delivered,
            "dead" => Self::Dead,
            "cancelled" => Self::Cancelled,
            _ => return None,
        })
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
    /// The deliveries are deleted with their attempts, in whatever state; lanes left empty go too, once open. With all of a policy,
    /// target or project go the [hours](crate::store::Hour) that were counted.
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
    /// How many bytes they take, with those that are parked, if the store knows without counting.
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

/// How much of what waits is one project's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// The project.
    pub project_id: ProjectId,
    /// Its deliveries that are due, leased or parked.
    pub deliveries: u64,
    /// The bytes of their bodies, each as often as it is to be sent. A store may add what it takes besides.
    pub bytes: u64,
    /// Its events that are not fanned out.
    pub events: u64,
    /// About how many bytes these take.
    pub event_bytes: u64,
}

impl Usage {
    /// For stores.
    pub const fn new(project_id: ProjectId, deliveries: u64, bytes: u64) -> Self {
        Self { project_id, deliveries, bytes, events: 0, event_bytes: 0 }
    }

    /// For stores: so many events are not fanned out, which take so many bytes.
    #[must_use]
    pub const fn events(mut self, events: u64, bytes: u64) -> Self {
        (self.events, self.event_bytes) = (events, bytes);
        self
    }

    /// Deliveries and events as they were counted apart, one for each project.
    pub(super) fn merge(deliveries: Vec<Self>, events: Vec<Self>) -> Vec<Self> {
        let mut all: BTreeMap<_, _> = deliveries.into_iter().map(|usage| (usage.project_id, usage)).collect();
        for of in events {
            let usage = all.entry(of.project_id).or_insert(Self::new(of.project_id, 0, 0));
            *usage = usage.events(of.events, of.event_bytes);
        }
        all.into_values().collect()
    }
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
