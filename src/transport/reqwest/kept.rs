use std::time::Duration;

use tokio::time::Instant;
use url::{Position, Url};

/// Connections that rest longer are closed, so that a name which moved is looked up again.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// Hosts whose connections are kept for the next request, and how many of each. To others every request connects anew: a process
/// may often have 1,024 descriptors only, and without one left its host could accept no clients of its own.
const HOSTS: usize = 64;
pub(super) const PER_HOST: usize = 8;

/// The hosts whose connections are kept, and when they were last sent to.
#[derive(Debug, Default)]
pub(super) struct Kept(Vec<Host>);

/// A host, as one client has connections to it.
#[derive(Debug)]
struct Host {
    client: u64,
    host: String,
    used: Instant,
}

impl Kept {
    /// Whether a connection for this request is kept. A host loses its place when its last connection has been closed for resting too
    /// long.
    pub(super) fn keeps(&mut self, client: u64, url: &Url, now: Instant) -> bool {
        let host = &url[Position::BeforeHost..Position::AfterPort];
        let hosts = &mut self.0;
        if let Some(known) = hosts.iter_mut().find(|known| known.client == client && known.host == host) {
            known.used = now;
            return true;
        }
        if hosts.len() >= HOSTS {
            hosts.retain(|known| now < known.used + IDLE);
        }
        let has_room = hosts.len() < HOSTS;
        if has_room {
            hosts.push(Host { client, host: host.to_owned(), used: now });
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_kept_until_they_are_not_used() {
        let (mut kept, begun) = (Kept::default(), crate::clock::instant());
        let mut keeps = |n: usize, after: u64| {
            let url = format!("http://user@h{n}.example.com:8080/x").parse().unwrap();
            kept.keeps(1, &url, begun + Duration::from_secs(after))
        };
        assert!((0..HOSTS).all(|n| keeps(n, 0)) && !keeps(HOSTS, 1) && keeps(0, 30) && !keeps(HOSTS, 59));
        assert!(keeps(HOSTS, 60) && keeps(0, 60), "those that rested have made room");
        assert!(kept.keeps(2, &"http://h0.example.com:8080/".parse().unwrap(), begun + IDLE));
    }
}
