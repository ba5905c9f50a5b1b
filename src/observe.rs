//! What a host can watch: an [`Observer`] is told of everything that happens, as it happens.
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use harbor_webhook::observe::{Observation, Observer};
//!
//! #[derive(Debug, Default)]
//! struct Refusals(AtomicU64);
//!
//! impl Observer for Refusals {
//!     fn observe(&self, what: &Observation<'_>) {
//!         if let Observation::Attempted { attempt, .. } = what
//!             && !attempt.outcome.is_success()
//!         {
//!             self.0.fetch_add(1, Ordering::Relaxed);
//!         }
//!     }
//! }
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::caught::caught_now;
use crate::delivery::Attempt;
use crate::delivery::breaker::News;
use crate::error::Error;
use crate::event::{Event, EventType};
use crate::id::{DeliveryId, PolicyId, ProjectId, TargetId};
use crate::notified::Notified;
use crate::policy::TargetType;
use crate::store::{Change, Settlement, Status, Swept};

/// Is told what happens; given to the builder, which takes any number of them.
///
/// It is called by the task that does the work, between two steps of it: it must be quick and must not block. If it panics,
/// that stays with it. Without an observer nothing is made for one, and no time is taken.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Something happened in this process.
    fn observe(&self, _what: &Observation<'_>) {}
}

/// Something that happened. Nothing in it holds an address or a secret.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Observation<'a> {
    /// An event was reported to [`Webhooks::notify`](crate::Webhooks::notify). Those that a host writes into the outbox itself
    /// are seen when they are fanned out.
    #[non_exhaustive]
    Notified {
        /// The event.
        event: &'a Event,
        /// What became of it.
        outcome: Result<Notified, &'a Error>,
    },
    /// An event was turned into deliveries.
    #[non_exhaustive]
    FannedOut {
        /// The event.
        event: &'a Event,
        /// How many; none if nobody wants it any more.
        deliveries: usize,
    },
    /// A format failed: the delivery is dead with the reason `format` from the start.
    #[non_exhaustive]
    NotRendered {
        /// The event.
        event: &'a Event,
        /// The policy.
        policy_id: PolicyId,
        /// The endpoint.
        target_id: TargetId,
        /// The format's name.
        format: &'a str,
        /// What the format said.
        reason: &'a str,
    },
    /// A row of the outbox could not be read and is kept aside.
    #[non_exhaustive]
    SetAside {
        /// What is wrong with it.
        reason: &'a str,
    },
    /// A request was made, or was refused before it left.
    #[non_exhaustive]
    Attempted {
        /// The delivery.
        delivery_id: DeliveryId,
        /// The event it carries.
        event_id: Uuid,
        /// The event's type.
        event_type: EventType,
        /// The policy.
        policy_id: PolicyId,
        /// The endpoint.
        target_id: TargetId,
        /// The kind of endpoint.
        target_type: TargetType,
        /// The name of the body's format.
        format: &'a str,
        /// Counted from 1 since the delivery was made or last redelivered.
        number: u32,
        /// What came of it, and how long it took.
        attempt: &'a Attempt,
    },
    /// What came of a claimed delivery is written: where it stands, and whether its lane closed.
    #[non_exhaustive]
    Settled {
        /// The delivery.
        delivery_id: DeliveryId,
        /// What was written.
        settlement: &'a Settlement,
    },
    /// A result came after its lease had run out, and changed nothing: the delivery is sent again.
    #[non_exhaustive]
    Stale {
        /// The delivery.
        delivery_id: DeliveryId,
    },
    /// Deliveries were redelivered, cancelled, parked, unparked or forgotten, or lanes opened.
    #[non_exhaustive]
    Changed {
        /// What was done.
        to: Change,
        /// To how many.
        count: u64,
    },
    /// A bound was reached.
    #[non_exhaustive]
    BoundReached {
        /// Which.
        bound: Bound,
        /// Whose event it was, if it was one project's.
        project_id: Option<ProjectId>,
        /// How often since it was last told; at most 100 for a lane, whose store is looked at every ten seconds.
        times: u64,
    },
    /// The store failed and is tried again.
    #[non_exhaustive]
    StoreFailed {
        /// Whose call failed.
        cycle: Cycle,
        /// What it said.
        error: &'a Error,
        /// How long until the next try.
        pause: Duration,
    },
    /// A target began to fail, recovered, or was disabled.
    #[non_exhaustive]
    TargetChanged {
        /// The endpoint.
        target_id: TargetId,
        /// What changed.
        news: News,
    },
    /// Old history was removed, and what waited too long given up.
    Swept(Swept),
    /// What waits and how old it is; looked at every ten seconds while [`run`](crate::Webhooks::run) is polled and there is an
    /// observer.
    Sampled(&'a Status),
}

/// A bound on what is kept.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Bound {
    /// The store is full: `notify` failed with [`Full`](crate::ErrorKind::Full).
    Outbox,
    /// A project has as much waiting as it may ([`Bounds::project`](crate::Bounds::project)): an event of it was refused or parked.
    Project,
    /// As much waits as may in all ([`Bounds::total`](crate::Bounds::total)): an event was refused or parked.
    Total,
    /// A target has too many deliveries waiting: one more is dead with the reason `lane_full`. Seen by every process that
    /// runs on the store.
    Lane,
}

impl Bound {
    /// All bounds.
    pub const ALL: [Self; 4] = [Self::Outbox, Self::Project, Self::Total, Self::Lane];

    /// The bound's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::Project => "project",
            Self::Total => "total",
            Self::Lane => "lane",
        }
    }
}

/// A part of [`run`](crate::Webhooks::run), each of which goes round for itself.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Cycle {
    /// Turns events into deliveries.
    Intake,
    /// Claims deliveries and sends them.
    Sending,
    /// Writes down what came of attempts.
    Settling,
    /// Removes old history.
    Sweeping,
    /// Looks at what waits, for observers.
    Sampling,
}

impl Cycle {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Intake, Self::Sending, Self::Settling, Self::Sweeping, Self::Sampling];

    /// The cycle's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Sending => "sending",
            Self::Settling => "settling",
            Self::Sweeping => "sweeping",
            Self::Sampling => "sampling",
        }
    }
}

/// All observers of a [`Webhooks`](crate::Webhooks).
#[derive(Clone, Debug, Default)]
pub(crate) struct Observers(Vec<Arc<dyn Observer>>);

impl Observers {
    pub(crate) fn add(&mut self, observer: Arc<dyn Observer>) {
        self.0.push(observer);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells all of them. What to tell is made only if there is one.
    pub(crate) fn tell<'a>(&self, what: impl FnOnce() -> Observation<'a>) {
        if !self.is_empty() {
            self.tell_all(&what());
        }
    }

    fn tell_all(&self, what: &Observation<'_>) {
        for observer in &self.0 {
            if caught_now(|| observer.observe(what)).is_err() {
                tracing::error!("an observer panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_observer_nothing_is_made() {
        Observers::default().tell(|| unreachable!("nobody listens"));
    }
}
