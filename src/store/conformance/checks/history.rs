use std::time::Duration;

use uuid::Uuid;

use crate::delivery::{CancelReason, DeadReason, State};
use crate::event::EventType;
use crate::store::conformance::sentences::*;
use crate::store::conformance::setup::*;
use crate::store::conformance::{Broken, Factory};
use crate::store::{
    Appended, Change, DeliveryStore, Filter, Hold, Next, Page, PolicyStore, Retention, Settlement, StateKind, Status,
};

/// Pages join without a gap or a repetition while deliveries are made, and every filter selects what it says.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn listings_go_on_under_writes<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 2).await?;
    for n in 0..9 {
        world.deliver(&[n % 2], lane()).await?;
    }
    one_in_each_state(&world).await?;
    let all = world.list(&Filter::all()).await?;
    promise!(LISTED, all.is_sorted_by(|a, b| a.id > b.id), "the ids do not fall");
    for which in filters(&world, &all) {
        let all = world.list(&Filter::all()).await?;
        let right: Vec<_> = all.iter().filter(|delivery| which.selects(delivery)).map(|d| d.id).collect();
        let mut found = Vec::new();
        let mut page = Page::first(2);
        loop {
            let listed = world.store.list(&which, page).await?;
            promise!(LISTED, listed.len() <= 2, "{} entries on a page of two", listed.len());
            found.extend(listed.iter().map(|delivery| delivery.id));
            match listed.last() {
                Some(last) if listed.len() == 2 => page = Page::after(last.id.0, 2),
                _ => break,
            }
            // Whatever comes meanwhile is newer.
            if found.len() < 5 {
                world.store.append(&[push()?]).await?;
                let lease = world.claim_event().await?;
                world.store.fan_out(&lease, world.part(&[0, 1], Uuid::now_v7(), lane())).await?;
            }
        }
        promise!(LISTED, found == right, "{which:?} listed {found:?} in pages of two, where it should be {right:?}");
    }
    Ok(())
}

pub(super) async fn one_in_each_state<S: PolicyStore + DeliveryStore>(world: &World<S>) -> Result<(), Broken> {
    let claimed = world.claim_some(5).await?;
    let ends = [
        Next::Delivered,
        Next::Dead(DeadReason::Blocked, None),
        Next::Cancelled(CancelReason::Operator),
        Next::Retry(LONG),
    ];
    for (claimed, next) in claimed.iter().zip(ends) {
        world.settle(claimed.lease, next).await?;
    }
    world.change(claimed[3].id, Change::Park).await.map(drop)
}

/// Filters of every kind. Those without an end in time do not select what is made while they are paged through.
pub(super) fn filters<S>(world: &World<S>, all: &[crate::delivery::Delivery]) -> Vec<Filter> {
    let mut filters = vec![Filter::all(), Filter::project(PROJECT), Filter::project(OTHER)];
    filters.extend(world.policies.iter().map(|policy| Filter::policy(policy.id)));
    let states = [
        StateKind::Due,
        StateKind::Leased,
        StateKind::Parked,
        StateKind::Delivered,
        StateKind::Dead,
        StateKind::Cancelled,
    ];
    filters.extend(states.map(|state| Filter::all().state(state)));
    let [first, other] = [all.len() / 2, all.len() / 2 + 1].map(|at| &all[at.min(all.len() - 1)]);
    filters.extend([Filter::id(first.id), Filter::event(other.event_id)]);
    let with = |set: &dyn Fn(&mut Filter)| {
        let mut filter = Filter::all();
        set(&mut filter);
        filter
    };
    filters.push(with(&|filter| filter.target_id = Some(all[0].target_id)));
    filters.push(with(&|filter| filter.event_type = Some(EventType::PushArtifact)));
    filters.push(with(&|filter| filter.event_type = Some(EventType::ScanningFailed)));
    filters.push(with(&|filter| filter.since = Some(first.created_at)));
    filters.push(with(&|filter| filter.until = Some(first.created_at)));
    filters
}

/// The status counts what waits, and knows how old the oldest is.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn the_status_counts<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 1).await?;
    let empty = world.store.status().await?;
    promise_eq!(STATUS, (empty.outbox, empty.waiting, empty.parked, empty.dead), (0, 0, 0, 0), "an empty store");
    promise_eq!(STATUS, (empty.oldest_event, empty.oldest_waiting), (None, None), "ages in an empty store");
    for _ in 0..5 {
        world.deliver(&[0], lane()).await?;
    }
    world.store.append(&[push()?, push()?]).await?;
    let claimed = world.claim_some(3).await?;
    world.settle(claimed[0].lease, Next::Dead(DeadReason::Exhausted, None)).await?;
    world.change(claimed[1].id, Change::Park).await?;
    let counts = |status: &Status| (status.outbox, status.waiting, status.parked, status.dead);
    let status = world.status(|status| counts(status) == (2, 3, 1, 1)).await?;
    let found = counts(&status);
    promise_eq!(STATUS, found, (2, 3, 1, 1), "events, and deliveries that wait, are parked, are dead");
    for age in [status.oldest_event, status.oldest_waiting] {
        promise!(STATUS, age.is_some_and(|age| age < LONG), "the oldest is {age:?} old");
    }
    promise_eq!(STATUS, (status.closed_lanes.len(), status.set_aside.len()), (0, 0), "closed lanes and broken events");
    world.settle_with(Settlement::new(claimed[2].lease, Next::Retry(LONG)).close_lane(LONG, Hold::Disabled)).await?;
    let closed = world.status(|status| !status.closed_lanes.is_empty()).await?.closed_lanes;
    promise_eq!(STATUS, closed.len(), 1, "closed lanes");
    Ok(())
}

/// A sweep takes history beyond what is kept and nothing else; what has waited too long ends, and can be seen.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn a_sweep_never_takes_what_waits<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 2).await?;
    for end in [Next::Delivered, Next::Dead(DeadReason::Exhausted, None)] {
        for _ in 0..4 {
            world.deliver(&[0], lane()).await?;
            let lease = world.claim(LANES, LONG).await?.lease;
            world.settle_with(Settlement::new(lease, end.clone()).attempt(refusal("x"))).await?;
        }
    }
    let event = push()?;
    world.store.append(std::slice::from_ref(&event)).await?; // stays in the outbox
    let waiting = [world.deliver_later(1).await?, world.deliver_later(1).await?, world.deliver_later(1).await?];
    let held = world.claim(LANES, LONG).await?;
    world.change(waiting[2], Change::Park).await?;
    pause(LATER).await;

    let mut keep = Retention::default();
    (keep.finished_per_policy, keep.dead_per_policy, keep.event_ids) = (2, 3, Duration::ZERO);
    sweep(&world, &keep).await?;
    let kept = world.list(&Filter::policy(world.policies[0].id)).await?;
    let count = |kind| kept.iter().filter(|d| StateKind::of(d.state) == kind).count();
    promise_eq!(SWEPT, (count(StateKind::Delivered), count(StateKind::Dead)), (2, 3), "what is kept of four and four");
    promise!(SWEPT, kept.iter().all(|d| kept[0].id.0 - d.id.0 < 7), "what is kept is not the newest: {kept:?}");
    for id in waiting {
        promise!(WAITING_STAYS, world.store.detail(id).await?.is_some(), "delivery {id} is gone");
    }
    promise_eq!(WAITING_STAYS, world.store.append(&[event]).await?, [Appended::Duplicate], "an event in the outbox");
    // What is kept stays whole.
    let detail = world.detail(kept[0].id).await?;
    promise_eq!(SWEPT, (detail.body.is_some(), detail.attempts.len()), (true, 1), "body and attempts of what is kept");

    keep.max_age = Duration::from_millis(1);
    let expired = sweep(&world, &keep).await?;
    promise_eq!(SWEPT, expired, 1, "deliveries that waited too long, with one due, one leased and one parked");
    let mut states = Vec::new();
    for id in waiting {
        states.push(world.state(id).await?);
    }
    let right = [State::Leased, State::Dead(DeadReason::Expired), State::Parked];
    promise_eq!(SWEPT, states, right, "one leased, one due and one parked delivery after it");
    let done = world.settle(held.lease, Next::Delivered).await?;
    promise_eq!(WAITING_STAYS, done, crate::store::Fenced::Done, "a lease that a sweep ran past");
    keep.dead = Duration::ZERO;
    pause(LATER).await;
    sweep(&world, &keep).await?;
    let dead = world.list(&Filter::all().state(StateKind::Dead)).await?.len();
    promise_eq!(SWEPT, dead, 0, "dead deliveries kept beyond their time");
    Ok(())
}

/// Sweeps until there is nothing more to do, in small steps. Says how many expired.
async fn sweep<S: PolicyStore + DeliveryStore>(world: &World<S>, keep: &Retention) -> Result<u64, Broken> {
    let mut expired = 0;
    for _ in 0..100 {
        let swept = world.store.sweep(keep, 3).await?;
        expired += swept.expired;
        if !swept.more {
            return Ok(expired);
        }
    }
    Err(Broken::new(SWEPT, "a hundred sweeps of a few rows were not enough"))
}

impl<S: PolicyStore + DeliveryStore> World<S> {
    /// Delivers to one policy past whatever is in the outbox.
    async fn deliver_later(&self, to: usize) -> Result<crate::DeliveryId, Broken> {
        let event = push()?;
        self.store.append(std::slice::from_ref(&event)).await?;
        let claimed = self.store.claim_events(ALL, LONG).await?;
        let own = claimed.iter().find(|claimed| claimed.event.as_ref().is_ok_and(|e| e.id == event.id));
        let own = own.ok_or_else(|| Broken::new(EVENTS_CLAIMED, "an event was not claimed"))?;
        self.store.fan_out(&own.lease, self.part(&[to], Uuid::now_v7(), lane())).await?;
        let made = self.list(&Filter::event(event.id)).await?;
        promise_eq!(LISTED, made.len(), 1, "deliveries listed of an event for one target");
        Ok(made[0].id)
    }
}
