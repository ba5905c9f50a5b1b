//! What a lane counts of its deliveries, for stores that keep it in a row.

use super::StateKind;
use crate::delivery::Attempt;

/// The states of deliveries as the databases keep them.
pub(super) const DUE: i64 = 0;
pub(super) const LEASED: i64 = 1;
pub(super) const PARKED: i64 = 2;
pub(super) const DELIVERED: i64 = 3;
pub(super) const DEAD: i64 = 4;
pub(super) const CANCELLED: i64 = 5;

/// What a change makes of a lane's numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Tally {
    /// Due, leased and parked.
    pub(super) waiting: i64,
    /// The bodies of these.
    pub(super) bytes: i64,
    /// Leased.
    pub(super) in_flight: i64,
    pub(super) parked: i64,
    pub(super) delivered: i64,
    pub(super) dead: i64,
    pub(super) cancelled: i64,
    pub(super) tried: Tried,
}

/// Attempts, and the microseconds that they took.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Tried {
    pub(super) taken: i64,
    pub(super) failed: i64,
    pub(super) us: i64,
    pub(super) longest_us: i64,
}

impl Tally {
    /// A delivery with a body of this size goes from one state to another. None: it is not there yet, or no more.
    pub(super) fn step(&mut self, from: Option<i64>, to: Option<i64>, size: i64) -> &mut Self {
        from.into_iter().for_each(|state| self.count(state, -1, size));
        to.into_iter().for_each(|state| self.count(state, 1, size));
        self
    }

    /// An attempt was written down.
    pub(super) fn attempt(&mut self, attempt: &Attempt) {
        let (taken, us) =
            (attempt.outcome.is_success(), i64::try_from(attempt.duration.as_micros()).unwrap_or(i64::MAX));
        self.tried.taken += i64::from(taken);
        self.tried.failed += i64::from(!taken);
        self.tried.us = self.tried.us.saturating_add(us);
        self.tried.longest_us = self.tried.longest_us.max(us);
    }

    fn count(&mut self, state: i64, by: i64, size: i64) {
        if state <= PARKED {
            self.waiting += by;
            self.bytes += by * size;
        }
        match state {
            LEASED => self.in_flight += by,
            PARKED => self.parked += by,
            DELIVERED => self.delivered += by,
            DEAD => self.dead += by,
            CANCELLED => self.cancelled += by,
            _ => {}
        }
    }
}

/// The deliveries in this state, in terms of a lane's columns.
pub(super) const fn counted(state: Option<StateKind>) -> &'static str {
    match state {
        None => "waiting + delivered + dead + cancelled",
        Some(StateKind::Due) => "waiting - in_flight - parked",
        Some(StateKind::Leased) => "in_flight",
        Some(StateKind::Parked) => "parked",
        Some(StateKind::Delivered) => "delivered",
        Some(StateKind::Dead) => "dead",
        Some(StateKind::Cancelled) => "cancelled",
    }
}
