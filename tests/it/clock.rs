//! The host's clock is set an hour on or back while deliveries wait: nothing is lost, nothing storms.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use harbor_webhook::delivery::State;
use harbor_webhook::delivery::retry::Schedule;
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{Filter, Page};
use harbor_webhook::{Clock, EventType, Settings, Webhooks};

use crate::support::events::{PROJECT, push};
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, end_state, loopback};
use crate::support::stores::{Fresh, on_every_store};

const PAUSE: Duration = Duration::from_millis(300);
const HOUR: i64 = 3600;

/// The system's clock, off by so many seconds.
#[derive(Clone, Debug, Default)]
struct Jumpy(Arc<AtomicI64>);

impl Clock for Jumpy {
    fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::seconds(self.0.load(Ordering::Relaxed))
    }
}

/// Two failures, then success. The clock is set in front of the first attempt and between the others.
async fn retries_keep_their_pace<S: Fresh>() {
    for jumps in [[0, HOUR, HOUR], [0, -HOUR, -HOUR], [HOUR, -HOUR, HOUR], [-HOUR, HOUR, -HOUR]] {
        let (store, _folder) = S::fresh().await;
        let clock = Jumpy::default();
        let mut settings = Settings::harbor();
        settings.retry.schedule = Schedule::Delays { delays: vec![PAUSE], jitter: 0.0 };
        let hooks = Webhooks::builder(store, loopback()).settings(settings).clock(clock.clone()).build().unwrap();
        let told = clock.clone();
        let receiver = Receiver::start(move |n| {
            told.0.store(jumps[n % 3], Ordering::Relaxed);
            if n < 2 { 500 } else { 200 }
        });
        let receiver = receiver.await;
        let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http(&receiver.url).unwrap());
        hooks.policies().create(PROJECT, draft).await.unwrap();
        let running = Running::start(&hooks);
        hooks.notify(&push()).await.unwrap();
        let begun = Instant::now();
        assert_eq!(end_state(&hooks).await, State::Delivered, "{jumps:?}");
        // Two pauses: neither cut short nor drawn out.
        assert!(begun.elapsed() >= 2 * PAUSE && begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        tokio::time::sleep(PAUSE).await;
        assert_eq!(receiver.seen().len(), 3, "{jumps:?}");
        running.stop().await;

        let delivery = hooks.deliveries(&Filter::all(), Page::first(1)).await.unwrap().remove(0);
        let detail = hooks.delivery(delivery.id).await.unwrap().unwrap();
        assert_eq!(detail.attempts.len(), 3);
        // The history shows the host's time, and the durations are real.
        let apart = (detail.attempts[1].started_at - detail.attempts[0].started_at).num_seconds();
        assert!((apart - jumps[0]).abs() < 60, "{apart} {jumps:?}");
        assert!(detail.attempts.iter().all(|attempt| attempt.duration < Duration::from_secs(10)));
        assert!(hooks.job_log(delivery.id).await.unwrap().contains("success to run webhook job"));
    }
}

/// `Retry-After` names a date: on a clock that is an hour behind the pause is an hour longer, on one that is ahead there is
/// none. Either way the delivery waits and is not lost.
async fn a_date_to_wait_for_is_read_on_the_hosts_clock<S: Fresh>() {
    for (off, waits) in [(-HOUR, true), (HOUR, false)] {
        let (store, _folder) = S::fresh().await;
        let clock = Jumpy::default();
        clock.0.store(off, Ordering::Relaxed);
        let mut settings = Settings::harbor();
        settings.retry.schedule = Schedule::Delays { delays: vec![Duration::from_millis(20)], jitter: 0.0 };
        let hooks = Webhooks::builder(store, loopback()).settings(settings).clock(clock).build().unwrap();
        let date = (Utc::now() + TimeDelta::seconds(60)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let date: &'static str = date.leak();
        let answer = move |n| if n == 0 { (503, vec![("retry-after", date)]) } else { (200, vec![]) };
        let receiver = Receiver::with_headers(answer).await;
        let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http(&receiver.url).unwrap());
        hooks.policies().create(PROJECT, draft).await.unwrap();
        let running = Running::start(&hooks);
        hooks.notify(&push()).await.unwrap();
        receiver.wait_for(if waits { 1 } else { 2 }).await;
        if waits {
            let closed = async {
                loop {
                    if let Some(lane) = hooks.status().await.unwrap().closed_lanes.first() {
                        return lane.opens_in;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let opens_in = tokio::time::timeout(Duration::from_secs(10), closed).await.unwrap();
            assert!(opens_in > Duration::from_secs(3600) && opens_in < Duration::from_secs(3700), "{opens_in:?}");
            assert_eq!(hooks.status().await.unwrap().waiting, 1);
        } else {
            assert_eq!(end_state(&hooks).await, State::Delivered);
        }
        running.stop().await;
    }
}

/// A clock of no use: it panics, or shows a year that a database has no room for.
#[derive(Clone, Copy, Debug)]
struct Useless(Option<DateTime<Utc>>);

impl Clock for Useless {
    fn now(&self) -> DateTime<Utc> {
        self.0.expect("a host's clock panics")
    }
}

async fn a_clock_of_no_use_stops_nothing<S: Fresh>() {
    for clock in [None, Some(DateTime::<Utc>::MAX_UTC), Some(DateTime::<Utc>::MIN_UTC)] {
        let (store, _folder) = S::fresh().await;
        let mut settings = Settings::harbor();
        settings.retry.schedule = Schedule::Delays { delays: vec![Duration::from_millis(20)], jitter: 0.0 };
        let hooks = Webhooks::builder(store, loopback()).settings(settings).clock(Useless(clock)).build().unwrap();
        let answer = move |n| if n == 0 { (503, vec![("retry-after", "1")]) } else { (200, vec![]) };
        let receiver = Receiver::with_headers(answer).await;
        let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http(&receiver.url).unwrap());
        hooks.policies().create(PROJECT, draft).await.unwrap();
        let running = Running::start(&hooks);
        hooks.notify(&push()).await.unwrap();
        assert_eq!(end_state(&hooks).await, State::Delivered);
        running.stop().await;
    }
}

on_every_store!(
    retries_keep_their_pace,
    a_date_to_wait_for_is_read_on_the_hosts_clock,
    a_clock_of_no_use_stops_nothing
);
