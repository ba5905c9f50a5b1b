use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Listens on every address, and notes which of them were reached.
pub(super) struct Sink(Arc<Mutex<Vec<String>>>);

impl Sink {
    pub(super) async fn open() -> Self {
        let reached = Arc::new(Mutex::new(Vec::new()));
        for port in [80, 443, 3128, 8080] {
            // Where there is no IPv6, nothing can be reached by it.
            let listener = match TcpListener::bind(("::", port)).await {
                Ok(listener) => listener,
                Err(_) => TcpListener::bind(("0.0.0.0", port)).await.unwrap(),
            };
            let reached = Arc::clone(&reached);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let at = stream.local_addr().unwrap();
                    let at = SocketAddr::new(at.ip().to_canonical(), at.port());
                    reached.lock().unwrap().push(at.to_string());
                    tokio::spawn(answer(stream));
                }
            });
        }
        Self(reached)
    }

    /// What was reached since it was last asked.
    pub(super) fn reached(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// How many TCP connections were begun in this namespace, whether or not anybody was there: the kernel counts.
pub(super) fn connections() -> u64 {
    let counters = std::fs::read_to_string("/proc/self/net/snmp").unwrap();
    let mut tcp = counters.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let at = tcp.next().unwrap().split(' ').position(|name| name == "ActiveOpens").unwrap();
    tcp.next().unwrap().split(' ').nth(at).unwrap().parse().unwrap()
}

/// `/keep` keeps the connection; `/redirect/STATUS/URL` redirects.
async fn answer(mut stream: TcpStream) {
    let mut head = vec![0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut head).await {
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let keep = path.ends_with("/keep");
        let (status, location) = match path.split_once("/redirect/").and_then(|(_, to)| to.split_once('/')) {
            Some((status, url)) => (status, format!("location: {url}\r\n")),
            None => ("200", String::new()),
        };
        let connection = if keep { "keep-alive" } else { "close" };
        let answer = format!("HTTP/1.1 {status} So\r\n{location}connection: {connection}\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() || !keep {
            return;
        }
    }
}
