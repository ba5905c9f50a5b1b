//! The disk is full, and then it is not: what was accepted arrives, what was not was refused.
//!
//! The bridge runs under a limit of the size of files, which any user can set and lift, and which binds root.

use std::collections::HashSet;
use std::net::TcpListener;
use std::process::Command;

use crate::bridge::{policies, push};
use crate::running_bridge::{Bridge, Catcher, wait_for};

/// The limit in blocks of 512 bytes: 4 MiB, of which the tables take a part.
const BLOCKS: &str = "8000";

#[test]
fn a_full_disk_refuses_what_it_cannot_keep_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens there yet, so that deliveries stay.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let policies = policies(folder.path(), &format!("http://{address}/hook"), "Default");
    let args = ["--store", "sqlite:webhooks.db", "--policies", &policies, "--allow-network", "127.0.0.0/8"];
    let args = [&args[..], &["--retry-schedule", "200ms", "--max-retry", "10000"]].concat();
    let bridge = Bridge::start_limited(folder.path(), BLOCKS, &args);

    let mut accepted = HashSet::new();
    let mut refused = 0;
    for n in 0..5000 {
        let tag = format!("t{n}");
        let answer = bridge.post_whole("/projects/2/events", "", &push(&tag)).to_ascii_lowercase();
        if answer.starts_with("http/1.1 202 ") {
            assert!(accepted.insert(tag));
        } else {
            // The caller is told why, and when to come again.
            assert!(answer.starts_with("http/1.1 503 ") && answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
            assert!(answer.contains("disk"), "{answer}");
            refused += 1;
        }
        if refused == 20 {
            break;
        }
    }
    assert!(refused == 20 && accepted.len() > 10, "{refused} refused, {} accepted", accepted.len());
    // What is there can still be looked at.
    let health = bridge.healthz();
    assert_eq!(health["status"], "ok");
    // And it says what is wrong.
    let named = |health: &serde_json::Value| health["problems"].to_string().contains("disk").then_some(());
    wait_for("the disk to be named", || named(&bridge.healthz()));

    bridge.lift_limit();
    let catcher = Catcher::at(address);
    let after = wait_for("an accepted event", || {
        (bridge.post("/projects/2/events", "", &push("after")).0 == 202).then_some("after")
    });
    accepted.insert(after.to_owned());
    while !accepted.is_empty() {
        let body = catcher.next().json();
        // Some may come twice: whether an attempt was recorded is not known.
        accepted.remove(body["event_data"]["resources"][0]["tag"].as_str().unwrap());
    }
    wait_for("an empty queue", || (bridge.healthz()["waiting"] == 0).then_some(()));
    let health = bridge.healthz();
    assert_eq!((&health["dead"], &health["outbox"]), (&0.into(), &0.into()), "{health}");
    assert_eq!(bridge.stop("TERM").code(), Some(0));
    let checked = rusqlite::Connection::open(folder.path().join("webhooks.db")).unwrap();
    let sound: String = checked.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
}

impl Bridge {
    /// Takes the limit of the size of files away, from outside.
    fn lift_limit(&self) {
        let lifted = Command::new("prlimit").args(["--pid", &self.id().to_string(), "--fsize=unlimited"]).status();
        assert!(lifted.unwrap().success());
    }
}
