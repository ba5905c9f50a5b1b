use std::time::Duration;

use tokio::sync::watch;

use super::shared::Inner;
use crate::delivery::{DeadReason, State};
use crate::error::Result;
use crate::observe::{Bound, Cycle, Observation};
use crate::store::{Filter, Page, StateKind};

/// The pause between two looks at what waits.
const PAUSE: Duration = Duration::from_secs(10);
/// Dead deliveries looked at in one look.
const DEAD: usize = 100;

/// The pause between two notes of what the cycles did.
const NOTE: Duration = Duration::from_secs(1);

/// The cycle that tells observers what waits, if there are any, and notes what the others do.
pub(super) async fn run(inner: &Inner, mut stopped: watch::Receiver<bool>) -> Result<()> {
    let sampling = async {
        let mut newest = None;
        while !inner.observers.is_empty() {
            // A fault that ends `run` is found by the other cycles: that somebody watches must not change what happens.
            if let Err(e) = look(inner, &mut newest).await {
                inner.trouble(Cycle::Sampling, &e, PAUSE);
            }
            tokio::time::sleep(PAUSE).await;
        }
        std::future::pending().await
    };
    let noting = async {
        loop {
            inner.pulse.note();
            tokio::time::sleep(NOTE).await;
        }
    };
    tokio::select! {
        never = sampling => never,
        never = noting => never,
        _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
    }
}

async fn look(inner: &Inner, newest: &mut Option<i64>) -> Result<()> {
    let status = inner.deliveries.status().await?;
    inner.observers.tell(|| Observation::Sampled(&status));
    let times = refused(inner, newest).await?;
    if times > 0 {
        inner.observers.tell(|| Observation::BoundReached { bound: Bound::Lane, project_id: None, times });
    }
    inner.pulse.answered(Cycle::Sampling, true);
    Ok(())
}

/// How many of the deliveries made since the last look are dead because their lane was full; `newest` is the newest one then.
async fn refused(inner: &Inner, newest: &mut Option<i64>) -> Result<u64> {
    let last = inner.deliveries.list(&Filter::all(), Page::first(1)).await?;
    let last = last.first().map_or(0, |delivery| delivery.id.0);
    let before = newest.replace(last).unwrap_or(last);
    if last == before {
        return Ok(0);
    }
    let dead = inner.deliveries.list(&Filter::all().state(StateKind::Dead), Page::first(DEAD)).await?;
    let refused = |state| state == State::Dead(DeadReason::LaneFull);
    Ok(dead.iter().filter(|delivery| delivery.id.0 > before && refused(delivery.state)).count() as u64)
}
