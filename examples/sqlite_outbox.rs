//! A push and its webhook commit together, or not at all.
//!
//! ```text
//! cargo run --example sqlite_outbox
//! ```
//!
//! The registry keeps its own tables in the file that also holds the webhooks. It writes a manifest and the event in one
//! transaction of its own connection; this crate sees the event once it is committed.

use std::time::Duration;

use axum::Router;
use axum::routing::post;
use harbor_webhook::event::Artifact;
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{Filter, OutboxRow, Page, SqliteStore};
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{Event, EventType, ProjectId, Registry, Webhooks};
use rusqlite::Connection;

const PROJECT: ProjectId = ProjectId(1);
const DIGEST: &str = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("registry.db");

    let store = SqliteStore::open(&path).await?;
    store.migrate().await?;
    let destination = DestinationPolicy::public_addresses().allow_network("127.0.0.0/8")?;
    let hooks = Webhooks::builder(store, destination).build()?;
    let target = Target::http(&receiver().await?)?;
    hooks.policies().create(PROJECT, PolicyDraft::new("ci").on(EventType::PushArtifact).target(target)).await?;

    let mut registry = Connection::open(&path)?;
    registry.busy_timeout(Duration::from_secs(5))?;
    registry.execute_batch("CREATE TABLE manifests (repository TEXT, tag TEXT, digest TEXT)")?;
    // In a real registry these are two requests; both are blocking, so they do not belong on a runtime's thread.
    tokio::task::spawn_blocking(move || {
        push(&mut registry, "library/alpine", "3.20", false)?;
        push(&mut registry, "library/alpine", "3.21", true)
    })
    .await??;

    let shutdown = tokio::time::sleep(Duration::from_secs(3));
    hooks.run(shutdown).await?;
    for delivery in hooks.deliveries(&Filter::all(), Page::first(10)).await? {
        println!("delivery {}: {:?} after {} attempt(s)", delivery.id, delivery.state, delivery.attempts);
    }
    Ok(())
}

/// Stores a manifest and says so, in one transaction. If anything goes wrong behind it, neither has happened.
fn push(registry: &mut Connection, repository: &str, tag: &str, commit: bool) -> Result<()> {
    let event = event(repository, tag)?;
    let row = OutboxRow::new(&event)?;
    let transaction = registry.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.execute("INSERT INTO manifests VALUES (?1, ?2, ?3)", (repository, tag, DIGEST))?;
    transaction.execute(SqliteStore::OUTBOX_INSERT, (row.event_id.as_bytes(), &row.event))?;
    if commit {
        transaction.commit()?;
        println!("{repository}:{tag} is pushed");
    } else {
        transaction.rollback()?;
        println!("{repository}:{tag} failed, and with it its event");
    }
    Ok(())
}

fn event(repository: &str, tag: &str) -> harbor_webhook::Result<Event> {
    let registry = Registry::new("hub.example.com")?;
    Ok(registry.push(PROJECT, repository, Artifact::tagged(tag, DIGEST)?).operator("admin"))
}

/// Prints what it is told, in place of a CI system.
async fn receiver() -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let router = Router::new().route("/", post(async |body: String| println!("received {body}")));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}
