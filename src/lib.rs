#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod caught;
mod clock;
#[cfg(feature = "console")]
pub mod console;
pub mod delivery;
mod dispatcher;
mod error;
pub mod event;
pub mod format;
pub mod health;
mod id;
#[cfg(feature = "metrics")]
pub mod metrics;
mod notified;
pub mod observe;
pub mod policy;
#[cfg(feature = "router")]
pub mod router;
pub mod sealing;
mod secret;
pub mod settings;
#[cfg(feature = "signing")]
pub mod signing;
pub mod store;
mod together;
pub mod transport;
mod webhooks;

pub use clock::{Clock, SystemClock};
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, EventType, Registry};
pub use id::{DeliveryId, PolicyId, ProjectId, TargetId};
pub use notified::Notified;
pub use settings::{Bounds, Settings};
pub use webhooks::{
    Builder, EventSource, Explanation, Obstacle, Policies, PolicyExplained, PolicyState, Redelivered, Relayed, Skipped,
    TargetExplained, TargetState, Webhooks,
};
