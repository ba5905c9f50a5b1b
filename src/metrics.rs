//! Counters, gauges and a histogram for hosts that use the [`metrics`](https://docs.rs/metrics/0.24) facade.
//!
//! ```
//! use harbor_webhook::metrics::MetricsObserver;
//! use harbor_webhook::store::MemoryStore;
//! use harbor_webhook::transport::DestinationPolicy;
//! use harbor_webhook::Webhooks;
//!
//! // The host's recorder is installed before, for example that of metrics-exporter-prometheus.
//! let hooks = Webhooks::builder(MemoryStore::new(), DestinationPolicy::public_addresses())
//!     .observer(MetricsObserver::new())
//!     .build()?;
//! # Ok::<(), harbor_webhook::Error>(())
//! ```
//!
//! `docs/metrics.md` has the table of all of them, and alerts. The facade has one recorder for each of its versions `0.x`: a
//! host's must be `metrics` 0.24, or nothing is seen and no error comes. The contract is the [`Observer`]; a host on another
//! version, or on another library, copies this one.

use std::time::Duration;

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::delivery::{Attempt, DeadReason};
use crate::error::{Error, ErrorKind};
use crate::notified::Notified;
use crate::observe::{Bound, Cycle, Observation, Observer};
use crate::policy::TargetType;
use crate::store::{Change, Hold, Next, Settlement, Status};

/// What a metric is.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

macro_rules! metrics {
    ($($constant:ident = $name:literal, $kind:ident, $unit:ident, $help:literal;)*) => {
        $(const $constant: &str = concat!("harbor_webhook_", $name);)*
        const TABLE: &[(&str, Kind, Unit, &str)] = &[$(($constant, Kind::$kind, Unit::$unit, $help)),*];
    };
}

metrics! {
    EVENTS = "events_total", Counter, Count, "Events reported to notify, by outcome.";
    FANNED_OUT = "events_fanned_out_total", Counter, Count, "Events turned into deliveries.";
    SET_ASIDE = "events_set_aside_total", Counter, Count, "Rows of the outbox that could not be read.";
    MADE = "deliveries_made_total", Counter, Count, "Deliveries made from events.";
    ENDED = "deliveries_ended_total", Counter, Count, "Deliveries that came to an end, by state and reason.";
    CHANGED = "deliveries_changed_total", Counter, Count, "Deliveries or lanes that were changed, by what was done.";
    ATTEMPTS = "attempts_total", Counter, Count, "Attempts, by outcome, its class and the type of the target.";
    DURATION = "attempt_duration_seconds", Histogram, Seconds, "How long attempts took, by outcome and type of the target.";
    RETRIES = "retries_total", Counter, Count, "Failed attempts after which the delivery waits for another one.";
    CLOSINGS = "lane_closings_total", Counter, Count, "Times that a result closed a lane, by reason.";
    TARGETS = "targets_changed_total", Counter, Count, "Targets that began to fail, recovered or were disabled.";
    STALE = "stale_results_total", Counter, Count, "Results that came after their lease had run out.";
    BOUNDS = "bounds_reached_total", Counter, Count, "Times that a bound was reached, by bound.";
    FAULTS = "store_faults_total", Counter, Count, "Failures of the store that were sat out, by cycle.";
    SWEPT = "swept_total", Counter, Count, "Rows removed from the history.";
    SAMPLES = "samples_total", Counter, Count, "Looks at what waits; it stands still when nobody runs.";
    EVENTS_WAITING = "events_waiting", Gauge, Count, "Events that are not fanned out.";
    OLDEST_EVENT = "oldest_event_age_seconds", Gauge, Seconds, "The age of the oldest of them; 0 without any.";
    DELIVERIES_WAITING = "deliveries_waiting", Gauge, Count, "Deliveries that are due or in flight.";
    OLDEST_DELIVERY = "oldest_delivery_age_seconds", Gauge, Seconds, "The age of the oldest of them; 0 without any.";
    PARKED = "deliveries_parked", Gauge, Count, "Deliveries set aside by an operator.";
    DEAD = "deliveries_dead", Gauge, Count, "Deliveries given up and kept.";
    UNREADABLE = "events_set_aside", Gauge, Count, "Rows of the outbox that are set aside, at most 100.";
    LANES_CLOSED = "lanes_closed", Gauge, Count, "Lanes that are closed, at most 100 in all, by reason.";
}

/// Records what happens with the `metrics` facade. Labels are of few values, and never an address, an id or a name that a
/// user chose.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MetricsObserver;

impl MetricsObserver {
    /// Describes the metrics to the recorder that is installed, and sets at zero what alerts look at.
    #[allow(clippy::new_without_default)] // it does something
    pub fn new() -> Self {
        for &(name, kind, unit, help) in TABLE {
            match kind {
                Kind::Counter => describe_counter!(name, unit, help),
                Kind::Gauge => describe_gauge!(name, unit, help),
                Kind::Histogram => describe_histogram!(name, unit, help),
            }
        }
        // A counter that appears with its first count looks as if nothing had been counted.
        Bound::ALL.iter().for_each(|bound| counter!(BOUNDS, "bound" => bound.as_str()).absolute(0));
        Cycle::ALL.iter().for_each(|cycle| counter!(FAULTS, "cycle" => cycle.as_str()).absolute(0));
        DeadReason::ALL.iter().for_each(|why| ended("dead", why.as_str(), 0));
        for change in ["failing", "recovered", "disabled"] {
            counter!(TARGETS, "change" => change).absolute(0);
        }
        ended("delivered", "", 0);
        counter!(SAMPLES).absolute(0);
        Self
    }

    /// The names of all metrics, as they are recorded. An exporter may add to that of the histogram.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|(name, ..)| *name)
    }
}

impl Observer for MetricsObserver {
    fn observe(&self, what: &Observation<'_>) {
        match what {
            Observation::Notified { outcome, .. } => counter!(EVENTS, "outcome" => notified(outcome)).increment(1),
            Observation::FannedOut { deliveries, .. } => {
                counter!(FANNED_OUT).increment(1);
                counter!(MADE).increment(*deliveries as u64);
            }
            Observation::NotRendered { .. } => ended("dead", DeadReason::Format.as_str(), 1),
            Observation::SetAside { .. } => counter!(SET_ASIDE).increment(1),
            Observation::Attempted { target_type, attempt, .. } => attempted(*target_type, attempt),
            Observation::Settled { settlement, .. } => settled(settlement),
            Observation::TargetChanged { news, .. } => counter!(TARGETS, "change" => news.as_str()).increment(1),
            Observation::Stale { .. } => counter!(STALE).increment(1),
            Observation::Changed { to, count } => counter!(CHANGED, "change" => change(*to)).increment(*count),
            Observation::BoundReached { bound, times, .. } => {
                counter!(BOUNDS, "bound" => bound.as_str()).increment(*times);
            }
            Observation::StoreFailed { cycle, .. } => counter!(FAULTS, "cycle" => cycle.as_str()).increment(1),
            Observation::Swept(swept) => {
                counter!(SWEPT).increment(swept.removed);
                ended("dead", DeadReason::Expired.as_str(), swept.expired);
            }
            Observation::Sampled(status) => sampled(status),
        }
    }
}

fn notified(outcome: &Result<Notified, &Error>) -> &'static str {
    match outcome {
        Ok(notified) => notified.as_str(),
        Err(error) => match error.kind() {
            ErrorKind::Invalid => "invalid",
            ErrorKind::NotFound => "not_found",
            ErrorKind::Conflict => "conflict",
            ErrorKind::Full => "full",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Store => "store",
        },
    }
}

fn attempted(target_type: TargetType, attempt: &Attempt) {
    let outcome = if attempt.outcome.is_success() { "success" } else { "failure" };
    let target_type = target_type.as_str();
    counter!(ATTEMPTS, "outcome" => outcome, "class" => attempt.outcome.class(), "target_type" => target_type)
        .increment(1);
    histogram!(DURATION, "outcome" => outcome, "target_type" => target_type).record(attempt.duration.as_secs_f64());
}

fn settled(settlement: &Settlement) {
    if let Some((_, why)) = settlement.close_lane {
        counter!(CLOSINGS, "why" => why.as_str()).increment(1);
    }
    match &settlement.next {
        Next::Delivered => ended("delivered", "", 1),
        Next::Dead(why, _) => ended("dead", why.as_str(), 1),
        Next::Cancelled(why) => ended("cancelled", why.as_str(), 1),
        Next::Retry(_) => counter!(RETRIES).increment(1),
        Next::Release(_) => {}
    }
}

fn ended(state: &'static str, reason: &'static str, count: u64) {
    counter!(ENDED, "state" => state, "reason" => reason).increment(count);
}

fn change(to: Change) -> &'static str {
    match to {
        Change::Redeliver => "redeliver",
        Change::Cancel(_) => "cancel",
        Change::Park => "park",
        Change::Unpark => "unpark",
        Change::OpenLanes(_) => "open_lanes",
        Change::Forget => "forget",
    }
}

fn sampled(status: &Status) {
    let age = |age: Option<Duration>| age.unwrap_or_default().as_secs_f64();
    counter!(SAMPLES).increment(1);
    gauge!(EVENTS_WAITING).set(status.outbox as f64);
    gauge!(OLDEST_EVENT).set(age(status.oldest_event));
    gauge!(DELIVERIES_WAITING).set(status.waiting as f64);
    gauge!(OLDEST_DELIVERY).set(age(status.oldest_waiting));
    gauge!(PARKED).set(status.parked as f64);
    gauge!(DEAD).set(status.dead as f64);
    gauge!(UNREADABLE).set(status.set_aside.len() as f64);
    for why in Hold::ALL {
        let closed = status.closed_lanes.iter().filter(|lane| lane.why == why).count();
        gauge!(LANES_CLOSED, "why" => why.as_str()).set(closed as f64);
    }
}
