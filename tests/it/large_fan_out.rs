//! One event for very many targets, while the worker that fans it out is dropped again and again.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{Filter, MemoryStore, Page};
use harbor_webhook::transport::{Request, Response, Transport, TransportError};
use harbor_webhook::{EventType, Notified, ProjectId, Settings, TargetId, Webhooks};

use crate::simulation::random::Random;
use crate::support::events::{PROJECT, push, push_to};
use crate::support::sending::loopback;
use crate::support::stores::Fresh;

const TARGETS: usize = 10_000;
const POLICIES: usize = 10;
const KILLS: usize = 20;
/// A project with one target.
const SMALL: ProjectId = ProjectId(3);

/// Never answers: this is about what is made, not about what is sent.
#[derive(Debug)]
struct Hung;

#[async_trait::async_trait]
impl Transport for Hung {
    async fn send(&self, _: Request<'_>) -> Result<Response, TransportError> {
        std::future::pending().await
    }
}

fn hooks<S: Fresh>(store: &S, event_lease: Duration) -> Webhooks {
    let mut settings = Settings::harbor();
    settings.event_lease = event_lease;
    settings.timeout = Duration::from_secs(3600);
    settings.max_in_flight = 1;
    Webhooks::builder(store.clone(), loopback()).settings(settings).transport(Hung).build().unwrap()
}

/// Policies with many targets, and one with a single one.
async fn subscribe(hooks: &Webhooks) -> HashSet<TargetId> {
    let target = |n: usize| Target::http(&format!("http://127.0.0.1:9/{n}")).unwrap();
    let mut targets = HashSet::new();
    for n in 0..POLICIES {
        let mut draft = PolicyDraft::new(format!("policy {n}")).on(EventType::PushArtifact);
        draft.targets = (0..TARGETS / POLICIES).map(target).collect();
        let policy = hooks.policies().create(PROJECT, draft).await.unwrap();
        targets.extend(policy.targets.iter().map(|target| target.id));
    }
    let draft = PolicyDraft::new("small").on(EventType::PushArtifact).target(target(0));
    hooks.policies().create(SMALL, draft).await.unwrap();
    assert_eq!(targets.len(), TARGETS);
    targets
}

async fn each_target_gets_one_delivery_however_often_the_worker_dies<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let random = Random::new(18);
    let patient = hooks(&store, Duration::from_secs(60));
    let targets = subscribe(&patient).await;
    let event = push();
    assert_eq!(patient.notify(&event).await.unwrap(), Notified::Queued);
    let mut in_part = 0;
    for _ in 0..KILLS {
        // Short leases also run out while the worker still lives.
        let lease = Duration::from_millis([10, 50, 250][random.below(3) as usize]);
        let worker = hooks(&store, lease);
        let worker = tokio::spawn(async move { worker.run(std::future::pending::<()>()).await });
        tokio::time::sleep(random.up_to(Duration::from_millis(150))).await;
        worker.abort();
        assert!(worker.await.unwrap_err().is_cancelled(), "a worker ended by itself");
        let made = store.list(&Filter::event(event.id), Page::first(2 * TARGETS)).await.unwrap().len();
        in_part += usize::from((1..TARGETS).contains(&made));
        tokio::time::sleep(random.up_to(lease)).await;
    }
    // The memory store never waits, so a worker on it is not dropped halfway.
    let at_once = std::any::type_name::<S>() == std::any::type_name::<MemoryStore>();
    assert!(at_once || in_part > 0, "no worker was dropped halfway");

    let last = tokio::spawn(async move { patient.run(std::future::pending::<()>()).await });
    let begun = Instant::now();
    while store.status().await.unwrap().outbox > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the event stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    last.abort();
    let made = store.list(&Filter::event(event.id), Page::first(2 * TARGETS)).await.unwrap();
    assert_eq!(made.len(), TARGETS);
    assert_eq!(made.iter().map(|delivery| delivery.target_id).collect::<HashSet<_>>(), targets);
    assert_eq!(store.status().await.unwrap().waiting, TARGETS as u64);
}

/// The fastest of many, so that what else the machine does is left out.
async fn fastest(hooks: &Webhooks, project: ProjectId) -> Duration {
    let mut fastest = Duration::MAX;
    for _ in 0..30 {
        let (event, begun) = (push_to(project), Instant::now());
        assert_eq!(hooks.notify(&event).await.unwrap(), Notified::Queued);
        fastest = fastest.min(begun.elapsed());
    }
    fastest
}

/// Making ten thousand deliveries takes any store many times as long as this allows.
async fn telling_takes_no_longer_for_many_targets<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let hooks = hooks(&store, Duration::from_secs(60));
    subscribe(&hooks).await;
    let (one, many) = (fastest(&hooks, SMALL).await, fastest(&hooks, PROJECT).await);
    println!("one target: {one:?}, {TARGETS}: {many:?}");
    assert!(many < 3 * one + Duration::from_millis(2), "{many:?} instead of {one:?}");
}

crate::support::stores::on_every_store!(
    each_target_gets_one_delivery_however_often_the_worker_dies,
    telling_takes_no_longer_for_many_targets,
);
