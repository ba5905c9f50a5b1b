//! The example `registry_bridge` as a program: what goes in comes out, also after faults; what is wrong is named.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use harbor_webhook::signing::Verifier;
use serde_json::json;

use crate::running_bridge::{Bridge, Catcher, refused_start, stderr_of, wait_for};

const DIGEST: &str = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";
const LOOPBACK: [&str; 2] = ["--allow-network", "127.0.0.0/8"];

/// A push in Harbor's words, members in Harbor's order.
pub(crate) fn push(tag: &str) -> String {
    format!(
        r#"{{"type":"PUSH_ARTIFACT","occur_at":1680501893,"operator":"admin","event_data":{{"resources":[{{"digest":"{DIGEST}","tag":"{tag}","resource_url":"hub.example.com/library/alpine:{tag}"}}],"repository":{{"date_created":1680501000,"name":"alpine","namespace":"library","repo_full_name":"library/alpine","repo_type":"private"}}}}}}"#
    )
}

/// A policy file for pushes, pulls and deletions in project 2.
pub(crate) fn policies(dir: &Path, url: &str, format: &str) -> String {
    let target = json!({ "type": "http", "address": url, "auth_header": "Bearer s3cret", "payload_format": format });
    let policy = json!({
        "project_id": 2, "name": "ci", "enabled": true, "targets": [target],
        "event_types": ["PUSH_ARTIFACT", "PULL_ARTIFACT", "DELETE_ARTIFACT"],
    });
    write(dir, "policies.json", &json!([policy]).to_string())
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn start(dir: &Path, policies: &str, store: &str, schedule: &str) -> Bridge {
    let store = ["--store", store, "--policies", policies, "--project", "library=2", "--retry-schedule", schedule];
    Bridge::start(dir, &[&store[..], &LOOPBACK].concat())
}

#[test]
fn a_default_event_comes_out_byte_for_byte() {
    let (dir, catcher) = (tempfile::tempdir().unwrap(), Catcher::answering(&[]));
    let bridge = start(dir.path(), &policies(dir.path(), &catcher.url(), "Default"), "memory", "50ms");
    let (status, answer) = bridge.post("/projects/2/events", "X-Request-Id: r-1\r\n", &push("3.20"));
    assert_eq!(status, 202, "{answer}");
    let id = serde_json::from_str::<serde_json::Value>(&answer).unwrap()["event_id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 36);
    let arrived = catcher.next();
    assert_eq!(String::from_utf8_lossy(&arrived.body), push("3.20"));
    assert_eq!(arrived.header("authorization"), Some("Bearer s3cret"));
    assert!(arrived.header("webhook-id").is_some_and(|id| !id.is_empty()), "{arrived:?}");
    let (status, _) = bridge.post("/projects/7/events", "", &push("nobody-wants-it"));
    assert_eq!(status, 202);
    catcher.nothing_more();
}

#[test]
fn a_cloud_event_carries_the_event_and_request_ids() {
    let (dir, catcher) = (tempfile::tempdir().unwrap(), Catcher::answering(&[]));
    let bridge = start(dir.path(), &policies(dir.path(), &catcher.url(), "CloudEvents"), "memory", "50ms");
    let (status, answer) = bridge.post("/projects/2/events", "X-Request-Id: r-1\r\n", &push("3.20"));
    assert_eq!(status, 202, "{answer}");
    let event = catcher.next().json();
    assert_eq!(event["type"], "harbor.artifact.pushed");
    assert_eq!(event["requestid"], "r-1");
    assert_eq!(event["data"]["resources"][0]["digest"], DIGEST);
}

#[test]
fn a_failed_webhook_comes_again_with_the_same_id() {
    let (dir, catcher) = (tempfile::tempdir().unwrap(), Catcher::answering(&[500, 500]));
    let bridge = start(dir.path(), &policies(dir.path(), &catcher.url(), "Default"), "memory", "50ms");
    assert_eq!(bridge.post("/projects/2/events", "", &push("3.20")).0, 202);
    let tries = [catcher.next(), catcher.next(), catcher.next()];
    for again in &tries[1..] {
        assert_eq!(again.body, tries[0].body);
        assert_eq!(again.header("webhook-id"), tries[0].header("webhook-id"));
    }
    catcher.nothing_more();
    wait_for("an empty queue", || (bridge.healthz()["waiting"] == 0).then_some(()));
}

#[test]
fn what_was_accepted_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    // The receiver is down: nobody listens at its port yet.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let policies = policies(dir.path(), &format!("http://{address}/hook"), "Default");
    let bridge = start(dir.path(), &policies, "sqlite:webhooks.db", "1s");
    assert_eq!(bridge.post("/projects/2/events", "", &push("3.20")).0, 202);
    wait_for("the fan-out", || (bridge.healthz()["outbox"] == 0).then_some(()));
    // Let the first attempt fail, so that the lease of the attempt under way need not run out first.
    std::thread::sleep(Duration::from_millis(300));
    bridge.kill();
    let catcher = Catcher::at(address);
    let bridge = start(dir.path(), &policies, "sqlite:webhooks.db", "1s");
    assert_eq!(String::from_utf8_lossy(&catcher.next().body), push("3.20"));
    assert_eq!(bridge.stop("TERM").code(), Some(0));
}

#[test]
fn signals_end_it_gracefully() {
    for signal in ["TERM", "INT"] {
        let dir = tempfile::tempdir().unwrap();
        let bridge = Bridge::start(dir.path(), &["--store", "memory"]);
        assert_eq!(bridge.healthz()["status"], "ok");
        let begun = Instant::now();
        assert_eq!(bridge.stop(signal).code(), Some(0), "{signal}");
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn bad_input_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let bridge = Bridge::start(dir.path(), &["--store", "memory", "--project", "library=2"]);
    let reason = |path: &str, body: &str| {
        let (status, answer) = bridge.post(path, "", body);
        assert_eq!(status, 400, "{path} {body}: {answer}");
        serde_json::from_str::<serde_json::Value>(&answer).unwrap()["error"].as_str().unwrap().to_owned()
    };
    assert!(reason("/projects/2/events", "{\"type\":").contains("line 1"));
    assert!(reason("/projects/2/events", &push("x").replace("PUSH_ARTIFACT", "PUSHED")).contains("PUSHED"));
    assert!(reason("/projects/2/events", &push("x").replace(DIGEST, "")).contains("digest"));
    assert!(reason("/projects/two/events", &push("x")).contains("project id"));
    assert!(reason("/distribution", "{}").contains("events"));
    assert!(reason("/distribution", "[1").contains("body"));
    let wrong = r#"{"events":[{"id":"1","timestamp":"2026-01-02T03:04:05Z","action":"delete","target":{"repository":"library/x","digest":"no"}}]}"#;
    assert!(reason("/distribution", wrong).contains("events[0]: digest"));
    let large = "x".repeat(1024 * 1024 + 1);
    assert_eq!(bridge.post("/projects/2/events", "", &large).0, 413);
}

#[test]
fn every_webhook_is_signed_with_every_secret() {
    let (dir, catcher) = (tempfile::tempdir().unwrap(), Catcher::answering(&[]));
    let secrets = ["whsec_bmV3ZXIgLSBuZXdlciAtIG5ld2VyIHNl", "whsec_b2xkZXIgLSBvbGRlciAtIG9sZGVyIHNl"];
    let policies = policies(dir.path(), &catcher.url(), "CloudEvents");
    let flags =
        ["--store", "memory", "--policies", &policies, "--signing-secret", secrets[0], "--signing-secret", secrets[1]];
    let bridge = Bridge::start(dir.path(), &[&flags[..], &LOOPBACK].concat());
    assert_eq!(bridge.post("/projects/2/events", "", &push("3.20")).0, 202);
    let arrived = catcher.next();
    assert_eq!(arrived.header("authorization"), Some("Bearer s3cret"));
    let header = |name: &str| arrived.header(name).map(str::as_bytes);
    for secret in secrets {
        Verifier::new([secret.parse().unwrap()]).verify(header, &arrived.body).unwrap();
    }
    let words = stderr_of(dir.path());
    assert!(!words.contains("whsec_") && !words.contains("s3cret"), "{words}");
}

#[test]
fn a_bad_start_ends_with_2_and_names_what_is_wrong() {
    let refused = |args: &[&str], named: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let (code, words) = refused_start(dir.path(), args);
        assert_eq!(code, Some(2), "{args:?}: {words}");
        for name in named {
            assert!(words.contains(name), "{args:?} does not name {name}: {words}");
        }
    };
    let files = tempfile::tempdir().unwrap();
    refused(&["--store", "floppy"], &["--store", "floppy"]);
    let mistyped = ["--store", "postgre://hooks:s3cret@db/hooks"];
    refused(&mistyped, &["--store", "postgre:"]);
    assert!(!refused_start(files.path(), &mistyped).1.contains("s3cret"));
    refused(&["--project", "library"], &["--project", "library"]);
    refused(&["--retry-schedule", "50ms,soon"], &["--retry-schedule", "soon"]);
    refused(&["--timeout", "0s"], &["--timeout"]);
    refused(&["--project", "library=2", "--project", "library=3"], &["--project", "library=3"]);
    refused(&["--nonsense"], &["--nonsense"]);
    refused(&["--retry", "never"], &["--retry", "never", "extended"]);
    refused(&["--per-target", "0"], &["--per-target", "0"]);
    refused(&["--target-rate", "0/s"], &["--target-rate", "0/s"]);
    let (good, short) = ("whsec_bmV3ZXIgLSBuZXdlciAtIG5ld2VyIHNl", "whsec_c2hvcnQ=");
    let wrong = ["--store", "memory", "--signing-secret", good, "--signing-secret", short];
    refused(&wrong, &["--signing-secret, number 2", "5 bytes"]);
    assert!(!refused_start(files.path(), &wrong).1.contains("c2hvcnQ"));
    refused(&["--store", "memory", "--allow-network", "10.0.0.0/99"], &["--allow-network", "10.0.0.0/99"]);
    refused(&["--store", "memory", "--policies", "/nowhere.json"], &["--policies", "/nowhere.json"]);

    let private = policies(files.path(), "http://127.0.0.1:9/hook", "Default");
    refused(&["--store", "memory", "--policies", &private], &["--policies", "ci", "127.0.0.1"]);
    let wrong = std::fs::read_to_string(&private).unwrap().replace("PULL_ARTIFACT", "PULLED");
    let wrong = write(files.path(), "wrong.json", &wrong);
    refused(&["--store", "memory", "--policies", &wrong, LOOPBACK[0], LOOPBACK[1]], &["--policies", "PULLED"]);
    let settings = write(files.path(), "harbor.yml", "notification:\n  webhook_job_max_retry: often\n");
    refused(&["--store", "memory", "--settings", &settings], &["--settings", "webhook_job_max_retry"]);
}

/// Harbor waits at least 16 seconds before the first retry, `extended` five or six.
#[test]
fn the_extended_retries_come_sooner_at_first() {
    let (dir, catcher) = (tempfile::tempdir().unwrap(), Catcher::answering(&[500]));
    let policies = policies(dir.path(), &catcher.url(), "Default");
    let args = ["--store", "memory", "--policies", &policies, "--retry", "extended"];
    let bridge = Bridge::start(dir.path(), &[&args[..], &LOOPBACK].concat());
    assert_eq!(bridge.post("/projects/2/events", "", &push("3.20")).0, 202);
    catcher.next();
    let failed = Instant::now();
    catcher.next();
    let pause = failed.elapsed();
    assert!(pause > Duration::from_secs(4) && pause < Duration::from_secs(14), "{pause:?}");
}

#[test]
fn requests_to_one_target_at_once_can_be_limited() {
    let (dir, listener) = (tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    listener.set_nonblocking(true).unwrap();
    let policies = policies(dir.path(), &format!("http://{}/hook", listener.local_addr().unwrap()), "Default");
    let args = ["--store", "memory", "--policies", &policies, "--per-target", "2", "--timeout", "1m"];
    let bridge = Bridge::start(dir.path(), &[&args[..], &LOOPBACK].concat());
    for n in 0..5 {
        assert_eq!(bridge.post("/projects/2/events", "", &push(&format!("t{n}"))).0, 202);
    }
    // They are accepted and never answered.
    let mut held: Vec<_> = (0..2).map(|_| wait_for("a request", || listener.accept().ok())).collect();
    wait_for("the fan-out", || (bridge.healthz()["waiting"] == 5).then_some(()));
    std::thread::sleep(Duration::from_millis(500));
    assert!(listener.accept().is_err(), "a third request at once");
    // One that ends makes room for one.
    drop(held.pop());
    held.push(wait_for("the next request", || listener.accept().ok()));
}
