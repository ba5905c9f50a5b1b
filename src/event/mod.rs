//! What happened in the registry.

mod event_type;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use event_type::EventType;

use crate::id::ProjectId;

/// Something that happened in a project of the registry.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// Identifies the event: appending it twice under one id is appending it once.
    pub id: Uuid,
    /// The project whose policies are asked.
    pub project_id: ProjectId,
    /// What happened.
    pub event_type: EventType,
    /// When it happened, in whole seconds.
    pub occur_at: DateTime<Utc>,
    /// Who caused it; may be empty.
    pub operator: String,
    /// The id of the HTTP request that caused it.
    pub request_id: Option<String>,
}
