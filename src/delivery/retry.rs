//! When a failed delivery is tried again: arithmetic without clocks, randomness or I/O.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{DeadReason, FailureKind, Outcome};
use crate::id::DeliveryId;

/// How often, how long and on what answers a delivery is tried again.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Attempts after the first one. Zero: one attempt only.
    pub max_retries: u32,
    /// The pauses between attempts.
    pub schedule: Schedule,
    /// A delivery is given up when its next attempt would start later than this after it was made.
    pub max_age: Duration,
    /// The shortest pause after 429, 502, 504 and timeouts, for the whole lane. Zero: none.
    pub overload_pause: Duration,
    /// The shortest pause after a 4xx answer other than 408, 425 and 429. Zero: none.
    pub client_error_pause: Duration,
}

/// The pauses between attempts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Schedule {
    /// After the n-th failure: n⁴ + 15 + R·(n + 1) seconds, with R from 0 to 29.
    ///
    /// Source: Harbor's job queue, goharbor/work v0.5.1, `worker.go:280-284`.
    Harbor,
    /// The n-th pause after the n-th failure; the last one repeats. Each is made longer by up to `jitter` of itself (and
    /// at most 15 minutes), never shorter.
    Delays {
        /// The pauses; an empty list means none at all.
        delays: Vec<Duration>,
        /// For example 0.2 for up to 20 %.
        jitter: f64,
    },
}

/// What to decide on.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Tried<'a> {
    /// The delivery; the jitter is drawn from it, so that a replay decides the same.
    pub delivery: DeliveryId,
    /// Attempts made, this one included.
    pub attempts: u32,
    /// The age of the delivery now.
    pub age: Duration,
    /// What came of the attempt.
    pub outcome: &'a Outcome,
    /// How long the receiver asked to wait.
    pub retry_after: Option<Duration>,
}

impl<'a> Tried<'a> {
    /// The outcome of the attempt numbered `attempts`, from 1, of a delivery this old.
    pub fn new(delivery: DeliveryId, attempts: u32, age: Duration, outcome: &'a Outcome) -> Self {
        Self { delivery, attempts, age, outcome, retry_after: None }
    }

    /// Sets how long the receiver asked to wait.
    #[must_use]
    pub fn retry_after(mut self, pause: Option<Duration>) -> Self {
        self.retry_after = pause;
        self
    }
}

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Decision {
    /// It was taken.
    Delivered,
    /// Try again after `after`; if `close_lane` is given, nothing goes to the target for that long.
    Retry {
        /// The pause of this delivery.
        after: Duration,
        /// The pause of the whole lane.
        close_lane: Option<Duration>,
    },
    /// Give up.
    Dead(DeadReason),
}

impl RetryPolicy {
    /// Decides what follows an attempt.
    pub fn decide(&self, tried: &Tried<'_>) -> Decision {
        if tried.outcome.is_success() {
            return Decision::Delivered;
        }
        if matches!(tried.outcome, Outcome::Failed { kind: FailureKind::Blocked, .. }) {
            return Decision::Dead(DeadReason::Blocked);
        }
        if tried.attempts > self.max_retries {
            return Decision::Dead(DeadReason::Exhausted);
        }
        let close_lane = self.lane_pause(tried);
        let after = self.pause(tried).max(close_lane.unwrap_or_default());
        if tried.age.saturating_add(after) > self.max_age {
            return Decision::Dead(DeadReason::Expired);
        }
        Decision::Retry { after, close_lane }
    }

    fn pause(&self, tried: &Tried<'_>) -> Duration {
        let scheduled = self.schedule.pause(tried.delivery, tried.attempts);
        if is_client_error(tried.outcome) { scheduled.max(self.client_error_pause) } else { scheduled }
    }

    fn lane_pause(&self, tried: &Tried<'_>) -> Option<Duration> {
        let floor = if is_overload(tried.outcome) { self.overload_pause } else { Duration::ZERO };
        let pause = tried.retry_after.unwrap_or_default().max(floor);
        (!pause.is_zero()).then_some(pause)
    }
}

fn is_client_error(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Answered { status: 400..=499, .. })
        && !matches!(outcome, Outcome::Answered { status: 408 | 425 | 429, .. })
}

fn is_overload(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Answered { status: 429 | 502 | 504, .. } | Outcome::Failed { kind: FailureKind::Timeout, .. }
    )
}

impl Schedule {
    /// The pause after the `failures`-th failure, counted from 1.
    pub fn pause(&self, delivery: DeliveryId, failures: u32) -> Duration {
        let random = splitmix64((delivery.0 as u64) ^ u64::from(failures).rotate_left(32));
        match self {
            Self::Harbor => {
                let n = u64::from(failures.min(1000));
                Duration::from_secs(n.pow(4) + 15 + (random % 30) * (n + 1))
            }
            Self::Delays { delays, jitter } => {
                let nth = (failures.max(1) - 1) as usize;
                let base = delays.get(nth).or(delays.last()).copied().unwrap_or_default();
                base.saturating_add(spread(base, *jitter, random))
            }
        }
    }
}

/// A random part of `jitter` times the pause, at most 15 minutes.
fn spread(base: Duration, jitter: f64, random: u64) -> Duration {
    const MOST: f64 = 15.0 * 60.0;
    let most = (base.as_secs_f64() * jitter.clamp(0.0, 1.0)).min(MOST);
    Duration::from_secs_f64(most * share(random))
}

/// A random number from 0 to below 1.
pub(super) fn share(random: u64) -> f64 {
    (random >> 11) as f64 / (1u64 << 53) as f64
}

/// Sebastiano Vigna's SplitMix64: one multiplication more than a counter, and good enough to spread retries.
pub(super) fn splitmix64(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The longest pause that a receiver can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Reads a `Retry-After` header: whole seconds, or an HTTP date relative to `now`. Nonsense, dates in the past and zero
/// are `None`; anything beyond seven days counts as seven days.
pub fn parse_retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    let pause = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // Digits beyond what fits are still digits: the longest pause.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else if value.len() <= 64 {
        (http_date(value)? - now).to_std().ok()?
    } else {
        return None;
    };
    (!pause.is_zero()).then_some(pause.min(MAX_RETRY_AFTER))
}

/// The three forms of RFC 9110, section 5.6.7.
fn http_date(value: &str) -> Option<DateTime<Utc>> {
    const FORMS: [&str; 3] = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let parse = |form: &&str| chrono::NaiveDateTime::parse_from_str(value, form).ok();
    FORMS.iter().find_map(parse).map(|time| time.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARBOR: RetryPolicy = RetryPolicy {
        max_retries: 3,
        schedule: Schedule::Harbor,
        max_age: Duration::from_secs(4 * 24 * 3600),
        overload_pause: Duration::ZERO,
        client_error_pause: Duration::ZERO,
    };

    fn answered(status: u16) -> Outcome {
        Outcome::Answered { status, body: String::new(), truncated: false }
    }

    fn decide(policy: &RetryPolicy, attempts: u32, outcome: &Outcome) -> Decision {
        policy.decide(&Tried::new(DeliveryId(7), attempts, Duration::ZERO, outcome))
    }

    #[test]
    fn three_retries_are_four_attempts() {
        for attempts in 1..=3 {
            assert!(matches!(decide(&HARBOR, attempts, &answered(500)), Decision::Retry { .. }));
        }
        assert_eq!(decide(&HARBOR, 4, &answered(500)), Decision::Dead(DeadReason::Exhausted));
    }

    #[test]
    fn only_2xx_is_success() {
        for status in [200, 202, 299] {
            assert_eq!(decide(&HARBOR, 1, &answered(status)), Decision::Delivered);
        }
        for status in [100, 199, 300, 302, 404, 410, 500] {
            assert!(matches!(decide(&HARBOR, 1, &answered(status)), Decision::Retry { close_lane: None, .. }));
        }
    }

    #[test]
    fn harbors_pauses_stay_in_their_bounds() {
        let bounds = [(1, 16, 74), (2, 31, 118), (3, 96, 212), (9, 6576, 6866)];
        for (failures, low, high) in bounds {
            let pauses: Vec<u64> =
                (0..2000).map(|id| Schedule::Harbor.pause(DeliveryId(id), failures).as_secs()).collect();
            assert_eq!(pauses.iter().min(), Some(&low), "{failures}");
            assert_eq!(pauses.iter().max(), Some(&high), "{failures}");
        }
    }

    #[test]
    fn jitter_only_adds() {
        let schedule = Schedule::Delays { delays: vec![Duration::from_secs(10)], jitter: 0.2 };
        for id in 0..500 {
            let pause = schedule.pause(DeliveryId(id), 5);
            assert!(pause >= Duration::from_secs(10) && pause <= Duration::from_secs(12), "{pause:?}");
        }
    }

    #[test]
    fn a_receivers_pause_delays_the_lane_but_uses_no_attempt_up() {
        let busy = answered(503);
        let tried = Tried::new(DeliveryId(1), 1, Duration::ZERO, &busy).retry_after(Some(Duration::from_secs(600)));
        let pause = Duration::from_secs(600);
        assert_eq!(HARBOR.decide(&tried), Decision::Retry { after: pause, close_lane: Some(pause) });
    }

    #[test]
    fn a_pause_beyond_the_maximum_age_ends_the_delivery() {
        let gone = answered(500);
        let old = Tried::new(DeliveryId(1), 1, HARBOR.max_age, &gone);
        assert_eq!(HARBOR.decide(&old), Decision::Dead(DeadReason::Expired));
    }

    #[test]
    fn a_blocked_destination_is_final() {
        let blocked = Outcome::Failed { kind: FailureKind::Blocked, message: String::new() };
        assert_eq!(decide(&HARBOR, 1, &blocked), Decision::Dead(DeadReason::Blocked));
    }

    #[test]
    fn retry_after_is_read_in_all_its_forms() {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let parse = |value: &str| parse_retry_after(value, now);
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(parse("120"), seconds(120));
        assert_eq!(parse(" 5 "), seconds(5));
        assert_eq!(parse("Fri, 02 Jan 2026 03:05:05 GMT"), seconds(60));
        assert_eq!(parse("Friday, 02-Jan-26 03:05:05 GMT"), seconds(60));
        assert_eq!(parse("Fri Jan  2 03:05:05 2026"), seconds(60));
        assert_eq!(parse("99999999999999999999999"), Some(MAX_RETRY_AFTER));
        assert_eq!(parse("Thu, 01 Jan 2026 00:00:00 GMT"), None);
        for nonsense in ["", "0", "-1", "1.5", "soon", &"9".repeat(1 << 20)[..0], &"x".repeat(1 << 20)] {
            assert_eq!(parse(nonsense), None, "{:?}", nonsense.get(..9));
        }
    }
}
