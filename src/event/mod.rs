//! What happened in the registry, and how Harbor words it.
//!
//! A host makes events with a [`Registry`], which knows the public endpoint. A receiver reads bodies into a [`Payload`]
//! or a [`CloudEvent`]; both carry the same [`EventData`].

mod cloud_event;
mod event_type;
mod go_value;
mod jobs;
mod lenient;
mod payload;
mod registry;
mod sample;
mod scan;
mod stored;
mod test;
mod time;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

pub use cloud_event::CloudEvent;
pub use event_type::{EventName, EventType};
pub use jobs::{ArtifactInfo, References, Replication, ReplicationSide, Retention, RetentionRule, Selector};
pub use payload::{EventData, Repository, Resource};
pub use registry::{Artifact, Registry, Scanned, quota};
pub use scan::{SbomOverview, Scan, ScanReport, Scanner, VULNERABILITY_REPORT, Vulnerabilities};
pub use stored::Payload;
pub(crate) use test::is_test;
pub use time::TimeText;

use crate::error::{Error, Result};
use crate::id::{PolicyId, ProjectId};

/// The largest event that is accepted, as JSON.
const MAX_EVENT: usize = 1024 * 1024;
/// The deepest nesting of free values. `serde_json` reads 128 levels in all.
const MAX_DEPTH: usize = 100;

/// Something that happened in a project of the registry.
///
/// [`Registry`] makes it; the methods here complete it. Its serde form is what the outbox holds:
/// `{"id", "project_id", "type", "occur_at", "operator", "request_id", "policy_id", "event_data"}`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// Identifies the event: appending it twice under one id is appending it once.
    pub id: Uuid,
    /// The project whose policies are asked.
    pub project_id: ProjectId,
    /// What happened.
    pub event_type: EventType,
    /// When it happened, in whole seconds of the years 1 to 9999.
    pub occur_at: DateTime<Utc>,
    /// Who caused it; may be empty.
    pub operator: String,
    /// The id of the HTTP request that caused it.
    pub request_id: Option<String>,
    /// The only policy that may get it. Set in [tests](Event::as_test), and only there.
    pub policy_id: Option<PolicyId>,
    /// What it is about.
    pub data: EventData,
}

impl Event {
    pub(crate) fn new(project_id: ProjectId, event_type: EventType, occur_at: DateTime<Utc>, data: EventData) -> Self {
        let occur_at = whole_seconds(occur_at);
        Self {
            id: Uuid::now_v7(),
            project_id,
            event_type,
            occur_at,
            operator: String::new(),
            request_id: None,
            policy_id: None,
            data,
        }
    }

    /// The event that a Default body tells of, under a fresh id.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if the type is not one of the ten, or if [`Event::check`] fails.
    pub fn from_payload(project_id: ProjectId, payload: Payload) -> Result<Self> {
        let event_type = match payload.event_type {
            EventName::Known(known) => known,
            EventName::Other(name) => name.parse()?,
        };
        let mut event = Self::new(project_id, event_type, payload.occur_at, payload.event_data);
        event.operator = payload.operator;
        event.check()?;
        Ok(event)
    }

    /// Sets who caused it: a user, a robot, or a service of the registry.
    #[must_use]
    pub fn operator(mut self, name: impl Into<String>) -> Self {
        self.operator = name.into();
        self
    }

    /// Sets the id of the HTTP request that caused it.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// Sets the event's id.
    #[must_use]
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = id;
        self
    }

    /// Derives the event's id from the host's own, so that reporting it twice is reporting it once.
    #[must_use]
    pub fn foreign_id(mut self, id: &str) -> Self {
        /// The namespace of ids that come from hosts.
        const FOREIGN: Uuid = Uuid::from_u128(0x0f2a_6f5e_0a5b_4c7e_9d0c_6d4d_3a51_7b11);
        self.id = Uuid::new_v5(&FOREIGN, id.as_bytes());
        self
    }

    /// Sets when it happened; fractions of a second are cut.
    #[must_use]
    pub fn occurred_at(mut self, time: DateTime<Utc>) -> Self {
        self.occur_at = whole_seconds(time);
        self
    }

    /// Checks that the event carries what its type needs, and nothing that would break a line or a header.
    ///
    /// [`Webhooks::notify`](crate::event::Event::check) and reading from JSON do this by themselves.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid), naming the field.
    pub fn check(&self) -> Result<()> {
        use chrono::Datelike;
        if !(1..=9999).contains(&self.occur_at.year()) {
            return Err(Error::invalid("occur_at", "lies outside the years 1 to 9999"));
        }
        match self.event_type {
            EventType::PushArtifact | EventType::PullArtifact | EventType::DeleteArtifact => {
                self.check_repository()?;
                self.check_resource()
            }
            EventType::ScanningCompleted | EventType::ScanningFailed | EventType::ScanningStopped => {
                self.check_repository()?;
                self.check_resource()
            }
            EventType::QuotaExceed | EventType::QuotaWarning => self.check_repository(),
            EventType::Replication => self.needs(self.data.replication.is_some(), "event_data.replication"),
            EventType::TagRetention => self.needs(self.data.retention.is_some(), "event_data.retention"),
        }?;
        self.check_depth()?;
        self.check_names()?;
        self.check_test()
    }

    /// Checks that the event's JSON is not larger than 1 MiB.
    pub(crate) fn check_size(&self) -> Result<()> {
        match self.json_len()? {
            0..=MAX_EVENT => Ok(()),
            size => {
                Err(Error::invalid("event", format_args!("{size} bytes of JSON; at most {MAX_EVENT} are accepted")))
            }
        }
    }

    fn check_repository(&self) -> Result<()> {
        let full_name = self.data.repository.as_ref().map(|repository| &repository.repo_full_name);
        self.needs(full_name.is_some(), "event_data.repository")?;
        self.needs(full_name.is_some_and(|name| !name.is_empty()), "event_data.repository.repo_full_name")
    }

    fn check_resource(&self) -> Result<()> {
        let digest = self.data.resources.first().map(|resource| &resource.digest);
        self.needs(digest.is_some(), "event_data.resources")?;
        self.needs(digest.is_some_and(|digest| !digest.is_empty()), "event_data.resources[0].digest")
    }

    fn needs(&self, present: bool, field: &str) -> Result<()> {
        if present {
            Ok(())
        } else {
            Err(Error::invalid(field, format_args!("is missing; {} needs it", self.event_type)))
        }
    }

    /// What is nested too deep could be written, but not read again.
    fn check_depth(&self) -> Result<()> {
        let rules = self.data.retention.iter().flat_map(|retention| &retention.retention_rule);
        if rules.flat_map(|rule| rule.params.values()).all(is_flat) {
            return Ok(());
        }
        let field = "event_data.retention.retention_rule.params";
        Err(Error::invalid(field, format_args!("is nested deeper than {MAX_DEPTH} levels")))
    }

    fn check_names(&self) -> Result<()> {
        if let Some(repository) = &self.data.repository {
            for name in [&repository.repo_full_name, &repository.name, &repository.namespace, &repository.repo_type] {
                one_line("event_data.repository", name)?;
            }
        }
        for resource in &self.data.resources {
            for name in [&resource.digest, &resource.tag, &resource.resource_url] {
                one_line("event_data.resources", name)?;
            }
        }
        Ok(())
    }
}

/// A leap second counts as the second before it: what is written has no name for it.
fn whole_seconds(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(time.timestamp(), 0).unwrap_or(time)
}

/// Without recursion, as the depth is what is in question.
fn is_flat(value: &Value) -> bool {
    let mut open = vec![(value, 0)];
    while let Some((value, depth)) = open.pop() {
        match value {
            Value::Array(_) | Value::Object(_) if depth == MAX_DEPTH => return false,
            Value::Array(list) => open.extend(list.iter().map(|value| (value, depth + 1))),
            Value::Object(map) => open.extend(map.values().map(|value| (value, depth + 1))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    true
}

fn one_line(field: &str, name: &str) -> Result<()> {
    // Control characters are these bytes, or begin with 0xc2. Names seldom hold any of them, and bytes are looked at faster.
    if !name.bytes().any(|b| b < 0x20 || b == 0x7f || b == 0xc2) {
        return Ok(());
    }
    match name.chars().find(|c| c.is_control()) {
        None => Ok(()),
        Some(c) => Err(Error::invalid(field, format_args!("contains the control character {c:?}; remove it"))),
    }
}
