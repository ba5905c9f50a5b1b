use bytes::Bytes;

use crate::caught::caught_now;
use crate::event::Event;
use crate::format::{Format, Formats, RenderContext, Scope};
use crate::id::PolicyId;
use crate::store::Body;

/// Renders the bodies of an event, in the order of its policies, each once.
pub(super) struct Renderer<'a> {
    event: &'a Event,
    formats: &'a Formats,
    /// The last body of each format. Targets that share one come one after the other, so older ones are not wanted again; of an
    /// event with many policies they would take much memory.
    last: Vec<Last<'a>>,
}

struct Last<'a> {
    format: &'a str,
    /// What it is for, if it names its policy.
    policy: Option<PolicyId>,
    body: Result<Body, String>,
}

impl<'a> Renderer<'a> {
    pub(super) fn new(event: &'a Event, formats: &'a Formats) -> Self {
        Self { event, formats, last: Vec::new() }
    }

    /// The body of this format for this policy, or why there is none.
    pub(super) fn body(&mut self, policy: PolicyId, name: &'a str) -> Result<Body, String> {
        let format = self.formats.find(name);
        let format = format.ok_or_else(|| format!("no format of the name {name} is registered"))?;
        let shared_by = (format.scope() == Scope::Policy).then_some(policy);
        let known = self.last.iter().position(|last| last.format == name);
        if let Some(last) = known.map(|at| &self.last[at]).filter(|last| last.policy == shared_by) {
            return last.body.clone();
        }
        // That of another policy, which this one may be made from.
        let other = known.map(|at| self.last.swap_remove(at)).and_then(|last| last.body.ok());
        let cx = RenderContext::new(self.event, &**format, policy);
        let body = render(self.event, &**format, &cx, other.as_ref().map(|body| &body.bytes[..]));
        if let Err(reason) = &body {
            tracing::error!(format = name, reason, event = %self.event.id, "a format failed");
        }
        self.last.push(Last { format: name, policy: shared_by, body: body.clone() });
        body
    }
}

fn render(event: &Event, format: &dyn Format, cx: &RenderContext, known: Option<&[u8]>) -> Result<Body, String> {
    let mut out = Vec::with_capacity(known.map_or(1024, |known| known.len() + 32));
    let rendered = caught_now(|| match known {
        Some(known) => format.render_again(event, cx, known, &mut out),
        None => format.render(event, cx, &mut out),
    });
    match rendered {
        Ok(Ok(())) => {
            Ok(Body::new(cx.body_id, format.name(), format.content_type(), Bytes::from(out.into_boxed_slice())))
        }
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err("the format panicked".to_owned()),
    }
}
