//! A receiver that fails one event in twenty once, and knows when it is to come again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;

use crate::support::events;

#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) url: String,
    state: Arc<Mutex<Seen>>,
}

struct Seen {
    /// What is to come, and when it was refused.
    missing: HashMap<usize, Option<Instant>>,
    retry: Duration,
    latest: Duration,
    /// What a call of `notify` took at most: whether the machine or the store's server stood still.
    slowest: Duration,
    received: usize,
    refused: usize,
    repeated: usize,
}

impl Receiver {
    pub(super) async fn start(retry: Duration) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (missing, zero) = (HashMap::new(), Duration::ZERO);
        let seen = Seen { missing, retry, latest: zero, slowest: zero, received: 0, refused: 0, repeated: 0 };
        let state = Arc::new(Mutex::new(seen));
        let router = Router::new().fallback(receive).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, state }
    }

    pub(super) fn expect(&self, number: usize) {
        self.state.lock().unwrap().missing.insert(number, None);
    }

    pub(super) fn accepted(&self, took: Duration) {
        let mut seen = self.state.lock().unwrap();
        seen.slowest = seen.slowest.max(took);
    }

    pub(super) fn missing(&self) -> usize {
        self.state.lock().unwrap().missing.len()
    }

    /// By how much the latest retry was late.
    pub(super) fn latest(&self) -> Duration {
        self.state.lock().unwrap().latest
    }

    pub(super) fn summary(&self) -> String {
        let seen = self.state.lock().unwrap();
        let Seen { received, refused, repeated, latest, slowest, .. } = *seen;
        let lost = seen.missing.len();
        format!(
            "received {received}, refused {refused} once, repeated {repeated}, latest retry {latest:?} late, \
             slowest notify {slowest:?}, lost {lost}"
        )
    }
}

impl Seen {
    fn receive(&mut self, number: usize) -> StatusCode {
        let refuse = number.is_multiple_of(20);
        match self.missing.get_mut(&number) {
            None => self.repeated += 1,
            Some(refused @ None) if refuse => {
                *refused = Some(Instant::now());
                self.refused += 1;
                return StatusCode::INTERNAL_SERVER_ERROR;
            }
            Some(refused) => {
                let late = refused.map_or(Duration::ZERO, |at| at.elapsed().saturating_sub(self.retry));
                self.latest = self.latest.max(late);
                self.received += 1;
                self.missing.remove(&number);
            }
        }
        StatusCode::OK
    }
}

async fn receive(State(seen): State<Arc<Mutex<Seen>>>, body: Bytes) -> StatusCode {
    seen.lock().unwrap().receive(events::number(&body))
}
