use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::check::{check_name, invalid};
use super::mask::{self, MASK};
use super::{Policy, PolicyDraft, Target, TargetOptions, TargetType};
use crate::error::{Error, Result};
use crate::event::EventType;

/// A policy in Harbor's JSON: `WebhookPolicy` of its API.
///
/// Reading is as lenient as Harbor's clients need: unknown and null members, zero ids and times are accepted, `enabled` is
/// `false` when missing. `PolicyDraft::try_from` then applies Harbor's rules. Writing has Harbor's keys, order and omissions.
///
/// Source: Harbor 2.16, `api/v2.0/swagger.yaml:9098-9156`.
#[derive(Clone, Default, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HarborPolicy {
    #[allow(missing_docs)]
    #[serde(default, skip_deserializing, serialize_with = "write_time")]
    pub creation_time: DateTime<Utc>,
    /// Who made it.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub creator: String,
    /// Free text.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whether events are sent.
    #[serde(default, deserialize_with = "null_default")]
    pub enabled: bool,
    /// Names of event types.
    #[serde(default, deserialize_with = "null_default")]
    pub event_types: Vec<String>,
    /// The policy's number; ignored on input.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub id: i64,
    /// Unique within the project.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The project's number.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub project_id: i64,
    /// The endpoints.
    #[serde(default, deserialize_with = "null_default")]
    pub targets: Vec<HarborTarget>,
    #[allow(missing_docs)]
    #[serde(default, skip_deserializing, serialize_with = "write_time")]
    pub update_time: DateTime<Utc>,
}

/// A target in Harbor's JSON: `WebhookTargetObject` of its API.
#[derive(Clone, Default, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HarborTarget {
    /// The URL.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The value of the `Authorization` header. Accepted for Slack targets too, where Harbor never sends it either.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub auth_header: String,
    /// The name of the format; empty for Default and for Slack targets.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub payload_format: String,
    /// Whether an invalid TLS certificate is accepted.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "is_false")]
    pub skip_cert_verify: bool,
    /// `http` or `slack`.
    #[serde(rename = "type", default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub target_type: String,
}

impl HarborPolicy {
    /// Reads one policy.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if it is not a JSON object, or a member is of the wrong type; the message says
    /// which and where.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        // serde would take an array for an object, member by member.
        if json.trim_ascii_start().first() == Some(&b'[') {
            return Err(Error::invalid("policy", "is not a JSON object"));
        }
        // serde's own message may quote a value, and that may be a credential in the wrong place.
        serde_json::from_slice(json).map_err(|e| {
            let problem = if e.is_data() { "a member is of the wrong type" } else { "is not JSON" };
            Error::invalid("policy", format_args!("{problem}, at line {} column {}", e.line(), e.column()))
        })
    }

    /// The policy with `********` in place of each secret: the `auth_header`; in addresses the user and password, the query,
    /// and what looks like a token in the path; all but the origin of a Slack target's address.
    /// [`replacing`](Self::replacing) takes it back.
    pub fn masked(policy: &Policy) -> Self {
        Self::with(policy, |target| {
            (mask::address(target), target.auth_header.as_ref().map(|_| MASK.to_owned()).unwrap_or_default())
        })
    }

    /// The policy with its secrets in clear, as Harbor shows them to everybody who may read policies.
    pub fn with_secrets(policy: &Policy) -> Self {
        Self::with(policy, |target| {
            let auth = target.auth_header.as_ref().map(|auth| auth.expose().to_owned());
            (target.address.expose().to_owned(), auth.unwrap_or_default())
        })
    }

    /// The draft that replaces a stored policy.
    ///
    /// Secrets that are [masked](Self::masked) here stay as they are stored, and so does what this JSON has no place for, the
    /// [options](Target::options): each target has those of the one that it follows. That is one of the same address, or of the
    /// same masked address, or else in the same place among those of its type.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid), by Harbor's rules; if a mask stands where nothing is stored; if it is not certain
    /// for which of several stored secrets a mask stands, as fewer or more targets of one masked address are here than are
    /// stored, or two of them look as if they had changed places (the message names the target's place); if the
    /// `auth_header` is masked while the address has another scheme, host or port than before; and if a mask stands while
    /// `skip_cert_verify` is switched on: a secret cannot be sent elsewhere by those who cannot see it.
    pub fn replacing(mut self, old: &Policy) -> Result<PolicyDraft> {
        let stored = mask::remove(&mut self.targets, old)?;
        let mut draft = PolicyDraft::try_from(self)?;
        for (target, stored) in draft.targets.iter_mut().zip(stored) {
            target.options = stored.map(|stored| stored.options.clone()).unwrap_or_default();
        }
        Ok(draft)
    }

    /// `show` gives the address and the `Authorization` value.
    fn with(policy: &Policy, show: impl Fn(&Target) -> (String, String)) -> Self {
        let targets = policy.targets.iter().map(|target| HarborTarget::with(&target.target, &show)).collect();
        Self {
            creation_time: policy.creation_time,
            creator: policy.creator.clone(),
            description: policy.description.clone(),
            enabled: policy.enabled,
            event_types: policy.event_types.iter().map(ToString::to_string).collect(),
            id: policy.id.0,
            name: policy.name.clone(),
            project_id: policy.project_id.0,
            targets,
            update_time: policy.update_time,
        }
    }
}

impl HarborTarget {
    fn with(target: &Target, show: impl Fn(&Target) -> (String, String)) -> Self {
        let format = match target.target_type {
            TargetType::Http => target.format_name(),
            TargetType::Slack => "",
        };
        let (address, auth_header) = show(target);
        Self {
            address,
            auth_header,
            payload_format: format.to_owned(),
            skip_cert_verify: target.skip_cert_verify,
            target_type: target.target_type.to_string(),
        }
    }

    fn parse(self, policy: &str) -> Result<Target> {
        mask::refuse(&self)?;
        let address = self.address.parse()?;
        let unsupported =
            || invalid(format!("unsupported target type {} with policy {policy}", self.target_type.escape_debug()));
        let target_type: TargetType = self.target_type.parse().map_err(|_| unsupported())?;
        let payload_format = (!self.payload_format.is_empty()).then_some(self.payload_format);
        if target_type == TargetType::Slack && payload_format.is_some() {
            return Err(invalid("set payload format is not allowed for slack"));
        }
        let auth_header = if self.auth_header.is_empty() { None } else { Some(self.auth_header.parse()?) };
        Ok(Target {
            target_type,
            address,
            auth_header,
            skip_cert_verify: self.skip_cert_verify,
            payload_format,
            options: TargetOptions::default(),
        })
    }
}

/// Harbor's rules in Harbor's order, with Harbor's messages. For a policy that shall replace another, see
/// [`HarborPolicy::replacing`].
impl TryFrom<HarborPolicy> for PolicyDraft {
    type Error = Error;

    fn try_from(policy: HarborPolicy) -> Result<Self> {
        check_name(&policy.name)?;
        if policy.event_types.is_empty() {
            return Err(invalid("empty event type"));
        }
        let event_types: Vec<EventType> = policy.event_types.iter().map(|name| name.parse()).collect::<Result<_>>()?;
        if policy.targets.is_empty() {
            return Err(invalid(format!("empty notification target with policy {}", policy.name)));
        }
        let targets: Vec<_> =
            policy.targets.into_iter().map(|target| target.parse(&policy.name)).collect::<Result<_>>()?;
        let draft = Self::new(policy.name).description(policy.description).creator(policy.creator);
        let draft = draft.enabled(policy.enabled).on_all(event_types);
        Ok(targets.into_iter().fold(draft, Self::target))
    }
}

impl fmt::Debug for HarborPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("HarborPolicy");
        shown.field("id", &self.id).field("project_id", &self.project_id).field("name", &self.name);
        shown.field("event_types", &self.event_types).field("enabled", &self.enabled);
        shown.field("targets", &self.targets.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for HarborTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HarborTarget").field("type", &self.target_type).finish_non_exhaustive()
    }
}

/// RFC 3339 with three digits of fraction, as Harbor's generated server writes times.
fn write_time<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn null_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_false(flag: &bool) -> bool {
    !flag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{PolicyId, ProjectId, TargetId};
    use crate::policy::PolicyTarget;

    fn draft(json: &str) -> Result<PolicyDraft> {
        HarborPolicy::from_json(json.as_bytes())?.try_into()
    }

    #[test]
    fn what_clients_send_is_read() {
        let read = draft(
            r#"{"id":0,"name":"ci","project_id":0,"creation_time":"0001-01-01T00:00:00.000Z","enabled":true,"x":{},
            "update_time":null,"event_types":["PUSH_ARTIFACT","PUSH_ARTIFACT"],
            "targets":[{"type":"http","address":"https://ci/hook","auth_header":"","payload_format":"","y":1}]}"#,
        );
        let expected =
            PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http("https://ci/hook").unwrap());
        assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn harbors_messages_come_in_harbors_order() {
        let message = |json: &str| draft(json).unwrap_err().to_string();
        let with_target =
            |target: &str| message(&format!(r#"{{"name":"ci","event_types":["PUSH_ARTIFACT"],"targets":[{target}]}}"#));
        assert_eq!(message("{}"), "empty event type");
        assert_eq!(message(r#"{"event_types":["INVALID"]}"#), "unsupported event type INVALID");
        assert_eq!(with_target(""), "empty notification target with policy ci");
        assert_eq!(with_target("{}"), "empty URL");
        assert_eq!(with_target(r#"{"address":"ftp://x"}"#), "invalid scheme: ftp");
        let email = r#"{"type":"email","address":"http://x"}"#;
        assert_eq!(with_target(email), "unsupported target type email with policy ci");
        let slack = r#"{"type":"slack","address":"http://x","payload_format":"Default"}"#;
        assert_eq!(with_target(slack), "set payload format is not allowed for slack");
        assert_eq!(message("[]"), "policy: is not a JSON object");
        assert_eq!(message(r#"{"name":7}"#), "policy: a member is of the wrong type, at line 1 column 9");
        assert!(!message(r#"{"enabled":"Bearer s3cr3t"}"#).contains("s3cr3t"));
    }

    #[test]
    fn what_is_written_is_harbors() {
        let target = Target::http("https://ci.example.com/hooks/harbor").unwrap();
        let target = target.auth_header("Bearer s3cr3t").unwrap().payload_format("CloudEvents");
        let time = "2023-04-03T06:00:00.123Z".parse().unwrap();
        let policy = Policy {
            id: PolicyId(15),
            project_id: ProjectId(2),
            name: "ci".into(),
            description: "ci trigger".into(),
            targets: vec![PolicyTarget { id: TargetId(1), target }],
            event_types: vec![EventType::PushArtifact, EventType::ScanningCompleted],
            creator: String::new(),
            creation_time: time,
            update_time: time,
            enabled: true,
        };
        let golden = include_str!("../../tests/fixtures/golden/rest/webhook_policy.json");
        let compact: String = golden.lines().map(str::trim_start).collect::<String>().replace("\": ", "\":");
        assert_eq!(serde_json::to_string(&HarborPolicy::with_secrets(&policy)).unwrap(), compact);
        let masked = serde_json::to_string(&HarborPolicy::masked(&policy)).unwrap();
        assert!(!masked.contains("s3cr3t") && masked.contains(MASK));
        assert!(!format!("{:?} {policy:?}", HarborPolicy::with_secrets(&policy)).contains("s3cr3t"));
    }

    #[cfg(feature = "signing")]
    #[test]
    fn what_the_json_cannot_hold_is_kept() {
        let key: crate::signing::SigningKey = "whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3A=".parse().unwrap();
        let target = |address: &str| Target::http(address).unwrap();
        let old =
            PolicyDraft::new("ci").target(target("http://plain/")).target(target("http://signed/").signing_keys(key));
        let old = Policy::new(PolicyId(1), ProjectId(2), old, [1, 2].map(TargetId), Utc::now());
        let json = |addresses: [&str; 2]| {
            let targets = addresses.map(|address| format!(r#"{{"type":"http","address":"{address}"}}"#)).join(",");
            format!(r#"{{"name":"ci","event_types":["PUSH_ARTIFACT"],"targets":[{targets}]}}"#)
        };
        let signed = |addresses| {
            let draft = HarborPolicy::from_json(json(addresses).as_bytes()).unwrap().replacing(&old).unwrap();
            draft.targets.into_iter().map(|target| target.options.signing_keys.is_some()).collect::<Vec<_>>()
        };
        assert_eq!(signed(["http://signed/", "http://plain/"]), [true, false]);
        assert_eq!(signed(["http://plain/", "http://moved/"]), [false, true]);
    }

    fn stored(targets: impl IntoIterator<Item = Target>) -> Policy {
        let draft = PolicyDraft::new("ci").on(EventType::PushArtifact);
        let draft = targets.into_iter().fold(draft, PolicyDraft::target);
        Policy::new(PolicyId(1), ProjectId(2), draft, (1..).map(TargetId), Utc::now())
    }

    #[test]
    fn a_mask_that_comes_back_keeps_the_secret() {
        let http = |address: &str| {
            let target = Target::http(address).unwrap().payload_format("Default");
            target.auth_header("Bearer s3cret").unwrap()
        };
        let slack = |token: &str| Target::slack(&format!("https://hooks.slack.com/services/T0/B0/{token}")).unwrap();
        let plain = "https://ci.example.com:8443/hooks/harbor";
        let token = "https://s3cret:s3cret@ci.example.com/hooks/s3cret-of-20-characters/x?token=s3cret#s3cret";
        let old = stored([http(plain), http(token), http("https://x/?s3cret=1"), slack("s3cret-1"), slack("s3cret-2")]);
        let masked = HarborPolicy::masked(&old);
        let addresses: Vec<_> = masked.targets.iter().map(|target| &*target.address).collect();
        let slack = "https://hooks.slack.com/********";
        let ci = "https://********@ci.example.com/hooks/********/x?********#********";
        assert_eq!(addresses, [plain, ci, "https://x/?********", slack, slack]);
        let json = serde_json::to_string(&masked).unwrap();
        assert!(!json.contains("s3cret"), "{json}");

        let back = HarborPolicy::from_json(json.as_bytes()).unwrap();
        let kept = back.clone().replacing(&old).unwrap();
        assert_eq!(kept.targets, old.targets.iter().map(|target| target.target.clone()).collect::<Vec<_>>());
        let mut turned = back.clone();
        turned.targets.reverse();
        let turned = turned.replacing(&old).unwrap();
        assert_eq!(turned.targets[4].address.expose(), plain);
        assert_eq!(turned.targets[3].address.expose(), token);

        let mut given = back;
        given.targets[0].auth_header = "Bearer new".to_owned();
        given.targets[1].auth_header = String::new();
        let given = given.replacing(&old).unwrap();
        let auth = |n: usize| given.targets[n].auth_header.as_ref().map(|auth| auth.expose().to_owned());
        assert_eq!([auth(0), auth(1), auth(2)], [Some("Bearer new".into()), None, Some("Bearer s3cret".into())]);
    }

    #[test]
    fn a_mask_is_no_way_to_a_secret() {
        let old = stored([Target::http("https://ci.example.com/hook").unwrap().auth_header("Bearer s3cret").unwrap()]);
        let masked = HarborPolicy::masked(&old);
        for elsewhere in
            ["https://evil.example.com/hook", "http://ci.example.com/hook", "https://ci.example.com:444/hook"]
        {
            let mut moved = masked.clone();
            moved.targets[0].address = elsewhere.to_owned();
            let error = moved.replacing(&old).unwrap_err().to_string();
            assert!(error.starts_with("auth_header: ") && !error.contains("s3cret"), "{error}");
        }
        let mut moved = masked.clone();
        moved.targets[0].address = "https://ci.example.com/other".to_owned();
        assert_eq!(moved.replacing(&old).unwrap().targets[0].auth_header, old.targets[0].target.auth_header);
        // Nor is whoever stands in between.
        let token = stored([Target::http("https://ci.example.com/hook?token=s3cret").unwrap()]);
        for old in [&old, &token] {
            let mut unverified = HarborPolicy::masked(old);
            unverified.targets[0].skip_cert_verify = true;
            let error = unverified.clone().replacing(old).unwrap_err().to_string();
            assert!(error.starts_with("skip_cert_verify: ") && !error.contains("s3cret"), "{error}");
            let stands = HarborPolicy::with_secrets(old);
            (unverified.targets[0].address, unverified.targets[0].auth_header) =
                (stands.targets[0].address.clone(), stands.targets[0].auth_header.clone());
            assert!(unverified.replacing(old).is_ok());
        }
        // As a new policy, or a target more, there is nothing that it stands for.
        assert!(PolicyDraft::try_from(masked.clone()).unwrap_err().to_string().starts_with("auth_header: ********"));
        let mut more = masked;
        more.targets.push(more.targets[0].clone());
        assert!(more.replacing(&old).unwrap_err().to_string().starts_with("auth_header: ********"));
        let invented = r#"{"name":"ci","event_types":["PUSH_ARTIFACT"],"targets":[{"type":"http","address":"http://x/?********"}]}"#;
        assert!(draft(invented).unwrap_err().to_string().starts_with("address: ********"));
    }
}
