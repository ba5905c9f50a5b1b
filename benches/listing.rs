//! What a page of a long history costs: `cargo bench --bench listing [sqlite|postgres]`.
//!
//! A page of 50 deliveries and how many there are in all must not cost more because there are many. PostgreSQL needs
//! `--features postgres`, and `HARBOR_WEBHOOK_TEST_POSTGRES` to name a server.

mod support;

use std::time::Instant;

use bytes::Bytes;
use harbor_webhook::policy::Policy;
use harbor_webhook::store::{
    Body, ClaimedEvent, FanOut, Filter, LaneLimits, NewDelivery, Next, Page, Settlement, StateKind,
};
use support::Result;
use support::measure::{Goal, Sides, print_load};
use support::scene::{self, LEASE, Store};
use tokio::task::JoinSet;
use uuid::Uuid;

const ROUNDS: usize = 9;
/// Pages asked for in one round.
const ASKED: usize = 100;
const PAGE: usize = 50;
const LONG: usize = 100_000;
const SHORT: usize = 100;
/// Events that are appended, and deliveries that are settled, at once.
const BATCH: usize = 500;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    print_load("begin");
    if "sqlite".contains(&wanted) {
        let (store, _folder) = scene::sqlite().await?;
        listing("SQLite", store).await?;
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
    let schema = scene::Schema::new(&url);
    listing("PostgreSQL", schema.store().await?).await?;
    schema.drop().await
}

#[cfg(not(feature = "postgres"))]
async fn postgres() -> Result<()> {
    println!("PostgreSQL: left out; build with --features postgres");
    Ok(())
}

/// A policy with 100,000 deliveries beside one with 100, in one store. Nine in ten have been delivered.
async fn listing<S: Store>(name: &str, store: S) -> Result<()> {
    let address = ["http://127.0.0.1:9/".to_owned()];
    let policies = scene::subscribe(&store, 1, 2, &address).await?;
    let [long, short] = &policies[..] else { return Err("two policies were made".into()) };
    fill(&store, long, LONG).await?;
    fill(&store, short, SHORT).await?;
    settle(&store, LONG / 10 * 9).await?;
    let delivered = |policy: &Policy| Filter::policy(policy.id).state(StateKind::Delivered);
    let all = |policy: &Policy| Filter::policy(policy.id);
    for (what, which) in [("deliveries", &all as &dyn Fn(&Policy) -> Filter), ("delivered ones", &delivered)] {
        let mut sides = Sides::default();
        for _ in 0..ROUNDS {
            sides.push(ask(&store, &which(long), true).await?, ask(&store, &which(short), false).await?);
        }
        let name = format!("50 of 100,000 {what}, and how many / of 100, {name}");
        sides.print(&name, "us each", Goal::AtMost(2.0));
    }
    Ok(())
}

/// Microseconds for a page and the count.
async fn ask<S: Store>(store: &S, which: &Filter, long: bool) -> Result<f64> {
    let begun = Instant::now();
    for _ in 0..ASKED {
        let (page, count) = (store.list(which, Page::first(PAGE)).await?, store.count(which).await?);
        if page.len() != PAGE || (count > LONG as u64 / 2) != long {
            return Err(format!("{} of {count} were listed", page.len()).into());
        }
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / ASKED as f64)
}

/// Adds a delivery of each of `events` new events, many at once.
async fn fill<S: Store>(store: &S, policy: &Policy, events: usize) -> Result<()> {
    for _ in 0..events.div_ceil(BATCH) {
        let events = (0..BATCH.min(events)).map(|_| scene::push(policy.project_id)).collect::<Result<Vec<_>>>()?;
        store.append(&events).await?;
        let mut parts = JoinSet::new();
        for claimed in store.claim_events(events.len(), LEASE).await? {
            let (store, policy) = (store.clone(), policy.clone());
            parts.spawn(async move { fan_out(&store, &policy, &claimed).await });
        }
        while let Some(part) = parts.join_next().await {
            part??;
        }
    }
    Ok(())
}

async fn fan_out<S: Store>(store: &S, policy: &Policy, claimed: &ClaimedEvent) -> Result<()> {
    let id = Uuid::now_v7();
    let mut part = FanOut::default();
    part.bodies.push(Body::new(id, "Default", "application/json", Bytes::from(vec![b'x'; 700])));
    let lane = LaneLimits::new(u32::MAX, u32::MAX);
    part.deliveries.extend(policy.targets.iter().map(|target| NewDelivery::new(policy.id, target, Ok(id), lane)));
    part.last = true;
    store.fan_out(&claimed.lease, part).await?;
    Ok(())
}

/// Delivers at least so many.
async fn settle<S: Store>(store: &S, count: usize) -> Result<()> {
    let mut done = 0;
    while done < count {
        let claimed = store.claim(BATCH, LEASE).await?;
        done += claimed.len();
        let delivered = |lease| Settlement::new(lease, Next::Delivered).attempt(scene::answered());
        store.settle(claimed.iter().map(|claimed| delivered(claimed.lease)).collect()).await?;
    }
    Ok(())
}
