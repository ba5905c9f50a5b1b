//! Connections that rest are few, however many receivers there are: descriptors are the host's too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use harbor_webhook::policy::Address;
use harbor_webhook::transport::{DestinationPolicy, Request, ReqwestTransport, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What all receivers see.
#[derive(Default)]
struct Seen {
    open: AtomicUsize,
    accepted: AtomicUsize,
}

/// Answers on every connection for as long as it is open.
async fn receiver(seen: &Arc<Seen>) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let seen = Arc::clone(seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            seen.open.fetch_add(1, Ordering::Relaxed);
            seen.accepted.fetch_add(1, Ordering::Relaxed);
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                answer(stream).await;
                seen.open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    url.parse().unwrap()
}

async fn answer(mut stream: TcpStream) {
    let mut head = [0; 4096];
    while stream.read(&mut head).await.is_ok_and(|length| length > 0) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
            return;
        }
    }
}

async fn send(transport: &ReqwestTransport, address: &Address) {
    let loopback = DestinationPolicy::public_addresses().allow_network("127.0.0.0/8").unwrap();
    let mut request = Request::new(address, Bytes::new(), &loopback);
    request.timeout = Duration::from_secs(30);
    assert_eq!(transport.send(request).await.unwrap().status, 200);
}

/// What is closed is seen at the other end a moment later.
async fn wait_for_most(seen: &Seen, most: usize) {
    let begun = Instant::now();
    while seen.open.load(Ordering::Relaxed) > most {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} are open", seen.open.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn few_connections_rest_however_many_receivers_there_are() {
    let (seen, transport) = (Arc::new(Seen::default()), ReqwestTransport::new());
    for _ in 0..200 {
        send(&transport, &receiver(&seen).await).await;
    }
    wait_for_most(&seen, 64).await;
    assert_eq!(seen.accepted.load(Ordering::Relaxed), 200);
}

#[tokio::test]
async fn few_connections_to_one_receiver_rest_and_are_used_again() {
    let (seen, transport) = (Arc::new(Seen::default()), Arc::new(ReqwestTransport::new()));
    let address = receiver(&seen).await;
    let mut all = JoinSet::new();
    for _ in 0..40 {
        let (transport, address) = (Arc::clone(&transport), address.clone());
        all.spawn(async move { send(&transport, &address).await });
    }
    all.join_all().await;
    wait_for_most(&seen, 8).await;
    let accepted = seen.accepted.load(Ordering::Relaxed);
    for _ in 0..20 {
        send(&transport, &address).await;
    }
    assert_eq!(seen.accepted.load(Ordering::Relaxed), accepted);
}
