use uuid::Uuid;

use crate::error::{Error, Result};
use crate::event::Event;

/// An event as a row of a store's outbox, for hosts that write it themselves, in a transaction of their own.
///
/// The outbox is API: its table, these two columns and the statement stay as they are within a major version, for every driver
/// and every language. `docs/outbox.md` tells all of it. Whoever inserts a row twice has inserted it once.
///
/// ```
/// # use harbor_webhook::{ProjectId, Registry, event::Artifact};
/// use harbor_webhook::store::OutboxRow;
///
/// # let digest = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";
/// let registry = Registry::new("hub.example.com")?;
/// let event = registry.push(ProjectId(2), "library/alpine", Artifact::tagged("3.20", digest)?);
/// let row = OutboxRow::new(&event)?;
/// assert_eq!(row.event_id, event.id);
/// assert!(row.event.starts_with(r#"{"id":""#));
/// # Ok::<(), harbor_webhook::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct OutboxRow {
    /// The column `event_id`: a `uuid` in PostgreSQL, a blob of its 16 bytes in SQLite.
    pub event_id: Uuid,
    /// The column `event`: the event's JSON, as [`Event`]'s serde form has it.
    pub event: String,
}

impl OutboxRow {
    /// The row of an event.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if the event fails its [check](Event::check) or is larger than 1 MiB as JSON.
    pub fn new(event: &Event) -> Result<Self> {
        event.check()?;
        event.check_size()?;
        Self::unchecked(event)
    }

    pub(super) fn unchecked(event: &Event) -> Result<Self> {
        let json = serde_json::to_string(event).map_err(|e| Error::invalid("event", e))?;
        Ok(Self { event_id: event.id, event: json })
    }
}
