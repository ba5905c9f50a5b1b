//! A process that takes events, fans them out and settles them, as a registry would, and says what it was promised.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use harbor_webhook::policy::{Policy, PolicyDraft, Target};
use harbor_webhook::store::{
    Appended, Body, Claimed, ClaimedEvent, DeliveryStore, FanOut, Fenced, LaneLimits, NewDelivery, Next, OutboxRow,
    PolicyStore, Retention, Settlement, SqliteStore,
};
use harbor_webhook::{Event, EventType};
use rusqlite::Connection;
use uuid::Uuid;

use crate::running_bridge::wait_for;
use crate::stores::LEASE;
use crate::support::events::{PROJECT, push};

/// Tasks that append, and the host's own transactions beside them.
const PRODUCERS: usize = 6;
const EVENTS_EACH: usize = 40;
/// Changes of the tables between which the file is closed: its log is made anew then.
const PHASES: usize = 2;

/// The file of what was promised, beside the database. Each line is written when the promise has been given.
pub(super) const PROMISES: &str = "promises";
pub(super) const TARGETS: usize = 2;

#[derive(Clone)]
struct Promises(Arc<File>);

impl Promises {
    fn note(&self, what: &str, id: Uuid) {
        // In one call: the recorder sees it whole.
        (&*self.0).write_all(format!("{what} {id}\n").as_bytes()).unwrap();
    }
}

/// Ends with nothing under way; the power is cut in the record of it, not here.
pub(super) fn run(folder: &Path) {
    let promises = File::options().create(true).append(true).open(folder.join(PROMISES)).unwrap();
    let promises = Promises(Arc::new(promises));
    for phase in 0..PHASES {
        // Its end waits for the threads that have the file open.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let path = folder.join("webhooks.db");
        runtime.block_on(work(&path, &promises, phase));
        drop(runtime);
        // The last connection empties the log and removes it. Of two that close at once neither is the last.
        wait_for("the end of the writer", || {
            drop(Connection::open(&path).unwrap().execute_batch("SELECT count(*) FROM sqlite_master"));
            (!folder.join("webhooks.db-wal").exists()).then_some(())
        });
    }
}

async fn work(path: &Path, promises: &Promises, phase: usize) {
    let store = SqliteStore::open(path).await.unwrap();
    store.migrate().await.unwrap();
    let policy = policy(&store, phase).await;
    let producing = Arc::new(AtomicUsize::new(PRODUCERS + 1));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..PRODUCERS {
        let (store, promises, producing) = (store.clone(), promises.clone(), Arc::clone(&producing));
        tasks.spawn(async move {
            produce(&store, &promises).await;
            producing.fetch_sub(1, Ordering::Relaxed);
        });
    }
    let (at, told, done) = (path.to_owned(), promises.clone(), Arc::clone(&producing));
    tasks.spawn_blocking(move || {
        host(&at, &told);
        done.fetch_sub(1, Ordering::Relaxed);
    });
    while producing.load(Ordering::Relaxed) > 0 {
        round(&store, &policy, promises).await;
    }
    tasks.join_all().await;
    let mut keep = Retention::default();
    keep.finished_per_policy = 100_000;
    store.sweep(&keep, 100).await.unwrap();
}

async fn policy(store: &SqliteStore, phase: usize) -> Policy {
    let mut draft = PolicyDraft::new(format!("phase {phase}")).on(EventType::PushArtifact);
    for n in 0..TARGETS {
        draft = draft.target(Target::http(&format!("http://{n}.example.com/")).unwrap());
    }
    store.create(PROJECT, draft).await.unwrap()
}

async fn produce(store: &SqliteStore, promises: &Promises) {
    for n in 0..EVENTS_EACH {
        let events: Vec<Event> = (0..1 + n % 3).map(|_| push()).collect();
        events.iter().for_each(|event| promises.note("begun", event.id));
        assert!(store.append(&events).await.unwrap().iter().all(|appended| *appended == Appended::Inserted));
        events.iter().for_each(|event| promises.note("appended", event.id));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The host's own connection: transactions that end either way, and a checkpoint now and then.
fn host(path: &Path, promises: &Promises) {
    let mut host = Connection::open(path).unwrap();
    host.busy_timeout(Duration::from_secs(5)).unwrap();
    for n in 0..EVENTS_EACH {
        let event = push();
        let row = OutboxRow::new(&event).unwrap();
        let transaction = host.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
        transaction.execute(SqliteStore::OUTBOX_INSERT, (row.event_id.as_bytes(), &row.event)).unwrap();
        if n % 4 == 3 {
            promises.note("dropped", event.id);
            transaction.rollback().unwrap();
        } else {
            promises.note("begun", event.id);
            transaction.commit().unwrap();
            promises.note("appended", event.id);
        }
        if n % 10 == 9 {
            let how = if n % 20 == 9 { "PASSIVE" } else { "TRUNCATE" };
            // Busy is an answer too, so there is nothing to check.
            host.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(())).unwrap();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What a dispatcher does in one go.
async fn round(store: &SqliteStore, policy: &Policy, promises: &Promises) {
    for event in store.claim_events(16, LEASE).await.unwrap() {
        let id = event.event.as_ref().unwrap().id;
        assert_eq!(store.fan_out(&event.lease, deliveries(&event, policy)).await.unwrap(), Fenced::Done);
        promises.note("fanned", id);
    }
    let claimed = store.claim(8, LEASE).await.unwrap();
    let settled = store.settle(claimed.iter().map(settlement).collect()).await.unwrap();
    for (claimed, settled) in claimed.iter().zip(settled) {
        assert_eq!(settled, Fenced::Done);
        if is_delivered(claimed) {
            promises.note("delivered", Uuid::from_u128(claimed.id.0 as u128));
        }
    }
    tokio::task::yield_now().await;
}

fn deliveries(event: &ClaimedEvent, policy: &Policy) -> FanOut {
    let body = event.event.as_ref().unwrap().id;
    let mut part = FanOut::default();
    part.bodies.push(Body::new(body, "Default", "application/json", Bytes::from(vec![b' '; 700])));
    let new = |target| NewDelivery::new(policy.id, target, Ok(body), LaneLimits::new(100_000, 8));
    part.deliveries.extend(policy.targets.iter().map(new));
    part.last = true;
    part
}

fn is_delivered(claimed: &Claimed) -> bool {
    claimed.attempts > 0 || claimed.id.0 % 3 > 0
}

fn settlement(claimed: &Claimed) -> Settlement {
    let next = if is_delivered(claimed) { Next::Delivered } else { Next::Release(Duration::from_secs(60)) };
    Settlement::new(claimed.lease, next)
}
