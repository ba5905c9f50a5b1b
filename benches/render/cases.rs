//! What is rendered, and by whom.

use harbor_webhook::event::{Artifact, EventData, ScanReport, Scanned, Scanner, Vulnerabilities};
use harbor_webhook::format::{CloudEventsFormat, DefaultFormat, Format, RenderContext, SlackFormat, sdk};
use harbor_webhook::{Event, PolicyId, ProjectId, Registry};
use serde::Serialize;

pub(crate) type Render<'a> = Box<dyn FnMut(&mut Vec<u8>) -> bool + 'a>;

/// Two ways to the same bytes, or nearly.
pub(crate) struct Case<'a> {
    pub(crate) name: &'static str,
    pub(crate) ours: Render<'a>,
    pub(crate) rival: Render<'a>,
    pub(crate) rival_name: &'static str,
    /// The ratio of our time to the rival's that must not be exceeded.
    #[allow(dead_code)] // instructions are held to their record
    pub(crate) goal: f64,
}

const DIGEST: &str = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";
const POLICY: PolicyId = PolicyId(15);
const ANOTHER: PolicyId = PolicyId(16);

/// All comparisons for one event.
pub(crate) fn of(event: &Event) -> Vec<Case<'_>> {
    let slack = SlackFormat::default();
    let case = |name, ours, rival, rival_name, goal| Case { name, ours, rival, rival_name, goal };
    vec![
        case("default", given(DefaultFormat, event), default(event), "serde_json", 1.10),
        case("cloudevents, id given", given(CloudEventsFormat, event), cloudevents(event), "serde_json", 1.15),
        case("cloudevents, fresh id", fresh(&CloudEventsFormat, event), cloudevents(event), "serde_json", 1.30),
        case("cloudevents, fresh id", fresh(&CloudEventsFormat, event), through_sdk(event), "cloudevents-sdk", 0.33),
        case("cloudevents, further policy", further(event), fresh(&CloudEventsFormat, event), "the first", 0.50),
        case("slack", given(slack, event), slack_in_two_passes(event), "serde_json twice", 1.20),
    ]
}

fn given<'a>(format: impl Format, event: &'a Event) -> Render<'a> {
    let cx = RenderContext::new(event, &format, POLICY);
    Box::new(move |out| format.render(event, &cx, out).is_ok())
}

fn fresh<'a>(format: &'a dyn Format, event: &'a Event) -> Render<'a> {
    Box::new(move |out| format.render(event, &RenderContext::new(event, format, POLICY), out).is_ok())
}

fn further(event: &Event) -> Render<'_> {
    let format = CloudEventsFormat;
    let mut known = Vec::new();
    let rendered = format.render(event, &RenderContext::new(event, &format, POLICY), &mut known).is_ok();
    Box::new(move |out| {
        let cx = RenderContext::new(event, &format, ANOTHER);
        rendered && format.render_again(event, &cx, &known, out).is_ok()
    })
}

fn default(event: &Event) -> Render<'_> {
    #[derive(Serialize)]
    struct Default<'a> {
        r#type: &'a str,
        occur_at: i64,
        operator: &'a str,
        event_data: &'a EventData,
    }
    Box::new(|out| {
        let body = Default {
            r#type: event.event_type.as_str(),
            occur_at: event.occur_at.timestamp(),
            operator: &event.operator,
            event_data: &event.data,
        };
        serde_json::to_writer(out, &body).is_ok()
    })
}

fn cloudevents(event: &Event) -> Render<'_> {
    #[derive(Serialize)]
    struct CloudEvents<'a> {
        specversion: &'a str,
        id: &'a str,
        requestid: &'a str,
        source: &'a str,
        r#type: &'a str,
        datacontenttype: &'a str,
        time: &'a str,
        data: &'a EventData,
        operator: &'a str,
    }
    Box::new(|out| {
        let body = CloudEvents {
            specversion: "1.0",
            id: "66e18103-09c1-41f6-982f-37df223f3eeb",
            requestid: event.request_id.as_deref().unwrap_or_default(),
            source: "/projects/2/webhook/policies/15",
            r#type: event.event_type.cloudevents_type(),
            datacontenttype: "application/json",
            time: "2023-04-03T06:04:46Z",
            data: &event.data,
            operator: &event.operator,
        };
        serde_json::to_writer(out, &body).is_ok()
    })
}

fn through_sdk(event: &Event) -> Render<'_> {
    Box::new(|out| {
        let cx = RenderContext::new(event, &CloudEventsFormat, POLICY);
        sdk::to_sdk(event, &cx).is_ok_and(|event| serde_json::to_writer(out, &event).is_ok())
    })
}

/// Pretty into a buffer, and escaped from there into the message.
fn slack_in_two_passes(event: &Event) -> Render<'_> {
    let mut pretty = Vec::new();
    Box::new(move |out| {
        pretty.clear();
        let written = serde_json::to_writer_pretty(&mut pretty, &event.data).is_ok();
        written && std::str::from_utf8(&pretty).is_ok_and(|text| serde_json::to_writer(out, text).is_ok())
    })
}

pub(crate) fn push() -> harbor_webhook::Result<Event> {
    let registry = Registry::new("localhost")?;
    let event = registry.push(ProjectId(2), "harbor/alpine", Artifact::untagged(DIGEST)?);
    Ok(event.operator("harbor-jobservice").request_id("51c0b694-0168-4f3c-b0db-282565455d7b"))
}

pub(crate) fn scan() -> harbor_webhook::Result<Event> {
    let registry = Registry::new("localhost")?;
    let found = Vulnerabilities::new(3, [("Critical", 1), ("High", 4), ("Low", 2)]);
    let start = chrono::DateTime::from_timestamp(1_680_502_367, 0).unwrap_or_default();
    let report = ScanReport::success("af0546c1-67dc-4e9d-927e-372900ead0df", "Critical", found)
        .between(start, start + chrono::TimeDelta::seconds(8))
        .scanner(Scanner::new("Trivy", "Aqua Security", "v0.37.2"));
    let artifact = Artifact::tagged("latest", DIGEST)?;
    let event = registry.scan_completed(ProjectId(2), "harbor/alpine", artifact, Scanned::vulnerability(report));
    Ok(event.operator("auto").request_id("98ecbced-4169-443b-8e19-459a8c81675d"))
}
