use std::collections::BTreeMap;
use std::sync::Arc;

use super::scan::VULNERABILITY_REPORT;
use super::{
    Event, EventData, EventType, Replication, Repository, Resource, Retention, SbomOverview, Scan, ScanReport,
};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::id::ProjectId;

/// Makes events. It knows the registry's public endpoint, and with that every `resource_url`.
///
/// ```
/// use harbor_webhook::event::{Artifact, Registry};
/// use harbor_webhook::ProjectId;
///
/// let registry = Registry::new("https://hub.example.com:8443")?;
/// let digest = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";
/// let event = registry.push(ProjectId(2), "library/alpine", Artifact::tagged("3.20", digest)?).operator("admin");
/// assert_eq!(event.data.resources[0].resource_url, "hub.example.com:8443/library/alpine:3.20");
/// # Ok::<(), harbor_webhook::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Registry {
    /// With its scheme, if it was given one.
    endpoint: String,
    clock: Arc<dyn Clock>,
}

impl Registry {
    /// A registry that clients reach at this endpoint: `host`, `host:port`, with or without `http(s)://` and a path.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if there is no host in it, or something that cannot stand in a URL.
    pub fn new(endpoint: &str) -> Result<Self> {
        let endpoint = endpoint.trim().trim_end_matches('/');
        let with_scheme = if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") };
        let url = url::Url::parse(&with_scheme).map_err(|e| Error::invalid("endpoint", e))?;
        if !url.has_host() || endpoint.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(Error::invalid("endpoint", "is not host, host:port or a URL, for example hub.example.com"));
        }
        Ok(Self { endpoint: endpoint.to_owned(), clock: Arc::new(SystemClock) })
    }

    /// Takes the time of events from this clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// A manifest was stored.
    pub fn push(&self, project: ProjectId, repository: impl Into<Repository>, artifact: Artifact) -> Event {
        self.artifact(EventType::PushArtifact, project, repository.into(), artifact)
    }

    /// A manifest was fetched.
    pub fn pull(&self, project: ProjectId, repository: impl Into<Repository>, artifact: Artifact) -> Event {
        self.artifact(EventType::PullArtifact, project, repository.into(), artifact)
    }

    /// An artifact was deleted.
    pub fn delete(&self, project: ProjectId, repository: impl Into<Repository>, artifact: Artifact) -> Event {
        self.artifact(EventType::DeleteArtifact, project, repository.into(), artifact)
    }

    /// A scan ended with success. Unlike Harbor, which waits up to five seconds for the report, this sends what the host
    /// gives it.
    pub fn scan_completed(
        &self,
        project: ProjectId,
        repository: impl Into<Repository>,
        artifact: Artifact,
        scanned: Scanned,
    ) -> Event {
        self.scan(EventType::ScanningCompleted, project, repository.into(), artifact, scanned)
    }

    /// A scan ended with an error.
    pub fn scan_failed(
        &self,
        project: ProjectId,
        repository: impl Into<Repository>,
        artifact: Artifact,
        scanned: Scanned,
    ) -> Event {
        self.scan(EventType::ScanningFailed, project, repository.into(), artifact, scanned)
    }

    /// A scan was stopped.
    pub fn scan_stopped(
        &self,
        project: ProjectId,
        repository: impl Into<Repository>,
        artifact: Artifact,
        scanned: Scanned,
    ) -> Event {
        self.scan(EventType::ScanningStopped, project, repository.into(), artifact, scanned)
    }

    /// A request was refused because of the project's quota. `artifact` is known when a manifest was refused, not when
    /// a blob was; [`quota::exceed`] words the details as Harbor does.
    pub fn quota_exceed(
        &self,
        project: ProjectId,
        repository: impl Into<Repository>,
        artifact: Option<Artifact>,
        details: impl Into<String>,
    ) -> Event {
        self.quota(EventType::QuotaExceed, project, repository.into(), artifact, details.into())
    }

    /// The project's usage is near its quota; [`quota::warning`] words the details as Harbor does.
    pub fn quota_warning(
        &self,
        project: ProjectId,
        repository: impl Into<Repository>,
        artifact: Option<Artifact>,
        details: impl Into<String>,
    ) -> Event {
        self.quota(EventType::QuotaWarning, project, repository.into(), artifact, details.into())
    }

    /// A replication task changed its status. An empty host name is filled in.
    pub fn replication(&self, project: ProjectId, mut replication: Replication) -> Event {
        if replication.harbor_hostname.is_empty() {
            replication.harbor_hostname = self.hostname().to_owned();
        }
        let data = EventData { replication: Some(replication), ..EventData::default() };
        Event::new(project, EventType::Replication, self.clock.now(), data)
    }

    /// A tag retention task deleted something. An empty host name is filled in.
    pub fn tag_retention(&self, project: ProjectId, mut retention: Retention) -> Event {
        if retention.harbor_hostname.is_empty() {
            retention.harbor_hostname = self.hostname().to_owned();
        }
        let data = EventData { retention: Some(retention), ..EventData::default() };
        Event::new(project, EventType::TagRetention, self.clock.now(), data)
    }

    /// `host/repository:tag`, or `host/repository@digest` when the reference is a digest.
    pub fn resource_url(&self, repository: &str, reference: &str) -> String {
        let separator = if reference.contains(':') { '@' } else { ':' };
        format!("{}/{repository}{separator}{reference}", self.without_scheme())
    }

    /// The endpoint's host without a port. Harbor cuts at the first colon, which breaks IPv6 literals; this does not.
    pub fn hostname(&self) -> &str {
        let host = self.without_scheme();
        let host = host.split('/').next().unwrap_or(host);
        match host.strip_prefix('[').and_then(|rest| rest.find(']')) {
            Some(end) => &host[..end + 2],
            None => host.split(':').next().unwrap_or(host),
        }
    }

    fn without_scheme(&self) -> &str {
        self.endpoint.split_once("://").map_or(&self.endpoint, |(_, rest)| rest)
    }

    fn artifact(&self, kind: EventType, project: ProjectId, repository: Repository, artifact: Artifact) -> Event {
        let resource_url = self.resource_url(&repository.repo_full_name, artifact.reference());
        // Harbor repeats the digest where an untagged artifact has no tag; receivers rely on a tag that is not empty.
        let tag = artifact.reference().to_owned();
        let resource = Resource { digest: artifact.digest, tag, resource_url, ..Resource::default() };
        self.event(kind, project, repository, vec![resource])
    }

    fn scan(
        &self,
        kind: EventType,
        project: ProjectId,
        mut repository: Repository,
        artifact: Artifact,
        scanned: Scanned,
    ) -> Event {
        // Harbor never gives the creation date in scan and quota events.
        repository.date_created = 0;
        let resource_url = self.resource_url(&repository.repo_full_name, artifact.reference());
        let Artifact { tag, digest } = artifact;
        let tag = tag.unwrap_or_default();
        let Scanned { scan, scan_overview, sbom_overview } = scanned;
        let resource = Resource { digest, tag, resource_url, scan_overview, sbom_overview };
        let mut event = self.event(kind, project, repository, vec![resource]);
        event.data.scan = Some(scan);
        event
    }

    fn quota(
        &self,
        kind: EventType,
        project: ProjectId,
        mut repository: Repository,
        artifact: Option<Artifact>,
        details: String,
    ) -> Event {
        repository.date_created = 0;
        let resource =
            |Artifact { tag, digest }| Resource { digest, tag: tag.unwrap_or_default(), ..Resource::default() };
        let mut event = self.event(kind, project, repository, artifact.map(resource).into_iter().collect());
        event.data.custom_attributes = BTreeMap::from([("Details".to_owned(), details)]);
        event
    }

    fn event(&self, kind: EventType, project: ProjectId, repository: Repository, resources: Vec<Resource>) -> Event {
        let data = EventData { resources, repository: Some(repository), ..EventData::default() };
        Event::new(project, kind, self.clock.now(), data)
    }
}

/// A manifest, by its tag or by its digest alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Artifact {
    tag: Option<String>,
    digest: String,
}

impl Artifact {
    /// A manifest that was reached by a tag.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) unless the tag and the digest follow the OCI distribution specification.
    pub fn tagged(tag: impl Into<String>, digest: impl Into<String>) -> Result<Self> {
        let tag = tag.into();
        if !is_tag(&tag) {
            return Err(Error::invalid(
                "tag",
                "must be 1 to 128 letters, digits, '_', '.' or '-', not starting with '.' or '-'",
            ));
        }
        Ok(Self { tag: Some(tag), ..Self::untagged(digest)? })
    }

    /// A manifest that was reached by its digest.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) unless the digest is `algorithm:hex` with 32 digits or more.
    pub fn untagged(digest: impl Into<String>) -> Result<Self> {
        let digest = digest.into();
        if !is_digest(&digest) {
            return Err(Error::invalid(
                "digest",
                "must be algorithm:hex, for example sha256 and 64 hexadecimal digits",
            ));
        }
        Ok(Self { tag: None, digest })
    }

    fn reference(&self) -> &str {
        self.tag.as_deref().unwrap_or(&self.digest)
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let rest = |b: u8| word(b) || b == b'.' || b == b'-';
    (1..=128).contains(&tag.len()) && tag.bytes().take(1).all(word) && tag.bytes().all(rest)
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let mut parts = algorithm.split(['-', '_', '+', '.']);
    parts.all(|part| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    }) && (32..=256).contains(&hex.len())
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What a scan brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scanned {
    scan: Scan,
    scan_overview: BTreeMap<String, ScanReport>,
    sbom_overview: Option<SbomOverview>,
}

impl Scanned {
    /// A vulnerability scan, with its report if there is one.
    pub fn vulnerability(report: impl Into<Option<ScanReport>>) -> Self {
        let reports = report.into().map(|report| (VULNERABILITY_REPORT.to_owned(), report));
        Self { scan: Scan::new("vulnerability"), scan_overview: reports.into_iter().collect(), sbom_overview: None }
    }

    /// An SBOM, with its overview if there is one.
    pub fn sbom(overview: impl Into<Option<SbomOverview>>) -> Self {
        Self { scan: Scan::new("sbom"), scan_overview: BTreeMap::new(), sbom_overview: overview.into() }
    }

    /// An artifact of a run over everything, as Harbor sends it: no type and no report.
    pub fn scan_all() -> Self {
        Self::default()
    }
}

/// Harbor's words for the details of quota events.
///
/// Source: Harbor 2.16, `pkg/quota/errors.go:90-108`, `server/middleware/quota/quota.go:145-152`.
pub mod quota {
    /// A request would have added `adding` bytes to `used`, beyond `limit`.
    ///
    /// ```
    /// use harbor_webhook::event::quota;
    ///
    /// assert_eq!(
    ///     quota::exceed(2_202_010, 8_703_181, 10 << 20),
    ///     "adding 2.1 MiB of storage resource, which when updated to current usage of 8.3 MiB will exceed the \
    ///      configured upper limit of 10.0 MiB."
    /// );
    /// ```
    pub fn exceed(adding: u64, used: u64, limit: u64) -> String {
        let (adding, used, limit) = (size(adding), size(used), size(limit));
        format!(
            "adding {adding} of storage resource, which when updated to current usage of {used} will exceed the \
             configured upper limit of {limit}."
        )
    }

    /// `used` bytes are at or above 85 % of `limit`.
    pub fn warning(used: u64, limit: u64) -> String {
        format!("quota usage reach 85%: resource storage used {} of {}", size(used), size(limit))
    }

    fn size(bytes: u64) -> String {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if bytes < 1024 {
            return format!("{bytes} B");
        }
        let power = bytes.ilog2() / 10;
        format!("{:.1} {}", bytes as f64 / (1u64 << (10 * power)) as f64, UNITS[power as usize - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";

    #[test]
    fn host_names_lose_their_port_but_keep_an_ipv6_literal() {
        let hostname = |endpoint: &str| Registry::new(endpoint).unwrap().hostname().to_owned();
        assert_eq!(hostname("hub.example.com:8443"), "hub.example.com");
        assert_eq!(hostname("https://hub.example.com/path"), "hub.example.com");
        assert_eq!(hostname("http://[::1]:5000"), "[::1]");
        assert!(Registry::new("").is_err());
        assert!(Registry::new("a b").is_err());
    }

    #[test]
    fn an_untagged_push_repeats_the_digest_and_an_untagged_scan_does_not() {
        let registry = Registry::new("localhost").unwrap();
        let artifact = Artifact::untagged(DIGEST).unwrap();
        let push = registry.push(ProjectId(1), "harbor/alpine", artifact.clone());
        assert_eq!(push.data.resources[0].tag, DIGEST);
        assert_eq!(push.data.resources[0].resource_url, format!("localhost/harbor/alpine@{DIGEST}"));
        assert_eq!(push.data.resources[0].real_tag(), None);
        let scan = registry.scan_completed(ProjectId(1), "harbor/alpine", artifact, Scanned::scan_all());
        assert_eq!(scan.data.resources[0].tag, "");
        assert_eq!(scan.check().map_err(|e| e.to_string()), Ok(()));
    }

    #[test]
    fn tags_and_digests_follow_the_distribution_specification() {
        for tag in ["", ".x", "-x", "a b", "a\n", "a/b", &"x".repeat(129)] {
            assert!(Artifact::tagged(tag, DIGEST).is_err(), "{tag:?}");
        }
        for digest in ["", "sha256", "sha256:", "sha256:zz", "sha256:1234", ":954b378c375d852eb3c63ab88978f640"] {
            assert!(Artifact::untagged(digest).is_err(), "{digest:?}");
        }
        assert!(Artifact::tagged("_3.20-rc.1", DIGEST).is_ok());
    }

    #[test]
    fn an_event_without_what_its_type_needs_names_the_field() {
        let registry = Registry::new("localhost").unwrap();
        let push = registry.push(ProjectId(1), "", Artifact::untagged(DIGEST).unwrap());
        assert!(push.check().unwrap_err().to_string().starts_with("event_data.repository.repo_full_name: is missing"));
        let push = registry.push(ProjectId(1), "a/b\nc", Artifact::untagged(DIGEST).unwrap());
        assert!(push.check().unwrap_err().to_string().contains("control character"));
    }
}
