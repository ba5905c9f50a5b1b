use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::hand::Wanted;
use super::idle::Idle;
use super::news::News;
use super::shared::Inner;
use super::workers::{Ready, Workers};
use crate::error::Result;
use crate::id::TargetId;
use crate::observe::Cycle;
use crate::store::{Claimed, Next, Resolved, Settlement};

/// Deliveries claimed at once.
const ROUND: usize = 256;

/// The cycle that claims deliveries and gives them to workers. `news` wakes it: deliveries were added, or lanes have room
/// again.
pub(super) async fn run(
    inner: &Arc<Inner>,
    stopped: watch::Receiver<bool>,
    news: &News,
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
    news: &News,
    unwritten: &watch::Receiver<bool>,
    workers: &Workers,
) -> Result<()> {
    let mut idle = Idle::new(inner, Cycle::Sending, news.wakes(), stopped.clone());
    while !idle.is_stopped() {
        if *unwritten.borrow() {
            // What would be claimed now could not be settled either.
            unless_stopped(stopped, becomes(unwritten, false)).await;
            continue;
        }
        workers.staff();
        workers.told_of(news.take());
        let Some(mut wanted) = workers.wanted() else {
            unless_stopped(stopped, workers.low(news)).await;
            continue;
        };
        wanted.max = wanted.max.min(ROUND);
        match round(inner, &wanted, workers).await {
            // The others, which have as much in hand as they may, are claimed for again when they have less.
            Ok(_) if !wanted.beside.is_empty() => idle.busy(),
            Ok(0) => idle.wait().await,
            Ok(count) => {
                idle.busy();
                // There may be no more: asking the store when is cheaper than another claim.
                if count < wanted.max {
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
async fn round(inner: &Inner, wanted: &Wanted, workers: &Workers) -> Result<usize> {
    let (at, lease) = (crate::clock::instant(), inner.settings.lease());
    let claimed = match &*wanted.beside {
        [] => inner.deliveries.claim(wanted.max, lease).await?,
        busy => inner.deliveries.claim_beside(busy, wanted.max, lease).await?,
    };
    workers.claimed(wanted, at, claimed.len());
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
    let ready = claimed.into_iter().map(|claimed| {
        let resolved = resolved.get(&claimed.target_id).cloned().unwrap_or(Resolved::Gone);
        Ready { claimed, resolved, at }
    });
    workers.take(ready.collect(), &wanted.beside).await;
    Ok(count)
}

fn distinct_targets(claimed: &[Claimed]) -> Vec<TargetId> {
    let mut targets: Vec<_> = claimed.iter().map(|claimed| claimed.target_id).collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}
