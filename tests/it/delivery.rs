//! From `notify` to a recorded delivery, over real sockets, on every store.

use std::time::Duration;

use harbor_webhook::delivery::retry::Schedule;
use harbor_webhook::delivery::{CancelReason, DeadReason, Outcome, State};
use harbor_webhook::event::Payload;
use harbor_webhook::format::{Format, FormatError, RenderContext};
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{Filter, Page};
use harbor_webhook::transport::{DestinationPolicy, Request, Response, Transport, TransportError};
use harbor_webhook::{ErrorKind, Event, EventType, Notified, Webhooks};

use crate::support::events::{PROJECT, push};
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, end_state, impatient, loopback};
use crate::support::stores::Fresh;

async fn hooks<S: Fresh>() -> (Webhooks, Option<tempfile::TempDir>) {
    let (store, folder) = S::fresh().await;
    (Webhooks::builder(store, loopback()).settings(impatient()).build().unwrap(), folder)
}

async fn subscribe(hooks: &Webhooks, target: Target) {
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(target);
    hooks.policies().create(PROJECT, draft).await.unwrap();
}

async fn an_event_arrives_as_harbor_sends_it<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let receiver = Receiver::start(|_| 200).await;
    let target = Target::http(&format!("{}/hook?x=1", receiver.url)).unwrap().auth_header("Bearer s3cret").unwrap();
    subscribe(&hooks, target).await;
    let running = Running::start(&hooks);
    let event = push();
    assert_eq!(hooks.notify(&event).await.unwrap(), Notified::Queued);
    assert_eq!(hooks.notify(&event).await.unwrap(), Notified::Duplicate);
    let seen = receiver.wait_for(1).await.remove(0);
    assert_eq!(seen.path, "/hook?x=1");
    assert_eq!(seen.header("authorization"), Some("Bearer s3cret"));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert!(seen.header("user-agent").unwrap().starts_with("harbor-webhook/"));
    let payload: Payload = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(payload.event_data, event.data);
    assert_eq!(end_state(&hooks).await, State::Delivered);
    running.stop().await;
    assert_eq!(receiver.seen().len(), 1);
}

async fn every_attempt_sends_the_same_id_and_bytes<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let receiver = Receiver::start(|n| if n < 2 { 500 } else { 204 }).await;
    subscribe(&hooks, Target::http(&receiver.url).unwrap().payload_format("CloudEvents")).await;
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    let seen = receiver.wait_for(3).await;
    assert_eq!(end_state(&hooks).await, State::Delivered);
    assert!(seen.iter().all(|s| s.body == seen[0].body && s.header("webhook-id") == seen[0].header("webhook-id")));
    let body: serde_json::Value = serde_json::from_slice(&seen[0].body).unwrap();
    assert_eq!(body["id"].as_str(), seen[0].header("webhook-id"));

    let delivery = hooks.deliveries(&Filter::all(), Page::first(1)).await.unwrap().remove(0);
    let detail = hooks.delivery(delivery.id).await.unwrap().unwrap();
    assert_eq!(detail.body.unwrap().bytes, seen[0].body);
    assert_eq!(detail.attempts.len(), 3);
    assert!(detail.attempts[0].remote_addr.is_some());
    assert!(matches!(&detail.attempts[0].outcome, Outcome::Answered { status: 500, body, .. } if body == "told so"));
    let log = hooks.job_log(delivery.id).await.unwrap();
    assert_eq!(log.matches("abnormal response code: 500, body: told so").count(), 2);
    assert_eq!(log.matches("success to run webhook job").count(), 1);

    hooks.redeliver(delivery.id).await.unwrap();
    let again = receiver.wait_for(4).await.remove(3);
    assert_eq!(
        (again.body, again.headers.get("webhook-id")),
        (seen[0].body.clone(), seen[0].headers.get("webhook-id"))
    );
    running.stop().await;
}

async fn three_retries_and_then_it_is_dead_and_kept<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let receiver = Receiver::start(|_| 302).await;
    subscribe(&hooks, Target::http(&receiver.url).unwrap()).await;
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    assert_eq!(end_state(&hooks).await, State::Dead(DeadReason::Exhausted));
    running.stop().await;
    assert_eq!(receiver.seen().len(), 4);
}

async fn nobody_who_is_not_asked_is_told<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let draft = || PolicyDraft::new("ci").target(Target::http("http://127.0.0.1:9/").unwrap());
    assert_eq!(hooks.notify(&push()).await.unwrap(), Notified::NoSubscriber);
    let policy = hooks.policies().create(PROJECT, draft().on(EventType::PullArtifact)).await.unwrap();
    assert_eq!(hooks.notify(&push()).await.unwrap(), Notified::NoSubscriber);
    let disabled = draft().on(EventType::PushArtifact).enabled(false);
    hooks.policies().replace(policy.id, disabled).await.unwrap();
    assert_eq!(hooks.notify(&push()).await.unwrap(), Notified::NoSubscriber);
    hooks.policies().replace(policy.id, draft().on(EventType::PushArtifact)).await.unwrap();
    assert_eq!(hooks.notify(&push()).await.unwrap(), Notified::Queued);
    hooks.switch(false).await.unwrap();
    assert_eq!(hooks.notify(&push()).await.unwrap(), Notified::NoSubscriber);
    hooks.policies().delete(policy.id).await.unwrap();
    hooks.switch(true).await.unwrap();
    assert_eq!(hooks.notify(&push()).await.unwrap(), Notified::NoSubscriber);
}

async fn what_waits_follows_its_target_and_stops_with_it<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let (old, new) = (Receiver::start(|_| 500).await, Receiver::start(|_| 200).await);
    let mut settings = impatient();
    settings.retry.schedule = Schedule::Delays { delays: vec![Duration::from_millis(400)], jitter: 0.0 };
    let draft = |url: &str| PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http(url).unwrap());
    let policy = hooks.policies().create(PROJECT, draft(&old.url)).await.unwrap();
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    old.wait_for(1).await;
    let edited = hooks.policies().replace(policy.id, draft(&new.url)).await.unwrap();
    assert_eq!(edited.targets[0].id, policy.targets[0].id);
    new.wait_for(1).await;
    assert_eq!(end_state(&hooks).await, State::Delivered);

    hooks.policies().replace(policy.id, draft(&old.url)).await.unwrap();
    hooks.notify(&push()).await.unwrap();
    old.wait_for(2).await;
    hooks.policies().delete(policy.id).await.unwrap();
    let state = end_state(&hooks).await;
    assert!(matches!(state, State::Cancelled(CancelReason::TargetGone)), "{state:?}");
    running.stop().await;
}

async fn switched_off_nothing_is_sent_and_nothing_is_lost<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let receiver = Receiver::start(|n| if n == 0 { 500 } else { 200 }).await;
    subscribe(&hooks, Target::http(&receiver.url).unwrap()).await;
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    receiver.wait_for(1).await;
    hooks.switch(false).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(receiver.seen().len(), 1);
    hooks.switch(true).await.unwrap();
    receiver.wait_for(2).await;
    assert_eq!(end_state(&hooks).await, State::Delivered);
    let delivery = hooks.deliveries(&Filter::all(), Page::first(1)).await.unwrap().remove(0);
    assert_eq!(delivery.attempts, 2);
    running.stop().await;
}

async fn a_blocked_address_is_never_reached<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let receiver = Receiver::start(|_| 200).await;
    // The policy was saved when the address was allowed.
    let before = Webhooks::builder(store.clone(), loopback()).build().unwrap();
    subscribe(&before, Target::http(&receiver.url).unwrap()).await;
    let hooks = Webhooks::builder(store, DestinationPolicy::public_addresses()).build().unwrap();
    let refused = PolicyDraft::new("x").on(EventType::PushArtifact).target(Target::http(&receiver.url).unwrap());
    let error = hooks.policies().create(PROJECT, refused).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("127.0.0.1/32"), "{error}");
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    assert_eq!(end_state(&hooks).await, State::Dead(DeadReason::Blocked));
    running.stop().await;
    assert!(receiver.seen().is_empty());
}

#[derive(Debug)]
struct Broken;

impl Format for Broken {
    fn name(&self) -> &'static str {
        "Broken"
    }
    fn content_type(&self) -> &'static str {
        "text/plain"
    }
    fn render(&self, event: &Event, _: &RenderContext, _: &mut Vec<u8>) -> Result<(), FormatError> {
        assert!(event.operator != "admin", "a host's format panics");
        Err(FormatError::new("cannot write this"))
    }
}

#[derive(Debug)]
struct Panicking;

#[async_trait::async_trait]
impl Transport for Panicking {
    async fn send(&self, _: Request<'_>) -> Result<Response, TransportError> {
        panic!("a host's transport panics")
    }
}

async fn a_panic_stays_with_its_delivery<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let hooks = Webhooks::builder(store.clone(), loopback()).settings(impatient()).format(Broken).build().unwrap();
    let receiver = Receiver::start(|_| 200).await;
    let (good, bad) = (Target::http(&receiver.url).unwrap(), Target::http(&receiver.url).unwrap());
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(good).target(bad.payload_format("Broken"));
    hooks.policies().create(PROJECT, draft).await.unwrap();
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    receiver.wait_for(1).await;
    assert_eq!(end_state(&hooks).await, State::Dead(DeadReason::Format));
    running.stop().await;

    let (store, _folder) = S::fresh().await;
    let hooks = Webhooks::builder(store, loopback()).settings(impatient()).transport(Panicking).build().unwrap();
    subscribe(&hooks, Target::http(&receiver.url).unwrap()).await;
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    assert_eq!(end_state(&hooks).await, State::Dead(DeadReason::Exhausted));
    running.stop().await;
}

async fn a_hung_receiver_delays_nobody_and_no_shutdown<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let mut settings = impatient();
    settings.shutdown_grace = Duration::from_millis(200);
    let hooks = Webhooks::builder(store, loopback()).settings(settings).build().unwrap();
    // Accepts and never answers: the listener's backlog takes the connection.
    let hung = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver = Receiver::start(|_| 200).await;
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact);
    let draft = draft.target(Target::http(&format!("http://{}/", hung.local_addr().unwrap())).unwrap());
    let draft = draft.target(Target::http(&receiver.url).unwrap());
    hooks.policies().create(PROJECT, draft).await.unwrap();
    let running = Running::start(&hooks);
    for _ in 0..20 {
        hooks.notify(&push()).await.unwrap();
    }
    receiver.wait_for(20).await;
    let begun = std::time::Instant::now();
    running.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // Given back without an attempt counted.
    let waiting = hooks.deliveries(&Filter::all(), Page::first(100)).await.unwrap();
    assert!(waiting.iter().filter(|delivery| !delivery.state.is_final()).all(|delivery| delivery.attempts == 0));
}

async fn retry_after_closes_the_lane<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let receiver =
        Receiver::with_headers(|n| if n == 0 { (429, vec![("retry-after", "60")]) } else { (200, vec![]) }).await;
    subscribe(&hooks, Target::http(&receiver.url).unwrap()).await;
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    receiver.wait_for(1).await;
    let closed = async {
        while hooks.status().await.unwrap().closed_lanes.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closed).await.unwrap();
    hooks.notify(&push()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(receiver.seen().len(), 1);
    running.stop().await;
}

async fn a_projects_end_takes_everything_of_it<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let receiver = Receiver::start(|_| 200).await;
    subscribe(&hooks, Target::http(&receiver.url).unwrap()).await;
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    end_state(&hooks).await;
    hooks.delete_project(PROJECT).await.unwrap();
    assert!(hooks.deliveries(&Filter::all(), Page::first(10)).await.unwrap().is_empty());
    assert_eq!(hooks.notify(&push()).await.unwrap(), Notified::NoSubscriber);
    running.stop().await;
}

async fn bad_events_are_refused_at_the_door<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    subscribe(&hooks, Target::http("http://127.0.0.1:9/").unwrap()).await;
    let mut empty = push();
    empty.data.repository = None;
    let error = hooks.notify(&empty).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().starts_with("event_data.repository"), "{error}");
    let error = hooks.notify(&push().operator("x".repeat(1 << 20))).await.unwrap_err();
    assert!(error.to_string().contains("bytes of JSON"), "{error}");
}

crate::support::stores::on_every_store!(
    an_event_arrives_as_harbor_sends_it,
    every_attempt_sends_the_same_id_and_bytes,
    three_retries_and_then_it_is_dead_and_kept,
    nobody_who_is_not_asked_is_told,
    what_waits_follows_its_target_and_stops_with_it,
    switched_off_nothing_is_sent_and_nothing_is_lost,
    a_blocked_address_is_never_reached,
    a_panic_stays_with_its_delivery,
    a_hung_receiver_delays_nobody_and_no_shutdown,
    retry_after_closes_the_lane,
    a_projects_end_takes_everything_of_it,
    bad_events_are_refused_at_the_door,
);
