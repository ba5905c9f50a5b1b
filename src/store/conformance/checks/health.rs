use std::time::Duration;

use crate::delivery::Rate;
use crate::delivery::State;
use crate::delivery::breaker::{Breaker, Disable, Given, News, Verdict};
use crate::store::conformance::sentences::*;
use crate::store::conformance::setup::*;
use crate::store::conformance::{Broken, Factory};
use crate::store::{
    Change, Claimed, DeliveryStore, Filter, Hold, LaneLimits, Next, Page, PolicyStore, Settled, Settlement,
};

/// Closes for long after two failures, and disables after 410.
fn breaker() -> Breaker {
    let mut disable = Disable::standard();
    disable.failing_for = LONG;
    let mut breaker = Breaker::standard();
    (breaker.failures, breaker.pause, breaker.longest_pause) = (2, LONG, LONG);
    breaker.disable = Some(disable);
    breaker
}

fn returned(claimed: &Claimed, verdict: Verdict) -> Settlement {
    Settlement::new(claimed.lease, Next::Retry(Duration::ZERO)).verdict(verdict, breaker())
}

async fn open<S: DeliveryStore>(store: &S, why: Hold) -> Result<u64, Broken> {
    Ok(store.change(&Filter::all(), super::open_lanes(why), Page::first(ALL)).await?.count)
}

/// Failures close a lane, which is then tried with one delivery, and with more as these are taken.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn failures_close_a_lane<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 2).await?;
    for _ in 0..9 {
        world.deliver(&[0], LaneLimits::new(100, 4)).await?;
    }
    let claimed = world.claim_some(3).await?;
    promise_eq!(
        JUDGED,
        world.judged(returned(&claimed[0], Verdict::Failing)).await?,
        Settled::done(None),
        "one failure"
    );
    let second = world.judged(returned(&claimed[1], Verdict::Failing)).await?;
    let target = world.policies[0].targets[0].id;
    promise_eq!(JUDGED, second, Settled::done(Some((target, News::Failing))), "the second of two failures");
    // One that was under way when the lane was closed.
    promise_eq!(JUDGED, world.judged(returned(&claimed[2], Verdict::Failing)).await?, Settled::done(None), "a third");
    world.claims_nothing(JUDGED, "from a lane that failures closed").await?;
    world.deliver(&[1], lane()).await?;
    promise_eq!(JUDGED, world.store.claim(ALL, LONG).await?.len(), 1, "claimed from the lane beside it");
    let closed: Vec<_> = world.status(|status| !status.closed_lanes.is_empty()).await?.closed_lanes;
    let shown: Vec<_> = closed.iter().map(|lane| (lane.target_id, lane.why)).collect();
    promise_eq!(JUDGED, shown, [(target, Hold::CircuitOpen)], "the lanes that are closed, and why");
    promise_eq!(OPENED, open(&*world.store, Hold::CircuitOpen).await?, 1, "lanes that were opened");
    promise_eq!(ANEW, world.store.claim(ALL, LONG).await?.len(), 4, "claimed from a lane that was opened");
    for why in Hold::ALL.into_iter().filter(|why| !why.makes_late()) {
        failures_count_while_busy(factory, why).await?;
    }
    Ok(())
}

/// Failures count that come in while a lane is closed for a reason that says nothing of its target.
async fn failures_count_while_busy<F: Factory>(factory: &F, why: Hold) -> Result<(), Broken> {
    let world = World::new(factory, 1).await?;
    for _ in 0..3 {
        world.deliver(&[0], LaneLimits::new(100, 4)).await?;
    }
    let claimed = world.claim_some(3).await?;
    let release = Settlement::new(claimed[0].lease, Next::Release(Duration::ZERO));
    world.settle_with(release.close_lane(LONG / 2, why)).await?;
    for claimed in &claimed[1..] {
        world.judged(returned(claimed, Verdict::Failing)).await?;
    }
    let closed = world.status(|status| !status.closed_lanes.is_empty()).await?.closed_lanes;
    let shown: Vec<_> = closed.iter().map(|lane| lane.why).collect();
    promise_eq!(JUDGED, shown, [Hold::CircuitOpen], "why a lane is closed that failed while others were busy");
    Ok(())
}

/// When the pause is over one delivery is tried; what is taken lets more follow, up to the lane's limit.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn a_lane_that_was_closed_begins_slowly<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 1).await?;
    for _ in 0..15 {
        world.deliver(&[0], LaneLimits::new(100, 4)).await?;
    }
    let mut short = breaker();
    (short.failures, short.pause, short.longest_pause) = (1, MOMENT, MOMENT);
    let first = world.claim(LANES, LONG).await?;
    world.judged(Settlement::new(first.lease, Next::Retry(LONG)).verdict(Verdict::Failing, short)).await?;
    pause(LATER).await;
    for wide in [1, 2, 3, 4, 4] {
        let claimed = world.claim_some(wide).await?;
        world.claims_nothing(LIMITS, &format!("beside {wide} from a lane that begins slowly")).await?;
        let (taken, rest) = claimed.split_first().ok_or_else(|| Broken::new(LIMITS, "unreachable"))?;
        world.judged(Settlement::new(taken.lease, Next::Delivered).verdict(Verdict::Healthy, short)).await?;
        for claimed in rest {
            world.settle(claimed.lease, Next::Release(Duration::ZERO)).await?;
        }
    }
    Ok(())
}

/// A target that is given up gets nothing: what waits, what comes back and what is added is parked, until it is opened.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn a_disabled_target_waits_for_somebody<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 2).await?;
    for _ in 0..4 {
        world.deliver(&[0, 1], LaneLimits::new(100, 2)).await?;
    }
    let claimed = world.store.claim(ALL, LONG).await?;
    let ours: Vec<_> = claimed.iter().filter(|claimed| claimed.policy_id == world.policies[0].id).collect();
    promise_eq!(LANES, (ours.len(), claimed.len()), (2, 4), "claimed from two lanes with room for two each");
    let target = world.policies[0].targets[0].id;
    let gone = world.judged(returned(ours[0], Verdict::Gone)).await?;
    promise_eq!(JUDGED, gone, Settled::done(Some((target, News::Disabled(Given::Gone)))), "410 Gone");
    let which = Filter::policy(world.policies[0].id);
    let states = |world: &World<F::Store>| {
        let (store, which) = (world.store.clone(), which.clone());
        async move {
            Ok::<_, Broken>(store.list(&which, Page::first(ALL)).await?.iter().map(|d| d.state).collect::<Vec<_>>())
        }
    };
    promise_eq!(DISABLED, parked(&states(&world).await?), 3, "parked of three that waited, with one in flight");
    let late = world.judged(returned(ours[1], Verdict::Gone)).await?;
    promise_eq!(JUDGED, late, Settled::done(None), "410 Gone once more");
    promise_eq!(DISABLED, parked(&states(&world).await?), 4, "parked after the one in flight came back");
    world.deliver(&[0], LaneLimits::new(100, 2)).await?;
    promise_eq!(BORN_PARKED, parked(&states(&world).await?), 5, "parked after one was added");
    for claimed in claimed.iter().filter(|claimed| claimed.policy_id != world.policies[0].id) {
        world.settle(claimed.lease, Next::Delivered).await?;
    }
    promise_eq!(DISABLED, world.store.claim(ALL, LONG).await?.len(), 2, "claimed, with two due beside");

    world.store.change(&which, Change::Unpark, Page::first(ALL)).await?;
    world.claims_nothing(GATE, "from a lane whose target is disabled").await?;
    promise_eq!(OPENED, open(&*world.store, Hold::TargetDisabled).await?, 1, "lanes that were opened");
    let again = world.store.claim(ALL, LONG).await?;
    promise_eq!(OPENED, again.len(), 2, "claimed from a lane that was enabled");
    let once = world.judged(returned(&again[0], Verdict::Failing)).await?;
    promise_eq!(ANEW, once, Settled::done(None), "the first failure after a target was enabled");
    Ok(())
}

fn parked(states: &[State]) -> usize {
    states.iter().filter(|state| **state == State::Parked).count()
}

/// A policy that is deleted leaves no lane behind that nobody could open.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn a_deleted_policy_leaves_no_closed_lane<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 1).await?;
    world.deliver(&[0], lane()).await?;
    let claimed = world.claim(LANES, LONG).await?;
    world.judged(returned(&claimed, Verdict::Gone)).await?;
    world.store.delete(crate::store::PolicyFilter::Id(world.policies[0].id)).await?;
    let which = Filter::policy(world.policies[0].id);
    world.store.change(&which, Change::Cancel(crate::delivery::CancelReason::TargetGone), Page::first(ALL)).await?;
    world.store.change(&which, super::open_lanes(Hold::TargetDisabled), Page::first(ALL)).await?;
    let closed = world.status(|status| status.closed_lanes.is_empty()).await?.closed_lanes;
    promise!(OPENED, closed.is_empty(), "{closed:?} is closed, of a policy that is gone");
    Ok(())
}

/// A lane gives no more in a time than its rate, however often it is asked, and as much as that.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn a_lane_keeps_its_rate<F: Factory>(factory: &F) -> Result<(), Broken> {
    const SPACING: Duration = Duration::from_millis(150);
    let world = World::new(factory, 2).await?;
    let slow = LaneLimits::new(100, 50).rate(Rate::per(1, SPACING));
    for _ in 0..20 {
        world.deliver(&[0], slow).await?;
    }
    let begun = tokio::time::Instant::now();
    let mut claimed = 0;
    while begun.elapsed() < 4 * SPACING {
        let more = world.store.claim(ALL, LONG).await?.len();
        promise!(LIMITS, more <= 1, "{more} were claimed at once, where one in {SPACING:?} is allowed");
        claimed += more;
        // Claims and clocks may be late, but not early.
        let most = 1 + (begun.elapsed() + Duration::from_millis(5)).as_millis() / SPACING.as_millis();
        promise!(LIMITS, claimed as u128 <= most, "{claimed} were claimed in {:?}", begun.elapsed());
        pause(Duration::from_millis(3)).await;
    }
    promise!(LIMITS, claimed >= 2, "only {claimed} were claimed in {:?}", begun.elapsed());
    world.deliver(&[1], lane()).await?;
    let beside = world.store.claim(ALL, LONG).await?;
    let from_beside = beside.iter().filter(|claimed| claimed.policy_id == world.policies[1].id).count();
    promise_eq!(LIMITS, from_beside, 1, "claimed from the lane beside it");
    Ok(())
}
