//! What a backlog costs: `cargo bench --bench backlog [memory|sqlite|postgres]`.
//!
//! Claiming and settling must not depend on how much waits, nor on dead targets with long queues. `BACKLOG_ROWS` is the size of
//! the large backlog, a million by default. PostgreSQL needs `--features postgres`, and `HARBOR_WEBHOOK_TEST_POSTGRES` to name a
//! server.

mod support;

use std::time::{Duration, Instant};

use harbor_webhook::policy::Policy;
use harbor_webhook::store::{Claimed, Hold, Next, Settlement};
use support::Result;
use support::measure::{Cost, Goal, Meter, Sides, median, print_goal, print_load, rss};
use support::scene::{self, LEASE, Store};

const ROUNDS: usize = 5;
/// Deliveries claimed and settled at once.
const BATCH: usize = 64;
/// Batches in one round.
const BATCHES: usize = 30;
/// Targets, of which one in a hundred is dead in one of the cases.
const TARGETS: i64 = 10_000;
const DEAD: i64 = 100;
/// What waits for each dead target.
const DEAD_WAITING: usize = 1000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    print_load("begin");
    if "memory".contains(&wanted) {
        dead_targets("memory", scene::memory(), scene::memory()).await?;
    }
    if "sqlite".contains(&wanted) {
        let ((with, _one), (without, _other)) = (scene::sqlite().await?, scene::sqlite().await?);
        dead_targets("SQLite", with, without).await?;
        let ((short, _one), (long, _other)) = (scene::sqlite().await?, scene::sqlite().await?);
        depth("SQLite", short, long, Cost::cpu_each).await?;
    }
    if "postgres".contains(&wanted) {
        postgres().await?;
    }
    print_load("end");
    Ok(())
}

#[cfg(feature = "postgres")]
async fn postgres() -> Result<()> {
    let Ok(url) = std::env::var("HARBOR_WEBHOOK_TEST_POSTGRES") else {
        println!("PostgreSQL: left out; HARBOR_WEBHOOK_TEST_POSTGRES names no server");
        return Ok(());
    };
    let schemas = [(); 4].map(|()| scene::Schema::new(&url));
    let [with, without, short, long] = &schemas;
    dead_targets("PostgreSQL", with.store().await?, without.store().await?).await?;
    depth("PostgreSQL", short.store().await?, long.store().await?, Cost::all_cpu_each).await?;
    for schema in schemas {
        schema.drop().await?;
    }
    Ok(())
}

#[cfg(not(feature = "postgres"))]
async fn postgres() -> Result<()> {
    println!("PostgreSQL: left out; build with --features postgres");
    Ok(())
}

fn address() -> Vec<String> {
    vec!["http://127.0.0.1:9/".to_owned()]
}

/// 10,000 targets, of which 100 are dead and have 1,000 deliveries each, beside 9,900 that are alive.
async fn dead_targets<S: Store>(name: &str, with: S, without: S) -> Result<()> {
    let alive = scene::subscribe(&with, 1, TARGETS - DEAD, &address()).await?;
    let dead = scene::subscribe(&with, TARGETS, DEAD, &address()).await?;
    for policy in &dead {
        scene::fill(&with, std::slice::from_ref(policy), DEAD_WAITING, 4).await?;
    }
    close(&with, dead.len()).await?;
    let others = scene::subscribe(&without, 1, TARGETS - DEAD, &address()).await?;
    let (mut claims, mut rate) = (Sides::default(), Sides::default());
    for _ in 0..ROUNDS {
        let ours = drain(&with, &alive).await?;
        let theirs = drain(&without, &others).await?;
        claims.push(ours.claim_us, theirs.claim_us);
        rate.push(ours.rate, theirs.rate);
    }
    claims.print(&format!("claim with 100 dead targets / without, {name}"), "us each", Goal::AtMost(2.0));
    rate.print(&format!("live targets' rate with 100 dead ones / without, {name}"), "a second", Goal::AtLeast(0.9));
    Ok(())
}

/// Closes the lanes of everything that waits: their receivers failed.
async fn close<S: Store>(store: &S, lanes: usize) -> Result<()> {
    let mut closed = std::collections::HashSet::new();
    while closed.len() < lanes {
        let claimed = store.claim(BATCH, LEASE).await?;
        closed.extend(claimed.iter().map(|claimed| claimed.target_id));
        let failed = |claimed: &Claimed| {
            Settlement::new(claimed.lease, Next::Retry(Duration::ZERO)).close_lane(LEASE, Hold::RetryAfter)
        };
        store.settle(claimed.iter().map(failed).collect()).await?;
    }
    Ok(())
}

struct Drained {
    claim_us: f64,
    rate: f64,
}

/// Adds a delivery for each of some of the live targets, and claims and settles them.
async fn drain<S: Store>(store: &S, alive: &[Policy]) -> Result<Drained> {
    scene::fill(store, &alive[..BATCH * BATCHES], 1, 4).await?;
    let mut claims = Vec::new();
    let (mut done, begun) = (0, Instant::now());
    while done < BATCH * BATCHES {
        let at = Instant::now();
        let claimed = store.claim(BATCH, LEASE).await?;
        claims.push(at.elapsed().as_secs_f64() * 1e6);
        done += claimed.len();
        store.settle(claimed.iter().map(|claimed| Settlement::new(claimed.lease, Next::Delivered)).collect()).await?;
    }
    Ok(Drained { claim_us: median(&mut claims), rate: done as f64 / begun.elapsed().as_secs_f64() })
}

/// A short and a long backlog.
async fn depth<S: Store>(name: &str, short: S, long: S, each: fn(&Cost) -> f64) -> Result<()> {
    let large = std::env::var("BACKLOG_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000);
    let small = 10_000;
    for (store, rows) in [(&short, small), (&long, large)] {
        // A thousand targets, and as many events as it takes. Bodies are shared, as intake shares them.
        let policies = scene::subscribe(store, 1, 1000, &address()).await?;
        scene::fill(store, &policies, rows / 1000, 4).await?;
        if rows == small {
            claim_and_settle(store, each).await?;
        }
    }
    let before = rss()?;
    let mut sides = Sides::default();
    for _ in 0..ROUNDS {
        sides.push(claim_and_settle(&long, each).await?, claim_and_settle(&short, each).await?);
    }
    let grown = rss()? - before;
    sides.print(&format!("claim and settle with {large} waiting / 10,000, {name}: CPU"), "us each", Goal::AtMost(1.5));
    let detail = format!("from {before:.0} MiB");
    print_goal(&format!("RSS grown by working on {large} waiting, {name}, MiB"), grown, &detail, Goal::AtMost(16.0));
    Ok(())
}

/// Microseconds of CPU for each. Everything is due again at once, so that the backlog stays as it is.
async fn claim_and_settle<S: Store>(store: &S, each: fn(&Cost) -> f64) -> Result<f64> {
    let meter = Meter::start()?;
    let mut done = 0;
    for _ in 0..BATCHES {
        let claimed = store.claim(BATCH, LEASE).await?;
        done += claimed.len();
        let again = |claimed: &Claimed| Settlement::new(claimed.lease, Next::Retry(Duration::ZERO));
        store.settle(claimed.iter().map(again).collect()).await?;
    }
    Ok(each(&meter.stop(done)?))
}
