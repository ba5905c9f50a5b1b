//! The loop behind [`Webhooks::run`](crate::Webhooks::run): five cycles that share nothing but the store.
//!
//! * `intake` turns events of the outbox into deliveries,
//! * `sending` claims deliveries, somewhat ahead, for the `workers`, which make one `attempt` after the other,
//! * `settle` writes down what came of them, many at a time,
//! * `sweep` removes old history,
//! * `sample` tells observers what waits.
//!
//! They end when the host says so, and then within the settings' grace.

mod attempt;
mod figures;
mod hand;
mod idle;
mod intake;
mod left;
mod news;
mod parts;
mod pulse;
mod rendering;
mod sample;
mod sending;
mod settle;
mod shared;
mod sweep;
mod turns;
mod workers;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

pub(crate) use figures::Figures;
pub(crate) use pulse::Pulse;
pub(crate) use shared::Inner;

use crate::caught;
use crate::error::Result;

/// What is left for the last settlements when the grace is over.
const LAST_WORDS: Duration = Duration::from_secs(5);

pub(crate) async fn run(inner: Arc<Inner>, shutdown: impl Future) -> Result<()> {
    let running = inner.pulse.begin();
    let ended = until(&inner, shutdown).await;
    if let Err(error) = &ended {
        running.ended_with(error);
    }
    ended
}

async fn until(inner: &Arc<Inner>, shutdown: impl Future) -> Result<()> {
    let (stop, stopped) = watch::channel(false);
    let mut cycles = pin!(cycles(inner, &stopped));
    tokio::select! {
        ended = &mut cycles => return ended,
        _ = shutdown => {}
    }
    // Nobody listens any more only if the cycles have ended.
    let _ = stop.send(true);
    let bound = inner.settings.shutdown_grace.saturating_add(LAST_WORDS);
    match tokio::time::timeout(bound, cycles).await {
        Ok(ended) => ended,
        Err(_) => {
            tracing::warn!("the store did not answer in time; what was under way is sent again later");
            Ok(())
        }
    }
}

async fn cycles(inner: &Arc<Inner>, stopped: &watch::Receiver<bool>) -> Result<()> {
    let (results, settled) = mpsc::channel(inner.settings.max_in_flight.max(1) * 4);
    let news = news::News::default();
    let (unwritten, is_unwritten) = watch::channel(false);
    let work = async {
        let ended = tokio::try_join!(
            intake::run(inner, stopped.clone(), &news),
            sending::run(inner, stopped.clone(), &news, &results, &is_unwritten),
            sweep::run(inner, stopped.clone()),
            sample::run(inner, stopped.clone()),
        );
        drop(results); // tells `settle` that nothing more comes
        ended.map(|_| ())
    };
    let mut settle = pin!(settle::run(inner, settled, &unwritten, &news));
    tokio::select! {
        // What came of the last attempts is still written.
        worked = work => worked.and(settle.await),
        // Only a fault ends it before the others: what they do could not be written any more.
        settled = &mut settle => settled,
    }
}
