//! A transport of one's own: all requests leave through the program's own way out, here a proxy that is spoken to by hand.
//!
//! `cargo run --example custom_transport` sends one event through it and prints the request as the proxy saw it.

use std::error::Error;
use std::net::SocketAddr;

use async_trait::async_trait;
use harbor_webhook::delivery::FailureKind;
use harbor_webhook::event::Artifact;
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::MemoryStore;
use harbor_webhook::transport::{DestinationPolicy, Request, Response, Transport, TransportError};
use harbor_webhook::{EventType, ProjectId, Registry, Webhooks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PROJECT: ProjectId = ProjectId(2);
const DIGEST: &str = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";

/// Hands every request to a proxy, which is trusted to make the connections: here the destination policy can judge the
/// addresses that stand in a URL, but it is the proxy that sees where names lead.
#[derive(Debug)]
struct ThroughProxy {
    proxy: SocketAddr,
}

/// How much of an answer's status line and headers is read.
const MAX_HEAD: usize = 16 * 1024;

#[async_trait]
impl Transport for ThroughProxy {
    async fn send(&self, request: Request<'_>) -> Result<Response, TransportError> {
        let judged = request.destination.check_address(request.address);
        judged.map_err(|blocked| TransportError::new(FailureKind::Blocked, blocked.to_string()))?;
        // One limit for everything, as the contract asks.
        match tokio::time::timeout(request.timeout, self.exchange(&request)).await {
            Ok(answer) => answer,
            Err(_) => Err(TransportError::new(FailureKind::Timeout, format!("no answer in {:?}", request.timeout))),
        }
    }
}

impl ThroughProxy {
    /// Errors say what happened and never where: they are kept, and shown to people.
    async fn exchange(&self, request: &Request<'_>) -> Result<Response, TransportError> {
        let refused = |e: std::io::Error| TransportError::new(FailureKind::Connect, e.kind().to_string());
        let mut stream = TcpStream::connect(self.proxy).await.map_err(refused)?;
        let broken = |e: std::io::Error| TransportError::new(FailureKind::Reset, e.kind().to_string());
        stream.write_all(head(request).as_bytes()).await.map_err(broken)?;
        stream.write_all(&request.body).await.map_err(broken)?;
        let mut answer = Vec::new();
        let most = MAX_HEAD + request.max_response + 1;
        stream.take(most as u64).read_to_end(&mut answer).await.map_err(broken)?;
        let mut response = parse(&answer, request.max_response)?;
        response.remote_addr = Some(self.proxy);
        Ok(response)
    }
}

/// The request up to its body. A proxy is given the whole address.
fn head(request: &Request<'_>) -> String {
    let address = request.address.expose();
    let origin = request.address.origin();
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    let mut head = format!("POST {address} HTTP/1.0\r\nhost: {host}\r\n");
    for (name, value) in request.headers.iter() {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + &format!("content-length: {}\r\n\r\n", request.body.len())
}

/// Version 1.0 was asked for, so the body is what comes until the end.
fn parse(answer: &[u8], max_response: usize) -> Result<Response, TransportError> {
    let strange = || TransportError::new(FailureKind::Protocol, "the proxy's answer is not HTTP");
    let end = answer.windows(4).position(|at| at == b"\r\n\r\n").ok_or_else(strange)?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1).filter(|_| head.starts_with("HTTP/1."));
    let mut response = Response::new(status.and_then(|code| code.parse().ok()).ok_or_else(strange)?);
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let retry_after = headers.find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
    response.retry_after = retry_after.map(|(_, value)| value.trim().to_owned());
    let body = &answer[end + 4..];
    response.truncated = body.len() > max_response;
    response.body = body[..body.len().min(max_response)].to_vec();
    Ok(response)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let transport = ThroughProxy { proxy: listener.local_addr()? };
    let proxy = tokio::spawn(answer_one(listener));

    let hooks = Webhooks::builder(MemoryStore::new(), DestinationPolicy::public_addresses());
    let hooks = hooks.transport(transport).build()?;
    let target = Target::http("https://ci.example.com/hook")?.auth_header("Bearer s3cret")?;
    hooks.policies().create(PROJECT, PolicyDraft::new("ci").on(EventType::PushArtifact).target(target)).await?;
    let event = Registry::new("hub.example.com")?.push(PROJECT, "library/alpine", Artifact::tagged("3.20", DIGEST)?);
    hooks.notify(&event.operator("admin")).await?;

    // Sends until the proxy has seen its request; what is under way then is finished first.
    let mut seen = None;
    hooks.run(async { seen = Some(proxy.await) }).await?;
    println!("{}", seen.ok_or("no request came")???);
    println!("\nwaiting: {}", hooks.status().await?.waiting);
    Ok(())
}

/// The proxy: takes one request, answers 204, and gives the request.
async fn answer_one(listener: TcpListener) -> Result<String, std::io::Error> {
    let (mut stream, _) = listener.accept().await?;
    let (mut request, mut buffer) = (String::new(), [0; 4096]);
    // The body is one JSON object, and the last thing that comes.
    while !request.ends_with('}') {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        request.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    stream.write_all(b"HTTP/1.0 204 No Content\r\n\r\n").await?;
    Ok(request)
}
