//! Two nodes, one queue: both take events, both send, and one of them leaves in the middle.
//!
//! ```text
//! cargo run --features postgres --example postgres_nodes -- postgres://postgres@127.0.0.1/postgres
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;
use harbor_webhook::event::Artifact;
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::PostgresStore;
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{EventType, ProjectId, Registry, Webhooks};
use tokio::sync::oneshot;

const EVENTS: usize = 200;
const SCHEMA: &str = "harbor_webhook_example";
const PROJECT: ProjectId = ProjectId(1);
const DIGEST: &str = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).ok_or("usage: postgres_nodes URL")?;
    let received = Arc::new(AtomicUsize::new(0));
    let address = receiver(Arc::clone(&received)).await?;
    let nodes = [node(&url).await?, node(&url).await?];
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http(&address)?);
    nodes[0].policies().upsert(PROJECT, draft).await?;

    let (leave, left) = oneshot::channel::<()>();
    let (stop, stopped) = oneshot::channel::<()>();
    let [first, second] = nodes.clone();
    let first = tokio::spawn(async move { first.run(left).await });
    let second = tokio::spawn(async move { second.run(stopped).await });

    // The other node knows of the policy within a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let registry = Registry::new("hub.example.com")?;
    for n in 0..EVENTS {
        let artifact = Artifact::tagged(format!("{n}"), DIGEST)?;
        nodes[n % 2].notify(&registry.push(PROJECT, "library/alpine", artifact)).await?;
        if n == EVENTS / 2 {
            println!("the first node leaves after {} webhooks", received.load(Ordering::Relaxed));
            let _ = leave.send(());
            break;
        }
    }
    first.await??;
    for n in EVENTS / 2 + 1..EVENTS {
        let artifact = Artifact::tagged(format!("{n}"), DIGEST)?;
        nodes[1].notify(&registry.push(PROJECT, "library/alpine", artifact)).await?;
    }
    while nodes[1].status().await?.waiting + nodes[1].status().await?.outbox > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("{} of {EVENTS} events have arrived", received.load(Ordering::Relaxed));
    let _ = stop.send(());
    second.await??;
    nodes[1].delete_project(PROJECT).await?;
    Ok(())
}

async fn node(url: &str) -> Result<Webhooks> {
    let store = PostgresStore::connect(url, SCHEMA)?;
    // Both do it, and take turns.
    store.migrate().await?;
    let destination = DestinationPolicy::public_addresses().allow_network("127.0.0.0/8")?;
    Ok(Webhooks::builder(store, destination).build()?)
}

/// Counts webhooks; one that comes a second time has the same id.
async fn receiver(received: Arc<AtomicUsize>) -> Result<String> {
    let ids = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    let hook = async move |headers: HeaderMap| {
        let id = headers.get("webhook-id").map(|id| id.as_bytes().to_vec());
        if ids.lock().is_ok_and(|mut ids| ids.insert(id)) {
            received.fetch_add(1, Ordering::Relaxed);
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let router = Router::new().route("/", post(hook));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}
