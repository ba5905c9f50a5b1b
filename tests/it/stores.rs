//! The store contract, on every store, and what is SQLite's own.

use std::time::Duration;

use bytes::Bytes;
use harbor_webhook::delivery::{DeadReason, State};
use harbor_webhook::policy::{PolicyDraft, Target, TargetType};
use harbor_webhook::store::{
    Appended, Body, Change, Claimed, DeliveryStore, FanOut, Fenced, Filter, Hold, LaneLimits, NewDelivery, Next, Page,
    PolicyFilter, PolicyStore, Retention, Settlement, SqliteStore,
};
use harbor_webhook::{ErrorKind, EventType, ProjectId, TargetId};
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
    store.settle(vec![Settlement::new(claimed.lease, next)]).await.unwrap().remove(0)
}

async fn an_event_is_appended_once<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let event = push();
    assert_eq!(store.append(std::slice::from_ref(&event)).await.unwrap(), [Appended::Inserted]);
    assert_eq!(store.append(&[event.clone(), push()]).await.unwrap(), [Appended::Duplicate, Appended::Inserted]);
    let claimed = store.claim_events(10, LEASE).await.unwrap();
    assert_eq!(claimed.len(), 2);
    assert_eq!(claimed[0].event.as_ref().unwrap(), &event);
    assert!(store.claim_events(10, LEASE).await.unwrap().is_empty());
}

async fn a_stale_lease_changes_nothing<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let policy = policy(&store, "a").await;
    deliver(&store, &[&policy], lane()).await;
    let lost = store.claim(1, Duration::from_millis(20)).await.unwrap().remove(0);
    assert!(store.claim(1, LEASE).await.unwrap().is_empty());
    tokio::time::sleep(Duration::from_millis(40)).await;
    let second = store.claim(1, LEASE).await.unwrap().remove(0);
    assert_eq!(second.id, lost.id);
    assert_eq!(settle(&store, &lost, Next::Delivered).await, Fenced::Stale);
    assert_eq!(settle(&store, &second, Next::Delivered).await, Fenced::Done);
    assert_eq!(settle(&store, &second, Next::Delivered).await, Fenced::Stale);
    assert_eq!(store.detail(second.id).await.unwrap().unwrap().delivery.state, State::Delivered);
}

async fn five_lost_leases_are_poison<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let policy = policy(&store, "a").await;
    deliver(&store, &[&policy], lane()).await;
    for _ in 0..5 {
        assert_eq!(store.claim(1, Duration::from_millis(5)).await.unwrap().len(), 1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(store.claim(1, LEASE).await.unwrap().is_empty());
    let all = store.list(&Filter::all(), Page::first(1)).await.unwrap();
    assert_eq!(all[0].state, State::Dead(DeadReason::Poison));
}

async fn lanes_keep_their_limits_and_take_turns<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let (a, b) = (policy(&store, "a").await, policy(&store, "b").await);
    for _ in 0..10 {
        deliver(&store, &[&a], LaneLimits::new(8, 3)).await;
    }
    deliver(&store, &[&b], lane()).await;
    let claimed = store.claim(100, LEASE).await.unwrap();
    let of = |policy: &harbor_webhook::policy::Policy| claimed.iter().filter(|c| c.policy_id == policy.id).count();
    assert_eq!((of(&a), of(&b)), (3, 1));
    let full = Filter::policy(a.id);
    let dead = store.list(&full, Page::first(100)).await.unwrap();
    let dead = dead.iter().filter(|delivery| delivery.state == State::Dead(DeadReason::LaneFull)).count();
    assert_eq!(dead, 2);
}

async fn a_lane_that_always_has_work_starves_nobody<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let (busy, other) = (policy(&store, "a").await, policy(&store, "b").await);
    for _ in 0..20 {
        deliver(&store, &[&busy], lane()).await;
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    deliver(&store, &[&other], lane()).await;
    let mut turns = 0;
    loop {
        let claimed = store.claim(1, LEASE).await.unwrap().remove(0);
        settle(&store, &claimed, Next::Delivered).await;
        if claimed.policy_id == other.id {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        turns += 1;
    }
    assert!(turns <= 2, "{turns}");
}

async fn a_closed_lane_waits_and_opens<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let policy = policy(&store, "a").await;
    deliver(&store, &[&policy], lane()).await;
    let claimed = store.claim(1, LEASE).await.unwrap().remove(0);
    let hold = Settlement::new(claimed.lease, Next::Release(Duration::ZERO)).close_lane(LEASE, Hold::Disabled);
    store.settle(vec![hold]).await.unwrap();
    assert!(store.claim(1, LEASE).await.unwrap().is_empty());
    let closed = store.status().await.unwrap().closed_lanes;
    assert_eq!((closed.len(), closed[0].why), (1, Hold::Disabled));
    let open = async |why| {
        store.change(&Filter::policy(policy.id), Change::OpenLanes(why), Page::first(10)).await.unwrap().count
    };
    assert_eq!(open(Hold::SwitchedOff).await, 0);
    assert!(store.claim(1, LEASE).await.unwrap().is_empty());
    assert_eq!(open(Hold::Disabled).await, 1);
    let again = store.claim(1, LEASE).await.unwrap().remove(0);
    assert_eq!(again.attempts, 0);
}

async fn operators_can_park_cancel_redeliver_and_forget<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let policy = policy(&store, "a").await;
    deliver(&store, &[&policy], lane()).await;
    let claimed = store.claim(1, LEASE).await.unwrap().remove(0);
    let only = Filter::id(claimed.id);
    let change = |to| store.change(&only, to, Page::first(1));
    assert_eq!(change(Change::Park).await.unwrap().count, 1);
    assert_eq!(settle(&store, &claimed, Next::Delivered).await, Fenced::Stale);
    assert!(store.claim(1, LEASE).await.unwrap().is_empty());
    assert_eq!(store.status().await.unwrap().parked, 1);
    assert_eq!(change(Change::Unpark).await.unwrap().count, 1);
    let claimed = store.claim(1, LEASE).await.unwrap().remove(0);
    settle(&store, &claimed, Next::Dead(DeadReason::Exhausted, None)).await;
    assert_eq!(change(Change::Cancel(harbor_webhook::delivery::CancelReason::Operator)).await.unwrap().count, 0);
    assert_eq!(change(Change::Redeliver).await.unwrap().count, 1);
    assert_eq!(change(Change::Redeliver).await.unwrap().count, 0);
    let claimed = store.claim(1, LEASE).await.unwrap().remove(0);
    assert_eq!((claimed.attempts, &claimed.body.bytes[..]), (0, &b"{}"[..]));
    assert_eq!(change(Change::Forget).await.unwrap().count, 1);
    assert!(store.detail(claimed.id).await.unwrap().is_none());
    assert_eq!(store.status().await.unwrap().waiting, 0);
}

async fn listings_go_on_where_they_stopped<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let policy = policy(&store, "a").await;
    for _ in 0..7 {
        deliver(&store, &[&policy], lane()).await;
    }
    let first = store.list(&Filter::policy(policy.id), Page::first(4)).await.unwrap();
    deliver(&store, &[&policy], lane()).await;
    let rest = store.list(&Filter::all(), Page::after(first[3].id.0, 10)).await.unwrap();
    assert_eq!((first.len(), rest.len()), (4, 3));
    assert!(first.iter().chain(&rest).is_sorted_by(|a, b| a.id > b.id));
}

async fn old_history_goes_and_what_waits_stays<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let policy = policy(&store, "a").await;
    for _ in 0..6 {
        deliver(&store, &[&policy], lane()).await;
        let claimed = store.claim(1, LEASE).await.unwrap().remove(0);
        settle(&store, &claimed, Next::Delivered).await;
    }
    deliver(&store, &[&policy], lane()).await;
    let mut keep = Retention::default();
    keep.finished_per_policy = 2;
    store.sweep(&keep, 1000).await.unwrap();
    let left = store.list(&Filter::all(), Page::first(100)).await.unwrap();
    assert_eq!(left.iter().filter(|delivery| delivery.state == State::Delivered).count(), 2);
    assert_eq!(left.iter().filter(|delivery| delivery.state == State::Due).count(), 1);
    tokio::time::sleep(Duration::from_millis(20)).await;
    keep.max_age = Duration::from_millis(1);
    assert_eq!(store.sweep(&keep, 1000).await.unwrap().expired, 1);
    assert!(store.claim(1, LEASE).await.unwrap().is_empty());
}

async fn policies_keep_their_names_and_targets<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let target = |url: &str| Target::http(url).unwrap();
    let draft = |name: &str| PolicyDraft::new(name).on(EventType::PushArtifact).creator("admin");
    let made = store.create(PROJECT, draft("a").target(target("http://x/")).target(target("http://y/"))).await.unwrap();
    let taken = store.create(PROJECT, draft("a").target(target("http://x/"))).await.unwrap_err();
    assert_eq!(
        (taken.kind(), &*taken.to_string()),
        (ErrorKind::Conflict, "notification policy named a already exists")
    );
    store.create(ProjectId(3), draft("a").target(target("http://x/"))).await.unwrap();

    let slack = Target::slack("http://s/").unwrap();
    let new = PolicyDraft::new("b").on(EventType::PullArtifact).target(target("http://z/")).target(target("http://y/"));
    let replaced = store.replace(made.id, new.target(slack).enabled(false)).await.unwrap();
    let ids = |policy: &harbor_webhook::policy::Policy| policy.targets.iter().map(|t| t.id).collect::<Vec<TargetId>>();
    let (old, now) = (ids(&made), ids(&replaced));
    assert_eq!((now[0], now[1]), (old[0], old[1]));
    assert!(!old.contains(&now[2]));
    assert_eq!(replaced.targets[2].target.target_type, TargetType::Slack);
    assert_eq!((&*replaced.creator, replaced.creation_time), ("admin", made.creation_time));
    let listed = store.policies(PolicyFilter::Project(PROJECT), Page::first(10)).await.unwrap();
    assert_eq!(listed, [replaced]);
    assert_eq!(store.delete(PolicyFilter::Id(made.id)).await.unwrap(), 1);
    assert_eq!(store.delete(PolicyFilter::Id(made.id)).await.unwrap(), 0);
    let gone = store.replace(made.id, draft("c").target(target("http://x/"))).await.unwrap_err();
    assert_eq!(gone.to_string(), format!("notificationPolicy {} not found", made.id));
}

async fn waiting_ends_when_there_is_work<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let begun = std::time::Instant::now();
    store.ready(Duration::from_millis(20)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(19));
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.ready(Duration::from_secs(20)).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    store.append(&[push()]).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap().unwrap();
}

crate::support::stores::on_every_store!(
    an_event_is_appended_once,
    a_stale_lease_changes_nothing,
    five_lost_leases_are_poison,
    lanes_keep_their_limits_and_take_turns,
    a_lane_that_always_has_work_starves_nobody,
    a_closed_lane_waits_and_opens,
    operators_can_park_cancel_redeliver_and_forget,
    listings_go_on_where_they_stopped,
    old_history_goes_and_what_waits_stays,
    policies_keep_their_names_and_targets,
    waiting_ends_when_there_is_work,
);

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
