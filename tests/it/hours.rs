//! The hours of lanes, over hours: what is over is put with the others, and what is old goes. The tests put the clock on where the
//! stores cannot see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use harbor_webhook::Clock;
use harbor_webhook::EventType;
use harbor_webhook::delivery::{Attempt, Outcome};
use harbor_webhook::policy::{Policy, PolicyDraft, Target};
use harbor_webhook::store::{
    DeliveryStore, Filter, Hour, LaneLimits, MemoryStore, Next, PolicyStore, Retention, Settlement, SqliteStore,
};

use crate::stores::{LEASE, deliver};
use crate::support::events::PROJECT;
use crate::support::stores::Fresh;

async fn policy<S: PolicyStore>(store: &S) -> Policy {
    // Not in the last seconds of an hour, as the next one must not begin on the way.
    let left = 3600 - Utc::now().timestamp() % 3600;
    if left < 20 {
        std::thread::sleep(Duration::from_secs(left.unsigned_abs()));
    }
    let target = Target::http("http://ci.example.com/").unwrap();
    store.create(PROJECT, PolicyDraft::new("ci").on(EventType::PushArtifact).target(target)).await.unwrap()
}

/// Attempts that took so many milliseconds each, settled at once. The receiver took the first.
async fn attempts<S: PolicyStore + DeliveryStore>(store: &S, policy: &Policy, took: &[u64]) {
    for _ in took {
        deliver(store, &[policy], LaneLimits::new(100, 10)).await;
    }
    let claimed = store.claim(took.len(), LEASE).await.unwrap();
    let settle = |(n, took): (usize, &u64)| {
        let status = if n == 0 { 200 } else { 500 };
        let outcome = Outcome::Answered { status, body: String::new(), truncated: false };
        let attempt = Attempt::new(Utc::now(), Duration::from_millis(*took), outcome);
        Settlement::new(claimed[n].lease, Next::Delivered).attempt(attempt)
    };
    store.settle(took.iter().enumerate().map(settle).collect()).await.unwrap();
}

/// Taken, failed, mean and longest of each hour.
async fn hours<S: DeliveryStore>(store: &S) -> Vec<(u64, u64, u128, u128)> {
    let shown =
        |hour: &Hour| (hour.delivered, hour.failed, hour.mean_latency().as_millis(), hour.max_latency.as_millis());
    store.hours(&Filter::all()).await.unwrap().unwrap().iter().map(shown).collect()
}

#[derive(Clone, Debug, Default)]
struct Later(Arc<AtomicI64>);

impl Clock for Later {
    fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::hours(self.0.load(Ordering::Relaxed))
    }
}

#[tokio::test(start_paused = true)]
async fn in_memory() {
    let clock = Later::default();
    let store = MemoryStore::with_clock(1000, clock.clone());
    let policy = policy(&store).await;
    let mut keep = Retention::default();
    keep.finished_per_policy = 0;
    attempts(&store, &policy, &[2, 4, 9]).await;
    for hour in 1..=48 {
        tokio::time::advance(Duration::from_secs(3600)).await;
        clock.0.store(hour, Ordering::Relaxed);
        store.sweep(&keep, 1000).await.unwrap();
        if hour == 1 {
            attempts(&store, &policy, &[7]).await;
            assert_eq!(hours(&store).await, [(1, 2, 5, 9), (1, 0, 7, 7)]);
        }
    }
    assert_eq!(hours(&store).await, [(1, 0, 7, 7)]);
    assert_eq!(store.lanes(&Filter::all()).await.unwrap().unwrap().len(), 1);
    tokio::time::advance(Duration::from_secs(3600)).await;
    clock.0.store(49, Ordering::Relaxed);
    assert_eq!(hours(&store).await, []);
    assert_eq!(store.lanes(&Filter::all()).await.unwrap(), Some(Vec::new()), "a lane goes with its hours");
}

#[tokio::test]
async fn in_sqlite() {
    let (store, folder) = SqliteStore::fresh().await;
    let folder = folder.unwrap();
    let db = rusqlite::Connection::open(folder.path().join("webhooks.db")).unwrap();
    let policy = policy(&store).await;
    attempts(&store, &policy, &[2, 4, 9]).await;
    db.execute_batch("UPDATE harbor_webhook_lanes SET hour = hour - 3600000").unwrap();
    attempts(&store, &policy, &[7]).await;
    attempts(&store, &policy, &[3]).await;
    assert_eq!(hours(&store).await, [(1, 2, 5, 9), (2, 0, 5, 7)]);
    // The clock is set back: the hour that is put away is one that is there.
    db.execute_batch("UPDATE harbor_webhook_lanes SET hour = hour - 3600000").unwrap();
    assert_eq!(hours(&store).await, [(3, 2, 5, 9)]);
    attempts(&store, &policy, &[1]).await;
    assert_eq!(hours(&store).await, [(3, 2, 5, 9), (1, 0, 1, 1)]);

    db.execute_batch("UPDATE harbor_webhook_hours SET hour = hour - 48 * 3600000").unwrap();
    assert_eq!(hours(&store).await, [(1, 0, 1, 1)]);
    assert!(store.sweep(&Retention::default(), 1).await.unwrap().more);
    store.sweep(&Retention::default(), 100).await.unwrap();
    let left: i64 = db.query_row("SELECT count(*) FROM harbor_webhook_hours", [], |row| row.get(0)).unwrap();
    assert_eq!((left, hours(&store).await), (0, vec![(1, 0, 1, 1)]));
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn in_postgres() {
    use crate::postgres::{client, quoted};
    use crate::support::postgres::{schema, url};

    let schema = schema();
    let store = harbor_webhook::store::PostgresStore::connect(url(), &schema).unwrap();
    store.migrate().await.unwrap();
    let db = client(url()).await;
    let run = |sql: &str| sql.replace("{s}", &quoted(&schema));
    let policy = policy(&store).await;
    attempts(&store, &policy, &[2, 4, 9]).await;
    db.batch_execute(&run("UPDATE {s}.lanes SET hour = hour - interval '1 hour'")).await.unwrap();
    attempts(&store, &policy, &[7]).await;
    attempts(&store, &policy, &[3]).await;
    assert_eq!(hours(&store).await, [(1, 2, 5, 9), (2, 0, 5, 7)]);
    // The clock is set back: the hour that is put away is one that is there.
    db.batch_execute(&run("UPDATE {s}.lanes SET hour = hour - interval '1 hour'")).await.unwrap();
    assert_eq!(hours(&store).await, [(3, 2, 5, 9)]);
    attempts(&store, &policy, &[1]).await;
    assert_eq!(hours(&store).await, [(3, 2, 5, 9), (1, 0, 1, 1)]);

    db.batch_execute(&run("UPDATE {s}.hours SET hour = hour - interval '48 hours'")).await.unwrap();
    assert_eq!(hours(&store).await, [(1, 0, 1, 1)]);
    assert!(store.sweep(&Retention::default(), 1).await.unwrap().more);
    let left = db.query_one(&run("SELECT count(*) FROM {s}.hours"), &[]).await.unwrap();
    assert_eq!((left.get::<_, i64>(0), hours(&store).await), (0, vec![(1, 0, 1, 1)]));
}
