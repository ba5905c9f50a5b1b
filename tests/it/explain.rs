//! `explain`: who would get an event, and why the others not.

use std::time::Duration;

use harbor_webhook::format::{Format, FormatError, RenderContext};
use harbor_webhook::policy::{Match, PolicyDraft, Target};
use harbor_webhook::store::{Filter, Hold, Page};
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{ErrorKind, Event, EventType, Obstacle, ProjectId, Webhooks};

use crate::support::events::{PROJECT, push};
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, loopback};
use crate::support::stores::{Fresh, on_every_store};

#[derive(Debug)]
struct Own;

impl Format for Own {
    fn name(&self) -> &str {
        "Own"
    }
    fn content_type(&self) -> &str {
        "text/plain"
    }
    fn render(&self, _: &Event, _: &RenderContext, _: &mut Vec<u8>) -> Result<(), FormatError> {
        Ok(())
    }
}

async fn every_reason_is_named_and_nothing_happens<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let busy = Receiver::with_headers(|_| (503, vec![("retry-after", "600")])).await;
    let saving = Webhooks::builder(store.clone(), loopback()).format(Own).build().unwrap();
    let create = async |project: ProjectId, draft: PolicyDraft| saving.policies().create(project, draft).await.unwrap();
    let name = |name: &str| Target::http(name).unwrap();
    let on_push = |name: &str| PolicyDraft::new(name).on(EventType::PushArtifact);
    let elsewhere = create(ProjectId(9), on_push("elsewhere").target(name("https://ci.example.com/"))).await;
    let mixed = on_push("mixed").target(name("https://ci.example.com/")).target(name(&busy.url));
    let mixed = create(PROJECT, mixed.target(name("https://ci.example.com/own").payload_format("Own"))).await;
    let disabled = create(PROJECT, on_push("disabled").target(name("https://ci.example.com/")).enabled(false)).await;
    let pulls = PolicyDraft::new("pulls").on(EventType::PullArtifact).target(name("https://ci.example.com/"));
    let pulls = create(PROJECT, pulls).await;

    // A host with other rules and fewer formats than the one that saved the policies.
    let hooks = Webhooks::builder(store, DestinationPolicy::public_addresses()).build().unwrap();
    let explained = hooks.explain(&push()).await.unwrap();
    assert!(explained.switched_on);
    let matched: Vec<_> = explained.policies.iter().map(|explained| (explained.policy.id, explained.matched)).collect();
    let expected =
        [(pulls.id, Match::EventTypeNotSelected), (disabled.id, Match::Disabled), (mixed.id, Match::Matched)];
    assert_eq!(matched, expected);
    let targets = &explained.policies[2].targets;
    assert_eq!(
        targets.iter().map(|t| t.id).collect::<Vec<_>>(),
        mixed.targets.iter().map(|t| t.id).collect::<Vec<_>>()
    );
    assert_eq!(targets[0].obstacles, []);
    assert!(
        matches!(&targets[1].obstacles[..], [Obstacle::Blocked(blocked)] if blocked.to_string().contains("127.0.0.1"))
    );
    assert_eq!(targets[2].obstacles, [Obstacle::UnknownFormat("Own".to_owned())]);
    assert_eq!(explained.receivers().collect::<Vec<_>>(), [mixed.targets[0].id]);

    let other = hooks.explain_policy(&push(), elsewhere.id).await.unwrap();
    assert_eq!(other.policies[0].matched, Match::OtherProject);
    let test = push().as_test(pulls.id);
    assert_eq!(hooks.explain_policy(&test, mixed.id).await.unwrap().policies[0].matched, Match::OtherPolicy);
    hooks.switch(false).await.unwrap();
    let off = hooks.explain(&push()).await.unwrap();
    assert!(!off.switched_on);
    assert_eq!(off.receivers().count(), 0);

    let mut nameless = push();
    nameless.data.repository = None;
    assert_eq!(hooks.explain(&nameless).await.unwrap_err().kind(), ErrorKind::Invalid);
    // Nothing was written, and nothing sent.
    assert_eq!(hooks.status().await.unwrap().outbox, 0);
    assert_eq!(hooks.deliveries(&Filter::all(), Page::first(1)).await.unwrap(), []);
    assert_eq!(busy.seen().len(), 0);
}

async fn a_closed_lane_says_why_and_until_when<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let busy = Receiver::with_headers(|_| (503, vec![("retry-after", "600")])).await;
    let hooks = Webhooks::builder(store, loopback()).build().unwrap();
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http(&busy.url).unwrap());
    let policy = hooks.policies().create(PROJECT, draft).await.unwrap();
    let running = Running::start(&hooks);
    hooks.notify(&push()).await.unwrap();
    busy.wait_for(1).await;
    let closed = async {
        loop {
            let explained = hooks.explain(&push()).await.unwrap();
            if let [Obstacle::LaneClosed { why, opens_in }] = explained.policies[0].targets[0].obstacles[..] {
                // It is only delayed.
                assert_eq!(explained.receivers().collect::<Vec<_>>(), [policy.targets[0].id]);
                return (why, opens_in);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (why, opens_in) = tokio::time::timeout(Duration::from_secs(20), closed).await.expect("the lane closes");
    running.stop().await;
    assert_eq!(why, Hold::RetryAfter);
    assert!(opens_in > Duration::from_secs(500) && opens_in <= Duration::from_secs(600), "{opens_in:?}");
}

on_every_store!(every_reason_is_named_and_nothing_happens, a_closed_lane_says_why_and_until_when);
