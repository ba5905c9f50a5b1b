//! How targets fare: their lanes now, and their attempts of the last two days.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::Hold;
use crate::delivery::Attempt;
use crate::id::{PolicyId, TargetId};

/// How a lane stands.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LaneState {
    /// The lane's target.
    pub target_id: TargetId,
    /// Its policy.
    pub policy_id: PolicyId,
    /// Deliveries that are due or leased.
    pub waiting: u64,
    /// How long the oldest of them has been waiting. A store that would have to look at all of them may give the longest of what
    /// is leased and of what is due first.
    pub oldest_waiting: Option<Duration>,
    /// Deliveries set aside.
    pub parked: u64,
    /// Why the lane is closed; `None` if it is open.
    pub closed: Option<Hold>,
    /// How long it stays closed; `None` if it is open, or closed until somebody opens it.
    pub opens_in: Option<Duration>,
    /// Attempts since the last one that was taken, all of which failed.
    pub failures: u32,
}

impl LaneState {
    /// A lane that is empty and open. For stores: set what is different.
    pub const fn new(target_id: TargetId, policy_id: PolicyId) -> Self {
        Self {
            target_id,
            policy_id,
            waiting: 0,
            oldest_waiting: None,
            parked: 0,
            closed: None,
            opens_in: None,
            failures: 0,
        }
    }

    /// Sets the gate, of a lane that is closed now.
    #[must_use]
    pub fn closed(mut self, why: Hold, opens_in: Duration) -> Self {
        self.closed = Some(why);
        self.opens_in = (why != Hold::TargetDisabled).then_some(opens_in);
        self
    }
}

/// What a target's attempts of one hour came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Hour {
    /// The target.
    pub target_id: TargetId,
    /// When the hour began. An attempt belongs to the hour in which it was written down.
    pub begins_at: DateTime<Utc>,
    /// Attempts that the receiver took.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// How long all of them took together.
    pub latency: Duration,
    /// How long the longest took.
    pub max_latency: Duration,
}

impl Hour {
    /// How many hours are kept, the present one among them.
    pub const KEPT: u32 = 48;

    /// For stores: the hour of a target in which this time lies, without attempts.
    pub fn of(target_id: TargetId, time: DateTime<Utc>) -> Self {
        let begins_at = begin(time);
        Self { target_id, begins_at, delivered: 0, failed: 0, latency: Duration::ZERO, max_latency: Duration::ZERO }
    }

    /// For stores: when the oldest hour began that is kept at this time.
    pub fn oldest_kept(now: DateTime<Utc>) -> DateTime<Utc> {
        begin(now) - TimeDelta::hours(i64::from(Self::KEPT) - 1)
    }

    /// For stores: one more attempt.
    pub fn add(&mut self, attempt: &Attempt) {
        match attempt.outcome.is_success() {
            true => self.delivered += 1,
            false => self.failed += 1,
        }
        self.latency = self.latency.saturating_add(attempt.duration);
        self.max_latency = self.max_latency.max(attempt.duration);
    }

    /// How long an attempt took on average.
    pub fn mean_latency(&self) -> Duration {
        let attempts = u32::try_from(self.delivered + self.failed).unwrap_or(u32::MAX);
        self.latency.checked_div(attempts).unwrap_or_default()
    }
}

fn begin(time: DateTime<Utc>) -> DateTime<Utc> {
    let seconds = time.timestamp();
    DateTime::from_timestamp(seconds - seconds.rem_euclid(3600), 0).unwrap_or(time)
}
