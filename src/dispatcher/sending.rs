use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use super::attempt::attempt;
use super::caught::{Panicked, caught};
use super::idle::Idle;
use super::shared::Inner;
use crate::delivery::{CancelReason, DeadReason};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TargetId;
use crate::store::{Claimed, Next, Resolved, Settlement};

/// How long a lane stays closed before somebody looks again whether its policy is enabled. Enabling it opens the lane.
const HOLD: Duration = Duration::from_secs(30);
/// Deliveries claimed at once.
const ROUND: usize = 64;

/// The cycle that claims deliveries and gives each to a worker.
pub(super) async fn run(
    inner: &Arc<Inner>,
    stopped: watch::Receiver<bool>,
    fanned_out: &Notify,
    results: &mpsc::Sender<Settlement>,
    unwritten: &watch::Receiver<bool>,
) -> Result<()> {
    let (abandon, abandoned) = watch::channel(false);
    let mut workers = Workers { running: JoinSet::new(), results: results.clone(), abandoned };
    let mut idle = Idle::new(inner, fanned_out, stopped.clone());
    while !idle.is_stopped() {
        if *unwritten.borrow() {
            // What would be claimed now could not be settled either.
            written_again(unwritten, &stopped).await;
            continue;
        }
        let room = inner.settings.max_in_flight.max(1).saturating_sub(workers.running.len());
        if room == 0 {
            workers.one_ended(&stopped).await;
            continue;
        }
        match round(inner, room.min(ROUND), &mut workers).await {
            Ok(0) => tokio::select! {
                () = idle.wait() => {}
                // A lane has room again.
                Some(_) = workers.running.join_next() => idle.busy(),
            },
            Ok(_) => idle.busy(),
            Err(e) if e.is_retryable() => idle.trouble(&e).await,
            Err(e) => return Err(e),
        }
    }
    workers.drain(inner.settings.shutdown_grace, &abandon).await;
    Ok(())
}

/// Waits until the results of attempts can be written again.
async fn written_again(unwritten: &watch::Receiver<bool>, stopped: &watch::Receiver<bool>) {
    let (mut unwritten, mut stopped) = (unwritten.clone(), stopped.clone());
    tokio::select! {
        _ = unwritten.wait_for(|unwritten| !*unwritten) => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

/// Claims, and starts workers for what can be sent. Says how many were claimed.
async fn round(inner: &Arc<Inner>, room: usize, workers: &mut Workers) -> Result<usize> {
    workers.reap();
    let claimed = inner.deliveries.claim(room, inner.settings.lease()).await?;
    let targets = distinct_targets(&claimed);
    let resolved = match resolve(inner, &targets).await {
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
    for claimed in claimed {
        match resolved.get(&claimed.target_id) {
            _ if claimed.age > inner.settings.retry.max_age => {
                workers.settle(Settlement::new(claimed.lease, Next::Dead(DeadReason::Expired, None))).await;
            }
            Some(Resolved::Send(target)) => workers.start(inner, claimed, Arc::clone(target)),
            Some(Resolved::Hold(why)) => {
                let hold = Settlement::new(claimed.lease, Next::Release(Duration::ZERO)).close_lane(HOLD, *why);
                workers.settle(hold).await;
            }
            Some(Resolved::Gone) | None => {
                workers.settle(Settlement::new(claimed.lease, Next::Cancelled(CancelReason::TargetGone))).await;
            }
        }
    }
    Ok(count)
}

async fn resolve(inner: &Inner, targets: &[TargetId]) -> Result<Vec<Resolved>> {
    let panicked = || Error::new(ErrorKind::Unavailable, "the policy source panicked");
    caught(inner.source.resolve(targets)).await.unwrap_or_else(|Panicked| Err(panicked()))
}

fn distinct_targets(claimed: &[Claimed]) -> Vec<TargetId> {
    let mut targets: Vec<_> = claimed.iter().map(|claimed| claimed.target_id).collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}

/// The attempts under way.
struct Workers {
    running: JoinSet<()>,
    results: mpsc::Sender<Settlement>,
    /// Turns true when the grace is over.
    abandoned: watch::Receiver<bool>,
}

impl Workers {
    fn start(&mut self, inner: &Arc<Inner>, claimed: Claimed, target: Arc<crate::policy::Target>) {
        let inner = Arc::clone(inner);
        let results = self.results.clone();
        let mut abandoned = self.abandoned.clone();
        self.running.spawn(async move {
            let lease = claimed.lease;
            let settlement = tokio::select! {
                settlement = attempt(&inner, claimed, &target) => settlement,
                // Given back as if it had not been claimed; whether the receiver saw it is unknown.
                _ = abandoned.wait_for(|over| *over) => Settlement::new(lease, Next::Release(Duration::ZERO)),
            };
            // Fails only when `run` was dropped: then the lease runs out.
            let _ = results.send(settlement).await;
        });
    }

    async fn settle(&self, settlement: Settlement) {
        let _ = self.results.send(settlement).await;
    }

    fn reap(&mut self) {
        while self.running.try_join_next().is_some() {}
    }

    async fn one_ended(&mut self, stopped: &watch::Receiver<bool>) {
        let mut stopped = stopped.clone();
        tokio::select! {
            _ = self.running.join_next() => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    /// Waits for the attempts under way, and abandons those that outlast the grace.
    async fn drain(&mut self, grace: Duration, abandon: &watch::Sender<bool>) {
        let all = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all).await.is_err() {
            let _ = abandon.send(true);
            while self.running.join_next().await.is_some() {}
        }
    }
}
