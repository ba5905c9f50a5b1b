//! Faults that other senders of webhooks have or had, where no other test is about them already: each test fails if this sender
//! has the same one.

use std::time::{Duration, Instant};

use harbor_webhook::delivery::breaker::{Breaker, Disable, Verdict};
use harbor_webhook::delivery::{DeadReason, State};
use harbor_webhook::format::{Format, FormatError, RenderContext};
use harbor_webhook::policy::{Policy, PolicyDraft, Target};
use harbor_webhook::store::{Claimed, ClosedLane, Filter, Hold, LaneLimits, MemoryStore, Next, Page, Settlement};
use harbor_webhook::{Event, EventType, Settings, Webhooks};

use crate::support::events::{PROJECT, push};
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, end_state, impatient, loopback};
use crate::support::simulated::{Answer, Simulated};
use crate::support::stores::{Fresh, on_every_store};

on_every_store!(
    a_success_at_the_last_attempt_disables_nothing,
    an_event_type_that_is_listed_twice_is_sent_once,
    a_bad_batch_closes_a_lane_for_one_pause,
    bytes_go_out_as_they_were_rendered,
);

const HOST: &str = "receiver.example.com";
const SOON: Duration = Duration::from_millis(5);

fn draft() -> PolicyDraft {
    let target = Target::http(&format!("http://{HOST}/")).unwrap();
    PolicyDraft::new("ci").on(EventType::PushArtifact).target(target)
}

/// Convoy: the attempt that used up the last try disabled the endpoint, also if it was taken.
async fn a_success_at_the_last_attempt_disables_nothing<S: Fresh>() {
    let mut settings = impatient();
    settings.retry.max_retries = 3;
    let mut disable = Disable::standard();
    (disable.failures, disable.failing_for) = (4, Duration::ZERO);
    settings.breaker.disable = Some(disable);
    let (store, _folder) = S::fresh().await;
    let failures = std::sync::atomic::AtomicUsize::new(0);
    let receivers = Simulated::new(move |_, _| {
        let fails = failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 3;
        Answer::new(if fails { 500 } else { 200 }, SOON)
    });
    let hooks = Webhooks::builder(store, loopback()).settings(settings).transport(receivers.clone()).build().unwrap();
    hooks.policies().create(PROJECT, draft()).await.unwrap();
    let running = Running::start(&hooks);
    for calls in [4, 5] {
        hooks.notify(&push()).await.unwrap();
        let begun = Instant::now();
        while receivers.calls(HOST).len() < calls {
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", hooks.status().await);
            tokio::time::sleep(SOON).await;
        }
        assert_eq!(end_state(&hooks).await, State::Delivered);
    }
    assert_eq!(hooks.status().await.unwrap().closed_lanes, []);
    running.stop().await;
}

/// Harbor: one webhook for each time that the type is listed.
async fn an_event_type_that_is_listed_twice_is_sent_once<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let receivers = Simulated::new(|_, _| Answer::new(200, SOON));
    let builder = Webhooks::builder(store, loopback()).settings(impatient());
    let hooks = builder.transport(receivers.clone()).build().unwrap();
    let mut draft = draft();
    draft.event_types.extend([EventType::DeleteArtifact, EventType::PushArtifact, EventType::PushArtifact]);
    hooks.policies().create(PROJECT, draft).await.unwrap();
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    assert_eq!(end_state(&hooks).await, State::Delivered);
    running.stop().await;
    assert_eq!(receivers.calls(HOST).len(), 1);
    assert_eq!(hooks.deliveries(&Filter::all(), Page::first(10)).await.unwrap().len(), 1);
}

/// A sender whose breaker doubled its pause for every failure, also for those that were under way together, left a target alone
/// for hours after one bad batch.
async fn a_bad_batch_closes_a_lane_for_one_pause<S: Fresh>() {
    const BATCH: usize = 60;
    const LEASE: Duration = Duration::from_secs(600);
    let (store, _folder) = S::fresh().await;
    let mut settings = impatient();
    settings.lane = LaneLimits::new(1000, BATCH as u32);
    // Fans out, and sends nothing.
    (settings.max_in_flight, settings.shutdown_grace) = (1, Duration::ZERO);
    let receivers = Simulated::new(|_, _| Answer::new(200, LEASE));
    let builder = Webhooks::builder(store.clone(), loopback()).settings(settings.clone());
    let hooks = builder.transport(receivers).build().unwrap();
    hooks.policies().create(PROJECT, draft()).await.unwrap();
    for _ in 0..2 * BATCH {
        hooks.notify(&push()).await.unwrap();
    }
    fan_out(&hooks, 2 * BATCH).await;
    let breaker = Breaker::standard();
    let failed = |claimed: &Claimed| {
        Settlement::new(claimed.lease, Next::Retry(Duration::ZERO)).verdict(Verdict::Failing, breaker)
    };
    let claimed = store.claim(BATCH, LEASE).await.unwrap();
    assert_eq!(claimed.len(), BATCH);
    // At once and, as slower answers come, one after the other.
    let (first, late) = claimed.split_at(BATCH / 2);
    store.settle(first.iter().map(failed).collect()).await.unwrap();
    for claimed in late {
        store.settle(vec![failed(claimed)]).await.unwrap();
    }
    let closed = closed_lane(&hooks).await;
    assert_eq!(closed.why, Hold::CircuitOpen);
    assert!(closed.opens_in <= breaker.pause.mul_f64(1.2), "{:?}", closed.opens_in);
}

/// Has everything fanned out, and given back what was claimed meanwhile.
async fn fan_out(hooks: &Webhooks, count: usize) {
    let running = Running::start(hooks);
    let begun = Instant::now();
    while hooks.status().await.unwrap().outbox > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the events stay");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.stop().await;
    // A lane that nobody knows, with more than there was room for, is left alone for a moment.
    while !hooks.status().await.unwrap().closed_lanes.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(hooks.status().await.unwrap().waiting, count as u64);
}

async fn closed_lane(hooks: &Webhooks) -> ClosedLane {
    let begun = Instant::now();
    loop {
        if let Some(lane) = hooks.status().await.unwrap().closed_lanes.pop() {
            return lane;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "no lane is closed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Bytes that are something else as soon as somebody reads them as JSON, or as a text, and writes them again.
const ODD: &[u8] =
    b"{ \"a\":1.0e2, \"a\" : 9007199254740993,\"\\u0041\":\"\\/\",\t\"z\":0.1000, \"\\ud800\": -0 }\r\n\0\xff\xc3";

#[derive(Debug)]
struct Odd;

impl Format for Odd {
    fn name(&self) -> &'static str {
        "Odd"
    }
    fn content_type(&self) -> &'static str {
        "application/json"
    }
    fn render(&self, _: &Event, _: &RenderContext, out: &mut Vec<u8>) -> Result<(), FormatError> {
        out.extend_from_slice(ODD);
        Ok(())
    }
}

/// Several: a payload that went through a JSON column came out with other numbers, order and spaces than were signed.
async fn bytes_go_out_as_they_were_rendered<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let receiver = Receiver::start(|n| if n == 0 { 500 } else { 200 }).await;
    let hooks = Webhooks::builder(store, loopback()).settings(impatient()).format(Odd).build().unwrap();
    let target = Target::http(&receiver.url).unwrap().payload_format("Odd");
    let draft = PolicyDraft::new("odd").on(EventType::PushArtifact).target(target);
    hooks.policies().create(PROJECT, draft).await.unwrap();
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    receiver.wait_for(2).await;
    assert_eq!(end_state(&hooks).await, State::Delivered);
    let delivery = hooks.deliveries(&Filter::all(), Page::first(1)).await.unwrap().remove(0);
    hooks.redeliver(delivery.id).await.unwrap();
    let seen = receiver.wait_for(3).await;
    running.stop().await;
    assert!(seen.iter().all(|seen| seen.body == ODD));
    assert_eq!(hooks.delivery(delivery.id).await.unwrap().unwrap().body.unwrap().bytes, ODD);
}

/// What one event met, and one that came a while later.
struct Met {
    /// From its first answer to its second attempt.
    again_after: Duration,
    /// How long the later one waited for its first.
    waited: Duration,
}

/// Answers the first request like this, and takes all that follow.
async fn after(first: Answer) -> Met {
    const LATER: Duration = Duration::from_secs(15);
    let receivers =
        Simulated::new(move |_, at| if at < Duration::from_secs(1) { first } else { Answer::new(200, SOON) });
    let settings = Settings::extended();
    let answered = first.after.min(settings.timeout);
    let builder = Webhooks::builder(MemoryStore::new(), loopback()).settings(settings);
    let hooks = builder.transport(receivers.clone()).build().unwrap();
    let _: Policy = hooks.policies().create(PROJECT, draft()).await.unwrap();
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    tokio::time::sleep(LATER).await;
    hooks.notify(&push()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    running.stop().await;
    let calls = receivers.calls(HOST);
    let (first, later): (Vec<_>, Vec<_>) = calls.iter().partition(|call| call.id == calls[0].id);
    assert_eq!((first.len(), later.len()), (2, 1), "{calls:?}");
    Met { again_after: first[1].at - first[0].at - answered, waited: later[0].at - LATER }
}

/// Svix: the shortest pause after 429 was computed and not applied.
#[tokio::test(start_paused = true)]
async fn an_overloaded_target_has_its_pause() {
    let hung = Answer::new(200, Duration::from_secs(60));
    let overloads = [429, 502, 504].map(|status| Answer::new(status, SOON)).into_iter().chain([hung]);
    for answer in overloads {
        let met = after(answer).await;
        assert!(met.again_after >= Duration::from_secs(60), "{:?} after {answer:?}", met.again_after);
        // Nothing else goes there meanwhile either.
        assert!(met.waited >= Duration::from_secs(30), "{:?} after {answer:?}", met.waited);
    }
    for (answer, pause) in
        [(Answer::new(500, SOON), 5), (Answer::no_connection(SOON), 5), (Answer::new(404, SOON), 120)]
    {
        let met = after(answer).await;
        let pause = Duration::from_secs(pause);
        assert!(met.again_after >= pause && met.again_after < pause + Duration::from_secs(3), "{:?}", met.again_after);
        assert!(met.waited < Duration::from_secs(1), "{:?} after {answer:?}", met.waited);
    }
}

/// Hook0: the time that a delivery may be tried for was logged, and nothing more.
#[tokio::test(start_paused = true)]
async fn what_has_waited_too_long_is_not_sent() {
    let receivers = Simulated::new(|_, at| Answer::new(if at < Duration::from_secs(1) { 500 } else { 200 }, SOON));
    let mut settings = Settings::extended();
    settings.retry.max_age = Duration::from_secs(20);
    let closes = settings.breaker.failures as usize;
    let builder = Webhooks::builder(MemoryStore::new(), loopback()).settings(settings);
    let hooks = builder.transport(receivers.clone()).build().unwrap();
    hooks.policies().create(PROJECT, draft()).await.unwrap();
    let running = Running::start(&hooks);
    for _ in 0..closes {
        hooks.notify(&push()).await.unwrap();
    }
    // The lane is closed by now, for half a minute.
    tokio::time::sleep(Duration::from_secs(2)).await;
    hooks.notify(&push()).await.unwrap();
    // Before old history is looked at for the second time, a minute after the start.
    tokio::time::sleep(Duration::from_secs(50)).await;
    running.stop().await;
    assert_eq!(receivers.calls(HOST).len(), closes);
    for delivery in hooks.deliveries(&Filter::all(), Page::first(100)).await.unwrap() {
        assert_eq!(delivery.state, State::Dead(DeadReason::Expired), "{delivery:?}");
    }
}
