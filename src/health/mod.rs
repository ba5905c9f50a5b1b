//! How it goes: what waits, what is closed and why, what failed last, and what is stuck, in words.
//!
//! [`Webhooks::health`](crate::Webhooks::health) makes a [`Health`]. Its serde form is meant for an endpoint: durations are
//! seconds, and their members' names end with `_seconds`.

mod diagnose;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::id::{DeliveryId, PolicyId, TargetId};
use crate::observe::Cycle;
use crate::store::{Hold, Status};

/// The state of the webhooks as one process sees it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// What is wrong, the worst first. Empty: nothing that could be seen.
    pub problems: Vec<Problem>,
    /// Whether webhooks are switched on; `None` if the store did not say, or the host keeps its policies itself.
    pub on: Option<bool>,
    /// What waits; `None` if the store did not answer.
    pub waiting: Option<Waiting>,
    /// Lanes that are closed now, at most 100.
    pub closed_lanes: Vec<Closed>,
    /// What [`run`](crate::Webhooks::run) does in this process.
    pub run: Runs,
    /// The last faults of the store that this process met, the newest first, at most ten.
    pub store_faults: Vec<StoreFault>,
    /// The last attempts of this process that failed, the newest first, at most ten.
    pub failed_attempts: Vec<FailedAttempt>,
}

impl Health {
    /// Whether nothing is wrong that could be seen. Receivers that are down are not: they are their owners' matter.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Something that is stuck or about to be, and what to do.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

impl Problem {
    fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what: what.into(), advice: advice.into() }
    }
}

/// What waits in the store.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Waiting {
    /// Events that are not fanned out.
    pub events: u64,
    /// The age of the oldest of them.
    #[serde(rename = "oldest_event_seconds", serialize_with = "seconds")]
    pub oldest_event: Option<Duration>,
    /// Deliveries that are due or in flight.
    pub deliveries: u64,
    /// The age of the oldest of them.
    #[serde(rename = "oldest_delivery_seconds", serialize_with = "seconds")]
    pub oldest_delivery: Option<Duration>,
    /// How many bytes they take, if the store knows.
    pub bytes: Option<u64>,
    /// Deliveries set aside by an operator.
    pub parked: u64,
    /// Deliveries given up and kept.
    pub dead: u64,
    /// Rows of the outbox that could not be read, at most 100.
    pub set_aside: usize,
}

impl Waiting {
    pub(crate) fn of(status: &Status) -> Self {
        Self {
            events: status.outbox,
            oldest_event: status.oldest_event,
            deliveries: status.waiting,
            oldest_delivery: status.oldest_waiting,
            bytes: status.waiting_bytes,
            parked: status.parked,
            dead: status.dead,
            set_aside: status.set_aside.len(),
        }
    }
}

/// A lane that is closed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Closed {
    /// The lane's target.
    pub target_id: TargetId,
    /// Its policy.
    pub policy_id: PolicyId,
    /// Why.
    #[serde(serialize_with = "name")]
    pub why: Hold,
    /// How long it stays closed.
    #[serde(rename = "opens_in_seconds", serialize_with = "seconds")]
    pub opens_in: Option<Duration>,
}

/// What [`run`](crate::Webhooks::run) does in this process.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Runs {
    /// How many are polled now.
    pub running: usize,
    /// Whether there was one since the process started.
    pub started: bool,
    /// The error with which the last one ended, if it ended with one.
    pub ended_with: Option<String>,
    /// Its cycles, while one runs.
    pub cycles: Vec<Rounds>,
}

/// How a cycle goes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Rounds {
    /// Which.
    #[serde(serialize_with = "cycle_name")]
    pub cycle: Cycle,
    /// The time since it last asked the store and was answered; since `run` began, if it never was.
    #[serde(rename = "answered_seconds_ago", serialize_with = "seconds")]
    pub answered: Option<Duration>,
    /// The time since it last found something to do.
    #[serde(rename = "worked_seconds_ago", serialize_with = "seconds")]
    pub worked: Option<Duration>,
    /// Whether its last call to the store failed.
    pub failing: bool,
}

/// A fault of the store.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StoreFault {
    /// When.
    pub at: DateTime<Utc>,
    /// Whose call failed.
    #[serde(serialize_with = "cycle_name")]
    pub cycle: Cycle,
    /// What the store said.
    pub error: String,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// When it started.
    pub at: DateTime<Utc>,
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// The event it carries.
    pub event_id: Uuid,
    /// The policy.
    pub policy_id: PolicyId,
    /// The endpoint.
    pub target_id: TargetId,
    /// What came of it, as [`Outcome::class`](crate::delivery::Outcome::class) names it.
    pub class: &'static str,
    /// The same in words.
    pub error: String,
}

fn seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    // Milliseconds are enough, and are read more easily.
    time.map(|time| time.as_millis() as f64 / 1000.0).serialize(serializer)
}

fn name<S: Serializer>(why: &Hold, serializer: S) -> Result<S::Ok, S::Error> {
    why.as_str().serialize(serializer)
}

fn cycle_name<S: Serializer>(cycle: &Cycle, serializer: S) -> Result<S::Ok, S::Error> {
    cycle.as_str().serialize(serializer)
}
