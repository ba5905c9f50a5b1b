use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::claiming::Lanes;
use crate::clock::Clock;
use crate::delivery::{Attempt, CancelReason, DeadReason, State as Stands};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventType};
use crate::id::{PolicyId, ProjectId, TargetId};
use crate::policy::TargetType;
use crate::store::{Appended, Body, ClaimedEvent, FanOut, Fenced, LaneLimits, Lease, NewDelivery, Retention, SetAside};

/// Everything but the policies. `now` is the time since the store was made.
#[derive(Debug)]
pub(super) struct State {
    pub(super) now: Duration,
    pub(super) wall: DateTime<Utc>,
    /// Waiting deliveries at which intake stops.
    bound: usize,
    pub(super) outbox: BTreeMap<i64, Outboxed>,
    /// Rows of the outbox that nobody has claimed.
    unclaimed: BTreeSet<i64>,
    event_leases: BTreeSet<(Duration, i64)>,
    /// Known event ids, and when each was fanned out.
    pub(super) event_ids: HashMap<Uuid, Option<Duration>>,
    pub(super) set_aside: Vec<SetAside>,
    pub(super) deliveries: BTreeMap<i64, Row>,
    pub(super) lanes: Lanes,
    pub(super) leases: BTreeSet<(Duration, i64)>,
    /// Due, leased and parked deliveries.
    pub(super) waiting: usize,
    /// Finished deliveries by policy, delivered and cancelled ones apart from dead ones.
    pub(super) finished: HashMap<(PolicyId, bool), BTreeSet<i64>>,
    pub(super) keep: Retention,
    last_seq: i64,
    last_delivery: i64,
    last_token: i64,
}

/// An event that is not fanned out.
#[derive(Debug)]
pub(super) struct Outboxed {
    pub(super) event: Event,
    pub(super) since: Duration,
    lease: Option<(i64, Duration)>,
    /// What the parts so far have brought.
    reached: HashSet<TargetId>,
    bodies: Vec<Arc<Body>>,
}

/// A delivery.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) event_id: Uuid,
    pub(super) project_id: ProjectId,
    pub(super) policy_id: PolicyId,
    pub(super) target_id: TargetId,
    pub(super) body: Option<Arc<Body>>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
    /// When it was made or last redelivered.
    pub(super) since: Duration,
    pub(super) due: Duration,
    pub(super) token: i64,
    pub(super) lease_until: Duration,
    pub(super) attempts: u32,
    /// Attempts made before the last redelivery.
    pub(super) spent: u32,
    pub(super) losses: u8,
    pub(super) state: Stands,
    pub(super) event_type: EventType,
    pub(super) target_type: TargetType,
    pub(super) detail: Option<Box<str>>,
    pub(super) history: Vec<Attempt>,
}

impl State {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            now: Duration::ZERO,
            wall: DateTime::default(),
            bound,
            outbox: BTreeMap::new(),
            unclaimed: BTreeSet::new(),
            event_leases: BTreeSet::new(),
            event_ids: HashMap::new(),
            set_aside: Vec::new(),
            deliveries: BTreeMap::new(),
            lanes: Lanes::default(),
            leases: BTreeSet::new(),
            waiting: 0,
            finished: HashMap::new(),
            keep: Retention::default(),
            last_seq: 0,
            last_delivery: 0,
            last_token: 0,
        }
    }

    /// Moves to the present: leases run out, lanes become ready.
    pub(super) fn advance(&mut self, now: Duration, clock: &dyn Clock) {
        self.now = self.now.max(now);
        self.wall = clock.now();
        while let Some((until, seq)) = self.event_leases.first().copied().filter(|(until, _)| *until <= self.now) {
            self.event_leases.remove(&(until, seq));
            if let Some(row) = self.outbox.get_mut(&seq) {
                row.lease = None;
                self.unclaimed.insert(seq);
            }
        }
        while let Some((until, id)) = self.leases.first().copied().filter(|(until, _)| *until <= self.now) {
            self.leases.remove(&(until, id));
            self.lose(id);
        }
        self.lanes.advance(self.now);
    }

    /// How long until there is work; `None` if none is in sight.
    pub(super) fn due_in(&self) -> Option<Duration> {
        let full = self.waiting >= self.bound;
        if self.lanes.has_ready() || (!full && !self.unclaimed.is_empty()) {
            return Some(Duration::ZERO);
        }
        let events = self.event_leases.first().filter(|_| !full).map(|(until, _)| *until);
        let leases = self.leases.first().map(|(until, _)| *until);
        let next = [events, leases, self.lanes.next()].into_iter().flatten().min()?;
        Some(next.saturating_sub(self.now))
    }

    pub(super) fn append(&mut self, events: &[Event]) -> Result<Vec<Appended>> {
        let bound = (self.bound / 10).max(1);
        let fresh = events.iter().filter(|event| !self.event_ids.contains_key(&event.id)).count();
        if fresh > 0 && self.outbox.len() + fresh > bound {
            let message =
                format!("the outbox holds its bound of {bound} events; try again when deliveries have drained");
            return Err(Error::new(ErrorKind::Full, message));
        }
        Ok(events.iter().map(|event| self.append_one(event)).collect())
    }

    fn append_one(&mut self, event: &Event) -> Appended {
        if self.event_ids.contains_key(&event.id) {
            return Appended::Duplicate;
        }
        self.event_ids.insert(event.id, None);
        self.last_seq += 1;
        let (event, since) = (event.clone(), self.now);
        let row = Outboxed { event, since, lease: None, reached: HashSet::new(), bodies: Vec::new() };
        self.outbox.insert(self.last_seq, row);
        self.unclaimed.insert(self.last_seq);
        Appended::Inserted
    }

    pub(super) fn claim_events(&mut self, max: usize, lease: Duration) -> Vec<ClaimedEvent> {
        let mut claimed = Vec::new();
        while claimed.len() < max && self.waiting < self.bound {
            let Some(seq) = self.unclaimed.pop_first() else { break };
            let token = self.token();
            let until = self.now.saturating_add(lease);
            if let Some(row) = self.outbox.get_mut(&seq) {
                row.lease = Some((token, until));
                self.event_leases.insert((until, seq));
                claimed.push(ClaimedEvent::new(Lease::new(seq, token), Ok(row.event.clone())));
            }
        }
        claimed
    }

    pub(super) fn fan_out(&mut self, lease: &Lease, part: FanOut) -> Fenced {
        let held = self.outbox.get(&lease.key).and_then(|row| row.lease);
        if held.is_none_or(|(token, _)| token != lease.token) {
            return Fenced::Stale;
        }
        let Some(mut row) = self.outbox.remove(&lease.key) else { return Fenced::Stale };
        row.bodies.extend(part.bodies.into_iter().map(Arc::new));
        for new in part.deliveries {
            if row.reached.insert(new.target_id) {
                self.add(&row, new);
            }
        }
        if !part.last {
            self.outbox.insert(lease.key, row);
            return Fenced::Done;
        }
        if let Some((_, until)) = row.lease {
            self.event_leases.remove(&(until, lease.key));
        }
        self.event_ids.insert(row.event.id, Some(self.now));
        if let Some(reason) = part.set_aside {
            self.set_aside.push(SetAside::new(lease.key, reason));
        }
        Fenced::Done
    }

    fn add(&mut self, outboxed: &Outboxed, new: NewDelivery) {
        self.last_delivery += 1;
        let id = self.last_delivery;
        let NewDelivery { target_id, policy_id, target_type, body, lane } = new;
        let event = &outboxed.event;
        let (body, failed) = match body {
            // The first body of an id counts: later ones are the same.
            Ok(body) => (outboxed.bodies.iter().find(|known| known.id == body).cloned(), None),
            Err(reason) => (None, Some(reason)),
        };
        // No lane may take the whole store.
        let limits = LaneLimits::new(lane.max_waiting.min((self.bound / 10) as u32), lane.max_in_flight);
        let full = self.lanes.open(target_id, policy_id, event.project_id, limits);
        let state = match (&body, full) {
            (None, _) => Stands::Dead(DeadReason::Format),
            (_, true) => Stands::Dead(DeadReason::LaneFull),
            _ => Stands::Due,
        };
        let row = Row {
            event_id: event.id,
            project_id: event.project_id,
            policy_id,
            target_id,
            body,
            created_at: self.wall,
            updated_at: self.wall,
            since: self.now,
            due: self.now,
            token: 0,
            lease_until: Duration::ZERO,
            attempts: 0,
            spent: 0,
            losses: 0,
            state,
            event_type: event.event_type,
            target_type,
            detail: failed.map(String::into_boxed_str),
            history: Vec::new(),
        };
        self.deliveries.insert(id, row);
        if state == Stands::Due {
            self.waiting += 1;
            self.lanes.wait(target_id);
            self.lanes.due(target_id, self.now, id, self.now);
        } else {
            self.file(id);
        }
    }

    /// Puts a finished delivery into its policy's history, and drops the oldest ones beyond what is kept.
    pub(super) fn file(&mut self, id: i64) {
        let Some(row) = self.deliveries.get(&id) else { return };
        let dead = matches!(row.state, Stands::Dead(_));
        let most = if dead { self.keep.dead_per_policy } else { self.keep.finished_per_policy };
        let ids = self.finished.entry((row.policy_id, dead)).or_default();
        ids.insert(id);
        while ids.len() > most {
            if let Some(oldest) = ids.pop_first() {
                self.deliveries.remove(&oldest);
            }
        }
    }

    /// The deliveries of a policy that was deleted are no longer wanted.
    pub(super) fn cancel_policy(&mut self, policy: PolicyId) {
        let waiting: Vec<i64> = self.waiting_of(policy).collect();
        for id in waiting {
            self.finish(id, Stands::Cancelled(CancelReason::TargetGone), None);
        }
    }

    fn waiting_of(&self, policy: PolicyId) -> impl Iterator<Item = i64> {
        let of = move |(_, row): &(&i64, &Row)| row.policy_id == policy && !row.state.is_final();
        self.deliveries.iter().filter(of).map(|(id, _)| *id)
    }

    pub(super) fn token(&mut self) -> i64 {
        self.last_token += 1;
        self.last_token
    }
}
