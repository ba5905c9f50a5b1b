use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};

use super::VerifyingKey;
use super::message::{Message, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP};
use crate::clock::{Clock as _, SystemClock};

/// How far the two clocks may differ: what the standard's own libraries take.
const TOLERANCE: Duration = Duration::from_secs(300);
/// The longest id, in bytes.
const MAX_ID: usize = 256;
/// The longest header of signatures, in bytes: about a hundred of them.
const MAX_SIGNATURES: usize = 8 * 1024;

/// Tells whether a request is genuine: the receiver's side.
///
/// Every key is tried with every signature, in constant time. What it cannot tell is whether a request comes twice: within
/// the tolerance, whoever has seen it can send it again. [`Signed::id`] tells, if the receiver remembers ids for as long.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Vec<VerifyingKey>,
    tolerance: Duration,
}

/// A genuine request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Signed<'a> {
    /// Names the message: equal on every attempt and every redelivery.
    pub id: &'a str,
    /// When this attempt was made.
    pub timestamp: DateTime<Utc>,
}

/// Why a request is not taken for genuine. Each is an answer of 401 or 400; none holds a value of a header or a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A header is not there.
    #[error("the header {0} is missing; the sender does not sign")]
    Missing(&'static str),
    /// A header is longer than any sender makes it.
    #[error("the header {0} is too long")]
    TooLong(&'static str),
    /// A header has not the form that the standard gives it.
    #[error("the header {0} is not as the standard says")]
    Malformed(&'static str),
    /// The request was signed too long ago: it was held up, sent again by somebody, or the clocks differ.
    #[error("the signature is {} seconds older than allowed; compare the clocks", .0.as_secs())]
    TooOld(Duration),
    /// The request was signed in the future: the clocks differ.
    #[error("the signature is {} seconds further in the future than allowed; compare the clocks", .0.as_secs())]
    TooNew(Duration),
    /// No signature is one of a known key, over this id, this time and this body.
    #[error("no signature is right; compare the keys, and verify the bytes of the body as they came")]
    Wrong,
}

impl Verifier {
    /// A verifier that takes what any of these keys has signed in the last five minutes. Without keys it takes nothing.
    pub fn new(keys: impl IntoIterator<Item = VerifyingKey>) -> Self {
        Self { keys: keys.into_iter().collect(), tolerance: TOLERANCE }
    }

    /// Sets how far the clocks may differ, both ways, instead of five minutes.
    #[must_use]
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Verifies a request that came just now. `header` gives the value of a header by its name in lower case; `body` is
    /// the bytes as they came, before any parsing.
    ///
    /// # Errors
    ///
    /// Why the request is not taken for genuine.
    pub fn verify<'a>(
        &self,
        header: impl Fn(&'static str) -> Option<&'a [u8]>,
        body: &[u8],
    ) -> Result<Signed<'a>, VerifyError> {
        self.verify_at(SystemClock.now(), header, body)
    }

    /// Verifies a request that came at that time.
    ///
    /// # Errors
    ///
    /// Why the request was not to be taken for genuine.
    pub fn verify_at<'a>(
        &self,
        now: DateTime<Utc>,
        header: impl Fn(&'static str) -> Option<&'a [u8]>,
        body: &[u8],
    ) -> Result<Signed<'a>, VerifyError> {
        let id = read_id(one(&header, WEBHOOK_ID, MAX_ID)?)?;
        let timestamp = read_timestamp(one(&header, WEBHOOK_TIMESTAMP, 20)?)?;
        let signatures = one(&header, WEBHOOK_SIGNATURE, MAX_SIGNATURES)?;
        self.check_time(now, timestamp)?;
        let message = Message { id, timestamp: timestamp.timestamp(), body };
        let mut read = 0;
        let mut right = false;
        for (version, signature) in signatures.split(' ').filter_map(read_signature) {
            read += 1;
            for key in &self.keys {
                // No early end: how long it takes shall not tell which one was right.
                right |= key.verifies(&message, version, &signature);
            }
        }
        match (read, right) {
            (0, _) => Err(VerifyError::Malformed(WEBHOOK_SIGNATURE)),
            (_, false) => Err(VerifyError::Wrong),
            (_, true) => Ok(Signed { id, timestamp }),
        }
    }

    fn check_time(&self, now: DateTime<Utc>, timestamp: DateTime<Utc>) -> Result<(), VerifyError> {
        // In whole seconds, as the header has them.
        let age = now.timestamp().saturating_sub(timestamp.timestamp());
        let beyond = Duration::from_secs(age.unsigned_abs()).saturating_sub(self.tolerance);
        match age {
            _ if beyond.is_zero() => Ok(()),
            0.. => Err(VerifyError::TooOld(beyond)),
            _ => Err(VerifyError::TooNew(beyond)),
        }
    }
}

fn one<'a>(
    header: &impl Fn(&'static str) -> Option<&'a [u8]>,
    name: &'static str,
    longest: usize,
) -> Result<&'a str, VerifyError> {
    let value = header(name).ok_or(VerifyError::Missing(name))?;
    if value.len() > longest {
        return Err(VerifyError::TooLong(name));
    }
    str::from_utf8(value).map_err(|_| VerifyError::Malformed(name))
}

/// A dot within it would make it unclear where the id ends, and so what was signed.
fn read_id(text: &str) -> Result<&str, VerifyError> {
    let good = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'.');
    if good { Ok(text) } else { Err(VerifyError::Malformed(WEBHOOK_ID)) }
}

/// Only as senders write it, because it is signed as it stands.
fn read_timestamp(text: &str) -> Result<DateTime<Utc>, VerifyError> {
    let seconds = text.parse::<i64>().ok().filter(|seconds| *seconds >= 0 && seconds.to_string() == text);
    let time = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.ok_or(VerifyError::Malformed(WEBHOOK_TIMESTAMP))
}

/// Its version and its bytes. Versions that nobody knows yet are no fault.
fn read_signature(text: &str) -> Option<(&str, Vec<u8>)> {
    let (version, signature) = text.split_once(',')?;
    Some((version, STANDARD.decode(signature).ok()?))
}
