use crate::delivery::{CancelReason, DeadReason};
use crate::store::conformance::checks::history::{filters, one_in_each_state};
use crate::store::conformance::sentences::*;
use crate::store::conformance::setup::*;
use crate::store::conformance::{Broken, Factory};
use crate::store::{Change, DeliveryStore, Filter, Next, Page, PolicyFilter, PolicyStore, Retention};

/// A page may begin with the oldest, and leave out the first; of deliveries as of policies.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn listings_skip_and_turn_round<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 3).await?;
    for n in 0..7 {
        world.deliver(&[n % 2], lane()).await?;
    }
    one_in_each_state(&world).await?;
    for which in [Filter::all(), Filter::project(PROJECT), Filter::policy(world.policies[0].id)] {
        let (store, which) = (&world.store, &which);
        let listed = |page| async move {
            let found = store.list(which, page).await?;
            Ok::<Vec<i64>, Broken>(found.into_iter().map(|delivery| delivery.id.0).collect())
        };
        pages(&listed).await?;
    }
    let store = &world.store;
    let listed = |page| async move {
        let found = store.policies(PolicyFilter::Project(PROJECT), page).await?;
        Ok::<Vec<i64>, Broken>(found.into_iter().map(|policy| policy.id.0).collect())
    };
    pages(&listed).await
}

/// Whether the pages of a listing are parts of the whole.
async fn pages<L: Future<Output = Result<Vec<i64>, Broken>>>(listed: &impl Fn(Page) -> L) -> Result<(), Broken> {
    let newest = listed(Page::first(ALL)).await?;
    promise!(LISTED, newest.is_sorted_by(|a, b| a > b), "the ids do not fall: {newest:?}");
    let oldest: Vec<i64> = newest.iter().rev().copied().collect();
    for (all, oldest_first) in [(newest, false), (oldest, true)] {
        let second = all[1];
        for skip in [0, 1, 2, all.len(), all.len() + 5] {
            for (page, behind) in [(Page::first(2), 0), (Page::after(second, 2), 2)] {
                let page = page.skip(skip).oldest_first(oldest_first);
                let right: Vec<i64> = all[behind..].iter().skip(skip).take(2).copied().collect();
                let found = listed(page).await?;
                promise!(PAGED, found == right, "{page:?} of {all:?} is {found:?}, where it should be {right:?}");
            }
        }
    }
    Ok(())
}

/// Counts agree with listings, whatever is selected and whatever became of deliveries.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn counts_agree_with_listings<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 2).await?;
    promise_eq!(COUNTED, world.store.count(&Filter::all()).await?, 0, "deliveries counted in an empty store");
    for n in 0..9 {
        world.deliver(&[n % 2], lane()).await?;
    }
    counted(&world, "when all were new").await?;
    one_in_each_state(&world).await?;
    counted(&world, "with one in each state").await?;
    for claimed in world.claim_some(3).await? {
        world.settle(claimed.lease, Next::Dead(DeadReason::Refused, None)).await?;
    }
    let ours = Filter::policy(world.policies[0].id);
    for to in [Change::Redeliver, Change::Park, Change::Unpark, Change::Cancel(CancelReason::Operator)] {
        world.store.change(&ours, to, Page::first(3)).await?;
        counted(&world, "after a change of some").await?;
    }
    let mut keep = Retention::default();
    (keep.finished_per_policy, keep.dead_per_policy) = (1, 1);
    world.store.sweep(&keep, ALL).await?;
    counted(&world, "after a sweep").await?;
    world.store.change(&ours, Change::Forget, Page::first(2)).await?;
    counted(&world, "when some were forgotten").await?;
    // The history of a policy outlives it for a while.
    world.store.delete(PolicyFilter::Id(world.policies[1].id)).await?;
    world.store.sweep(&keep, ALL).await?;
    counted(&world, "when a policy was deleted").await
}

async fn counted<S: PolicyStore + DeliveryStore>(world: &World<S>, when: &str) -> Result<(), Broken> {
    let all = world.list(&Filter::all()).await?;
    for which in filters(world, &all) {
        let (found, right) = (world.store.count(&which).await?, world.list(&which).await?.len() as u64);
        promise!(COUNTED, found == right, "{which:?} counts {found} {when}, where {right} are listed");
        let which = which.state(crate::store::StateKind::Dead);
        let (found, right) = (world.store.count(&which).await?, world.list(&which).await?.len() as u64);
        promise!(
            COUNTED,
            found == right,
            "{found} dead ones are counted {when}, where {right} are listed of {which:?}"
        );
    }
    Ok(())
}
