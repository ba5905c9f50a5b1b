//! Keys as text: base64 behind a prefix.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// What stands behind the prefix.
pub(super) fn decoded(text: &str, prefix: &str) -> Result<Zeroizing<Vec<u8>>> {
    let encoded = text.strip_prefix(prefix).ok_or_else(|| wrong(format_args!("must start with {prefix}")))?;
    let bytes = STANDARD.decode(encoded).map(Zeroizing::new);
    bytes.map_err(|_| wrong(format_args!("what follows {prefix} is not base64 with its padding")))
}

pub(super) fn encoded(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(bytes))
}

/// The key itself is never in the message.
pub(super) fn wrong(problem: impl fmt::Display) -> Error {
    Error::invalid("signing key", problem)
}
