use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::lenient::null_default;
use super::{Event, EventData, EventName, EventType};
use crate::error::{Error, Result};
use crate::id::{PolicyId, ProjectId};

/// A body in Harbor's Default format, for receivers and tests.
///
/// ```
/// use harbor_webhook::event::{EventName, Payload};
/// use harbor_webhook::EventType;
///
/// let body = r#"{"type":"PUSH_ARTIFACT","occur_at":1680501893,"operator":"admin","event_data":{}}"#;
/// let payload: Payload = serde_json::from_str(body)?;
/// assert_eq!(payload.event_type, EventName::Known(EventType::PushArtifact));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Payload {
    /// What happened; unknown names are kept.
    #[serde(rename = "type")]
    pub event_type: EventName,
    /// When it happened.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub occur_at: DateTime<Utc>,
    /// Who caused it; may be empty.
    #[serde(default, deserialize_with = "null_default")]
    pub operator: String,
    /// What it is about.
    #[serde(default, deserialize_with = "null_default")]
    pub event_data: EventData,
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut event = serializer.serialize_struct("Event", 8)?;
        event.serialize_field("id", &self.id)?;
        event.serialize_field("project_id", &self.project_id)?;
        event.serialize_field("type", &self.event_type)?;
        event.serialize_field("occur_at", &self.occur_at.timestamp())?;
        event.serialize_field("operator", &self.operator)?;
        match &self.request_id {
            Some(id) => event.serialize_field("request_id", id)?,
            None => event.skip_field("request_id")?,
        }
        match &self.policy_id {
            Some(id) => event.serialize_field("policy_id", id)?,
            None => event.skip_field("policy_id")?,
        }
        event.serialize_field("event_data", &self.data)?;
        event.end()
    }
}

impl Event {
    /// The length of its JSON; nothing is allocated to measure it.
    pub(crate) fn json_len(&self) -> Result<usize> {
        struct Count(usize);
        impl std::io::Write for Count {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0 += bytes.len();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut count = Count(0);
        serde_json::to_writer(&mut count, self).map_err(|e| Error::invalid("event", e))?;
        Ok(count.0)
    }
}

/// Checks what it reads: see [`Event::check`].
impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = Stored::deserialize(deserializer)?;
        let event = Self {
            id: read.id,
            project_id: read.project_id,
            event_type: read.event_type,
            occur_at: read.occur_at,
            operator: read.operator,
            request_id: read.request_id,
            policy_id: read.policy_id,
            data: read.event_data,
        };
        event.check().map_err(D::Error::custom)?;
        Ok(event)
    }
}

#[derive(Deserialize)]
struct Stored {
    id: Uuid,
    project_id: ProjectId,
    #[serde(rename = "type")]
    event_type: EventType,
    #[serde(with = "chrono::serde::ts_seconds")]
    occur_at: DateTime<Utc>,
    #[serde(default, deserialize_with = "null_default")]
    operator: String,
    #[serde(default)]
    request_id: Option<String>,
    #[serde(default)]
    policy_id: Option<PolicyId>,
    event_data: EventData,
}
