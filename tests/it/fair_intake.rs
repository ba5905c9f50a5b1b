//! Events of a project with very many targets do not keep those of others waiting for all of them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harbor_webhook::observe::{Observation, Observer};
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::{EventType, ProjectId, Settings, Webhooks};

use crate::support::events::push_to;
use crate::support::sending::{Running, loopback};
use crate::support::simulated::{Answer, Simulated};
use crate::support::stores::{Fresh, on_every_store};

on_every_store!(an_event_waits_for_few_of_another_project);

const WIDE: ProjectId = ProjectId(1);
const SMALL: ProjectId = ProjectId(2);
const TARGETS: usize = 1000;
const EVENTS: usize = 150;

/// Whose events were fanned out, in their order.
#[derive(Clone, Debug, Default)]
struct Order(Arc<Mutex<Vec<ProjectId>>>);

impl Order {
    async fn wait_for(&self, what: &str, found: impl Fn(&[ProjectId]) -> Option<usize>) -> usize {
        let begun = Instant::now();
        loop {
            if let Some(found) = found(&self.0.lock().unwrap()) {
                return found;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "waited for {what}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Observer for Order {
    fn observe(&self, what: &Observation<'_>) {
        if let Observation::FannedOut { event, .. } = what {
            self.0.lock().unwrap().push(event.project_id);
        }
    }
}

async fn subscribe(hooks: &Webhooks, project: ProjectId, targets: usize) {
    let mut draft = PolicyDraft::new("ci").on(EventType::PushArtifact);
    draft.targets = (0..targets).map(|n| Target::http(&format!("http://h{n}.example.com/")).unwrap()).collect();
    hooks.policies().create(project, draft).await.unwrap();
}

async fn an_event_waits_for_few_of_another_project<S: Fresh>() {
    let ((store, _folder), order) = (S::fresh().await, Order::default());
    let receivers = Simulated::new(|_, _| Answer::new(200, Duration::from_millis(1)));
    let builder = Webhooks::builder(store, loopback()).settings(Settings::harbor()).transport(receivers);
    let hooks = builder.observer(order.clone()).build().unwrap();
    subscribe(&hooks, WIDE, TARGETS).await;
    subscribe(&hooks, SMALL, 1).await;
    for _ in 0..EVENTS {
        hooks.notify(&push_to(WIDE)).await.unwrap();
    }
    let running = Running::start(&hooks);
    let before = order.wait_for("the first", |order| (order.len() > 2).then_some(order.len())).await;
    hooks.notify(&push_to(SMALL)).await.unwrap();
    let at = order.wait_for("the small one", |order| order.iter().position(|project| *project == SMALL)).await;
    // No more than were begun before it came, and a round that it is in itself.
    assert!(at < before + 40, "{before} were fanned out when it came, and {at} when it was");
    running.stop().await;
}
