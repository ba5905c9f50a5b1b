mod clients;
mod failure;
mod guard;
mod kept;
mod lookups;
mod tls;

use std::fmt;

use async_trait::async_trait;
use reqwest::Proxy;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use self::clients::Clients;
use self::failure::{failure, refused};
use self::guard::{Guard, Refused};
use self::lookups::{Lookups, PROJECT};
use self::tls::Tls;
use super::{Request, Response, Transport, TransportError};
use crate::delivery::FailureKind;
use crate::error::{Error, Result};
use crate::policy::{CaBundle, Target};

/// The crate's own transport, on `reqwest`.
///
/// No redirects, no proxy from the environment, no decompression, no retries of its own. Of an answer's head, at most 100
/// headers and about 400 KiB are read; more is a failure ([`FailureKind::TooLarge`]). Clients are made when they are first needed:
/// one for plain HTTP, which needs no certificates, one for HTTPS, one for targets that skip verification.
/// Connections are kept for a minute, to 64 hosts at most and eight to each, so that descriptors are left for others. Names are looked up
/// by the system, at most 256 at once, which projects share.
#[derive(Default)]
pub struct ReqwestTransport {
    clients: Clients,
    outside: Outside,
}

/// What holds for all clients.
#[derive(Default)]
struct Outside {
    proxy: Option<Via>,
    roots: Option<CaBundle>,
    lookups: Lookups,
}

/// A proxy, and whether it is what decides where webhooks may go.
struct Via {
    proxy: Proxy,
    decides: bool,
}

impl ReqwestTransport {
    /// A transport. Nothing is set up before the first request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these certificates beside the platform's, for all targets that have no bundle of their own.
    ///
    /// On Android, iOS and macOS the platform's verifier takes no further ones.
    #[must_use]
    pub fn trust(mut self, roots: CaBundle) -> Self {
        self.outside.roots = Some(roots);
        self
    }

    /// Sends everything through this HTTP proxy, for example `http://user:password@proxy.example.com:3128`.
    ///
    /// The destination policy is enforced here before each request: the name is resolved, and every address must be allowed. But it
    /// is the proxy that connects, and it resolves the name again: only its own rules hold against a name whose answers change.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) unless it is an `http` URL. The HTTP client would verify the certificate of an `https`
    /// proxy as it does the target's, or not at all, and show it the target's own.
    pub fn proxy(self, url: &str) -> Result<Self> {
        self.via(url, false)
    }

    /// Sends everything through this HTTP proxy, which alone decides where requests to names may go.
    ///
    /// This is for a network whose only way out is a proxy with rules of its own, and where names of the outside are not resolved
    /// within. The destination policy still judges ports, and addresses that stand in a URL.
    ///
    /// # Errors
    ///
    /// As for [`ReqwestTransport::proxy`].
    pub fn proxy_that_decides(self, url: &str) -> Result<Self> {
        self.via(url, true)
    }

    fn via(mut self, url: &str, decides: bool) -> Result<Self> {
        let wrong = || Error::invalid("proxy", "is not a URL such as http://proxy.example.com:3128");
        if !url.starts_with("http://") {
            return Err(wrong());
        }
        let proxy = Proxy::all(url).map_err(|_| wrong())?;
        self.outside.proxy = Some(Via { proxy, decides });
        Ok(self)
    }

    /// What can be said before connecting. A literal address never meets the resolver; behind a proxy, no address does.
    async fn check(&self, request: &Request<'_>) -> Result<(), TransportError> {
        let (destination, url) = (request.destination, request.address.url());
        destination.check_address(request.address).map_err(|blocked| refused(&blocked))?;
        let (Some(Via { decides: false, .. }), Some(name)) = (&self.outside.proxy, url.domain()) else { return Ok(()) };
        let lookups = self.outside.lookups.clone();
        let guard = Guard { destination: destination.clone(), port: url.port_or_known_default(), lookups };
        match tokio::time::timeout(request.timeout, guard.look_up(name, request.project_id)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(Refused::Blocked(blocked))) => Err(refused(&blocked)),
            Ok(Err(Refused::Unresolved(e))) => Err(TransportError::new(FailureKind::Dns, e.to_string())),
            Err(_) => Err(TransportError::new(FailureKind::Timeout, "the name was not resolved in time")),
        }
    }
}

impl fmt::Debug for ReqwestTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's URL may hold a password.
        f.debug_struct("ReqwestTransport").field("proxy", &self.outside.proxy.is_some()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for ReqwestTransport {
    async fn send(&self, request: Request<'_>) -> Result<Response, TransportError> {
        let started = crate::clock::instant();
        self.check(&request).await?;
        let client = self.clients.get(&request, &self.outside)?;
        // As Go does, the builder turns a user in the URL into basic authorization, which a header of the request replaces.
        let post = client.post(request.address.url().clone()).headers(headers(&request)?).body(request.body);
        let mut post = post.timeout(request.timeout.saturating_sub(started.elapsed())).build().map_err(failure)?;
        forget_user(post.url_mut());
        let answer = PROJECT.scope(request.project_id, client.execute(post)).await;
        read(answer.map_err(failure)?, request.max_response).await
    }

    fn check_target(&self, target: &Target) -> Result<()> {
        let (ca_bundle, client_identity) = (target.options.ca_bundle.as_ref(), target.options.client_identity.as_ref());
        if ca_bundle.is_none() && client_identity.is_none() {
            return Ok(());
        }
        let tls = Tls::Verify(client_identity.cloned(), ca_bundle.cloned());
        clients::check(&tls, &self.outside).map_err(|problem| Error::invalid("ca_bundle or client_identity", problem))
    }
}

/// The HTTP client's own log would show it. A user that is not UTF-8 is still there after the builder took it.
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
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    for (name, value) in request.headers.iter() {
        let mut parsed = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
            TransportError::new(FailureKind::Other, format!("the value of the header {name} cannot be sent"))
        })?;
        parsed.set_sensitive(name == AUTHORIZATION.as_str());
        headers.insert(HeaderName::from_static(name), parsed);
    }
    Ok(headers)
}
