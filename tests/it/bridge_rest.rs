//! The example `registry_bridge` serves the REST API, and lets in who has the token.

use serde_json::{Value, json};

use crate::bridge::push;
use crate::running_bridge::{Bridge, Catcher, refused_start, stderr_of, wait_for};

const POLICIES: &str = "/api/v2.0/projects/library/webhook/policies";
/// `admin:t0ken`.
const BASIC: &str = "Authorization: Basic YWRtaW46dDBrZW4=\r\n";
const BEARER: &str = "authorization: bearer t0ken\r\n";

fn start(dir: &std::path::Path, more: &[&str]) -> Bridge {
    let args = ["--store", "memory", "--project", "library=2", "--allow-network", "127.0.0.0/8"];
    Bridge::start(dir, &[&args[..], more].concat())
}

fn policy(url: &str) -> String {
    json!({"name": "ci", "enabled": true, "event_types": ["PUSH_ARTIFACT"],
        "targets": [{"type": "http", "address": url}]})
    .to_string()
}

#[test]
fn a_policy_made_by_rest_sends_webhooks() {
    let (dir, catcher) = (tempfile::tempdir().unwrap(), Catcher::answering(&[]));
    let bridge = start(dir.path(), &["--admin-token", "t0ken"]);
    let (status, answer) = bridge.post(POLICIES, BASIC, &policy(&catcher.url()));
    assert_eq!((status, &*answer), (201, ""));
    assert_eq!(bridge.post("/projects/2/events", BEARER, &push("3.20")).0, 202);
    catcher.next();
    let executions = format!("{POLICIES}/1/executions?q=status%3DSuccess");
    wait_for("the execution", || {
        let (status, body) = bridge.get_with(&executions, BEARER);
        let list: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 200, "{body}");
        list[0]["extra_attrs"]["event_type"].as_str().map(|name| assert_eq!(name, "PUSH_ARTIFACT"))
    });
    let (_, projects) = bridge.get_with("/api/webhooks/v1/projects", BASIC);
    let all = json!(["list", "read", "create", "update", "delete"]);
    let expected = json!([{"id": 2, "name": "library", "actions": all}]);
    assert_eq!(serde_json::from_str::<Value>(&projects).unwrap(), expected);
}

#[test]
fn all_but_healthz_asks_for_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let bridge = start(dir.path(), &["--admin-token", "t0ken"]);
    let wrong = [
        "",
        "Authorization: Bearer t0ke\r\n",
        "Authorization: Bearer t0kenn\r\n",
        "Authorization: t0ken\r\n",
        "Authorization: Basic dXNlcjp0MGtlbg==\r\n",
        "Authorization: Bearer \r\n",
    ];
    for headers in wrong {
        for path in [
            "/metrics",
            POLICIES,
            "/api/v2.0/systeminfo",
            "/api/webhooks/v1/session",
            "/nothing",
            "/console-page/nothing",
        ] {
            assert_eq!(bridge.get_with(path, headers).0, 401, "{path} {headers}");
        }
        for path in ["/distribution", "/projects/2/events", POLICIES] {
            assert_eq!(bridge.post(path, headers, "{}").0, 401, "{path} {headers}");
        }
        // Errors name receivers: without the token there is only the status.
        assert_eq!(bridge.get_with("/healthz", headers), (200, r#"{"status":"ok"}"#.to_owned()));
        // The console holds nothing, and asks for the token itself.
        #[cfg(feature = "console")]
        assert_eq!(bridge.get_with("/", headers).0, 200);
    }
    for headers in [BASIC, BEARER] {
        assert!(bridge.get_with("/healthz", headers).1.contains("failed_attempts"));
        for path in ["/metrics", POLICIES, "/api/webhooks/v1/session", "/api/webhooks/v1/openapi.json"] {
            assert_eq!(bridge.get_with(path, headers).0, 200, "{path}");
        }
    }
    let whole = bridge.post_whole(POLICIES, "", "{}").to_lowercase();
    assert!(whole.contains("\r\nwww-authenticate: basic realm="), "{whole}");
    let by_a_page = bridge.post_whole(POLICIES, "X-Requested-With: XMLHttpRequest\r\n", "{}").to_lowercase();
    assert!(!by_a_page.contains("www-authenticate"), "{by_a_page}");
    assert!(!stderr_of(dir.path()).contains("t0ken") && !stderr_of(dir.path()).contains("WARNING"));
}

#[test]
fn an_open_bridge_is_for_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let bridge = start(dir.path(), &[]);
    assert!(stderr_of(dir.path()).contains("WARNING: without --admin-token"), "{}", stderr_of(dir.path()));
    let (status, session) = bridge.get_as(bridge.address.to_string(), "/api/webhooks/v1/session", "");
    assert_eq!(status, 200, "{session}");
    assert_eq!(bridge.get_as("localhost:80", "/api/webhooks/v1/session", "").0, 200);
    assert!(bridge.healthz()["failed_attempts"].is_array());
    // A page whose name leads to this machine counts as its own site in the browser.
    for path in ["/api/webhooks/v1/session", POLICIES, "/metrics", "/distribution", "/nothing"] {
        let (status, answer) = bridge.get_as("rebound.example", path, "");
        assert!(status == 403 && answer.contains("localhost"), "{path} {status} {answer}");
    }
    let answer = bridge.post_as("rebound.example", "/projects/2/events", "", &push("3.20"));
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert_eq!(bridge.get_as("rebound.example", "/healthz", "").1, r#"{"status":"ok"}"#);

    for foreign in ["Sec-Fetch-Site: cross-site\r\n", "Origin: https://evil.example\r\n", "Origin: null\r\n"] {
        for path in ["/distribution", "/projects/2/events", POLICIES] {
            assert_eq!(bridge.post(path, foreign, &push("3.20")).0, 403, "{path} {foreign}");
        }
    }
    assert_eq!(bridge.post("/projects/2/events", "Origin: http://localhost\r\n", &push("3.20")).0, 202);

    let refused = tempfile::tempdir().unwrap();
    let (code, words) = refused_start(refused.path(), &["--store", "memory", "--listen", "0.0.0.0:0"]);
    assert!(code == Some(2) && words.contains("--admin-token"), "{words}");
    let (code, words) = refused_start(refused.path(), &["--store", "memory", "--admin-token", "s3cret token"]);
    assert!(code == Some(2) && words.contains("--admin-token") && !words.contains("s3cret"), "{words}");
}
