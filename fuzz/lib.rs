//! What several targets need.

use harbor_webhook::format::{Format, RenderContext};
use harbor_webhook::{Event, PolicyId};

/// The body of an event that was accepted: there always is one.
pub fn render(format: &dyn Format, event: &Event) -> Vec<u8> {
    let mut out = Vec::new();
    format
        .render(event, &RenderContext::new(event, format, PolicyId(15)), &mut out)
        .expect("an accepted event renders");
    out
}
