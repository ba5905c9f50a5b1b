//! Harbor's webhook notifications for any container registry.

mod clock;
pub mod delivery;
mod error;
pub mod event;
pub mod format;
mod id;
pub mod policy;
mod secret;
pub mod store;
pub mod transport;

pub use clock::{Clock, SystemClock};
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, EventType};
pub use id::{DeliveryId, PolicyId, ProjectId, TargetId};
