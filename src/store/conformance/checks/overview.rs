use std::time::Duration;

use crate::delivery::breaker::{Breaker, Disable, Verdict};
use crate::delivery::{Attempt, Outcome};
use crate::store::conformance::sentences::*;
use crate::store::conformance::setup::*;
use crate::store::conformance::{Broken, Factory};
use crate::store::{
    Change, DeliveryStore, Filter, Hold, Hour, LaneState, Next, Page, PolicyFilter, PolicyStore, Retention, Settlement,
};

/// What waits in each lane, its gate and its failures show. A store that does not tell is not asked.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn lanes_show_how_they_stand<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 2).await?;
    if world.store.lanes(&Filter::all()).await?.is_none() {
        return Ok(());
    }
    for _ in 0..4 {
        world.deliver(&[0], lane()).await?;
    }
    world.deliver(&[1], lane()).await?;
    pause(MOMENT).await;
    let new = standing(&world, 0).await?;
    promise_eq!(STANDING, (new.waiting, new.parked, new.failures), (4, 0, 0), "what waits, is parked and has failed");
    promise_eq!(STANDING, (new.closed, new.opens_in), (None, None), "the gate of a new lane");
    let age = new.oldest_waiting;
    promise!(STANDING, age.is_some_and(|age| age >= MOMENT && age < LONG), "the oldest is {age:?} old");

    let mut claimed = world.claim_some(5).await?;
    claimed.retain(|claimed| claimed.policy_id == world.policies[0].id);
    world.settle(claimed[0].lease, Next::Delivered).await?;
    world.change(claimed[1].id, Change::Park).await?;
    let failing = Settlement::new(claimed[2].lease, Next::Retry(LONG)).attempt(refusal("x"));
    world.judged(failing.verdict(Verdict::Failing, Breaker::off()).close_lane(LONG, Hold::RetryAfter)).await?;
    let lane = standing(&world, 0).await?;
    promise_eq!(
        STANDING,
        (lane.waiting, lane.parked, lane.failures),
        (2, 1, 1),
        "waiting, parked and failures, with one delivered, one parked and one to be tried again"
    );
    let opens_in = lane.opens_in;
    promise_eq!(STANDING, lane.closed, Some(Hold::RetryAfter), "why the lane is closed");
    promise!(STANDING, opens_in.is_some_and(|time| time > LONG / 2 && time <= LONG), "it opens in {opens_in:?}");
    promise_eq!(STANDING, standing(&world, 1).await?.closed, None, "the gate of the lane beside it");

    let mut breaker = Breaker::off();
    breaker.disable = Some(Disable::standard());
    let gone = Settlement::new(claimed[3].lease, Next::Retry(LONG)).attempt(refusal("x"));
    world.judged(gone.verdict(Verdict::Gone, breaker)).await?;
    let lane = standing(&world, 0).await?;
    promise_eq!(STANDING, (lane.closed, lane.opens_in), (Some(Hold::TargetDisabled), None), "the gate, when disabled");
    promise_eq!(STANDING, (lane.waiting, lane.parked, lane.oldest_waiting), (0, 3, None), "what waits then");
    Ok(())
}

/// A policy's only lane, which is found by each of its ids and no other.
async fn standing<S: PolicyStore + DeliveryStore>(world: &World<S>, policy: usize) -> Result<LaneState, Broken> {
    let policy = &world.policies[policy];
    let target = policy.targets[0].id;
    let mut found = Vec::new();
    for which in [Filter::policy(policy.id), Filter::target(target), Filter::project(PROJECT)] {
        let mut lanes = world.store.lanes(&which).await?.unwrap_or_default();
        let all = lanes.len();
        lanes.retain(|lane| lane.target_id == target && lane.policy_id == policy.id);
        let right = if which.project_id.is_some() { all <= 2 } else { all == 1 };
        promise!(STANDING, lanes.len() == 1 && right, "{which:?} has {all} lanes, of which {lanes:?} are the policy's");
        found.extend(lanes);
    }
    let elsewhere = world.store.lanes(&Filter::project(OTHER)).await?;
    promise_eq!(STANDING, elsewhere, Some(Vec::new()), "the lanes of another project");
    found.pop().ok_or_else(|| Broken::new("", "unreachable"))
}

/// Attempts are counted by hours, which outlive the deliveries. A store that does not count is not asked.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn hours_outlive_the_history<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 2).await?;
    if world.store.hours(&Filter::all()).await?.is_none() {
        return Ok(());
    }
    for _ in 0..3 {
        world.deliver(&[0], lane()).await?;
    }
    world.deliver(&[1], lane()).await?;
    let mut claimed = world.claim_some(4).await?;
    claimed.sort_by_key(|claimed| claimed.policy_id);
    let taken = Outcome::Answered { status: 204, body: String::new(), truncated: false };
    let taken = Attempt::new(chrono::Utc::now(), Duration::from_millis(20), taken);
    let delivered = Settlement::new(claimed[0].lease, Next::Delivered).attempt(taken);
    let failed = |at: usize| Settlement::new(claimed[at].lease, Next::Dead(crate::delivery::DeadReason::Refused, None));
    let results = vec![delivered.clone(), failed(1).attempt(refusal("x"))];
    world.store.settle(results).await?;
    world.store.settle(vec![failed(2).attempt(refusal("y")), delivered]).await?; // of which the second is stale
    world.settle(claimed[3].lease, Next::Release(LONG)).await?;
    let right = (1, 2, Duration::from_millis(34), Duration::from_millis(20));
    of_policy(&world, right, "when they were settled").await?;
    let others = world.store.hours(&Filter::policy(world.policies[1].id)).await?;
    promise_eq!(HOURS, others, Some(Vec::new()), "the hours of a lane without attempts");

    let mut keep = Retention::default();
    (keep.finished_per_policy, keep.dead_per_policy) = (0, 0);
    world.store.sweep(&keep, ALL).await?;
    promise_eq!(SWEPT, world.list(&Filter::policy(world.policies[0].id)).await?.len(), 0, "deliveries that are kept");
    of_policy(&world, right, "when they were swept").await?;
    world.store.delete(PolicyFilter::Id(world.policies[0].id)).await?;
    let left = world.store.hours(&Filter::all()).await?;
    promise_eq!(OUTLIVES, left, Some(Vec::new()), "the hours of a policy that was deleted");
    Ok(())
}

/// What the attempts of the first policy came to: taken, failed, how long in all, and the longest.
async fn of_policy<S: PolicyStore + DeliveryStore>(
    world: &World<S>,
    right: (u64, u64, Duration, Duration),
    when: &str,
) -> Result<(), Broken> {
    let policy = &world.policies[0];
    let target = policy.targets[0].id;
    for which in [Filter::all(), Filter::project(PROJECT), Filter::policy(policy.id), Filter::target(target)] {
        let hours = world.store.hours(&which).await?.unwrap_or_default();
        let sound = |hour: &Hour| *hour == Hour { begins_at: Hour::of(target, hour.begins_at).begins_at, ..*hour };
        let sound = hours.iter().all(|hour| hour.target_id == target && sound(hour));
        promise!(
            HOURS,
            sound && hours.is_sorted_by(|a, b| a.begins_at < b.begins_at),
            "{which:?} has {hours:?} {when}"
        );
        let add = |sum: (u64, u64, Duration, Duration), hour: &Hour| {
            let longest = sum.3.max(hour.max_latency);
            (sum.0 + hour.delivered, sum.1 + hour.failed, sum.2 + hour.latency, longest)
        };
        let found = hours.iter().fold(Default::default(), add);
        let sentence = if hours.is_empty() { OUTLIVES } else { HOURS };
        promise!(sentence, found == right, "{which:?} {when}: {found:?} is counted, where it should be {right:?}");
    }
    let elsewhere = world.store.hours(&Filter::project(OTHER)).await?;
    promise_eq!(HOURS, elsewhere, Some(Vec::new()), "the hours of another project");
    Ok(())
}

/// The newest delivery of each policy is found for many at once.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn the_newest_of_each_policy_is_found<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 3).await?;
    for n in [0, 0, 1, 0] {
        world.deliver(&[n], lane()).await?;
    }
    let mut right = Vec::new();
    for policy in &world.policies[..2] {
        right.extend(world.store.list(&Filter::policy(policy.id), Page::first(1)).await?);
    }
    let mut asked: Vec<_> = world.policies.iter().rev().map(|policy| policy.id).collect();
    asked.push(crate::id::PolicyId(i64::MAX));
    let mut found = world.store.newest(&asked).await?;
    found.sort_by_key(|delivery| delivery.policy_id);
    let ids = |of: &[crate::delivery::Delivery]| of.iter().map(|d| (d.id, d.policy_id, d.state)).collect::<Vec<_>>();
    promise_eq!(NEWEST, ids(&found), ids(&right), "the newest of two policies, of four that were asked about");
    promise_eq!(NEWEST, world.store.newest(&[]).await?.len(), 0, "the newest of no policies");
    Ok(())
}
