use std::time::Duration;

use uuid::Uuid;

use crate::delivery::{CancelReason, DeadReason, State};
use crate::id::ProjectId;
use crate::store::conformance::sentences::*;
use crate::store::conformance::setup::*;
use crate::store::conformance::{Broken, Factory};
use crate::store::{Change, DeliveryStore, Filter, Next, Page, PolicyStore};

/// What waits is counted for each project through everything that can become of it. A store that does not count is not asked.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn what_each_project_uses_is_counted<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 2).await?;
    let Some(usage) = world.store.usage().await? else { return Ok(()) };
    promise_eq!(USAGE, usage.len(), 0, "projects in an empty store");
    for _ in 0..4 {
        world.deliver(&[0], lane()).await?;
    }
    add_to(&world, OTHER, 1, false).await?;
    let each = body_of(Uuid::nil()).bytes.len() as u64;
    let bytes = uses(&world, PROJECT, 4, "made").await?;
    promise!(USAGE, bytes >= 4 * each, "{bytes} bytes for four bodies of {each}");
    uses(&world, OTHER, 1, "made in another project").await?;

    let ours = Filter::policy(world.policies[0].id);
    let claimed = world.claim_some(5).await?;
    let claimed: Vec<_> = claimed.iter().filter(|claimed| claimed.project_id == PROJECT).collect();
    promise_eq!(CLAIMED, claimed.len(), 4, "claimed of the project, of five in all");
    uses(&world, PROJECT, 4, "leased").await?;
    world.settle(claimed[0].lease, Next::Delivered).await?;
    world.settle(claimed[1].lease, Next::Dead(DeadReason::Exhausted, None)).await?;
    world.settle(claimed[2].lease, Next::Retry(LONG)).await?;
    uses(&world, PROJECT, 2, "left, with one delivered and one dead").await?;
    world.change(claimed[1].id, Change::Redeliver).await?;
    world.change(claimed[2].id, Change::Park).await?;
    let three = uses(&world, PROJECT, 3, "left, with one redelivered and one parked").await?;
    promise!(USAGE, three >= 3 * each && three < bytes, "{three} bytes for three, where four took {bytes}");
    world.change(claimed[3].id, Change::Cancel(CancelReason::Operator)).await?;
    world.change(claimed[2].id, Change::Forget).await?;
    uses(&world, PROJECT, 1, "left, with one cancelled and one forgotten").await?;
    world.store.change(&ours, Change::Cancel(CancelReason::Operator), Page::first(ALL)).await?;
    uses(&world, PROJECT, 0, "left, with all cancelled").await?;
    uses(&world, OTHER, 1, "left of another project").await.map(drop)
}

/// What comes parked is not sent before somebody says so, and counts.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn what_comes_parked_stays_parked<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 1).await?;
    add_to(&world, PROJECT, 0, true).await?;
    let made = world.list(&Filter::all()).await?;
    promise_eq!(BORN_PARKED, made.iter().map(|d| d.state).collect::<Vec<_>>(), [State::Parked], "what came parked");
    world.claims_nothing(BORN_PARKED, "while it was parked").await?;
    if world.store.usage().await?.is_some() {
        uses(&world, PROJECT, 1, "parked").await?;
    }
    world.change(made[0].id, Change::Unpark).await?;
    let claimed = world.claim(UNPARK, LONG).await?;
    promise_eq!(CLAIMED, claimed.id, made[0].id, "what was unparked");
    Ok(())
}

/// One delivery of an event of this project, to a policy.
async fn add_to<S>(world: &World<S>, project: ProjectId, policy: usize, parked: bool) -> Result<(), Broken>
where
    S: PolicyStore + DeliveryStore,
{
    let mut event = push()?;
    event.project_id = project;
    world.store.append(&[event]).await?;
    let lease = world.claim_event().await?;
    let mut part = world.part(&[policy], Uuid::now_v7(), lane());
    part.deliveries.iter_mut().for_each(|new| new.parked = parked);
    world.store.fan_out(&lease, part).await?;
    Ok(())
}

/// The project has so many deliveries waiting: says how many bytes they take.
async fn uses<S>(world: &World<S>, project: ProjectId, count: u64, when: &str) -> Result<u64, Broken>
where
    S: PolicyStore + DeliveryStore,
{
    let asked = tokio::time::Instant::now();
    loop {
        let usage = world.store.usage().await?.unwrap_or_default();
        let found = usage.iter().find(|usage| usage.project_id == project);
        let (deliveries, bytes) = found.map_or((0, 0), |usage| (usage.deliveries, usage.bytes));
        let right = deliveries == count && found.is_some() == (count > 0);
        if right || asked.elapsed() > Duration::from_millis(1500) {
            promise!(USAGE, right, "{count} deliveries {when}, and {usage:?} is counted");
            return Ok(bytes);
        }
        pause(LATER).await;
    }
}
