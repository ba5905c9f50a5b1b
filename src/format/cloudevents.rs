use super::time::rfc3339;
use super::{Format, FormatError, RenderContext, Scope, json};
use crate::event::Event;

/// CloudEvents 1.0 in structured JSON, with Harbor's attributes in the order of Harbor's manual.
///
/// Source: Harbor 2.16, `pkg/notifier/formats/cloudevents.go:107-144`. Harbor makes up a new `id` for each target; here
/// it is derived, so that it is the same whenever the event is rendered for the policy again.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloudEventsFormat;

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
        attributes(event, cx, out)?;
        out.extend_from_slice(DATA);
        json::write(out, &event.data)?;
        out.extend_from_slice(br#","operator":""#);
        json::text(out, &event.operator);
        out.extend_from_slice(b"\"}");
        Ok(())
    }

    /// Only what stands before the data names the policy.
    fn render_again(
        &self,
        event: &Event,
        cx: &RenderContext,
        known: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        let from = out.len();
        attributes(event, cx, out)?;
        // What stands before the data differs by the digits of the policy's id, so the data is near. No text can hold its
        // key: a quote within a text has a backslash before it.
        let near = (out.len() - from).saturating_sub(MOST_DIGITS).min(known.len());
        let Some(at) = known[near..].windows(DATA.len()).position(|window| window == DATA) else {
            out.truncate(from);
            return self.render(event, cx, out);
        };
        out.extend_from_slice(&known[near + at..]);
        Ok(())
    }
}

const DATA: &[u8] = br#","data":"#;
/// Of a policy's id.
const MOST_DIGITS: usize = 20;

/// Both extensions are there even when empty, as in Harbor; `operator` is the last member, behind the data.
fn attributes(event: &Event, cx: &RenderContext, out: &mut Vec<u8>) -> Result<(), FormatError> {
    let policy = cx.policy_id.ok_or_else(|| FormatError::new("CloudEvents names a policy, and there is none"))?;
    out.extend_from_slice(br#"{"specversion":"1.0","id":""#);
    out.extend_from_slice(cx.body_id.hyphenated().encode_lower(&mut [0; 36]).as_bytes());
    out.extend_from_slice(br#"","requestid":""#);
    json::text(out, event.request_id.as_deref().unwrap_or_default());
    out.extend_from_slice(br#"","source":"/projects/"#);
    json::integer(out, event.project_id.0);
    out.extend_from_slice(b"/webhook/policies/");
    json::integer(out, policy.0);
    out.extend_from_slice(br#"","type":""#);
    out.extend_from_slice(event.event_type.cloudevents_type().as_bytes());
    out.extend_from_slice(br#"","datacontenttype":"application/json","time":""#);
    out.extend_from_slice(&rfc3339(event.occur_at)?);
    out.push(b'"');
    Ok(())
}
