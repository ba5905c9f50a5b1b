use chrono::{DateTime, Utc};

use super::{Event, EventType, Payload};
use crate::error::{Error, Result};
use crate::id::ProjectId;

impl Event {
    /// An event as Harbor's manual shows one of this type. It names images that nobody has, so that a receiver which acts
    /// on events finds nothing to act on.
    pub(crate) fn sample(project: ProjectId, event_type: EventType, at: DateTime<Utc>) -> Result<Self> {
        let payload: Payload = serde_json::from_str(text(event_type))
            .map_err(|e| Error::invalid(format_args!("sample of {event_type}"), e))?;
        Ok(Self::from_payload(project, payload)?.occurred_at(at))
    }
}

/// The samples of Harbor's manual page on webhooks, as Harbor sends them.
fn text(event_type: EventType) -> &'static str {
    match event_type {
        EventType::PushArtifact => include_str!("samples/push_artifact.json"),
        EventType::PullArtifact => include_str!("samples/pull_artifact.json"),
        EventType::DeleteArtifact => include_str!("samples/delete_artifact.json"),
        EventType::QuotaExceed => include_str!("samples/quota_exceed.json"),
        EventType::QuotaWarning => include_str!("samples/quota_warning.json"),
        EventType::ScanningFailed => include_str!("samples/scanning_failed.json"),
        EventType::ScanningStopped => include_str!("samples/scanning_stopped.json"),
        EventType::ScanningCompleted => include_str!("samples/scanning_completed.json"),
        EventType::Replication => include_str!("samples/replication.json"),
        EventType::TagRetention => include_str!("samples/tag_retention.json"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_sample_of_every_type() {
        let at = "2026-01-02T03:04:05Z".parse().unwrap();
        for event_type in EventType::ALL {
            let sample = Event::sample(ProjectId(2), event_type, at).unwrap();
            assert_eq!((sample.event_type, sample.project_id, sample.occur_at), (event_type, ProjectId(2), at));
            sample.check().unwrap();
        }
    }
}
