//! The golden bodies: see `tests/fixtures/README.md` for where they come from.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use harbor_webhook::event::{CloudEvent, Payload};
use harbor_webhook::format::{
    CloudEventsFormat, DefaultFormat, Format, FormatError, Formats, RenderContext, SlackFormat, sdk,
};
use harbor_webhook::{ErrorKind, Event, EventType, PolicyId, ProjectId};
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
    for file in golden("wire", ".cloudevents.json").into_iter().chain(golden("v2_16/wire", ".cloudevents.json")) {
        let body = in_the_manuals_order(&fs::read_to_string(&file).unwrap());
        let read: CloudEvent = serde_json::from_str(&body).unwrap();
        let (_, policy) = read.origin().unwrap();
        let cx = RenderContext::with_id(read.id.parse().unwrap(), Some(policy));
        let rendered = render_with(&CloudEventsFormat, &read.into_event().unwrap(), &cx);
        assert_eq!(String::from_utf8(rendered).unwrap(), body, "{file:?}");
    }
}

/// What Harbor's library sends has both extensions at the end; the manual, and so we, the request's id behind the event's.
fn in_the_manuals_order(body: &str) -> String {
    let body = body.trim_end();
    match body.strip_suffix("\"}").and_then(|body| body.rsplit_once(r#"","requestid":""#)) {
        Some((rest, id)) if !id.contains('"') => {
            format!("{rest}\"}}").replacen(r#","source""#, &format!(r#","requestid":"{id}","source""#), 1)
        }
        _ => body.to_owned(),
    }
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

/// Harbor's message is no JSON: line breaks and tabs stand raw in its texts. Made JSON, it has our texts.
#[test]
fn slack_texts_are_harbors() {
    for file in golden("wire", ".slack.txt").into_iter().chain(golden("v2_16/wire", ".slack.txt")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let sent = fs::read_to_string(&file).unwrap();
        let mut quoted = false;
        let mut json_text = String::new();
        let mut before = ' ';
        for c in sent.chars() {
            quoted ^= c == '"' && before != '\\';
            match c {
                '\n' if quoted => json_text.push_str("\\n"),
                '\t' if quoted => json_text.push_str("\\t"),
                _ => json_text.push(c),
            }
            before = c;
        }
        let other = SLACK_OF.iter().find(|(slack, _)| slack.strip_suffix(".json") == name.strip_suffix(".txt"));
        let default = other.map_or(name.trim_end_matches(".slack.txt"), |(_, default)| default);
        let event = event(&fs::read(file.with_file_name(format!("{default}.default.json"))).unwrap());
        let (ours, harbors) =
            (texts(&json(&render(&SlackFormat::default(), &event))), texts(&json(json_text.as_bytes())));
        assert_eq!(ours.len(), harbors.len(), "{name}");
        for (block, (ours, harbors)) in ours.iter().zip(&harbors).enumerate() {
            let (ours, harbors) = (ours.split('|').next(), harbors.split('|').next());
            assert_eq!(ours, harbors, "{name}, block {block}");
        }
    }
}

#[test]
fn no_golden_body_is_left_out() {
    let known = [".default.json", ".cloudevents.json", ".slack.json", ".slack.txt"];
    for folder in ["", "wire", "v2_16", "v2_16/wire"] {
        for file in golden(folder, "").into_iter().filter(|path| path.is_file()) {
            assert!(known.iter().any(|end| file.to_str().unwrap().ends_with(end)), "{file:?} is read by no test");
        }
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

#[test]
fn numbers_and_objects_of_a_retention_rule_are_written_as_go_writes_them() {
    let body = r#"{"type":"TAG_RETENTION","occur_at":1,"operator":"","event_data":{"retention":{"total":1,"retained":0,"retention_rule":[{"template":"t","params":{"b":7.0,"a":{"y":1e21,"x":[0.5,null,true,"<"]}}}]}}}"#;
    let rendered = String::from_utf8(render(&DefaultFormat, &event(body.as_bytes()))).unwrap();
    let params = r#""params":{"a":{"x":[0.5,null,true,"\u003c"],"y":1e+21},"b":7}"#;
    assert!(rendered.contains(params), "{rendered}");
}

#[test]
fn what_is_no_event_of_harbors_is_refused_by_name() {
    let good = r#"{"specversion":"1.0","id":"1","source":"/projects/2/webhook/policies/15","type":"harbor.quota.warned","time":"2023-04-03T06:04:46Z","data":{"repository":{"repo_full_name":"a/b"}}}"#;
    let read = |body: &str| serde_json::from_str::<CloudEvent>(body).unwrap().into_event();
    assert!(read(good).is_ok());
    let cases = [
        (r#"1.0""#, r#"0.3""#, "specversion"),
        ("harbor.quota.warned", "harbor.artifact.signed", "type"),
        ("/projects/2/", "/project/2/", "source"),
        ("/projects/2/", "/projects/two/", "source"),
        (r#""time":"2023-04-03T06:04:46Z","#, "", "time"),
        (r#""repository":{"repo_full_name":"a/b"}"#, "", "event_data.repository"),
        ("a/b", "a\\nb", "event_data.repository"),
    ];
    for (part, other, field) in cases {
        let error = read(&good.replacen(part, other, 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().starts_with(field), "{field}: {error}");
    }
}

#[test]
fn sdk_events_of_another_version_are_refused() {
    use sdk::cloudevents::{EventBuilder, EventBuilderV03};
    let data = serde_json::json!({"repository": {"repo_full_name": "a/b"}});
    let builder = EventBuilderV03::new().id("1").source("/projects/2/webhook/policies/15").ty("harbor.quota.warned");
    let old = builder.time("2023-04-03T06:04:46Z").data("application/json", data).build().unwrap();
    let error = sdk::from_sdk(&old).unwrap_err().to_string();
    assert!(error.starts_with("specversion"), "{error}");
}

#[test]
fn a_format_needs_a_name_of_its_own() {
    #[derive(Debug)]
    struct Named(&'static str);
    impl Format for Named {
        fn name(&self) -> &str {
            self.0
        }
        fn content_type(&self) -> &str {
            "text/plain"
        }
        fn render(&self, event: &Event, _: &RenderContext, out: &mut Vec<u8>) -> Result<(), FormatError> {
            out.extend_from_slice(event.operator.as_bytes());
            Ok(())
        }
    }
    let mut formats = Formats::default();
    let refused = |formats: &mut Formats, name| formats.register(Arc::new(Named(name))).unwrap_err().kind();
    assert_eq!(refused(&mut formats, ""), ErrorKind::Invalid);
    assert_eq!(refused(&mut formats, "CloudEvents"), ErrorKind::Conflict);
    formats.register(Arc::new(Named("Plain"))).unwrap();
    assert_eq!(refused(&mut formats, "Plain"), ErrorKind::Conflict);
    assert_eq!(formats.names().collect::<Vec<_>>(), ["Default", "CloudEvents", "Slack", "Plain"]);
    assert_eq!(render(&**formats.find("Plain").unwrap(), &crate::support::events::push()), b"admin");
}
