//! What receivers in the wild read, and how strictly: each test is one receiver's own reading of a body.

use std::collections::BTreeMap;

use harbor_webhook::event::Artifact;
use harbor_webhook::format::{DefaultFormat, Format, RenderContext};
use harbor_webhook::{Event, PolicyId, ProjectId, Registry};
use serde::Deserialize;
use serde_json::Value;

use crate::support::events::{DIGEST, push};

fn body(event: &Event) -> Vec<u8> {
    let mut out = Vec::new();
    DefaultFormat.render(event, &RenderContext::new(event, &DefaultFormat, PolicyId(1)), &mut out).unwrap();
    out
}

fn registry() -> Registry {
    Registry::new("hub.example.com:8443").unwrap()
}

fn untagged() -> Event {
    registry().push(ProjectId(2), "library/tools/alpine", Artifact::untagged(DIGEST).unwrap())
}

/// Jenkins' plugin answers 400 to a body with any key that it does not know.
#[test]
fn jenkins_finds_no_key_that_it_does_not_know() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Payload {
        r#type: String,
        occur_at: i64,
        operator: String,
        event_data: Data,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Data {
        resources: Vec<Resource>,
        repository: Repository,
        #[serde(default)]
        custom_attributes: BTreeMap<String, String>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Resource {
        digest: String,
        tag: String,
        resource_url: String,
        #[serde(default)]
        scan_overview: BTreeMap<String, Value>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Repository {
        #[serde(default)]
        date_created: i64,
        name: String,
        namespace: String,
        repo_full_name: String,
        repo_type: String,
    }
    for event in [push(), untagged()] {
        serde_json::from_slice::<Payload>(&body(&event)).unwrap();
    }
}

/// Argo CD's image updater refuses an empty tag and looks at the first resource only.
#[test]
fn argo_cd_finds_a_tag_even_where_there_is_none() {
    let read: Value = serde_json::from_slice(&body(&untagged())).unwrap();
    let first = &read["event_data"]["resources"][0];
    assert_eq!((&first["tag"], &first["digest"]), (&Value::from(DIGEST), &Value::from(DIGEST)));
    let repository = &read["event_data"]["repository"];
    assert_eq!(repository["repo_full_name"], "library/tools/alpine");
    assert_eq!((&repository["namespace"], &repository["name"]), (&"library".into(), &"tools/alpine".into()));
}

/// Keel and Kargo parse `resource_url` as an image reference, and times as integers.
#[test]
fn keel_and_kargo_find_an_image_reference_without_a_scheme() {
    let made = chrono::DateTime::from_timestamp(1_680_000_000, 0).unwrap();
    let mut tagged = registry().push(ProjectId(2), "library/alpine", Artifact::tagged("3.20", DIGEST).unwrap());
    tagged.data.repository = tagged.data.repository.map(|repository| repository.created_at(made));
    for (event, reference) in [
        (tagged, "hub.example.com:8443/library/alpine:3.20".to_owned()),
        (untagged(), format!("hub.example.com:8443/library/tools/alpine@{DIGEST}")),
    ] {
        let read: Value = serde_json::from_slice(&body(&event)).unwrap();
        assert_eq!(read["type"], "PUSH_ARTIFACT");
        assert_eq!(read["event_data"]["resources"][0]["resource_url"], reference);
        assert!(read["occur_at"].is_i64());
        let created = &read["event_data"]["repository"]["date_created"];
        assert!(created.is_null() || created.is_i64(), "{created}");
    }
}

/// Lagoon writes into every value of `scan_overview`; Zulip reads the counts in it.
#[test]
fn lagoon_and_zulip_find_objects_by_mime_type() {
    use harbor_webhook::event::{ScanReport, Scanned, Vulnerabilities};
    let report = ScanReport::success("id", "High", Vulnerabilities::new(1, [("High", 2), ("Low", 1)]));
    let artifact = Artifact::tagged("3.20", DIGEST).unwrap();
    let event = registry().scan_completed(ProjectId(2), "library/alpine", artifact, Scanned::vulnerability(report));
    let read: Value = serde_json::from_slice(&body(&event)).unwrap();
    let overview = read["event_data"]["resources"][0]["scan_overview"].as_object().unwrap();
    assert!(overview.values().all(Value::is_object));
    let report = &overview["application/vnd.security.vulnerability.report; version=1.1"];
    assert_eq!((&report["scan_status"], &report["severity"]), (&"Success".into(), &"High".into()));
    assert_eq!(report["summary"]["summary"], serde_json::json!({"High": 2, "Low": 1}));
}

/// Whoever reads a quota event finds the words as one text.
#[test]
fn quota_details_are_a_text() {
    let event = registry().quota_warning(ProjectId(2), "library/alpine", None, "85 % are used");
    let read: Value = serde_json::from_slice(&body(&event)).unwrap();
    assert_eq!(read["event_data"]["custom_attributes"], serde_json::json!({"Details": "85 % are used"}));
}
