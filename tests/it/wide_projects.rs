//! Projects with very many targets, all of which answer: others get their turns beside them.

use std::time::{Duration, Instant};

use harbor_webhook::policy::{PolicyDraft, Target};

use harbor_webhook::{EventType, ProjectId, Settings, Webhooks};

use crate::support::events::push_to;
use crate::support::sending::{Running, loopback};
use crate::support::simulated::{Answer, Simulated};
use crate::support::stores::{Fresh, on_every_store};

const WIDE: ProjectId = ProjectId(1);
const SMALL: ProjectId = ProjectId(2);
const TARGETS: usize = 1000;
const EVENTS: usize = 4;
/// Of the other project, for its one target.
const OTHERS: usize = 20;
/// Neither quick nor slow.
const ANSWERS: Duration = Duration::from_millis(100);

on_every_store!(
    one_target_gets_its_turns_beside_a_thousand,
    one_target_gets_its_turns_beside_a_thousand_that_are_bounded,
    what_others_have_is_found_behind_any_number_of_lanes
);

async fn subscribe(hooks: &Webhooks, project: ProjectId, hosts: &str, targets: usize) {
    let mut draft = PolicyDraft::new("ci").on(EventType::PushArtifact);
    draft.targets = (0..targets).map(|n| Target::http(&format!("http://{hosts}{n}.example.com/")).unwrap()).collect();
    hooks.policies().create(project, draft).await.unwrap();
}

/// Has all of one project's wait before anything is sent, and what another has come then. Gives how many of the first had been sent when
/// the last of the other was.
async fn sent_before_the_other<S: Fresh>(settings: Settings) -> usize {
    let (store, _folder) = S::fresh().await;
    let receivers = Simulated::new(|_, _| Answer::new(200, ANSWERS));
    let builder = Webhooks::builder(store, loopback()).settings(settings).transport(receivers.clone());
    let hooks = builder.build().unwrap();
    subscribe(&hooks, WIDE, "wide", TARGETS).await;
    subscribe(&hooks, SMALL, "small", 1).await;
    for _ in 0..EVENTS {
        hooks.notify(&push_to(WIDE)).await.unwrap();
    }
    let (running, begun) = (Running::start(&hooks), Instant::now());
    while hooks.status().await.unwrap().outbox > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..OTHERS {
        hooks.notify(&push_to(SMALL)).await.unwrap();
    }
    while receivers.calls("small0.example.com").len() < OTHERS {
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", hooks.status().await.unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = receivers.all().len() - OTHERS;
    running.stop().await;
    before
}

async fn one_target_gets_its_turns_beside_a_thousand<S: Fresh>() {
    let before = sent_before_the_other::<S>(Settings::harbor()).await;
    assert!(before < TARGETS * EVENTS * 3 / 4, "{before} were sent before the last of the other project's");
}

async fn one_target_gets_its_turns_beside_a_thousand_that_are_bounded<S: Fresh>() {
    let mut settings = Settings::harbor();
    settings.bounds.project_in_flight = 16;
    let before = sent_before_the_other::<S>(settings).await;
    assert!(before < TARGETS * EVENTS / 4, "{before} were sent before the last of the other project's");
}

async fn what_others_have_is_found_behind_any_number_of_lanes<S: Fresh>() {
    const LEASE: Duration = Duration::from_secs(60);
    let (store, _folder) = S::fresh().await;
    let receivers = Simulated::new(|_, _| Answer::new(200, LEASE));
    let mut settings = Settings::harbor();
    (settings.max_in_flight, settings.shutdown_grace) = (1, Duration::ZERO);
    let builder = Webhooks::builder(store.clone(), loopback()).settings(settings).transport(receivers);
    let hooks = builder.build().unwrap();
    subscribe(&hooks, WIDE, "wide", 300).await;
    subscribe(&hooks, SMALL, "small", 1).await;
    for project in [WIDE, SMALL, SMALL] {
        hooks.notify(&push_to(project)).await.unwrap();
    }
    let running = Running::start(&hooks);
    while hooks.status().await.unwrap().outbox > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.stop().await;
    // What was begun by then is closed for a moment.
    while !hooks.status().await.unwrap().closed_lanes.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let claimed = store.claim_beside(&[WIDE, ProjectId(3)], 10, LEASE).await.unwrap();
    assert_eq!(claimed.iter().map(|claimed| claimed.project_id).collect::<Vec<_>>(), [SMALL, SMALL]);
    assert!(store.claim_beside(&[WIDE], 10, LEASE).await.unwrap().is_empty());
    let mut wide = 0;
    while wide < 300 {
        let claimed = store.claim_beside(&[SMALL], 400, LEASE).await.unwrap().len();
        assert!(claimed > 0, "{wide} of 300 were found");
        wide += claimed;
    }
}
