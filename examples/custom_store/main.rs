//! Webhooks in a store of one's own: here a file of redb, an embedded key-value store, with the crate's traits alone.
//!
//! `cargo run --example custom_store` sends a few events through it to a receiver that fails at first, closes the file in
//! between, and prints the history. `redb_store` is what to copy; the tests hold it to the same kit as the bundled stores.

mod redb_store;

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use harbor_webhook::delivery::retry::Schedule;
use harbor_webhook::event::Artifact;
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{Filter, Page};
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{EventType, ProjectId, Registry, Settings, Webhooks};

use redb_store::RedbStore;

const PROJECT: ProjectId = ProjectId(2);
const DIGEST: &str = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let receiver = start_receiver().await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("webhooks.redb");

    accept(&file, &receiver).await?;
    println!("the file is closed; three events wait in it\n");
    deliver(&file).await
}

/// A process that takes events and ends before it sends them.
async fn accept(file: &Path, receiver: &str) -> Result<(), Box<dyn Error>> {
    let hooks = open(file)?;
    let target = Target::http(receiver)?.auth_header("Bearer s3cret")?;
    hooks.policies().create(PROJECT, PolicyDraft::new("ci").on(EventType::PushArtifact).target(target)).await?;
    let registry = Registry::new("hub.example.com")?;
    for tag in ["3.18", "3.19", "3.20"] {
        let event = registry.push(PROJECT, "library/alpine", Artifact::tagged(tag, DIGEST)?).operator("admin");
        println!("notify {tag}: {:?}", hooks.notify(&event).await?);
    }
    Ok(())
}

/// The next process sends them.
async fn deliver(file: &Path) -> Result<(), Box<dyn Error>> {
    let hooks = open(file)?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let hooks = hooks.clone();
        async move { hooks.run(stopped).await }
    });
    loop {
        let status = hooks.status().await?;
        if status.outbox + status.waiting == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let _ = stop.send(());
    running.await??;
    for delivery in hooks.deliveries(&Filter::all(), Page::first(10)).await? {
        println!("delivery {}: {:?} after {} attempts", delivery.id, delivery.state, delivery.attempts);
    }
    Ok(())
}

fn open(file: &Path) -> Result<Webhooks, harbor_webhook::Error> {
    let destination = DestinationPolicy::public_addresses().allow_network("127.0.0.0/8")?;
    let mut settings = Settings::harbor();
    settings.retry.schedule = Schedule::Delays { delays: vec![Duration::from_millis(100)], jitter: 0.2 };
    Webhooks::builder(RedbStore::open(file)?, destination).settings(settings).build()
}

/// Answers every second request with 503.
async fn start_receiver() -> Result<String, Box<dyn Error>> {
    static REQUESTS: AtomicU32 = AtomicU32::new(0);
    let answer = || async {
        let busy = REQUESTS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        if busy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(answer))).await });
    Ok(format!("http://{address}/"))
}
