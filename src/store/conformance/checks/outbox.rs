use std::sync::Arc;

use uuid::Uuid;

use crate::delivery::{DeadReason, State};
use crate::store::conformance::sentences::*;
use crate::store::conformance::setup::*;
use crate::store::conformance::{Broken, Factory};
use crate::store::{Appended, DeliveryStore, FanOut, Fenced, Filter, LaneLimits, Lease, NewDelivery, Page, Retention};

/// An event that is appended again, in one call, later, at once by several, or after its fan-out, is one event.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn an_event_is_appended_once<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 1).await?;
    let (event, second) = (push()?, push()?);
    let answers = world.store.append(&[event.clone(), second.clone(), event.clone()]).await?;
    promise_eq!(APPENDED, answers.len(), 3, "answers about three events");
    promise_eq!(
        DUPLICATE,
        answers,
        [Appended::Inserted, Appended::Inserted, Appended::Duplicate],
        "one event twice in a call"
    );
    promise_eq!(
        DUPLICATE,
        world.store.append(std::slice::from_ref(&event)).await?,
        [Appended::Duplicate],
        "the event again"
    );
    promise_eq!(APPENDED, world.store.append(&[]).await?, [], "no event");

    let claimed = world.store.claim_events(ALL, LONG).await?;
    promise_eq!(DUPLICATE, claimed.len(), 2, "events to fan out");
    for claimed in &claimed {
        world.store.fan_out(&claimed.lease, world.part(&[0], Uuid::now_v7(), lane())).await?;
    }
    let again = world.store.append(&[event, second]).await?;
    promise_eq!(LAST_PART, again, [Appended::Duplicate, Appended::Duplicate], "events appended after their fan-out");

    let contested = push()?;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (store, event) = (Arc::clone(&world.store), contested.clone());
            tokio::spawn(async move { store.append(&[event]).await })
        })
        .collect();
    let mut inserted = 0;
    for task in tasks {
        let answer = task.await.map_err(|e| Broken::new("", format!("a task panicked: {e}")))??;
        inserted += answer.iter().filter(|appended| **appended == Appended::Inserted).count();
    }
    promise_eq!(TOGETHER, inserted, 1, "how often one event was inserted by eight tasks at once");
    // Forgetting it, when its time has come, is all that allows it again.
    let lease = world.claim_event().await?;
    world.store.fan_out(&lease, world.part(&[], Uuid::now_v7(), lane())).await?;
    world.store.sweep(&Retention::default(), ALL).await?;
    let again = world.store.append(&[contested]).await?;
    promise_eq!(DUPLICATE, again, [Appended::Duplicate], "an event that a sweep had no reason to forget");
    Ok(())
}

/// Events are given out whole, in their order, and each to one only.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn events_come_oldest_first<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 1).await?;
    let mut events = Vec::new();
    for n in 0..5 {
        let event = push()?.request_id("r-1");
        // A test that lost its policy would go to everybody.
        events.push(if n == 3 { event.as_test(world.policies[0].id) } else { event });
        world.store.append(&events[events.len() - 1..]).await?;
    }
    let mut claimed = world.store.claim_events(2, LONG).await?;
    promise_eq!(EVENTS_CLAIMED, claimed.len(), 2, "events claimed when two are asked for");
    claimed.extend(world.store.claim_events(ALL, LONG).await?);
    let found: Vec<_> = claimed.iter().map(|claimed| claimed.event.clone()).collect();
    let right: Vec<_> = events.into_iter().map(Ok).collect();
    promise_eq!(EVENTS_CLAIMED, found, right, "the events claimed");
    let more = world.store.claim_events(ALL, LONG).await?.len();
    promise_eq!(EVENTS_CLAIMED, more, 0, "events claimed again while their leases run");
    Ok(())
}

/// An event whose lease ran out is given again, and the old lease writes nothing.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn a_lost_event_is_given_again<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 1).await?;
    world.store.append(&[push()?]).await?;
    let lost = world.store.claim_events(1, MOMENT).await?;
    promise_eq!(EVENTS_CLAIMED, lost.len(), 1, "events claimed");
    pause(LATER).await;
    let part = || world.part(&[0], Uuid::now_v7(), lane());
    let stale = world.store.fan_out(&lost[0].lease, part()).await?;
    promise_eq!(STALE, stale, Fenced::Stale, "fanning out with a lease that ran out");
    let held = world.claim_event().await?;
    promise_eq!(STALE, held.key, lost[0].lease.key, "the row of the event that was lost");
    promise!(TOKENS, held.token != lost[0].lease.token, "one token came twice: {}", held.token);
    for (what, lease) in [("lost", lost[0].lease), ("forged", Lease::new(held.key, held.token.wrapping_add(1)))] {
        let stale = world.store.fan_out(&lease, part()).await?;
        promise_eq!(STALE, stale, Fenced::Stale, "fanning out with a lease that is not the event's");
        let made = world.list(&Filter::all()).await?.len();
        promise!(STALE, made == 0, "fanning out with a {what} lease made {made} deliveries");
    }
    promise_eq!(STALE, world.store.fan_out(&held, part()).await?, Fenced::Done, "fanning out with the lease");
    promise_eq!(STALE, world.store.fan_out(&held, part()).await?, Fenced::Stale, "fanning out once more");
    Ok(())
}

/// An event may be fanned out in parts, and anew after a lease was lost on the way: each target gets one delivery.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn each_delivery_is_made_once<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 3).await?;
    let event = push()?;
    world.store.append(std::slice::from_ref(&event)).await?;
    // Long enough for a first part to be written, even on a machine that is busy.
    let lease = LATER * 40;
    let lost = world.store.claim_events(1, lease).await?;
    promise_eq!(EVENTS_CLAIMED, lost.len(), 1, "events claimed");
    let body = Uuid::now_v7();
    let mut first = world.part(&[0, 1], body, lane());
    first.last = false;
    let done = world.store.fan_out(&lost[0].lease, first).await?;
    promise_eq!(STALE, done, Fenced::Done, "fanning a first part out");
    let made: Vec<_> = world.list(&Filter::all()).await?.iter().map(|delivery| delivery.id).collect();
    promise_eq!(UNIQUE, made.len(), 2, "deliveries after the first part");
    let outbox = world.status(|status| status.outbox == 1).await?.outbox;
    promise_eq!(LAST_PART, outbox, 1, "events in the outbox before the last part");
    pause(lease).await;

    let lease = world.claim_event().await?;
    world.store.fan_out(&lease, world.part(&[0, 1, 2, 2], body, lane())).await?;
    let listed = world.list(&Filter::event(event.id)).await?;
    let targets = listed.iter().map(|delivery| delivery.target_id).collect::<std::collections::BTreeSet<_>>();
    promise_eq!(UNIQUE, (listed.len(), targets.len()), (3, 3), "deliveries and targets after fanning out anew");
    promise!(UNIQUE, made.iter().all(|id| listed.iter().any(|d| d.id == *id)), "the first deliveries were made anew");
    let again = world.store.claim_events(ALL, LONG).await?.len();
    promise_eq!(LAST_PART, again, 0, "events to fan out after the last part");
    let outbox = world.status(|status| status.outbox == 0).await?.outbox;
    promise_eq!(LAST_PART, outbox, 0, "events in the outbox after the last part");
    for delivery in listed {
        let kept = world.detail(delivery.id).await?.body;
        promise_eq!(UNIQUE, kept, Some(body_of(body)), "the body of a delivery");
    }
    Ok(())
}

/// A full lane, a format that failed and an unreadable event end where somebody sees them.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn what_cannot_be_sent_is_kept_dead<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 2).await?;
    let narrow = LaneLimits::new(2, 1);
    for _ in 0..2 {
        world.deliver(&[0], narrow).await?;
    }
    world.claim(LANES, LONG).await?; // what is in flight counts too
    let event = world.deliver(&[0, 1], narrow).await?;
    let states: Vec<_> = world.list(&Filter::event(event)).await?.iter().map(|d| (d.policy_id, d.state)).collect();
    for (policy, right) in [(0, State::Dead(DeadReason::LaneFull)), (1, State::Due)] {
        let id = world.policies[policy].id;
        let found: Vec<_> = states.iter().filter(|(of, _)| *of == id).map(|(_, state)| *state).collect();
        promise_eq!(BORN_DEAD, found, [right], "a delivery to a full lane, or beside one");
    }

    world.store.append(&[push()?]).await?;
    let lease = world.claim_event().await?;
    let mut part = FanOut::default();
    let (policy, reason) = (&world.policies[1], "cannot write this");
    part.deliveries.push(NewDelivery::new(policy.id, &policy.targets[0], Err(reason.to_owned()), lane()));
    part.last = true;
    world.store.fan_out(&lease, part).await?;
    let newest = world.store.list(&Filter::policy(policy.id), Page::first(1)).await?;
    let found: Vec<_> = newest.iter().map(|d| (d.state, d.detail.as_deref())).collect();
    promise_eq!(BORN_DEAD, found, [(State::Dead(DeadReason::Format), Some(reason))], "a delivery without a body");
    promise_eq!(BORN_DEAD, world.detail(newest[0].id).await?.body, None, "its body");

    world.store.append(&[push()?]).await?;
    let lease = world.claim_event().await?;
    let mut part = FanOut::default();
    (part.last, part.set_aside) = (true, Some("broken row".to_owned()));
    world.store.fan_out(&lease, part).await?;
    let again = world.store.claim_events(ALL, LONG).await?.len();
    promise_eq!(SET_ASIDE, again, 0, "events to fan out after the only one was set aside");
    let aside = world.status(|status| !status.set_aside.is_empty()).await?.set_aside;
    let reasons: Vec<_> = aside.iter().map(|aside| &*aside.reason).collect();
    promise_eq!(SET_ASIDE, reasons, ["broken row"], "what the status shows as set aside");
    Ok(())
}
