//! Processes that are killed or frozen in the middle of their work.
//!
//! `CRASH_ROUNDS` says how often one is killed: 30 by default, more in `.ci/long`.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::running_bridge::Bridge;
use crate::support::receiver::{Receiver, Seen};

/// Programs that report events at the same time.
const PRODUCERS: usize = 4;
/// Attempts under way at once to one target.
const IN_FLIGHT: usize = 4;
/// Projects that are killed under load, with one target each: a lane stands still until the leases of a node that was killed run
/// out, and more than 10,000 deliveries that wait in one would be given up.
const PROJECTS: usize = 8;
/// How long nothing may arrive, of what is missing, when nothing fails any more: leases of a minute must run out.
const PATIENCE: Duration = Duration::from_secs(150);

fn rounds() -> usize {
    std::env::var("CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(30)
}

/// A policy for each of so many projects.
fn policies(dir: &Path, projects: usize, urls: &[&str]) -> String {
    let targets: Vec<_> = urls.iter().map(|url| serde_json::json!({"type": "http", "address": url})).collect();
    let policy = |n| {
        serde_json::json!({
            "project_id": 2 + n, "name": "all", "enabled": true, "event_types": ["PUSH_ARTIFACT"], "targets": targets,
        })
    };
    let file = dir.join("policies.json");
    std::fs::write(&file, serde_json::Value::from_iter((0..projects).map(policy)).to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

fn body(tag: usize) -> String {
    serde_json::json!({
        "type": "PUSH_ARTIFACT", "occur_at": 1_700_000_000, "operator": "admin",
        "event_data": {
            "resources": [{"digest": "sha256:1", "tag": tag.to_string(), "resource_url": format!("hub/library/a:{tag}")}],
            "repository": {"repo_full_name": "library/a"},
        },
    })
    .to_string()
}

fn tag(seen: &Seen) -> usize {
    let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
    body["event_data"]["resources"][0]["tag"].as_str().unwrap().parse().unwrap()
}

/// Reports events to whatever bridge there is, and remembers those that were accepted.
#[derive(Default)]
struct Load {
    bridge: Mutex<Option<Arc<Bridge>>>,
    accepted: Mutex<Vec<usize>>,
    next: AtomicUsize,
    ended: AtomicBool,
}

impl Load {
    fn produce(&self) {
        while !self.ended.load(Ordering::Relaxed) {
            let bridge = self.bridge.lock().unwrap().clone();
            let Some(bridge) = bridge else {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            };
            let tag = self.next.fetch_add(1, Ordering::Relaxed);
            // The bridge may be killed at any moment: then there is no answer, and no promise.
            let path = format!("/projects/{}/events", 2 + tag % PROJECTS);
            if bridge.try_post(&path, &body(tag)).is_some_and(|(status, _)| status == 202) {
                self.accepted.lock().unwrap().push(tag);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Kills a bridge again and again under load, and gives what was accepted.
fn killed_under_load(dir: &Path, args: &[&str]) -> (Bridge, Vec<usize>) {
    let load = Load::default();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    std::thread::scope(|scope| {
        (0..PRODUCERS).for_each(|_| drop(scope.spawn(|| load.produce())));
        for _ in 0..rounds() {
            let bridge = Arc::new(Bridge::start(dir, args));
            *load.bridge.lock().unwrap() = Some(Arc::clone(&bridge));
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_millis(20 + (random >> 33) % 300));
            bridge.kill_9();
            *load.bridge.lock().unwrap() = None;
        }
        load.ended.store(true, Ordering::Relaxed);
    });
    (Bridge::start(dir, args), load.accepted.into_inner().unwrap())
}

fn arrive(receiver: &Receiver, accepted: &[usize]) -> Vec<Seen> {
    let mut missing: HashSet<usize> = accepted.iter().copied().collect();
    let (mut last, mut looked) = (Instant::now(), 0);
    while !missing.is_empty() {
        let (new, before) = (receiver.seen_after(looked), missing.len());
        looked += new.len();
        for seen in &new {
            missing.remove(&tag(seen));
        }
        last = if missing.len() < before { Instant::now() } else { last };
        assert!(last.elapsed() < PATIENCE, "{} of {} accepted events were lost", missing.len(), accepted.len());
        std::thread::sleep(Duration::from_millis(50));
    }
    receiver.seen()
}

/// Every attempt of an event has the same id and bytes, and there are no more of them than kills can explain.
fn check_repetitions(seen: &[Seen]) {
    let mut first: HashMap<usize, &Seen> = HashMap::new();
    let mut repeated = 0;
    for seen in seen {
        let known = *first.entry(tag(seen)).or_insert(seen);
        repeated += usize::from(!std::ptr::eq(known, seen));
        assert_eq!(known.header("webhook-id"), seen.header("webhook-id"));
        assert_eq!(known.body, seen.body);
    }
    assert!(repeated <= rounds() * IN_FLIGHT * PROJECTS, "{repeated} repetitions after {} kills", rounds());
    println!("{} events, {repeated} repetitions, {} kills", first.len(), rounds());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_accepted_event_is_lost_by_killing_the_process() {
    let receiver = Receiver::start(|_| 200).await;
    tokio::task::spawn_blocking(move || {
        let dir = tempfile::tempdir().unwrap();
        let file = policies(dir.path(), PROJECTS, &[&receiver.url]);
        let args = ["--store", "sqlite:webhooks.db", "--policies", &file, "--allow-network", "127.0.0.0/8"];
        let (_bridge, accepted) = killed_under_load(dir.path(), &args);
        assert!(accepted.len() > rounds(), "hardly anything was accepted");
        check_repetitions(&arrive(&receiver, &accepted));
    })
    .await
    .unwrap();
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn no_accepted_event_is_lost_by_killing_a_node() {
    use crate::support::postgres::{schema, url};
    let receiver = Receiver::start(|_| 200).await;
    tokio::task::spawn_blocking(move || {
        let (dir, schema) = (tempfile::tempdir().unwrap(), schema());
        let file = policies(dir.path(), PROJECTS, &[&receiver.url]);
        let network = ["--allow-network", "127.0.0.0/8", "--timeout", "500ms"];
        let args = [&["--store", url(), "--schema", &schema, "--policies", &file], &network[..]].concat();
        let (_bridge, accepted) = killed_under_load(dir.path(), &args);
        assert!(accepted.len() > rounds(), "hardly anything was accepted");
        check_repetitions(&arrive(&receiver, &accepted));
    })
    .await
    .unwrap();
}

/// A node that stops for longer than its leases last finds its deliveries taken by others when it goes on.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_cannot_settle_what_others_have_taken_over() {
    use crate::support::postgres::{schema, url};
    use harbor_webhook::delivery::State;
    use harbor_webhook::store::{DeliveryStore, Filter, Page, PostgresStore};

    let receiver = Receiver::slow(Duration::from_millis(100)).await;
    let schema = schema();
    let store = PostgresStore::connect(url(), &schema).unwrap();
    let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let urls: Vec<String> = (0..8).map(|n| format!("{}/{n}", receiver.url)).collect();
    let seen = receiver.clone();
    let nodes = tokio::task::spawn_blocking(move || {
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let file = policies(dirs[0].path(), 1, &urls);
        let network = ["--allow-network", "127.0.0.0/8", "--timeout", "1s"];
        let args = [&["--store", url(), "--schema", &schema, "--policies", &file], &network[..]].concat();
        let nodes: Vec<Bridge> = dirs.iter().map(|dir| Bridge::start(dir.path(), &args)).collect();
        for n in 0..40 {
            assert_eq!(nodes[n % 4].post("/projects/2/events", "", &body(n)).0, 202);
        }
        while seen.seen().len() < 40 {
            std::thread::sleep(Duration::from_millis(5));
        }
        nodes[0].signal("STOP");
        // Longer than its leases of deliveries, which last 31 seconds.
        std::thread::sleep(Duration::from_secs(35));
        nodes[0].signal("CONT");
        (nodes, dirs)
    })
    .await
    .unwrap();
    let begun = Instant::now();
    let done = || receiver.seen().iter().map(|seen| (seen.path.clone(), tag(seen))).collect::<HashSet<_>>().len();
    while done() < 320 || store.status().await.unwrap().waiting > 0 {
        assert!(begun.elapsed() < PATIENCE, "{} of 320 have arrived", done());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The newest of them are still listed. What the frozen node settles now changes none of them.
    let all = store.list(&Filter::all(), Page::first(1000)).await.unwrap();
    assert!(all.iter().all(|delivery| delivery.state == State::Delivered), "{all:?}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let status = store.status().await.unwrap();
    assert_eq!((status.waiting, status.dead, status.parked), (0, 0, 0));
    let ids: HashSet<_> = receiver.seen().iter().map(|seen| seen.header("webhook-id").unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 40);
    drop(nodes);
}
