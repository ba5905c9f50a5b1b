//! What the bundled stores promise beyond the contract, and what is SQLite's own. The contract is held in `conformance`.

use std::time::Duration;

use bytes::Bytes;
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{
    Body, Claimed, DeliveryStore, FanOut, Fenced, LaneLimits, NewDelivery, Next, PolicyFilter, PolicyStore, Settlement,
    SqliteStore,
};
use harbor_webhook::{ErrorKind, EventType};
use uuid::Uuid;

use crate::support::events::{PROJECT, push};
use crate::support::stores::Fresh;

pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// Appends an event and fans it out to these targets of a new policy.
pub(crate) async fn deliver(
    store: &(impl PolicyStore + DeliveryStore),
    targets: &[&harbor_webhook::policy::Policy],
    lane: LaneLimits,
) {
    store.append(&[push()]).await.unwrap();
    let event = store.claim_events(1, LEASE).await.unwrap().remove(0);
    let id = Uuid::now_v7();
    let mut part = FanOut::default();
    part.bodies.push(Body::new(id, "Default", "application/json", Bytes::from_static(b"{}")));
    for policy in targets {
        part.deliveries.extend(policy.targets.iter().map(|target| NewDelivery::new(policy.id, target, Ok(id), lane)));
    }
    part.last = true;
    assert_eq!(store.fan_out(&event.lease, part).await.unwrap(), Fenced::Done);
}

async fn policy(store: &impl PolicyStore, name: &str) -> harbor_webhook::policy::Policy {
    let target = Target::http(&format!("http://{name}.example.com/")).unwrap();
    store.create(PROJECT, PolicyDraft::new(name).on(EventType::PushArtifact).target(target)).await.unwrap()
}

fn lane() -> LaneLimits {
    LaneLimits::new(100, 4)
}

async fn settle(store: &impl DeliveryStore, claimed: &Claimed, next: Next) -> Fenced {
    store.settle(vec![Settlement::new(claimed.lease, next)]).await.unwrap().remove(0).fenced
}

async fn refusals_are_in_harbors_words<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let made = policy(&store, "a").await;
    let draft =
        |name: &str| PolicyDraft::new(name).on(EventType::PushArtifact).target(Target::http("http://x/").unwrap());
    let taken = store.create(PROJECT, draft("a")).await.unwrap_err();
    assert_eq!(taken.to_string(), "notification policy named a already exists");
    store.delete(PolicyFilter::Id(made.id)).await.unwrap();
    let gone = store.replace(made.id, draft("c")).await.unwrap_err();
    assert_eq!(gone.to_string(), format!("notificationPolicy {} not found", made.id));
}

async fn an_idle_store_is_waited_for<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let begun = std::time::Instant::now();
    store.ready(Duration::from_millis(20)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(19));
}

crate::support::stores::on_every_store!(refusals_are_in_harbors_words, an_idle_store_is_waited_for);

#[tokio::test]
async fn one_handle_sends_from_a_file_and_its_leases_end_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("webhooks.db");
    let first = SqliteStore::open(&path).await.unwrap();
    first.migrate().await.unwrap();
    let policy = policy(&first, "a").await;
    deliver(&first, &[&policy], lane()).await;
    let claimed = first.claim(1, LEASE).await.unwrap().remove(0);
    let second = SqliteStore::open(&path).await.unwrap();
    let refused = second.claim(1, LEASE).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Store);
    assert!(refused.to_string().contains("already used for sending"), "{refused}");
    // Policies can be changed beside the sender.
    second.switch(Some(false)).await.unwrap();
    drop(first);
    let again = second.claim(1, LEASE).await.unwrap().remove(0);
    assert_eq!(again.id, claimed.id);
    assert_eq!(settle(&second, &claimed, Next::Delivered).await, Fenced::Stale);
    assert_eq!(settle(&second, &again, Next::Delivered).await, Fenced::Done);
}

#[tokio::test]
async fn wrong_files_are_clear_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "not a database, but long enough to have a header\n".repeat(100)).unwrap();
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.to_string().contains("not a SQLite database"), "{error}");

    let store = SqliteStore::open(folder.path().join("new.db")).await.unwrap();
    let error = store.append(&[push()]).await.unwrap_err();
    assert!(error.to_string().contains("call migrate() first"), "{error}");
    store.migrate().await.unwrap();
    store.migrate().await.unwrap();
    store.append(&[push()]).await.unwrap();

    let error = SqliteStore::open(folder.path().join("no/such/folder.db")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_producers_share_their_commits() {
    let (store, _folder) = SqliteStore::fresh().await;
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..8 {
                    store.append(&[push()]).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.status().await.unwrap().outbox, 512);
}
