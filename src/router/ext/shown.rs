//! How deliveries and attempts are written. Durations are seconds, and their members' names end with `_seconds`.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::delivery::{Attempt, Delivery, Outcome};
use crate::store::Detail;
use crate::webhooks::Redelivered;

/// A delivery. `attempts` is how many were made, or all of them.
#[derive(Debug, Serialize)]
pub(super) struct Shown<A = u32> {
    id: i64,
    event_id: Uuid,
    event_type: &'static str,
    policy_id: i64,
    target_id: i64,
    target_type: &'static str,
    state: &'static str,
    reason: Option<&'static str>,
    detail: Option<String>,
    test: bool,
    attempts: A,
    #[serde(serialize_with = "time")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "time")]
    updated_at: DateTime<Utc>,
    due_in_seconds: Option<f64>,
}

impl<A> Shown<A> {
    fn new(delivery: Delivery, attempts: A) -> Self {
        Self {
            id: delivery.id.0,
            event_id: delivery.event_id,
            event_type: delivery.event_type.as_str(),
            policy_id: delivery.policy_id.0,
            target_id: delivery.target_id.0,
            target_type: delivery.target_type.as_str(),
            state: delivery.state.as_str(),
            reason: delivery.state.reason(),
            test: delivery.is_test(),
            detail: delivery.detail,
            attempts,
            created_at: delivery.created_at,
            updated_at: delivery.updated_at,
            due_in_seconds: delivery.due_in.map(seconds),
        }
    }
}

impl From<Delivery> for Shown {
    fn from(delivery: Delivery) -> Self {
        let attempts = delivery.attempts;
        Self::new(delivery, attempts)
    }
}

/// A delivery with its body and its attempts.
#[derive(Debug, Serialize)]
pub(super) struct Whole {
    #[serde(flatten)]
    delivery: Shown<Vec<Made>>,
    /// `None` if the format failed.
    body: Option<String>,
    body_id: Option<Uuid>,
    content_type: Option<String>,
}

impl From<Detail> for Whole {
    fn from(detail: Detail) -> Self {
        let attempts = (1..).zip(&detail.attempts).map(|(number, attempt)| Made::new(number, attempt)).collect();
        Self {
            delivery: Shown::new(detail.delivery, attempts),
            // Formats write text; what a host's own writes else is shown as far as it is.
            body: detail.body.as_ref().map(|body| String::from_utf8_lossy(&body.bytes).into_owned()),
            body_id: detail.body.as_ref().map(|body| body.id),
            content_type: detail.body.map(|body| body.content_type.to_string()),
        }
    }
}

/// An attempt that was made.
#[derive(Debug, Serialize)]
struct Made {
    number: usize,
    #[serde(serialize_with = "time")]
    started_at: DateTime<Utc>,
    duration_ms: f64,
    /// `Outcome::class`.
    outcome: &'static str,
    status: Option<u16>,
    error: Option<String>,
    answer: Option<String>,
    answer_truncated: bool,
    remote_addr: Option<String>,
}

impl Made {
    fn new(number: usize, attempt: &Attempt) -> Self {
        let (status, answer, answer_truncated, error) = match &attempt.outcome {
            Outcome::Answered { status, body, truncated } => (Some(*status), Some(body.clone()), *truncated, None),
            Outcome::Failed { message, .. } => (None, None, false, Some(message.clone())),
        };
        Self {
            number,
            started_at: attempt.started_at,
            duration_ms: millis(attempt.duration),
            outcome: attempt.outcome.class(),
            status,
            error,
            answer: answer.filter(|answer| !answer.is_empty()),
            answer_truncated,
            remote_addr: attempt.remote_addr.map(|addr| addr.to_string()),
        }
    }
}

/// What came of redelivering many.
#[derive(Debug, Serialize)]
pub(super) struct Again {
    count: u64,
    skipped: SkippedShown,
    next: Option<i64>,
}

#[derive(Debug, Serialize)]
struct SkippedShown {
    target_gone: u64,
    waiting: u64,
    no_body: u64,
    meanwhile: u64,
}

impl From<Redelivered> for Again {
    fn from(done: Redelivered) -> Self {
        let skipped = done.skipped;
        Self {
            count: done.count,
            skipped: SkippedShown {
                target_gone: skipped.target_gone,
                waiting: skipped.waiting,
                no_body: skipped.no_body,
                meanwhile: skipped.meanwhile,
            },
            next: done.next,
        }
    }
}

/// Milliseconds are enough, and are read more easily.
pub(super) fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1000.0
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

pub(super) fn time<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}
