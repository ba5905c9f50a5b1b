//! The examples of a host's own store, format and transport, as processes: they deliver.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs one that `cargo test` has built, and gives what it printed. It must end by itself, and well.
fn run(example: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(example);
    assert!(path.exists(), "{} is missing: cargo build --example {example}", path.display());
    let mut child = Command::new(path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{example}: {printed}{}", String::from_utf8_lossy(&output.stderr));
    printed
}

#[test]
fn a_store_of_ones_own_delivers_after_a_restart() {
    let printed = run("custom_store");
    assert_eq!(printed.matches(": Queued").count(), 3, "{printed}");
    assert_eq!(printed.matches(": Delivered after ").count(), 3, "{printed}");
}

#[test]
fn a_format_of_ones_own_writes_the_body() {
    let printed = run("custom_format");
    let messages: Vec<serde_json::Value> =
        printed.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut titles: Vec<_> =
        messages.iter().map(|m| m["attachments"][0]["content"]["body"][0]["text"].as_str().unwrap()).collect();
    titles.sort_unstable(); // they may come in any order
    assert_eq!(titles, ["delete artifact: library/alpine", "push artifact: library/alpine by admin"]);
}

#[test]
fn a_transport_of_ones_own_sends_the_request() {
    let printed = run("custom_transport");
    assert!(printed.starts_with("POST https://ci.example.com/hook HTTP/1.0\r\nhost: ci.example.com\r\n"), "{printed}");
    for header in ["\r\nauthorization: Bearer s3cret\r\n", "\r\nwebhook-id: ", "\r\ncontent-type: application/json\r\n"]
    {
        assert!(printed.contains(header), "{printed}");
    }
    assert!(printed.ends_with("\nwaiting: 0\n"), "{printed}");
}

#[cfg(feature = "router")]
#[test]
fn the_rest_api_goes_by_the_hosts_own_users() {
    let printed = run("rest_api");
    let answers = ["nobodys creates a policy: 401", "of-bob creates a policy: 403", "of-alice creates a policy: 201"];
    for answer in answers {
        assert!(printed.contains(answer), "{printed}");
    }
    assert!(printed.contains(" /api/v2.0/projects/library/webhook/policies/1\n"), "{printed}");
    assert!(printed.contains("bob reads it: [{") && printed.contains(r#""creator":"alice""#), "{printed}");
    assert!(printed.contains("bob sees the execution: [{") && printed.contains(r#""status":"Success""#), "{printed}");
}
