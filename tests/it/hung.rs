//! Receivers that stop to answer, all at once and without a word: those that go on answering do not wait for them.

use std::collections::HashMap;
use std::time::Duration;

use harbor_webhook::store::MemoryStore;
use harbor_webhook::{ProjectId, Settings, Webhooks};

use crate::many_dead::{EACH, host, longest, subscribe, subscribe_many};
use crate::support::events::push_to;
use crate::support::sending::{Running, loopback};
use crate::support::simulated::{Answer, Simulated};

/// When they stop, if they did not hang from the beginning.
const LATER: Duration = Duration::from_secs(20);
/// How long it is looked at.
const UNTIL: Duration = Duration::from_secs(80);
/// How long one that answers takes for it.
const QUICK: Duration = Duration::from_millis(20);
const SLOW: Duration = Duration::from_secs(1);
/// The first project of those that stop.
const HUNG: i64 = 1_000_000;

struct Scene {
    settings: Settings,
    /// Targets that stop, and the projects that they are of.
    hung: usize,
    projects: usize,
    /// Targets that do not stop.
    live: usize,
    /// How often each target gets an event.
    every: Duration,
    stop_at: Duration,
    answers_in: Duration,
}

/// The longest time that a delivery to one of those that do not stop waited for its attempt.
async fn wait_beside(scene: Scene) -> Duration {
    let receivers = Simulated::new(move |host, at| {
        let hangs = at >= scene.stop_at && host.starts_with("hung");
        Answer::new(200, if hangs { Duration::from_secs(3600) } else { scene.answers_in })
    });
    let store = MemoryStore::with_bound(2_000_000).max_bytes(usize::MAX);
    let hung: Vec<_> = (0..scene.projects).map(|n| ProjectId(HUNG + n as i64)).collect();
    for project in &hung {
        subscribe(&store, *project, "hung", scene.hung / scene.projects).await;
    }
    let policies = subscribe_many(&store, scene.live).await;
    let builder = Webhooks::builder(store, loopback()).settings(scene.settings);
    let hooks = builder.transport(receivers.clone()).build().unwrap();
    let running = Running::start(&hooks);
    let mut told = HashMap::<String, Vec<Duration>>::new();
    while receivers.now() < UNTIL {
        for project in &hung {
            hooks.notify(&push_to(*project)).await.unwrap();
        }
        for policy in &policies {
            for target in &policy.targets {
                told.entry(host(&target.target)).or_default().push(receivers.now());
            }
            hooks.notify(&push_to(policy.project_id)).await.unwrap();
            tokio::time::sleep(scene.every / policies.len() as u32).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    running.stop().await;
    let (longest, reached) = longest(&receivers.all(), &told);
    assert_eq!(reached, told.values().map(Vec::len).sum::<usize>());
    println!("{} hung of {}: a live one waited for {longest:?} at most", scene.hung, scene.projects);
    longest
}

/// Beside a thousand live ones that answer quickly. Nobody can know that a receiver hangs before it has kept an attempt
/// waiting, and for that time all slots may be taken.
fn scene(settings: Settings, hung: usize, projects: usize, every: u64) -> Scene {
    let every = Duration::from_secs(every);
    Scene { settings, hung, projects, live: 10 * EACH, every, stop_at: LATER, answers_in: QUICK }
}

fn both() -> [Settings; 2] {
    [Settings::harbor(), Settings::extended()]
}

async fn assert_wait(scene: Scene, most: u64) {
    let longest = wait_beside(scene).await;
    assert!(longest <= Duration::from_secs(most), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_that_hang_delay_nobody() {
    for (settings, every) in both().into_iter().flat_map(|settings| [1, 20].map(|every| (settings.clone(), every))) {
        assert_wait(scene(settings.clone(), 100, 1, every), 2).await;
        assert_wait(scene(settings, 100, 100, every), 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_of_one_project_that_hang_delay_nobody() {
    for settings in both() {
        assert_wait(scene(settings.clone(), 1000, 1, 2), 2).await;
        assert_wait(scene(settings, 1000, 1, 20), 2).await;
    }
}

/// Of which nobody knows that they ever answered.
#[tokio::test(start_paused = true)]
async fn a_thousand_of_one_project_that_never_answered_delay_nobody() {
    for settings in both() {
        let scene = Scene { stop_at: Duration::ZERO, ..scene(settings, 1000, 1, 20) };
        assert_wait(scene, 2).await;
    }
}

/// A hundred attempts of a second each, all at once, in what a project has of the places beside one and beside four that fill theirs:
/// eleven and nine. Four that take theirs before the hundred come leave less, until their attempts have ended.
#[tokio::test(start_paused = true)]
async fn a_thousand_that_hang_leave_places_for_slow_ones_of_others() {
    for (settings, (projects, most)) in
        both().into_iter().flat_map(|settings| [(1, 10), (4, 30)].map(|of| (settings.clone(), of)))
    {
        let scene = Scene { answers_in: SLOW, live: EACH, ..scene(settings, 1000, projects, 20) };
        assert_wait(scene, most).await;
    }
}

/// More of them than there are places, and all in projects of their own: each has to be found out by an attempt, and that takes as many
/// times an attempt's time as they are times the places and half of the slots.
#[tokio::test(start_paused = true)]
async fn a_thousand_of_a_thousand_projects_that_hang_delay_others_until_they_are_known() {
    for settings in both() {
        let most = settings.timeout.as_secs() * 1000_u64.div_ceil(64 + 32);
        assert_wait(scene(settings, 1000, 1000, 20), most).await;
    }
}
