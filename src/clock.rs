use std::fmt;

use chrono::{DateTime, Datelike as _, Utc};
use tokio::time::Instant;

use crate::caught::caught_now;

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

/// A host's clock. Where it panics, or shows a year that not every store can keep, the system's time counts.
#[derive(Debug)]
pub(crate) struct Guarded<C>(pub(crate) C);

impl<C: Clock> Clock for Guarded<C> {
    fn now(&self) -> DateTime<Utc> {
        let now = caught_now(|| self.0.now()).ok();
        now.filter(|now| (1..=9999).contains(&now.year())).unwrap_or_else(|| SystemClock.now())
    }
}

/// The current point on the clock that never jumps (and that tests can pause).
pub(crate) fn instant() -> Instant {
    Instant::now()
}
