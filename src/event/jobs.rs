use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::go_value;
use super::lenient::{is_zero, null_default};

/// A replication task that changed its status. Source: Harbor 2.16, `controller/event/model/event.go:25-59`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Replication {
    /// The registry's host name, without a port.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub harbor_hostname: String,
    /// `Running`, `Success`, `Error` or `Stopped`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub job_status: String,
    /// The replication rule's description.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// `image` or `artifact`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub artifact_type: String,
    /// `basic`, `oauth` or `secret`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub authentication_type: String,
    /// Whether the rule overwrites what is there.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_false")]
    pub override_mode: bool,
    /// `MANUAL`, `SCHEDULE` or `EVENT`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub trigger_type: String,
    /// Who made the rule.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub policy_creator: String,
    /// When the execution started, in Unix seconds.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub execution_timestamp: i64,
    /// Where the artifacts come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_resource: Option<ReplicationSide>,
    /// Where they go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dest_resource: Option<ReplicationSide>,
    /// What was replicated.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub successful_artifact: Vec<ArtifactInfo>,
    /// What was not.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub failed_artifact: Vec<ArtifactInfo>,
    /// Since Harbor 2.13.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub execution_id: i64,
    /// Since Harbor 2.13.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub task_id: i64,
}

impl Replication {
    /// A task with this status, from one side to the other.
    pub fn new(job_status: impl Into<String>, src: ReplicationSide, dest: ReplicationSide) -> Self {
        let job_status = job_status.into();
        Self { job_status, src_resource: Some(src), dest_resource: Some(dest), ..Self::default() }
    }
}

/// One side of a replication.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ReplicationSide {
    /// Empty for the registry itself.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub registry_name: String,
    /// For example `docker-hub`; `harbor` for the registry itself.
    #[serde(default)]
    pub registry_type: String,
    /// With its scheme.
    #[serde(default)]
    pub endpoint: String,
    /// Never set by Harbor.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub provider: String,
    /// The project, or the part in front of the first slash.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

impl ReplicationSide {
    /// A side of this type at this endpoint.
    pub fn new(registry_type: impl Into<String>, endpoint: impl Into<String>, namespace: impl Into<String>) -> Self {
        Self {
            registry_type: registry_type.into(),
            endpoint: endpoint.into(),
            namespace: namespace.into(),
            ..Self::default()
        }
    }
}

/// An artifact in a replication or retention event.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ArtifactInfo {
    /// `image` or `artifact`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The task's status, or `SUCCESS`.
    #[serde(default)]
    pub status: String,
    /// For example `alpine:3.8`, or `alpine [2 item(s) in total]`.
    #[serde(default)]
    pub name_tag: String,
    /// Tags, or digests of untagged artifacts, since Harbor 2.10.
    #[serde(default, skip_serializing_if = "References::is_absent")]
    pub references: References,
    /// Never set by Harbor.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub fail_reason: String,
}

impl ArtifactInfo {
    /// An artifact without references, as Harbor up to 2.9 sends it.
    pub fn new(kind: impl Into<String>, status: impl Into<String>, name_tag: impl Into<String>) -> Self {
        Self { kind: kind.into(), status: status.into(), name_tag: name_tag.into(), ..Self::default() }
    }

    /// Sets the references.
    #[must_use]
    pub fn references(mut self, references: References) -> Self {
        self.references = references;
        self
    }
}

/// The `references` of an artifact: the one list that Harbor never omits, so that absent and `null` differ.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum References {
    /// Harbor up to 2.9.
    #[default]
    Absent,
    /// Retention events since 2.10.
    Null,
    /// Replication events since 2.10.
    List(Vec<String>),
}

impl References {
    fn is_absent(&self) -> bool {
        *self == Self::Absent
    }
}

impl Serialize for References {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent | Self::Null => serializer.serialize_none(),
            Self::List(list) => list.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for References {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::List))
    }
}

/// A tag retention task that deleted something. Source: Harbor 2.16, `controller/event/model/event.go:62-83`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Retention {
    /// Artifacts in the repository before the run.
    #[serde(default)]
    pub total: i64,
    /// Artifacts left.
    #[serde(default)]
    pub retained: i64,
    /// The registry's host name, without a port.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub harbor_hostname: String,
    /// The project.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub project_name: String,
    /// The retention policy.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub retention_policy_id: i64,
    /// Its rules, disabled ones included.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub retention_rule: Vec<RetentionRule>,
    /// `SUCCESS`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub result: String,
    /// What was deleted.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub deleted_artifact: Vec<ArtifactInfo>,
}

impl Retention {
    /// A run over `total` artifacts that left `retained` of them.
    pub fn new(total: i64, retained: i64, deleted: Vec<ArtifactInfo>) -> Self {
        Self { total, retained, result: "SUCCESS".to_owned(), deleted_artifact: deleted, ..Self::default() }
    }
}

/// A rule of a retention policy.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RetentionRule {
    /// For example `always` or `latestPushedK`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub template: String,
    /// The template's parameters, for example `latestPushedK: 1`.
    #[serde(
        default,
        deserialize_with = "null_default",
        serialize_with = "go_value::serialize",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub params: BTreeMap<String, serde_json::Value>,
    /// Which tags.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub tag_selectors: Vec<Selector>,
    /// Which repositories, under the name `repository`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub scope_selectors: BTreeMap<String, Vec<Selector>>,
}

impl RetentionRule {
    /// A rule of this template.
    pub fn new(template: impl Into<String>) -> Self {
        Self { template: template.into(), ..Self::default() }
    }
}

/// A pattern of a retention rule.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Selector {
    /// For example `doublestar`.
    #[serde(default)]
    pub kind: String,
    /// For example `matches`.
    #[serde(default)]
    pub decoration: String,
    /// The pattern.
    #[serde(default)]
    pub pattern: String,
    /// A JSON text such as `{"untagged":true}`, or empty.
    #[serde(default)]
    pub extras: String,
}

impl Selector {
    /// A selector without extras.
    pub fn new(kind: impl Into<String>, decoration: impl Into<String>, pattern: impl Into<String>) -> Self {
        let (kind, decoration, pattern) = (kind.into(), decoration.into(), pattern.into());
        Self { kind, decoration, pattern, extras: String::new() }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_false(flag: &bool) -> bool {
    !flag
}
