use std::sync::Arc;
use std::time::Duration;

use crate::store::conformance::sentences::*;
use crate::store::conformance::setup::*;
use crate::store::conformance::{Broken, Factory};
use crate::store::{Change, DeliveryStore, Hold, Next, PolicyStore, Settlement};

/// What a wait is given that should end by itself long before.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waiting ends when an event comes, when an operator makes a delivery due, when a retry is due, when a lease is lost and
/// when a lane opens; and always at its end.
///
/// # Errors
///
/// What the store does against the contract.
pub async fn waiting_ends_when_there_is_work<F: Factory>(factory: &F) -> Result<(), Broken> {
    let world = World::new(factory, 1).await?;
    for at_most in [Duration::ZERO, LATER] {
        in_time("an empty store", world.store.ready(at_most)).await?;
    }
    let waiting = wait(&world);
    world.store.append(&[push()?]).await?;
    in_time("an event was appended", waiting).await?;

    let lease = world.claim_event().await?;
    let waiting = wait(&world);
    world.store.fan_out(&lease, world.part(&[0], uuid::Uuid::now_v7(), lane())).await?;
    in_time("an event was fanned out", waiting).await?;

    let lease = world.claim(LANES, LONG).await?.lease;
    world.settle(lease, Next::Retry(LATER * 4)).await?;
    in_time("a retry was about to be due", wait(&world)).await?;
    pause(LATER * 4).await;

    let claimed = world.claim(READY, LATER * 4).await?;
    in_time("a lease was about to be lost", wait(&world)).await?;
    pause(LATER * 5).await;

    let lease = world.claim(LOSSES, LONG).await?.lease;
    world
        .settle_with(Settlement::new(lease, Next::Retry(Duration::ZERO)).close_lane(LATER * 4, Hold::Disabled))
        .await?;
    in_time("a lane was about to open", wait(&world)).await?;
    pause(LATER * 5).await;

    let lease = world.claim(GATE, LONG).await?.lease;
    world.settle(lease, Next::Delivered).await?;
    let waiting = wait(&world);
    pause(LATER).await;
    world.change(claimed.id, Change::Redeliver).await?;
    in_time("a delivery was redelivered", waiting).await
}

fn wait<S: PolicyStore + DeliveryStore>(world: &World<S>) -> impl Future<Output = crate::Result<()>> + use<S> {
    let store = Arc::clone(&world.store);
    let task = tokio::spawn(async move { store.ready(PATIENCE * 2).await });
    async { task.await.unwrap_or_else(|e| Err(crate::Error::new(crate::ErrorKind::Store, e.to_string()))) }
}

async fn in_time(what: &str, waiting: impl Future<Output = crate::Result<()>>) -> Result<(), Broken> {
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(ready) => Ok(ready?),
        Err(_) => Err(Broken::new(READY, format!("a wait did not end in {PATIENCE:?} when {what}"))),
    }
}
