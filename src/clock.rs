use std::fmt;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// The wall clock: when an event happened, when an attempt was made.
///
/// Only what people read comes from here. Waiting and leases are durations that each store measures itself, so a
/// clock that jumps cannot lose or repeat a delivery.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> DateTime<Utc>;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// The current point on the clock that never jumps (and that tests can pause).
pub(crate) fn instant() -> Instant {
    Instant::now()
}
