//! The store's own time: microseconds that never go back, not even over a restart.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// It starts at the wall clock, or where the last process ended if the wall clock was set back, and then counts by itself.
pub(super) struct Clock {
    start: i64,
    opened: Instant,
}

impl Clock {
    pub(super) fn after(last: i64) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros);
        Self { start: wall.max(last), opened: Instant::now() }
    }

    pub(super) fn now(&self) -> i64 {
        self.start.saturating_add(micros(self.opened.elapsed()))
    }
}

pub(super) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// From one point in the store's time to a later one.
pub(super) fn between(from: i64, to: i64) -> Duration {
    Duration::from_micros(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}
