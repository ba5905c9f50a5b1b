use std::time::Duration;

/// A point on the store's clock: microseconds since the store was made. It takes half of a `Duration`, and every delivery
/// has two.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) fn new(since_start: Duration) -> Self {
        Self(micros(since_start))
    }

    /// Later than any other.
    pub(super) const END: Self = Self(u64::MAX);

    /// Since the store was made.
    pub(super) fn to_duration(self) -> Duration {
        Duration::from_micros(self.0)
    }

    pub(super) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(micros(time)))
    }

    /// How long ago `earlier` was; nothing if it is not earlier.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
