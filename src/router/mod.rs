//! Harbor's REST API for webhooks, and what goes beyond it, as a router that a host mounts.
//!
//! [`webhook_router`] serves two groups of paths. Under one stands Harbor's own API, for clients that know it: policies, executions,
//! tasks, logs, supported events, the last trigger, the deprecated job list, and of `/configurations` and `/systeminfo` the
//! one member that is about webhooks. Under the other stands what Harbor does not have: redelivering, cancelling, tests, explanations,
//! health, the state of targets, and an OpenAPI document of all of it.
//!
//! The host says who is calling and what they may do ([`Authorizer`]), and which projects there are ([`ProjectDirectory`]). There
//! is no default that lets anyone in.
//!
//! # Where it differs from Harbor, and why
//!
//! * Secrets are masked for readers; a mask that is sent back keeps what is stored. [`RouterOptions::show_secrets`] is Harbor's way.
//! * A policy's creator is the caller's name. In Harbor it is whatever the client sends.
//! * Deleting a policy cancels what waits for it. [`RouterOptions::refuse_delete_while_waiting`] is Harbor's way: 412.
//! * Who is calling is asked before the body is read: nobody's body is read who may not send it.
//! * A project's number must be one that exists. Harbor creates policies in projects that do not.
//! * A policy of another project is told from one that does not exist only to those who may read that project.
//! * `page_size=0` gives 1000 entries at most, and links to the next; in Harbor it gives everything.
//! * A project has at most 2000 policies, with 2000 targets together, and a policy 100 targets: [`RouterOptions`].
//! * Executions can be filtered and sorted by anything in Harbor. Here the store answers filters by event type, final status, id and start
//!   time, and the order of time; for anything else the newest 5000 of what the store selects are looked at.
//! * Links keep escaped what would otherwise change their meaning.
//! * A parked delivery, which Harbor does not know, is `Running`; a delivery that waits for a retry is too, where Harbor shows `Error`
//!   in the meantime.
//!
//! # Who may cause a request
//!
//! A browser sends the cookies of this site with requests that other sites cause. Requests that change something are refused
//! when the browser says so (`Sec-Fetch-Site`, or an `Origin` other than `Host`), so hosts with sessions in cookies need no token beside.
//! Behind a proxy, `Host` must arrive as the browser sent it.
//!
//! # Bounds
//!
//! Bodies have a bound and a time ([`RouterOptions`]), and so have pages, conditions, policies of a project and targets of a policy. What a server must bound itself is how long a client may take for
//! the head of a request, and how many connections there are.

mod access;
mod answer;
mod ask;
mod body;
mod csrf;
mod ext;
mod fields;
mod history;
mod jobs;
mod openapi;
mod options;
mod paging;
mod policies;
mod q;
mod query;
mod records;
mod refusal;
mod request_id;
mod routes;
mod row;
mod selection;
mod serve;
mod sort;
mod system;

use std::sync::Arc;

pub use access::{Action, Authorizer, Caller, Project, ProjectDirectory};
pub use options::RouterOptions;

use crate::webhooks::Webhooks;

/// What the endpoints need.
#[derive(Debug)]
struct Api {
    hooks: Webhooks,
    authorizer: Box<dyn Authorizer>,
    projects: Box<dyn ProjectDirectory>,
    options: RouterOptions,
}

/// The router: merge it into the host's own.
///
/// Its paths begin with [`RouterOptions::base_path`] and [`RouterOptions::ext_path`]; every other one stays the host's. It has no fallback
/// of its own, and can be nested.
///
/// # Panics
///
/// As axum does: here if a segment of these paths begins with `:` or `*`, and where it is merged, if the host serves one of its paths.
pub fn webhook_router(
    hooks: Webhooks,
    authorizer: impl Authorizer,
    projects: impl ProjectDirectory,
    options: RouterOptions,
) -> axum::Router {
    let api = Api { hooks, authorizer: Box::new(authorizer), projects: Box::new(projects), options };
    serve::router(&Arc::new(api))
}
