//! What observers are told, and that they can do no harm.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use harbor_webhook::delivery::State;
use harbor_webhook::format::{Format, FormatError, RenderContext};
use harbor_webhook::observe::{Bound, Cycle, Observation, Observer};
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{Filter, LaneLimits, MemoryStore, Next, Page, StateKind};
use harbor_webhook::transport::{Request, Response, Transport, TransportError};
use harbor_webhook::{ErrorKind, Event, EventType, Webhooks};
use tokio::sync::Notify;

use crate::support::events::{PROJECT, push};
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, end_state, impatient, loopback};
use crate::support::stores::{Fresh, on_every_store};
use crate::troubled::{Failing, Fault};

/// Writes down what it is told.
#[derive(Clone, Debug, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Observer for Diary {
    fn observe(&self, what: &Observation<'_>) {
        let line = match what {
            Observation::Notified { outcome, .. } => match outcome {
                Ok(notified) => format!("notified {}", notified.as_str()),
                Err(error) => format!("notified {:?}", error.kind()),
            },
            Observation::FannedOut { deliveries, .. } => format!("fanned out {deliveries}"),
            Observation::NotRendered { format, reason, .. } => format!("not rendered {format}: {reason}"),
            Observation::Attempted { number, attempt, format, target_type, .. } => {
                format!("attempted {number} {} {format} {target_type}", attempt.outcome.class())
            }
            Observation::Settled { settlement, .. } => match &settlement.next {
                Next::Retry(_) => "settled retry".to_owned(),
                next => format!("settled {next:?}"),
            },
            Observation::Stale { .. } => "stale".to_owned(),
            Observation::Changed { to, count, .. } => format!("changed {to:?} {count}"),
            Observation::BoundReached { bound, times, .. } => format!("bound {} {times}", bound.as_str()),
            Observation::StoreFailed { cycle, error, .. } => format!("failed {}: {error}", cycle.as_str()),
            Observation::Swept(_) => "swept".to_owned(),
            Observation::Sampled(status) => format!("sampled {} {}", status.outbox, status.waiting),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(line);
    }
}

impl Diary {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Waits for a line.
    async fn wait_for(&self, line: &str) {
        let wait = async {
            while !self.lines().iter().any(|l| l == line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| {
            panic!("{line:?} is not among {:#?}", self.lines());
        });
    }
}

/// Panics at everything.
#[derive(Debug)]
struct Clumsy;

impl Observer for Clumsy {
    fn observe(&self, what: &Observation<'_>) {
        panic!("on purpose, at {what:?}");
    }
}

async fn subscribe(hooks: &Webhooks, target: Target) {
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(target);
    hooks.policies().create(PROJECT, draft).await.unwrap();
}

async fn a_delivery_is_seen_from_beginning_to_end<S: Fresh>() {
    let ((store, _folder), diary) = (S::fresh().await, Diary::default());
    let receiver = Receiver::start(|n| if n == 0 { 503 } else { 200 }).await;
    let hooks = Webhooks::builder(store, loopback()).settings(impatient());
    // One that panics takes nothing from the others.
    let hooks = hooks.observer(Clumsy).observer(diary.clone()).build().unwrap();
    assert_eq!(hooks.notify(&push()).await.unwrap().as_str(), "no_subscriber");
    subscribe(&hooks, Target::http(&receiver.url).unwrap()).await;
    let event = push();
    hooks.notify(&event).await.unwrap();
    hooks.notify(&event).await.unwrap();
    let running = Running::start(&hooks);
    assert_eq!(end_state(&hooks).await, State::Delivered);
    diary.wait_for("settled Delivered").await;
    let id = hooks.deliveries(&Filter::all(), Page::first(1)).await.unwrap()[0].id;
    running.stop().await;
    hooks.redeliver(id).await.unwrap();
    hooks.cancel(id).await.unwrap();
    let lines = diary.lines();
    for seen in ["swept", "sampled"] {
        assert!(lines.iter().any(|line| line.starts_with(seen)), "{seen}: {lines:?}");
    }
    let told = lines.iter().filter(|line| !line.starts_with("swept") && !line.starts_with("sampled"));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "notified no_subscriber",
            "notified queued",
            "notified duplicate",
            "fanned out 1",
            "attempted 1 5xx Default http",
            "settled retry",
            "attempted 2 2xx Default http",
            "settled Delivered",
            "changed Redeliver 1",
            "changed Cancel(Operator) 1",
        ]
    );
}

on_every_store!(a_delivery_is_seen_from_beginning_to_end);

/// Answers when it is told to.
#[derive(Clone, Debug, Default)]
struct Slow(Arc<Notify>, Arc<Notify>);

#[async_trait]
impl Transport for Slow {
    async fn send(&self, _: Request<'_>) -> Result<Response, TransportError> {
        self.0.notify_one();
        self.1.notified().await;
        Ok(Response::new(200))
    }
}

#[tokio::test]
async fn a_result_that_comes_too_late_is_seen() {
    let (diary, slow) = (Diary::default(), Slow::default());
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).transport(slow.clone()).observer(diary.clone());
    let hooks = hooks.build().unwrap();
    subscribe(&hooks, Target::http("http://127.0.0.1:9/").unwrap()).await;
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    slow.0.notified().await;
    let parked = hooks.park_all(&Filter::all().state(StateKind::Leased), Page::first(10)).await.unwrap();
    assert_eq!(parked.count, 1);
    slow.1.notify_one();
    diary.wait_for("stale").await;
    running.stop().await;
    assert!(diary.lines().contains(&"changed Park 1".to_owned()));
}

#[tokio::test]
async fn a_format_that_fails_is_seen() {
    let (store, diary) = (MemoryStore::new(), Diary::default());
    // A format that was registered when the policy was saved, and is not any more.
    let before = Webhooks::builder(store.clone(), loopback()).format(Gone).build().unwrap();
    subscribe(&before, Target::http("http://127.0.0.1:9/").unwrap().payload_format("Gone")).await;
    let hooks = Webhooks::builder(store, loopback()).observer(diary.clone()).build().unwrap();
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    diary.wait_for("not rendered Gone: no format of the name Gone is registered").await;
    running.stop().await;
}

#[derive(Debug)]
struct Gone;

impl Format for Gone {
    fn name(&self) -> &str {
        "Gone"
    }
    fn content_type(&self) -> &str {
        "text/plain"
    }
    fn render(&self, _: &Event, _: &RenderContext, _: &mut Vec<u8>) -> Result<(), FormatError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_full_store_is_seen() {
    let diary = Diary::default();
    let hooks = Webhooks::builder(MemoryStore::with_bound(1), loopback()).observer(diary.clone()).build().unwrap();
    subscribe(&hooks, Target::http("http://127.0.0.1:9/").unwrap()).await;
    let full = loop {
        match hooks.notify(&push()).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::Full);
    let lines = diary.lines();
    assert_eq!(lines[lines.len() - 2..], [format!("bound {} 1", Bound::Outbox.as_str()), "notified Full".to_owned()]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_seen_and_so_is_what_waits() {
    let diary = Diary::default();
    let mended = Arc::default();
    let store = Failing { store: MemoryStore::new(), fault: Fault::FanOut, mended: Arc::clone(&mended) };
    let hooks =
        Webhooks::builder(store, loopback()).observer(diary.clone()).transport(Slow::default()).build().unwrap();
    subscribe(&hooks, Target::http("http://127.0.0.1:9/").unwrap()).await;
    hooks.notify(&push()).await.unwrap();
    let running = Running::start(&hooks);
    tokio::time::sleep(Duration::from_secs(65)).await;
    let lines = diary.lines();
    let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert!(count(&format!("failed {}: out of order", Cycle::Intake.as_str())) >= 5, "{lines:?}");
    assert_eq!(count("sampled 1 0"), 7, "{lines:?}"); // at once, and every ten seconds
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_is_full_is_seen() {
    let (diary, slow) = (Diary::default(), Slow::default());
    let mut settings = impatient();
    settings.lane = LaneLimits::new(1, 1);
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).settings(settings).transport(slow.clone());
    let hooks = hooks.observer(diary.clone()).build().unwrap();
    subscribe(&hooks, Target::http("http://127.0.0.1:9/").unwrap()).await;
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    slow.0.notified().await;
    for _ in 0..2 {
        hooks.notify(&push()).await.unwrap();
    }
    diary.wait_for(&format!("bound {} 2", Bound::Lane.as_str())).await;
    running.stop().await;
}

/// A writer that keeps what is written.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn log_lines_stand_in_spans_that_carry_the_ids() {
    let log = Log::default();
    let writer = log.clone();
    // As long as there is only one, what another test's thread meets first is judged by that thread, which has none.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false);
    let _guard = tracing::subscriber::set_default(subscriber.with_writer(move || writer.clone()).finish());
    let receiver = Receiver::start(|_| 200).await;
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).build().unwrap();
    subscribe(&hooks, Target::http(&format!("{}/s3cret", receiver.url)).unwrap()).await;
    let running = Running::start(&hooks);
    let event = push();
    hooks.notify(&event).await.unwrap();
    assert_eq!(end_state(&hooks).await, State::Delivered);
    let id = hooks.deliveries(&Filter::all(), Page::first(1)).await.unwrap()[0].id;
    running.stop().await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = |with: &str| text.lines().find(|line| line.contains(with)).unwrap_or_else(|| panic!("{with}: {text}"));
    assert!(line("fanned out").contains(&format!("intake{{event={}}}", event.id)), "{text}");
    assert!(line("attempt made").contains(&format!("attempt{{delivery={id} event={}}}", event.id)), "{text}");
    let ours = text.lines().filter(|line| line.contains("harbor_webhook"));
    assert!(ours.clone().count() > 1 && ours.clone().all(|line| !line.contains("s3cret")), "{text}");
}
