use std::time::Duration;

use tokio::sync::watch;

use super::shared::Inner;
use crate::error::Result;
use crate::observe::{Cycle, Observation};

/// Rows looked at in one step.
const STEP: usize = 1000;
/// The pause between two sweeps.
const PAUSE: Duration = Duration::from_secs(60);
/// The pause between two steps of one sweep, so that it does not hold the store.
const BREATH: Duration = Duration::from_millis(20);

/// The cycle that removes old history and gives up what waited too long.
pub(super) async fn run(inner: &Inner, mut stopped: watch::Receiver<bool>) -> Result<()> {
    let mut keep = inner.settings.retention.clone();
    keep.max_age = inner.settings.retry.max_age;
    loop {
        let pause = match inner.deliveries.sweep(&keep, STEP).await {
            Ok(swept) => {
                inner.pulse.answered(Cycle::Sweeping, swept.removed + swept.expired > 0);
                inner.observers.tell(|| Observation::Swept(swept));
                if swept.more { BREATH } else { PAUSE }
            }
            Err(e) if e.is_retryable() => {
                inner.trouble(Cycle::Sweeping, &e, PAUSE);
                PAUSE
            }
            Err(e) => return Err(e),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
        }
    }
}
