use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::state::State;
use crate::delivery::{DeadReason, State as Stands};
use crate::id::{DeliveryId, PolicyId, ProjectId, TargetId};
use crate::store::{Claimed, Fenced, Hold, LaneLimits, Lease, Next, Settlement};

/// Lost leases that make a delivery poison.
const MAX_LOSSES: u8 = 5;

/// The queue and the gate of each target.
///
/// A lane is in at most one of two places: among the `ready` ones, which take turns, or among the `timed` ones, by when they
/// become ready. A lane without due deliveries, or without room for one more in flight, is in neither: claiming never looks
/// at it.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    pub(super) by_target: HashMap<TargetId, Lane>,
    ready: BTreeMap<u64, TargetId>,
    timed: BTreeSet<(Duration, TargetId)>,
    last_turn: u64,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) policy_id: PolicyId,
    pub(super) project_id: ProjectId,
    limits: LaneLimits,
    /// Due, leased and parked deliveries.
    waiting: u32,
    in_flight: u32,
    due: BTreeSet<(Duration, i64)>,
    pub(super) closed: Option<(Duration, Hold)>,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Nowhere,
    Ready(u64),
    Timed(Duration),
}

impl Lanes {
    /// Opens the lane if it is new, sets its limits, and says whether it is full.
    pub(super) fn open(&mut self, id: TargetId, policy: PolicyId, project: ProjectId, limits: LaneLimits) -> bool {
        let lane = self.by_target.entry(id).or_insert_with(|| Lane {
            policy_id: policy,
            project_id: project,
            limits,
            waiting: 0,
            in_flight: 0,
            due: BTreeSet::new(),
            closed: None,
            place: Place::Nowhere,
        });
        lane.limits = limits;
        lane.waiting >= limits.max_waiting
    }

    pub(super) fn wait(&mut self, id: TargetId) {
        self.change(id, |lane| lane.waiting += 1);
    }

    pub(super) fn due(&mut self, id: TargetId, at: Duration, delivery: i64, now: Duration) {
        self.change(id, |lane| _ = lane.due.insert((at, delivery)));
        self.place(id, now);
    }

    pub(super) fn close(&mut self, id: TargetId, until: Duration, why: Hold, now: Duration) {
        self.change(id, |lane| {
            if lane.closed.is_none_or(|(already, _)| already < until) {
                lane.closed = Some((until, why));
            }
        });
        self.place(id, now);
    }

    pub(super) fn reopen(&mut self, id: TargetId, now: Duration) {
        self.change(id, |lane| lane.closed = None);
        self.place(id, now);
    }

    pub(super) fn advance(&mut self, now: Duration) {
        while let Some((_, id)) = self.timed.first().copied().filter(|(at, _)| *at <= now) {
            self.place(id, now);
        }
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.timed.first().map(|(at, _)| *at)
    }

    fn change(&mut self, id: TargetId, change: impl FnOnce(&mut Lane)) {
        if let Some(lane) = self.by_target.get_mut(&id) {
            change(lane);
        }
    }

    /// Takes the oldest due delivery of the lane whose turn it is.
    fn take(&mut self, now: Duration) -> Option<i64> {
        let (_, id) = self.ready.pop_first()?;
        let lane = self.by_target.get_mut(&id)?;
        lane.place = Place::Nowhere;
        let taken = lane.due.pop_first().map(|(_, delivery)| delivery);
        lane.in_flight += u32::from(taken.is_some());
        self.place(id, now);
        taken
    }

    /// A delivery left the lane's queue or its flight.
    fn leave(&mut self, id: TargetId, due: Duration, delivery: i64, was_leased: bool, is_final: bool, now: Duration) {
        self.change(id, |lane| {
            if was_leased {
                lane.in_flight = lane.in_flight.saturating_sub(1);
            } else {
                lane.due.remove(&(due, delivery));
            }
            lane.waiting = lane.waiting.saturating_sub(u32::from(is_final));
        });
        self.place(id, now);
        if self
            .by_target
            .get(&id)
            .is_some_and(|lane| lane.waiting == 0 && lane.closed.is_none_or(|(until, _)| until <= now))
        {
            self.by_target.remove(&id);
        }
    }

    /// Puts the lane where it belongs now. A lane that stays ready keeps its turn.
    fn place(&mut self, id: TargetId, now: Duration) {
        let Some(lane) = self.by_target.get_mut(&id) else { return };
        let room = lane.in_flight < lane.limits.max_in_flight;
        let gate = lane.closed.map_or(Duration::ZERO, |(until, _)| until);
        let ready_at = lane.due.first().filter(|_| room).map(|(due, _)| gate.max(*due));
        if let (Place::Ready(_), Some(at)) = (lane.place, ready_at)
            && at <= now
        {
            return;
        }
        match lane.place {
            Place::Nowhere => {}
            Place::Ready(turn) => _ = self.ready.remove(&turn),
            Place::Timed(at) => _ = self.timed.remove(&(at, id)),
        }
        lane.place = match ready_at {
            None => Place::Nowhere,
            Some(at) if at <= now => {
                self.last_turn += 1;
                self.ready.insert(self.last_turn, id);
                Place::Ready(self.last_turn)
            }
            Some(at) => {
                self.timed.insert((at, id));
                Place::Timed(at)
            }
        };
    }
}

impl State {
    pub(super) fn claim(&mut self, max: usize, lease: Duration) -> Vec<Claimed> {
        let mut claimed = Vec::new();
        while claimed.len() < max {
            let Some(id) = self.lanes.take(self.now) else { break };
            let token = self.token();
            let until = self.now.saturating_add(lease);
            let now = self.now;
            let Some(row) = self.deliveries.get_mut(&id) else { continue };
            row.state = Stands::Leased;
            row.token = token;
            row.lease_until = until;
            self.leases.insert((until, id));
            let Some(body) = &row.body else { continue };
            let at = (row.policy_id, row.target_id);
            let mut claim =
                Claimed::new(Lease::new(id, token), row.event_id, row.event_type, at, body.as_ref().clone());
            claim.id = DeliveryId(id);
            claim.attempts = row.attempts - row.spent;
            claim.age = now.saturating_sub(row.since);
            claimed.push(claim);
        }
        claimed
    }

    pub(super) fn settle(&mut self, result: Settlement) -> Fenced {
        let Settlement { lease, attempt, next, close_lane } = result;
        let (now, wall) = (self.now, self.wall);
        let id = lease.key;
        let Some(row) = self.deliveries.get_mut(&id) else { return Fenced::Stale };
        if row.state != Stands::Leased || row.token != lease.token {
            return Fenced::Stale;
        }
        if let Some(attempt) = attempt {
            row.attempts += 1;
            row.history.push(attempt);
        }
        row.updated_at = wall;
        let target = row.target_id;
        if let Some((time, why)) = close_lane {
            self.lanes.close(target, now.saturating_add(time), why, now);
        }
        match next {
            Next::Delivered => self.finish(id, Stands::Delivered, None),
            Next::Dead(reason, detail) => self.finish(id, Stands::Dead(reason), detail),
            Next::Cancelled(reason) => self.finish(id, Stands::Cancelled(reason), None),
            Next::Retry(after) | Next::Release(after) => self.make_due(id, now.saturating_add(after)),
        }
        Fenced::Done
    }

    /// A lease ran out.
    pub(super) fn lose(&mut self, id: i64) {
        let Some(row) = self.deliveries.get_mut(&id).filter(|row| row.state == Stands::Leased) else { return };
        row.losses += 1;
        if row.losses >= MAX_LOSSES {
            let detail = format!("its lease was lost {MAX_LOSSES} times: the attempt seems to bring the sender down");
            self.finish(id, Stands::Dead(DeadReason::Poison), Some(detail));
        } else {
            self.make_due(id, self.now);
        }
    }

    /// A leased or parked delivery waits again.
    pub(super) fn make_due(&mut self, id: i64, at: Duration) {
        self.unlease(id, false);
        let now = self.now;
        let Some(row) = self.deliveries.get_mut(&id) else { return };
        row.state = Stands::Due;
        row.due = at;
        let target = row.target_id;
        self.lanes.due(target, at, id, now);
    }

    /// A waiting delivery ends.
    pub(super) fn finish(&mut self, id: i64, state: Stands, detail: Option<String>) {
        self.unlease(id, true);
        self.waiting = self.waiting.saturating_sub(1);
        let wall = self.wall;
        let Some(row) = self.deliveries.get_mut(&id) else { return };
        row.state = state;
        row.updated_at = wall;
        row.detail = detail.map(String::into_boxed_str);
        self.file(id);
    }

    /// Takes a waiting delivery out of its lane's queue or flight. A parked one is in neither.
    pub(super) fn unlease(&mut self, id: i64, is_final: bool) {
        let now = self.now;
        let Some(row) = self.deliveries.get(&id) else { return };
        let (target, due, leased) = (row.target_id, row.due, row.state == Stands::Leased);
        if leased {
            self.leases.remove(&(row.lease_until, id));
        }
        self.lanes.leave(target, due, id, leased, is_final, now);
    }
}
