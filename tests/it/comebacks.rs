//! A target that comes back when very much is due: it is not run over, and nobody else waits for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harbor_webhook::delivery::{Rate, State};
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{LaneLimits, MemoryStore};
use harbor_webhook::{EventType, ProjectId, Settings, Webhooks};

use crate::support::events::{PROJECT, push, push_to};
use crate::support::sending::{Running, end_state, impatient, loopback};
use crate::support::simulated::{Answer, Call, Simulated};
use crate::support::stores::{Fresh, on_every_store};

on_every_store!(requests_double_until_the_limit);

/// When it comes back.
const BACK: Duration = Duration::from_secs(6 * 60 * 60);
const DUE: usize = 50_000;
const ANSWERS_IN: Duration = Duration::from_millis(200);
/// Requests under way at once to one target: as many as to all, so that one could take all the room.
const IN_FLIGHT: u32 = 16;
const RATE: u32 = 50;

const HEALTHY: ProjectId = ProjectId(3);
const BACK_HOST: &str = "back.example.com";
const HEALTHY_HOST: &str = "healthy.example.com";

async fn subscribe(hooks: &Webhooks, project: ProjectId, host: &str) {
    let target = Target::http(&format!("http://{host}/")).unwrap();
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(target);
    hooks.policies().create(project, draft).await.unwrap();
}

fn settings(rate: Rate) -> Settings {
    let mut settings = Settings::extended();
    // Half of it is for attempts that take long.
    settings.max_in_flight = 2 * IN_FLIGHT as usize;
    settings.lane = LaneLimits::new(100_000, IN_FLIGHT).rate(rate);
    settings
}

/// Much is due to one target, which has been down for hours and comes back. Beside it, another one gets an event now and then,
/// and each second from then on. Says what both got.
async fn come_back(rate: Rate) -> (Vec<Call>, Vec<Call>) {
    let receivers = Simulated::new(|host, at| {
        if host == BACK_HOST && at < BACK { Answer::no_connection(ANSWERS_IN) } else { Answer::new(200, ANSWERS_IN) }
    });
    let store = MemoryStore::with_bound(20 * DUE).max_bytes(usize::MAX);
    let builder = Webhooks::builder(store, loopback()).settings(settings(rate));
    let hooks = builder.transport(receivers.clone()).build().unwrap();
    subscribe(&hooks, PROJECT, BACK_HOST).await;
    subscribe(&hooks, HEALTHY, HEALTHY_HOST).await;
    for _ in 0..DUE {
        hooks.notify(&push()).await.unwrap();
    }
    let running = Running::start(&hooks);
    let mut told = Vec::new();
    loop {
        told.push(receivers.now());
        hooks.notify(&push_to(HEALTHY)).await.unwrap();
        let is_back = receivers.now() >= BACK;
        tokio::time::sleep(Duration::from_secs(if is_back { 1 } else { 60 })).await;
        if is_back && hooks.status().await.unwrap().waiting == 0 {
            break;
        }
        assert!(receivers.now() < 2 * BACK, "{:?}", hooks.status().await);
    }
    running.stop().await;
    let (back, healthy) = (receivers.calls(BACK_HOST), receivers.calls(HEALTHY_HOST));
    assert_eq!(back.iter().filter(|call| call.answer.is_taken()).count(), DUE);
    assert_eq!(healthy.len(), told.len());
    // No longer than until one of the requests that take all the room is answered, and the next look at the store.
    let waited = healthy.iter().zip(&told).map(|(call, told)| call.at - *told).max().unwrap();
    println!("the healthy target waited for {waited:?} at most");
    assert!(waited <= Duration::from_secs(1), "{waited:?}");
    (back, healthy)
}

/// One at first, and one more for each that was taken, up to the limit.
fn check_ramp(calls: &[Call], limit: usize) {
    for call in calls {
        let most = limit.min(1 + call.taken_before);
        assert!(call.under_way <= most, "{} under way after {} were taken", call.under_way, call.taken_before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_comes_back_after_hours_is_met_with_few_requests_at_first() {
    let (calls, _) = come_back(Rate::UNLIMITED).await;
    let (down, up): (Vec<_>, Vec<_>) = calls.into_iter().partition(|call| !call.answer.is_taken());
    // What closes the lane and what was under way then; six tries while the pause grows to half an hour, then two an hour.
    let most = 5 + IN_FLIGHT as usize - 1 + 6 + 12;
    println!("{} tries while it was down", down.len());
    assert!(down.len() <= most, "{} tries", down.len());
    assert!(up[0].at <= BACK + settings(Rate::UNLIMITED).breaker.longest_pause + Duration::from_secs(1));
    check_ramp(&up, IN_FLIGHT as usize);
    let ramp: Vec<_> = up.iter().take(100).map(|call| call.under_way).collect();
    assert!(ramp.contains(&(IN_FLIGHT as usize)), "it stays slow: {ramp:?}");
    // And it stays as fast as its limit allows.
    let took = up[DUE - 1].at - up[0].at;
    let least = ANSWERS_IN * DUE as u32 / IN_FLIGHT;
    println!("{ramp:?}; all took {took:?}, at least {least:?}");
    assert!(took < least * 11 / 10, "{took:?} instead of {least:?}");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_comes_back_after_hours_has_its_rate_kept() {
    let (calls, _) = come_back(Rate::per_second(RATE)).await;
    let up: Vec<_> = calls.iter().filter(|call| call.answer.is_taken()).collect();
    // A tenth of a second's worth is saved up.
    let most = (RATE + RATE.div_ceil(10)) as usize;
    for (n, first) in up.iter().enumerate() {
        let second = up[n..].iter().take_while(|call| call.at < first.at + Duration::from_secs(1)).count();
        assert!(second <= most, "{second} requests within a second from {:?} on", first.at);
    }
    let took = up[DUE - 1].at - up[0].at;
    let least = Duration::from_secs(1) * DUE as u32 / RATE;
    println!("all took {took:?}, at least {least:?}");
    assert!(took < least * 11 / 10, "{took:?} instead of {least:?}");
}

/// The same in little, in the time of the store.
async fn requests_double_until_the_limit<S: Fresh>() {
    const LIMIT: u32 = 8;
    let (store, _folder) = S::fresh().await;
    let mut settings = impatient();
    (settings.retry.max_retries, settings.lane) = (1000, LaneLimits::new(1000, LIMIT));
    (settings.breaker.pause, settings.breaker.longest_pause) = (Duration::from_millis(100), Duration::from_millis(200));
    // Four failures, and what is under way when the fifth closes the lane.
    let (fail, count) = (settings.breaker.failures - 1 + LIMIT, AtomicUsize::new(0));
    let receivers = Simulated::new(move |_, _| {
        let fails = count.fetch_add(1, Ordering::Relaxed) < fail as usize;
        let after = Duration::from_millis(10);
        if fails { Answer::no_connection(after) } else { Answer::new(200, after) }
    });
    let hooks = Webhooks::builder(store, loopback()).settings(settings).transport(receivers.clone()).build().unwrap();
    subscribe(&hooks, PROJECT, BACK_HOST).await;
    for _ in 0..100 {
        hooks.notify(&push()).await.unwrap();
    }
    let running = Running::start(&hooks);
    assert_eq!(end_state(&hooks).await, State::Delivered);
    running.stop().await;
    let calls = receivers.calls(BACK_HOST);
    let up: Vec<_> = calls.into_iter().filter(|call| call.answer.is_taken()).collect();
    check_ramp(&up, LIMIT as usize);
    assert!(up.iter().any(|call| call.under_way > LIMIT as usize / 2), "it stays slow");
}
