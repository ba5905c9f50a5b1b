use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::news::News;
use super::shared::Inner;
use crate::delivery::breaker;
use crate::error::Result;
use crate::id::{DeliveryId, TargetId};
use crate::observe::{Cycle, Observation};
use crate::store::{Fenced, Settled, Settlement};

/// Settlements written at once.
const BATCH: usize = 256;
/// The longest pause after the store failed.
const LONGEST_TROUBLE: Duration = Duration::from_secs(2);

/// The cycle that writes down what came of attempts. It ends when nothing more can come.
///
/// While it cannot write, it says so in `unwritten`: nothing more is claimed then. When it has written, it says so by `news`:
/// lanes have room again.
pub(super) async fn run(
    inner: &Inner,
    mut results: mpsc::Receiver<Settlement>,
    unwritten: &watch::Sender<bool>,
    news: &News,
) -> Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    while results.recv_many(&mut batch, BATCH).await > 0 {
        settle(inner, std::mem::take(&mut batch), unwritten).await?;
        news.tell();
    }
    Ok(())
}

/// Tries until the store takes them. Results whose leases have run out by then change nothing: the deliveries are sent
/// again.
async fn settle(inner: &Inner, batch: Vec<Settlement>, unwritten: &watch::Sender<bool>) -> Result<()> {
    let mut pause = Duration::from_millis(50);
    loop {
        match inner.deliveries.settle(batch.clone()).await {
            Ok(settled) => {
                unwritten.send_if_modified(std::mem::take);
                inner.pulse.answered(Cycle::Settling, true);
                tell(inner, &batch, &settled);
                let stale = settled.iter().filter(|settled| **settled == Fenced::Stale).count();
                if stale > 0 {
                    tracing::info!(stale, "results came after their leases had run out and were not written");
                }
                return Ok(());
            }
            Err(e) if !e.is_retryable() => return Err(e),
            Err(error) => {
                unwritten.send_replace(true);
                inner.trouble(Cycle::Settling, &error, pause);
                tracing::warn!(%error, ?pause, "results could not be written; trying again, and nothing is claimed");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_TROUBLE);
            }
        }
    }
}

/// Says what came of each, and what changed with a target: none is left alone, or given up, in silence.
fn tell(inner: &Inner, batch: &[Settlement], settled: &[Settled]) {
    for (settlement, settled) in batch.iter().zip(settled) {
        let delivery_id = DeliveryId(settlement.lease.key);
        inner.observers.tell(|| match settled.fenced {
            Fenced::Done => Observation::Settled { delivery_id, settlement },
            Fenced::Stale => Observation::Stale { delivery_id },
        });
        if let Some((target_id, news)) = settled.news {
            log(target_id, news);
            inner.observers.tell(|| Observation::TargetChanged { target_id, news });
        }
    }
}

fn log(target: TargetId, news: breaker::News) {
    match news {
        breaker::News::Failing => tracing::warn!(%target, "a target fails, one attempt after the other"),
        breaker::News::Recovered => tracing::info!(%target, "a target that failed takes deliveries again"),
        breaker::News::Disabled(why) => {
            tracing::warn!(%target, ?why, "a target is disabled; its deliveries are parked until it is enabled");
        }
    }
}
