//! A name server with a few bad names, and the files that make the system's resolver ask it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;

pub(super) const PUBLIC: &str = "93.184.216.34";

/// Names that lead where no webhook goes under either policy.
pub(super) const FORBIDDEN: [&str; 14] = [
    "metadata.test",
    "alias.test",
    "loopback.test",
    "nowhere.test",
    "mapped.test",
    "mapped-metadata.test",
    "embedded.test",
    "translated.test",
    "metadata6.test",
    "link6.test",
    // Public ones among the others, first or last.
    "mixed.test",
    "mixed-last.test",
    "mixed-families.test",
    "hosts-mixed.test",
];
pub(super) const PRIVATE: [&str; 3] = ["private.test", "private6.test", "mixed-private.test"];
/// Names without an answer: none, a refusal, a failure.
pub(super) const UNKNOWN: [&str; 3] = ["unknown.test", "refused.test", "failing.test"];

/// Nobody answers for the names below.
pub(super) const SILENT: &str = ".silent.test";

/// Whether `moves.test` is at the metadata service by now.
static MOVED: AtomicBool = AtomicBool::new(false);

pub(super) fn move_name() {
    MOVED.store(true, Ordering::Relaxed);
}

/// What a name's addresses are, and whether it is an alias of another name.
fn zone(name: &str) -> Option<(Option<&'static str>, Vec<&'static str>)> {
    let addrs = match name {
        "public.test" => vec![PUBLIC],
        "metadata.test" => vec!["169.254.169.254"],
        "alias.test" => return Some((Some("metadata.test"), vec!["169.254.169.254"])),
        "loopback.test" => vec!["127.0.0.1", "::1"],
        "nowhere.test" => vec!["0.0.0.0"],
        "mapped.test" => vec!["::ffff:127.0.0.1"],
        "mapped-metadata.test" => vec!["::ffff:169.254.169.254"],
        "embedded.test" => vec!["64:ff9b::a9fe:a9fe"],
        "translated.test" => vec!["2002:a9fe:a9fe::1"],
        "metadata6.test" => vec!["fd00:ec2::254"],
        "link6.test" => vec!["fe80::1"],
        "mixed.test" => vec!["169.254.169.254", PUBLIC],
        "mixed-last.test" => vec![PUBLIC, "127.0.0.1"],
        "mixed-families.test" => vec![PUBLIC, "fd00:ec2::254"],
        "private.test" | "also-private.test" => vec!["10.0.0.1"],
        "private6.test" => vec!["fd12::1"],
        "mixed-private.test" => vec![PUBLIC, "10.0.0.1"],
        "moves.test" if !MOVED.load(Ordering::Relaxed) => vec![PUBLIC],
        "moves.test" => vec!["169.254.169.254"],
        _ => return None,
    };
    Some((None, addrs))
}

/// The resolver's files, to be mounted over the system's.
pub(super) fn configure(folder: &Path) {
    std::fs::write(folder.join("resolv.conf"), "nameserver 127.0.0.53\noptions timeout:1 attempts:1\n").unwrap();
    std::fs::write(folder.join("nsswitch.conf"), "hosts: files dns\n").unwrap();
    let hosts = format!("127.0.0.1 localhost\n{PUBLIC} hosts-mixed.test\n127.0.0.1 hosts-mixed.test\n");
    std::fs::write(folder.join("hosts"), hosts).unwrap();
}

pub(super) async fn serve() {
    let socket = UdpSocket::bind("127.0.0.53:53").await.unwrap();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            if !question(&query[..length]).0.ends_with(SILENT) {
                socket.send_to(&answer(&query[..length]), from).await.unwrap();
            }
        }
    });
}

/// RFC 1035, as far as a stub resolver asks.
fn answer(query: &[u8]) -> Vec<u8> {
    let (name, end) = question(query);
    let v6 = query[end + 1] == 28;
    let found = zone(&name);
    let (code, alias, addrs) = match (name.as_str(), found) {
        (_, Some((alias, addrs))) => (0, alias, addrs),
        ("failing.test", _) => (2, None, Vec::new()),
        ("refused.test", _) => (5, None, Vec::new()),
        _ => (3, None, Vec::new()),
    };
    let addrs: Vec<IpAddr> =
        addrs.iter().map(|addr| addr.parse().unwrap()).filter(|a: &IpAddr| a.is_ipv6() == v6).collect();
    let count = addrs.len() + usize::from(alias.is_some());
    let mut message =
        [&query[..2], &[0x81, 0x80 | code, 0, 1, 0, count as u8, 0, 0, 0, 0], &query[12..end + 4]].concat();
    // The name that was asked for stands at 12.
    let mut owner = vec![0xc0, 12];
    if let Some(alias) = alias {
        let alias = encoded(alias);
        record(&mut message, &owner, 5, &alias);
        owner = alias;
    }
    for addr in addrs {
        match addr {
            IpAddr::V4(addr) => record(&mut message, &owner, 1, &Ipv4Addr::octets(&addr)),
            IpAddr::V6(addr) => record(&mut message, &owner, 28, &addr.octets()),
        }
    }
    message
}

/// The name that is asked for, and where its type stands.
fn question(query: &[u8]) -> (String, usize) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_ascii_lowercase());
        at = end;
    }
    (labels.join("."), at + 1)
}

fn encoded(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

/// A record of class IN that may be kept for no time at all.
fn record(message: &mut Vec<u8>, owner: &[u8], kind: u8, data: &[u8]) {
    message.extend_from_slice(owner);
    message.extend_from_slice(&[0, kind, 0, 1, 0, 0, 0, 0, 0, data.len() as u8]);
    message.extend_from_slice(data);
}
