use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::jobs::{Replication, Retention};
use super::lenient::{is_zero, null_default};
use super::scan::{SbomOverview, Scan, ScanReport};

/// The `event_data` of a Default body and the `data` of a CloudEvents body.
///
/// Keys, order and omission rules are Harbor's (2.16, `pkg/notifier/model/event.go:40-47`); in all payload structs a
/// member that Harbor omits when empty is a plain value here, and is omitted when empty.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EventData {
    /// What the event is about; element 0 is the subject.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Resource>,
    /// The repository that all resources belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// Of a replication event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<Replication>,
    /// Of a tag retention event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Of a scan event, since Harbor 2.11.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<Scan>,
    /// Of a quota event: one entry, `Details`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_attributes: BTreeMap<String, String>,
}

/// An artifact in an event.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Resource {
    /// The manifest's digest.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// The tag. In push, pull and delete events of untagged artifacts Harbor repeats the digest here; see
    /// [`Resource::real_tag`].
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// `host/repository:tag` or `host/repository@digest`, without a scheme.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub resource_url: String,
    /// Vulnerability reports by MIME type.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub scan_overview: BTreeMap<String, ScanReport>,
    /// The SBOM that was made, since Harbor 2.11.
    #[serde(default, deserialize_with = "SbomOverview::read", skip_serializing_if = "SbomOverview::is_absent")]
    pub sbom_overview: Option<SbomOverview>,
}

impl Resource {
    /// The tag, unless it merely repeats the digest.
    pub fn real_tag(&self) -> Option<&str> {
        (!self.tag.is_empty() && self.tag != self.digest).then_some(&self.tag)
    }
}

/// A repository in an event.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Repository {
    /// When the repository was made, in Unix seconds; 0 when unknown. In push, pull and delete events only.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub date_created: i64,
    /// The full name behind its first slash; empty when it has none.
    #[serde(default)]
    pub name: String,
    /// The project's name.
    #[serde(default)]
    pub namespace: String,
    /// `project/repository`.
    pub repo_full_name: String,
    /// `public` or `private`.
    #[serde(default)]
    pub repo_type: String,
}

impl Repository {
    /// A private repository, from its full name.
    ///
    /// ```
    /// use harbor_webhook::event::Repository;
    ///
    /// let repository = Repository::new("library/tools/alpine");
    /// assert_eq!((&*repository.namespace, &*repository.name), ("library", "tools/alpine"));
    /// ```
    pub fn new(full_name: impl Into<String>) -> Self {
        let repo_full_name = full_name.into();
        // Without a slash Harbor leaves the name empty and takes the whole as the project.
        let (namespace, name) = repo_full_name.split_once('/').unwrap_or((&repo_full_name, ""));
        Self {
            date_created: 0,
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            repo_type: "private".to_owned(),
            repo_full_name,
        }
    }

    /// Sets when the repository was made.
    #[must_use]
    pub fn created_at(mut self, time: chrono::DateTime<chrono::Utc>) -> Self {
        self.date_created = time.timestamp();
        self
    }

    /// Says that everybody may read it.
    #[must_use]
    pub fn public(mut self) -> Self {
        self.repo_type = "public".to_owned();
        self
    }
}

impl From<&str> for Repository {
    fn from(full_name: &str) -> Self {
        Self::new(full_name)
    }
}

impl From<String> for Repository {
    fn from(full_name: String) -> Self {
        Self::new(full_name)
    }
}
