//! Who may use the bridge: whoever has the one token, or, on a bridge that only this machine reaches, everybody.

use std::collections::HashMap;
use std::hint::black_box;

use async_trait::async_trait;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use harbor_webhook::router::{Action, Authorizer, Caller, Project, ProjectDirectory};
use harbor_webhook::{ProjectId, Result};
use serde_json::json;

/// The only user.
const ADMIN: &str = "admin";

/// What opens the bridge; nothing if it is open.
#[derive(Clone)]
pub(crate) struct Access(Option<Credentials>);

#[derive(Clone)]
struct Credentials {
    /// What stands behind `Basic`.
    basic: String,
    /// What stands behind `Bearer`.
    bearer: String,
}

impl Access {
    pub(crate) fn new(token: Option<&str>) -> Self {
        Self(token.map(|token| Credentials {
            basic: BASE64_STANDARD.encode(format!("{ADMIN}:{token}")),
            bearer: token.to_owned(),
        }))
    }

    /// Whether these are the headers of somebody who may come in.
    pub(crate) fn lets_in(&self, headers: &HeaderMap) -> bool {
        let Some(expected) = &self.0 else { return is_called_by_address(headers) };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' '));
        match given {
            Some((scheme, given)) if scheme.eq_ignore_ascii_case("basic") => same(given.trim(), &expected.basic),
            Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") => same(given.trim(), &expected.bearer),
            _ => false,
        }
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "token" } else { "open" })
    }
}

/// Whether two texts are the same, in a time that tells nothing but their length.
fn same(a: &str, b: &str) -> bool {
    let different = a.bytes().zip(b.bytes()).fold(0, |different, (a, b)| black_box(different | (a ^ b)));
    a.len() == b.len() && different == 0
}

/// Whether a browser says that a page of another site caused this. It may have sent the password that it knows along.
fn is_foreign(request: &Request) -> bool {
    let (headers, method) = (request.headers(), request.method());
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let is_own = |origin: &HeaderValue| {
        let host = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
        host.is_some() && host == text(header::HOST)
    };
    match headers.get("sec-fetch-site") {
        _ if method.is_safe() => false,
        Some(site) => site != "same-origin" && site != "none",
        None => headers.get(header::ORIGIN).is_some_and(|origin| !is_own(origin)),
    }
}

/// What is answered to those who may not come in.
fn refused(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "errors": [{ "code": code, "message": message }] }))).into_response()
}

/// Stands before everything but `/healthz` and the console's own files.
pub(crate) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    if is_foreign(&request) {
        return refused(StatusCode::FORBIDDEN, "FORBIDDEN", "forbidden");
    }
    if access.lets_in(request.headers()) {
        return next.run(request).await;
    }
    if access.0.is_none() {
        return refused(
            StatusCode::FORBIDDEN,
            "FORBIDDEN",
            "without --admin-token, call the bridge localhost or by its address",
        );
    }
    let mut response = refused(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "unauthorized");
    // At the challenge a browser opens a window of its own. A page that asks by itself says so with this header.
    if !request.headers().contains_key("x-requested-with") {
        let challenge = HeaderValue::from_static("Basic realm=\"registry_bridge\", charset=\"UTF-8\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Whoever the guard lets in may do everything.
#[async_trait]
impl Authorizer for Access {
    async fn caller(&self, head: &Parts) -> Result<Option<Caller>> {
        Ok(self.lets_in(&head.headers).then(|| Caller::admin(ADMIN)))
    }

    async fn may(&self, _: &Caller, _: ProjectId, _: Action) -> Result<bool> {
        Ok(true)
    }
}

/// Whether the client calls this machine by its address or as `localhost`. A site on the internet whose name leads here, so
/// that its pages count as ours in the browser, has another name.
fn is_called_by_address(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let Some(host) = host else { return false };
    let name = host.host().trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

/// The projects of the command line.
#[derive(Debug)]
pub(crate) struct Projects(Vec<Project>);

impl Projects {
    pub(crate) fn new(projects: &HashMap<String, ProjectId>) -> Self {
        let mut projects: Vec<_> = projects.iter().map(|(name, id)| Project::new(*id, name)).collect();
        projects.sort_by(|a, b| (a.id, &a.name).cmp(&(b.id, &b.name)));
        Self(projects)
    }
}

#[async_trait]
impl ProjectDirectory for Projects {
    async fn by_id(&self, id: ProjectId) -> Result<Option<Project>> {
        Ok(self.0.iter().find(|project| project.id == id).cloned())
    }

    async fn by_name(&self, name: &str) -> Result<Option<Project>> {
        Ok(self.0.iter().find(|project| project.name == name).cloned())
    }

    /// Each once, although several names may stand for one.
    async fn all(&self) -> Result<Vec<Project>> {
        let mut projects = self.0.clone();
        projects.dedup_by_key(|project| project.id);
        Ok(projects)
    }
}
