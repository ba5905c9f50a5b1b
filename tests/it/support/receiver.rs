use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;

/// A request as the receiver saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, Vec<u8>>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }
}

/// A real HTTP server on loopback that answers as it is told.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    state: Arc<Shared>,
}

type Answer = Box<dyn Fn(usize) -> (u16, Vec<(&'static str, &'static str)>) + Send + Sync>;

struct Shared {
    seen: Mutex<Vec<Seen>>,
    answer: Answer,
    delay: Duration,
    /// Requests that wait for their answer, and how many there were at most.
    under_way: Mutex<(usize, usize)>,
}

impl Receiver {
    /// Answers the n-th request, from 0, with this status.
    pub(crate) async fn start(status: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Self {
        Self::with_headers(move |n| (status(n), Vec::new())).await
    }

    /// Takes this long for each answer, of which it gives any number at once.
    pub(crate) async fn slow(delay: Duration) -> Self {
        Self::serve(delay, Box::new(|_| (200, Vec::new()))).await
    }

    pub(crate) async fn with_headers(
        answer: impl Fn(usize) -> (u16, Vec<(&'static str, &'static str)>) + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Duration::ZERO, Box::new(answer)).await
    }

    async fn serve(delay: Duration, answer: Answer) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Shared { seen: Mutex::default(), answer, delay, under_way: Mutex::default() });
        let router = Router::new().fallback(handle).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, state }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// The largest number of requests that waited for their answers at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.state.under_way.lock().unwrap().1
    }

    /// Those that came after the first so many.
    pub(crate) fn seen_after(&self, count: usize) -> Vec<Seen> {
        self.state.seen.lock().unwrap()[count..].to_vec()
    }

    /// Waits until so many requests have come.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Seen> {
        let wait = async {
            loop {
                let seen = self.seen();
                if seen.len() >= count {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let late = || panic!("waited for {count} requests, {} came", self.seen().len());
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| late())
    }
}

async fn handle(State(state): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    let (status, extra) = {
        let mut seen = state.seen.lock().unwrap();
        let answer = (state.answer)(seen.len());
        seen.push(Seen { path: uri.to_string(), headers, body: body.to_vec() });
        answer
    };
    {
        let mut under_way = state.under_way.lock().unwrap();
        under_way.0 += 1;
        under_way.1 = under_way.1.max(under_way.0);
    }
    tokio::time::sleep(state.delay).await;
    state.under_way.lock().unwrap().0 -= 1;
    (StatusCode::from_u16(status).unwrap(), extra.into_iter().collect::<HashMap<_, _>>().into_headers(), "told so")
}

trait IntoHeaders {
    fn into_headers(self) -> HeaderMap;
}

impl IntoHeaders for HashMap<&'static str, &'static str> {
    fn into_headers(self) -> HeaderMap {
        self.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }
}
