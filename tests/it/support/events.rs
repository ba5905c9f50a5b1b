use harbor_webhook::event::Artifact;
use harbor_webhook::{Event, EventType, ProjectId, Registry};

pub(crate) const PROJECT: ProjectId = ProjectId(2);
pub(crate) const DIGEST: &str = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";

/// A push of its own: every call gives another event.
pub(crate) fn push() -> Event {
    push_to(PROJECT)
}

pub(crate) fn push_to(project: ProjectId) -> Event {
    let registry = Registry::new("hub.example.com").unwrap();
    let event = registry.push(project, "library/alpine", Artifact::tagged("3.20", DIGEST).unwrap());
    assert_eq!(event.event_type, EventType::PushArtifact);
    event.operator("admin")
}

/// An event that can be told from others by its body.
pub(crate) fn numbered(number: usize) -> Event {
    let registry = Registry::new("hub.example.com").unwrap();
    let artifact = Artifact::tagged(number.to_string(), DIGEST).unwrap();
    registry.push(PROJECT, "library/alpine", artifact).operator("admin")
}

/// Which of them this is the body of.
pub(crate) fn number(body: &[u8]) -> usize {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    body["event_data"]["resources"][0]["tag"].as_str().unwrap().parse().unwrap()
}
