use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use super::idle::Idle;
use super::shared::Inner;
use super::workers::{Busy, Ready, Workers};
use crate::error::Result;
use crate::id::TargetId;
use crate::observe::Cycle;
use crate::store::{Claimed, Hold, Next, Resolved, Settlement};

/// Deliveries claimed at once.
const ROUND: usize = 256;

/// How long the lanes are left alone that have more for a project than it may have in hand.
const BUSY: Duration = Duration::from_millis(250);

/// The cycle that claims deliveries and gives them to workers. `news` wakes it: deliveries were added, or lanes have room
/// again.
pub(super) async fn run(
    inner: &Arc<Inner>,
    stopped: watch::Receiver<bool>,
    news: &Notify,
    results: &mpsc::Sender<Settlement>,
    unwritten: &watch::Receiver<bool>,
) -> Result<()> {
    let mut workers = Workers::new(inner, results.clone());
    let ended = claim(inner, &stopped, news, unwritten, &workers).await;
    workers.drain(inner.settings.shutdown_grace).await;
    ended
}

async fn claim(
    inner: &Arc<Inner>,
    stopped: &watch::Receiver<bool>,
    news: &Notify,
    unwritten: &watch::Receiver<bool>,
    workers: &Workers,
) -> Result<()> {
    let mut idle = Idle::new(inner, Cycle::Sending, news, stopped.clone());
    while !idle.is_stopped() {
        if *unwritten.borrow() {
            // What would be claimed now could not be settled either.
            unless_stopped(stopped, becomes(unwritten, false)).await;
            continue;
        }
        workers.staff();
        let room = workers.room();
        if room == 0 {
            unless_stopped(stopped, workers.low()).await;
            continue;
        }
        let room = room.min(ROUND);
        match round(inner, room, workers).await {
            Ok(0) => idle.wait().await,
            Ok(count) => {
                idle.busy();
                // There may be no more: asking the store when is cheaper than another claim.
                if count < room {
                    idle.wait().await;
                }
            }
            Err(e) if e.is_retryable() => idle.trouble(&e).await,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

async fn unless_stopped(stopped: &watch::Receiver<bool>, event: impl Future<Output = ()>) {
    tokio::select! {
        () = event => {}
        () = becomes(stopped, true) => {}
    }
}

async fn becomes(flag: &watch::Receiver<bool>, wanted: bool) {
    // The sender is gone only when `run` ends.
    let _ = flag.clone().wait_for(|flag| *flag == wanted).await;
}

/// Claims, and hands on what was claimed. Says how many that were.
async fn round(inner: &Inner, room: usize, workers: &Workers) -> Result<usize> {
    let at = crate::clock::instant();
    let claimed = inner.deliveries.claim(room, inner.settings.lease()).await?;
    if claimed.is_empty() {
        return Ok(0);
    }
    let targets = distinct_targets(&claimed);
    let resolved = match inner.resolve(&targets).await {
        Ok(resolved) => resolved,
        Err(e) => {
            // Given back: a lease that merely runs out counts as lost, and too many of those make a delivery dead.
            for claimed in claimed {
                workers.settle(Settlement::new(claimed.lease, Next::Release(Duration::ZERO))).await;
            }
            return Err(e);
        }
    };
    let resolved: HashMap<TargetId, Resolved> = targets.into_iter().zip(resolved).collect();
    let count = claimed.len();
    let mut ready = Vec::with_capacity(count);
    for claimed in claimed {
        match workers.place(claimed.project_id) {
            Ok(place) => {
                let resolved = resolved.get(&claimed.target_id).cloned().unwrap_or(Resolved::Gone);
                ready.push(Ready { claimed, resolved, at, place });
            }
            Err(Busy) => {
                let release = Settlement::new(claimed.lease, Next::Release(Duration::ZERO));
                workers.settle(release.close_lane(BUSY, Hold::ProjectBusy)).await;
            }
        }
    }
    workers.take(ready).await;
    Ok(count)
}

fn distinct_targets(claimed: &[Claimed]) -> Vec<TargetId> {
    let mut targets: Vec<_> = claimed.iter().map(|claimed| claimed.target_id).collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}
