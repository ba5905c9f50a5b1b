//! A host on sqlx: a push and its webhook commit together, or not at all.
//!
//! ```text
//! cargo run --manifest-path examples/sqlx_outbox/Cargo.toml -- postgres://postgres@127.0.0.1/postgres
//! ```
//!
//! The host's pool and this crate's connections are two; what they share is the database. sqlx cannot hand its transaction to
//! another driver, so the host inserts the outbox row itself: the statement and its two values are API.

use std::time::Duration;

use harbor_webhook::event::Artifact;
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{Filter, OutboxRow, Page, PostgresStore};
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{EventType, ProjectId, Registry, Webhooks};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const PROJECT: ProjectId = ProjectId(1);
const DIGEST: &str = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).ok_or("usage: sqlx_outbox URL")?;
    let store = PostgresStore::connect(&url, "harbor_webhook_sqlx_example")?;
    store.migrate().await?;
    let insert = store.outbox_insert();
    let destination = DestinationPolicy::public_addresses().allow_network("127.0.0.0/8")?;
    let hooks = Webhooks::builder(store, destination).build()?;
    let target = Target::http(&receiver().await?)?;
    hooks.policies().upsert(PROJECT, PolicyDraft::new("ci").on(EventType::PushArtifact).target(target)).await?;

    let pool = PgPool::connect(&url).await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS sqlx_example_manifests (repository text, tag text, digest text)")
        .execute(&pool)
        .await?;
    push(&pool, &insert, "3.20", false).await?;
    push(&pool, &insert, "3.21", true).await?;

    hooks.run(tokio::time::sleep(Duration::from_secs(3))).await?;
    for delivery in hooks.deliveries(&Filter::all(), Page::first(10)).await? {
        println!("delivery {}: {:?} after {} attempt(s)", delivery.id, delivery.state, delivery.attempts);
    }
    hooks.delete_project(PROJECT).await?;
    Ok(())
}

async fn push(pool: &PgPool, insert: &str, tag: &str, commit: bool) -> Result<()> {
    let registry = Registry::new("hub.example.com")?;
    let event = registry.push(PROJECT, "library/alpine", Artifact::tagged(tag, DIGEST)?).operator("admin");
    let row = OutboxRow::new(&event)?;
    let mut transaction = pool.begin().await?;
    sqlx::query("INSERT INTO sqlx_example_manifests VALUES ($1, $2, $3)")
        .bind("library/alpine")
        .bind(tag)
        .bind(DIGEST)
        .execute(&mut *transaction)
        .await?;
    // The text is the store's own: nothing of a user stands in it.
    sqlx::query(AssertSqlSafe(insert.to_owned())).bind(row.event_id).bind(row.event).execute(&mut *transaction).await?;
    if commit {
        transaction.commit().await?;
        println!("library/alpine:{tag} is pushed");
    } else {
        transaction.rollback().await?;
        println!("library/alpine:{tag} failed, and with it its event");
    }
    Ok(())
}

/// Prints what it is told, in place of a CI system.
async fn receiver() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 64 * 1024];
            let length = stream.read(&mut request).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..length]);
            println!("received {}", text.split("\r\n\r\n").nth(1).unwrap_or_default());
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        }
    });
    Ok(url)
}
