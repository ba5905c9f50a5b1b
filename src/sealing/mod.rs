//! Secrets sealed, so that a store never has them in clear.
//!
//! [`store::Sealed`](crate::store::Sealed) puts a [`SecretSealer`] before any store. The feature `sealing` brings
//! [`SealingKeys`], on XChaCha20-Poly1305; a host with a vault of its own implements the trait.

#[cfg(feature = "sealing")]
mod keys;

use std::fmt;

#[cfg(feature = "sealing")]
pub use keys::{SealingKey, SealingKeys};

use crate::error::Result;

/// Seals secrets and opens them.
///
/// Both are called between two deliveries, so they neither wait nor ask another machine: a host that keeps its keys in a
/// vault fetches them at the start.
pub trait SecretSealer: fmt::Debug + Send + Sync + 'static {
    /// Seals a secret with the newest key. The answer is text without line breaks; it names the key, as others come after it.
    ///
    /// `context` says what the secret is and whose. It is not secret and not kept, but bound to the sealed text, so that one
    /// that was moved to another place does not open there.
    ///
    /// # Errors
    ///
    /// The sealer's.
    fn seal(&self, secret: &str, context: &str) -> Result<String>;

    /// Opens what [`seal`](Self::seal) has made, with the same context.
    ///
    /// # Errors
    ///
    /// [`Store`](crate::ErrorKind::Store) if the key is not there, which the message names, or if the text was changed or moved.
    fn open(&self, sealed: &str, context: &str) -> Result<String>;

    /// Whether a sealed text is sealed with the newest key. Others are sealed anew when
    /// [`reseal`](crate::store::Sealed::reseal) is called.
    fn is_newest(&self, sealed: &str) -> bool;
}
