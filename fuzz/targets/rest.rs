//! A request to the REST API, a line each for method, target and header, and its body: it is answered, and never with a failure.
#![no_main]

use std::cell::RefCell;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::request::Parts;
use axum::http::{Method, Request, Uri};
use harbor_webhook::router::{Action, Authorizer, Caller, Project, ProjectDirectory, RouterOptions, webhook_router};
use harbor_webhook::store::MemoryStore;
use harbor_webhook::transport::{self, DestinationPolicy, Transport, TransportError};
use harbor_webhook::{ProjectId, Result, Webhooks};
use libfuzzer_sys::fuzz_target;
use tower::ServiceExt as _;

/// One project, everybody's, and nothing that is sent.
#[derive(Debug)]
struct Host;

fn library() -> Project {
    Project::new(ProjectId(2), "library")
}

#[async_trait]
impl Authorizer for Host {
    async fn caller(&self, _: &Parts) -> Result<Option<Caller>> {
        Ok(Some(Caller::admin("admin")))
    }

    async fn may(&self, _: &Caller, _: ProjectId, _: Action) -> Result<bool> {
        Ok(true)
    }
}

#[async_trait]
impl ProjectDirectory for Host {
    async fn by_id(&self, id: ProjectId) -> Result<Option<Project>> {
        Ok(Some(library()).filter(|project| project.id == id))
    }

    async fn by_name(&self, name: &str) -> Result<Option<Project>> {
        Ok(Some(library()).filter(|project| project.name == name))
    }

    async fn all(&self) -> Result<Vec<Project>> {
        Ok(vec![library()])
    }
}

#[async_trait]
impl Transport for Host {
    async fn send(&self, _: transport::Request<'_>) -> Result<transport::Response, TransportError> {
        unreachable!("nothing runs")
    }
}

struct Served {
    runtime: tokio::runtime::Runtime,
    router: axum::Router,
}

impl Served {
    fn new() -> Self {
        let destination = DestinationPolicy::private_networks();
        let hooks = Webhooks::builder(MemoryStore::new(), destination).transport(Host).build().expect("it is built");
        let mut options = RouterOptions::default();
        options.max_policies = 20;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        Self { runtime, router: webhook_router(hooks, Host, Host, options) }
    }
}

thread_local! {
    static SERVED: RefCell<Served> = RefCell::new(Served::new());
}

fn request(data: &[u8]) -> Option<Request<Body>> {
    let mut parts = data.splitn(4, |byte| *byte == b'\n');
    let method = Method::from_bytes(parts.next()?).ok()?;
    let target = Uri::try_from(parts.next()?).ok()?;
    let header = parts.next()?.splitn(2, |byte| *byte == b':').collect::<Vec<_>>();
    let body = parts.next().unwrap_or_default().to_vec();
    let request = Request::builder().method(method).uri(target);
    match header[..] {
        [name, value] => request.header(name, value).body(Body::from(body)).ok(),
        _ => request.body(Body::from(body)).ok(),
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(request) = request(data) else { return };
    SERVED.with_borrow(|served| {
        served.runtime.block_on(async {
            let response = served.router.clone().oneshot(request).await.expect("it cannot fail");
            let (head, body) = response.into_parts();
            assert!(head.status.as_u16() < 500, "{}", head.status);
            // What is not ours, axum answers itself.
            let Some(kind) = head.headers.get("content-type") else { return };
            let body = to_bytes(body, usize::MAX).await.expect("a body");
            if kind.as_bytes().starts_with(b"application/json") {
                serde_json::from_slice::<serde_json::Value>(&body).expect("JSON");
            }
        });
    });
});
