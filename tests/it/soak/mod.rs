//! Steady load for as long as `SOAK_SECONDS` says, with one attempt in twenty that fails: nothing is lost, no retry is late,
//! and nothing grows.
//!
//! Plain `cargo test` soaks for a few seconds, which proves the harness; `.ci/long` for ten minutes. A whole day is
//! `SOAK_SECONDS=86400 SOAK_RATE=1000 cargo test --release --features postgres --test it -- --nocapture soak`.

mod growth;
mod receiver;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use harbor_webhook::delivery::retry::Schedule;
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{LaneLimits, SqliteStore};
use harbor_webhook::{EventType, Notified, Settings, Webhooks};

use crate::support::events::{PROJECT, numbered};
use crate::support::sending::{Running, loopback};
use growth::{Growth, Sizes};
use receiver::Receiver;

/// The pause before the second attempt.
const RETRY: Duration = Duration::from_secs(1);
/// How late it may be when nothing but the soak is tested.
const LATE: Duration = Duration::from_secs(2);
/// The same in a short one, which is one of many tests at once. The figure is printed.
const LATE_AMONG_OTHERS: Duration = Duration::from_secs(15);
/// How long the last ones may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at what has grown.
const LOOK: Duration = Duration::from_secs(1);
/// What the process that soaks works on: a folder, or a schema on the server of the URL.
const FOLDER: &str = "SOAK_FOLDER";
#[cfg(feature = "postgres")]
const SCHEMA: &str = "SOAK_SCHEMA";
#[cfg(feature = "postgres")]
const SERVER: &str = "SOAK_SERVER";

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |number| number.parse().expect("a number"))
}

fn settings() -> Settings {
    let mut settings = Settings::harbor();
    settings.retry.schedule = Schedule::Delays { delays: vec![RETRY], jitter: 0.0 };
    settings.lane = LaneLimits::new(10_000, 32);
    // What is remembered for a day would grow for a day.
    settings.retention.event_ids = Duration::from_secs(10);
    settings
}

/// The process that soaks: no other test shares its memory and its descriptors.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_soaks() {
    let variable = |name| std::env::var(name).ok();
    if let Some(folder) = variable(FOLDER) {
        let store = SqliteStore::open(Path::new(&folder).join("webhooks.db")).await.unwrap();
        store.migrate().await.unwrap();
        let hooks = Webhooks::builder(store, loopback()).settings(settings()).build().unwrap();
        soak(&hooks, &growth::Sqlite(folder.into())).await;
    }
    #[cfg(feature = "postgres")]
    if let (Some(url), Some(schema)) = (variable(SERVER), variable(SCHEMA)) {
        let store = harbor_webhook::store::PostgresStore::connect(&url, &schema).unwrap();
        store.migrate().await.unwrap();
        let hooks = Webhooks::builder(store, loopback()).settings(settings()).build().unwrap();
        soak(&hooks, &growth::Postgres::connect(&url, schema).await).await;
    }
}

async fn soak(hooks: &Webhooks, sizes: &impl Sizes) {
    let (seconds, rate) = (number("SOAK_SECONDS", 5), number("SOAK_RATE", 50));
    let receiver = Receiver::start(RETRY).await;
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http(&receiver.url).unwrap());
    hooks.policies().create(PROJECT, draft).await.unwrap();
    let running = Running::start(hooks);
    let end = Instant::now() + Duration::from_secs(seconds.into());
    let load = produce(hooks, &receiver, rate, end);
    let ((), growth) = tokio::join!(load, watch(sizes, end));
    let begun = Instant::now();
    while receiver.missing() > 0 {
        assert!(begun.elapsed() < PATIENCE, "{} events were lost", receiver.missing());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.stop().await;
    println!("{}\n{growth}", receiver.summary());
    let soaked = Duration::from_secs(seconds.into());
    let late = if soaked < growth::LONG_ENOUGH { LATE_AMONG_OTHERS } else { LATE };
    assert!(receiver.latest() < late, "a retry was {:?} late", receiver.latest());
    growth.check(soaked);
}

async fn produce(hooks: &Webhooks, receiver: &Receiver, rate: u32, end: Instant) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut calls = tokio::task::JoinSet::new();
    for number in 0.. {
        ticks.tick().await;
        if Instant::now() > end {
            break;
        }
        receiver.expect(number);
        let (hooks, receiver) = (hooks.clone(), receiver.clone());
        calls.spawn(async move {
            let begun = Instant::now();
            let notified = hooks.notify(&numbered(number)).await;
            receiver.accepted(begun.elapsed());
            notified
        });
        while let Some(done) = calls.try_join_next() {
            assert_eq!(done.unwrap().unwrap(), Notified::Queued);
        }
    }
    for done in calls.join_all().await {
        assert_eq!(done.unwrap(), Notified::Queued);
    }
}

async fn watch(sizes: &impl Sizes, end: Instant) -> Growth {
    let mut growth = Growth::default();
    while Instant::now() < end {
        tokio::time::sleep(LOOK).await;
        growth.look(sizes).await;
    }
    growth
}

/// Runs the process that soaks, and passes on what it says.
fn succeeds(variables: &[(&str, &str)]) {
    let mut process = Command::new(std::env::current_exe().unwrap());
    process.args(["soak::a_process_that_soaks", "--exact", "--nocapture"]).envs(variables.iter().copied());
    let done = process.output().unwrap();
    let said = [done.stdout, done.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(done.status.success() && said[0].contains("lost 0"), "{}", said.join("\n"));
    println!("{}", said[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_stays_as_it_is_under_load() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(&[(FOLDER, folder.path().to_str().unwrap())]);
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn postgres_stays_as_it_is_under_load() {
    use crate::support::postgres::{schema, url};
    succeeds(&[(SERVER, url()), (SCHEMA, &schema())]);
}
