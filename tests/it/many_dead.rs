//! Ten thousand targets of which one in a hundred is dead, with a long queue each: the others do not wait for them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use harbor_webhook::delivery::breaker::{Breaker, Verdict};
use harbor_webhook::policy::{Policy, PolicyDraft, Target};
use harbor_webhook::store::{
    Body, Claimed, FanOut, LaneLimits, MemoryStore, NewDelivery, Next, PolicyStore, Settlement,
};
use harbor_webhook::{EventType, ProjectId, Settings, TargetId, Webhooks};
use uuid::Uuid;

use crate::support::events::push_to;
use crate::support::sending::{Running, loopback};
use crate::support::simulated::{Answer, Call, Simulated};
use crate::support::stores::{Fresh, on_every_store};

on_every_store!(each_live_target_has_its_turn_and_dead_ones_have_no_more);

/// Targets of one policy.
pub(crate) const EACH: usize = 100;
/// Where the dead ones are.
const GRAVEYARD: ProjectId = ProjectId(1_000_000);
const MINUTE: Duration = Duration::from_secs(60);
/// The share of what can be under way that dead targets may take.
const SHARE: f64 = 0.05;

/// A policy of this project, whose targets are hosts of this name and a number.
pub(crate) async fn subscribe(store: &impl PolicyStore, project: ProjectId, name: &str, targets: usize) -> Policy {
    let target = |n: usize| Target::http(&format!("http://{name}-{}-{n}.example.com/", project.0)).unwrap();
    let mut draft = PolicyDraft::new("ci").on(EventType::PushArtifact);
    draft.targets = (0..targets).map(target).collect();
    store.create(project, draft).await.unwrap()
}

/// Policies of as many projects as it takes.
pub(crate) async fn subscribe_many(store: &impl PolicyStore, targets: usize) -> Vec<Policy> {
    let mut policies = Vec::new();
    for project in 1..=targets / EACH {
        policies.push(subscribe(store, ProjectId(project as i64), "live", EACH).await);
    }
    policies
}

/// Adds a delivery of one more event to each target, as intake does.
async fn fill(store: &impl Fresh, policies: &[Policy]) {
    const LEASE: Duration = Duration::from_secs(600);
    store.append(&[push_to(policies[0].project_id)]).await.unwrap();
    let lease = store.claim_events(1, LEASE).await.unwrap().remove(0).lease;
    let id = Uuid::now_v7();
    let all = policies.iter().flat_map(|policy| policy.targets.iter().map(move |target| (policy.id, target)));
    let limits = LaneLimits::new(10_000, 4);
    let mut all: Vec<_> = all.map(|(policy, target)| NewDelivery::new(policy, target, Ok(id), limits)).collect();
    while !all.is_empty() {
        let mut part = FanOut::default();
        part.bodies.push(Body::new(id, "Default", "application/json", Bytes::from_static(b"{}")));
        part.deliveries = all.split_off(all.len().saturating_sub(1000));
        part.last = all.is_empty();
        store.fan_out(&lease, part).await.unwrap();
    }
}

fn settle(claimed: &Claimed, dead: &HashSet<TargetId>) -> Settlement {
    if dead.contains(&claimed.target_id) {
        let settlement = Settlement::new(claimed.lease, Next::Retry(Duration::ZERO));
        settlement.verdict(Verdict::Failing, Breaker::off())
    } else {
        Settlement::new(claimed.lease, Next::Delivered).verdict(Verdict::Healthy, Breaker::off())
    }
}

/// Also before anybody knows that they are dead, and if nobody ever learned of it: with the breaker off.
async fn each_live_target_has_its_turn_and_dead_ones_have_no_more<S: Fresh>() {
    const AT_ONCE: usize = 64;
    let is_memory = std::any::type_name::<S>() == std::any::type_name::<MemoryStore>();
    // Stores on a disk take a while to be filled.
    let (live, dead, waiting) = if is_memory { (9_900, 100, 900) } else { (900, 10, 100) };
    let (store, _folder) = S::fresh().await;
    let graveyard = subscribe(&store, GRAVEYARD, "dead", dead).await;
    for _ in 0..waiting {
        fill(&store, std::slice::from_ref(&graveyard)).await;
    }
    let policies = subscribe_many(&store, live).await;
    fill(&store, &policies).await;
    let dead: HashSet<_> = graveyard.targets.iter().map(|target| target.id).collect();
    let mut reached = HashSet::new();
    let (mut claims, mut to_dead) = (0, 0);
    while reached.len() < live {
        let claimed = store.claim(AT_ONCE, Duration::from_secs(600)).await.unwrap();
        claims += 1;
        for claimed in &claimed {
            if dead.contains(&claimed.target_id) {
                to_dead += 1;
            } else {
                assert!(reached.insert(claimed.target_id), "a target had a second turn");
            }
        }
        let lanes = live + dead.len();
        assert!(claims <= lanes.div_ceil(AT_ONCE) + 1, "{} of {live} reached in {claims} claims", reached.len());
        store.settle(claimed.iter().map(|claimed| settle(claimed, &dead)).collect()).await.unwrap();
    }
    let share = to_dead as f64 / (claims * AT_ONCE) as f64;
    println!("{claims} claims; {to_dead} of {} slots to dead targets", claims * AT_ONCE);
    assert!(share <= SHARE, "dead targets take {share:.3} of the slots");
}

/// What became of a simulated time.
struct Shares {
    /// The longest time that a live target's delivery waited for its attempt.
    longest: Duration,
    /// The shares of attempts, and of the time that they can be under way, which went to dead targets.
    attempts: f64,
    time: f64,
}

/// A hundred dead targets, with a thousand deliveries each, are there from the beginning. After a quiet time each of the live
/// ones gets an event in each of these rounds, which is what the answer is about.
async fn beside_dead_ones(dead: Answer, quiet: Duration, rounds: usize, round: Duration) -> Shares {
    const LIVE: usize = 9_900;
    let live = Answer::new(200, Duration::from_millis(20));
    let receivers = Simulated::new(move |host, _| if host.starts_with("dead") { dead } else { live });
    let store = MemoryStore::with_bound(2_000_000).max_bytes(usize::MAX);
    let graveyard = subscribe(&store, GRAVEYARD, "dead", 100).await;
    for _ in 0..1000 {
        fill(&store, std::slice::from_ref(&graveyard)).await;
    }
    let policies = subscribe_many(&store, LIVE).await;
    let builder = Webhooks::builder(store, loopback()).settings(Settings::extended());
    let hooks = builder.transport(receivers.clone()).build().unwrap();
    let running = Running::start(&hooks);
    tokio::time::sleep(quiet).await;
    let (begun, mut told) = (receivers.now(), HashMap::<String, Vec<Duration>>::new());
    for _ in 0..rounds {
        for policy in &policies {
            for target in &policy.targets {
                told.entry(host(&target.target)).or_default().push(receivers.now());
            }
            hooks.notify(&push_to(policy.project_id)).await.unwrap();
            tokio::time::sleep(round / policies.len() as u32).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let took = receivers.now() - begun;
    running.stop().await;
    let calls: Vec<_> = receivers.all().into_iter().filter(|call| call.at >= begun).collect();
    let (longest, reached) = longest(&calls, &told);
    assert_eq!(reached, LIVE * rounds);
    let dead: Vec<_> = calls.iter().filter(|call| call.host.starts_with("dead")).collect();
    let settings = Settings::extended();
    let time: Duration = dead.iter().map(|call| call.answer.after.min(settings.timeout)).sum();
    let attempts = dead.len() as f64 / calls.len() as f64;
    let time = time.as_secs_f64() / (took.as_secs_f64() * settings.max_in_flight as f64);
    println!("dead: {attempts:.4} of the attempts, {time:.4} of the room; a live one waited for {longest:?} at most");
    Shares { longest, attempts, time }
}

pub(crate) fn host(target: &Target) -> String {
    target.address.expose().trim_start_matches("http://").trim_end_matches('/').to_owned()
}

/// How long a delivery waited for its attempt at most, and how many there were. A host gets its events in their order.
pub(crate) fn longest(calls: &[Call], told: &HashMap<String, Vec<Duration>>) -> (Duration, usize) {
    let (mut longest, mut reached) = (Duration::ZERO, HashMap::<&str, usize>::new());
    for call in calls {
        if let Some(told) = told.get(&call.host) {
            let nth = reached.entry(&call.host).or_default();
            longest = longest.max(call.at - told[*nth]);
            *nth += 1;
        }
    }
    (longest, reached.values().sum())
}

#[tokio::test(start_paused = true)]
async fn live_targets_do_not_wait_for_those_that_refuse_connections() {
    let refused = Answer::no_connection(Duration::from_millis(5));
    let shares = beside_dead_ones(refused, Duration::ZERO, 2, MINUTE).await;
    assert!(shares.attempts <= SHARE && shares.time <= SHARE, "{} and {}", shares.attempts, shares.time);
    assert!(shares.longest <= Duration::from_secs(1), "{:?}", shares.longest);
}

/// Each of them takes all of an attempt's time. Here their lanes are closed already, and they are tried now and then.
#[tokio::test(start_paused = true)]
async fn live_targets_do_not_wait_for_those_that_are_known_not_to_answer() {
    let hung = Answer::new(200, Duration::from_secs(60));
    // As long as the longest pause: in that time each of them is tried.
    let shares = beside_dead_ones(hung, 120 * MINUTE, 5, 6 * MINUTE).await;
    assert!(shares.attempts > 0.0);
    assert!(shares.attempts <= SHARE && shares.time <= SHARE, "{} and {}", shares.attempts, shares.time);
    assert!(shares.longest <= Duration::from_secs(1), "{:?}", shares.longest);
}

/// The worst: all of them hang, and nobody knows it yet.
#[tokio::test(start_paused = true)]
async fn live_targets_do_not_wait_for_those_that_never_answer() {
    let hung = Answer::new(200, Duration::from_secs(60));
    let shares = beside_dead_ones(hung, Duration::ZERO, 2, MINUTE).await;
    assert!(shares.longest <= Duration::from_secs(1), "{:?}", shares.longest);
}
