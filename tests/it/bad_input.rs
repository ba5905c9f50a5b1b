//! Input that fuzzing and thinking came up with: it is read as the same again, or refused at the door.

use chrono::{DateTime, Utc};
use harbor_webhook::event::{
    CloudEvent, Payload, Retention, RetentionRule, SbomOverview, ScanReport, Scanned, TimeText, Vulnerabilities,
};
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::MemoryStore;
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{ErrorKind, Event, EventType, Notified, Registry, Settings, Webhooks};
use serde_json::{Value, json};

use crate::support::events::{DIGEST, PROJECT, push};

/// As the outbox holds it and gives it back.
fn stored(event: &Event) -> Event {
    serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap()
}

#[test]
fn an_empty_sbom_overview_is_none() {
    let data = json!({
        "resources": [{ "digest": DIGEST, "sbom_overview": {} }],
        "repository": { "repo_full_name": "library/alpine" },
    });
    let body = json!({ "type": "SCANNING_COMPLETED", "occur_at": 1, "event_data": data });
    let payload: Payload = serde_json::from_value(body).unwrap();
    assert_eq!(payload.event_data.resources[0].sbom_overview, None);
    let event = Event::from_payload(PROJECT, payload).unwrap();
    assert_eq!(stored(&event), event);
}

#[test]
fn a_leap_second_is_a_second() {
    let body = json!({
        "specversion": "1.0", "id": "1", "source": "/projects/2/webhook/policies/1", "type": "harbor.artifact.pushed",
        "time": "2016-12-31T23:59:60Z", "data": push().data,
    });
    let read: CloudEvent = serde_json::from_value(body).unwrap();
    let event = read.into_event().unwrap();
    assert_eq!(stored(&event), event);
    let leap: DateTime<Utc> = "2016-12-31T23:59:60.5Z".parse().unwrap();
    let event = push().occurred_at(leap);
    assert_eq!(stored(&event), event);
}

#[test]
fn a_time_that_cannot_be_written_is_the_nearest_that_can() {
    for (time, nearest) in
        [(DateTime::<Utc>::MAX_UTC, "9999-12-31T23:59:59Z"), (DateTime::<Utc>::MIN_UTC, "0000-01-01T00:00:00Z")]
    {
        assert_eq!(TimeText::from(time).as_str(), nearest);
        let report = ScanReport::success("r", "None", Vulnerabilities::default()).between(time, time);
        let registry = Registry::new("hub.example.com").unwrap();
        let artifact = harbor_webhook::event::Artifact::tagged("3.20", DIGEST).unwrap();
        let event = registry.scan_completed(PROJECT, "library/alpine", artifact, Scanned::vulnerability(report));
        assert_eq!(stored(&event), event);
    }
}

#[test]
fn counts_beyond_all_counts_are_no_panic() {
    let found = Vulnerabilities::new(0, [("Low", i64::MAX), ("High", 1)]);
    assert_eq!(found.total, i64::MAX);
}

#[test]
fn fractions_come_back_as_they_were() {
    let mut rule = RetentionRule::new("always");
    for (name, value) in
        [("a", 0.1 + 0.2), ("b", 1.0e-7 / 3.0), ("c", 2f64.powi(70) / 3.0), ("d", 1.230_000_001_115_603_9e-8)]
    {
        rule.params.insert(name.to_owned(), value.into());
    }
    let mut retention = Retention::new(1, 0, Vec::new());
    retention.retention_rule.push(rule);
    let event = Registry::new("hub.example.com").unwrap().tag_retention(PROJECT, retention);
    assert_eq!(stored(&event), event);
}

#[tokio::test]
async fn values_too_deep_to_be_read_again_are_refused() {
    let hooks = Webhooks::builder(MemoryStore::new(), DestinationPolicy::private_networks()).build().unwrap();
    let draft = PolicyDraft::new("ci").on(EventType::TagRetention).target(Target::http("http://10.0.0.1/").unwrap());
    hooks.policies().create(PROJECT, draft).await.unwrap();
    let event = |depth: usize| {
        let value = (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        let mut rule = RetentionRule::new("always");
        rule.params.insert("x".to_owned(), value);
        let mut retention = Retention::new(1, 0, Vec::new());
        retention.retention_rule.push(rule);
        Registry::new("hub.example.com").unwrap().tag_retention(PROJECT, retention)
    };
    assert_eq!(hooks.notify(&event(100)).await.unwrap(), Notified::Queued);
    let deep = event(100);
    assert_eq!(stored(&deep), deep);
    let error = hooks.notify(&event(101)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().starts_with("event_data.retention.retention_rule.params: "), "{error}");
    assert_eq!(hooks.notify(&event(10_000)).await.unwrap_err().kind(), ErrorKind::Invalid);
}

/// A few lines that stand for more nodes than fit into any memory, and aliases that nest where the text does not.
#[test]
fn a_bomb_in_yaml_is_refused() {
    let mut wide = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    let mut deep = "a0: &a0 [x]\n".to_owned();
    for n in 1..40 {
        let list = vec![format!("*a{}", n - 1); 10].join(",");
        wide += &format!("a{n}: &a{n} [{list}]\n");
    }
    for n in 1..20_000 {
        deep += &format!("a{n}: &a{n} [*a{}]\n", n - 1);
    }
    for text in [wide, deep] {
        let read = std::thread::Builder::new().stack_size(512 * 1024);
        let read = read.spawn(move || Settings::harbor().read_harbor_yml(&text)).unwrap().join().unwrap();
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[test]
fn an_sbom_without_anything_is_left_out() {
    let event = push();
    let mut with = event.clone();
    with.data.resources[0].sbom_overview = Some(SbomOverview::default());
    assert_eq!(serde_json::to_string(&with).unwrap(), serde_json::to_string(&event).unwrap());
}
