//! The REST API in an existing axum application, under the application's own authentication.
//!
//! `cargo run --example rest_api` starts it, calls it as a client, and prints what is answered.
//!
//! The application knows its users by a middleware, which leaves who it is in the request. The router asks for that, and for
//! what they may do: nothing about authentication is done twice.

use std::error::Error;

use async_trait::async_trait;
use axum::Router;
use axum::extract::Request;
use axum::http::header;
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use harbor_webhook::event::Artifact;
use harbor_webhook::router::{Action, Authorizer, Caller, Project, ProjectDirectory, RouterOptions, webhook_router};
use harbor_webhook::store::MemoryStore;
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{ProjectId, Registry, Webhooks};
use tokio::net::TcpListener;

const LIBRARY: ProjectId = ProjectId(2);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let destination = DestinationPolicy::public_addresses().allow_network("127.0.0.0/8")?;
    let hooks = Webhooks::builder(MemoryStore::new(), destination).build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = axum::serve(listener, application(hooks.clone()));
    let running = tokio::spawn({
        let hooks = hooks.clone();
        async move { hooks.run(std::future::pending::<()>()).await }
    });
    tokio::select! {
        ended = server => ended?,
        done = client(&url, &hooks) => done?,
    }
    running.abort();
    Ok(())
}

/// The application as it was, and one line more.
fn application(hooks: Webhooks) -> Router {
    Router::new()
        .route("/", get(|| async { "the registry's own page" }))
        .route("/hook", get(|| async {}).post(|| async {}))
        .merge(webhook_router(hooks, Rights, Projects, RouterOptions::default()))
        .layer(from_fn(sign_in))
}

/// Somebody who is signed in, as the application knows them.
#[derive(Clone)]
struct User(&'static str);

/// The application's own authentication: here, tokens that everybody can read.
async fn sign_in(mut request: Request, next: Next) -> Response {
    let token = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let user = match token {
        Some(b"Bearer of-alice") => Some(User("alice")),
        Some(b"Bearer of-bob") => Some(User("bob")),
        _ => None,
    };
    if let Some(user) = user {
        request.extensions_mut().insert(user);
    }
    next.run(request).await
}

/// Alice administers the project, and Bob may look.
#[derive(Debug)]
struct Rights;

#[async_trait]
impl Authorizer for Rights {
    async fn caller(&self, head: &Parts) -> harbor_webhook::Result<Option<Caller>> {
        Ok(head.extensions.get::<User>().map(|user| Caller::new(user.0)))
    }

    async fn may(&self, caller: &Caller, project: ProjectId, action: Action) -> harbor_webhook::Result<bool> {
        let reads = matches!(action, Action::List | Action::Read);
        Ok(project == LIBRARY && (caller.name == "alice" || reads))
    }
}

/// The application's projects; a real one asks its database.
#[derive(Debug)]
struct Projects;

fn library() -> Project {
    Project::new(LIBRARY, "library")
}

#[async_trait]
impl ProjectDirectory for Projects {
    async fn by_id(&self, id: ProjectId) -> harbor_webhook::Result<Option<Project>> {
        Ok(Some(library()).filter(|project| project.id == id))
    }

    async fn by_name(&self, name: &str) -> harbor_webhook::Result<Option<Project>> {
        Ok(Some(library()).filter(|project| project.name == name))
    }

    async fn all(&self) -> harbor_webhook::Result<Vec<Project>> {
        Ok(vec![library()])
    }
}

/// What a client of Harbor does.
async fn client(url: &str, hooks: &Webhooks) -> Result<(), Box<dyn Error>> {
    let policies = format!("{url}/api/v2.0/projects/library/webhook/policies");
    let policy = format!(
        r#"{{"name":"ci","enabled":true,"event_types":["PUSH_ARTIFACT"],"targets":[{{"type":"http","address":"{url}/hook"}}]}}"#
    );
    let client = reqwest::Client::new();
    for token in ["nobodys", "of-bob", "of-alice"] {
        let asked = client.post(&policies).bearer_auth(token).body(policy.clone()).send().await?;
        let location = asked.headers().get("location").and_then(|location| location.to_str().ok()).map(str::to_owned);
        println!("{token} creates a policy: {} {}", asked.status(), location.unwrap_or_default());
    }
    println!("bob reads it: {}", client.get(&policies).bearer_auth("of-bob").send().await?.text().await?.trim());

    let registry = Registry::new("hub.example.com")?;
    let digest = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";
    hooks.notify(&registry.push(LIBRARY, "library/alpine", Artifact::tagged("3.20", digest)?)).await?;
    let done = format!("{policies}/1/executions?q=status%3DSuccess");
    for _ in 0..500 {
        let executions = client.get(&done).bearer_auth("of-bob").send().await?;
        if executions.headers().get("x-total-count").is_some_and(|count| count == "1") {
            println!("bob sees the execution: {}", executions.text().await?.trim());
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Err("the webhook was not delivered".into())
}
