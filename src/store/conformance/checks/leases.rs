use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::delivery::{DeadReason, State};
use crate::store::conformance::sentences::*;
use crate::store::conformance::setup::*;
use crate::store::conformance::{Broken, Factory};
use crate::store::{Change, DeliveryStore, Fenced, Filter, Hold, LaneLimits, Lease, Next, Settlement};

/// A lease that ran out settles nothing, whether or not somebody else has the delivery by then.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn a_lost_lease_settles_nothing<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 1).await?;
    let id = world.deliver_one().await?.id;
    let first = world.claim(LANES, MOMENT).await?;
    pause(LATER).await;
    let late =
        |lease| Settlement::new(lease, Next::Delivered).attempt(refusal("late")).close_lane(LONG, Hold::Disabled);
    promise_eq!(STALE, world.settle_with(late(first.lease)).await?, Fenced::Stale, "a lease that ran out");
    let second = world.claim(LOSSES, LONG).await?;
    promise_eq!(LOSSES, second.id, id, "the delivery whose lease ran out");
    promise!(TOKENS, second.lease != first.lease, "one lease came twice: {:?}", second.lease);
    promise_eq!(LOSSES, second.attempts, 0, "attempts of a delivery that lost a lease");
    promise_eq!(
        STALE,
        world.settle_with(late(first.lease)).await?,
        Fenced::Stale,
        "a lease that somebody else has now"
    );
    promise_eq!(STALE, world.state(id).await?, State::Leased, "the state after stale settlements");
    promise_eq!(STALE, world.detail(id).await?.attempts.len(), 0, "attempts written by stale settlements");
    let closed = world.status(|status| status.closed_lanes.is_empty()).await?.closed_lanes;
    promise_eq!(STALE, closed.len(), 0, "lanes closed by stale settlements");
    promise_eq!(SETTLED, world.settle(second.lease, Next::Delivered).await?, Fenced::Done, "the lease that is good");
    promise_eq!(SETTLED, world.state(id).await?, State::Delivered, "the state after it");
    Ok(())
}

/// A token of another delivery, an invented one and a used one settle nothing; good ones beside them do.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn forgeries_and_replays_settle_nothing<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 2).await?;
    world.deliver(&[0, 1], lane()).await?;
    let claimed = world.claim_some(2).await?;
    let (a, b) = (claimed[0].lease, claimed[1].lease);
    let forged = [
        Lease::new(a.key, a.token.wrapping_add(1)),
        Lease::new(a.key, 0),
        Lease::new(a.key.wrapping_add(1_000_000), a.token),
    ];
    let swapped = if a.token == b.token { forged[0] } else { Lease::new(a.key, b.token) };
    for lease in forged.into_iter().chain([swapped]) {
        let fenced = world.settle(lease, Next::Delivered).await?;
        promise!(STALE, fenced == Fenced::Stale, "{lease:?} was good, where {a:?} was given");
    }
    let mixed = vec![
        Settlement::new(forged[0], Next::Delivered),
        Settlement::new(b, Next::Dead(DeadReason::Exhausted, None)).attempt(refusal("b")),
        Settlement::new(a, Next::Delivered),
        Settlement::new(a, Next::Dead(DeadReason::Exhausted, None)).attempt(refusal("again")),
    ];
    let right = [Fenced::Stale, Fenced::Done, Fenced::Done, Fenced::Stale];
    promise_eq!(SETTLED, world.store.settle(mixed.clone()).await?, right, "good and stale settlements in one call");
    promise_eq!(STALE, world.store.settle(mixed).await?, [Fenced::Stale; 4], "the same settlements again");
    promise_eq!(STALE, world.state(claimed[0].id).await?, State::Delivered, "a delivery that was settled twice");
    let attempts = world.detail(claimed[1].id).await?.attempts.len();
    promise_eq!(STALE, attempts, 1, "attempts of a delivery whose settlement came twice");
    Ok(())
}

/// The fifth lost lease ends a delivery; redelivering it counts from the start.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn five_lost_leases_are_poison<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 1).await?;
    let id = world.deliver_one().await?.id;
    for round in 0..2 {
        let mut tokens = HashSet::new();
        for _ in 0..5 {
            let claimed = world.claim(LOSSES, MOMENT).await?;
            promise!(TOKENS, tokens.insert(claimed.lease.token), "one token came twice: {}", claimed.lease.token);
            pause(LATER).await;
        }
        world.claims_nothing(LOSSES, "after it lost its lease five times").await?;
        promise_eq!(LOSSES, world.state(id).await?, State::Dead(DeadReason::Poison), "the state after five losses");
        let waiting = world.status(|status| status.waiting == 0).await?.waiting;
        promise_eq!(LOSSES, waiting, 0, "deliveries that wait after five losses");
        if round == 0 {
            promise_eq!(REDELIVER, world.change(id, Change::Redeliver).await?, 1, "deliveries redelivered");
        }
    }
    Ok(())
}

/// Sixteen tasks that claim at once get every delivery once, and no lane is ever over its limit.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn sixteen_claimers_lose_nothing<F: Factory>(factory: &F) -> Result<(), Broken> {
    const LANES_OF: usize = 8;
    const EVENTS: usize = 25;
    let world = World::new(factory, LANES_OF).await?;
    let everyone: Vec<usize> = (0..LANES_OF).collect();
    for _ in 0..EVENTS {
        world.deliver(&everyone, LaneLimits::new(1000, 3)).await?;
    }
    let flying: Arc<std::sync::Mutex<HashSet<_>>> = Arc::default();
    let tasks: Vec<_> = (0..16).map(|_| tokio::spawn(drain(Arc::clone(&world.store), Arc::clone(&flying)))).collect();
    let (mut seen, mut count) = (HashSet::new(), 0);
    for task in tasks {
        let ids = task.await.map_err(|e| Broken::new("", format!("a task panicked: {e}")))??;
        count += ids.len();
        seen.extend(ids);
    }
    promise!(TOGETHER, count == seen.len(), "sixteen claimers settled {} deliveries {count} times", seen.len());
    promise_eq!(TOGETHER, seen.len(), LANES_OF * EVENTS, "deliveries settled by sixteen claimers");
    let open = world.list(&Filter::all()).await?.iter().filter(|d| d.state != State::Delivered).count();
    promise_eq!(TOGETHER, open, 0, "deliveries left over by sixteen claimers");
    Ok(())
}

/// Claims and settles until nothing comes any more.
async fn drain<S: DeliveryStore>(
    store: Arc<S>,
    flying: Arc<std::sync::Mutex<HashSet<crate::id::DeliveryId>>>,
) -> Result<Vec<crate::id::DeliveryId>, Broken> {
    let held = || flying.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (mut done, mut idle) = (Vec::new(), 0);
    while idle < 5 {
        let claimed = store.claim(4, LONG).await?;
        idle = if claimed.is_empty() { idle + 1 } else { 0 };
        for claimed in &claimed {
            let twice = !held().insert(claimed.id);
            promise!(TOGETHER, !twice, "two claimers had delivery {} at one time", claimed.id);
        }
        tokio::task::yield_now().await;
        let results: Vec<_> = claimed.iter().map(|c| Settlement::new(c.lease, Next::Delivered)).collect();
        for claimed in &claimed {
            held().remove(&claimed.id);
        }
        if claimed.is_empty() {
            pause(Duration::from_millis(4)).await;
            continue;
        }
        let fenced = store.settle(results).await?;
        promise!(TOGETHER, fenced.iter().all(|f| *f == Fenced::Done), "a lease that runs was stale: {fenced:?}");
        done.extend(claimed.iter().map(|claimed| claimed.id));
    }
    Ok(done)
}
