//! The golden bodies: see `tests/fixtures/README.md` for where they come from.

use std::fs;
use std::path::{Path, PathBuf};

use harbor_webhook::event::{CloudEvent, Payload};
use harbor_webhook::format::{CloudEventsFormat, DefaultFormat, Format, RenderContext, SlackFormat, sdk};
use harbor_webhook::{Event, EventType, PolicyId, ProjectId};
use serde_json::Value;

/// The samples whose Slack form belongs to the Default sample of another name.
const SLACK_OF: [(&str, &str); 2] =
    [("push_artifact.slack.json", "push_artifact_tagged"), ("push_artifact_untagged.slack.json", "push_artifact")];

fn golden(folder: &str, end: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden").join(folder);
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.to_str().unwrap().ends_with(end)).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder:?} has no {end}");
    files
}

fn event(default_body: &[u8]) -> Event {
    let payload: Payload = serde_json::from_slice(default_body).unwrap();
    Event::from_payload(ProjectId(2), payload).unwrap()
}

fn render(format: &dyn Format, event: &Event) -> Vec<u8> {
    render_with(format, event, &RenderContext::new(event, format, PolicyId(15)))
}

fn render_with(format: &dyn Format, event: &Event, cx: &RenderContext) -> Vec<u8> {
    let mut out = Vec::new();
    format.render(event, cx, &mut out).unwrap();
    out
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn default_bodies_are_harbors_byte_for_byte() {
    for file in golden("wire", ".default.json").into_iter().chain(golden("v2_16/wire", ".default.json")) {
        let body = fs::read(&file).unwrap();
        let rendered = render(&DefaultFormat, &event(&body));
        assert_eq!(String::from_utf8(rendered).unwrap(), String::from_utf8(body).unwrap(), "{file:?}");
    }
}

#[test]
fn default_samples_are_reproduced() {
    for file in golden("", ".default.json").into_iter().chain(golden("v2_16", ".default.json")) {
        let sample = fs::read(&file).unwrap();
        assert_eq!(json(&render(&DefaultFormat, &event(&sample))), json(&sample), "{file:?}");
    }
}

#[test]
fn cloudevents_samples_are_reproduced() {
    for file in golden("", ".cloudevents.json").into_iter().chain(golden("v2_16", ".cloudevents.json")) {
        let sample = fs::read(&file).unwrap();
        let read: CloudEvent = serde_json::from_slice(&sample).unwrap();
        let (_, policy) = read.origin().unwrap();
        let cx = RenderContext::with_id(read.id.parse().unwrap(), Some(policy));
        let event = read.into_event().unwrap();
        let rendered = render_with(&CloudEventsFormat, &event, &cx);
        assert_eq!(json(&rendered), json(&sample), "{file:?}");
    }
}

#[test]
fn cloudevents_bodies_have_the_manuals_key_order() {
    let body = fs::read(&golden("wire", "push_artifact.cloudevents.json")[0]).unwrap();
    let read: CloudEvent = serde_json::from_slice(&body).unwrap();
    let cx = RenderContext::with_id(read.id.parse().unwrap(), Some(PolicyId(15)));
    let rendered = render_with(&CloudEventsFormat, &read.into_event().unwrap(), &cx);
    assert_eq!(String::from_utf8(rendered).unwrap(), String::from_utf8(body).unwrap());
}

#[test]
fn the_cloudevents_sdk_reads_what_is_rendered() {
    for file in golden("", ".default.json").into_iter().chain(golden("v2_16", ".default.json")) {
        let event = event(&fs::read(&file).unwrap()).request_id("r-1");
        let cx = RenderContext::new(&event, &CloudEventsFormat, PolicyId(15));
        let read: sdk::cloudevents::Event =
            serde_json::from_slice(&render_with(&CloudEventsFormat, &event, &cx)).unwrap();
        assert_eq!(read, sdk::to_sdk(&event, &cx).unwrap(), "{file:?}");
        let back = sdk::from_sdk(&read).unwrap().id(event.id);
        assert_eq!(back, event, "{file:?}");
    }
}

#[test]
fn slack_samples_are_reproduced_apart_from_the_fallback_date() {
    for file in golden("", ".slack.json").into_iter().chain(golden("v2_16", ".slack.json")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let other = SLACK_OF.iter().find(|(slack, _)| *slack == name).map(|(_, default)| *default);
        let default = format!("{}.default.json", other.unwrap_or(name.trim_end_matches(".slack.json")));
        let event = event(&fs::read(file.with_file_name(default)).unwrap());
        let rendered = json(&render(&SlackFormat::default(), &event));
        let sample = json(&fs::read(&file).unwrap());
        for (block, (got, expected)) in texts(&rendered).into_iter().zip(texts(&sample)).enumerate() {
            if block == 2 {
                let (date, fallback) = got.split_once('|').unwrap();
                assert_eq!(Some(date), expected.split('|').next(), "{name}");
                assert_eq!(fallback, event.occur_at.format("%Y-%m-%d %H:%M:%S UTC>").to_string(), "{name}");
            } else {
                assert_eq!(got, expected, "{name}, block {block}");
            }
        }
        assert_eq!(texts(&rendered).len(), texts(&sample).len(), "{name}");
    }
}

fn texts(message: &Value) -> Vec<String> {
    let blocks = message["blocks"].as_array().unwrap();
    blocks.iter().map(|block| block["text"]["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn four_spaces_are_what_slack_shows() {
    let event = event(&fs::read(&golden("", "push_artifact_tagged.default.json")[0]).unwrap());
    let shown = fs::read_to_string(&golden("", "push_artifact.slack.txt")[0]).unwrap();
    let data = texts(&json(&render(&SlackFormat::with_spaces(), &event))).remove(5);
    assert!(shown.trim_end().ends_with(data.trim_matches('`')), "{data}");
}

#[test]
fn unknown_members_and_names_are_tolerated_by_readers() {
    let body = r#"{"type":"NEW_THING","occur_at":1,"x":[],"event_data":{"resources":null,"y":{"z":1}}}"#;
    let payload: Payload = serde_json::from_str(body).unwrap();
    assert_eq!(payload.event_type.as_str(), "NEW_THING");
    let error = Event::from_payload(ProjectId(1), payload).unwrap_err();
    assert_eq!(error.to_string(), "unsupported event type NEW_THING");
}

#[test]
fn a_body_id_is_derived_as_documented() {
    let event = crate::support::events::push().id(uuid::Uuid::from_u128(7));
    let id = |format: &dyn Format, policy| RenderContext::new(&event, format, PolicyId(policy)).body_id.to_string();
    assert_eq!(id(&CloudEventsFormat, 15), "6d878914-d158-532c-89c6-18310966294a");
    assert_ne!(id(&CloudEventsFormat, 15), id(&CloudEventsFormat, 16));
    assert_eq!(id(&DefaultFormat, 15), "e334bf68-c88d-5e16-817f-93fd0f3a96f9");
    assert_eq!(id(&DefaultFormat, 15), id(&DefaultFormat, 16));
}

#[test]
fn the_event_types_are_harbors_in_harbors_order() {
    let listed = fs::read(&golden("rest", "webhook_events.json")[0]).unwrap();
    let names: Vec<&str> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(json(&listed)["event_type"], serde_json::json!(names));
    for kind in EventType::ALL {
        assert_eq!(kind.as_str().parse::<EventType>().unwrap(), kind);
        assert_eq!(EventType::from_cloudevents_type(kind.cloudevents_type()), Some(kind));
    }
    assert!("push_artifact".parse::<EventType>().is_err());
}
