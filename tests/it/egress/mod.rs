//! No packet reaches a forbidden address: proven in a network namespace where every address there is belongs to this machine, and
//! a listener waits on all of them.
//!
//! The test makes the namespace and runs itself in it, as root or as a user who may make namespaces. Where nobody may, it says
//! so and is skipped, unless `HARBOR_WEBHOOK_NAMESPACES=required` is set.

mod dns;
mod sink;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use harbor_webhook::delivery::{DeadReason, FailureKind, Outcome, State};
use harbor_webhook::policy::{Address, PolicyDraft, Target};
use harbor_webhook::store::{Filter, MemoryStore, Page};
use harbor_webhook::transport::{DestinationPolicy, Request, ReqwestTransport, Transport};
use harbor_webhook::{EventType, ProjectId, Webhooks};

use crate::support::events::{PROJECT, push};
use crate::support::sending::{Running, end_state, impatient};
use dns::PUBLIC;
use sink::Sink;

const INSIDE: &str = "HARBOR_WEBHOOK_INSIDE";
const NAME: &str = "egress::nothing_reaches_a_forbidden_address";

/// Every address is local, names are asked for at a server of the test's own, and a proxy is set by every variable there is.
const SETUP: &str = r#"
set -e
ip link set lo up
ip route add local 0.0.0.0/0 dev lo
ip -6 route add local ::/0 dev lo 2>/dev/null || true
for file in hosts resolv.conf nsswitch.conf; do
  [ -e /etc/$file ] && mount --bind "$FOLDER/$file" /etc/$file
done
for name in http_proxy https_proxy all_proxy; do
  export $name=http://10.0.0.1:3128 "$(echo $name | tr a-z A-Z)=http://10.0.0.1:3128"
done
exec "$TEST" --exact "$NAME" --nocapture
"#;

/// Where no webhook goes under either policy, by what is written in the URL.
const LITERALS: [&str; 44] = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "127.0.0.1.",
    "0",
    "0.0.0.0",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "user:pass@169.254.169.254",
    "[::]",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:169.254.169.254]",
    "[::127.0.0.1]",
    "[::ffff:0:169.254.169.254]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b:1::10.0.0.1]",
    "[100::1]",
    "[2001::a9fe:a9fe]",
    "[2001:db8::1]",
    "[2002:a9fe:a9fe::1]",
    "[2606:4700::5efe:169.254.169.254]",
    "[3fff::1]",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "[fd00:ec2::23]",
    "[64:ff9b::100.100.100.200]",
    "100.100.100.200",
    "[fe80::1]",
    "[ff02::1]",
];
const PRIVATE_LITERALS: [&str; 7] =
    ["10.0.0.1", "100.64.0.1", "172.16.0.1", "192.168.1.1", "[fd12::1]", "[::ffff:10.0.0.1]", "[64:ff9b::10.0.0.1]"];

#[test]
fn nothing_reaches_a_forbidden_address() {
    if std::env::var_os(INSIDE).is_some() {
        return tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(inside());
    }
    let Some(unshare) = unshare() else {
        let required = std::env::var("HARBOR_WEBHOOK_NAMESPACES").is_ok_and(|set| set == "required");
        assert!(!required, "network namespaces cannot be made here, and they are required");
        return eprintln!("{NAME}: SKIPPED, as network namespaces cannot be made here");
    };
    let folder = tempfile::tempdir().unwrap();
    dns::configure(folder.path());
    let done = run_inside(&unshare, folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    assert!(said.contains("1 passed") && said.contains("connections made"), "{said}");
}

/// How a namespace is made here: by root, or by a user who is root within.
fn unshare() -> Option<Vec<&'static str>> {
    let ways = [vec!["--net", "--mount"], vec!["--user", "--map-root-user", "--net", "--mount"]];
    let works = |way: &Vec<&str>| {
        let tried = Command::new("unshare").args(way).args(["sh", "-c", "ip link set lo up"]).output();
        tried.is_ok_and(|done| done.status.success())
    };
    ways.into_iter().find(works)
}

fn run_inside(unshare: &[&str], folder: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(unshare).args(["sh", "-c", SETUP]);
    command.env(INSIDE, "1").env("NAME", NAME).env("FOLDER", folder).env("TEST", std::env::current_exe().unwrap());
    command
}

async fn inside() {
    dns::serve().await;
    let sink = Sink::open().await;
    the_sink_sees_what_is_allowed(&sink).await;
    literals_and_names_are_refused(&sink).await;
    redirects_are_not_followed(&sink).await;
    a_name_that_moves_is_judged_again(&sink).await;
    what_is_allowed_is_allowed_for_itself_only(&sink).await;
    own_listeners_are_denied(&sink).await;
    an_explicit_proxy_gets_only_what_is_allowed(&sink).await;
    a_blocked_delivery_is_dead_at_once(&sink).await;
    names_that_nobody_answers_for_leave_threads_and_lookups_for_others().await;
    println!("{} connections made", sink::connections());
}

/// The status of the answer, or the class of the failure.
async fn post(transport: &ReqwestTransport, url: &str, to: &DestinationPolicy) -> Result<u16, FailureKind> {
    let address: Address = url.parse().unwrap();
    let answer = transport.send(Request::new(&address, Bytes::from_static(b"{}"), to)).await;
    answer.map(|answer| answer.status).map_err(|e| e.kind())
}

async fn post_afresh(url: &str, to: &DestinationPolicy) -> Result<u16, FailureKind> {
    post(&ReqwestTransport::new(), url, to).await
}

fn public() -> DestinationPolicy {
    DestinationPolicy::public_addresses()
}

/// Without it, that nothing is seen would prove nothing. The proxy of the environment is not used.
async fn the_sink_sees_what_is_allowed(sink: &Sink) {
    assert_eq!(post_afresh("http://public.test:8080/", &public()).await, Ok(200));
    assert_eq!(sink.reached(), [format!("{PUBLIC}:8080")]);
    for forbidden in ["169.254.169.254", "10.0.0.1", "127.0.0.1", "192.88.99.1"] {
        let named = public().allow_network(forbidden).unwrap();
        assert_eq!(post_afresh(&format!("http://{forbidden}:8080/"), &named).await, Ok(200));
        assert_eq!(sink.reached(), [format!("{forbidden}:8080")]);
    }
    if Path::new("/proc/net/if_inet6").exists() {
        let named = public().allow_network("fd00:ec2::254").unwrap();
        assert_eq!(post_afresh("http://[fd00:ec2::254]:8080/", &named).await, Ok(200));
        assert_eq!(sink.reached(), ["[fd00:ec2::254]:8080"]);
    }
}

async fn literals_and_names_are_refused(sink: &Sink) {
    let before = sink::connections();
    let blocked = Err(FailureKind::Blocked);
    for scheme in ["http", "https"] {
        for destination in [public(), DestinationPolicy::private_networks()] {
            for host in LITERALS {
                assert_eq!(post_afresh(&format!("{scheme}://{host}:8080/"), &destination).await, blocked, "{host}");
            }
            for host in dns::FORBIDDEN {
                assert_eq!(post_afresh(&format!("{scheme}://{host}:8080/"), &destination).await, blocked, "{host}");
            }
            // Not to know is not to allow.
            for host in dns::UNKNOWN {
                let url = format!("{scheme}://{host}:8080/");
                assert_eq!(post_afresh(&url, &destination).await, Err(FailureKind::Dns), "{host}");
            }
        }
        for host in PRIVATE_LITERALS.iter().chain(&dns::PRIVATE) {
            assert_eq!(post_afresh(&format!("{scheme}://{host}:8080/"), &public()).await, blocked, "{host}");
        }
    }
    for port in [22, 25, 81] {
        assert_eq!(post_afresh(&format!("http://public.test:{port}/"), &public()).await, blocked);
    }
    assert_eq!(sink::connections(), before, "somebody connected somewhere");
    assert_eq!(sink.reached(), [""; 0]);
}

async fn redirects_are_not_followed(sink: &Sink) {
    for status in [301, 302, 303, 307, 308] {
        let to = "http://169.254.169.254:8080/";
        let url = format!("http://public.test:8080/redirect/{status}/{to}");
        assert_eq!(post_afresh(&url, &public()).await, Ok(status));
        assert_eq!(sink.reached(), [format!("{PUBLIC}:8080")]);
    }
}

/// It is public, and then it is not. A connection that was made before leads where it led.
async fn a_name_that_moves_is_judged_again(sink: &Sink) {
    let transport = ReqwestTransport::new();
    assert_eq!(post(&transport, "http://moves.test:8080/keep", &public()).await, Ok(200));
    // The first connection is used again, if it came back to the pool in time, and by the second of these if it did not.
    for _ in 0..2 {
        assert_eq!(post(&transport, "http://moves.test:8080/close", &public()).await, Ok(200));
    }
    assert!(sink.reached().iter().all(|at| *at == format!("{PUBLIC}:8080")));
    dns::move_name();
    let before = sink::connections();
    assert_eq!(post(&transport, "http://moves.test:8080/", &public()).await, Err(FailureKind::Blocked));
    assert_eq!(sink::connections(), before);
    // A stricter policy does not get the connection of one that is less strict.
    let wide = public().allow_host("private.test").unwrap();
    assert_eq!(post(&transport, "http://private.test:8080/keep", &wide).await, Ok(200));
    assert_eq!(post(&transport, "http://private.test:8080/keep", &public()).await, Err(FailureKind::Blocked));
    assert_eq!(sink.reached(), ["10.0.0.1:8080"]);
}

async fn what_is_allowed_is_allowed_for_itself_only(sink: &Sink) {
    let one = public().allow_host("private.test").unwrap();
    assert_eq!(post_afresh("http://private.test:8080/", &one).await, Ok(200));
    assert_eq!(sink.reached(), ["10.0.0.1:8080"]);
    let before = sink::connections();
    for host in ["also-private.test", "10.0.0.1", "metadata.test", "mixed.test", "127.0.0.1"] {
        assert_eq!(post_afresh(&format!("http://{host}:8080/"), &one).await, Err(FailureKind::Blocked), "{host}");
    }
    // Its own name does not open the rest either.
    let metadata = public().allow_host("metadata.test").unwrap().allow_host("localhost").unwrap();
    for host in ["metadata.test", "localhost"] {
        assert_eq!(post_afresh(&format!("http://{host}:8080/"), &metadata).await, Err(FailureKind::Blocked), "{host}");
    }
    assert_eq!(sink::connections(), before);
}

async fn own_listeners_are_denied(sink: &Sink) {
    let destination = DestinationPolicy::private_networks().allow_host("*.test").unwrap();
    let denied = destination.deny_listener("10.0.0.1:8080".parse().unwrap());
    let transport = ReqwestTransport::new();
    assert_eq!(post(&transport, "http://private.test:3128/", &denied).await, Ok(200));
    assert_eq!(sink.reached(), ["10.0.0.1:3128"]);
    let before = sink::connections();
    for host in ["private.test", "also-private.test", "10.0.0.1", "[::ffff:10.0.0.1]", "[64:ff9b::10.0.0.1]"] {
        assert_eq!(post(&transport, &format!("http://{host}:8080/"), &denied).await, Err(FailureKind::Blocked));
    }
    assert_eq!(sink::connections(), before);
}

async fn an_explicit_proxy_gets_only_what_is_allowed(sink: &Sink) {
    let proxied = ReqwestTransport::new().proxy("http://user:s3cret@private.test:3128").unwrap();
    assert!(!format!("{proxied:?}").contains("s3cret"));
    assert_eq!(post(&proxied, "http://public.test:8080/", &public()).await, Ok(200));
    assert_eq!(sink.reached(), ["10.0.0.1:3128"]);
    let before = sink::connections();
    for host in ["metadata.test", "mixed.test", "169.254.169.254", "private.test"] {
        assert_eq!(
            post(&proxied, &format!("http://{host}:8080/"), &public()).await,
            Err(FailureKind::Blocked),
            "{host}"
        );
    }
    assert_eq!(post(&proxied, "http://unknown.test:8080/", &public()).await, Err(FailureKind::Dns));
    assert_eq!(sink::connections(), before);
    // Its certificate would be verified as the target's is, so not at all where a policy says so.
    assert!(ReqwestTransport::new().proxy("https://user:s3cret@private.test:3128").is_err());
    let decides = ReqwestTransport::new().proxy_that_decides("http://10.0.0.1:3128").unwrap();
    assert_eq!(post(&decides, "http://unknown.test:8080/", &public()).await, Ok(200));
    assert_eq!(sink.reached(), ["10.0.0.1:3128"]);
}

/// Saving cannot know where a name leads; sending does, and the history says what would allow it.
async fn a_blocked_delivery_is_dead_at_once(sink: &Sink) {
    let before = sink::connections();
    let hooks = Webhooks::builder(MemoryStore::new(), public()).settings(impatient()).build().unwrap();
    let draft =
        |address: &str| PolicyDraft::new(address).on(EventType::PushArtifact).target(Target::http(address).unwrap());
    let literal = hooks.policies().create(PROJECT, draft("http://169.254.169.254/")).await.unwrap_err().to_string();
    assert!(literal.contains(r#"allow it with .allow_network("169.254.169.254/32")"#), "{literal}");
    hooks.policies().create(PROJECT, draft("http://alias.test:8080/")).await.unwrap();
    hooks.notify(&push()).await.unwrap();
    let running = Running::start(&hooks);
    assert_eq!(end_state(&hooks).await, State::Dead(DeadReason::Blocked));
    running.stop().await;
    let delivery = hooks.deliveries(&Filter::all(), Page::first(10)).await.unwrap().remove(0);
    let words = "169.254.169.254 is link-local (169.254.0.0/16); allow it with .allow_network(\"169.254.169.254/32\")";
    assert_eq!((delivery.attempts, delivery.detail.as_deref()), (1, Some(words)));
    let attempts = hooks.delivery(delivery.id).await.unwrap().unwrap().attempts;
    assert!(
        matches!(&attempts[0].outcome, Outcome::Failed { kind: FailureKind::Blocked, message } if message == words)
    );
    assert_eq!(sink::connections(), before);
    assert_eq!(sink.reached(), [""; 0]);
}

/// A lookup lives on when its attempt has ended.
async fn names_that_nobody_answers_for_leave_threads_and_lookups_for_others() {
    let (transport, mut all) = (Arc::new(ReqwestTransport::new()), tokio::task::JoinSet::new());
    for n in 0..600 {
        let transport = Arc::clone(&transport);
        all.spawn(async move {
            let (address, to): (Address, _) = (format!("http://n{n}{}:8080/", dns::SILENT).parse().unwrap(), public());
            let mut request = Request::new(&address, Bytes::new(), &to);
            (request.timeout, request.project_id) = (Duration::from_millis(200), Some(PROJECT));
            let kind = transport.send(request).await.unwrap_err().kind();
            assert!(matches!(kind, FailureKind::Timeout | FailureKind::Dns), "{kind:?}");
        });
    }
    all.join_all().await;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap().trim().parse::<usize>();
    assert!(threads.unwrap() < 400, "{status}");
    // They are still being looked up. Another project's name is found in time.
    let (address, to): (Address, _) = ("http://public.test:8080/".parse().unwrap(), public());
    let mut request = Request::new(&address, Bytes::new(), &to);
    (request.timeout, request.project_id) = (Duration::from_millis(500), Some(ProjectId(PROJECT.0 + 1)));
    assert_eq!(transport.send(request).await.unwrap().status, 200);
}
