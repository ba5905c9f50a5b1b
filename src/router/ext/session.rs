//! Who is calling and what they may see, and how it goes.

use serde::Serialize;

use crate::router::Api;
use crate::router::access::Action;
use crate::router::answer::{Answer, json};
use crate::router::ask::Ask;
use crate::router::refusal::Refusal;

#[derive(Debug, Serialize)]
struct Session<'a> {
    name: &'a str,
    system_admin: bool,
    webhooks_enabled: bool,
}

#[derive(Debug, Serialize)]
struct Allowed {
    id: i64,
    name: String,
    actions: Vec<&'static str>,
}

pub(in crate::router) async fn session(api: &Api, ask: Ask) -> Answer {
    let caller = ask.caller()?;
    let webhooks_enabled = api.hooks.is_on().await?;
    json(&Session { name: &caller.name, system_admin: caller.system_admin, webhooks_enabled })
}

/// Those in which the caller may at least list policies.
pub(in crate::router) async fn projects(api: &Api, ask: Ask) -> Answer {
    ask.caller()?;
    let mut allowed = Vec::new();
    for project in api.all_projects().await? {
        let actions = api.actions(&ask, project.id).await?;
        if actions.contains(&Action::List.as_str()) {
            allowed.push(Allowed { id: project.id.0, name: project.name, actions });
        }
    }
    json(&allowed)
}

/// Of all projects, so for system administrators only.
pub(in crate::router) async fn health(api: &Api, ask: Ask) -> Answer {
    ask.admin()?;
    json(&api.hooks.health().await)
}

impl Api {
    async fn actions(&self, ask: &Ask, project: crate::ProjectId) -> Result<Vec<&'static str>, Refusal> {
        let mut actions = Vec::new();
        for action in Action::ALL {
            if self.may(ask.caller()?, project, action).await? {
                actions.push(action.as_str());
            }
        }
        Ok(actions)
    }
}
