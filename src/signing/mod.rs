//! Signed requests, by the standard of [Standard Webhooks] 1.0. (Feature `signing`.)
//!
//! [Standard Webhooks]: https://www.standardwebhooks.com

mod key;
mod keys;

pub use key::SigningKey;
pub use keys::SigningKeys;
