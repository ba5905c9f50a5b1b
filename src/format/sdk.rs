//! Conversion to and from the types of the CloudEvents SDK.

pub use cloudevents;
use cloudevents::{AttributesReader, Data, EventBuilder, EventBuilderV10};

use super::RenderContext;
use crate::error::{Error, Result};
use crate::event::{CloudEvent, Event};

/// The event as the CloudEvents SDK's type, for hosts that hand it on by other means than webhooks.
///
/// # Errors
///
/// [`Invalid`](crate::ErrorKind::Invalid) if the context names no policy.
pub fn to_sdk(event: &Event, cx: &RenderContext) -> Result<cloudevents::Event> {
    let policy = cx.policy_id.ok_or_else(|| Error::invalid("context", "names no policy"))?;
    let source = format!("/projects/{}/webhook/policies/{policy}", event.project_id);
    let data = serde_json::to_value(&event.data).map_err(|e| Error::invalid("event_data", e))?;
    EventBuilderV10::new()
        .id(cx.body_id.to_string())
        .source(source)
        .ty(event.event_type.cloudevents_type())
        .time(event.occur_at)
        .data("application/json", data)
        .extension("operator", event.operator.as_str())
        .extension("requestid", event.request_id.as_deref().unwrap_or_default())
        .build()
        .map_err(|e| Error::invalid("event", e))
}

/// The event that an SDK event tells of.
///
/// # Errors
///
/// As for [`CloudEvent::into_event`], and if the data is not JSON of Harbor's shape.
pub fn from_sdk(event: &cloudevents::Event) -> Result<Event> {
    let data = match event.data() {
        Some(Data::Json(value)) => serde_json::from_value(value.clone()),
        Some(Data::String(text)) => serde_json::from_str(text),
        Some(Data::Binary(bytes)) => serde_json::from_slice(bytes),
        None => Ok(crate::event::EventData::default()),
    };
    let extension = |name: &str| event.extension(name).map(ToString::to_string).unwrap_or_default();
    CloudEvent {
        specversion: event.specversion().to_string(),
        id: event.id().to_owned(),
        source: event.source().to_string(),
        event_type: event.ty().to_owned(),
        time: event.time().copied(),
        data: data.map_err(|e| Error::invalid("data", e))?,
        operator: extension("operator"),
        requestid: extension("requestid"),
    }
    .into_event()
}
