use std::time::Duration;

use crate::delivery::{Attempt, CancelReason, DeadReason, FailureKind, Outcome, State};
use crate::event::EventType;
use crate::store::conformance::sentences::*;
use crate::store::conformance::setup::*;
use crate::store::conformance::{Broken, Factory};
use crate::store::{DeliveryStore, Fenced, Next, Settlement};

/// Delivered, tried again, released, dead, cancelled: each leaves the state, the attempts and the next claim as it should.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn each_result_leaves_its_state<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 1).await?;
    released_and_tried_again(&world).await?;
    for (next, right, detail) in [
        (Next::Delivered, State::Delivered, None),
        (Next::Dead(DeadReason::Refused, Some("why".to_owned())), State::Dead(DeadReason::Refused), Some("why")),
        (Next::Cancelled(CancelReason::TargetGone), State::Cancelled(CancelReason::TargetGone), None),
    ] {
        let made = world.deliver_one().await?;
        let lease = world.claim(LANES, LONG).await?.lease;
        promise_eq!(SETTLED, world.settle(lease, next).await?, Fenced::Done, "a settlement with a good lease");
        let kept = world.detail(made.id).await?.delivery;
        promise_eq!(SETTLED, (kept.state, kept.detail.as_deref()), (right, detail), "the state after a settlement");
        promise_eq!(SETTLED, (kept.attempts, kept.due_in), (0, None), "attempts, and time until the next");
        world.claims_nothing(SETTLED, "after the only one had ended").await?;
    }
    Ok(())
}

async fn released_and_tried_again<S>(world: &World<S>) -> Result<(), Broken>
where
    S: crate::store::PolicyStore + DeliveryStore,
{
    let made = world.deliver_one().await?;
    promise_eq!(LISTED, (made.state, made.attempts), (State::Due, 0), "a new delivery");
    let body = world.detail(made.id).await?.body;
    let mut claimed = world.claim(LANES, LONG).await?;
    let found = (claimed.id, claimed.event_id, claimed.project_id, claimed.policy_id, claimed.target_id);
    promise_eq!(CLAIMED, claimed.event_type, EventType::PushArtifact, "the event's type");
    let right = (made.id, made.event_id, made.project_id, made.policy_id, made.target_id);
    promise_eq!(CLAIMED, found, right, "what was claimed");
    promise_eq!(CLAIMED, Some(claimed.body.clone()), body, "the body that was claimed");
    promise_eq!(LISTED, world.state(made.id).await?, State::Leased, "a delivery that is leased");

    world.settle(claimed.lease, Next::Release(LONG)).await?;
    world.claims_nothing(RELEASED, "before the time of its release was over").await?;
    let due = world.detail(made.id).await?.delivery.due_in;
    promise!(RELEASED, due.is_some_and(|due| due > LONG / 2 && due <= LONG), "due in {due:?} after a release");
    // A second one goes on; the first is in nobody's way.
    let made = world.deliver_one().await?;
    claimed = world.claim(RELEASED, LONG).await?;
    let answered = refusal("first");
    let broken = Outcome::Failed { kind: FailureKind::Tls, message: "wrong name".to_owned() };
    let failed = Attempt::new(answered.started_at, Duration::from_millis(5), broken)
        .remote_addr(Some(([192, 0, 2, 7], 443).into()));
    for (n, attempt) in [&answered, &failed].into_iter().enumerate() {
        let next = Next::Retry(Duration::ZERO);
        world.settle_with(Settlement::new(claimed.lease, next).attempt(attempt.clone())).await?;
        pause(Duration::from_millis(3)).await;
        claimed = world.claim(SETTLED, LONG).await?;
        promise_eq!(
            CLAIMED,
            (claimed.id, claimed.attempts),
            (made.id, n as u32 + 1),
            "what is claimed after an attempt"
        );
        promise!(CLAIMED, claimed.age >= Duration::from_millis(2), "its age is {:?}", claimed.age);
        world.settle(claimed.lease, Next::Release(Duration::ZERO)).await?;
        claimed = world.claim(RELEASED, LONG).await?;
        promise_eq!(RELEASED, claimed.attempts, n as u32 + 1, "attempts after a release");
    }
    world.settle(claimed.lease, Next::Retry(LONG)).await?;
    let detail = world.detail(made.id).await?;
    promise_eq!(DETAIL, detail.attempts, [answered, failed], "the attempts that are kept");
    promise_eq!(SETTLED, detail.delivery.attempts, 2, "the attempts that are counted");
    world.claims_nothing(SETTLED, "before the time of its retry was over").await
}
