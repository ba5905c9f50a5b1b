//! `health`: what waits, what is closed, what failed, and what is stuck, named.

use std::time::Duration;

use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{Filter, Hold, MemoryStore, Page, SqliteStore, StateKind};
use harbor_webhook::{EventType, Webhooks};

use crate::support::events::{PROJECT, push};
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, impatient, loopback};
use crate::support::stores::{Fresh, on_every_store};
use crate::troubled::{Failing, Fault};

async fn subscribe(hooks: &Webhooks, url: &str) {
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http(url).unwrap());
    hooks.policies().create(PROJECT, draft).await.unwrap();
}

async fn named(hooks: &Webhooks) -> Vec<String> {
    hooks.health().await.problems.into_iter().map(|problem| problem.what).collect()
}

/// A receiver that is down shows, and is nobody's fault here.
async fn what_waits_what_is_closed_and_what_failed_is_shown<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let busy = Receiver::with_headers(|_| (503, vec![("retry-after", "600")])).await;
    let hooks = Webhooks::builder(store, loopback()).settings(impatient()).build().unwrap();
    subscribe(&hooks, &busy.url).await;
    let running = Running::start(&hooks);
    let event = push();
    hooks.notify(&event).await.unwrap();
    let wait = async {
        loop {
            let health = hooks.health().await;
            if !health.closed_lanes.is_empty() {
                return health;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let health = tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the lane closes");
    assert!(health.is_ok(), "{:?}", health.problems);
    assert_eq!(health.on, Some(true));
    let waiting = health.waiting.unwrap();
    assert_eq!((waiting.events, waiting.deliveries), (0, 1));
    assert!(waiting.oldest_delivery.is_some_and(|age| age < Duration::from_secs(20)));
    let delivery = hooks.deliveries(&Filter::all().state(StateKind::Due), Page::first(1)).await.unwrap().remove(0);
    let closed = &health.closed_lanes[0];
    assert_eq!(
        (closed.why, closed.target_id, closed.policy_id),
        (Hold::RetryAfter, delivery.target_id, delivery.policy_id)
    );
    let failed = &health.failed_attempts[0];
    assert_eq!((failed.delivery_id, failed.event_id, failed.class), (delivery.id, event.id, "5xx"));
    assert_eq!(failed.error, "answered 503");
    assert_eq!(health.run.running, 1);
    for name in ["intake", "sending", "settling"] {
        let rounds = health.run.cycles.iter().find(|rounds| rounds.cycle.as_str() == name).unwrap();
        assert!(rounds.worked.is_some_and(|ago| ago < Duration::from_secs(20)), "{rounds:?}");
    }
    let json = serde_json::to_string(&hooks.health().await).unwrap();
    assert!(json.contains(r#""why":"retry_after","opens_in_seconds":"#), "{json}");
    assert!(!json.contains("127.0.0.1"), "{json}");
    running.stop().await;
    assert_eq!(hooks.health().await.run.running, 0);
}

on_every_store!(what_waits_what_is_closed_and_what_failed_is_shown);

#[tokio::test]
async fn the_memory_store_knows_how_many_bytes_wait() {
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).build().unwrap();
    subscribe(&hooks, "http://127.0.0.1:9/").await;
    let bytes = async || hooks.health().await.waiting.unwrap().bytes;
    assert_eq!(bytes().await, Some(0));
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    let wait = async {
        while bytes().await.is_none_or(|bytes| bytes < 400) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("a delivery with its body waits");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn events_that_nobody_sends_are_named() {
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).build().unwrap();
    subscribe(&hooks, "http://127.0.0.1:9/").await;
    hooks.notify(&push()).await.unwrap();
    assert_eq!(named(&hooks).await, [""; 0]);
    tokio::time::advance(Duration::from_secs(40)).await;
    assert_eq!(named(&hooks).await, ["1 events wait, the oldest for 40 s, and nobody runs `run` in this process"]);
}

#[tokio::test]
async fn a_run_that_ended_is_named_with_its_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("webhooks.db")).await.unwrap();
    let hooks = Webhooks::builder(store, loopback()).build().unwrap();
    let error = hooks.run(std::future::pending::<()>()).await.unwrap_err();
    let health = hooks.health().await;
    assert!(health.waiting.is_none());
    let problems: Vec<_> = health.problems.iter().map(|problem| &*problem.what).collect();
    assert!(problems[0].starts_with("the store does not say what waits: "), "{problems:?}");
    assert_eq!(problems[1], format!("`run` ended: {error}"));
    assert!(problems.iter().all(|what| what.contains("call migrate() first")), "{problems:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_named_while_it_does() {
    for (fault, cycle) in [(Fault::Settle, "settling"), (Fault::Resolve, "sending")] {
        let mended = std::sync::Arc::default();
        let store = Failing { store: MemoryStore::new(), fault, mended: std::sync::Arc::clone(&mended) };
        let hooks = Webhooks::builder(store, loopback()).build().unwrap();
        subscribe(&hooks, "http://127.0.0.1:9/").await;
        let running = Running::start(&hooks);
        hooks.notify(&push()).await.unwrap();
        let wait = async {
            while named(&hooks).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the fault is named");
        let health = hooks.health().await;
        assert_eq!(health.problems[0].what, format!("the store fails, and {cycle} waits for it: out of order"));
        assert_eq!(health.store_faults[0].cycle.as_str(), cycle);
        mended.store(true, std::sync::atomic::Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let health = hooks.health().await;
        assert!(health.is_ok(), "{:?}", health.problems);
        assert!(!health.store_faults.is_empty(), "what happened is remembered");
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_does_not_keep_the_answer() {
    let store = Failing { store: MemoryStore::new(), fault: Fault::Status, mended: Default::default() };
    let hooks = Webhooks::builder(store, loopback()).build().unwrap();
    let begun = tokio::time::Instant::now();
    let health = hooks.health().await;
    assert!(begun.elapsed() <= Duration::from_secs(4));
    assert!(health.waiting.is_none());
    assert_eq!(health.problems[0].what, "the store does not say what waits: no answer within 3s");
}
