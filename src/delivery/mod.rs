//! One event for one target: its states, its attempts, and the pure decisions about them.
//!
//! ```text
//!            claim                     settle
//!   due ───────────────▶ leased ─────────────────▶ delivered │ dead(reason) │ cancelled(reason)
//!    ▲ ◀────────────────── │ retry, release, lost lease            │
//!    │                                                             │
//!    └──────────────────────── redeliver ──────────────────────────┘
//!   parked: set aside by an operator; waits for redeliver or unpark, is never claimed
//! ```

mod attempt;
pub mod breaker;
mod log;
mod rate;
pub mod retry;

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub use attempt::{Attempt, FailureKind, Outcome};
pub use log::job_log;
pub use rate::Rate;

use crate::event::{EventType, is_test};
use crate::id::{DeliveryId, PolicyId, ProjectId, TargetId};
use crate::policy::TargetType;

/// A delivery as it stands in a listing.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Delivery {
    /// Increasing in the order in which deliveries were made.
    pub id: DeliveryId,
    /// The event it carries.
    pub event_id: Uuid,
    /// The event's type.
    pub event_type: EventType,
    /// The event's project.
    pub project_id: ProjectId,
    /// The policy that wanted the event.
    pub policy_id: PolicyId,
    /// The endpoint.
    pub target_id: TargetId,
    /// The kind of endpoint.
    pub target_type: TargetType,
    /// Where it stands.
    pub state: State,
    /// Attempts made, redeliveries included.
    pub attempts: u32,
    /// When the delivery was made from its event.
    pub created_at: DateTime<Utc>,
    /// When its state last changed.
    pub updated_at: DateTime<Utc>,
    /// How long until the next attempt may start; `None` unless it is due.
    pub due_in: Option<Duration>,
    /// Why it is dead, in more words than the reason, for example a format's error.
    pub detail: Option<String>,
}

impl Delivery {
    /// For stores: a delivery that was just made and is due. Its other members are set one by one.
    pub fn new(
        id: DeliveryId,
        event: (Uuid, EventType, ProjectId),
        to: (PolicyId, TargetId, TargetType),
        made: DateTime<Utc>,
    ) -> Self {
        let (event_id, event_type, project_id) = event;
        let (policy_id, target_id, target_type) = to;
        Self {
            id,
            event_id,
            event_type,
            project_id,
            policy_id,
            target_id,
            target_type,
            state: State::Due,
            attempts: 0,
            created_at: made,
            updated_at: made,
            due_in: Some(Duration::ZERO),
            detail: None,
        }
    }

    /// Whether it carries a [test](crate::Event::as_test).
    pub fn is_test(&self) -> bool {
        is_test(self.event_id)
    }
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum State {
    /// Waits for its next attempt.
    Due,
    /// An attempt is being made.
    Leased,
    /// Set aside by an operator.
    Parked,
    /// The receiver answered with a 2xx status. Final.
    Delivered,
    /// Given up and kept. Final until redelivered.
    Dead(DeadReason),
    /// No longer wanted. Final.
    Cancelled(CancelReason),
}

impl State {
    /// Whether nothing more happens by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Dead(_) | Self::Cancelled(_))
    }

    /// The state's stable name, as stores keep it beside its [`reason`](Self::reason).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Leased => "leased",
            Self::Parked => "parked",
            Self::Delivered => "delivered",
            Self::Dead(_) => "dead",
            Self::Cancelled(_) => "cancelled",
        }
    }

    /// The name of the reason, for the states that have one.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Dead(why) => Some(why.as_str()),
            Self::Cancelled(why) => Some(why.as_str()),
            Self::Due | Self::Leased | Self::Parked | Self::Delivered => None,
        }
    }

    /// The state of this name and reason.
    pub fn from_name(name: &str, reason: Option<&str>) -> Option<Self> {
        Some(match (name, reason) {
            ("due", None) => Self::Due,
            ("leased", None) => Self::Leased,
            ("parked", None) => Self::Parked,
            ("delivered", None) => Self::Delivered,
            ("dead", Some(why)) => Self::Dead(DeadReason::from_name(why)?),
            ("cancelled", Some(why)) => Self::Cancelled(CancelReason::from_name(why)?),
            _ => return None,
        })
    }
}

/// Why a delivery was given up.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum DeadReason {
    /// All attempts failed.
    Exhausted,
    /// It waited longer than its maximum age.
    Expired,
    /// Its target had too many deliveries waiting.
    LaneFull,
    /// The format could not write the event.
    Format,
    /// Its lease was lost five times: the attempt itself seems to bring the sender down.
    Poison,
    /// The destination policy forbids the address.
    Blocked,
    /// The settings make this answer final.
    Refused,
}

impl DeadReason {
    /// All reasons.
    pub const ALL: [Self; 7] =
        [Self::Exhausted, Self::Expired, Self::LaneFull, Self::Format, Self::Poison, Self::Blocked, Self::Refused];

    /// The reason's stable name, as stores keep it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Expired => "expired",
            Self::LaneFull => "lane_full",
            Self::Format => "format",
            Self::Poison => "poison",
            Self::Blocked => "blocked",
            Self::Refused => "refused",
        }
    }

    /// The reason of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

/// Why a delivery is no longer wanted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CancelReason {
    /// Its policy or target was deleted.
    TargetGone,
    /// An operator cancelled it.
    Operator,
}

impl CancelReason {
    /// All reasons.
    pub const ALL: [Self; 2] = [Self::TargetGone, Self::Operator];

    /// The reason's stable name, as stores keep it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TargetGone => "target_gone",
            Self::Operator => "operator",
        }
    }

    /// The reason of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}
