//! Policies, events and stores as the benches need them.

use std::sync::Arc;

use bytes::Bytes;
use harbor_webhook::delivery::{Attempt, Outcome};
use harbor_webhook::event::Artifact;
use harbor_webhook::policy::{Policy, PolicyDraft, PolicyTarget, Target};
use harbor_webhook::store::{
    Body, DeliveryStore, FanOut, LaneLimits, MemoryStore, NewDelivery, PolicyStore, SqliteStore,
};
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{Event, EventType, ProjectId, Registry};
use tempfile::TempDir;
use uuid::Uuid;

use super::Result;

const DIGEST: &str = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";
/// Makes the body of a push 700 bytes long.
const REPOSITORY: &str = "a-team-with-a-rather-long-name/and-a-service-with-one-too";
/// How long a lease lasts that nobody is to lose.
pub(crate) const LEASE: std::time::Duration = std::time::Duration::from_secs(600);
/// Deliveries that the store is asked to add at once, as intake does.
const PART: usize = 1000;
/// Policies that are made at once.
const TOGETHER: usize = 200;

/// Both traits of a store.
pub(crate) trait Store: PolicyStore + DeliveryStore + Clone {}
impl<S: PolicyStore + DeliveryStore + Clone> Store for S {}

pub(crate) fn memory() -> MemoryStore {
    MemoryStore::with_bound(4_000_000)
}

pub(crate) async fn sqlite() -> Result<(SqliteStore, TempDir)> {
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path().join("webhooks.db")).await?;
    store.migrate().await?;
    Ok((store, folder))
}

/// A schema of its own on a PostgreSQL server.
#[cfg(feature = "postgres")]
#[derive(Debug)]
pub(crate) struct Schema {
    url: String,
    name: String,
}

#[cfg(feature = "postgres")]
impl Schema {
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), name: format!("harbor_webhook_bench_{}", Uuid::now_v7().simple()) }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn store(&self) -> Result<harbor_webhook::store::PostgresStore> {
        let store = harbor_webhook::store::PostgresStore::connect(&self.url, &self.name)?;
        store.migrate().await?;
        Ok(store)
    }

    pub(crate) async fn drop(&self) -> Result<()> {
        use harbor_webhook::store::postgres::tokio_postgres::{NoTls, connect};
        let (client, connection) = connect(&self.url, NoTls).await?;
        tokio::spawn(connection);
        Ok(client.batch_execute(&format!("DROP SCHEMA IF EXISTS {} CASCADE", self.name)).await?)
    }
}

/// An attempt that the receiver took.
pub(crate) fn answered() -> Attempt {
    let outcome = Outcome::Answered { status: 200, body: String::new(), truncated: false };
    Attempt::new(chrono::Utc::now(), std::time::Duration::from_micros(100), outcome)
}

pub(crate) fn loopback() -> Result<DestinationPolicy> {
    Ok(DestinationPolicy::public_addresses().allow_network("127.0.0.0/8")?)
}

/// A push that nobody saw before, with a body of about 700 bytes.
pub(crate) fn push(project: ProjectId) -> Result<Event> {
    let registry = Registry::new("registry.example.com")?;
    Ok(registry.push(project, REPOSITORY, Artifact::tagged("release-2026-11-24", DIGEST)?).operator("robot$ci"))
}

/// `count` policies of as many projects, counted from `first`, each with targets at these addresses.
pub(crate) async fn subscribe<S: Store>(
    store: &S,
    first: i64,
    count: i64,
    addresses: &[String],
) -> Result<Vec<Policy>> {
    let mut policies = Vec::new();
    let mut making = tokio::task::JoinSet::new();
    for project in first..first + count {
        let targets = addresses.iter().map(|address| Target::http(address)).collect::<Result<Vec<_>, _>>()?;
        let draft = targets.into_iter().fold(PolicyDraft::new("ci").on(EventType::PushArtifact), PolicyDraft::target);
        let store = store.clone();
        making.spawn(async move { store.create(ProjectId(project), draft).await });
        if making.len() == TOGETHER {
            policies.extend(making.join_next().await.transpose()?.transpose()?);
        }
    }
    while let Some(made) = making.join_next().await {
        policies.push(made??);
    }
    policies.sort_by_key(|policy| policy.id);
    Ok(policies)
}

pub(crate) fn targets(policies: &[Policy]) -> impl Iterator<Item = (&Policy, &PolicyTarget)> {
    policies.iter().flat_map(|policy| policy.targets.iter().map(move |target| (policy, target)))
}

/// Adds a delivery of each of `events` new events to each target, as intake does.
pub(crate) async fn fill<S: Store>(store: &S, policies: &[Policy], events: usize, in_flight: u32) -> Result<()> {
    let Some(project) = policies.first().map(|policy| policy.project_id) else { return Ok(()) };
    for _ in 0..events {
        store.append(&[push(project)?]).await?;
        let claimed = store.claim_events(1, LEASE).await?;
        let lease = claimed.first().ok_or("the event was not claimed")?.lease;
        let id = Uuid::now_v7();
        let body = Body::new(id, "Default", "application/json", Bytes::from(vec![b'x'; 700]));
        let lane = LaneLimits::new(u32::MAX, in_flight);
        let new: Vec<_> =
            targets(policies).map(|(policy, target)| NewDelivery::new(policy.id, target, Ok(id), lane)).collect();
        for part in new.chunks(PART) {
            let mut out = FanOut::default();
            out.bodies.push(body.clone());
            out.deliveries = part.to_vec();
            store.fan_out(&lease, out).await?;
        }
        let mut last = FanOut::default();
        last.last = true;
        store.fan_out(&lease, last).await?;
    }
    Ok(())
}

/// Waits until nothing waits any more.
pub(crate) async fn drained(store: &Arc<dyn DeliveryStore>) -> Result<()> {
    loop {
        let status = store.status().await?;
        if status.outbox == 0 && status.waiting == 0 {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}
