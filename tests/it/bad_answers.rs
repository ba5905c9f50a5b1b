//! Receivers that answer as badly as they can: each attempt ends by its time or size limit, costs little memory, and is told apart
//! in the history.

use std::collections::BTreeMap;
use std::time::Duration;

use harbor_webhook::delivery::Outcome;
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{Filter, MemoryStore, Page};
use harbor_webhook::{EventType, Settings, Webhooks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::events::{PROJECT, push};
use crate::support::sending::{Running, end_state, loopback};

/// Tells the child process where the receiver is.
const RECEIVER: &str = "BAD_ANSWERS_AT";
/// Deliveries of each kind at once.
const COPIES: usize = 3;

/// What is sent first, what is then sent again and again, and what becomes of it.
const CASES: [(&str, &str, &str, &str); 27] = [
    // By the time limit.
    ("silence", "", "", "timeout"),
    ("slow-status", "HTTP/1.1 200 ", "drip a", "timeout"),
    ("slow-head", "HTTP/1.1 200 OK\r\nx: ", "drip a", "timeout"),
    ("slow-body", "HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", "drip a", "timeout"),
    ("slow-chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "drip 1\r\na\r\n", "timeout"),
    ("no-body", "HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", "", "timeout"),
    ("endless-continue", "", "pour HTTP/1.1 100 Continue\r\n\r\n", "timeout"),
    ("endless-hints", "", "pour HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", "timeout"),
    ("endless-chunk-size", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "pour 0", "timeout"),
    // By a size limit.
    ("endless-body", "HTTP/1.1 500 No\r\n\r\n", "a", "500, cut"),
    (
        "endless-chunks",
        "HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n",
        "10\r\n0123456789abcdef\r\n",
        "500, cut",
    ),
    ("huge-length", "HTTP/1.1 500 No\r\ncontent-length: 18446744073709551615\r\n\r\n", "a", "too_large"),
    ("large-length", "HTTP/1.1 500 No\r\ncontent-length: 9000000000000000000\r\n\r\n", "a", "500, cut"),
    ("giant-header", "HTTP/1.1 200 OK\r\nx: ", "a", "too_large"),
    ("giant-status-line", "HTTP/1.1 200 ", "a", "too_large"),
    ("giant-name", "HTTP/1.1 200 OK\r\n", "a", "too_large"),
    ("endless-headers", "HTTP/1.1 200 OK\r\n", "a: b\r\n", "too_large"),
    ("endless-extension", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", "a", "protocol"),
    ("endless-trailers", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", "a: b\r\n", "protocol"),
    // Not HTTP, or cut off.
    ("garbage", "\0\u{1}\u{2}", "\u{3}", "protocol"),
    ("ssh", "SSH-2.0-OpenSSH_9.2\r\n", "", "protocol"),
    ("http2", "\0\0\u{12}\u{4}\0\0\0\0\0\0\u{3}\0\0\0\u{7f}", "", "protocol"),
    ("bad-length", "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "", "protocol"),
    ("bad-chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", "", "protocol"),
    ("short-body", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc", "end", "reset"),
    ("no-answer", "", "end", "reset"),
    ("reset", "", "reset", "reset"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_ends_by_a_limit_costs_little_and_is_told_apart() {
    let Ok(receiver) = std::env::var(RECEIVER) else { return in_a_process_of_its_own().await };
    let resident = resident();
    let outcomes = deliver(&receiver).await;
    for (case, _, _, expected) in CASES {
        assert_eq!(outcomes[case], vec![expected; COPIES], "{case}");
    }
    let grown = peak().saturating_sub(resident);
    println!("{} connections, {grown} KiB more at the peak", CASES.len() * COPIES);
    assert!(grown < (CASES.len() * COPIES * 1024) as u64, "{grown} KiB");
}

/// So that the memory is the sender's only.
async fn in_a_process_of_its_own() {
    let receiver = receiver().await;
    let name = "bad_answers::each_ends_by_a_limit_costs_little_and_is_told_apart";
    let again = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(RECEIVER, receiver)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success(), "{said}{}", String::from_utf8_lossy(&again.stderr));
    assert!(said.contains("1 passed"), "{said}");
    println!("{}", said.lines().find(|line| line.contains("connections")).expect("the child has measured"));
}

/// What became of the deliveries, by the case that their policy is named after.
async fn deliver(receiver: &str) -> BTreeMap<String, Vec<String>> {
    let mut settings = Settings::harbor();
    settings.retry.max_retries = 0;
    settings.timeout = Duration::from_secs(5);
    settings.max_in_flight = CASES.len() * COPIES;
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).settings(settings).build().unwrap();
    for (case, ..) in CASES {
        let mut draft = PolicyDraft::new(case).on(EventType::PushArtifact);
        for copy in 0..COPIES {
            draft = draft.target(Target::http(&format!("{receiver}/{case}?{copy}")).unwrap());
        }
        hooks.policies().create(PROJECT, draft).await.unwrap();
    }
    hooks.notify(&push()).await.unwrap();
    let running = Running::start(&hooks);
    end_state(&hooks).await;
    running.stop().await;
    let mut outcomes = BTreeMap::<_, Vec<_>>::new();
    for delivery in hooks.deliveries(&Filter::all(), Page::first(1000)).await.unwrap() {
        let case = hooks.policies().get(delivery.policy_id).await.unwrap().name;
        let attempts = hooks.delivery(delivery.id).await.unwrap().unwrap().attempts;
        assert_eq!(attempts.len(), 1);
        assert!(attempts[0].duration < Duration::from_secs(15), "{case}: {:?}", attempts[0].duration);
        outcomes.entry(case).or_default().push(outcome(&attempts[0].outcome));
    }
    outcomes
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered { status, truncated: true, .. } => format!("{status}, cut"),
        Outcome::Answered { status, .. } => status.to_string(),
        Outcome::Failed { kind, .. } => kind.as_str().to_owned(),
        other => panic!("{other:?}"),
    }
}

/// KiB of memory in use.
fn resident() -> u64 {
    status("VmRSS:")
}

/// The most that ever was.
fn peak() -> u64 {
    status("VmHWM:")
}

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

async fn receiver() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    url
}

/// Answers as the path says, until the sender has had enough.
async fn answer(mut stream: TcpStream) -> Option<()> {
    let mut head = [0; 48];
    stream.read_exact(&mut head).await.ok()?;
    let path = String::from_utf8_lossy(&head);
    let case = path.split(['/', '?']).nth(1)?;
    let (_, first, then, _) = CASES.iter().find(|(name, ..)| *name == case)?;
    if *then == "reset" {
        // What was not read makes it a reset, and not an end.
        return None;
    }
    let mut rest = vec![0; 16 * 1024];
    let _length = stream.read(&mut rest).await.ok()?;
    stream.write_all(first.as_bytes()).await.ok()?;
    let (pause, again) = match then.split_once(' ') {
        // What a network brings, as an unoptimised parser is slower than a loopback.
        Some(("pour", little)) => (50, little.repeat(4096 / little.len())),
        Some(("drip", drop)) => (100, drop.to_owned()),
        _ if *then == "end" => return Some(()),
        _ if then.is_empty() => return stream.read(&mut rest).await.ok().map(drop),
        _ => (0, then.repeat(64 * 1024 / then.len())),
    };
    loop {
        stream.write_all(again.as_bytes()).await.ok()?;
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
}

/// `hello`, packed with gzip.
const PACKED: &[u8] =
    &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 7, 0, 0x86, 0xa6, 0x10, 0x36, 5, 0, 0, 0];

/// The tests are built with reqwest's gzip turned on, as a host may have it.
#[tokio::test]
async fn packed_answers_are_not_unpacked() {
    use harbor_webhook::transport::{Request, ReqwestTransport, Transport};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let length = stream.read(&mut head).await.unwrap();
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        let answer = format!("HTTP/1.1 500 No\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", PACKED.len());
        stream.write_all(&[answer.as_bytes(), PACKED].concat()).await.unwrap();
        head
    };
    let (address, destination) = (url.parse().unwrap(), loopback());
    let transport = ReqwestTransport::new();
    let request = Request::new(&address, "{}".into(), &destination);
    let (head, answer) = tokio::join!(serve, transport.send(request));
    assert_eq!(answer.unwrap().body, PACKED);
    assert!(head.contains("accept-encoding: identity\r\n") && !head.contains("gzip"), "{head}");
}
