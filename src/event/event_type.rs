use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, ErrorKind};

/// What happened: Harbor's ten webhook event types, a closed set.
///
/// Source: Harbor 2.16, `pkg/notification/notification.go:84-95`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[allow(clippy::exhaustive_enums)] // Harbor's set is closed, and policies accept exactly these.
pub enum EventType {
    /// A manifest was stored in a repository.
    PushArtifact,
    /// A manifest was fetched.
    PullArtifact,
    /// An artifact (not merely a tag) was deleted.
    DeleteArtifact,
    /// A request was refused because it would exceed the project's storage quota.
    QuotaExceed,
    /// The project's usage is near its quota.
    QuotaWarning,
    /// A scan ended with an error.
    ScanningFailed,
    /// A scan was stopped.
    ScanningStopped,
    /// A scan ended with success.
    ScanningCompleted,
    /// A replication task changed its status.
    Replication,
    /// A tag retention task deleted something.
    TagRetention,
}

impl EventType {
    /// All ten, in the order in which Harbor lists them.
    pub const ALL: [Self; 10] = [
        Self::PushArtifact,
        Self::PullArtifact,
        Self::DeleteArtifact,
        Self::QuotaExceed,
        Self::QuotaWarning,
        Self::ScanningFailed,
        Self::ScanningStopped,
        Self::ScanningCompleted,
        Self::Replication,
        Self::TagRetention,
    ];

    /// Harbor's name, as it stands in policies and in the Default format: `PUSH_ARTIFACT`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PushArtifact => "PUSH_ARTIFACT",
            Self::PullArtifact => "PULL_ARTIFACT",
            Self::DeleteArtifact => "DELETE_ARTIFACT",
            Self::QuotaExceed => "QUOTA_EXCEED",
            Self::QuotaWarning => "QUOTA_WARNING",
            Self::ScanningFailed => "SCANNING_FAILED",
            Self::ScanningStopped => "SCANNING_STOPPED",
            Self::ScanningCompleted => "SCANNING_COMPLETED",
            Self::Replication => "REPLICATION",
            Self::TagRetention => "TAG_RETENTION",
        }
    }

    /// The CloudEvents `type`: `harbor.artifact.pushed`.
    ///
    /// Source: Harbor 2.16, `pkg/notifier/formats/cloudevents.go:51-73`.
    pub const fn cloudevents_type(self) -> &'static str {
        match self {
            Self::PushArtifact => "harbor.artifact.pushed",
            Self::PullArtifact => "harbor.artifact.pulled",
            Self::DeleteArtifact => "harbor.artifact.deleted",
            Self::QuotaExceed => "harbor.quota.exceeded",
            Self::QuotaWarning => "harbor.quota.warned",
            Self::ScanningFailed => "harbor.scan.failed",
            Self::ScanningStopped => "harbor.scan.stopped",
            Self::ScanningCompleted => "harbor.scan.completed",
            Self::Replication => "harbor.replication.status.changed",
            Self::TagRetention => "harbor.tag_retention.finished",
        }
    }

    /// The type with this CloudEvents `type`.
    pub fn from_cloudevents_type(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.cloudevents_type() == name)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Exact and case-sensitive, as in Harbor, and with Harbor's message.
impl FromStr for EventType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|t| t.as_str() == name);
        found.ok_or_else(|| Error::new(ErrorKind::Invalid, format!("unsupported event type {}", name.escape_debug())))
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

/// The `type` of a body as a reader meets it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[allow(clippy::exhaustive_enums)] // Known or not: there is no third.
pub enum EventName {
    /// One of the ten.
    Known(EventType),
    /// A name from another version of Harbor.
    Other(String),
}

impl EventName {
    /// The name as it stands in the body.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(known) => known.as_str(),
            Self::Other(name) => name,
        }
    }
}

impl From<String> for EventName {
    fn from(name: String) -> Self {
        name.parse().map_or(Self::Other(name), Self::Known)
    }
}

impl Serialize for EventName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}
