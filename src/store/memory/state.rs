use std::collections::{BTreeSet, VecDeque};

use chrono::{DateTime, Utc};

use super::ended::Ended;
use super::lanes::Lanes;
use super::message::Kinds;
use super::moment::Moment;
use super::outbox::Outbox;
use super::row::Row;
use super::rows::Rows;
use super::weights::{self, Weights};
use crate::delivery::{DeadReason, State as Stands};
use crate::id::{PolicyId, ProjectId, TargetId};
use crate::store::{LaneLimits, Retention};

/// Everything but the policies, and the steps of which all changes to a delivery are made. Each step keeps rows, lanes,
/// leases, history and weights in agreement.
#[derive(Debug)]
pub(super) struct State {
    pub(super) now: Moment,
    pub(super) wall: DateTime<Utc>,
    pub(super) bounds: Bounds,
    pub(super) outbox: Outbox,
    pub(super) kinds: Kinds,
    pub(super) rows: Rows,
    pub(super) lanes: Lanes,
    pub(super) leases: BTreeSet<(Moment, i64)>,
    pub(super) ended: Ended,
    pub(super) weights: Weights,
    /// Due, leased and parked deliveries.
    pub(super) waiting: usize,
    pub(super) parked: usize,
    pub(super) keep: Retention,
    /// Where the sweep over the dead deliveries goes on.
    pub(super) swept: i64,
    /// Policies that were deleted, and when: late deliveries of theirs, and their history, go with the sweep.
    pub(super) deleted: VecDeque<(Moment, PolicyId)>,
}

/// How much may wait. A lane may have a tenth of it, and so may the outbox.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) deliveries: usize,
    pub(super) bytes: usize,
}

impl Bounds {
    pub(super) fn tenth(self) -> Self {
        Self { deliveries: (self.deliveries / 10).max(1), bytes: (self.bytes / 10).max(1) }
    }
}

impl State {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            now: Moment::default(),
            wall: DateTime::default(),
            bounds,
            outbox: Outbox::default(),
            kinds: Kinds::default(),
            rows: Rows::default(),
            lanes: Lanes::default(),
            leases: BTreeSet::new(),
            ended: Ended::default(),
            weights: Weights::default(),
            waiting: 0,
            parked: 0,
            keep: Retention::default(),
            swept: 0,
            deleted: VecDeque::new(),
        }
    }

    /// Whether so much waits that no event is fanned out. Events that are being fanned out count as if they were.
    pub(super) fn is_full(&self) -> bool {
        let bytes = self.weights.waiting.saturating_add(self.outbox.claimed_bytes());
        self.waiting >= self.bounds.deliveries || bytes >= self.bounds.bytes
    }

    /// Adds a delivery that is due, or dead from the beginning. If the lane is full it is dead as well.
    pub(super) fn add(&mut self, mut row: Row, of: (PolicyId, ProjectId), limits: LaneLimits, parked: bool) {
        let (target, now) = (row.target, self.now);
        let share = self.bounds.tenth();
        let lane = self.lanes.open(target, of.0, of.1, limits);
        let (waiting, most) = (lane.waiting(), share.deliveries.min(limits.max_waiting as usize));
        let full = waiting >= most || (waiting > 0 && lane.bytes >= share.bytes);
        if full && row.waits() {
            row.state = Stands::Dead(DeadReason::LaneFull);
        }
        let waits = row.waits();
        let id = self.rows.insert(row);
        self.lanes.change(target, now, |lane| {
            lane.kept += 1;
            if waits {
                lane.add_fresh(id);
            }
        });
        if waits {
            self.begin_waiting(id)
        } else {
            self.file(id)
        }
        if waits && (parked || self.is_disabled(target)) {
            self.park(id);
        }
    }

    /// The delivery was taken from its lane's queue. Gives its new token.
    pub(super) fn lease(&mut self, id: i64, until: Moment) -> Option<u32> {
        let row = self.rows.get_mut(id)?;
        row.state = Stands::Leased;
        row.at = until;
        row.token = row.token.wrapping_add(1);
        self.leases.insert((until, id));
        Some(row.token)
    }

    /// A leased or parked delivery is due.
    pub(super) fn make_due(&mut self, id: i64, at: Moment) {
        let Some(target) = self.leave(id) else { return };
        self.stand(id, Stands::Due, at);
        self.lanes.change(target, self.now, |lane| lane.add_again(id, at));
    }

    /// A due or leased delivery is set aside.
    pub(super) fn park(&mut self, id: i64) {
        let Some(target) = self.leave(id) else { return };
        self.stand(id, Stands::Parked, self.now);
        self.parked += 1;
        self.lanes.change(target, self.now, |lane| lane.add_parked(id));
    }

    /// A waiting delivery ends.
    pub(super) fn finish(&mut self, id: i64, state: Stands, detail: Option<String>) {
        if self.leave(id).is_none() {
            return;
        }
        self.end_waiting(id);
        let wall = self.wall;
        if let Some(row) = self.rows.get_mut(id) {
            row.touch(wall);
            row.explain(detail, wall);
        }
        self.stand(id, state, self.now);
        self.file(id);
    }

    /// An ended or parked delivery is due as if it were new.
    pub(super) fn begin_again(&mut self, id: i64) {
        let (now, wall) = (self.now, self.wall);
        match self.leave(id) {
            Some(_) => self.end_waiting(id),
            None => self.unfile(id),
        }
        let Some(row) = self.rows.get_mut(id) else { return };
        row.begin_again(now, wall);
        let target = row.target;
        self.stand(id, Stands::Due, now);
        self.begin_waiting(id);
        self.lanes.change(target, now, |lane| lane.add_again(id, now));
    }

    /// A delivery goes, in whatever state.
    pub(super) fn remove(&mut self, id: i64) {
        match self.leave(id) {
            Some(_) => self.end_waiting(id),
            None => self.unfile(id),
        }
        if let Some(row) = self.rows.remove(id) {
            self.lanes.change(row.target, self.now, |lane| lane.kept -= 1);
        }
    }

    /// Changes what is known of a delivery, but not where it stands.
    pub(super) fn tell(&mut self, id: i64, change: impl FnOnce(&mut Row)) {
        self.weigh(id, false);
        if let Some(row) = self.rows.get_mut(id) {
            change(row);
        }
        self.weigh(id, true);
    }

    /// Takes a waiting delivery out of its lane's queue or flight. None if it does not wait.
    fn leave(&mut self, id: i64) -> Option<TargetId> {
        let row = self.rows.get(id).filter(|row| row.waits())?;
        let (target, state, at) = (row.target, row.state, row.at);
        if state == Stands::Leased {
            self.leases.remove(&(at, id));
        }
        self.parked -= usize::from(state == Stands::Parked);
        self.lanes.change(target, self.now, |lane| lane.leave(id, state, at));
        Some(target)
    }

    fn stand(&mut self, id: i64, state: Stands, at: Moment) {
        if let Some(row) = self.rows.get_mut(id) {
            (row.state, row.at) = (state, at);
        }
    }

    fn begin_waiting(&mut self, id: i64) {
        self.waiting += 1;
        self.rows.mark(id, true);
        self.weigh(id, true);
    }

    fn end_waiting(&mut self, id: i64) {
        self.waiting -= 1;
        self.rows.mark(id, false);
        self.weigh(id, false);
    }

    fn weigh(&mut self, id: i64, more: bool) {
        let Some(row) = self.rows.get(id) else { return };
        self.weights.count(row, more);
        if row.waits() {
            self.lanes.weigh(row.target, weights::in_lane(row), more);
        }
    }

    /// Makes an ended delivery history, and drops the oldest beyond what is kept.
    fn file(&mut self, id: i64) {
        self.weigh(id, true);
        let Some((policy, dead)) = self.filed(id) else { return };
        self.ended.insert(id, policy, dead);
        for id in self.ended.beyond(policy, &self.keep) {
            self.remove(id);
        }
        while self.weights.history > self.bounds.bytes {
            let Some(oldest) = self.ended.oldest() else { break };
            self.remove(oldest);
        }
    }

    fn unfile(&mut self, id: i64) {
        self.weigh(id, false);
        if let Some((policy, dead)) = self.filed(id) {
            self.ended.remove(id, policy, dead);
        }
    }

    fn filed(&self, id: i64) -> Option<(PolicyId, bool)> {
        let row = self.rows.get(id)?;
        Some((self.lanes.get(row.target)?.policy_id, row.is_dead()))
    }
}
