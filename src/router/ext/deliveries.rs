//! Deliveries as the store keeps them: list, read, send again, give up.

use std::str::FromStr as _;

use serde::Serialize;
use uuid::Uuid;

use super::shown::{Shown, Whole};
use crate::event::EventType;
use crate::id::{DeliveryId, PolicyId, TargetId};
use crate::router::access::{Action, Project};
use crate::router::answer::{Answer, json};
use crate::router::ask::Ask;
use crate::router::refusal::Refusal;
use crate::router::{Api, query::Query};
use crate::store::{Detail, Filter, Page, StateKind};

/// Entries of a page that does not say how many it wants, and of one that wants more than it gets.
const FEW: i64 = 50;
const MOST: i64 = 100;

/// Nothing to say but that it is done.
#[derive(Debug, Serialize)]
pub(super) struct Done {}

pub(in crate::router) async fn list(api: &Api, ask: Ask) -> Answer {
    let project = api.project(&ask, Action::Read).await?;
    let which = filter(&ask.query, &project)?;
    let limit = ask.query.int("limit")?.unwrap_or(FEW);
    let limit = usize::try_from(limit).ok().filter(|limit| (1..=MOST as usize).contains(limit));
    let limit = limit.ok_or_else(|| Refusal::unprocessable(format!("limit in query must be from 1 to {MOST}")))?;
    let page = ask.query.int("after")?.map_or(Page::first(limit), |after| Page::after(after, limit));
    let shown: Vec<Shown> = api.hooks.deliveries(&which, page).await?.into_iter().map(Shown::from).collect();
    json(&shown)
}

fn filter(query: &Query, project: &Project) -> Result<Filter, Refusal> {
    let mut which = Filter::project(project.id);
    which.policy_id = query.int("policy_id")?.map(PolicyId);
    which.target_id = query.int("target_id")?.map(TargetId);
    which.event_id = query.read("event_id", "a UUID", |text| Uuid::from_str(text).ok())?;
    which.event_type =
        query.read("event_type", "one of Harbor's event types", |text| text.parse::<EventType>().ok())?;
    which.state = query.read("state", "due, leased, parked, delivered, dead or cancelled", StateKind::from_name)?;
    which.since = query.time("since")?;
    which.until = query.time("until")?;
    Ok(which)
}

pub(in crate::router) async fn read(api: &Api, ask: Ask) -> Answer {
    json(&Whole::from(api.delivery(&ask, Action::Read).await?))
}

pub(in crate::router) async fn redeliver(api: &Api, ask: Ask) -> Answer {
    let detail = api.delivery(&ask, Action::Update).await?;
    api.hooks.redeliver(detail.delivery.id).await?;
    json(&Done {})
}

pub(in crate::router) async fn cancel(api: &Api, ask: Ask) -> Answer {
    let detail = api.delivery(&ask, Action::Update).await?;
    api.hooks.cancel(detail.delivery.id).await?;
    json(&Done {})
}

impl Api {
    /// The delivery that the path names, if it is of the project that the path names and the caller may do this there. One of another
    /// project is told from none to nobody.
    async fn delivery(&self, ask: &Ask, action: Action) -> Result<Detail, Refusal> {
        let project = self.project(ask, action).await?;
        let id = DeliveryId(ask.id("delivery_id")?);
        let found = self.hooks.delivery(id).await?.filter(|found| found.delivery.project_id == project.id);
        found.ok_or_else(|| {
            Refusal::not_found(format!("delivery {id} not found; it was never made, or swept from the history"))
        })
    }
}
