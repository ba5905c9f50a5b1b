use std::time::Duration;

use uuid::Uuid;

use crate::delivery::{CancelReason, DeadReason, State};
use crate::store::conformance::sentences::*;
use crate::store::conformance::setup::*;
use crate::store::conformance::{Broken, Factory};
use crate::store::{Change, DeliveryStore, FanOut, Fenced, Filter, NewDelivery, Next, Page, PolicyStore, Settlement};

/// Parking takes deliveries out of the queue, and from whoever has them; unparking puts them back as they were.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn an_operator_can_park<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 1).await?;
    let id = world.deliver_one().await?.id;
    let claimed = world.claim(LANES, LONG).await?;
    world.settle_with(Settlement::new(claimed.lease, Next::Retry(LONG)).attempt(refusal("one"))).await?;
    promise_eq!(PARK, world.change(id, Change::Park).await?, 1, "due deliveries parked");
    promise_eq!(PARK, world.state(id).await?, State::Parked, "the state of a parked delivery");
    promise_eq!(PARK, world.change(id, Change::Park).await?, 0, "parked deliveries parked");
    promise_eq!(UNPARK, world.change(id, Change::Unpark).await?, 1, "deliveries unparked");
    promise_eq!(UNPARK, world.change(id, Change::Unpark).await?, 0, "due deliveries unparked");

    let claimed = world.claim(UNPARK, LONG).await?;
    promise_eq!(UNPARK, claimed.attempts, 1, "attempts after unparking");
    promise_eq!(PARK, world.change(id, Change::Park).await?, 1, "leased deliveries parked");
    promise_eq!(
        PARK,
        world.settle(claimed.lease, Next::Delivered).await?,
        Fenced::Stale,
        "the lease of a parked delivery"
    );
    promise_eq!(PARK, world.state(id).await?, State::Parked, "its state");
    world.claims_nothing(PARK, "of a parked delivery").await?;
    let status = world.status(|status| (status.waiting, status.parked) == (0, 1)).await?;
    promise_eq!(STATUS, (status.waiting, status.parked), (0, 1), "what waits, and what is parked");
    promise_eq!(REDELIVER, world.change(id, Change::Redeliver).await?, 1, "parked deliveries redelivered");
    promise_eq!(REDELIVER, world.claim(REDELIVER, LONG).await?.attempts, 0, "attempts after it");
    Ok(())
}

/// Cancelling ends what waits, is in flight or is parked, and nothing else.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn an_operator_can_cancel<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 1).await?;
    let (done, leased) = (world.deliver_one().await?.id, world.deliver_one().await?.id);
    let first = world.claim(LANES, LONG).await?;
    world.settle(first.lease, Next::Delivered).await?;
    let held = world.claim(LANES, LONG).await?.lease;
    let (due, parked) = (world.deliver_one().await?.id, world.deliver_one().await?.id);
    world.change(parked, Change::Park).await?;

    let why = CancelReason::TargetGone;
    let changed = world.store.change(&Filter::all(), Change::Cancel(why), Page::first(ALL)).await?;
    promise_eq!(CANCEL, (changed.count, changed.next), (3, None), "what cancelling all changed, and where it goes on");
    for id in [leased, due, parked] {
        promise_eq!(CANCEL, world.state(id).await?, State::Cancelled(why), "the state of a cancelled delivery");
    }
    promise_eq!(CANCEL, world.state(done).await?, State::Delivered, "the state of a delivered one");
    promise_eq!(
        CANCEL,
        world.settle(held, Next::Retry(LONG)).await?,
        Fenced::Stale,
        "the lease of a cancelled delivery"
    );
    world.claims_nothing(CANCEL, "when all were cancelled").await
}

/// A redelivery is the same delivery again: its id and bytes, its history, a fresh budget of attempts and age.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn an_operator_can_redeliver<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 1).await?;
    let id = world.deliver_one().await?.id;
    promise_eq!(REDELIVER, world.change(id, Change::Redeliver).await?, 0, "deliveries redelivered that wait anyway");
    let first = world.claim(LANES, LONG).await?;
    promise_eq!(REDELIVER, world.change(id, Change::Redeliver).await?, 0, "deliveries redelivered that are in flight");
    let end = Settlement::new(first.lease, Next::Dead(DeadReason::Exhausted, None)).attempt(refusal("first"));
    world.settle_with(end).await?;
    pause(LATER * 4).await;
    let asked = tokio::time::Instant::now();
    promise_eq!(REDELIVER, world.change(id, Change::Redeliver).await?, 1, "dead deliveries redelivered");
    let again = world.claim(REDELIVER, LONG).await?;
    promise_eq!(REDELIVER, (again.id, again.attempts), (id, 0), "what is claimed after a redelivery");
    promise_eq!(REDELIVER, again.body, first.body, "its body");
    let most = asked.elapsed() + LATER; // which is less than it had waited before
    promise!(REDELIVER, again.age <= most, "its age is {:?}, where it cannot be more than {most:?}", again.age);
    world.settle_with(Settlement::new(again.lease, Next::Delivered).attempt(refusal("second"))).await?;
    let detail = world.detail(id).await?;
    promise_eq!(
        DETAIL,
        detail.attempts,
        [refusal("first"), refusal("second")],
        "attempts before and after a redelivery"
    );
    promise_eq!(REDELIVER, detail.delivery.attempts, 2, "attempts counted, redeliveries included");
    for _ in 0..2 {
        world.change(id, Change::Redeliver).await?; // a delivered one, and what waits then
    }
    let lease = world.claim(REDELIVER, LONG).await?.lease;
    world.settle(lease, Next::Cancelled(CancelReason::Operator)).await?;
    promise_eq!(REDELIVER, world.change(id, Change::Redeliver).await?, 1, "cancelled deliveries redelivered");

    let bodiless = without_body(&world).await?;
    promise_eq!(NO_BODY, world.change(bodiless, Change::Redeliver).await?, 0, "deliveries without a body redelivered");
    promise_eq!(NO_BODY, world.state(bodiless).await?, State::Dead(DeadReason::Format), "the state of one");
    Ok(())
}

async fn without_body<S: PolicyStore + DeliveryStore>(world: &World<S>) -> Result<crate::DeliveryId, Broken> {
    let event = push()?;
    world.store.append(std::slice::from_ref(&event)).await?;
    let lease = world.claim_event().await?;
    let mut part = FanOut::default();
    let policy = &world.policies[0];
    part.deliveries.push(NewDelivery::new(policy.id, &policy.targets[0], Err("no".to_owned()), lane()));
    part.last = true;
    world.store.fan_out(&lease, part).await?;
    let made = world.list(&Filter::event(event.id)).await?;
    promise_eq!(BORN_DEAD, made.len(), 1, "deliveries made without a body");
    Ok(made[0].id)
}

/// Forgetting leaves nothing of a delivery, in whatever state it is, and touches no other. Bounded, it says where to go on.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn an_operator_can_forget<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 2).await?;
    for _ in 0..7 {
        world.deliver(&[0], lane()).await?;
    }
    world.deliver(&[1], lane()).await?;
    for claimed in world.claim_some(3).await? {
        world.settle_with(Settlement::new(claimed.lease, Next::Delivered).attempt(refusal("x"))).await?;
    }
    let held = world.claim(LANES, LONG).await?;
    let all = Filter::policy(world.policies[0].id);
    let ids: Vec<_> = world.list(&all).await?.iter().map(|delivery| delivery.id).collect();
    promise_eq!(LISTED, ids.len(), 7, "deliveries listed of a policy");
    let first = world.store.change(&all, Change::Forget, Page::first(3)).await?;
    promise_eq!(CHANGED, (first.count, first.next), (3, Some(ids[2].0)), "what changed of seven, three at most");
    let left: Vec<_> = world.list(&all).await?.iter().map(|delivery| delivery.id).collect();
    promise_eq!(FORGET, left, ids[3..], "what is left when the newest three are forgotten");
    let rest = world.store.change(&all, Change::Forget, Page::after(ids[2].0, ALL)).await?;
    promise_eq!(CHANGED, (rest.count, rest.next), (4, None), "what changed behind them");
    for id in ids {
        promise!(FORGET, world.store.detail(id).await?.is_none(), "delivery {id} is still there");
        promise_eq!(FORGET, world.change(id, Change::Redeliver).await?, 0, "forgotten deliveries redelivered");
    }
    if held.policy_id == world.policies[0].id {
        let fenced = world.settle(held.lease, Next::Retry(Duration::ZERO)).await?;
        promise_eq!(FORGET, fenced, Fenced::Stale, "the lease of a forgotten delivery");
    }
    promise_eq!(FORGET, world.list(&Filter::all()).await?.len(), 1, "deliveries of the other policy");
    // An id that was forgotten is not given again.
    let newest = world.deliver(&[0], lane()).await?;
    let made = world.list(&Filter::event(newest)).await?;
    promise!(LISTED, made.iter().all(|delivery| delivery.id > left[0]), "an id was given again");
    promise_eq!(FORGET, world.detail(made[0].id).await?.attempts.len(), 0, "attempts of a new delivery");
    promise_eq!(UNIQUE, world.detail(made[0].id).await?.body.map(|b| b.id == Uuid::nil()), Some(false), "its body");
    Ok(())
}
