use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::lenient::null_default;
use super::{Event, EventData, EventType};
use crate::error::{Error, Result};
use crate::id::{PolicyId, ProjectId};

/// A body in Harbor's CloudEvents format, for receivers and tests. Attributes may come in any order; unknown extensions
/// are ignored.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[non_exhaustive]
pub struct CloudEvent {
    /// `1.0`
    pub specversion: String,
    /// Equal for every attempt of a delivery.
    pub id: String,
    /// `/projects/<project>/webhook/policies/<policy>`
    pub source: String,
    /// For example `harbor.artifact.pushed`; other names are kept.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When it happened.
    #[serde(default)]
    pub time: Option<DateTime<Utc>>,
    /// What it is about.
    #[serde(default, deserialize_with = "null_default")]
    pub data: EventData,
    /// The extension `operator`; may be empty.
    #[serde(default, deserialize_with = "null_default")]
    pub operator: String,
    /// The extension `requestid`; may be empty.
    #[serde(default, deserialize_with = "null_default")]
    pub requestid: String,
}

impl CloudEvent {
    /// The project and the policy that `source` names.
    pub fn origin(&self) -> Option<(ProjectId, PolicyId)> {
        let (project, policy) = self.source.strip_prefix("/projects/")?.split_once("/webhook/policies/")?;
        Some((ProjectId(project.parse().ok()?), PolicyId(policy.parse().ok()?)))
    }

    /// The event that this body tells of, under a fresh id: a body's own id belongs to the body.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if it is not of version 1.0, if the type is not one of Harbor's ten, if
    /// `source` names no project, if `time` is missing, or if [`Event::check`] fails.
    pub fn into_event(self) -> Result<Event> {
        if self.specversion != "1.0" {
            return Err(Error::invalid("specversion", "is not 1.0"));
        }
        let event_type = EventType::from_cloudevents_type(&self.event_type)
            .ok_or_else(|| Error::invalid("type", "is not one of Harbor's event types"))?;
        let (project, _) = self
            .origin()
            .ok_or_else(|| Error::invalid("source", "is not of the form /projects/<id>/webhook/policies/<id>"))?;
        let time = self.time.ok_or_else(|| Error::invalid("time", "is missing"))?;
        let mut event = Event::new(project, event_type, time, self.data).operator(self.operator);
        event.request_id = (!self.requestid.is_empty()).then_some(self.requestid);
        event.check()?;
        Ok(event)
    }
}
