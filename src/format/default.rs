use serde::Serialize;

use super::{Format, FormatError, RenderContext, Scope, json};
use crate::event::{Event, EventData, EventType};

/// Harbor's Default format, byte for byte; nothing is ever added to it.
///
/// Source: Harbor 2.16, `pkg/notifier/formats/default.go:69-83`.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct DefaultFormat;

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    event_type: EventType,
    occur_at: i64,
    operator: &'a str,
    event_data: &'a EventData,
}

impl Format for DefaultFormat {
    fn name(&self) -> &'static str {
        "Default"
    }

    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn scope(&self) -> Scope {
        Scope::Event
    }

    fn render(&self, event: &Event, _cx: &RenderContext, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let body = Body {
            event_type: event.event_type,
            occur_at: event.occur_at.timestamp(),
            operator: &event.operator,
            event_data: &event.data,
        };
        json::write(out, &body)
    }
}
