//! The naive side: a list of deliveries that is searched for everything.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use harbor_webhook::delivery::{DeadReason, State};
use harbor_webhook::store::{Change, Claimed, Fenced, Filter, Lease, Retention, StateKind};

/// Deliveries that may wait; a tenth for each lane, and as many events.
pub(super) const BOUND: usize = 50;
pub(super) const IN_FLIGHT: usize = 2;
pub(super) const POLICIES: i64 = 5;
/// Three to a policy, both numbered from 1.
pub(super) const TARGETS: i64 = 15;

/// What comes of an attempt.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    Delivered,
    Retry(u64),
    Release,
    Dead,
}

/// A delivery. `at` is when it is due, or when its lease ends.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) target: i64,
    pub(super) state: State,
    pub(super) at: u64,
    pub(super) since: u64,
    pub(super) attempts: u32,
    pub(super) spent: u32,
    pub(super) losses: u32,
    pub(super) token: i64,
    pub(super) sendable: bool,
}

impl Row {
    fn policy(&self) -> i64 {
        policy_of(self.target)
    }
    fn waits(&self) -> bool {
        !self.state.is_final()
    }
}

pub(super) fn policy_of(target: i64) -> i64 {
    (target + 2) / 3
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) now: u64,
    pub(super) rows: Vec<Row>,
    pub(super) gates: HashMap<i64, u64>,
    pub(super) outbox: usize,
    pub(super) deleted: HashSet<i64>,
    pub(super) last: i64,
    pub(super) keep: Retention,
}

impl Model {
    pub(super) fn advance(&mut self, by: u64) {
        self.now += by;
        let now = self.now;
        let lost = |row: &Row| row.state == State::Leased && row.at <= now;
        while let Some(row) = self.rows.iter_mut().find(|row| lost(row)) {
            (row.losses, row.state, row.at) = (row.losses + 1, State::Due, now);
            if row.losses >= 5 {
                row.state = State::Dead(DeadReason::Poison);
            }
            self.trim();
        }
    }

    fn lane(&self, target: i64) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.target == target && row.waits())
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows.iter().filter(|row| row.waits()).count() >= BOUND
    }

    pub(super) fn fan_out(&mut self, to: u16, fails: bool) {
        self.outbox -= 1;
        for (n, target) in targets(to).enumerate() {
            self.last += 1;
            let failed = fails && n == 0;
            let full = self.lane(target).count() >= BOUND / 10;
            let state = match (failed, full) {
                (true, _) => State::Dead(DeadReason::Format),
                (_, true) => State::Dead(DeadReason::LaneFull),
                _ => State::Due,
            };
            let (id, now) = (self.last, self.now);
            let sendable = !failed;
            let row =
                Row { id, target, state, at: now, since: now, attempts: 0, spent: 0, losses: 0, token: 0, sendable };
            self.rows.push(row);
            self.trim();
        }
    }

    /// Only the newest of each policy stay.
    fn trim(&mut self) {
        let rows = self.rows.clone();
        self.rows.retain(|row| {
            let dead = |row: &Row| matches!(row.state, State::Dead(_));
            let most = if dead(row) { self.keep.dead_per_policy } else { self.keep.finished_per_policy };
            let same = |other: &&Row| other.policy() == row.policy() && !other.waits() && dead(other) == dead(row);
            row.waits() || rows.iter().filter(same).filter(|other| other.id > row.id).count() < most
        });
    }

    /// Those that may be claimed from a lane now, in their order.
    fn claimable(&self, target: i64) -> Vec<i64> {
        let flying = self.lane(target).filter(|row| row.state == State::Leased).count();
        if self.gates.get(&target).is_some_and(|until| *until > self.now) || flying >= IN_FLIGHT {
            return Vec::new();
        }
        let mut due: Vec<&Row> =
            self.lane(target).filter(|row| row.state == State::Due && row.at <= self.now).collect();
        due.sort_by_key(|row| (row.at, row.id));
        due.iter().take(IN_FLIGHT - flying).map(|row| row.id).collect()
    }

    pub(super) fn claimed(&mut self, max: usize, lease: u64, claimed: &[Claimed]) {
        let possible: Vec<Vec<i64>> = (1..=TARGETS).map(|target| self.claimable(target)).collect();
        assert_eq!(claimed.len(), max.min(possible.iter().map(Vec::len).sum()));
        for (target, possible) in (1..=TARGETS).zip(&possible) {
            let of: Vec<i64> = claimed.iter().filter(|c| c.target_id.0 == target).map(|c| c.id.0).collect();
            assert!(possible.starts_with(&of), "claimed {of:?} of {possible:?}");
        }
        for claim in claimed {
            let until = self.now + lease;
            let now = self.now;
            let row = self.row(claim.id.0);
            assert_eq!((claim.attempts, claim.age), (row.attempts - row.spent, ms(now - row.since)));
            assert_ne!(claim.lease.token, row.token, "a token comes twice");
            (row.state, row.at, row.token) = (State::Leased, until, claim.lease.token);
        }
    }

    fn row(&mut self, id: i64) -> &mut Row {
        self.rows.iter_mut().find(|row| row.id == id).expect("the model knows the delivery")
    }

    pub(super) fn settle(&mut self, lease: Lease, ending: Ending, close: Option<u64>) -> Fenced {
        let now = self.now;
        let held = |row: &&mut Row| row.id == lease.key && row.state == State::Leased && row.token == lease.token;
        let Some(row) = self.rows.iter_mut().find(held) else { return Fenced::Stale };
        row.attempts += u32::from(!matches!(ending, Ending::Release));
        (row.state, row.at) = match ending {
            Ending::Delivered => (State::Delivered, now),
            Ending::Retry(after) => (State::Due, now + after),
            Ending::Release => (State::Due, now),
            Ending::Dead => (State::Dead(DeadReason::Exhausted), now),
        };
        if let Some(close) = close {
            let gate = self.gates.entry(row.target).or_default();
            *gate = (*gate).max(now + close);
        }
        self.trim();
        Fenced::Done
    }

    /// Says how many changed.
    pub(super) fn change(&mut self, to: Change, which: &Filter, limit: usize) -> usize {
        let now = self.now;
        let mut ids: Vec<i64> = self.rows.iter().filter(|row| fits(which, row)).map(|row| row.id).collect();
        ids.sort_by_key(|id| -id);
        let mut changed = 0;
        for id in ids.into_iter().take(limit) {
            // An earlier one may have pushed it out of the history.
            let Some(row) = self.rows.iter_mut().find(|row| row.id == id) else { continue };
            let (state, waits) = (row.state, row.waits());
            match to {
                Change::Redeliver if row.sendable && (!waits || state == State::Parked) => {
                    (row.state, row.at, row.since) = (State::Due, now, now);
                    (row.spent, row.losses) = (row.attempts, 0);
                }
                Change::Cancel(why) if waits => row.state = State::Cancelled(why),
                Change::Park if matches!(state, State::Due | State::Leased) => row.state = State::Parked,
                Change::Unpark if state == State::Parked => (row.state, row.at) = (State::Due, now),
                Change::Forget => self.rows.retain(|row| row.id != id),
                _ => continue,
            }
            changed += 1;
            self.trim();
        }
        changed
    }

    pub(super) fn sweep(&mut self, max_age: u64) {
        let now = self.now;
        let mut old: Vec<i64> =
            self.rows.iter().filter(|r| r.state == State::Due && now - r.since > max_age).map(|r| r.id).collect();
        old.sort_unstable();
        for id in old {
            self.row(id).state = State::Dead(DeadReason::Expired);
            self.trim();
        }
    }
}

fn fits(which: &Filter, row: &Row) -> bool {
    which.id.is_none_or(|id| id.0 == row.id)
        && which.policy_id.is_none_or(|policy| policy.0 == row.policy())
        && which.target_id.is_none_or(|target| target.0 == row.target)
        && which.state.is_none_or(|state| state == StateKind::of(row.state))
}

pub(super) fn targets(bits: u16) -> impl Iterator<Item = i64> {
    (1..=TARGETS).filter(move |target| bits >> target & 1 == 1)
}

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
