use std::sync::Arc;

use crate::delivery::{DeadReason, State};
use crate::event::EventType;
use crate::policy::Target;
use crate::store::conformance::sentences::*;
use crate::store::conformance::setup::*;
use crate::store::conformance::{Broken, Factory};
use crate::store::{
    Appended, Change, DeliveryStore, Filter, Hold, Hour, Next, Page, PolicyFilter, PolicyStore, Settlement,
};

/// A store that keeps things beyond its process keeps all of them. A store whose factory does not reopen passes.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn reopening_keeps_everything<F: Factory>(factory: &F) -> Result<(), Broken> {
    let mut world = World::new(factory, 2).await?;
    let secret = Target::http("https://ci.example.com/hook?token=t")?.auth_header("Bearer s3cret")?;
    let secret = secret.signing_keys(signing_key()?);
    let policy = draft("secret", &[])?.on(EventType::TagRetention).target(secret);
    world.store.create(OTHER, policy).await?;
    for _ in 0..6 {
        world.deliver(&[0], lane()).await?;
    }
    world.deliver(&[1], lane()).await?;
    let claimed = world.claim_some(4).await?;
    let mut ours = claimed.iter().filter(|claimed| claimed.policy_id == world.policies[0].id);
    let (Some(delivered), Some(dead), Some(parked)) = (ours.next(), ours.next(), ours.next()) else {
        return Err(Broken::new(
            LANES,
            "of six due deliveries in one lane, and one in another, one lane gave two of four",
        ));
    };
    world.settle_with(Settlement::new(delivered.lease, Next::Delivered).attempt(refusal("kept"))).await?;
    let end = Settlement::new(dead.lease, Next::Dead(DeadReason::Refused, Some("words".to_owned())));
    world.settle_with(end.close_lane(LONG, Hold::RetryAfter)).await?;
    world.change(parked.id, Change::Park).await?;
    for claimed in claimed.iter().filter(|claimed| claimed.policy_id != world.policies[0].id) {
        world.settle(claimed.lease, Next::Retry(LONG)).await?;
    }
    let (outbox, remembered) = (push()?, delivered.event_id);
    world.store.append(std::slice::from_ref(&outbox)).await?;
    world.store.switch(Some(false)).await?;
    let before = seen(&*world.store).await?;

    let Some(store) = Arc::into_inner(world.store) else { return Ok(()) };
    let Some(store) = factory.reopen(store).await else { return Ok(()) };
    world.store = Arc::new(store);
    let after = seen(&*world.store).await?;
    promise!(REOPENED, before.0 == after.0, "the policies were {:?} and are {:?}", before.0, after.0);
    promise!(REOPENED, before.1 == after.1, "the deliveries were {:#?} and are {:#?}", before.1, after.1);
    promise!(REOPENED, before.2 == after.2, "the hours were {:?} and are {:?}", before.2, after.2);
    promise!(REOPENED, !world.store.switch(None).await?, "the switch is on again");
    let again = world.store.append(&[outbox.clone(), push()?.id(remembered)]).await?;
    promise_eq!(REOPENED, again, [Appended::Duplicate; 2], "an event in the outbox, and one that was fanned out");
    let events = world.store.claim_events(ALL, LONG).await?;
    let events: Vec<_> = events.into_iter().map(|claimed| claimed.event).collect();
    promise_eq!(REOPENED, events, [Ok(outbox)], "the outbox");
    let status = world.status(|status| !status.closed_lanes.is_empty()).await?;
    let closed: Vec<_> = status.closed_lanes.iter().map(|lane| lane.policy_id).collect();
    promise_eq!(REOPENED, closed, [world.policies[0].id], "the lanes that are closed");
    world.claims_nothing(REOPENED, "from a closed lane, and of a retry that is not due").await?;
    let newest = world.store.list(&Filter::all(), Page::first(1)).await?[0].id;
    world.store.append(&[push()?]).await?;
    let lease = world.claim_event().await?;
    world.store.fan_out(&lease, world.part(&[1], uuid::Uuid::now_v7(), lane())).await?;
    let next = world.claim(REOPENED, LONG).await?;
    promise!(REOPENED, next.id > newest, "the number of a delivery was given again: {}", next.id);
    let old =
        claimed.iter().any(|claimed| claimed.lease.token == next.lease.token && claimed.lease.key == next.lease.key);
    promise!(TOKENS, !old, "a lease was given again: {:?}", next.lease);
    Ok(())
}

type Seen = (Vec<crate::policy::Policy>, Vec<String>, Option<Vec<Hour>>);

/// Everything that can be read; a delivery that is leased may be due after reopening.
async fn seen<S: PolicyStore + DeliveryStore>(store: &S) -> Result<Seen, Broken> {
    let mut deliveries = Vec::new();
    for mut delivery in store.list(&Filter::all(), Page::first(ALL)).await? {
        let detail = store.detail(delivery.id).await?;
        if delivery.state == State::Leased {
            delivery.state = State::Due;
        }
        delivery.due_in = None;
        deliveries.push(format!("{delivery:?} {:?}", detail.map(|detail| (detail.body, detail.attempts))));
    }
    let policies = store.policies(PolicyFilter::All, Page::first(ALL)).await?;
    Ok((policies, deliveries, store.hours(&Filter::all()).await?))
}
