use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use harbor_webhook::delivery::FailureKind;
use harbor_webhook::transport::{Request, Response, Transport, TransportError};

use super::random::Random;

/// All receivers in one place: they answer late, refuse, break off, or take.
#[derive(Clone, Debug)]
pub(crate) struct Receivers {
    random: Arc<Random>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// By address and webhook-id: the bytes, and how often they were taken.
    seen: HashMap<(String, String), (Bytes, usize)>,
    /// Requests under way, by address.
    under_way: HashMap<String, usize>,
    /// The most requests that were under way at one address.
    most: usize,
}

impl Receivers {
    pub(crate) fn new(random: Arc<Random>) -> Self {
        Self { random, state: Arc::default() }
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.state.lock().unwrap().most
    }

    /// How often an address took what has this id.
    pub(crate) fn taken(&self, address: &str, id: &str) -> usize {
        let key = (address.to_owned(), id.to_owned());
        self.state.lock().unwrap().seen.get(&key).map_or(0, |(_, taken)| *taken)
    }

    fn arrive(&self, address: &str, id: &str, body: &Bytes) -> UnderWay {
        let mut state = self.state.lock().unwrap();
        let (known, _) = state.seen.entry((address.to_owned(), id.to_owned())).or_insert_with(|| (body.clone(), 0));
        assert_eq!(known, body, "an attempt has other bytes than the one before");
        let now = state.under_way.entry(address.to_owned()).or_default();
        *now += 1;
        let now = *now;
        state.most = state.most.max(now);
        UnderWay { receivers: self.clone(), address: address.to_owned() }
    }
}

/// A request that has not ended; also a crash of the sender ends it.
struct UnderWay {
    receivers: Receivers,
    address: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        *self.receivers.state.lock().unwrap().under_way.get_mut(&self.address).unwrap() -= 1;
    }
}

#[async_trait]
impl Transport for Receivers {
    async fn send(&self, request: Request<'_>) -> Result<Response, TransportError> {
        let id = request.headers.iter().find(|(name, _)| *name == "webhook-id").unwrap().1.to_owned();
        let address = request.address.expose().to_owned();
        let _under_way = self.arrive(&address, &id, &request.body);
        tokio::time::sleep(self.random.up_to(Duration::from_secs(2))).await;
        match self.random.below(10) {
            0 => Err(TransportError::new(FailureKind::Reset, "broken off")),
            1 => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                Ok(Response::new(200))
            }
            2 | 3 => Ok(Response::new(503)),
            4 => {
                let mut busy = Response::new(429);
                busy.retry_after = Some(self.random.below(20).to_string());
                Ok(busy)
            }
            taken => {
                let key = (address, id);
                self.state.lock().unwrap().seen.get_mut(&key).unwrap().1 += 1;
                // Taken, and the answer is lost.
                if taken == 5 {
                    Err(TransportError::new(FailureKind::Reset, "broken off"))
                } else {
                    Ok(Response::new(204))
                }
            }
        }
    }
}
