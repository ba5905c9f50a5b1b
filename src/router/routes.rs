//! What is served, as a table: the router, the OpenAPI document and its test go by it.

use axum::body::Body;

use super::answer::Answer;
use super::ask::Ask;
use super::{Api, policies};

/// An endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Call {
    ListPolicies,
    CreatePolicy,
    ReadPolicy,
    ReplacePolicy,
    DeletePolicy,
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
];

/// What Harbor does not have.
pub(super) const EXT: &[Route] = &[];

impl Call {
    pub(super) async fn answer(self, api: &Api, ask: Ask, body: Body) -> Answer {
        match self {
            Self::ListPolicies => policies::list(api, ask).await,
            Self::CreatePolicy => policies::create(api, ask, body).await,
            Self::ReadPolicy => policies::read(api, ask).await,
            Self::ReplacePolicy => policies::replace(api, ask, body).await,
            Self::DeletePolicy => policies::delete(api, ask).await,
        }
    }
}
