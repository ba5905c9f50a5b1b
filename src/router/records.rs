//! Deliveries in Harbor's words: executions, tasks and jobs.
//!
//! A delivery is one execution with one task, and all three have one number. What waits, is in flight or is parked is `Running`;
//! a task is `Pending` before its first attempt.
//!
//! Source: Harbor 2.16, `server/v2.0/handler/preheat.go:618-647,744-761`, `server/v2.0/handler/model/webhook_job.go:31-60`.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::row::{Field, Row};
use crate::delivery::{Attempt, Delivery, State};
use crate::policy::TargetType;

/// Go's zero time in whole seconds.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Members in the order of their names, as Harbor's generated server writes them.
#[derive(Debug, Serialize)]
pub(super) struct Execution {
    end_time: String,
    extra_attrs: ExtraAttrs,
    id: i64,
    metrics: Metrics,
    start_time: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<String>,
    trigger: &'static str,
    vendor_id: i64,
    vendor_type: &'static str,
}

#[derive(Debug, Serialize)]
struct ExtraAttrs {
    event_type: &'static str,
    payload: String,
}

#[derive(Debug, Default, Serialize)]
struct Metrics {
    #[serde(skip_serializing_if = "is_zero")]
    error_task_count: u8,
    #[serde(skip_serializing_if = "is_zero")]
    pending_task_count: u8,
    #[serde(skip_serializing_if = "is_zero")]
    running_task_count: u8,
    #[serde(skip_serializing_if = "is_zero")]
    stopped_task_count: u8,
    #[serde(skip_serializing_if = "is_zero")]
    success_task_count: u8,
    task_count: u8,
}

#[derive(Debug, Serialize)]
pub(super) struct Task {
    creation_time: String,
    end_time: String,
    execution_id: i64,
    id: i64,
    #[serde(skip_serializing_if = "is_zero_u32")]
    run_count: u32,
    start_time: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<String>,
    update_time: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Job {
    creation_time: String,
    event_type: &'static str,
    id: i64,
    job_detail: String,
    notify_type: &'static str,
    policy_id: i64,
    status: &'static str,
    update_time: String,
}

impl Execution {
    pub(super) fn of(delivery: &Delivery, payload: String) -> Self {
        Self {
            end_time: end_time(delivery),
            extra_attrs: ExtraAttrs { event_type: delivery.event_type.as_str(), payload },
            id: delivery.id.0,
            metrics: Metrics::of(delivery),
            start_time: seconds(delivery.created_at),
            status: status(delivery.state),
            status_message: message(delivery),
            trigger: "EVENT",
            vendor_id: delivery.policy_id.0,
            vendor_type: vendor_type(delivery.target_type),
        }
    }
}

impl Metrics {
    fn of(delivery: &Delivery) -> Self {
        let mut metrics = Self { task_count: 1, ..Self::default() };
        let one = match task_status(delivery) {
            "Pending" => &mut metrics.pending_task_count,
            "Success" => &mut metrics.success_task_count,
            "Error" => &mut metrics.error_task_count,
            "Stopped" => &mut metrics.stopped_task_count,
            _ => &mut metrics.running_task_count,
        };
        *one = 1;
        metrics
    }
}

impl Task {
    pub(super) fn of(delivery: &Delivery, attempts: &[Attempt]) -> Self {
        let started = attempts.last().map_or(delivery.created_at, |attempt| attempt.started_at);
        Self {
            creation_time: seconds(delivery.created_at),
            end_time: end_time(delivery),
            execution_id: delivery.id.0,
            id: delivery.id.0,
            run_count: delivery.attempts,
            start_time: seconds(started),
            status: task_status(delivery),
            status_message: message(delivery),
            update_time: seconds(delivery.updated_at),
        }
    }
}

impl Job {
    pub(super) fn of(delivery: &Delivery, payload: String) -> Self {
        Self {
            creation_time: millis(delivery.created_at),
            event_type: delivery.event_type.as_str(),
            id: delivery.id.0,
            job_detail: payload,
            notify_type: delivery.target_type.as_str(),
            policy_id: delivery.policy_id.0,
            status: status(delivery.state),
            update_time: millis(delivery.updated_at),
        }
    }
}

/// What clients filter and sort by, of executions and of jobs.
impl Row for Delivery {
    fn field(&self, key: &str) -> Option<Field<'_>> {
        Some(match key {
            "id" => Field::Int(self.id.0),
            "status" => status(self.state).into(),
            "trigger" => "EVENT".into(),
            "vendortype" => vendor_type(self.target_type).into(),
            "notifytype" => self.target_type.as_str().into(),
            "vendorid" | "policyid" => Field::Int(self.policy_id.0),
            "eventtype" | "extraattrs.eventtype" => self.event_type.as_str().into(),
            "starttime" | "creationtime" => Field::Time(self.created_at),
            "updatetime" => Field::Time(self.updated_at),
            "endtime" => Field::Time(if self.state.is_final() { self.updated_at } else { DateTime::UNIX_EPOCH }),
            _ => return None,
        })
    }
}

/// The status of an execution.
pub(super) const fn status(state: State) -> &'static str {
    match state {
        State::Due | State::Leased | State::Parked => "Running",
        State::Delivered => "Success",
        State::Dead(_) => "Error",
        State::Cancelled(_) => "Stopped",
    }
}

fn task_status(delivery: &Delivery) -> &'static str {
    let begun = delivery.attempts > 0 || delivery.state == State::Leased || delivery.state.is_final();
    if begun { status(delivery.state) } else { "Pending" }
}

/// Why it ended as it did, where Harbor has the error of its job.
fn message(delivery: &Delivery) -> Option<String> {
    let reason = delivery.state.reason()?;
    Some(delivery.detail.as_ref().map_or_else(|| reason.to_owned(), |detail| format!("{reason}: {detail}")))
}

fn end_time(delivery: &Delivery) -> String {
    if delivery.state.is_final() { seconds(delivery.updated_at) } else { NEVER.to_owned() }
}

const fn vendor_type(target_type: TargetType) -> &'static str {
    match target_type {
        TargetType::Http => "WEBHOOK",
        TargetType::Slack => "SLACK",
    }
}

fn seconds(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Harbor has milliseconds where its server writes times, and seconds where its handlers do.
pub(super) fn millis(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(number: &u8) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero_u32(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::delivery::{CancelReason, DeadReason};
    use crate::event::EventType;
    use crate::id::{DeliveryId, PolicyId, ProjectId, TargetId};

    fn delivery(id: i64, state: State, made: &str, updated: &str) -> Delivery {
        let event = (Uuid::nil(), EventType::PushArtifact, ProjectId(2));
        let to = (PolicyId(15), TargetId(1), TargetType::Http);
        let mut delivery = Delivery::new(DeliveryId(id), event, to, made.parse().unwrap());
        delivery.updated_at = updated.parse().unwrap();
        delivery.state = state;
        delivery.attempts = 1;
        delivery
    }

    fn done() -> Delivery {
        delivery(101, State::Delivered, "2023-04-03T06:04:53Z", "2023-04-03T06:04:54Z")
    }

    /// The golden value in compact form, and without spaces only where no string has one.
    fn golden(text: &str) -> String {
        text.lines().map(str::trim_start).collect::<String>().replace("\": ", "\":")
    }

    #[test]
    fn records_are_harbors_byte_for_byte() {
        let executions = include_str!("../../tests/fixtures/golden/rest/executions.json");
        let parsed: Value = serde_json::from_str(executions).unwrap();
        let payload = parsed[0]["extra_attrs"]["payload"].as_str().unwrap();
        let running = delivery(102, State::Due, "2023-04-03T06:05:30Z", "2023-04-03T06:05:30Z");
        let records = [&running, &done()].map(|delivery| Execution::of(delivery, payload.to_owned()));
        assert_eq!(serde_json::to_string(&records).unwrap(), golden(executions));

        let tasks = include_str!("../../tests/fixtures/golden/rest/tasks.json");
        let started = Attempt::new("2023-04-03T06:04:53Z".parse().unwrap(), std::time::Duration::ZERO, {
            crate::delivery::Outcome::Answered { status: 200, body: String::new(), truncated: false }
        });
        let task = Task { id: 202, ..Task::of(&done(), &[started]) };
        assert_eq!(serde_json::to_string(&[task]).unwrap(), golden(tasks));

        let jobs = include_str!("../../tests/fixtures/golden/rest/webhook_jobs.json");
        let job = Job::of(&done(), payload.to_owned());
        assert_eq!(serde_json::to_string(&[job]).unwrap(), golden(jobs));
    }

    #[test]
    fn states_become_statuses() {
        let statuses = |state, attempts| {
            let mut delivery = done();
            (delivery.state, delivery.attempts) = (state, attempts);
            let execution = serde_json::to_value(Execution::of(&delivery, String::new())).unwrap();
            let task = serde_json::to_value(Task::of(&delivery, &[])).unwrap();
            let texts = [&execution["status"], &task["status"], &task["status_message"]];
            texts.map(|text| text.as_str().unwrap_or("-").to_owned()).join(" ")
        };
        assert_eq!(statuses(State::Due, 0), "Running Pending -");
        assert_eq!(statuses(State::Leased, 0), "Running Running -");
        assert_eq!(statuses(State::Due, 1), "Running Running -");
        assert_eq!(statuses(State::Parked, 0), "Running Pending -");
        assert_eq!(statuses(State::Delivered, 1), "Success Success -");
        assert_eq!(statuses(State::Dead(DeadReason::Exhausted), 4), "Error Error exhausted");
        assert_eq!(statuses(State::Cancelled(CancelReason::Operator), 0), "Stopped Stopped operator");
        let waiting = delivery(1, State::Due, "2023-04-03T06:04:53Z", "2023-04-03T06:04:53Z");
        assert_eq!(serde_json::to_value(Task::of(&waiting, &[])).unwrap()["end_time"], json!(NEVER));
    }
}
