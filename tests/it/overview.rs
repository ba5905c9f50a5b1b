//! `overview`: a project at a glance.

use std::time::Duration;

use harbor_webhook::delivery::State;
use harbor_webhook::policy::{PolicyDraft, Target, TargetType};
use harbor_webhook::store::{Filter, Hold, Hour, Page};
use harbor_webhook::{EventType, ProjectId, Webhooks};

use crate::support::events::{PROJECT, push};
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, end_state, impatient, loopback};
use crate::support::stores::{Fresh, on_every_store};

async fn subscribe(hooks: &Webhooks, name: &str, target: Target) {
    let draft = PolicyDraft::new(name).on(EventType::PushArtifact).target(target);
    hooks.policies().create(PROJECT, draft).await.unwrap();
}

fn counted(hours: &[Hour]) -> (u64, u64) {
    hours.iter().fold((0, 0), |(taken, failed), hour| (taken + hour.delivered, failed + hour.failed))
}

async fn each_policy_shows_how_it_fares<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let (good, bad) =
        (Receiver::start(|_| 200).await, Receiver::with_headers(|_| (503, vec![("retry-after", "600")])).await);
    let hooks = Webhooks::builder(store, loopback()).settings(impatient()).build().unwrap();
    subscribe(&hooks, "good", Target::http(&good.url).unwrap()).await;
    subscribe(&hooks, "bad", Target::http(&bad.url).unwrap()).await;
    let slack = Target::slack("https://hooks.slack.com/services/T000/B000/secret").unwrap();
    let draft = PolicyDraft::new("quiet").on(EventType::PullArtifact).target(slack).enabled(false);
    hooks.policies().create(PROJECT, draft).await.unwrap();
    assert!(hooks.overview(ProjectId(99)).await.unwrap().is_empty());
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    let wait = async {
        loop {
            let states = hooks.overview(PROJECT).await.unwrap();
            let done =
                states.iter().any(|state| state.last_delivery.as_ref().is_some_and(|d| d.state == State::Delivered));
            let closed = states.iter().any(|state| state.targets[0].lane.as_ref().is_some_and(|l| l.closed.is_some()));
            if done && closed {
                return states;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let states = tokio::time::timeout(Duration::from_secs(20), wait).await.expect("one is taken, one refused");
    let names: Vec<_> = states.iter().map(|state| (&*state.name, state.enabled)).collect();
    assert_eq!(names, [("quiet", false), ("bad", true), ("good", true)]);

    let quiet = &states[0].targets[0];
    assert_eq!(states[0].last_delivery, None);
    assert_eq!((quiet.target_type, &*quiet.address), (TargetType::Slack, "https://hooks.slack.com/********"));
    assert_eq!(quiet.hours, Some(Vec::new()));
    let lane = quiet.lane.as_ref().unwrap();
    assert_eq!((lane.target_id, lane.waiting, lane.closed), (quiet.target_id, 0, None));

    let lane = states[1].targets[0].lane.as_ref().unwrap();
    assert_eq!((lane.waiting, lane.parked, lane.closed, lane.failures), (1, 0, Some(Hold::RetryAfter), 1));
    assert!(lane.opens_in.is_some_and(|time| time > Duration::from_secs(500)), "{lane:?}");
    assert!(lane.oldest_waiting.is_some_and(|age| age < Duration::from_secs(20)), "{lane:?}");
    assert_eq!(counted(states[1].targets[0].hours.as_ref().unwrap()), (0, 1));

    let hours = states[2].targets[0].hours.as_ref().unwrap();
    assert_eq!((counted(hours), states[2].targets[0].address.as_str()), ((1, 0), &*good.url));
    assert!(hours.iter().all(|hour| hour.mean_latency() > Duration::ZERO && hour.mean_latency() <= hour.max_latency));
    running.stop().await;
}

async fn a_deleted_project_leaves_no_hours<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let good = Receiver::start(|_| 200).await;
    let hooks = Webhooks::builder(store.clone(), loopback()).settings(impatient()).build().unwrap();
    subscribe(&hooks, "good", Target::http(&good.url).unwrap()).await;
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    assert_eq!(end_state(&hooks).await, State::Delivered);
    running.stop().await;
    assert_eq!(hooks.count_deliveries(&Filter::project(PROJECT)).await.unwrap(), 1);
    assert_eq!(counted(&store.hours(&Filter::all()).await.unwrap().unwrap()), (1, 0));
    hooks.delete_project(PROJECT).await.unwrap();
    assert_eq!(store.hours(&Filter::all()).await.unwrap(), Some(Vec::new()));
    assert!(hooks.overview(PROJECT).await.unwrap().is_empty());
    assert_eq!(hooks.count_deliveries(&Filter::all()).await.unwrap(), 0);
    assert!(hooks.deliveries(&Filter::all(), Page::first(1)).await.unwrap().is_empty());
}

on_every_store!(each_policy_shows_how_it_fares, a_deleted_project_leaves_no_hours);
