//! The plain list: too simple to be wrong in the same way as a store.

use std::collections::HashMap;

use uuid::Uuid;

use super::ops::{End, POLICIES, TARGETS};
use crate::delivery::{DeadReason, State};
use crate::store::{Change, Hold, Lease, StateKind};

pub(super) const IN_FLIGHT: usize = 2;
pub(super) const MAX_WAITING: usize = 5;

/// When a delivery became due: steps are numbered. `Any` where the contract leaves its place open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Due {
    At(u64),
    Any,
    Later,
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) event: Uuid,
    pub(super) target: usize,
    pub(super) state: State,
    pub(super) due: Due,
    pub(super) lease: Option<Lease>,
    pub(super) attempts: u32,
    pub(super) spent: u32,
    losses: u32,
    pub(super) body: Option<Uuid>,
}

impl Row {
    fn waits(&self) -> bool {
        !self.state.is_final()
    }
}

pub(super) fn policy_of(target: usize) -> usize {
    target % POLICIES
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) step: u64,
    pub(super) rows: Vec<Row>,
    pub(super) outbox: Vec<Uuid>,
    closed: HashMap<usize, Hold>,
}

impl Model {
    pub(super) fn targets(to: u64) -> impl Iterator<Item = usize> {
        (0..TARGETS).filter(move |target| to >> target & 1 == 1)
    }

    fn lane(&self, target: usize) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.target == target)
    }

    /// Adds the delivery of an event to a target, as `id`.
    pub(super) fn add(&mut self, id: i64, event: Uuid, target: usize, body: Option<Uuid>) {
        let full = self.lane(target).filter(|row| row.waits()).count() >= MAX_WAITING;
        let state = match body {
            None => State::Dead(DeadReason::Format),
            Some(_) if full => State::Dead(DeadReason::LaneFull),
            Some(_) => State::Due,
        };
        let due = Due::At(self.step);
        let row = Row { id, event, target, state, due, lease: None, attempts: 0, spent: 0, losses: 0, body };
        self.rows.push(row);
    }

    /// What may be claimed from a lane now, and how many of it.
    pub(super) fn claimable(&self, target: usize) -> (Vec<&Row>, usize) {
        let flying = self.lane(target).filter(|row| row.state == State::Leased).count();
        if self.closed.contains_key(&target) || flying >= IN_FLIGHT {
            return (Vec::new(), 0);
        }
        let due: Vec<_> = self.lane(target).filter(|row| row.state == State::Due && row.due != Due::Later).collect();
        let room = due.len().min(IN_FLIGHT - flying);
        (due, room)
    }

    pub(super) fn row(&mut self, id: i64) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.id == id)
    }

    pub(super) fn lose(&mut self, id: i64) {
        let Some(row) = self.row(id) else { return };
        row.losses += 1;
        (row.lease, row.due) = (None, Due::Any);
        row.state = if row.losses >= 5 { State::Dead(DeadReason::Poison) } else { State::Due };
    }

    /// Whether the lease was good.
    pub(super) fn settle(&mut self, lease: Lease, end: End, attempt: bool, close: Option<Hold>) -> bool {
        let step = self.step;
        let Some(row) = self.rows.iter_mut().find(|row| row.lease == Some(lease)) else { return false };
        row.attempts += u32::from(attempt);
        row.lease = None;
        (row.state, row.due) = match end {
            End::Delivered => (State::Delivered, row.due),
            End::Retry => (State::Due, Due::At(step)),
            End::RetryLater => (State::Due, Due::Later),
            // As if it had not been claimed: whether it keeps its place is the store's choice.
            End::Release => (State::Due, Due::Any),
            End::Dead => (State::Dead(DeadReason::Exhausted), row.due),
            End::Cancelled => (State::Cancelled(crate::delivery::CancelReason::TargetGone), row.due),
        };
        if let Some(why) = close {
            self.closed.insert(row.target, why);
        }
        true
    }

    pub(super) fn open(&mut self, opens: impl Fn(usize, Hold) -> bool) -> u64 {
        let before = self.closed.len();
        self.closed.retain(|target, why| !opens(*target, *why));
        (before - self.closed.len()) as u64
    }

    /// Changes these, and says how many it did change.
    pub(super) fn change(&mut self, ids: &[i64], to: Change) -> u64 {
        let step = self.step;
        let mut count = 0;
        for id in ids {
            let Some(row) = self.row(*id) else { continue };
            let parked = row.state == State::Parked;
            match to {
                Change::Redeliver if (!row.waits() || parked) && row.body.is_some() => {
                    (row.state, row.due, row.spent, row.losses) = (State::Due, Due::At(step), row.attempts, 0);
                }
                Change::Cancel(why) if row.waits() => row.state = State::Cancelled(why),
                Change::Park if row.waits() && !parked => row.state = State::Parked,
                Change::Unpark if parked => (row.state, row.due) = (State::Due, Due::At(step)),
                Change::Forget => {}
                _ => continue,
            }
            row.lease = None;
            count += 1;
            if to == Change::Forget {
                self.rows.retain(|row| row.id != *id);
            }
        }
        count
    }

    /// The deliveries that are selected, newest first.
    pub(super) fn select(&self, selects: impl Fn(&Row) -> bool) -> Vec<i64> {
        let mut ids: Vec<_> = self.rows.iter().filter(|row| selects(row)).map(|row| row.id).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids
    }
}

pub(super) fn is(row: &Row, state: StateKind) -> bool {
    StateKind::of(row.state) == state
}
