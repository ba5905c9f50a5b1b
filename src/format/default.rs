use super::{Format, FormatError, RenderContext, Scope, json};
use crate::event::Event;

/// Harbor's Default format, byte for byte; nothing is ever added to it.
///
/// Source: Harbor 2.16, `pkg/notifier/formats/default.go:69-83`.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultFormat;

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
        out.extend_from_slice(br#"{"type":""#);
        out.extend_from_slice(event.event_type.as_str().as_bytes());
        out.extend_from_slice(br#"","occur_at":"#);
        json::integer(out, event.occur_at.timestamp());
        out.extend_from_slice(br#","operator":""#);
        json::text(out, &event.operator);
        out.extend_from_slice(br#"","event_data":"#);
        json::write(out, &event.data)?;
        out.push(b'}');
        Ok(())
    }
}
