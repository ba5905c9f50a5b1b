//! `send_test`: a sample that takes the whole way to one policy, on every store.

use harbor_webhook::delivery::{DeadReason, State};
use harbor_webhook::event::{CloudEvent, EventName, Payload};
use harbor_webhook::format::{CloudEventsFormat, DefaultFormat, Format, RenderContext};
use harbor_webhook::policy::{Policy, PolicyDraft, Target};
use harbor_webhook::store::{Filter, Page};
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{ErrorKind, Event, EventType, Notified, PolicyId, Webhooks};

use crate::support::events::{PROJECT, push};
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, end_state, impatient, loopback};
use crate::support::stores::{Fresh, on_every_store};

async fn hooks<S: Fresh>() -> (Webhooks, Option<tempfile::TempDir>) {
    let (store, folder) = S::fresh().await;
    (Webhooks::builder(store, loopback()).settings(impatient()).build().unwrap(), folder)
}

fn draft(name: &str, url: &str, format: &str) -> PolicyDraft {
    let target = Target::http(url).unwrap().payload_format(format).auth_header("Bearer s3cret").unwrap();
    PolicyDraft::new(name).on(EventType::PullArtifact).on(EventType::PushArtifact).target(target)
}

async fn policy(hooks: &Webhooks, name: &str, url: &str, format: &str) -> Policy {
    hooks.policies().create(PROJECT, draft(name, url, format)).await.unwrap()
}

fn rendered(format: &dyn Format, event: &Event, policy: PolicyId) -> Vec<u8> {
    let mut body = Vec::new();
    format.render(event, &RenderContext::new(event, format, policy), &mut body).unwrap();
    body
}

/// To one policy of two, through a failure, with the mark in a header and nowhere else, and in the history.
async fn a_test_goes_the_whole_way_to_one_policy<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let receiver = Receiver::start(|n| if n == 0 { 500 } else { 200 }).await;
    let other = Receiver::start(|_| 200).await;
    let ci = policy(&hooks, "ci", &receiver.url, "Default").await;
    policy(&hooks, "other", &other.url, "Default").await;
    let running = Running::start(&hooks);
    let id = hooks.send_test(ci.id, None).await.unwrap();
    let seen = receiver.wait_for(2).await;
    assert_eq!(end_state(&hooks).await, State::Delivered);
    for seen in &seen {
        assert_eq!(seen.header("webhook-test"), Some("true"));
        assert_eq!(seen.header("authorization"), Some("Bearer s3cret"));
        assert!(!String::from_utf8_lossy(&seen.body).contains("test\":true"));
    }
    assert_eq!((&seen[0].body, seen[0].header("webhook-id")), (&seen[1].body, seen[1].header("webhook-id")));
    // The first type that the policy lists.
    let payload: Payload = serde_json::from_slice(&seen[0].body).unwrap();
    assert_eq!(payload.event_type, EventName::Known(EventType::PullArtifact));

    let made = hooks.deliveries(&Filter::event(id), Page::first(10)).await.unwrap();
    assert_eq!(made.len(), 1);
    assert!(made[0].is_test() && made[0].policy_id == ci.id && made[0].project_id == PROJECT);
    assert_eq!(hooks.delivery(made[0].id).await.unwrap().unwrap().attempts.len(), 2);
    hooks.redeliver(made[0].id).await.unwrap();
    assert_eq!(receiver.wait_for(3).await[2].header("webhook-test"), Some("true"));

    // A real event goes to both, unmarked.
    hooks.notify(&push()).await.unwrap();
    let real = receiver.wait_for(4).await.remove(3);
    other.wait_for(1).await;
    assert_eq!(real.header("webhook-test"), None);
    end_state(&hooks).await;
    running.stop().await;
    assert_eq!(other.seen().len(), 1);
    assert!(!hooks.deliveries(&Filter::all(), Page::first(1)).await.unwrap()[0].is_test());
}

/// The bytes are those of an event of this content that is no test.
async fn its_body_is_that_of_a_real_event<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let (plain, cloud) = (Receiver::start(|_| 200).await, Receiver::start(|_| 200).await);
    let draft =
        draft("ci", &plain.url, "Default").target(Target::http(&cloud.url).unwrap().payload_format("CloudEvents"));
    let policy = hooks.policies().create(PROJECT, draft).await.unwrap();
    let running = Running::start(&hooks);
    let test = push().request_id("r-1").as_test(policy.id);
    assert_eq!(hooks.notify(&test).await.unwrap(), Notified::Queued);
    let (plain, cloud) = (plain.wait_for(1).await.remove(0), cloud.wait_for(1).await.remove(0));
    running.stop().await;
    let mut real = test.clone();
    real.policy_id = None;
    assert_eq!(plain.body, rendered(&DefaultFormat, &real, policy.id));
    assert_eq!(cloud.body, rendered(&CloudEventsFormat, &real, policy.id));
    let body: CloudEvent = serde_json::from_slice(&cloud.body).unwrap();
    assert_eq!(cloud.header("webhook-id"), Some(&*body.id));
    assert_eq!((plain.header("webhook-test"), cloud.header("webhook-test")), (Some("true"), Some("true")));
}

async fn every_listed_type_can_be_tested<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let receiver = Receiver::start(|_| 200).await;
    let target = Target::http(&receiver.url).unwrap();
    let all = PolicyDraft::new("all").on_all(EventType::ALL).target(target.clone());
    let policy = hooks.policies().create(PROJECT, all).await.unwrap();
    let slack = PolicyDraft::new("slack").on_all(EventType::ALL).target(Target::slack(&receiver.url).unwrap());
    let slack = hooks.policies().create(PROJECT, slack).await.unwrap();
    let running = Running::start(&hooks);
    for event_type in EventType::ALL {
        hooks.send_test(policy.id, Some(event_type)).await.unwrap();
        hooks.send_test(slack.id, Some(event_type)).await.unwrap();
    }
    let seen = receiver.wait_for(20).await;
    running.stop().await;
    let types: std::collections::BTreeSet<String> = seen
        .iter()
        .filter_map(|seen| serde_json::from_slice::<Payload>(&seen.body).ok())
        .map(|payload| format!("{:?}", payload.event_type))
        .collect();
    assert_eq!(types.len(), 10, "{types:?}");
}

async fn what_cannot_be_tested_is_an_error_and_nothing_is_written<S: Fresh>() {
    let (hooks, _folder) = hooks::<S>().await;
    let ci = policy(&hooks, "ci", "http://127.0.0.1:9/", "Default").await;
    let refused = async |id, of| {
        let error = hooks.send_test(id, of).await.unwrap_err();
        (error.kind(), error.to_string())
    };
    let (kind, text) = refused(PolicyId(1 << 40), None).await;
    assert_eq!(kind, ErrorKind::NotFound, "{text}");
    let (kind, text) = refused(ci.id, Some(EventType::QuotaExceed)).await;
    assert_eq!(kind, ErrorKind::Invalid);
    assert!(text.ends_with("does not list it, but PULL_ARTIFACT, PUSH_ARTIFACT"), "{text}");
    hooks.switch(false).await.unwrap();
    let (kind, text) = refused(ci.id, None).await;
    assert!(kind == ErrorKind::Conflict && text.contains("switched off"), "{text}");
    hooks.switch(true).await.unwrap();
    hooks.policies().replace(ci.id, draft("ci", "http://127.0.0.1:9/", "Default").enabled(false)).await.unwrap();
    let (kind, text) = refused(ci.id, None).await;
    assert!(kind == ErrorKind::Conflict && text.contains("disabled"), "{text}");
    assert_eq!(hooks.status().await.unwrap().outbox, 0);
}

/// A test that would pass where an event is refused would mislead.
async fn the_destination_policy_holds_for_tests<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let saving = Webhooks::builder(store.clone(), loopback()).build().unwrap();
    let receiver = Receiver::start(|_| 200).await;
    let ci = policy(&saving, "ci", &receiver.url, "Default").await;
    let strict = Webhooks::builder(store, DestinationPolicy::public_addresses()).build().unwrap();
    let running = Running::start(&strict);
    strict.send_test(ci.id, None).await.unwrap();
    assert_eq!(end_state(&strict).await, State::Dead(DeadReason::Blocked));
    running.stop().await;
    assert_eq!(receiver.seen().len(), 0);
}

on_every_store!(
    a_test_goes_the_whole_way_to_one_policy,
    its_body_is_that_of_a_real_event,
    every_listed_type_can_be_tested,
    what_cannot_be_tested_is_an_error_and_nothing_is_written,
    the_destination_policy_holds_for_tests,
);
