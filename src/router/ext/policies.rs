//! What operators do to a whole policy, or ask of a project.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::deliveries::Done;
use super::explained::Explained;
use super::shown::Again;
use crate::event::{Event, EventType};
use crate::id::{PolicyId, TargetId};
use crate::policy::Policy;
use crate::router::access::Action;
use crate::router::answer::{Answer, json, json_as};
use crate::router::ask::Ask;
use crate::router::refusal::Refusal;
use crate::router::{Api, query};
use crate::store::{Filter, Page, StateKind};

/// Deliveries looked at in one call.
const AT_ONCE: usize = 1000;

/// Which dead deliveries are sent again.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Since {
    since: Option<String>,
    after: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Of {
    event_type: Option<String>,
}

#[derive(Debug, Serialize)]
struct Sent {
    event_id: Uuid,
}

pub(in crate::router) async fn redeliver(api: &Api, ask: Ask, body: Body) -> Answer {
    let policy = api.policy_of(&ask, Action::Update).await?;
    let wanted: Since = ask.json(api, body).await?;
    let mut which = Filter::policy(policy.id).state(StateKind::Dead);
    which.since = wanted.since()?;
    let page = wanted.after.map_or(Page::first(AT_ONCE), |after| Page::after(after, AT_ONCE));
    json(&Again::from(api.hooks.redeliver_all(&which, page).await?))
}

pub(in crate::router) async fn test(api: &Api, ask: Ask, body: Body) -> Answer {
    let policy = api.policy_of(&ask, Action::Update).await?;
    let of: Of = ask.json(api, body).await?;
    let event_id = api.hooks.send_test(policy.id, of.event_type()?).await?;
    json_as(StatusCode::ACCEPTED, HeaderMap::new(), &Sent { event_id })
}

pub(in crate::router) async fn explain(api: &Api, ask: Ask, body: Body) -> Answer {
    let project = api.project(&ask, Action::Read).await?;
    let of: Of = ask.json(api, body).await?;
    let event_type = of.event_type()?.ok_or_else(|| Refusal::unprocessable("event_type in body is required"))?;
    let event = Event::sample(project.id, event_type, Utc::now())?;
    json(&Explained::from(api.hooks.explain(&event).await?))
}

/// Opens a target's lane, as saving its policy does.
pub(in crate::router) async fn enable(api: &Api, ask: Ask) -> Answer {
    let project = api.project(&ask, Action::Update).await?;
    let id = TargetId(ask.id("target_id")?);
    let policies = api.policies_of(&project).await?;
    if !policies.iter().any(|policy| policy.targets.iter().any(|target| target.id == id)) {
        return Err(Refusal::not_found(format!("target {id} not found")));
    }
    api.hooks.enable_target(id).await?;
    json(&Done {})
}

impl Since {
    /// As times in queries are read: within what every store can keep.
    fn since(&self) -> Result<Option<DateTime<Utc>>, Refusal> {
        let Some(text) = &self.since else { return Ok(None) };
        let refuse = || Refusal::unprocessable("since in body must be a time such as 2026-11-26T22:00:00Z");
        query::time(text).map(Some).ok_or_else(refuse)
    }
}

impl Of {
    fn event_type(&self) -> Result<Option<EventType>, Refusal> {
        let Some(name) = self.event_type.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
        Ok(Some(name.parse().map_err(|e: crate::Error| Refusal::from(e).field(Some("event_type".to_owned())))?))
    }
}

impl Api {
    async fn policy_of(&self, ask: &Ask, action: Action) -> Result<Policy, Refusal> {
        let project = self.project(ask, action).await?;
        self.policy_in(ask, &project, PolicyId(ask.id("policy_id")?)).await
    }
}
