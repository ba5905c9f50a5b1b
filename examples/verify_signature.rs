//! A receiver that takes signed webhooks only.
//!
//! ```text
//! WEBHOOK_SECRETS="whsec_… whsec_…" cargo run --example verify_signature --features signing -- 127.0.0.1:3000
//! ```
//!
//! The secrets are those of the sender; while they change, both the new and the old one. Requests that nobody signed get 401
//! and the reason. Requests that come again, as an answer can get lost, get 204 and are not worked on twice.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::routing::post;
use harbor_webhook::signing::{Verifier, VerifyingKey};
use tokio::net::TcpListener;

/// How many ids are remembered.
const REMEMBERED: usize = 10_000;

struct Receiver {
    verifier: Verifier,
    seen: Mutex<VecDeque<String>>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let secrets =
        std::env::var("WEBHOOK_SECRETS").map_err(|_| "set WEBHOOK_SECRETS to the sender's whsec_… secrets")?;
    let keys = secrets.split_whitespace().map(str::parse).collect::<Result<Vec<VerifyingKey>, _>>()?;
    let receiver = Arc::new(Receiver { verifier: Verifier::new(keys), seen: Mutex::default() });
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, Router::new().route("/", post(receive)).with_state(receiver)).await?;
    Ok(())
}

/// The body is taken as bytes: what was signed is the bytes, and JSON that was read and written again has others.
async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let header = |name| headers.get(name).map(HeaderValue::as_bytes);
    match receiver.verifier.verify(header, &body) {
        Err(reason) => (StatusCode::UNAUTHORIZED, reason.to_string()),
        Ok(signed) => {
            if receiver.is_new(signed.id) {
                println!("{}: {}", signed.id, String::from_utf8_lossy(&body));
            }
            (StatusCode::NO_CONTENT, String::new())
        }
    }
}

impl Receiver {
    fn is_new(&self, id: &str) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.iter().any(|known| known == id) {
            return false;
        }
        seen.push_back(id.to_owned());
        if seen.len() > REMEMBERED {
            seen.pop_front();
        }
        true
    }
}
