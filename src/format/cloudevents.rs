use std::fmt;

use chrono::{DateTime, Datelike, Timelike, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{Format, FormatError, RenderContext, Scope, json};
use crate::event::{Event, EventData};
use crate::id::{PolicyId, ProjectId};

/// CloudEvents 1.0 in structured JSON, with Harbor's attributes in the order of Harbor's manual.
///
/// Source: Harbor 2.16, `pkg/notifier/formats/cloudevents.go:107-144`. Harbor makes up a new `id` for each target; here
/// it is derived, so that it is the same whenever the event is rendered for the policy again.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CloudEventsFormat;

#[derive(Serialize)]
struct Body<'a> {
    specversion: &'static str,
    id: Uuid,
    requestid: &'a str,
    source: Shown<Source>,
    #[serde(rename = "type")]
    event_type: &'static str,
    datacontenttype: &'static str,
    time: Shown<Seconds>,
    data: &'a EventData,
    operator: &'a str,
}

impl Format for CloudEventsFormat {
    fn name(&self) -> &'static str {
        "CloudEvents"
    }

    fn content_type(&self) -> &'static str {
        "application/cloudevents+json"
    }

    fn scope(&self) -> Scope {
        Scope::Policy
    }

    fn render(&self, event: &Event, cx: &RenderContext, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let policy = cx.policy_id.ok_or_else(|| FormatError::new("CloudEvents names a policy, and there is none"))?;
        let body = Body {
            specversion: "1.0",
            id: cx.body_id,
            // Both extensions are there even when empty, as in Harbor.
            requestid: event.request_id.as_deref().unwrap_or_default(),
            source: Shown(Source(event.project_id, policy)),
            event_type: event.event_type.cloudevents_type(),
            datacontenttype: "application/json",
            time: Shown(Seconds(event.occur_at)),
            data: &event.data,
            operator: &event.operator,
        };
        json::write(out, &body)
    }
}

/// Serialises what it displays, without a text in between.
struct Shown<T>(T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

pub(super) struct Source(pub(super) ProjectId, pub(super) PolicyId);

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/projects/{}/webhook/policies/{}", self.0, self.1)
    }
}

/// RFC 3339 in whole seconds of UTC: the event's time has no more.
struct Seconds(DateTime<Utc>);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.0;
        let (year, month, day) = (t.year(), t.month(), t.day());
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", t.hour(), t.minute(), t.second())
    }
}
