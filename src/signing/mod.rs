//! Signed requests, by the standard of [Standard Webhooks] 1.0, both sides. (Feature `signing`.)
//!
//! A request carries `webhook-id`, `webhook-timestamp` (the time of this attempt, in seconds since 1970) and
//! `webhook-signature`: one signature for each key, with a space between two. What is signed is the id, the timestamp and the
//! body, with a dot between two of them. The signatures stand beside the `Authorization` header, never in its place.
//!
//! # Sending
//!
//! A target has keys of its own, [`Target::signing_keys`](crate::policy::Target::signing_keys), or all have those of
//! [`Builder::signing_keys`](crate::Builder::signing_keys), or both.
//!
//! ```
//! use harbor_webhook::policy::Target;
//! use harbor_webhook::signing::SigningKey;
//!
//! let key = SigningKey::generate()?; // tell the receiver: key.expose()
//! let ci = Target::http("https://ci.example.com/hook")?.signing_keys(key);
//! # Ok::<(), harbor_webhook::Error>(())
//! ```
//!
//! # Receiving
//!
//! ```
//! use harbor_webhook::signing::{SigningKey, Verifier};
//!
//! # let (key, body) = (SigningKey::generate()?, br#"{"type":"PUSH_ARTIFACT"}"#);
//! # let headers = key.headers("6d878914-d158-532c-89c6-18310966294a", chrono::Utc::now(), body);
//! # let header = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_bytes());
//! let verifier = Verifier::new([key.verifying_key()]);
//! match verifier.verify(header, body) {
//!     Ok(signed) => println!("{} is new unless it was seen before", signed.id),
//!     Err(reason) => println!("answer 401: {reason}"),
//! }
//! # assert!(verifier.verify(header, body).is_ok());
//! # Ok::<(), harbor_webhook::Error>(())
//! ```
//!
//! # Changing keys
//!
//! [`SigningKeys::rotate`] puts a new key in front; the old ones sign for the grace yet. While both sign, the receiver
//! changes over: each of its keys is tried with each signature.
//!
//! [Standard Webhooks]: https://www.standardwebhooks.com

#[cfg(feature = "signing-ed25519")]
mod ed25519;
mod key;
mod keys;
mod message;
mod text;
mod verify;

pub use key::{SigningKey, VerifyingKey};
pub use keys::SigningKeys;
pub(crate) use keys::signatures;
pub use message::{WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP};
pub use verify::{Signed, Verifier, VerifyError};
