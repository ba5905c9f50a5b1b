//! What operators do to deliveries, one or many at once, on every store.

use std::collections::BTreeSet;

use harbor_webhook::delivery::breaker::Breaker;
use harbor_webhook::delivery::{CancelReason, DeadReason, Delivery, State};
use harbor_webhook::event::Artifact;
use harbor_webhook::format::{Format, FormatError, RenderContext};
use harbor_webhook::policy::{Policy, PolicyDraft, Target};
use harbor_webhook::store::{Filter, Page, StateKind};
use harbor_webhook::{DeliveryId, ErrorKind, Event, EventType, Registry, Webhooks};

use crate::support::events::{DIGEST, PROJECT, push};
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, end_state, impatient, loopback};
use crate::support::stores::{Fresh, on_every_store};

/// A format that fails for one repository.
#[derive(Debug)]
struct Picky;

impl Format for Picky {
    fn name(&self) -> &str {
        "Picky"
    }
    fn content_type(&self) -> &str {
        "text/plain"
    }
    fn render(&self, event: &Event, _: &RenderContext, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let repository = event.data.repository.as_ref().map_or("", |repository| &*repository.repo_full_name);
        if repository == "library/bad" {
            return Err(FormatError::new("not that one"));
        }
        out.extend(event.id.to_string().bytes());
        Ok(())
    }
}

async fn hooks<S: Fresh>() -> (Webhooks, Option<tempfile::TempDir>) {
    let (store, folder) = S::fresh().await;
    let mut settings = impatient();
    settings.retry.max_retries = 0;
    // What is sent again here fails again and again.
    settings.breaker = Breaker::off();
    (Webhooks::builder(store, loopback()).settings(settings).format(Picky).build().unwrap(), folder)
}

async fn policy(hooks: &Webhooks, name: &str, url: &str) -> Policy {
    let target = Target::http(url).unwrap().payload_format("Picky");
    let draft = PolicyDraft::new(name).on(EventType::PushArtifact).target(target);
    hooks.policies().create(PROJECT, draft).await.unwrap()
}

async fn list(hooks: &Webhooks, which: &Filter) -> Vec<Delivery> {
    hooks.deliveries(which, Page::first(1000)).await.unwrap()
}

async fn state(hooks: &Webhooks, id: DeliveryId) -> State {
    list(hooks, &Filter::id(id)).await[0].state
}

fn kind(result: harbor_webhook::Result<()>) -> ErrorKind {
    result.expect_err("it is refused").kind()
}

/// Waits until so many deliveries are in this state.
async fn wait_for(hooks: &Webhooks, which: &Filter, count: usize) -> Vec<Delivery> {
    let wait = async {
        loop {
            let found = list(hooks, which).await;
            if found.len() >= count {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("they come to that state")
}

/// All dead ones of a policy, three at a time: each is sent once more, with its id and bytes, and those of another policy not.
async fn all_dead_of_a_policy_are_sent_again<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let (down, other) = (Receiver::start(|n| if n < 7 { 500 } else { 200 }).await, Receiver::start(|_| 500).await);
    let (ci, _) = (policy(&hooks, "ci", &down.url).await, policy(&hooks, "other", &other.url).await);
    let running = Running::start(&hooks);
    for _ in 0..7 {
        hooks.notify(&push()).await.unwrap();
    }
    let first = down.wait_for(7).await;
    other.wait_for(7).await;
    wait_for(&hooks, &Filter::all().state(StateKind::Dead), 14).await;
    running.stop().await;

    let dead = Filter::policy(ci.id).state(StateKind::Dead);
    let (mut page, mut counts) = (Page::first(3), Vec::new());
    loop {
        let done = hooks.redeliver_all(&dead, page).await.unwrap();
        assert_eq!(done.skipped.total(), 0);
        assert!(done.count <= 3);
        counts.push(done.count);
        let Some(next) = done.next else { break };
        // The same page again finds nothing more to do to what it did.
        page = Page::after(next, 3);
    }
    assert_eq!(counts.iter().sum::<u64>(), 7, "{counts:?}");
    let again = hooks.redeliver_all(&Filter::policy(ci.id), Page::first(100)).await.unwrap();
    assert_eq!((again.count, again.skipped.waiting, again.next), (0, 7, None));

    let running = Running::start(&hooks);
    let second = down.wait_for(14).await.split_off(7);
    assert_eq!(end_state(&hooks).await, State::Dead(DeadReason::Exhausted)); // the newest is the other's
    running.stop().await;
    let sent = |seen: &[crate::support::receiver::Seen]| -> BTreeSet<(Option<String>, Vec<u8>)> {
        seen.iter().map(|seen| (seen.header("webhook-id").map(ToOwned::to_owned), seen.body.clone())).collect()
    };
    assert_eq!(sent(&first), sent(&second));
    assert_eq!((down.seen().len(), other.seen().len()), (14, 7));
    assert!(list(&hooks, &Filter::policy(ci.id)).await.iter().all(|d| d.state == State::Delivered && d.attempts == 2));
}

/// All since a time; what was delivered too, if the filter says no state.
async fn all_since_a_time_are_sent_again<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let receiver = Receiver::start(|_| 200).await;
    policy(&hooks, "ci", &receiver.url).await;
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    receiver.wait_for(1).await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let since = chrono::Utc::now();
    hooks.notify(&push()).await.unwrap();
    hooks.notify(&push()).await.unwrap();
    receiver.wait_for(3).await;
    end_state(&hooks).await;
    let which = Filter::all().since(since);
    let done = hooks.redeliver_all(&which, Page::first(100)).await.unwrap();
    assert_eq!((done.count, done.skipped.total(), done.next), (2, 0, None));
    receiver.wait_for(5).await;
    end_state(&hooks).await;
    running.stop().await;
    let attempts: Vec<u32> = list(&hooks, &Filter::all()).await.iter().map(|delivery| delivery.attempts).collect();
    assert_eq!(attempts, [2, 2, 1]);
}

/// Where there is nothing to send, or nowhere to send it, one is an error and many are counted.
async fn what_cannot_be_sent_again_is_named_and_counted<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let down = Receiver::start(|_| 500).await;
    let (kept, gone) = (policy(&hooks, "kept", &down.url).await, policy(&hooks, "gone", &down.url).await);
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    let registry = Registry::new("hub.example.com").unwrap();
    let bad = registry.push(PROJECT, "library/bad", Artifact::tagged("1", DIGEST).unwrap());
    hooks.notify(&bad).await.unwrap();
    wait_for(&hooks, &Filter::all().state(StateKind::Dead), 4).await;
    running.stop().await;
    hooks.policies().delete(gone.id).await.unwrap();

    let mut bad_of_kept = Filter::policy(kept.id);
    bad_of_kept.event_id = Some(bad.id);
    let lost = list(&hooks, &Filter::policy(gone.id)).await[0].id;
    let error = hooks.redeliver(lost).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("target was deleted"), "{error}");
    let bodiless = list(&hooks, &bad_of_kept).await[0].id;
    let error = hooks.redeliver(bodiless).await.unwrap_err();
    assert!(error.to_string().contains("no body"), "{error}");
    assert_eq!(kind(hooks.redeliver(DeliveryId(1 << 40)).await), ErrorKind::NotFound);

    let done = hooks.redeliver_all(&Filter::all(), Page::first(100)).await.unwrap();
    assert_eq!(done.count, 1);
    assert_eq!((done.skipped.target_gone, done.skipped.no_body), (2, 1), "{done:?}");
    assert_eq!((done.skipped.total(), done.next), (3, None));
    assert_eq!(list(&hooks, &Filter::all().state(StateKind::Due)).await.len(), 1);
    assert!(list(&hooks, &Filter::policy(gone.id)).await.iter().all(|delivery| delivery.state.is_final()));
}

/// A page of many targets is bounded as a whole, and each delivery is in one page.
async fn pages_go_over_many_targets<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let down = Receiver::start(|_| 500).await;
    for name in ["a", "b", "c"] {
        policy(&hooks, name, &down.url).await;
    }
    let running = Running::start(&hooks);
    for _ in 0..4 {
        hooks.notify(&push()).await.unwrap();
    }
    wait_for(&hooks, &Filter::all().state(StateKind::Dead), 12).await;
    running.stop().await;
    // What comes while somebody pages is no part of it.
    let first = hooks.redeliver_all(&Filter::all().state(StateKind::Dead), Page::first(5)).await.unwrap();
    assert_eq!((first.count, first.skipped.total()), (5, 0));
    let next = first.next.unwrap();
    let newest: Vec<i64> = list(&hooks, &Filter::all().state(StateKind::Due)).await.iter().map(|d| d.id.0).collect();
    assert_eq!(newest.len(), 5);
    assert_eq!(newest.iter().min(), Some(&next));
    let rest = hooks.redeliver_all(&Filter::all().state(StateKind::Dead), Page::after(next, 100)).await.unwrap();
    assert_eq!((rest.count, rest.next), (7, None));
}

async fn one_is_parked_unparked_and_cancelled<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let receiver = Receiver::start(|_| 200).await;
    policy(&hooks, "ci", &receiver.url).await;
    hooks.notify(&push()).await.unwrap();
    let running = Running::start(&hooks);
    let id = wait_for(&hooks, &Filter::all().state(StateKind::Delivered), 1).await[0].id;
    running.stop().await;
    assert_eq!(kind(hooks.park(id).await), ErrorKind::Conflict);
    assert_eq!(kind(hooks.unpark(id).await), ErrorKind::Conflict);
    hooks.cancel(id).await.unwrap();
    assert_eq!(state(&hooks, id).await, State::Delivered);

    hooks.redeliver(id).await.unwrap();
    assert_eq!(kind(hooks.redeliver(id).await), ErrorKind::Conflict);
    for _ in 0..2 {
        hooks.park(id).await.unwrap();
        assert_eq!(state(&hooks, id).await, State::Parked);
    }
    for _ in 0..2 {
        hooks.unpark(id).await.unwrap();
        assert_eq!(state(&hooks, id).await, State::Due);
    }
    for _ in 0..2 {
        hooks.cancel(id).await.unwrap();
        assert_eq!(state(&hooks, id).await, State::Cancelled(CancelReason::Operator));
    }
    let nobody = DeliveryId(1 << 40);
    for result in [hooks.park(nobody).await, hooks.unpark(nobody).await, hooks.cancel(nobody).await] {
        assert_eq!(kind(result), ErrorKind::NotFound);
    }
    assert_eq!(receiver.seen().len(), 1);
}

async fn many_are_parked_unparked_and_cancelled<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let down = Receiver::start(|_| 500).await;
    let (ci, other) = (policy(&hooks, "ci", &down.url).await, policy(&hooks, "other", &down.url).await);
    let running = Running::start(&hooks);
    for _ in 0..5 {
        hooks.notify(&push()).await.unwrap();
    }
    wait_for(&hooks, &Filter::all().state(StateKind::Dead), 10).await;
    running.stop().await;
    hooks.redeliver_all(&Filter::all(), Page::first(100)).await.unwrap();

    let which = Filter::policy(ci.id);
    let first = hooks.park_all(&which, Page::first(3)).await.unwrap();
    let rest = hooks.park_all(&which, Page::after(first.next.unwrap(), 3)).await.unwrap();
    assert_eq!((first.count, rest.count, rest.next), (3, 2, None));
    assert_eq!(hooks.park_all(&which, Page::first(100)).await.unwrap().count, 0);
    assert_eq!(hooks.unpark_all(&which.clone().state(StateKind::Parked), Page::first(2)).await.unwrap().count, 2);
    assert_eq!(hooks.unpark_all(&Filter::policy(other.id), Page::first(100)).await.unwrap().count, 0);
    assert_eq!(hooks.cancel_all(&which, Page::first(100)).await.unwrap().count, 5);
    assert_eq!(hooks.cancel_all(&which, Page::first(100)).await.unwrap().count, 0);
    assert!(list(&hooks, &Filter::policy(other.id)).await.iter().all(|delivery| delivery.state == State::Due));
}

on_every_store!(
    all_dead_of_a_policy_are_sent_again,
    all_since_a_time_are_sent_again,
    what_cannot_be_sent_again_is_named_and_counted,
    pages_go_over_many_targets,
    one_is_parked_unparked_and_cancelled,
    many_are_parked_unparked_and_cancelled,
);
