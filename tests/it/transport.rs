//! The transport against receivers that behave badly, over real sockets.

use std::time::Duration;

use bytes::Bytes;
use harbor_webhook::delivery::FailureKind;
use harbor_webhook::policy::Address;
use harbor_webhook::transport::{DestinationPolicy, Request, ReqwestTransport, Response, Transport, TransportError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn loopback() -> DestinationPolicy {
    DestinationPolicy::public_addresses().allow_network("127.0.0.0/8").unwrap()
}

async fn send(url: &str, destination: &DestinationPolicy) -> Result<Response, TransportError> {
    let address: Address = url.parse().unwrap();
    let mut request = Request::new(&address, Bytes::from_static(b"{}"), destination);
    request.timeout = Duration::from_millis(500);
    request.max_response = 1024;
    request.headers.push("authorization", "Basic caf\u{e9}\t==");
    ReqwestTransport::new().send(request).await
}

/// A server that reads the request's head and then does what it is told.
async fn server<F: Future<Output = ()> + Send>(then: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/T0/SECRET?k=SECRET", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            then(stream).await;
        }
    });
    url
}

async fn kind(url: &str) -> FailureKind {
    let error = send(url, &loopback()).await.unwrap_err();
    assert!(!error.to_string().contains("SECRET"), "{error}");
    error.kind()
}

#[tokio::test]
async fn slow_answers_end_by_the_time_limit() {
    let silent = server(|stream| async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(stream);
    });
    assert_eq!(kind(&silent.await).await, FailureKind::Timeout);
    let slow_body = server(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n").await.unwrap();
        for _ in 0..50 {
            let _ = stream.write_all(b"x").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert_eq!(kind(&slow_body.await).await, FailureKind::Timeout);
}

#[tokio::test]
async fn endless_bodies_end_by_the_size_limit() {
    let endless = server(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 500 No\r\n\r\n").await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let answer = send(&endless.await, &loopback()).await.unwrap();
    assert_eq!((answer.status, answer.body.len(), answer.truncated), (500, 1024, true));
}

#[tokio::test]
async fn what_is_not_http_is_told_apart() {
    let garbage = server(|mut stream| async move {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    });
    assert_eq!(kind(&garbage.await).await, FailureKind::Protocol);
    let cut_off = server(|stream| async move { drop(stream) });
    assert_eq!(kind(&cut_off.await).await, FailureKind::Reset);
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/SECRET", refused.local_addr().unwrap());
    drop(refused);
    assert_eq!(kind(&url).await, FailureKind::Connect);
}

#[tokio::test]
async fn redirects_are_answers_and_are_not_followed() {
    for status in ["302 Found", "307 Temporary Redirect"] {
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let location = inner.local_addr().unwrap();
        let redirecting = server(move |mut stream| async move {
            let answer = format!("HTTP/1.1 {status}\r\nlocation: http://{location}/\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        let answer = send(&redirecting.await, &loopback()).await.unwrap();
        assert!(answer.status == 302 || answer.status == 307);
        let reached = tokio::time::timeout(Duration::from_millis(100), inner.accept()).await;
        assert!(reached.is_err(), "{status} was followed");
    }
}

#[tokio::test]
async fn forbidden_addresses_see_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let public = DestinationPolicy::public_addresses();
    // The last one is resolved: its name says nothing, and an allowed network elsewhere does not help.
    let elsewhere = public.clone().allow_network("192.0.2.0/24").unwrap();
    let cases = [
        ("127.0.0.1", &public),
        ("[::ffff:127.0.0.1]", &public),
        ("2130706433", &public),
        ("0x7f.1", &public),
        ("localhost.", &public),
        ("localhost", &elsewhere),
    ];
    for (host, destination) in cases {
        let error = send(&format!("http://{host}:{port}/SECRET"), destination).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Blocked, "{host}: {error}");
    }
    assert!(tokio::time::timeout(Duration::from_millis(100), listener.accept()).await.is_err());
}

#[tokio::test]
async fn authorization_goes_out_byte_for_byte() {
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let length = stream.read(&mut head).await.unwrap();
        head.truncate(length);
        tell.send(head).await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    });
    send(&url, &loopback()).await.unwrap();
    let head = told.recv().await.unwrap();
    let line = "authorization: Basic caf\u{e9}\t==\r\n".as_bytes();
    assert!(head.windows(line.len()).any(|window| window == line), "{}", String::from_utf8_lossy(&head));
}
