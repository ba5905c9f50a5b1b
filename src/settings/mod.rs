//! How patient, how fast and how long.

mod bounds;
mod harbor;

use std::time::Duration;

pub use bounds::{AtBound, Bounds, Room};

use crate::delivery::Rate;
use crate::delivery::breaker::{Breaker, Disable};
use crate::delivery::retry::{RetryPolicy, Schedule};
use crate::store::{LaneLimits, Retention};

/// Everything that can be tuned. Start from [`Settings::harbor`] or [`Settings::extended`].
///
/// ```
/// use harbor_webhook::Settings;
///
/// let yml = "notification:\n  webhook_job_max_retry: 5\n  webhook_job_http_client_timeout: 10\n";
/// let settings = Settings::harbor().read_harbor_yml(yml)?;
/// assert_eq!(settings.retry.max_retries, 5);
/// # Ok::<(), harbor_webhook::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// When a failed delivery is tried again.
    pub retry: RetryPolicy,
    /// The time for one attempt, from connecting to the end of the answer.
    pub timeout: Duration,
    /// Attempts under way at once, over all targets. Half of them are for those that have been under way for more than half a second,
    /// so that receivers which hang leave room for those that answer. (Harbor shares ten workers among all of its jobs.)
    pub max_in_flight: usize,
    /// What one target may use.
    pub lane: LaneLimits,
    /// How much may wait and be under way, over all and for each project.
    pub bounds: Bounds,
    /// Attempts under way at once to one Slack target.
    pub slack_in_flight: u32,
    /// Attempts that start in a time to one Slack target. Slack takes one message a second, and so does Harbor's whole
    /// installation.
    pub slack_rate: Rate,
    /// When a target that fails is left alone for a while, and when it is given up.
    pub breaker: Breaker,
    /// How much of an answer's body is read, in bytes.
    pub max_response: usize,
    /// How much of a refusal's body is kept in the history, in bytes.
    pub kept_response: usize,
    /// How long things are kept.
    pub retention: Retention,
    /// How long one node may take to fan an event out before another one may try.
    pub event_lease: Duration,
    /// How long attempts under way may go on at shutdown.
    pub shutdown_grace: Duration,
    /// Whether requests carry the header `webhook-id`, equal on every attempt.
    pub webhook_id_header: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self::harbor()
    }
}

impl Settings {
    /// Harbor's behaviour: three retries after the first attempt, Harbor's pauses, three seconds for an attempt, every
    /// answer other than 2xx is tried again.
    ///
    /// Harbor's manual calls the setting the maximum *retry* count, and so it is here; Harbor itself counts attempts.
    pub fn harbor() -> Self {
        let retention = Retention::default();
        Self {
            retry: RetryPolicy {
                max_retries: 3,
                schedule: Schedule::Harbor,
                max_age: retention.max_age,
                overload_pause: Duration::ZERO,
                client_error_pause: Duration::ZERO,
            },
            timeout: Duration::from_secs(3),
            max_in_flight: 128,
            lane: LaneLimits::new(10_000, 4),
            bounds: Bounds::UNLIMITED,
            slack_in_flight: 1,
            slack_rate: Rate::per_second(1),
            breaker: Breaker::standard(),
            max_response: 64 * 1024,
            kept_response: 8 * 1024,
            retention,
            event_lease: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(10),
            webhook_id_header: true,
        }
    }

    /// For receivers across the internet: ten retries over almost three days with jitter, ten seconds for an attempt, at
    /// least a minute's pause for a target that is overloaded, two minutes after a 4xx answer. A target that took nothing for five
    /// days, or answers 410 Gone, is disabled.
    pub fn extended() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        let pauses = [5, 30, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 24 * HOUR, 24 * HOUR];
        let mut settings = Self::harbor();
        settings.retry.max_retries = 10;
        settings.retry.schedule =
            Schedule::Delays { delays: pauses.into_iter().map(Duration::from_secs).collect(), jitter: 0.2 };
        settings.retry.overload_pause = Duration::from_secs(MINUTE);
        settings.retry.client_error_pause = Duration::from_secs(2 * MINUTE);
        settings.breaker.disable = Some(Disable::standard());
        settings.timeout = Duration::from_secs(10);
        settings
    }

    /// How long a delivery is leased: longer than an attempt can last, so that leases need no renewing.
    pub fn lease(&self) -> Duration {
        self.timeout.saturating_add(Duration::from_secs(30))
    }
}
