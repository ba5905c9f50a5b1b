//! How a request leaves the process.

mod destination;
#[cfg(feature = "reqwest")]
mod reqwest;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use destination::{Blocked, DestinationPolicy, DestinationRule};

#[cfg(feature = "reqwest")]
pub use self::reqwest::ReqwestTransport;
use crate::delivery::FailureKind;
use crate::error::Result;
use crate::id::ProjectId;
use crate::policy::{Address, CaBundle, ClientIdentity, Target};

/// Sends requests. The crate brings one on reqwest; a host may bring its own.
///
/// # Contract
///
/// One call is one `POST` request: no retries, no redirects (a 3xx answer is returned as it is), no proxy that the host
/// did not configure, no decompression. The call ends within `request.timeout`, which covers connecting, the answer's headers and its body. At
/// most `request.max_response` bytes of the body are read. Connections go only to addresses that `request.destination`
/// allows: [`check_address`](DestinationPolicy::check_address) for what the URL says, then
/// [`check_resolved`](DestinationPolicy::check_resolved) for every address that its name has, of which one that is forbidden
/// refuses the request. A connection that is kept serves requests of an equal policy only.
///
/// # Cancellation
///
/// Dropping the future abandons the request; whether the receiver saw it is unknown.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Makes one request and returns the answer, whatever its status.
    async fn send(&self, request: Request<'_>) -> Result<Response, TransportError>;

    /// Whether requests to such a target can be made at all, as far as this can be said without making one: whether its
    /// certificates and its key are some. It is asked when a policy is saved.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid), with what is wrong.
    fn check_target(&self, target: &Target) -> Result<()> {
        let _ = target;
        Ok(())
    }
}

/// One request to make.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request<'a> {
    /// Where it goes. May hold a token: never log it. A user and password in it are sent as `Basic` authorization, unless
    /// `headers` have another one.
    pub address: &'a Address,
    /// All headers to send besides `Host` and `Content-Length`: names in lower case, each once.
    pub headers: Headers<'a>,
    /// The body.
    pub body: Bytes,
    /// The time for everything, from connecting to the end of the body.
    pub timeout: Duration,
    /// How much of the answer's body is read, in bytes.
    pub max_response: usize,
    /// Whether an invalid TLS certificate is accepted.
    pub skip_cert_verify: bool,
    /// The certificates that the server may descend from, instead of those that the transport trusts.
    pub ca_bundle: Option<&'a CaBundle>,
    /// What is shown to a server that asks for a certificate.
    pub client_identity: Option<&'a ClientIdentity>,
    /// Where connections may go.
    pub destination: &'a DestinationPolicy,
    /// The project whose webhook it is, if it is one's: what is scarce in a transport should be shared between projects.
    pub project_id: Option<ProjectId>,
}

impl<'a> Request<'a> {
    /// A request with no headers and the limits of Harbor's defaults: 3 seconds, 64 KiB of answer.
    pub fn new(address: &'a Address, body: Bytes, destination: &'a DestinationPolicy) -> Self {
        Self {
            address,
            headers: Headers::default(),
            body,
            timeout: Duration::from_secs(3),
            max_response: 64 * 1024,
            skip_cert_verify: false,
            ca_bundle: None,
            client_identity: None,
            destination,
            project_id: None,
        }
    }
}

/// Header names and values of a request. `Debug` shows the names only, as a value may be a secret.
#[derive(Clone, Default)]
pub struct Headers<'a>(Vec<(&'static str, std::borrow::Cow<'a, str>)>);

impl<'a> Headers<'a> {
    /// Adds a header. `name` is in lower case.
    pub fn push(&mut self, name: &'static str, value: impl Into<std::borrow::Cow<'a, str>>) {
        self.0.push((name, value.into()));
    }

    /// The headers in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_ref()))
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// The answer to a request.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Response {
    /// The HTTP status code.
    pub status: u16,
    /// The `Retry-After` header, as it was sent.
    pub retry_after: Option<String>,
    /// The beginning of the body, at most `max_response` bytes.
    pub body: Vec<u8>,
    /// Whether the body was longer.
    pub truncated: bool,
    /// The address that the connection went to.
    pub remote_addr: Option<SocketAddr>,
}

impl Response {
    /// An answer with this status and nothing else.
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

/// Why there was no answer.
///
/// The message holds no address, header or body: it is kept in the history and shown to people.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    kind: FailureKind,
    message: String,
}

impl TransportError {
    /// `kind` decides what happens next; `message` is for people.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The class of the failure.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }
}

#[cfg(test)]
fn _dyn_safe(_: Box<dyn Transport>) {}
