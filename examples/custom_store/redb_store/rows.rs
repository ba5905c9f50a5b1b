//! What the tables hold, as JSON.

use std::time::Duration;

use chrono::{DateTime, Utc};
use harbor_webhook::delivery::breaker::{Before, Breaker, Gate, Health, News, Verdict};
use harbor_webhook::delivery::{Attempt, Delivery, FailureKind, Outcome, Rate, State};
use harbor_webhook::store::{Body, Hold};
use harbor_webhook::{DeliveryId, ErrorKind, EventType, PolicyId, ProjectId, TargetId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::clock::{between, micros};
use super::fault::Fault;

/// A delivery. Times without a zone are the store's own.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Row {
    pub(super) event_id: Uuid,
    pub(super) event_type: EventType,
    pub(super) project: ProjectId,
    pub(super) policy: PolicyId,
    pub(super) target: TargetId,
    pub(super) target_type: String,
    /// `None` if the format failed.
    pub(super) body: Option<Uuid>,
    pub(super) state: String,
    pub(super) reason: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) created: DateTime<Utc>,
    pub(super) updated: DateTime<Utc>,
    /// When it is due, or its lease ends, or since when it has been in a state that waits for nothing.
    pub(super) at: i64,
    /// What its age counts from.
    pub(super) since: i64,
    pub(super) token: i64,
    pub(super) attempts: u32,
    /// Attempts made before the last redelivery.
    pub(super) spent: u32,
    pub(super) losses: u32,
}

impl Row {
    pub(super) fn state(&self) -> Result<State, Fault> {
        State::from_name(&self.state, self.reason.as_deref()).ok_or_else(|| newer("a delivery's state"))
    }

    pub(super) fn set(&mut self, state: State, at: i64) {
        state.as_str().clone_into(&mut self.state);
        self.reason = state.reason().map(str::to_owned);
        self.at = at;
        self.updated = Utc::now();
    }

    pub(super) fn is(&self, state: State) -> bool {
        self.state == state.as_str()
    }

    pub(super) fn shown(&self, id: i64, now: i64) -> Result<Delivery, Fault> {
        let event = (self.event_id, self.event_type, self.project);
        let to = (self.policy, self.target, self.target_type.parse()?);
        let mut delivery = Delivery::new(DeliveryId(id), event, to, self.created);
        delivery.state = self.state()?;
        delivery.attempts = self.attempts;
        delivery.updated_at = self.updated;
        delivery.due_in = self.is(State::Due).then(|| between(now, self.at));
        delivery.detail.clone_from(&self.detail);
        Ok(delivery)
    }
}

/// A target's queue: its limits and its gate. The deliveries themselves are in the index `due`.
#[derive(Deserialize, Serialize)]
pub(super) struct Lane {
    pub(super) policy: PolicyId,
    pub(super) project: ProjectId,
    pub(super) max_waiting: u32,
    pub(super) max_in_flight: u32,
    /// Deliveries in any state: a lane lives as long as it has one.
    pub(super) rows: u32,
    /// Deliveries that are due, leased or parked.
    pub(super) waiting: u32,
    pub(super) in_flight: u32,
    pub(super) closed_until: i64,
    pub(super) why: Option<String>,
    pub(super) rate: Duration,
    /// When the rate has its next token.
    pub(super) next_token: i64,
    pub(super) health: Health,
    /// When the first of the failures was that the health counts.
    pub(super) failing_since: i64,
    /// When a delivery was last claimed, and a number that grows with every claim: who was served last comes last.
    pub(super) served: (i64, i64),
    /// Where the lane stands in the index `ready`, if it does.
    pub(super) ready: Option<(i64, i64)>,
}

impl Lane {
    pub(super) fn new(policy: PolicyId, project: ProjectId) -> Self {
        Self {
            policy,
            project,
            max_waiting: 1,
            max_in_flight: 1,
            rows: 0,
            waiting: 0,
            in_flight: 0,
            closed_until: 0,
            why: None,
            rate: Duration::ZERO,
            next_token: 0,
            health: Health::default(),
            failing_since: 0,
            served: (0, 0),
            ready: None,
        }
    }

    pub(super) fn hold(&self) -> Option<Hold> {
        self.why.as_deref().and_then(Hold::from_name)
    }

    pub(super) fn is_disabled(&self) -> bool {
        self.hold() == Some(Hold::TargetDisabled)
    }

    pub(super) fn rate(&self) -> Rate {
        Rate::per(1, self.rate)
    }

    /// How many may be in flight now.
    pub(super) fn room(&self) -> u32 {
        self.health.ramp.map_or(self.max_in_flight, |ramp| ramp.min(self.max_in_flight))
    }

    /// Closes the lane, unless it is closed for longer already.
    pub(super) fn close(&mut self, until: i64, why: Hold) {
        if until > self.closed_until {
            (self.closed_until, self.why) = (until, Some(why.as_str().to_owned()));
        }
    }

    /// An attempt says this about the target.
    pub(super) fn judge(
        &mut self,
        target: TargetId,
        verdict: Option<(Verdict, Breaker)>,
        now: i64,
    ) -> Result<Option<News>, Fault> {
        let Some((verdict, breaker)) = verdict.filter(|_| !self.is_disabled()) else { return Ok(None) };
        if self.health.failures == 0 {
            self.failing_since = now;
        }
        let failing_for = between(self.failing_since, now);
        let late = self.closed_until > now && self.hold().is_none_or(Hold::makes_late);
        let after = breaker.after(&Before::new(self.health, failing_for, late, self.max_in_flight), verdict, target.0);
        self.health = after.health;
        match after.gate {
            Gate::Stays => {}
            Gate::Closes(pause) => self.close(now.saturating_add(micros(pause)), Hold::CircuitOpen),
            Gate::Disables(_) => self.close(i64::MAX, Hold::TargetDisabled),
            _ => return Err(newer("what becomes of a lane")),
        }
        Ok(after.news)
    }
}

/// A body and how many deliveries send it.
#[derive(Deserialize, Serialize)]
pub(super) struct BodyRow {
    format: String,
    content_type: String,
    bytes: Vec<u8>,
    pub(super) users: u32,
}

impl BodyRow {
    pub(super) fn new(body: &Body) -> Self {
        let (format, content_type) = (body.format.to_string(), body.content_type.to_string());
        Self { format, content_type, bytes: body.bytes.to_vec(), users: 0 }
    }

    pub(super) fn body(self, id: Uuid) -> Body {
        Body::new(id, self.format, self.content_type, self.bytes.into())
    }
}

/// An attempt. The class of a failure is kept by its stable name.
#[derive(Deserialize, Serialize)]
pub(super) struct AttemptRow {
    started: DateTime<Utc>,
    micros: u64,
    status: Option<u16>,
    failure: Option<String>,
    text: String,
    truncated: bool,
    remote: Option<std::net::SocketAddr>,
}

impl AttemptRow {
    pub(super) fn new(attempt: Attempt) -> Result<Self, Fault> {
        let (status, failure, text, truncated) = match attempt.outcome {
            Outcome::Answered { status, body, truncated } => (Some(status), None, body, truncated),
            Outcome::Failed { kind, message } => (None, Some(kind.as_str().to_owned()), message, false),
            _ => return Err(newer("an attempt's outcome")),
        };
        let micros = u64::try_from(attempt.duration.as_micros()).unwrap_or(u64::MAX);
        let (started, remote) = (attempt.started_at, attempt.remote_addr);
        Ok(Self { started, micros, status, failure, text, truncated, remote })
    }

    pub(super) fn attempt(self) -> Result<Attempt, Fault> {
        let outcome = match (self.status, self.failure.as_deref().and_then(FailureKind::from_name)) {
            (Some(status), _) => Outcome::Answered { status, body: self.text, truncated: self.truncated },
            (None, Some(kind)) => Outcome::Failed { kind, message: self.text },
            (None, None) => return Err(newer("an attempt's outcome")),
        };
        let duration = Duration::from_micros(self.micros);
        Ok(Attempt::new(self.started, duration, outcome).remote_addr(self.remote))
    }
}

/// The crate's enums may grow; a store refuses what it cannot keep.
pub(super) fn newer(what: &str) -> Fault {
    Fault::told(ErrorKind::Store, format!("{what} is of a newer version than this store"))
}
