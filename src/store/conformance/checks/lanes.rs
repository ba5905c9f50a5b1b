use std::collections::HashMap;
use std::time::Duration;

use crate::id::PolicyId;
use crate::store::conformance::sentences::*;
use crate::store::conformance::setup::*;
use crate::store::conformance::{Broken, Factory};
use crate::store::{Change, DeliveryStore, Fenced, Filter, Hold, LaneLimits, Next, Page, Settlement};

/// A lane has no more in flight than its limit, as the last fan-out gave it; the others have theirs.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn a_lane_keeps_its_limits<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 2).await?;
    for _ in 0..6 {
        world.deliver(&[0], LaneLimits::new(100, 3)).await?;
    }
    world.deliver(&[1], lane()).await?;
    let claimed = world.store.claim(ALL, LONG).await?;
    let of = |n: usize| claimed.iter().filter(|claimed| claimed.policy_id == world.policies[n].id).count();
    promise_eq!(LANES, (of(0), of(1)), (3, 1), "claimed from a lane with room for three, and from one with one due");
    world.claims_nothing(LANES, "from a lane without room").await?;
    let first = claimed.iter().find(|claimed| claimed.policy_id == world.policies[0].id);
    let first = first.ok_or_else(|| Broken::new(LANES, "a lane with due deliveries was left out"))?;
    promise_eq!(SETTLED, world.settle(first.lease, Next::Retry(LONG)).await?, Fenced::Done, "a settlement");
    let more = world.store.claim(ALL, LONG).await?.len();
    promise_eq!(LANES, more, 1, "claimed from a lane with room for one more");
    promise!(LANES, world.store.claim(0, LONG).await?.is_empty(), "something was claimed when nothing was asked for");
    Ok(())
}

/// Within a lane the delivery that has been due for the longest time comes first.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn the_oldest_due_comes_first<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 1).await?;
    let wide = LaneLimits::new(100, 10);
    let mut events = Vec::new();
    for _ in 0..4 {
        events.push(world.deliver(&[0], wide).await?);
        pause(Duration::from_millis(3)).await;
    }
    // Tried again at once, the first one stands behind those that were due before.
    let first = world.claim(LANES, LONG).await?;
    promise_eq!(LANES, first.event_id, events[0], "the oldest");
    world.settle(first.lease, Next::Retry(Duration::ZERO)).await?;
    events.rotate_left(1);
    let mut found = Vec::new();
    for _ in 0..4 {
        let claimed = world.claim(LANES, LONG).await?;
        found.push(claimed.event_id);
        world.settle(claimed.lease, Next::Delivered).await?;
    }
    promise_eq!(LANES, found, events, "the order in which deliveries were claimed");
    Ok(())
}

/// Lanes take turns, however much waits in one of them and however few are claimed at once.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn no_lane_waits_for_more_than_a_round<F: Factory>(factory: &F) -> Result<(), Broken> {
    const OTHERS: usize = 4;
    let world = World::new(factory, OTHERS + 1).await?;
    for _ in 0..30 {
        world.deliver(&[0], lane()).await?;
    }
    pause(Duration::from_millis(3)).await;
    let everyone: Vec<usize> = (1..=OTHERS).collect();
    for _ in 0..5 {
        world.deliver(&everyone, lane()).await?;
    }
    // Each of them always has something due, so none is passed over for longer than the others take one turn each.
    let mut waits: HashMap<PolicyId, usize> = world.policies.iter().map(|policy| (policy.id, 0)).collect();
    for _ in 0..4 * (OTHERS + 1) {
        let claimed = world.claim(LANES, LONG).await?;
        world.settle(claimed.lease, Next::Delivered).await?;
        for (policy, waited) in &mut waits {
            *waited = if *policy == claimed.policy_id { 0 } else { *waited + 1 };
            promise!(ROUND, *waited <= OTHERS, "a ready lane was passed over {waited} times, with {OTHERS} others");
        }
        pause(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// A closed lane gives nothing; the longer closing counts; opening it, or its time, ends it; others do not notice.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn a_closed_lane_waits_and_opens<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 2).await?;
    for _ in 0..3 {
        world.deliver(&[0], lane()).await?;
    }
    let claimed = world.claim_some(2).await?;
    let close = |n: usize, time| {
        Settlement::new(claimed[n].lease, Next::Release(Duration::ZERO)).close_lane(time, Hold::RetryAfter)
    };
    world.settle_with(close(0, LONG)).await?;
    world.settle_with(close(1, Duration::from_millis(1))).await?; // shorter, so it changes nothing
    pause(LATER).await;
    world.claims_nothing(GATE, "from a closed lane").await?;
    world.deliver(&[0, 1], lane()).await?;
    let beside = world.store.claim(ALL, LONG).await?;
    let from: Vec<_> = beside.iter().map(|claimed| claimed.policy_id).collect();
    promise_eq!(GATE, from, [world.policies[1].id], "lanes claimed from, with one open and one closed");
    let closed: Vec<_> = world.status(|status| !status.closed_lanes.is_empty()).await?.closed_lanes;
    let shown: Vec<_> = closed.iter().map(|lane| (lane.target_id, lane.why)).collect();
    promise_eq!(STATUS, shown, [(world.policies[0].targets[0].id, Hold::RetryAfter)], "the lanes shown as closed");
    promise!(STATUS, closed[0].opens_in > LONG / 2 && closed[0].opens_in <= LONG, "opens in {:?}", closed[0].opens_in);

    world.store.change(&Filter::all(), open_lanes(Hold::Disabled), Page::first(10)).await?;
    world.claims_nothing(OPENED, "from a lane that is closed for another reason").await?;
    let open = open_lanes(Hold::RetryAfter);
    world.store.change(&Filter::policy(world.policies[1].id), open, Page::first(10)).await?;
    world.claims_nothing(OPENED, "from a closed lane after another one was opened").await?;
    world.store.change(&Filter::policy(world.policies[0].id), open, Page::first(10)).await?;
    let again = world.store.claim(ALL, LONG).await?;
    promise_eq!(OPENED, again.len(), 4, "deliveries claimed from a lane that was opened");
    promise!(RELEASED, again.iter().all(|c| c.attempts == 0), "a release counted as an attempt");

    world
        .settle_with(Settlement::new(again[0].lease, Next::Release(Duration::ZERO)).close_lane(MOMENT, Hold::Disabled))
        .await?;
    pause(LATER).await;
    promise_eq!(GATE, world.store.claim(ALL, LONG).await?.len(), 1, "deliveries claimed when the time was over");
    Ok(())
}

/// The change that opens lanes closed for this reason. (With [`opens`] the one place that knows how.)
pub(in crate::store::conformance) fn open_lanes(why: Hold) -> Change {
    Change::OpenLanes(why)
}

/// Which lanes a change opens, by why they are closed; `None` if it is about deliveries.
pub(in crate::store::conformance) fn opens(change: Change) -> Option<impl Fn(Hold) -> bool> {
    let Change::OpenLanes(opens) = change else { return None };
    Some(move |why| why == opens)
}
