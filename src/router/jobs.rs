//! What Harbor has kept for old clients: the job list and the last triggers.
//!
//! Source: Harbor 2.16, `server/v2.0/handler/webhook_job.go`, `server/v2.0/handler/webhook.go:449-476`.

use std::collections::HashMap;

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Api;
use super::access::Action;
use super::answer::{Answer, json, json_as};
use super::ask::Ask;
use super::paging::Paging;
use super::q::{Term, Test, Value};
use super::records::{Job, millis};
use super::refusal::Refusal;
use super::selection::Selection;
use crate::event::EventType;
use crate::id::PolicyId;
use crate::policy::Policy;
use crate::store::{Filter, Page};

/// Policies whose last triggers are shown, the newest.
const POLICIES: usize = 500;
/// Deliveries that are looked at, the newest of each policy: in all, and of one at most.
const DELIVERIES: usize = 20_000;
const OF_ONE: usize = 1000;

/// The deliveries of a policy as Harbor showed them before it had executions.
pub(super) async fn jobs(api: &Api, ask: Ask) -> Answer {
    let project = api.project(&ask, Action::List).await?;
    let missing = || Refusal::unprocessable("policy_id in query is required");
    let policy = PolicyId(ask.query.int("policy_id")?.ok_or_else(missing)?);
    let policy = api.policy_in(&ask, &project, policy).await?;
    let paging = Paging::of(&ask.query)?;
    let mut which = Selection::of(Filter::policy(policy.id), &ask.query)?;
    if let Some(test) = statuses(ask.query.all("status")) {
        which = which.and(Term { key: "status".to_owned(), test });
    }
    let (page, total) = api.select(&which, paging).await?;
    let jobs = api.with_payloads(&page, Job::of).await?;
    json_as(StatusCode::OK, paging.headers(total, &ask.path, &ask.query), &jobs)
}

/// Several statuses mean any of them; in Harbor they end in a panic.
fn statuses<'a>(given: impl Iterator<Item = &'a str>) -> Option<Test> {
    let mut names: Vec<&str> = given.flat_map(|names| names.split(',')).take(16).collect();
    match names.len() {
        0 => None,
        1 => names.pop().map(|name| Test::Is(name.to_owned())),
        _ => Some(Test::OneOf(names.into_iter().map(|name| Value::Text(name.to_owned())).collect())),
    }
}

#[derive(Serialize)]
struct LastTrigger<'a> {
    creation_time: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    enabled: bool,
    event_type: &'a str,
    last_trigger_time: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    policy_name: &'a str,
}

/// How many deliveries of each of so many policies are looked at.
fn deliveries_of_each(policies: usize) -> usize {
    (DELIVERIES / policies.clamp(1, POLICIES)).min(OF_ONE)
}

/// When each policy was last triggered by each of its event types.
pub(super) async fn last_triggers(api: &Api, ask: Ask) -> Answer {
    let project = api.project(&ask, Action::Read).await?;
    let policies = api.policies_of(&project).await?;
    let mut triggers = Vec::new();
    let newest = Page::first(deliveries_of_each(policies.len()));
    for policy in policies.iter().take(POLICIES) {
        let last = api.last_of(policy, newest).await?;
        triggers.extend(policy.event_types.iter().map(|event_type| LastTrigger {
            creation_time: millis(policy.creation_time),
            enabled: policy.enabled,
            event_type: event_type.as_str(),
            last_trigger_time: last.get(event_type).map_or_else(|| NEVER.to_owned(), |time| millis(*time)),
            policy_name: &policy.name,
        }));
    }
    json(&triggers)
}

/// Go's zero time in milliseconds.
const NEVER: &str = "0001-01-01T00:00:00.000Z";

impl Api {
    /// The newest delivery of each event type.
    async fn last_of(&self, policy: &Policy, page: Page) -> Result<HashMap<EventType, DateTime<Utc>>, Refusal> {
        let newest = self.hooks.deliveries(&Filter::policy(policy.id), page).await?;
        // The newest comes first, and stays when the older ones are put in before it.
        Ok(newest.iter().rev().map(|delivery| (delivery.event_type, delivery.created_at)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_policies_there_are_the_work_is_bounded() {
        assert_eq!([0, 1, 20, 100].map(deliveries_of_each), [OF_ONE, OF_ONE, OF_ONE, 200]);
        assert!([500, 501, 100_000].iter().all(|policies| POLICIES * deliveries_of_each(*policies) == DELIVERIES));
    }
}
