//! A target that is up and down in turns, for an hour of simulated time: it is not stormed, it gets everything, and it is never
//! given up.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harbor_webhook::delivery::breaker::News;
use harbor_webhook::observe::{Observation, Observer};
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::MemoryStore;
use harbor_webhook::{EventType, Settings, Webhooks};

use crate::simulation::random::Random;
use crate::support::events::{PROJECT, push};
use crate::support::sending::{Running, loopback};
use crate::support::simulated::{Answer, Call, Simulated};

/// How long it is up, and then down.
const PHASE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(60 * 60);
const EVERY: Duration = Duration::from_secs(1);
const ANSWERS_IN: Duration = Duration::from_millis(100);
const HOST: &str = "flapping.example.com";
/// Pauses of the settings that a delivery may have come to within the hour.
const PAUSES: [u64; 5] = [5, 30, 120, 600, 1800];

/// What changed with targets.
#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<News>>>);

impl Observer for Told {
    fn observe(&self, what: &Observation<'_>) {
        if let Observation::TargetChanged { news, .. } = what {
            self.0.lock().unwrap().push(*news);
        }
    }
}

fn settings() -> Settings {
    let mut settings = Settings::extended();
    // Not days, so that an hour shows whether what it took in between counts.
    settings.breaker.disable.as_mut().unwrap().failing_for = 2 * PHASE;
    settings
}

struct Flapped {
    events: usize,
    calls: Vec<Call>,
    /// How long it took from the end of the hour until nothing waited.
    rest: Duration,
    told: Vec<News>,
}

/// An event each second for an hour. `down` is what it answers in its bad phases; after the hour there are none.
async fn flap(down: impl Fn() -> u16 + Send + Sync + 'static) -> Flapped {
    let receivers = Simulated::new(move |_, at| {
        let is_down = at < HOUR && (at.as_secs() / PHASE.as_secs()) % 2 == 1;
        Answer::new(if is_down { down() } else { 200 }, ANSWERS_IN)
    });
    let told = Told::default();
    let builder = Webhooks::builder(MemoryStore::new(), loopback()).settings(settings());
    let hooks = builder.transport(receivers.clone()).observer(told.clone()).build().unwrap();
    let target = Target::http(&format!("http://{HOST}/")).unwrap();
    hooks.policies().create(PROJECT, PolicyDraft::new("ci").on(EventType::PushArtifact).target(target)).await.unwrap();
    let running = Running::start(&hooks);
    let mut events = 0;
    while receivers.now() < HOUR {
        hooks.notify(&push()).await.unwrap();
        events += 1;
        tokio::time::sleep(EVERY).await;
    }
    loop {
        let status = hooks.status().await.unwrap();
        if status.outbox == 0 && status.waiting == 0 {
            break;
        }
        assert!(receivers.now() < 30 * HOUR, "something waits for ever: {status:?}");
        tokio::time::sleep(EVERY).await;
    }
    let rest = receivers.now() - HOUR;
    running.stop().await;
    let told = told.0.lock().unwrap().clone();
    Flapped { events, calls: receivers.calls(HOST), rest, told }
}

impl Flapped {
    fn failed(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| !call.answer.is_taken())
    }

    /// Each event arrived once, no attempt came before its time, and nobody gave the target up.
    fn check(&self) {
        let mut attempts: HashMap<&str, Vec<&Call>> = HashMap::new();
        for call in &self.calls {
            attempts.entry(&call.id).or_default().push(call);
        }
        assert_eq!(attempts.len(), self.events);
        for attempts in attempts.values() {
            assert_eq!(attempts.iter().filter(|call| call.answer.is_taken()).count(), 1, "{attempts:?}");
            for (pair, pause) in attempts.windows(2).zip(PAUSES) {
                assert!(pair[1].at - pair[0].at >= Duration::from_secs(pause), "{attempts:?}");
            }
        }
        assert!(!self.told.iter().any(|news| matches!(news, News::Disabled(_))), "{:?}", self.told);
    }

    /// Attempts that failed, for each of the bad phases.
    fn failed_by_phase(&self) -> Vec<usize> {
        let mut phases = BTreeMap::new();
        for call in self.failed() {
            *phases.entry(call.at.as_secs() / PHASE.as_secs()).or_default() += 1;
        }
        phases.into_values().collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_down_every_other_half_minute_is_not_stormed() {
    let flapped = flap(|| 503).await;
    flapped.check();
    // What closes the lane, and what was under way then. It opens when the phase is over.
    let (breaker, lane) = (settings().breaker, settings().lane);
    let most = (breaker.failures + lane.max_in_flight - 1) as usize;
    let phases = flapped.failed_by_phase();
    println!("failed in each phase: {phases:?}; the rest took {:?}", flapped.rest);
    assert!(phases.iter().all(|failed| *failed <= most), "{phases:?}");
    // Closed for the first time, and for up to a fifth longer, as the target always takes something in between.
    assert!(flapped.rest <= breaker.pause.mul_f64(1.2) + EVERY, "{:?}", flapped.rest);
    assert!(flapped.told.contains(&News::Failing) && flapped.told.last() == Some(&News::Recovered));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_refuses_half_of_it_costs_one_attempt_more_on_average() {
    let random = Random::new(5);
    let flapped = flap(move || if random.one_in(2) { 503 } else { 200 }).await;
    flapped.check();
    println!("{} attempts for {} events; the rest took {:?}", flapped.calls.len(), flapped.events, flapped.rest);
    assert!(flapped.calls.len() <= 2 * flapped.events, "{} attempts", flapped.calls.len());
    // An attempt that failed last waits for its own pause.
    assert!(flapped.rest <= settings().breaker.longest_pause, "{:?}", flapped.rest);
}
