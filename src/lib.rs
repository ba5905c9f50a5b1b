//! Harbor's webhook notifications for any container registry.

mod clock;
mod error;
pub mod event;
pub mod format;
mod id;
pub mod policy;
mod secret;

pub use clock::{Clock, SystemClock};
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, EventType};
pub use id::{DeliveryId, PolicyId, ProjectId, TargetId};
