//! What may wait and be under way, over all and for each project, on every store.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use harbor_webhook::delivery::State;
use harbor_webhook::event::Artifact;
use harbor_webhook::observe::{Bound, Observation, Observer};
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::settings::{AtBound, Room};
use harbor_webhook::store::{Filter, Hold, Page, StateKind};
use harbor_webhook::{Bounds, ErrorKind, Event, EventType, Notified, ProjectId, Registry, Webhooks};

use crate::conformance::redb_store::RedbStore;
use crate::support::events::DIGEST;
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, impatient, loopback};
use crate::support::stores::{Fresh, on_every_store};

const LARGE: ProjectId = ProjectId(7);
const SMALL: ProjectId = ProjectId(8);
/// Longer than figures are good for.
const LATER: Duration = Duration::from_millis(1100);

/// Remembers the bounds that were reached.
#[derive(Clone, Debug, Default)]
struct Reached(Arc<Mutex<Vec<Of>>>);

/// A bound, and whose it is.
type Of = (Bound, Option<ProjectId>);

impl Observer for Reached {
    fn observe(&self, what: &Observation<'_>) {
        if let Observation::BoundReached { bound, project_id, .. } = what {
            self.0.lock().unwrap().push((*bound, *project_id));
        }
    }
}

fn push(project: ProjectId) -> Event {
    let registry = Registry::new("hub.example.com").unwrap();
    registry.push(project, "library/a", Artifact::tagged("1", DIGEST).unwrap()).operator("admin")
}

async fn hooks<S: Fresh>(bounds: Bounds, urls: &[String]) -> (Webhooks, Reached, Option<tempfile::TempDir>) {
    let (store, folder) = S::fresh().await;
    let (mut settings, reached) = (impatient(), Reached::default());
    settings.bounds = bounds;
    let hooks = Webhooks::builder(store, loopback()).settings(settings).observer(reached.clone()).build().unwrap();
    for project in [LARGE, SMALL] {
        let mut draft = PolicyDraft::new("all").on(EventType::PushArtifact);
        for url in urls {
            draft = draft.target(Target::http(url).unwrap());
        }
        hooks.policies().create(project, draft).await.unwrap();
    }
    (hooks, reached, folder)
}

fn bounds(set: impl FnOnce(&mut Bounds)) -> Bounds {
    let mut bounds = Bounds::UNLIMITED;
    set(&mut bounds);
    bounds
}

/// Turns what is in the outbox into deliveries, all of which wait: the lanes are closed.
async fn fan_out(hooks: &Webhooks) {
    let running = Running::start(hooks);
    let wait = async {
        while hooks.status().await.unwrap().outbox > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
    running.stop().await;
    tokio::time::sleep(LATER).await;
}

fn nowhere() -> Vec<String> {
    // Nobody listens there, and the pauses between attempts are long.
    vec!["http://127.0.0.1:9/".to_owned()]
}

on_every_store!(
    a_project_that_has_too_much_waiting_is_refused,
    events_that_are_not_fanned_out_count,
    bytes_and_the_sum_of_all_projects_are_bounded,
    a_busy_project_does_not_hide_that_its_target_is_down,
    what_is_beyond_a_bound_can_be_parked,
    a_project_has_no_more_under_way_than_it_may
);

/// One project is refused what another one still may; when it has drained it may again.
async fn a_project_that_has_too_much_waiting_is_refused<S: Fresh>() {
    let bounds = bounds(|bounds| bounds.project = Room::deliveries(2));
    let (hooks, reached, _folder) = hooks::<S>(bounds, &nowhere()).await;
    for _ in 0..2 {
        assert_eq!(hooks.notify(&push(LARGE)).await.unwrap(), Notified::Queued);
    }
    fan_out(&hooks).await;
    let event = push(LARGE);
    let error = hooks.notify(&event).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.is_retryable() && error.to_string().contains("project 7"), "{error}");
    let usage: Vec<_> = hooks.usage().await.unwrap().iter().map(|usage| (usage.project_id, usage.deliveries)).collect();
    assert_eq!(usage, [(LARGE, 2)]);
    assert_eq!(hooks.notify(&push(SMALL)).await.unwrap(), Notified::Queued);
    assert_eq!(*reached.0.lock().unwrap(), [(Bound::Project, Some(LARGE))]);
    hooks.cancel_all(&Filter::project(LARGE), Page::first(9)).await.unwrap();
    tokio::time::sleep(LATER).await;
    assert_eq!(hooks.notify(&event).await.unwrap(), Notified::Queued);
}

/// Nothing runs, so nothing is fanned out: the outbox, which is everybody's, takes no more of a project than that may have.
async fn events_that_are_not_fanned_out_count<S: Fresh>() {
    let (hooks, _, _folder) = hooks::<S>(bounds(|bounds| bounds.project = Room::deliveries(10)), &nowhere()).await;
    let mut taken = 0;
    for _ in 0..50 {
        taken += u64::from(hooks.notify(&push(LARGE)).await.is_ok());
    }
    assert_eq!((taken, hooks.notify(&push(SMALL)).await.unwrap()), (10, Notified::Queued));
    tokio::time::sleep(LATER).await;
    assert_eq!(hooks.notify(&push(LARGE)).await.unwrap_err().kind(), ErrorKind::Full);
    let usage = hooks.usage().await.unwrap();
    let counted: Vec<_> = usage.iter().map(|usage| (usage.project_id, usage.deliveries, usage.events)).collect();
    assert_eq!(counted, [(LARGE, 0, 10), (SMALL, 0, 1)]);
    assert!(usage[0].event_bytes > 10 * 300 && usage[0].event_bytes < 10 * 5000, "{usage:?}");
}

/// Bytes count, and what all projects have waiting together.
async fn bytes_and_the_sum_of_all_projects_are_bounded<S: Fresh>() {
    let (small, _, _one) =
        hooks::<S>(bounds(|bounds| bounds.total = Room::deliveries(1000).bytes(300)), &nowhere()).await;
    small.notify(&push(LARGE)).await.unwrap();
    fan_out(&small).await;
    for project in [LARGE, SMALL] {
        let error = small.notify(&push(project)).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Full && error.to_string().contains("in all"), "{error}");
    }
    let (large, _, _two) =
        hooks::<S>(bounds(|bounds| bounds.total = Room::deliveries(1000).bytes(1 << 20)), &nowhere()).await;
    large.notify(&push(LARGE)).await.unwrap();
    fan_out(&large).await;
    assert_eq!(large.notify(&push(SMALL)).await.unwrap(), Notified::Queued);
    let waiting = large.status().await.unwrap().waiting_bytes.unwrap();
    assert!((300..4000).contains(&waiting), "{waiting} bytes for a body of some 500");
}

/// Parked instead of refused: nothing is lost, nothing of it is sent, and it goes out when somebody says so.
async fn what_is_beyond_a_bound_can_be_parked<S: Fresh>() {
    let receiver = Receiver::start(|_| 200).await;
    let bounds = bounds(|bounds| (bounds.project, bounds.at_bound) = (Room::deliveries(0), AtBound::Park));
    let (hooks, reached, _folder) = hooks::<S>(bounds, std::slice::from_ref(&receiver.url)).await;
    assert_eq!(hooks.notify(&push(LARGE)).await.unwrap(), Notified::Queued);
    fan_out(&hooks).await;
    let parked = hooks.deliveries(&Filter::all().state(StateKind::Parked), Page::first(9)).await.unwrap();
    assert_eq!((parked.len(), receiver.seen().len()), (1, 0));
    assert_eq!(*reached.0.lock().unwrap(), [(Bound::Project, Some(LARGE))]);
    let running = Running::start(&hooks);
    hooks.unpark(parked[0].id).await.unwrap();
    receiver.wait_for(1).await;
    running.stop().await;
    let sent = hooks.delivery(parked[0].id).await.unwrap().unwrap();
    assert_eq!(sent.delivery.state, State::Delivered);
}

/// A project with many busy targets has no more in hand than it may, and gets all of it delivered.
async fn a_project_has_no_more_under_way_than_it_may<S: Fresh>() {
    let receiver = Receiver::slow(Duration::from_millis(50)).await;
    let urls: Vec<_> = (0..6).map(|n| format!("{}/{n}", receiver.url)).collect();
    let (hooks, _, _folder) = hooks::<S>(bounds(|bounds| bounds.project_in_flight = 3), &urls).await;
    for _ in 0..4 {
        hooks.notify(&push(LARGE)).await.unwrap();
    }
    let running = Running::start(&hooks);
    receiver.wait_for(24).await;
    running.stop().await;
    assert!((2..=3).contains(&receiver.most_at_once()), "{} at once", receiver.most_at_once());
    assert_eq!(hooks.status().await.unwrap().waiting, 0);
}

/// A lane that is closed for a moment because its project is busy still counts failures: the circuit opens.
async fn a_busy_project_does_not_hide_that_its_target_is_down<S: Fresh>() {
    let (hooks, _, _folder) = hooks::<S>(bounds(|bounds| bounds.project_in_flight = 1), &nowhere()).await;
    for _ in 0..20 {
        hooks.notify(&push(LARGE)).await.unwrap();
    }
    let running = Running::start(&hooks);
    let open = async {
        while !hooks.status().await.unwrap().closed_lanes.iter().any(|lane| lane.why == Hold::CircuitOpen) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), open).await.expect("the circuit opens");
    running.stop().await;
}

/// A store that does not count makes bounds an error instead of nothing.
#[tokio::test]
async fn bounds_on_a_store_that_does_not_count_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = RedbStore::open(folder.path().join("webhooks.redb")).unwrap();
    let mut settings = impatient();
    settings.bounds.project = Room::deliveries(2);
    let hooks = Webhooks::builder(store, loopback()).settings(settings).build().unwrap();
    let draft =
        PolicyDraft::new("all").on(EventType::PushArtifact).target(Target::http("http://127.0.0.1:9/").unwrap());
    hooks.policies().create(LARGE, draft).await.unwrap();
    let error = hooks.notify(&push(LARGE)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("DeliveryStore::usage"), "{error}");
}
