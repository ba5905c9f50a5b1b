use std::time::Duration;

/// How many attempts may start in a time: a bucket of tokens, which a lane's claims take.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Rate {
    /// The time in which one token comes. Zero: no limit.
    spacing: Duration,
}

/// Tokens that came while nobody took them are good for this long, so that a claim that is late loses none.
const SLACK: Duration = Duration::from_millis(100);

impl Rate {
    /// As many as the lane's other limits allow.
    pub const UNLIMITED: Self = Self { spacing: Duration::ZERO };

    /// At most `count` in each `time`, evenly spread. No time, or a count of zero, is no limit.
    pub fn per(count: u32, time: Duration) -> Self {
        let spacing = time.checked_div(count).unwrap_or_default();
        // Stores count in whole microseconds, and the slowest rate is one in a day.
        let micros = spacing.as_micros().min(24 * 60 * 60 * 1_000_000);
        Self { spacing: Duration::from_micros(u64::try_from(micros).unwrap_or_default()) }
    }

    /// At most `count` in each second.
    pub fn per_second(count: u32) -> Self {
        Self::per(count, Duration::from_secs(1))
    }

    /// The time in which one token comes; zero without a limit. For stores.
    pub const fn spacing(self) -> Duration {
        self.spacing
    }

    /// How many tokens there are, when the next one is there at `next`. For stores, which keep `next` for each lane.
    ///
    /// Both times count from the same beginning, whatever it is. A new lane's `next` is zero.
    pub fn tokens(self, next: Duration, now: Duration) -> u32 {
        let Some(since) = now.checked_sub(next).filter(|_| !self.spacing.is_zero()) else {
            return if self.spacing.is_zero() { u32::MAX } else { 0 };
        };
        let more = since.as_nanos() / self.spacing.as_nanos();
        u32::try_from(more).unwrap_or(u32::MAX).saturating_add(1).min(self.burst())
    }

    /// When the next token is there after `taken` of them. For stores.
    pub fn take(self, next: Duration, now: Duration, taken: u32) -> Duration {
        if self.spacing.is_zero() {
            return Duration::ZERO;
        }
        // What came before the bucket was full is lost.
        next.max(now.saturating_sub(self.spacing.saturating_mul(self.burst() - 1)))
            .saturating_add(self.spacing.saturating_mul(taken))
    }

    /// How many tokens the bucket holds.
    fn burst(self) -> u32 {
        if self.spacing.is_zero() {
            return u32::MAX;
        }
        let burst = SLACK.as_micros().div_ceil(self.spacing.as_micros());
        u32::try_from(burst).unwrap_or(u32::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_spacings_with_a_little_slack() {
        assert_eq!((Rate::per_second(1).spacing(), Rate::per_second(1).burst()), (Duration::from_secs(1), 1));
        assert_eq!((Rate::per_second(50).spacing(), Rate::per_second(50).burst()), (Duration::from_millis(20), 5));
    }

    /// Takes all there are, again and again, at odd times.
    fn taken(rate: Rate, steps: impl Iterator<Item = u64>) -> (u32, Duration) {
        let (mut next, mut now, mut all) = (Duration::ZERO, Duration::from_secs(1000), 0);
        for step in steps {
            let tokens = rate.tokens(next, now);
            next = rate.take(next, now, tokens);
            all += tokens;
            now += Duration::from_millis(step);
        }
        (all, now - Duration::from_secs(1000))
    }

    #[test]
    fn no_more_are_taken_than_the_rate_and_what_is_late_is_not_lost() {
        for count in [1, 3, 7, 50, 333] {
            let rate = Rate::per_second(count);
            let (all, time) = taken(rate, (0..5000).map(|n| 1 + n % 13));
            let most = time.as_secs_f64() * f64::from(count) + f64::from(rate.burst());
            assert!(f64::from(all) <= most && f64::from(all) >= most * 0.97 - 2.0, "{all} of {most} at {count}");
        }
    }

    #[test]
    fn a_bucket_that_nobody_takes_from_holds_its_burst() {
        let rate = Rate::per_second(50);
        assert_eq!(rate.tokens(Duration::ZERO, Duration::from_secs(9_999)), 5);
        let next = rate.take(Duration::ZERO, Duration::from_secs(9_999), 5);
        assert_eq!(rate.tokens(next, Duration::from_secs(9_999)), 0);
        assert_eq!(rate.tokens(next, Duration::from_millis(9_999_020)), 1);
        assert_eq!(Rate::UNLIMITED.tokens(Duration::MAX, Duration::ZERO), u32::MAX);
    }

    #[test]
    fn extremes_are_no_limit_or_the_slowest() {
        assert_eq!(Rate::per_second(0), Rate::UNLIMITED);
        assert_eq!(Rate::per(5, Duration::ZERO), Rate::UNLIMITED);
        assert_eq!(Rate::per_second(u32::MAX), Rate::UNLIMITED);
        assert_eq!(Rate::per(1, Duration::MAX).spacing(), Duration::from_secs(24 * 60 * 60));
    }
}
