use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, ClientBuilder};

use super::destination::Blocked;
use super::{DestinationPolicy, Request, Response, Transport, TransportError};
use crate::delivery::FailureKind;

/// The time to connect, within the time of the whole request.
const CONNECT: Duration = Duration::from_secs(5);
/// Connections that rest longer are closed, so that a name which moved is looked up again.
const IDLE: Duration = Duration::from_secs(60);
/// The longest message that is kept, in characters.
const MAX_MESSAGE: usize = 300;

/// The crate's own transport, on `reqwest`.
///
/// No redirects, no proxy from the environment, no retries of its own. Clients are made when they are first needed: one for
/// plain HTTP, which needs no certificates, one for HTTPS, and one for targets that skip verification.
#[derive(Debug, Default)]
pub struct ReqwestTransport {
    clients: Mutex<Vec<(Key, Client)>>,
}

/// What a client is made for. Its resolver knows one destination policy, so another one needs another client.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Key {
    tls: Tls,
    destination: DestinationPolicy,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Tls {
    None,
    Verify,
    SkipVerify,
}

impl ReqwestTransport {
    /// A transport. Nothing is set up before the first request.
    pub fn new() -> Self {
        Self::default()
    }

    fn client(&self, request: &Request<'_>) -> Result<Client, TransportError> {
        let tls = match (request.address.url().scheme(), request.skip_cert_verify) {
            ("http", _) => Tls::None,
            (_, false) => Tls::Verify,
            (_, true) => Tls::SkipVerify,
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) =
            clients.iter().find(|(key, _)| key.tls == tls && key.destination == *request.destination)
        {
            return Ok(client.clone());
        }
        let key = Key { tls, destination: request.destination.clone() };
        let client = build(&key)?;
        clients.push((key, client.clone()));
        Ok(client)
    }
}

#[async_trait]
impl Transport for ReqwestTransport {
    async fn send(&self, request: Request<'_>) -> Result<Response, TransportError> {
        // A literal address never meets the resolver, so it is checked here.
        request.destination.check_address(request.address).map_err(|blocked| refused(&blocked))?;
        let client = self.client(&request)?;
        // The builder takes user and password out of the address, as Go's client does, and sends them where there is no
        // other `Authorization`. In the address, the HTTP client's own log would show them.
        let post = client.post(request.address.url().clone()).headers(headers(&request)?).timeout(request.timeout);
        let mut post = post.body(request.body).build().map_err(failure)?;
        forget_user(post.url_mut());
        read(client.execute(post).await.map_err(failure)?, request.max_response).await
    }
}

/// Those that are not UTF-8 are still there.
fn forget_user(url: &mut url::Url) {
    // Fails only without a host, which an address has.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
}

async fn read(mut answer: reqwest::Response, max: usize) -> Result<Response, TransportError> {
    let mut response = Response::new(answer.status().as_u16());
    response.remote_addr = answer.remote_addr();
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    response.retry_after = retry_after.map(ToOwned::to_owned);
    while let Some(chunk) = answer.chunk().await.map_err(failure)? {
        let room = max - response.body.len();
        response.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            response.truncated = true;
            break;
        }
    }
    Ok(response)
}

fn headers(request: &Request<'_>) -> Result<HeaderMap, TransportError> {
    let mut headers = HeaderMap::with_capacity(8);
    for (name, value) in request.headers.iter() {
        let mut parsed = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
            TransportError::new(FailureKind::Other, format!("the value of the header {name} cannot be sent"))
        })?;
        parsed.set_sensitive(name == AUTHORIZATION.as_str());
        headers.insert(HeaderName::from_static(name), parsed);
    }
    Ok(headers)
}

fn build(key: &Key) -> Result<Client, TransportError> {
    let builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .retry(reqwest::retry::never())
        .http1_only()
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .dns_resolver(Guard(key.destination.clone()));
    with_tls(builder, key.tls)?.build().map_err(|e| {
        TransportError::new(FailureKind::Tls, format!("TLS cannot be set up: {}", chain(&e.without_url())))
    })
}

#[cfg(feature = "rustls")]
#[allow(clippy::unnecessary_wraps)] // its twin below fails
fn with_tls(builder: ClientBuilder, tls: Tls) -> Result<ClientBuilder, TransportError> {
    Ok(match tls {
        // Without this, a machine without certificates could not even send plain HTTP.
        Tls::None => builder.tls_certs_only([]),
        Tls::Verify => builder,
        Tls::SkipVerify => builder.tls_danger_accept_invalid_certs(true),
    })
}

#[cfg(not(feature = "rustls"))]
fn with_tls(builder: ClientBuilder, tls: Tls) -> Result<ClientBuilder, TransportError> {
    match tls {
        Tls::None => Ok(builder),
        Tls::Verify | Tls::SkipVerify => {
            Err(TransportError::new(FailureKind::Tls, "https needs the feature rustls, which is not enabled"))
        }
    }
}

/// Resolves names, and refuses an answer that holds a forbidden address.
#[derive(Debug)]
struct Guard(DestinationPolicy);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let destination = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(Unresolved)?;
            let addrs: Vec<SocketAddr> = found.collect();
            for addr in &addrs {
                destination.check_addr(addr.ip())?;
            }
            let addrs: Addrs = Box::new(addrs.into_iter());
            Ok(addrs)
        })
    }
}

/// The name could not be resolved.
#[derive(Debug, thiserror::Error)]
#[error("the name cannot be resolved: {0}")]
struct Unresolved(#[source] io::Error);

/// Sorts what went wrong, by type and never by text, and strips the address from it.
fn failure(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    if let Some(blocked) = find::<Blocked>(&error) {
        return refused(blocked);
    }
    let kind = if error.is_timeout() {
        FailureKind::Timeout
    } else if find::<Unresolved>(&error).is_some() {
        FailureKind::Dns
    } else if error.is_connect() {
        if is_tls(&error) { FailureKind::Tls } else { FailureKind::Connect }
    } else {
        broken(&error)
    };
    TransportError::new(kind, chain(&error))
}

fn refused(blocked: &Blocked) -> TransportError {
    TransportError::new(FailureKind::Blocked, blocked.to_string())
}

/// A TLS failure reaches us as an I/O error of the kind that rustls gives to invalid data, or to a handshake that ends
/// early. Opening a connection below it gives neither.
fn is_tls(error: &reqwest::Error) -> bool {
    matches!(io_kind(error), Some(io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof))
}

/// A connection that was there and broke, or what came over it was not HTTP.
fn broken(error: &reqwest::Error) -> FailureKind {
    match io_kind(error) {
        Some(io::ErrorKind::InvalidData) => FailureKind::Protocol,
        Some(_) => FailureKind::Reset,
        None => match find::<hyper::Error>(error) {
            Some(e) if e.is_incomplete_message() || e.is_closed() || e.is_canceled() => FailureKind::Reset,
            Some(e) if e.is_parse() => FailureKind::Protocol,
            _ => FailureKind::Other,
        },
    }
}

/// The kind of the innermost I/O error: those around it are `Other`.
fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    causes(error).filter_map(|e| e.downcast_ref::<io::Error>()).last().map(io::Error::kind)
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    causes(error).find_map(|e| e.downcast_ref::<E>())
}

/// The error and what lies underneath, to the bottom.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| below(*error))
}

/// What lies directly underneath: an I/O error does not show what it wraps as its source.
fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// The error and what lies underneath, without repeating what is said already.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(source) = at {
        let more = source.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        at = source.source();
    }
    if text.chars().count() > MAX_MESSAGE { text.chars().take(MAX_MESSAGE).chain(['…']).collect() } else { text }
}
