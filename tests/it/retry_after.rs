//! `Retry-After` in all forms that a receiver may write, over real sockets: the lane waits as long as it says, within bounds.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use harbor_webhook::delivery::{DeadReason, FailureKind, Outcome, State};
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{Filter, Hold, MemoryStore, Page};
use harbor_webhook::{EventType, Settings, Webhooks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::events::{PROJECT, push};
use crate::support::sending::{Running, loopback};

/// What is expected of a delivery after its first attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// Tried again by the schedule, the lane open.
    Scheduled,
    /// The lane is closed for these seconds.
    Closed(u64),
    Delivered,
    /// Asked to wait for longer than a delivery is kept.
    Expired,
    /// The answer's head was not read to its end.
    TooLarge,
    /// A value that no header can have.
    NotHttp,
}

fn cases() -> Vec<(u16, String, Then)> {
    let date = |format: &str, seconds: i64| {
        let time: DateTime<Utc> = Utc::now() + TimeDelta::seconds(seconds);
        time.format(format).to_string()
    };
    const HTTP: &str = "%a, %d %b %Y %H:%M:%S GMT";
    let mut cases = vec![
        (503, "0".to_owned(), Then::Scheduled),
        (503, date(HTTP, 900), Then::Closed(900)),
        (503, date("%A, %d-%b-%y %H:%M:%S GMT", 900), Then::Closed(900)),
        (503, date("%a %b %e %H:%M:%S %Y", 900), Then::Closed(900)),
        (503, date(HTTP, -900), Then::Scheduled),
        (503, date(HTTP, 10 * 365 * 86400), Then::Expired),
        (503, "  120\t".to_owned(), Then::Closed(120)),
        (503, "345000".to_owned(), Then::Closed(345_000)),
        (503, "346000".to_owned(), Then::Expired),
        (503, "99999999999999999999999999".to_owned(), Then::Expired),
        (503, "9".repeat(100_000), Then::Expired),
        (503, "9".repeat(1 << 20), Then::TooLarge),
        (503, "Mon, 01 Jan 0000 00:00:00 GMT".to_owned(), Then::Scheduled),
        (503, "Fri, 31 Dec 9999 23:59:59 GMT".to_owned(), Then::Expired),
    ];
    cases.extend(["\u{1f}", "12\0"].map(|value| (503, value.to_owned(), Then::NotHttp)));
    // Any answer that is no success may ask.
    cases.extend([429, 503, 500, 404, 301].map(|status| (status, "120".to_owned(), Then::Closed(120))));
    cases.extend([200, 202].map(|status| (status, "120".to_owned(), Then::Delivered)));
    let nonsense = ["", "-1", "+5", "1.5", "1e3", "0x10", "١٢٠", "120 s", "120, 240", "soon", "P1D"];
    cases.extend(nonsense.map(|value| (429, value.to_owned(), Then::Scheduled)));
    cases
}

/// Answers each request as the case says that its path is the number of.
async fn receiver(cases: Vec<(u16, String, Then)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 16 * 1024];
            let length = stream.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let (status, value, _) = &cases[head.split(['/', ' ']).nth(2).unwrap().parse::<usize>().unwrap()];
            let answer = format!("HTTP/1.1 {status} So\r\nretry-after: {value}\r\ncontent-length: 0\r\n\r\n");
            // Whoever has read enough hangs up.
            tokio::spawn(async move { stream.write_all(answer.as_bytes()).await });
        }
    });
    url
}

#[tokio::test]
async fn a_lane_waits_as_long_as_its_receiver_asks() {
    let cases = cases();
    let url = receiver(cases.clone()).await;
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).settings(Settings::harbor()).build().unwrap();
    for n in 0..cases.len() {
        let target = Target::http(&format!("{url}/{n}")).unwrap();
        let draft = PolicyDraft::new(n.to_string()).on(EventType::PushArtifact).target(target);
        hooks.policies().create(PROJECT, draft).await.unwrap();
    }
    hooks.notify(&push()).await.unwrap();
    let running = Running::start(&hooks);
    let all = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let all = hooks.deliveries(&Filter::all(), Page::first(100)).await.unwrap();
            if all.len() == cases.len() && all.iter().all(|delivery| delivery.attempts == 1) {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let all = all.await.expect("one attempt of each");
    let closed = hooks.status().await.unwrap().closed_lanes;
    for delivery in all {
        let n: usize = hooks.policies().get(delivery.policy_id).await.unwrap().name.parse().unwrap();
        let (status, value, then) = &cases[n];
        let attempt = hooks.delivery(delivery.id).await.unwrap().unwrap().attempts.remove(0);
        let lane = closed.iter().find(|lane| lane.policy_id == delivery.policy_id);
        let after = match (delivery.state, lane, attempt.outcome) {
            (State::Delivered, None, _) => Then::Delivered,
            (State::Dead(DeadReason::Expired), None, _) => Then::Expired,
            (State::Due, None, Outcome::Failed { kind: FailureKind::TooLarge, .. }) => Then::TooLarge,
            (State::Due, None, Outcome::Failed { kind: FailureKind::Protocol, .. }) => Then::NotHttp,
            (State::Due, None, Outcome::Answered { .. }) => Then::Scheduled,
            (State::Due, Some(lane), _) if lane.why == Hold::RetryAfter => {
                // A date has whole seconds, and the test has taken some.
                let left = lane.opens_in.as_secs();
                match *then {
                    Then::Closed(asked) if (asked - 60..=asked).contains(&left) => Then::Closed(asked),
                    _ => Then::Closed(left),
                }
            }
            other => panic!("{status} {:?}: {other:?}", value.get(..40)),
        };
        assert_eq!(after, *then, "{status} {:?}", value.chars().take(40).collect::<String>());
    }
    running.stop().await;
}
