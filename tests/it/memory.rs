//! What is the memory store's own: its bounds, and that nothing in it grows for ever.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use harbor_webhook::delivery::{CancelReason, DeadReason, State};
use harbor_webhook::policy::{Policy, PolicyDraft, Target};
use harbor_webhook::store::{
    Appended, Body, Change, DeliveryStore, FanOut, Fenced, Filter, LaneLimits, MemoryStore, NewDelivery, Next, Page,
    PolicyFilter, PolicyStore, Retention, Settlement, StateKind,
};
use harbor_webhook::{ErrorKind, EventType, ProjectId};
use uuid::Uuid;

use crate::support::events::{PROJECT, push, push_to};

const LEASE: Duration = Duration::from_secs(60);

async fn policy(store: &MemoryStore, project: ProjectId, name: &str) -> Policy {
    let target = Target::http(&format!("http://{name}.example.com/")).unwrap();
    store.create(project, PolicyDraft::new(name).on(EventType::PushArtifact).target(target)).await.unwrap()
}

async fn policies(store: &MemoryStore, count: usize) -> Vec<Policy> {
    let mut policies = Vec::new();
    for n in 0..count {
        policies.push(policy(store, PROJECT, &format!("p{n}")).await);
    }
    policies
}

fn lane() -> LaneLimits {
    LaneLimits::new(10_000, 4)
}

/// Fans one event out, if the store gives one, with a body of this length. Gives the event's id.
async fn fan_out(store: &MemoryStore, to: &[Policy], length: usize, lane: LaneLimits) -> Option<Uuid> {
    let claimed = store.claim_events(1, LEASE).await.unwrap().pop()?;
    let id = Uuid::now_v7();
    let mut part = FanOut::default();
    part.bodies.push(Body::new(id, "Default", "application/json", Bytes::from(vec![b'x'; length])));
    part.deliveries.extend(to.iter().map(|policy| NewDelivery::new(policy.id, &policy.targets[0], Ok(id), lane)));
    part.last = true;
    assert_eq!(store.fan_out(&claimed.lease, part).await.unwrap(), Fenced::Done);
    Some(claimed.event.unwrap().id)
}

async fn deliver(store: &MemoryStore, to: &[Policy], length: usize, lane: LaneLimits) {
    let project = to.first().map_or(PROJECT, |policy| policy.project_id);
    store.append(&[push_to(project)]).await.unwrap();
    fan_out(store, to, length, lane).await.unwrap();
}

/// Appends and fans out until the store is full, then sends all of it. Gives how many deliveries waited at most, and how
/// many events were in the outbox.
async fn fills_up_drains_and_takes_again(store: &MemoryStore, length: usize) -> (u64, u64) {
    let to = policies(store, 40).await;
    let (mut taken, mut sent, mut most) = (HashSet::new(), HashSet::new(), (0, 0));
    for _ in 0..2 {
        let mut turn = 0;
        let full = loop {
            let event = push();
            match store.append(std::slice::from_ref(&event)).await {
                Ok(appended) => assert_eq!(appended, [Appended::Inserted]),
                Err(full) => break full,
            }
            taken.insert(event.id);
            turn += 1;
            fan_out(store, &to[turn % 40..][..1], length, lane()).await;
            assert!(turn < 10_000, "the store takes whatever comes");
        };
        assert_eq!(full.kind(), ErrorKind::Full);
        assert!(full.is_retryable());
        assert!(store.claim_events(1, LEASE).await.unwrap().is_empty());
        let status = store.status().await.unwrap();
        most = most.max((status.waiting, status.outbox));
        loop {
            for claimed in store.claim(64, LEASE).await.unwrap() {
                assert_eq!(claimed.body.bytes.len(), length);
                assert!(sent.insert(claimed.event_id), "sent twice");
                store.settle(vec![Settlement::new(claimed.lease, Next::Delivered)]).await.unwrap();
            }
            turn += 1;
            let status = store.status().await.unwrap();
            if status.waiting == 0 && fan_out(store, &to[turn % 40..][..1], length, lane()).await.is_none() {
                break;
            }
        }
        assert_eq!(store.status().await.unwrap().outbox, 0);
    }
    assert_eq!(taken, sent);
    most
}

#[tokio::test]
async fn full_by_count_it_drains_and_takes_again() {
    let store = MemoryStore::with_bound(200);
    assert_eq!(fills_up_drains_and_takes_again(&store, 100).await, (200, 20));
}

#[tokio::test]
async fn full_by_bytes_it_drains_and_takes_again() {
    let store = MemoryStore::with_bound(100_000).max_bytes(200_000);
    let (waiting, outbox) = fills_up_drains_and_takes_again(&store, 1000).await;
    // 1,000 bytes of body, and what the store takes for a delivery.
    assert!((120..=200).contains(&waiting), "{waiting}");
    assert!((5..=50).contains(&outbox), "{outbox}");
}

#[tokio::test]
async fn a_body_counts_once_and_one_event_always_fits() {
    let store = MemoryStore::with_bound(100_000).max_bytes(60_000);
    let to = policies(&store, 50).await;
    deliver(&store, &to, 20_000, lane()).await;
    assert_eq!(store.status().await.unwrap().waiting, 50);
    deliver(&store, &to[..1], 10, lane()).await;

    let store = MemoryStore::with_bound(100).max_bytes(1);
    let to = policies(&store, 1).await;
    deliver(&store, &to, 1000, lane()).await;
    store.append(&[push()]).await.unwrap();
    assert_eq!(store.append(&[push()]).await.unwrap_err().kind(), ErrorKind::Full);
    assert!(fan_out(&store, &to, 1000, lane()).await.is_none());
    let claimed = store.claim(1, LEASE).await.unwrap().remove(0);
    store.settle(vec![Settlement::new(claimed.lease, Next::Delivered)]).await.unwrap();
    assert!(fan_out(&store, &to, 1000, lane()).await.is_some());
}

#[tokio::test]
async fn one_target_takes_a_tenth_of_the_bytes() {
    let store = MemoryStore::with_bound(100_000).max_bytes(100_000);
    let to = policies(&store, 2).await;
    for _ in 0..12 {
        deliver(&store, &to[..1], 1000, lane()).await;
    }
    deliver(&store, &to[1..], 1000, lane()).await;
    let full = store.list(&Filter::all().state(StateKind::Dead), Page::first(100)).await.unwrap();
    assert_eq!(full.len(), 4);
    assert!(full.iter().all(|d| d.state == State::Dead(DeadReason::LaneFull) && d.policy_id == to[0].id));
    let status = store.status().await.unwrap();
    assert_eq!((status.waiting, status.dead), (9, 4));
}

#[tokio::test]
async fn history_is_bounded_by_bytes_and_dead_ones_stay_longest() {
    let store = MemoryStore::with_bound(100_000).max_bytes(100_000);
    let to = policies(&store, 10).await;
    for n in 0..300 {
        deliver(&store, &to[n % 10..][..1], 1000, lane()).await;
        let claimed = store.claim(1, LEASE).await.unwrap().remove(0);
        let next = if n < 20 { Next::Dead(DeadReason::Exhausted, None) } else { Next::Delivered };
        store.settle(vec![Settlement::new(claimed.lease, next)]).await.unwrap();
    }
    let kept = store.list(&Filter::all(), Page::first(1000)).await.unwrap();
    assert!((60..=80).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.iter().filter(|d| d.state == State::Dead(DeadReason::Exhausted)).count(), 20);
    assert_eq!(kept[0].id.0, 300);
}

#[tokio::test]
async fn a_redelivery_keeps_the_limits_of_its_lane() {
    let store = MemoryStore::new();
    let to = policies(&store, 1).await;
    let narrow = LaneLimits::new(10, 1);
    for _ in 0..3 {
        deliver(&store, &to, 10, narrow).await;
        let claimed = store.claim(4, LEASE).await.unwrap();
        let [only] = &claimed[..] else { panic!("one in flight, not {}", claimed.len()) };
        store.settle(vec![Settlement::new(only.lease, Next::Delivered)]).await.unwrap();
    }
    let all = store.change(&Filter::policy(to[0].id), Change::Redeliver, Page::first(10)).await.unwrap();
    assert_eq!(all.count, 3);
    assert_eq!(store.claim(4, LEASE).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_policy_is_forgotten_after_an_hour() {
    let store = MemoryStore::new();
    let to = policies(&store, 2).await;
    for _ in 0..3 {
        deliver(&store, &to, 10, lane()).await;
    }
    store.append(&[push()]).await.unwrap();
    store.delete(PolicyFilter::Id(to[0].id)).await.unwrap();
    // The event was matched before the policy went.
    fan_out(&store, &to, 10, lane()).await.unwrap();
    let of = |n: usize| Filter::policy(to[n].id);
    let listed = store.list(&of(0), Page::first(10)).await.unwrap();
    let states: Vec<_> = listed.iter().map(|delivery| delivery.state).collect();
    assert_eq!(states[0], State::Due);
    assert!(states[1..].iter().all(|state| *state == State::Cancelled(CancelReason::TargetGone)), "{states:?}");
    tokio::time::advance(Duration::from_secs(59 * 60)).await;
    store.sweep(&Retention::default(), 1000).await.unwrap();
    assert_eq!(store.list(&of(0), Page::first(10)).await.unwrap().len(), 4);
    tokio::time::advance(Duration::from_secs(2 * 60)).await;
    // In steps of one, as if there were very many.
    while store.sweep(&Retention::default(), 1).await.unwrap().more {}
    assert!(store.list(&of(0), Page::first(10)).await.unwrap().is_empty());
    assert_eq!(store.list(&of(1), Page::first(10)).await.unwrap().len(), 4);
    assert_eq!(store.status().await.unwrap().waiting, 4);
}

#[tokio::test(start_paused = true)]
async fn ids_of_events_are_known_for_a_day_and_not_much_longer() {
    let store = MemoryStore::new();
    let (first, keep) = (push(), Retention::default());
    let append = async || store.append(std::slice::from_ref(&first)).await.unwrap()[0];
    append().await;
    fan_out(&store, &[], 0, lane()).await.unwrap();
    for hour in 0..24 {
        tokio::time::advance(Duration::from_secs(60 * 60)).await;
        deliver(&store, &[], 0, lane()).await;
        store.sweep(&keep, 1000).await.unwrap();
        assert_eq!(append().await, Appended::Duplicate, "after {hour} hours");
    }
    tokio::time::advance(Duration::from_secs(2 * 60 * 60)).await;
    assert_eq!(store.sweep(&keep, 1000).await.unwrap().removed, 2);
    assert_eq!(append().await, Appended::Inserted);
}

#[tokio::test(start_paused = true)]
async fn ages_and_expiry_know_a_redelivery_from_what_is_old() {
    let store = MemoryStore::new();
    let to = policies(&store, 1).await;
    let second = Duration::from_secs(1);
    for _ in 0..40 {
        deliver(&store, &to, 10, lane()).await;
        tokio::time::advance(second).await;
    }
    let first = store.claim(1, LEASE).await.unwrap().remove(0);
    store.settle(vec![Settlement::new(first.lease, Next::Dead(DeadReason::Exhausted, None))]).await.unwrap();
    store.change(&Filter::id(first.id), Change::Redeliver, Page::first(1)).await.unwrap();
    assert_eq!(store.status().await.unwrap().oldest_waiting, Some(39 * second));
    let mut keep = Retention::default();
    keep.max_age = 30 * second;
    assert_eq!(store.sweep(&keep, 1000).await.unwrap().expired, 9);
    assert_eq!(store.status().await.unwrap().oldest_waiting, Some(30 * second));
    let delivery = store.list(&Filter::id(first.id), Page::first(1)).await.unwrap().remove(0);
    assert_eq!(delivery.state, State::Due);
}

#[tokio::test]
async fn listings_of_one_policy_see_all_and_only_its_own() {
    let store = MemoryStore::new();
    let (a, b) = (policy(&store, PROJECT, "a").await, policy(&store, ProjectId(9), "b").await);
    for n in 0..60 {
        deliver(&store, &[a.clone(), b.clone()][n % 2..][..1], 10, lane()).await;
    }
    for (n, claimed) in store.claim(8, LEASE).await.unwrap().into_iter().enumerate() {
        let next = match n {
            0 | 1 => Next::Delivered,
            2 | 3 => Next::Dead(DeadReason::Exhausted, None),
            4 | 5 => Next::Retry(LEASE),
            _ => continue,
        };
        store.settle(vec![Settlement::new(claimed.lease, next)]).await.unwrap();
    }
    let mut target = Filter::all();
    target.target_id = Some(b.targets[0].id);
    let which = [Filter::policy(a.id), Filter::policy(b.id), Filter::project(ProjectId(9)), target];
    pages_add_up(&store, &which, 30).await;
    // Now one policy has nearly all, and finding its own is no longer what makes it fast.
    for _ in 0..1200 {
        deliver(&store, std::slice::from_ref(&a), 10, lane()).await;
    }
    pages_add_up(&store, &which[..1], 1230).await;
    pages_add_up(&store, &which[1..], 30).await;
}

async fn pages_add_up(store: &MemoryStore, which: &[Filter], count: usize) {
    let all = store.list(&Filter::all(), Page::first(10_000)).await.unwrap();
    for which in which {
        let expected: Vec<_> = all.iter().filter(|delivery| which.selects(delivery)).map(|d| d.id).collect();
        assert_eq!(expected.len(), count);
        let first = store.list(which, Page::first(7)).await.unwrap();
        let rest = store.list(which, Page::after(first[6].id.0, 10_000)).await.unwrap();
        let listed: Vec<_> = first.iter().chain(&rest).map(|delivery| delivery.id).collect();
        assert_eq!(listed, expected);
    }
}
