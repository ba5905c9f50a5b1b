use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::secret::Secret;

/// Starts a secret that sender and receiver share.
const SYMMETRIC: &str = "whsec_";
/// How long such a secret is, in bytes: by the standard, from 24 to 64.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// A key that signs requests: `whsec_` and 24 to 64 bytes in base64, for HMAC-SHA256.
///
/// `Debug` shows its kind only, and its memory is wiped on drop.
#[derive(Clone, Eq, PartialEq)]
pub struct SigningKey {
    text: Secret,
    bytes: Zeroizing<Vec<u8>>,
}

impl SigningKey {
    /// The key as text, for the one place that stores it, and for the receiver.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }
}

impl FromStr for SigningKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some(encoded) = text.strip_prefix(SYMMETRIC) else {
            return Err(wrong("must start with whsec_"));
        };
        let bytes = STANDARD.decode(encoded).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| wrong("what follows whsec_ is not base64 with its padding"))?;
        if !LENGTHS.contains(&bytes.len()) {
            return Err(wrong(format_args!("is {} bytes long; 24 to 64 are needed", bytes.len())));
        }
        Ok(Self { text: Secret::new(text), bytes })
    }
}

/// The key itself is never in the message.
fn wrong(problem: impl fmt::Display) -> Error {
    Error::invalid("signing key", problem)
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(whsec_[redacted])")
    }
}
