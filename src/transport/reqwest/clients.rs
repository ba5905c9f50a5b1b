use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, ClientBuilder};

use super::failure::chain;
use super::guard::Guard;
use super::kept::{IDLE, Kept, PER_HOST};
use super::tls::Tls;
use super::{Outside, tls};
use crate::delivery::FailureKind;
use crate::transport::{DestinationPolicy, Request, TransportError};

/// The time to connect, within the time of the whole request.
const CONNECT: Duration = Duration::from_secs(5);
/// How many clients are kept, each with its connections; those that were not used for longest go.
const MAX_CLIENTS: usize = 64;

/// The clients that were made, and whose connections they keep.
#[derive(Default)]
pub(super) struct Clients(Mutex<Made>);

#[derive(Default)]
struct Made {
    /// Those that are left, the last used at the end.
    pairs: Vec<Pair>,
    /// All that there were.
    count: u64,
    kept: Kept,
}

/// Two clients of a kind, each made when it is first needed.
struct Pair {
    key: Key,
    number: u64,
    /// It keeps connections for the next request.
    keeps: Option<Client>,
    once: Option<Client>,
}

/// What a client is made for. What was allowed when its connections were made is allowed to all that use them.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Key {
    tls: Tls,
    destination: DestinationPolicy,
    port: Option<u16>,
}

impl Key {
    fn new(request: &Request<'_>) -> Self {
        let url = request.address.url();
        let tls = match (url.scheme(), request.skip_cert_verify) {
            ("http", _) => Tls::None,
            (_, true) => Tls::SkipVerify(request.client_identity.cloned()),
            (_, false) => Tls::Verify(request.client_identity.cloned(), request.ca_bundle.cloned()),
        };
        let port = url.port_or_known_default().and_then(|port| request.destination.port_that_matters(port));
        Self { tls, destination: request.destination.clone(), port }
    }
}

impl Clients {
    /// The client for such requests; it is made if there is none yet.
    pub(super) fn get(&self, request: &Request<'_>, outside: &Outside) -> Result<Client, TransportError> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = made.pair(Key::new(request)).number;
        let keeps = made.kept.keeps(number, request.address.url(), crate::clock::instant());
        let at = made.pairs.len() - 1;
        let Pair { key, keeps: kept, once, .. } = &mut made.pairs[at];
        let (client, idle) = if keeps { (kept, PER_HOST) } else { (once, 0) };
        if let Some(client) = client {
            return Ok(client.clone());
        }
        Ok(client.insert(build(key, outside, idle)?).clone())
    }
}

impl Made {
    /// Those of this kind, which are the last ones from now on.
    fn pair(&mut self, key: Key) -> &Pair {
        if let Some(at) = self.pairs.iter().rposition(|pair| pair.key == key) {
            self.pairs[at..].rotate_left(1);
        } else {
            if self.pairs.len() == MAX_CLIENTS {
                self.pairs.remove(0);
            }
            self.count += 1;
            self.pairs.push(Pair { key, number: self.count, keeps: None, once: None });
        }
        &self.pairs[self.pairs.len() - 1]
    }
}

fn build(key: &Key, outside: &Outside, idle: usize) -> Result<Client, TransportError> {
    let builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .http1_only()
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true);
    let builder = without_decompression(builder);
    let builder = builder.pool_max_idle_per_host(if key.destination.is_fixed() { idle } else { 0 });
    let builder = match &outside.proxy {
        Some(via) => builder.proxy(via.proxy.clone()),
        None => {
            let lookups = outside.lookups.clone();
            let guard = Guard { destination: key.destination.clone(), port: key.port, lookups };
            builder.no_proxy().dns_resolver(guard)
        }
    };
    finish(builder, &key.tls, outside).map_err(|message| TransportError::new(FailureKind::Tls, message))
}

/// Whether a client with this TLS can be made.
pub(super) fn check(tls: &Tls, outside: &Outside) -> Result<(), String> {
    finish(Client::builder(), tls, outside).map(drop)
}

fn finish(builder: ClientBuilder, tls: &Tls, outside: &Outside) -> Result<Client, String> {
    let builder = tls::set_up(builder, tls, outside.roots.as_ref())?;
    builder.build().map_err(|e| format!("TLS cannot be set up: {}", chain(&e.without_url())))
}

/// A host that uses reqwest too may have turned its features on: an answer is read as it comes, however small it was made.
fn without_decompression(builder: ClientBuilder) -> ClientBuilder {
    builder.no_gzip().no_brotli().no_zstd().no_deflate()
}
