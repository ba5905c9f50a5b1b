//! What is served, as a table: the router, the OpenAPI document and its test go by it.

use axum::body::Body;

use super::answer::Answer;
use super::ask::Ask;
use super::{Api, ext, history, jobs, openapi, policies, system};

/// An endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Call {
    ListPolicies,
    CreatePolicy,
    ReadPolicy,
    ReplacePolicy,
    DeletePolicy,
    Executions,
    Tasks,
    Log,
    Events,
    LastTriggers,
    Jobs,
    Configurations,
    Configure,
    SystemInfo,
    Session,
    Projects,
    Overview,
    Deliveries,
    ReadDelivery,
    Redeliver,
    Cancel,
    RedeliverAll,
    Test,
    Explain,
    EnableTarget,
    Health,
    OpenApi,
}

/// Where it is served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) method: &'static str,
    /// Behind the path that the host has chosen.
    pub(super) path: &'static str,
    pub(super) call: Call,
}

const fn route(method: &'static str, path: &'static str, call: Call) -> Route {
    Route { method, path, call }
}

/// Harbor's own.
pub(super) const BASE: &[Route] = &[
    route("GET", "/projects/{project}/webhook/policies", Call::ListPolicies),
    route("POST", "/projects/{project}/webhook/policies", Call::CreatePolicy),
    route("GET", "/projects/{project}/webhook/policies/{webhook_policy_id}", Call::ReadPolicy),
    route("PUT", "/projects/{project}/webhook/policies/{webhook_policy_id}", Call::ReplacePolicy),
    route("DELETE", "/projects/{project}/webhook/policies/{webhook_policy_id}", Call::DeletePolicy),
    route("GET", "/projects/{project}/webhook/policies/{webhook_policy_id}/executions", Call::Executions),
    route(
        "GET",
        "/projects/{project}/webhook/policies/{webhook_policy_id}/executions/{execution_id}/tasks",
        Call::Tasks,
    ),
    route(
        "GET",
        "/projects/{project}/webhook/policies/{webhook_policy_id}/executions/{execution_id}/tasks/{task_id}/log",
        Call::Log,
    ),
    route("GET", "/projects/{project}/webhook/events", Call::Events),
    route("GET", "/projects/{project}/webhook/lasttrigger", Call::LastTriggers),
    route("GET", "/projects/{project}/webhook/jobs", Call::Jobs),
    route("GET", "/configurations", Call::Configurations),
    route("PUT", "/configurations", Call::Configure),
    route("GET", "/systeminfo", Call::SystemInfo),
];

/// What Harbor does not have.
pub(super) const EXT: &[Route] = &[
    route("GET", "/session", Call::Session),
    route("GET", "/projects", Call::Projects),
    route("GET", "/projects/{project}/overview", Call::Overview),
    route("GET", "/projects/{project}/deliveries", Call::Deliveries),
    route("GET", "/projects/{project}/deliveries/{delivery_id}", Call::ReadDelivery),
    route("POST", "/projects/{project}/deliveries/{delivery_id}/redeliver", Call::Redeliver),
    route("POST", "/projects/{project}/deliveries/{delivery_id}/cancel", Call::Cancel),
    route("POST", "/projects/{project}/policies/{policy_id}/redeliver", Call::RedeliverAll),
    route("POST", "/projects/{project}/policies/{policy_id}/test", Call::Test),
    route("POST", "/projects/{project}/explain", Call::Explain),
    route("POST", "/projects/{project}/targets/{target_id}/enable", Call::EnableTarget),
    route("GET", "/health", Call::Health),
    route("GET", "/openapi.json", Call::OpenApi),
];

impl Call {
    /// Whether its request has a body that says something.
    const fn takes_body(self) -> bool {
        matches!(
            self,
            Self::CreatePolicy
                | Self::ReplacePolicy
                | Self::Configure
                | Self::RedeliverAll
                | Self::Test
                | Self::Explain
        )
    }

    pub(super) async fn answer(self, api: &Api, ask: Ask, body: Body) -> Answer {
        let body = if self.takes_body() || ask.caller.is_none() {
            body
        } else {
            // Clients send `{}` with deletions. What is left unread would cost them their connection.
            ask.read(api, body).await?;
            Body::empty()
        };
        match self {
            Self::ListPolicies => policies::list(api, ask).await,
            Self::CreatePolicy => policies::create(api, ask, body).await,
            Self::ReadPolicy => policies::read(api, ask).await,
            Self::ReplacePolicy => policies::replace(api, ask, body).await,
            Self::DeletePolicy => policies::delete(api, ask).await,
            Self::Executions => history::executions(api, ask).await,
            Self::Tasks => history::tasks(api, ask).await,
            Self::Log => history::log(api, ask).await,
            Self::Events => system::events(api, ask).await,
            Self::LastTriggers => jobs::last_triggers(api, ask).await,
            Self::Jobs => jobs::jobs(api, ask).await,
            Self::Configurations => system::configurations(api, ask).await,
            Self::Configure => system::configure(api, ask, body).await,
            Self::SystemInfo => system::system_info(api, ask).await,
            Self::Session => ext::session::session(api, ask).await,
            Self::Projects => ext::session::projects(api, ask).await,
            Self::Overview => ext::overview::read(api, ask).await,
            Self::Deliveries => ext::deliveries::list(api, ask).await,
            Self::ReadDelivery => ext::deliveries::read(api, ask).await,
            Self::Redeliver => ext::deliveries::redeliver(api, ask).await,
            Self::Cancel => ext::deliveries::cancel(api, ask).await,
            Self::RedeliverAll => ext::policies::redeliver(api, ask, body).await,
            Self::Test => ext::policies::test(api, ask, body).await,
            Self::Explain => ext::policies::explain(api, ask, body).await,
            Self::EnableTarget => ext::policies::enable(api, ask).await,
            Self::Health => ext::session::health(api, ask).await,
            Self::OpenApi => openapi::read(api, ask).await,
        }
    }
}
