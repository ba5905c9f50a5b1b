//! A host's store and policy source that fail for more than ten minutes: nothing is lost, given up or sent again and again.
//!
//! The time is the runtime's, which jumps on when nobody has anything to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use harbor_webhook::delivery::{Delivery, FailureKind, State};
use harbor_webhook::policy::{Policy, PolicyDraft, Target};
use harbor_webhook::store::{
    Appended, Change, Changed, Claimed, ClaimedEvent, DeliveryStore, Detail, FanOut, Fenced, Filter, Lease,
    MemoryStore, Page, PolicyFilter, PolicySource, PolicyStore, Resolved, Retention, Settled, Settlement, Status,
    Swept, Usage,
};
use harbor_webhook::transport::{Request, Response, Transport, TransportError};
use harbor_webhook::{
    DeliveryId, Error, ErrorKind, Event, EventType, PolicyId, ProjectId, Result, Settings, TargetId, Webhooks,
};
use tokio::time::Instant;

use crate::support::events::{PROJECT, push, push_to};
use crate::support::sending::{Running, end_state, loopback};

const OUTAGE: Duration = Duration::from_secs(630);

/// The project whose policies cannot be read in one of the outages.
const BROKEN: ProjectId = ProjectId(7);

/// What fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    FanOut,
    OneProject,
    Resolve,
    ResolvePanics,
    /// `resolve` answers, but to nothing that was asked.
    ResolveEmpty,
    Settle,
    /// `status` does not fail, it does not answer.
    Status,
}

/// A memory store that fails at one thing until it is mended.
#[derive(Debug)]
pub(crate) struct Failing {
    pub(crate) store: MemoryStore,
    pub(crate) fault: Fault,
    pub(crate) mended: Arc<AtomicBool>,
}

impl Failing {
    fn at(&self, fault: Fault) -> Result<()> {
        if self.fault == fault && !self.mended.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "out of order"));
        }
        Ok(())
    }
}

#[async_trait]
impl PolicySource for Failing {
    async fn subscribers(&self, project: ProjectId, kind: EventType, age: Duration) -> Result<Vec<Arc<Policy>>> {
        if project == BROKEN {
            self.at(Fault::OneProject)?;
        }
        self.store.subscribers(project, kind, age).await
    }
    async fn resolve(&self, targets: &[TargetId]) -> Result<Vec<Resolved>> {
        self.at(Fault::Resolve)?;
        self.at(Fault::ResolvePanics).expect("a host's policy source panics");
        if self.at(Fault::ResolveEmpty).is_err() {
            return Ok(Vec::new());
        }
        self.store.resolve(targets).await
    }
}

#[async_trait]
impl PolicyStore for Failing {
    async fn create(&self, project: ProjectId, draft: PolicyDraft) -> Result<Policy> {
        self.store.create(project, draft).await
    }
    async fn replace(&self, id: PolicyId, draft: PolicyDraft) -> Result<Policy> {
        self.store.replace(id, draft).await
    }
    async fn delete(&self, which: PolicyFilter) -> Result<u64> {
        self.store.delete(which).await
    }
    async fn policies(&self, which: PolicyFilter, page: Page) -> Result<Vec<Policy>> {
        self.store.policies(which, page).await
    }
    async fn switch(&self, on: Option<bool>) -> Result<bool> {
        self.store.switch(on).await
    }
}

#[async_trait]
impl DeliveryStore for Failing {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>> {
        self.store.append(events).await
    }
    async fn claim_events(&self, max: usize, lease: Duration) -> Result<Vec<ClaimedEvent>> {
        self.store.claim_events(max, lease).await
    }
    async fn fan_out(&self, lease: &Lease, part: FanOut) -> Result<Fenced> {
        self.at(Fault::FanOut)?;
        self.store.fan_out(lease, part).await
    }
    async fn claim(&self, max: usize, lease: Duration) -> Result<Vec<Claimed>> {
        self.store.claim(max, lease).await
    }
    async fn claim_beside(&self, busy: &[ProjectId], max: usize, lease: Duration) -> Result<Vec<Claimed>> {
        self.store.claim_beside(busy, max, lease).await
    }
    async fn settle(&self, results: Vec<Settlement>) -> Result<Vec<Settled>> {
        self.at(Fault::Settle)?;
        self.store.settle(results).await
    }
    async fn change(&self, which: &Filter, to: Change, page: Page) -> Result<Changed> {
        self.store.change(which, to, page).await
    }
    async fn list(&self, which: &Filter, page: Page) -> Result<Vec<Delivery>> {
        self.store.list(which, page).await
    }
    async fn count(&self, which: &Filter) -> Result<u64> {
        self.store.count(which).await
    }
    async fn detail(&self, id: DeliveryId) -> Result<Option<Detail>> {
        self.store.detail(id).await
    }
    async fn sweep(&self, keep: &Retention, max: usize) -> Result<Swept> {
        self.store.sweep(keep, max).await
    }
    async fn usage(&self) -> Result<Option<Vec<Usage>>> {
        self.store.usage().await
    }
    async fn status(&self) -> Result<Status> {
        if self.at(Fault::Status).is_err() {
            std::future::pending::<()>().await;
        }
        self.store.status().await
    }
    async fn ready(&self, at_most: Duration) -> Result<()> {
        self.store.ready(at_most).await
    }
}

/// Takes everything, and counts.
#[derive(Clone, Debug, Default)]
struct Counting(Arc<AtomicUsize>);

#[async_trait]
impl Transport for Counting {
    async fn send(&self, _: Request<'_>) -> Result<Response, TransportError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(200))
    }
}

/// A sender over a failing store, with a policy for each of two projects.
async fn failing(fault: Fault) -> (Webhooks, Counting, Arc<AtomicBool>) {
    let (mended, sent) = (Arc::new(AtomicBool::new(false)), Counting::default());
    let store = Failing { store: MemoryStore::new(), fault, mended: Arc::clone(&mended) };
    let hooks = Webhooks::builder(store, loopback()).settings(Settings::harbor()).transport(sent.clone());
    let hooks = hooks.build().unwrap();
    for project in [PROJECT, BROKEN] {
        let target = Target::http("http://127.0.0.1:9/").unwrap();
        let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(target);
        hooks.policies().create(project, draft).await.unwrap();
    }
    (hooks, sent, mended)
}

/// How often an event was sent in all, and how long after the end of the outage it was done with.
async fn outage(fault: Fault) -> (usize, Duration) {
    let (hooks, sent, mended) = failing(fault).await;
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    tokio::time::sleep(OUTAGE).await;
    mended.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    let state = end_state(&hooks).await;
    assert_eq!(state, State::Delivered, "{fault:?}");
    let took = begun.elapsed();
    running.stop().await;
    (sent.0.load(Ordering::Relaxed), took)
}

#[tokio::test(start_paused = true)]
async fn an_event_that_could_not_be_fanned_out_is_at_once_when_it_can() {
    let (sent, took) = outage(Fault::FanOut).await;
    assert_eq!(sent, 1);
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn deliveries_whose_targets_cannot_be_resolved_wait_and_lose_nothing() {
    for fault in [Fault::Resolve, Fault::ResolvePanics, Fault::ResolveEmpty] {
        let (sent, took) = outage(fault).await;
        assert_eq!(sent, 1, "{fault:?}");
        assert!(took < Duration::from_secs(10), "{fault:?} {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn results_that_cannot_be_written_stop_the_sending_and_kill_nothing() {
    // Once before the outage was known, and once because nobody knows what came of that.
    let (sent, _) = outage(Fault::Settle).await;
    assert_eq!(sent, 2);
}

#[tokio::test(start_paused = true)]
async fn the_trouble_of_one_project_is_not_that_of_the_others() {
    let (hooks, sent, mended) = failing(Fault::OneProject).await;
    let running = Running::start(&hooks);
    // More than are kept to be tried again.
    for _ in 0..100 {
        hooks.notify(&push_to(BROKEN)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    let begun = Instant::now();
    for n in 1..=50 {
        hooks.notify(&push()).await.unwrap();
        while sent.0.load(Ordering::Relaxed) < n {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    mended.store(true, Ordering::Relaxed);
    // Those that were not kept wait for their leases to run out.
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(sent.0.load(Ordering::Relaxed), 150);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_project_whose_events_fail_all_the_time_does_not_slow_the_others() {
    let (hooks, sent, _) = failing(Fault::OneProject).await;
    let running = Running::start(&hooks);
    let begun = Instant::now();
    for _ in 0..500 {
        hooks.notify(&push_to(BROKEN)).await.unwrap();
        hooks.notify(&push()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while sent.0.load(Ordering::Relaxed) < 500 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    running.stop().await;
}

/// Says more than it may.
#[derive(Debug)]
struct Verbose;

#[async_trait]
impl Transport for Verbose {
    async fn send(&self, request: Request<'_>) -> Result<Response, TransportError> {
        if request.address.expose().ends_with("answers") {
            let mut answer = Response::new(500);
            answer.body = vec![b'x'; 10_000_000];
            return Ok(answer);
        }
        Err(TransportError::new(FailureKind::Other, "x".repeat(10_000_000)))
    }
}

#[tokio::test]
async fn what_a_hosts_transport_says_is_bounded() {
    let mut settings = Settings::harbor();
    settings.retry.max_retries = 0;
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).settings(settings).transport(Verbose);
    let hooks = hooks.build().unwrap();
    let target = |path: &str| Target::http(&format!("http://127.0.0.1:9/{path}")).unwrap();
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(target("answers")).target(target("fails"));
    hooks.policies().create(PROJECT, draft).await.unwrap();
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    end_state(&hooks).await;
    running.stop().await;
    for delivery in hooks.deliveries(&Filter::all(), Page::first(10)).await.unwrap() {
        let detail = hooks.delivery(delivery.id).await.unwrap().unwrap();
        assert_eq!(detail.attempts.len(), 1);
        assert!(format!("{detail:?}").len() < 20_000);
    }
}
