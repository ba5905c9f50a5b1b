//! Receivers in simulated time: nothing is sent, and every request is noted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use harbor_webhook::delivery::FailureKind;
use harbor_webhook::transport::{Request, Response, Transport, TransportError};
use tokio::time::Instant;

/// What becomes of a request: an answer, or no connection, and after which time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) after: Duration,
    pub(crate) status: Option<u16>,
}

impl Answer {
    pub(crate) fn new(status: u16, after: Duration) -> Self {
        Self { after, status: Some(status) }
    }

    pub(crate) fn no_connection(after: Duration) -> Self {
        Self { after, status: None }
    }

    pub(crate) fn is_taken(self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) host: String,
    /// Its `webhook-id`.
    pub(crate) id: String,
    /// When it came, counted from the beginning.
    pub(crate) at: Duration,
    pub(crate) answer: Answer,
    /// Requests under way at this host, this one included.
    pub(crate) under_way: usize,
    /// Requests that the host had taken before, the answers included.
    pub(crate) taken_before: usize,
}

type Decide = dyn Fn(&str, Duration) -> Answer + Send + Sync;

/// All receivers in one place.
#[derive(Clone)]
pub(crate) struct Simulated {
    begun: Instant,
    decide: Arc<Decide>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    /// By host: requests under way, and requests taken.
    hosts: HashMap<String, (usize, usize)>,
}

impl std::fmt::Debug for Simulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Simulated")
    }
}

impl Simulated {
    /// `decide` says how a host answers a request that comes so long after the beginning, which is now.
    pub(crate) fn new(decide: impl Fn(&str, Duration) -> Answer + Send + Sync + 'static) -> Self {
        Self { begun: Instant::now(), decide: Arc::new(decide), state: Arc::default() }
    }

    /// The time since the beginning.
    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// All requests to this host.
    pub(crate) fn calls(&self, host: &str) -> Vec<Call> {
        self.state.lock().unwrap().calls.iter().filter(|call| call.host == host).cloned().collect()
    }

    /// All requests.
    pub(crate) fn all(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    fn begin(&self, host: &str, id: &str) -> Answer {
        let (at, mut state) = (self.now(), self.state.lock().unwrap());
        let answer = (self.decide)(host, at);
        let (under_way, taken) = state.hosts.entry(host.to_owned()).or_default();
        *under_way += 1;
        let (under_way, taken_before) = (*under_way, *taken);
        state.calls.push(Call { host: host.to_owned(), id: id.to_owned(), at, answer, under_way, taken_before });
        answer
    }

    fn end(&self, host: &str, answer: Answer) {
        let mut state = self.state.lock().unwrap();
        let (under_way, taken) = state.hosts.get_mut(host).unwrap();
        *under_way -= 1;
        *taken += usize::from(answer.is_taken());
    }
}

#[async_trait]
impl Transport for Simulated {
    async fn send(&self, request: Request<'_>) -> Result<Response, TransportError> {
        let id = request.headers.iter().find(|(name, _)| *name == "webhook-id").unwrap().1.to_owned();
        let host = host(request.address.expose());
        let answer = self.begin(host, &id);
        tokio::time::sleep(answer.after.min(request.timeout)).await;
        self.end(host, answer);
        match answer.status {
            _ if answer.after > request.timeout => Err(TransportError::new(FailureKind::Timeout, "no answer in time")),
            Some(status) => Ok(Response::new(status)),
            None => Err(TransportError::new(FailureKind::Connect, "refused")),
        }
    }
}

fn host(address: &str) -> &str {
    address.strip_prefix("http://").unwrap().split('/').next().unwrap()
}
