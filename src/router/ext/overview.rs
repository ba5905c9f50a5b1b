//! A project at a glance.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::shown::{millis, seconds, time};
use crate::delivery::Delivery;
use crate::router::Api;
use crate::router::access::Action;
use crate::router::answer::{Answer, json};
use crate::router::ask::Ask;
use crate::store::{Hour, LaneState};
use crate::webhooks::{PolicyState, TargetState};

pub(in crate::router) async fn read(api: &Api, ask: Ask) -> Answer {
    let project = api.project(&ask, Action::List).await?;
    let states: Vec<_> = api.hooks.overview(project.id).await?.into_iter().map(ShownPolicy::from).collect();
    json(&states)
}

#[derive(Debug, Serialize)]
struct ShownPolicy {
    policy_id: i64,
    name: String,
    enabled: bool,
    last_delivery: Option<Last>,
    targets: Vec<ShownTarget>,
}

#[derive(Debug, Serialize)]
struct Last {
    id: i64,
    state: &'static str,
    #[serde(serialize_with = "time")]
    updated_at: DateTime<Utc>,
}

#[derive(Debug, Serialize)]
struct ShownTarget {
    target_id: i64,
    #[serde(rename = "type")]
    target_type: &'static str,
    address: String,
    waiting: u64,
    oldest_waiting_seconds: Option<f64>,
    parked: u64,
    lane: ShownLane,
    failures_in_row: u32,
    /// Empty also if the store does not count them.
    hours: Vec<ShownHour>,
}

#[derive(Debug, Default, Serialize)]
struct ShownLane {
    closed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    /// `null` if it is closed until somebody opens it.
    #[serde(skip_serializing_if = "Option::is_none")]
    opens_in_seconds: Option<Option<f64>>,
}

#[derive(Debug, Serialize)]
struct ShownHour {
    #[serde(serialize_with = "time")]
    hour: DateTime<Utc>,
    delivered: u64,
    failed: u64,
    mean_ms: f64,
    max_ms: f64,
}

impl From<PolicyState> for ShownPolicy {
    fn from(state: PolicyState) -> Self {
        Self {
            policy_id: state.policy_id.0,
            name: state.name,
            enabled: state.enabled,
            last_delivery: state.last_delivery.as_ref().map(Last::from),
            targets: state.targets.into_iter().map(ShownTarget::from).collect(),
        }
    }
}

impl From<&Delivery> for Last {
    fn from(delivery: &Delivery) -> Self {
        Self { id: delivery.id.0, state: delivery.state.as_str(), updated_at: delivery.updated_at }
    }
}

impl From<TargetState> for ShownTarget {
    fn from(state: TargetState) -> Self {
        let lane = state.lane.as_ref();
        Self {
            target_id: state.target_id.0,
            target_type: state.target_type.as_str(),
            address: state.address,
            waiting: lane.map_or(0, |lane| lane.waiting),
            oldest_waiting_seconds: lane.and_then(|lane| lane.oldest_waiting).map(seconds),
            parked: lane.map_or(0, |lane| lane.parked),
            failures_in_row: lane.map_or(0, |lane| lane.failures),
            lane: lane.map(ShownLane::from).unwrap_or_default(),
            hours: state.hours.unwrap_or_default().iter().map(ShownHour::from).collect(),
        }
    }
}

impl From<&LaneState> for ShownLane {
    fn from(lane: &LaneState) -> Self {
        let Some(why) = lane.closed else { return Self::default() };
        Self { closed: true, why: Some(why.as_str()), opens_in_seconds: Some(lane.opens_in.map(seconds)) }
    }
}

impl From<&Hour> for ShownHour {
    fn from(hour: &Hour) -> Self {
        let attempts = (hour.delivered + hour.failed).max(1);
        Self {
            hour: hour.begins_at,
            delivered: hour.delivered,
            failed: hour.failed,
            mean_ms: (millis(hour.latency) * 10.0 / attempts as f64).round() / 10.0,
            max_ms: millis(hour.max_latency),
        }
    }
}
