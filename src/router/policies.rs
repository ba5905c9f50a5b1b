//! Harbor's policies: list, create, read, replace, delete.
//!
//! Source: Harbor 2.16, `server/v2.0/handler/webhook.go:103-240`.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;

use super::access::{Action, Project};
use super::answer::{Answer, empty, json, json_as};
use super::ask::Ask;
use super::fields::field_of;
use super::paging::{Paging, escape_path};
use super::refusal::Refusal;
use super::row::{Field, Row};
use super::{Api, q, sort};
use crate::error::Error;
use crate::id::PolicyId;
use crate::policy::{HarborPolicy, Policy, PolicyDraft};
use crate::store::{Filter, Page, PolicyFilter, StateKind};

/// Policies of a project that are looked at, the newest. The store cannot filter and sort them, and nobody has so many.
const MOST: usize = 10_000;

pub(super) async fn list(api: &Api, ask: Ask) -> Answer {
    let project = api.project(&ask, Action::List).await?;
    let paging = Paging::of(&ask.query)?;
    let terms = q::parse(ask.query.get("q").unwrap_or_default()).map_err(Refusal::bad_request)?;
    let mut policies = api.policies_of(&project).await?;
    policies.retain(|policy| terms.iter().all(|term| term.selects(policy)));
    sort::apply(&mut policies, &sort::parse(ask.query.get("sort").unwrap_or("-creation_time")));
    let headers = paging.headers(policies.len() as u64, &ask.path, &ask.query);
    let shown: Vec<_> = paging.cut(policies).iter().map(|policy| api.show(policy)).collect();
    json_as(StatusCode::OK, headers, &shown)
}

pub(super) async fn create(api: &Api, ask: Ask, body: Body) -> Answer {
    let project = api.project(&ask, Action::Create).await?;
    let sent = sent(api, &ask, body, 0).await?;
    api.check_room(&project, sent.targets.len()).await?;
    let mut draft = PolicyDraft::try_from(sent.clone()).map_err(|error| api.not_saved(error, &sent))?;
    draft.creator.clone_from(&ask.caller()?.name);
    let policy = api.hooks.policies().create(project.id, draft).await;
    let policy = policy.map_err(|error| api.not_saved(error, &sent))?;
    let location = format!("{}/{}", escape_path(ask.path.trim_end_matches('/')), policy.id);
    let mut headers = HeaderMap::new();
    headers.extend(HeaderValue::try_from(location).ok().map(|location| (header::LOCATION, location)));
    Ok((StatusCode::CREATED, headers).into_response())
}

pub(super) async fn read(api: &Api, ask: Ask) -> Answer {
    let (_, policy) = api.policy(&ask, Action::Read).await?;
    json(&api.show(&policy))
}

pub(super) async fn replace(api: &Api, ask: Ask, body: Body) -> Answer {
    let (project, old) = api.policy(&ask, Action::Update).await?;
    let sent = sent(api, &ask, body, old.targets.len()).await?;
    let more = sent.targets.len().saturating_sub(old.targets.len());
    if more > 0 {
        api.check_targets(&api.policies_of(&project).await?, more)?;
    }
    let mut draft = sent.clone().replacing(&old).map_err(|error| api.not_saved(error, &sent))?;
    // It stays who it was: whoever may change a policy has not made it.
    draft.creator.clear();
    api.hooks.policies().replace(old.id, draft).await.map_err(|error| api.not_saved(error, &sent))?;
    empty()
}

pub(super) async fn delete(api: &Api, ask: Ask) -> Answer {
    let (_, policy) = api.policy(&ask, Action::Delete).await?;
    if api.options.refuse_delete_while_waiting && api.waits(policy.id).await? {
        let id = policy.id;
        let message = format!(
            "failed to delete executions for webhook of policy {id}: contains executions that aren't in final status, \
             stop the execution first"
        );
        return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "UNKNOWN", message));
    }
    api.hooks.policies().delete(policy.id).await?;
    empty()
}

/// The policy in the body. One that the host has given more targets may keep as many.
async fn sent(api: &Api, ask: &Ask, body: Body, had: usize) -> Result<HarborPolicy, Refusal> {
    let body = ask.read(api, body).await?;
    let sent = HarborPolicy::from_json(&body).map_err(|error| Refusal::unprocessable(error.to_string()))?;
    let most = api.options.max_targets.max(had);
    if sent.targets.len() > most {
        let refusal = Refusal::bad_request(format!("more than {most} targets; make another policy for the rest"));
        return Err(refusal.field(Some("targets".to_owned())));
    }
    Ok(sent)
}

impl Api {
    /// The newest policies of a project.
    pub(super) async fn policies_of(&self, project: &Project) -> Result<Vec<Policy>, Refusal> {
        Ok(self.hooks.policies().list(PolicyFilter::Project(project.id), Page::first(MOST)).await?)
    }

    /// The policy that the path names, if the caller may do this in its project.
    pub(super) async fn policy(&self, ask: &Ask, action: Action) -> Result<(Project, Policy), Refusal> {
        let project = self.project(ask, action).await?;
        let id = PolicyId(ask.id("webhook_policy_id")?);
        let policy = self.policy_in(ask, &project, id).await?;
        Ok((project, policy))
    }

    /// A policy of this project.
    pub(super) async fn policy_in(&self, ask: &Ask, project: &Project, id: PolicyId) -> Result<Policy, Refusal> {
        let policy = self.hooks.policies().get(id).await?;
        if policy.project_id == project.id {
            return Ok(policy);
        }
        // Who may not read the other project learns nothing of what is in it.
        if self.may(ask.caller()?, policy.project_id, Action::Read).await? {
            let message = format!("resource not found: project id:{}, webhook policy id: {id} not found", project.id);
            return Err(Refusal::not_found(message));
        }
        Err(Refusal::not_found(format!("notificationPolicy {id} not found")))
    }

    /// Everything that lists a project's policies, and each event in it, costs more with each of them.
    async fn check_room(&self, project: &Project, targets: usize) -> Result<(), Refusal> {
        let (policies, most) = (self.policies_of(project).await?, self.options.max_policies);
        if policies.len() >= most {
            return Err(no_room(format!("the project has {most} policies, and can have no more; delete one")));
        }
        self.check_targets(&policies, targets)
    }

    /// Whether there can be so many targets more.
    fn check_targets(&self, policies: &[Policy], more: usize) -> Result<(), Refusal> {
        let has: usize = policies.iter().map(|policy| policy.targets.len()).sum();
        let most = self.options.max_project_targets;
        if has + more > most {
            let message =
                format!("the policies of a project can have {most} targets together, and have {has}; delete some");
            return Err(no_room(message));
        }
        Ok(())
    }

    fn show(&self, policy: &Policy) -> HarborPolicy {
        if self.options.show_secrets { HarborPolicy::with_secrets(policy) } else { HarborPolicy::masked(policy) }
    }

    /// Whether anything of the policy is not finished.
    async fn waits(&self, policy: PolicyId) -> Result<bool, Refusal> {
        for state in [StateKind::Due, StateKind::Leased, StateKind::Parked] {
            if self.hooks.count_deliveries(&Filter::policy(policy).state(state)).await? > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn not_saved(&self, error: Error, sent: &HarborPolicy) -> Refusal {
        let field = field_of(&error, sent, |one| {
            let draft = PolicyDraft::try_from(one)?;
            self.hooks.policies().check(&draft)
        });
        Refusal::from(error).field(field)
    }
}

fn no_room(message: String) -> Refusal {
    Refusal::new(StatusCode::CONFLICT, "CONFLICT", message)
}

impl Row for Policy {
    fn field(&self, key: &str) -> Option<Field<'_>> {
        Some(match key {
            "id" => Field::Int(self.id.0),
            "name" => (&*self.name).into(),
            "description" => (&*self.description).into(),
            "projectid" => Field::Int(self.project_id.0),
            "creator" => (&*self.creator).into(),
            "creationtime" => Field::Time(self.creation_time),
            "updatetime" => Field::Time(self.update_time),
            "enabled" => Field::Bool(self.enabled),
            _ => return None,
        })
    }
}
