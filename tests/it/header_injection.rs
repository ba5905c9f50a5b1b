//! Nothing that others write gets out of its header, or into one: it is refused where it comes in, and if it did come in, nothing
//! is sent. Hosts and policies can add no headers; the names of those that are sent are the crate's own.

use harbor_webhook::delivery::{FailureKind, Outcome, State};
use harbor_webhook::event::Artifact;
use harbor_webhook::format::{Format, FormatError, RenderContext, Scope};
use harbor_webhook::policy::{HarborPolicy, PolicyDraft, Target};
use harbor_webhook::store::{Filter, MemoryStore, Page};
use harbor_webhook::{ErrorKind, Event, EventType, Registry, Settings, Webhooks};

use crate::support::events::{DIGEST, PROJECT, push};
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, end_state, impatient, loopback};

/// All that may be sent.
const NAMES: [&str; 8] = [
    "accept",
    "accept-encoding",
    "authorization",
    "content-length",
    "content-type",
    "host",
    "user-agent",
    "webhook-id",
];

#[test]
fn authorization_values_stay_on_their_line() {
    let long = "a".repeat(1 << 20);
    let refused = [
        ("a\r\nx: y", "line break"),
        ("a\nx: y", "line break"),
        ("a\rx: y", "line break"),
        ("a\r\n\r\nPOST / HTTP/1.1", "line break"),
        ("\r\n", "line break"),
        ("a\0b", "control character"),
        ("a\u{7f}", "control character"),
        ("\u{1b}[31m", "control character"),
        ("", "is empty"),
        (&long, "longer than"),
    ];
    for (value, why) in refused {
        let error = Target::http("http://ci/").unwrap().auth_header(value).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let message = error.to_string();
        assert!(message.starts_with("auth_header: ") && message.contains(why) && message.len() < 200, "{message}");
        if value.is_empty() {
            continue; // in Harbor's JSON that is none
        }
        let json = serde_json::json!({
            "name": "ci", "event_types": ["PUSH_ARTIFACT"],
            "targets": [{ "type": "http", "address": "http://ci/", "auth_header": value }],
        });
        let draft = HarborPolicy::from_json(json.to_string().as_bytes()).and_then(PolicyDraft::try_from);
        assert_eq!(draft.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[test]
fn addresses_and_types_hold_no_lines() {
    for address in ["http://ci/\r\nx: y", "http://ci/\n", "http://ci/a b", "http://ci/\0", "http://ci\r\n.example.com/"]
    {
        let kept = Target::http(address).map(|target| target.address.expose().to_owned());
        assert!(kept.is_err() || kept.unwrap() == address.trim(), "{address:?}");
    }
    for name in ["PUSH_ARTIFACT\n", "PUSH_ARTIFACT\r\nx: y", "\0", " PUSH_ARTIFACT", "push_artifact"] {
        assert!(name.parse::<EventType>().is_err(), "{name:?}");
    }
    for name in ["http\n", "http\r\nx: y", "webhook-id", "host"] {
        assert!(name.parse::<harbor_webhook::policy::TargetType>().is_err(), "{name:?}");
    }
    let format = Target::http("http://ci/").unwrap().payload_format("Default\r\nx: y");
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(format);
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(hooks.policies().create(PROJECT, draft)).unwrap_err();
    assert!(!error.to_string().contains(['\r', '\n']), "{error}");
}

/// Whatever an event and a policy hold, the request has the same headers.
#[tokio::test]
async fn events_write_no_headers() {
    let receiver = Receiver::start(|_| 200).await;
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).settings(impatient()).build().unwrap();
    for format in ["Default", "CloudEvents"] {
        let target =
            Target::http(&receiver.url).unwrap().payload_format(format).auth_header("Basic caf\u{e9} \u{1f980}");
        let mut draft = PolicyDraft::new(format).on(EventType::PushArtifact).target(target.unwrap());
        draft.description = "a\r\nx-evil: y\r\n\r\n\0".to_owned();
        draft.creator = draft.description.clone();
        hooks.policies().create(PROJECT, draft).await.unwrap();
    }
    let registry = Registry::new("hub.example.com").unwrap();
    let artifact = || Artifact::tagged("3.20", DIGEST).unwrap();
    for evil in ["a\r\nx-evil: y", "a\n", "a\0"] {
        let event = registry.push(PROJECT, &*format!("library/{evil}"), artifact());
        let error = hooks.notify(&event).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(!error.to_string().contains(['\r', '\n', '\0']), "{error}");
    }
    let event = registry.push(PROJECT, "library/al\u{2028}pine\u{1f980}", artifact()).operator("caf\u{e9}: x\\r\\n");
    hooks.notify(&event).await.unwrap();
    let running = Running::start(&hooks);
    let seen = receiver.wait_for(2).await;
    running.stop().await;
    for request in seen {
        let mut names: Vec<_> = request.headers.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, NAMES, "{request:?}");
        assert_eq!(request.headers["authorization"], "Basic caf\u{e9} \u{1f980}".as_bytes());
    }
}

/// A host's format with a content type that is none.
#[derive(Debug)]
struct Broken;

impl Format for Broken {
    fn name(&self) -> &str {
        "Broken"
    }
    fn content_type(&self) -> &str {
        "text/plain\r\nx-evil: y"
    }
    fn scope(&self) -> Scope {
        Scope::Event
    }
    fn render(&self, _: &Event, _: &RenderContext, out: &mut Vec<u8>) -> Result<(), FormatError> {
        out.extend_from_slice(b"{}");
        Ok(())
    }
}

#[tokio::test]
async fn a_formats_content_type_cannot_add_a_header_either() {
    let receiver = Receiver::start(|_| 200).await;
    let mut settings = impatient();
    settings.retry.max_retries = 0;
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).settings(settings).format(Broken).build().unwrap();
    let target = Target::http(&receiver.url).unwrap().payload_format("Broken");
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(target);
    hooks.policies().create(PROJECT, draft).await.unwrap();
    hooks.notify(&push()).await.unwrap();
    let running = Running::start(&hooks);
    assert!(matches!(end_state(&hooks).await, State::Dead(_)));
    running.stop().await;
    assert!(receiver.seen().is_empty());
    let delivery = hooks.deliveries(&Filter::all(), Page::first(1)).await.unwrap().remove(0);
    let attempts = hooks.delivery(delivery.id).await.unwrap().unwrap().attempts;
    let words = "the value of the header content-type cannot be sent";
    assert!(matches!(&attempts[0].outcome, Outcome::Failed { kind: FailureKind::Other, message } if message == words));
}

/// As Harbor does, by Go's rules: a user in the URL is basic authorization, unless the target has a header.
#[tokio::test]
async fn a_user_in_the_address_is_basic_authorization() {
    let receiver = Receiver::start(|_| 200).await;
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).settings(impatient()).build().unwrap();
    let address = receiver.url.replace("http://", "http://us%65r:p%40ss%0d%0ax@");
    let plain = Target::http(&format!("{address}/plain")).unwrap();
    let own = Target::http(&format!("{address}/own")).unwrap().auth_header("Bearer own").unwrap();
    assert!(!format!("{plain:?}").contains("us%65r"));
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(plain).target(own);
    hooks.policies().create(PROJECT, draft).await.unwrap();
    hooks.notify(&push()).await.unwrap();
    let running = Running::start(&hooks);
    let mut seen = receiver.wait_for(2).await;
    running.stop().await;
    seen.sort_by(|a, b| a.path.cmp(&b.path));
    let authorizations: Vec<_> = seen.iter().map(|request| request.header("authorization").unwrap()).collect();
    // base64("user:p@ss\r\nx")
    assert_eq!(authorizations, ["Bearer own", "Basic dXNlcjpwQHNzDQp4"]);
}

/// Not instantly and not never: an error that says what to set.
#[test]
fn a_timeout_of_nothing_is_refused() {
    let mut settings = Settings::harbor();
    settings.timeout = std::time::Duration::ZERO;
    let error = Webhooks::builder(MemoryStore::new(), loopback()).settings(settings).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().starts_with("timeout: "), "{error}");
}
