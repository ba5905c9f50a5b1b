//! Events that the host writes itself: in a transaction of its own, or out of a place of its own.

use std::sync::Mutex;
use std::time::Duration;

use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{Appended, DeliveryStore, MemoryStore, OutboxRow, SqliteStore};
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{Error, ErrorKind, Event, EventSource, EventType, Notified, Relayed, Result, Webhooks};
use rusqlite::Connection;

use crate::stores::LEASE;
use crate::support::events::{PROJECT, push};
use crate::support::stores::Fresh;

fn insert(connection: &Connection, event: &Event) -> usize {
    let row = OutboxRow::new(event).unwrap();
    connection.execute(SqliteStore::OUTBOX_INSERT, (row.event_id.as_bytes(), &row.event)).unwrap()
}

#[tokio::test]
async fn a_change_and_its_event_share_a_transaction_and_its_fate() {
    let (store, folder) = SqliteStore::fresh().await;
    let mut host = Connection::open(folder.as_ref().unwrap().path().join("webhooks.db")).unwrap();
    host.execute_batch("CREATE TABLE manifests (digest TEXT)").unwrap();
    let (kept, dropped) = (push(), push());
    for (event, commit) in [(&kept, true), (&dropped, false)] {
        let transaction = host.transaction().unwrap();
        transaction.execute("INSERT INTO manifests VALUES (?1)", [event.id.to_string()]).unwrap();
        assert_eq!(insert(&transaction, event), 1);
        assert_eq!(insert(&transaction, event), 0);
        if commit { transaction.commit().unwrap() } else { transaction.rollback().unwrap() }
    }
    let claimed = store.claim_events(10, LEASE).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].event.as_ref().unwrap(), &kept);
    assert_eq!(store.append(&[kept, dropped]).await.unwrap(), [Appended::Duplicate, Appended::Inserted]);
    assert!(store.status().await.unwrap().oldest_event.unwrap() < Duration::from_secs(60));
}

#[tokio::test]
async fn a_long_transaction_of_the_host_makes_others_wait_and_loses_nothing() {
    let (store, folder) = SqliteStore::fresh().await;
    let mut host = Connection::open(folder.as_ref().unwrap().path().join("webhooks.db")).unwrap();
    let transaction = host.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    insert(&transaction, &push());
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.append(&[push()]).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished());
    transaction.commit().unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), [Appended::Inserted]);
    assert_eq!(store.status().await.unwrap().outbox, 2);
}

#[test]
fn a_bad_event_makes_no_row() {
    let mut event = push();
    event.data.resources.clear();
    assert_eq!(OutboxRow::new(&event).unwrap_err().kind(), ErrorKind::Invalid);
    let large = push().operator("x".repeat(1024 * 1024));
    assert_eq!(OutboxRow::new(&large).unwrap_err().kind(), ErrorKind::Invalid);
}

/// A source that fails now and then, and forgets some acknowledgements.
#[derive(Debug, Default)]
struct Source {
    events: Mutex<Vec<Event>>,
    outcomes: Mutex<Vec<(uuid::Uuid, Option<Notified>)>>,
    calls: Mutex<u32>,
}

impl Source {
    fn fails(&self) -> bool {
        let mut calls = self.calls.lock().unwrap();
        *calls += 1;
        calls.is_multiple_of(3)
    }
}

#[async_trait::async_trait]
impl EventSource for Source {
    async fn pull(&self, max: usize) -> Result<Vec<Event>> {
        if self.fails() {
            return Err(Error::new(ErrorKind::Unavailable, "the source is away"));
        }
        Ok(self.events.lock().unwrap().iter().take(max).cloned().collect())
    }

    async fn acknowledge(&self, relayed: &[Relayed]) -> Result<()> {
        if self.fails() {
            return Err(Error::new(ErrorKind::Unavailable, "the source is away"));
        }
        let done = |event: &Event| relayed.iter().any(|relayed| relayed.id == event.id);
        self.events.lock().unwrap().retain(|event| !done(event));
        let outcome = |relayed: &Relayed| (relayed.id, relayed.outcome.as_ref().ok().copied());
        self.outcomes.lock().unwrap().extend(relayed.iter().map(outcome));
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_hands_over_each_event_once_and_says_what_it_cannot() {
    let store = MemoryStore::new();
    let hooks = Webhooks::builder(store.clone(), DestinationPolicy::private_networks()).build().unwrap();
    let target = Target::http("http://receiver.example.com/").unwrap();
    let draft = PolicyDraft::new("a").on(EventType::PushArtifact).target(target);
    hooks.policies().create(PROJECT, draft).await.unwrap();
    let source = Source::default();
    let mut broken = push();
    broken.data.resources.clear();
    let mut events: Vec<Event> = (0..250).map(|_| push()).collect();
    events.insert(120, broken.clone());
    *source.events.lock().unwrap() = events;
    let all = async {
        while !source.events.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(600), hooks.relay(&source, all)).await.unwrap().unwrap();
    assert_eq!(store.status().await.unwrap().outbox, 250);
    let outcomes = source.outcomes.lock().unwrap();
    assert_eq!(outcomes.len(), 251);
    let refused: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.is_none()).map(|(id, _)| *id).collect();
    assert_eq!(refused, [broken.id]);
}
