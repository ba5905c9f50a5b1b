//! What a signature costs: `cargo bench --bench signing --features signing`.
//!
//! Beside it, in the same process and in turns, a bare pass of HMAC-SHA256 over the same bytes, which no signature can do
//! without. What is timed works on one thread and waits for nothing, so the time that passes is its CPU.

mod support;

use std::hint::black_box;
use std::time::Instant;

use chrono::Utc;
use harbor_webhook::signing::{SigningKey, Verifier};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use support::Result;
use support::measure::{Goal, Sides, print_goal, print_load};

const ROUNDS: usize = 15;
const TIMES: usize = 20_000;
const BODY: usize = 700;
const ID: &str = "6d878914-d158-532c-89c6-18310966294a";

fn main() -> Result<()> {
    print_load("begin");
    let key = SigningKey::generate()?;
    let (at, body) = (Utc::now(), vec![b'x'; BODY]);
    let message = [format!("{ID}.{}.", at.timestamp()).as_bytes(), &body].concat();
    let secret = [7; 32];
    let mut sides = Sides::default();
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let ours = each(|| key.headers(black_box(ID), at, black_box(&body)));
        let bare = each(|| {
            let mut mac = Hmac::<Sha256>::new_from_slice(black_box(&secret)).ok()?;
            mac.update(black_box(&message));
            Some(mac.finalize().into_bytes())
        });
        best = best.min(ours);
        sides.push(ours, bare);
    }
    sides.print("the three headers / bare HMAC-SHA256, 700 bytes", "ns each", Goal::AtMost(2.0));
    print_goal("the three headers of a signed request, 700 bytes", best / 1e3, "µs, best round", Goal::AtMost(3.0));
    verified(&key, &body)?;
    print_load("end");
    Ok(())
}

/// The receiver's side, for comparison.
fn verified(key: &SigningKey, body: &[u8]) -> Result<()> {
    let headers = key.headers(ID, Utc::now(), body);
    let header = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_bytes());
    let verifier = Verifier::new([key.verifying_key()]);
    verifier.verify(header, body)?;
    let nanos = each(|| verifier.verify(header, black_box(body)));
    print_goal("verifying it", nanos / 1e3, "µs", Goal::AtMost(6.0));
    Ok(())
}

/// Nanoseconds.
fn each<T>(mut work: impl FnMut() -> T) -> f64 {
    let begun = Instant::now();
    for _ in 0..TIMES {
        black_box(work());
    }
    begun.elapsed().as_secs_f64() * 1e9 / TIMES as f64
}
