use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lenient::null_default;
use super::time::TimeText;

/// The MIME type of the reports that today's scanners write.
pub const VULNERABILITY_REPORT: &str = "application/vnd.security.vulnerability.report; version=1.1";

/// What was scanned for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Scan {
    /// `vulnerability` or `sbom`; empty for a run over everything.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub scan_type: String,
}

impl Scan {
    /// A scan of this type.
    pub fn new(scan_type: impl Into<String>) -> Self {
        Self { scan_type: scan_type.into() }
    }
}

/// The summary of a vulnerability report. Source: Harbor 2.16, `pkg/scan/vuln/summary.go:26-37`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ScanReport {
    /// The report's UUID.
    #[serde(default)]
    pub report_id: String,
    /// `Success`, `Error` or `Stopped`.
    #[serde(default)]
    pub scan_status: String,
    /// The highest severity; `None` without vulnerabilities, empty when the scan did not succeed.
    #[serde(default)]
    pub severity: String,
    /// Whole seconds.
    #[serde(default)]
    pub duration: i64,
    /// The counts; `None` (sent as `null`) when the scan did not succeed.
    #[serde(default)]
    pub summary: Option<Vulnerabilities>,
    /// When the scan began.
    #[serde(default)]
    pub start_time: TimeText,
    /// When it ended.
    #[serde(default)]
    pub end_time: TimeText,
    /// The scanner, when the scan succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scanner: Option<Scanner>,
    /// 100 when complete.
    #[serde(default)]
    pub complete_percent: i64,
}

impl ScanReport {
    /// The report of a scan that succeeded.
    pub fn success(report_id: impl Into<String>, severity: impl Into<String>, found: Vulnerabilities) -> Self {
        Self {
            report_id: report_id.into(),
            scan_status: "Success".to_owned(),
            severity: severity.into(),
            summary: Some(found),
            complete_percent: 100,
            ..Self::default()
        }
    }

    /// The report of a scan that ended with this status (`Error` or `Stopped`).
    pub fn unfinished(report_id: impl Into<String>, status: impl Into<String>) -> Self {
        Self { report_id: report_id.into(), scan_status: status.into(), ..Self::default() }
    }

    /// Sets when it began and ended, and with that the duration.
    #[must_use]
    pub fn between(mut self, start: impl Into<TimeText>, end: impl Into<TimeText>) -> Self {
        self.start_time = start.into();
        self.end_time = end.into();
        self.duration = (self.end_time.time() - self.start_time.time()).num_seconds().max(0);
        self
    }

    /// Sets the scanner.
    #[must_use]
    pub fn scanner(mut self, scanner: Scanner) -> Self {
        self.scanner = Some(scanner);
        self
    }
}

/// Counts of vulnerabilities.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Vulnerabilities {
    /// All of them.
    #[serde(default)]
    pub total: i64,
    /// Those with a version that fixes them.
    #[serde(default)]
    pub fixable: i64,
    /// By severity; only severities that occur.
    #[serde(default, deserialize_with = "null_default")]
    pub summary: BTreeMap<String, i64>,
}

impl Vulnerabilities {
    /// From the counts by severity.
    pub fn new<S: Into<String>>(fixable: i64, by_severity: impl IntoIterator<Item = (S, i64)>) -> Self {
        let summary: BTreeMap<_, _> = by_severity.into_iter().map(|(severity, n)| (severity.into(), n)).collect();
        Self { total: summary.values().fold(0, |sum: i64, n| sum.saturating_add(*n)), fixable, summary }
    }
}

/// The tool that scanned.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Scanner {
    /// For example `Trivy`.
    #[serde(default)]
    pub name: String,
    /// For example `Aqua Security`.
    #[serde(default)]
    pub vendor: String,
    /// For example `v0.37.2`.
    #[serde(default)]
    pub version: String,
}

impl Scanner {
    /// A scanner.
    pub fn new(name: impl Into<String>, vendor: impl Into<String>, version: impl Into<String>) -> Self {
        Self { name: name.into(), vendor: vendor.into(), version: version.into() }
    }
}

/// An SBOM that was made, or was not. Source: Harbor 2.16, `pkg/scan/sbom/sbom.go:146-161`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SbomOverview {
    /// Whole seconds; on success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<i64>,
    /// When it ended; on success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<TimeText>,
    /// The report's UUID; without success.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub report_id: String,
    /// The digest of the SBOM's manifest; on success.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub sbom_digest: String,
    /// The repository that holds it; on success.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub sbom_repository: String,
    /// `Success`, `Error` or `Stopped`.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub scan_status: String,
    /// The scanner; on success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scanner: Option<Scanner>,
    /// When it began; on success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<TimeText>,
}

impl SbomOverview {
    /// An SBOM that was stored in `repository` as the manifest with this digest.
    pub fn success(repository: impl Into<String>, digest: impl Into<String>, scanner: Scanner) -> Self {
        Self {
            duration: Some(0),
            sbom_digest: digest.into(),
            sbom_repository: repository.into(),
            scan_status: "Success".to_owned(),
            scanner: Some(scanner),
            ..Self::default()
        }
    }

    /// No SBOM: the job ended with this status (`Error` or `Stopped`).
    pub fn unfinished(report_id: impl Into<String>, status: impl Into<String>) -> Self {
        Self { report_id: report_id.into(), scan_status: status.into(), ..Self::default() }
    }

    /// Sets when it began and ended, and with that the duration.
    #[must_use]
    pub fn between(mut self, start: impl Into<TimeText>, end: impl Into<TimeText>) -> Self {
        let (start, end) = (start.into(), end.into());
        self.duration = Some((end.time() - start.time()).num_seconds().max(0));
        self.start_time = Some(start);
        self.end_time = Some(end);
        self
    }

    /// Harbor omits the member when the object is empty, so an empty one is none.
    pub(super) fn read<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Self>, D::Error> {
        Ok(Option::deserialize(d)?.filter(|overview| *overview != Self::default()))
    }

    /// See [`SbomOverview::read`].
    #[allow(clippy::ref_option)] // serde's signature
    pub(super) fn is_absent(overview: &Option<Self>) -> bool {
        overview.as_ref().is_none_or(|o| *o == Self::default())
    }
}
