//! Thousands of schedules of two dispatchers on one store, where everything fails now and then.
//!
//! Time is simulated and every choice depends on a seed, so a failure is replayed with `SIMULATION_SEED`. `SIMULATIONS` says how
//! many seeds are tried: 100 by default, more in `.ci/long`.

mod faulty;
pub(crate) mod random;
mod receivers;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use harbor_webhook::delivery::retry::Schedule;
use harbor_webhook::delivery::{DeadReason, State};
use harbor_webhook::policy::{Policy, PolicyDraft, Target};
use harbor_webhook::store::{DeliveryStore, Filter, LaneLimits, MemoryStore, Page};
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{Event, EventType, Notified, Settings, Webhooks};
use tokio::task::JoinHandle;

use crate::support::events::{PROJECT, push};
use faulty::Faulty;
use random::Random;
use receivers::Receivers;

/// Things that happen in one simulation.
const STEPS: usize = 60;
/// Attempts under way at once to one target.
const IN_FLIGHT: u32 = 2;
const MAX_RETRIES: u32 = 12;

struct Simulation {
    random: Arc<Random>,
    store: Faulty,
    receivers: Receivers,
    nodes: Vec<Webhooks>,
    running: Vec<Option<JoinHandle<()>>>,
    /// Two policies with three targets that are always there.
    policies: Vec<Policy>,
    /// One that comes and goes.
    fickle: Policy,
    /// Events that were promised.
    promised: Vec<Event>,
    crashes: usize,
}

impl Simulation {
    async fn new(seed: u64) -> Self {
        let random = Arc::new(Random::new(seed));
        let store = Faulty::new(MemoryStore::new(), Arc::clone(&random));
        let receivers = Receivers::new(Arc::clone(&random));
        let node = || {
            let builder = Webhooks::builder(store.clone(), DestinationPolicy::public_addresses());
            builder.transport(receivers.clone()).settings(settings()).build().unwrap()
        };
        let nodes = vec![node(), node()];
        let draft = |name: &str, targets: &[&str]| {
            let target = |address: &&str| Target::http(&format!("http://{address}.example.com/")).unwrap();
            targets.iter().map(target).fold(PolicyDraft::new(name).on(EventType::PushArtifact), PolicyDraft::target)
        };
        let mut policies = Vec::new();
        for (name, targets) in [("one", &["a", "b"][..]), ("two", &["c"]), ("fickle", &["d"])] {
            policies.push(nodes[0].policies().create(PROJECT, draft(name, targets)).await.unwrap());
        }
        let fickle = policies.pop().unwrap();
        let running = vec![None, None];
        Self { random, store, receivers, nodes, running, policies, fickle, promised: Vec::new(), crashes: 0 }
    }

    async fn step(&mut self) {
        let node = self.random.below(2) as usize;
        match self.random.below(12) {
            0..=5 => self.notify(node).await,
            6 => self.crash(node),
            7 => self.enable(node).await,
            _ => {}
        }
        if self.running[node].is_none() && !self.random.one_in(3) {
            self.start(node);
        }
        tokio::time::sleep(self.random.up_to(Duration::from_secs(3))).await;
        assert!(self.receivers.most_at_once() <= IN_FLIGHT as usize, "a lane exceeded its limit");
    }

    /// Told twice now and then, as a host does that got no answer.
    async fn notify(&mut self, node: usize) {
        let event = push();
        let mut taken = self.nodes[node].notify(&event).await;
        if taken.is_err() || self.random.one_in(5) {
            taken = self.nodes[1 - node].notify(&event).await.or(taken);
        }
        match taken {
            Ok(Notified::Queued | Notified::Duplicate) => self.promised.push(event),
            Ok(other) => panic!("two policies want the event: {other:?}"),
            Err(_) => {}
        }
    }

    async fn enable(&mut self, node: usize) {
        let on = !self.random.one_in(2);
        let mut draft = PolicyDraft::new("fickle").on(EventType::PushArtifact).enabled(on);
        draft.targets.push(self.fickle.targets[0].target.clone());
        // The policy is changed; opening its lanes at once may fail.
        let _ = self.nodes[node].policies().replace(self.fickle.id, draft).await;
    }

    fn start(&mut self, node: usize) {
        let hooks = self.nodes[node].clone();
        let run = async move { hooks.run(std::future::pending::<()>()).await.unwrap() };
        self.running[node] = Some(tokio::spawn(run));
    }

    /// The process ends, wherever it is.
    fn crash(&mut self, node: usize) {
        if let Some(running) = self.running[node].take() {
            assert!(!running.is_finished(), "a dispatcher ended by itself");
            running.abort();
            self.crashes += 1;
        }
    }

    /// Nothing fails any more: everything must come to its end.
    async fn settle_down(&mut self) {
        self.store.faults.store(false, Ordering::Relaxed);
        let mut draft = PolicyDraft::new("fickle").on(EventType::PushArtifact);
        draft.targets.push(self.fickle.targets[0].target.clone());
        self.nodes[0].policies().replace(self.fickle.id, draft).await.unwrap();
        (0..2)
            .filter(|node| self.running[*node].is_none())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|node| self.start(node));
        for _ in 0..3600 {
            let status = self.store.status().await.unwrap();
            if status.outbox == 0 && status.waiting == 0 {
                return;
            }
            // Receivers go on failing now and then, and their lanes are closed for up to half an hour each time.
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        panic!("days later there is still work: {:?}", self.store.status().await);
    }

    async fn check(&self) {
        for event in &self.promised {
            let deliveries = self.store.list(&Filter::event(event.id), Page::first(10)).await.unwrap();
            for policy in &self.policies {
                for target in &policy.targets {
                    let reached = deliveries.iter().filter(|delivery| delivery.target_id == target.id).count();
                    assert_eq!(reached, 1, "{} has {reached} deliveries for {:?}", event.id, target.target.address);
                }
            }
        }
        for delivery in self.store.list(&Filter::all(), Page::first(10_000)).await.unwrap() {
            let detail = self.store.detail(delivery.id).await.unwrap().unwrap();
            let id = detail.body.as_ref().unwrap().id.to_string();
            let targets = self.policies.iter().chain([&self.fickle]).flat_map(|policy| &policy.targets);
            let target = targets.into_iter().find(|target| target.id == delivery.target_id).unwrap();
            let taken = self.receivers.taken(target.target.address.expose(), &id);
            let successes = detail.attempts.iter().filter(|attempt| attempt.outcome.is_success()).count();
            assert_eq!(detail.attempts.len(), delivery.attempts as usize);
            match delivery.state {
                State::Delivered => assert!(successes == 1 && taken > 0, "{delivery:?}"),
                State::Dead(DeadReason::Exhausted) => {
                    assert_eq!((successes, delivery.attempts), (0, MAX_RETRIES + 1), "{delivery:?}");
                }
                State::Dead(DeadReason::Poison) => assert!(self.crashes > 0, "{delivery:?}"),
                _ => panic!("{delivery:?}"),
            }
        }
    }
}

fn settings() -> Settings {
    let mut settings = Settings::harbor();
    settings.retry.max_retries = MAX_RETRIES;
    let delays = [1, 2, 10].map(Duration::from_secs).to_vec();
    settings.retry.schedule = Schedule::Delays { delays, jitter: 0.3 };
    settings.lane = LaneLimits::new(1000, IN_FLIGHT);
    settings.max_in_flight = 5;
    settings.retention.finished_per_policy = 10_000;
    settings
}

fn simulate(seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut simulation = Simulation::new(seed).await;
        for _ in 0..STEPS {
            simulation.step().await;
        }
        simulation.settle_down().await;
        simulation.check().await;
    });
}

#[test]
fn whatever_fails_every_promise_is_kept() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = number("SIMULATION_SEED") {
        return simulate(seed);
    }
    for seed in 0..number("SIMULATIONS").unwrap_or(100) {
        let simulated = std::panic::catch_unwind(|| simulate(seed));
        assert!(simulated.is_ok(), "replay with SIMULATION_SEED={seed}");
    }
}
