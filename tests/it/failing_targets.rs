//! Targets that fail, and what becomes of their lanes: on every store, with real receivers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use harbor_webhook::delivery::breaker::{Disable, News};
use harbor_webhook::delivery::{Rate, State};
use harbor_webhook::observe::{Observation, Observer};
use harbor_webhook::policy::{Policy, PolicyDraft, Target};
use harbor_webhook::store::{Filter, Hold, LaneLimits, Page, StateKind};
use harbor_webhook::{EventType, Registry, Settings, TargetId, Webhooks};
use tokio::sync::mpsc;

use crate::support::events::{PROJECT, push};
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, end_state, impatient, loopback};
use crate::support::stores::{Fresh, on_every_store};

on_every_store!(
    a_target_that_is_down_is_left_alone_and_comes_back_slowly,
    a_target_that_refuses_one_event_type_gets_the_others,
    a_target_that_is_gone_is_disabled_until_its_policy_is_saved,
    a_targets_rate_is_kept_while_others_go_on,
);

/// Tells what changed with targets.
#[derive(Debug)]
struct Told(mpsc::UnboundedSender<(TargetId, News)>);

impl Observer for Told {
    fn observe(&self, what: &Observation<'_>) {
        if let Observation::TargetChanged { target_id, news, .. } = what {
            let _ = self.0.send((*target_id, *news));
        }
    }
}

async fn hooks<S: Fresh>(
    settings: Settings,
) -> (Webhooks, mpsc::UnboundedReceiver<(TargetId, News)>, Option<tempfile::TempDir>) {
    let (store, folder) = S::fresh().await;
    let (tell, told) = mpsc::unbounded_channel();
    (Webhooks::builder(store, loopback()).settings(settings).observer(Told(tell)).build().unwrap(), told, folder)
}

async fn policy(hooks: &Webhooks, name: &str, url: &str) -> Policy {
    let draft = PolicyDraft::new(name).on_all(EventType::ALL).target(Target::http(url).unwrap());
    hooks.policies().create(PROJECT, draft).await.unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it comes about in time")
}

async fn count(hooks: &Webhooks, which: &Filter) -> usize {
    hooks.deliveries(which, Page::first(1000)).await.unwrap().len()
}

async fn a_target_that_is_down_is_left_alone_and_comes_back_slowly<S: Fresh>() {
    let mut settings = impatient();
    settings.retry.max_retries = 1000;
    (settings.breaker.pause, settings.breaker.longest_pause) = (Duration::from_millis(300), Duration::from_millis(600));
    let (hooks, mut told, _folder) = hooks::<S>(settings).await;
    let up = Arc::new(AtomicBool::new(false));
    let (up_now, healthy) = (Arc::clone(&up), Receiver::start(|_| 200).await);
    let down = Receiver::start(move |_| if up_now.load(Ordering::Relaxed) { 200 } else { 503 }).await;
    let failing = policy(&hooks, "failing", &down.url).await;
    policy(&hooks, "healthy", &healthy.url).await;
    let running = Running::start(&hooks);
    for _ in 0..40 {
        hooks.notify(&push()).await.unwrap();
    }
    healthy.wait_for(40).await;
    assert_eq!(within(told.recv()).await, Some((failing.targets[0].id, News::Failing)));
    let begun = Instant::now();
    // Four under way at most when the fifth failure closes the lane, then one try after each pause.
    down.wait_for(8).await;
    let pauses = begun.elapsed().as_millis() / 300;
    assert!(down.seen().len() as u128 <= 8 + 2 + pauses, "{} requests in {:?}", down.seen().len(), begun.elapsed());
    let closed = hooks.status().await.unwrap().closed_lanes;
    assert!(closed.iter().all(|lane| (lane.target_id, lane.why) == (failing.targets[0].id, Hold::CircuitOpen)));

    up.store(true, Ordering::Relaxed);
    assert_eq!(within(told.recv()).await, Some((failing.targets[0].id, News::Recovered)));
    assert_eq!(end_state(&hooks).await, State::Delivered);
    running.stop().await;
    assert_eq!(count(&hooks, &Filter::policy(failing.id).state(StateKind::Delivered)).await, 40);
}

async fn a_target_that_refuses_one_event_type_gets_the_others<S: Fresh>() {
    let mut settings = impatient();
    settings.retry.max_retries = 3;
    let (hooks, _told, _folder) = hooks::<S>(settings).await;
    let status = Arc::new(AtomicU16::new(400));
    let answer = Arc::clone(&status);
    let receiver = Receiver::start(move |_| answer.load(Ordering::Relaxed)).await;
    policy(&hooks, "ci", &receiver.url).await;
    let running = Running::start(&hooks);
    let registry = Registry::new("hub.example.com").unwrap();
    for _ in 0..5 {
        hooks.notify(&registry.quota_warning(PROJECT, "library/alpine", None, "85 % used")).await.unwrap();
    }
    // Twenty attempts, all refused.
    receiver.wait_for(20).await;
    end_state(&hooks).await;
    status.store(200, Ordering::Relaxed);
    hooks.notify(&push()).await.unwrap();
    // At once: the lane was not closed.
    within(receiver.wait_for(21)).await;
    assert_eq!(end_state(&hooks).await, State::Delivered);
    running.stop().await;
}

async fn a_target_that_is_gone_is_disabled_until_its_policy_is_saved<S: Fresh>() {
    let mut settings = impatient();
    settings.breaker.disable = Some(Disable::standard());
    settings.lane = LaneLimits::new(1000, 1);
    settings.retry.max_age = Duration::from_secs(6);
    let (hooks, mut told, _folder) = hooks::<S>(settings).await;
    let (gone, new) = (Receiver::start(|_| 410).await, Receiver::start(|_| 200).await);
    let policy = policy(&hooks, "moved", &gone.url).await;
    for _ in 0..5 {
        hooks.notify(&push()).await.unwrap();
    }
    let running = Running::start(&hooks);
    let disabled = within(told.recv()).await;
    assert!(matches!(disabled, Some((id, News::Disabled(_))) if id == policy.targets[0].id), "{disabled:?}");
    hooks.notify(&push()).await.unwrap();
    let parked = Filter::policy(policy.id).state(StateKind::Parked);
    within(async {
        while count(&hooks, &parked).await < 6 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(gone.seen().len(), 1, "nothing more is sent to a target that is gone");
    // Longer than a delivery may wait: while the target is disabled it does not age to death.
    tokio::time::sleep(Duration::from_millis(6200)).await;

    let draft = PolicyDraft::new("moved").on(EventType::PushArtifact).target(Target::http(&new.url).unwrap());
    let saved = hooks.policies().replace(policy.id, draft).await.unwrap();
    assert_eq!(saved.targets[0].id, policy.targets[0].id);
    new.wait_for(6).await;
    assert_eq!(end_state(&hooks).await, State::Delivered);
    assert_eq!(gone.seen().len(), 1, "nothing goes to the old address after the change");
    running.stop().await;
}

async fn a_targets_rate_is_kept_while_others_go_on<S: Fresh>() {
    const RATE: u32 = 20;
    let mut settings = impatient();
    settings.lane = LaneLimits::new(1000, 4).rate(Rate::per_second(RATE));
    let (hooks, _told, _folder) = hooks::<S>(settings).await;
    let (ci, slack) = (Receiver::start(|_| 200).await, Receiver::start(|_| 200).await);
    policy(&hooks, "ci", &ci.url).await;
    let target = Target::slack(&slack.url).unwrap();
    hooks
        .policies()
        .create(PROJECT, PolicyDraft::new("chat").on(EventType::PushArtifact).target(target))
        .await
        .unwrap();
    let running = Running::start(&hooks);
    let begun = Instant::now();
    for _ in 0..30 {
        hooks.notify(&push()).await.unwrap();
    }
    ci.wait_for(30).await;
    // Twenty a second, and two that a tenth of a second without any saves up. Late is allowed, early is not.
    let least = Duration::from_secs(1) * (30 - 1 - 2) / RATE;
    assert!(begun.elapsed() >= least, "30 requests within {:?}", begun.elapsed());
    // One a second for Slack, whatever the others get.
    let messages = slack.seen().len() as u128;
    assert!((1..=1 + begun.elapsed().as_secs() as usize + 1).contains(&(messages as usize)), "{messages} messages");
    running.stop().await;
}
