use ed25519_dalek::{Signature, Signer as _};
use zeroize::Zeroizing;

use super::message::Message;
use super::text::{decoded, encoded, wrong};
use crate::error::Result;

/// Starts a private key.
pub(super) const PRIVATE: &str = "whsk_";
/// Starts a public key.
pub(super) const PUBLIC: &str = "whpk_";

/// The sender's half.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Private(ed25519_dalek::SigningKey);

/// The receiver's half.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) struct Public(ed25519_dalek::VerifyingKey);

impl Private {
    /// Reads the 32 bytes of the key. Some senders write its public half behind it: then the two must belong together.
    pub(super) fn read(text: &str) -> Result<Self> {
        let bytes = decoded(text, PRIVATE)?;
        if let Some(pair) = bytes.first_chunk::<64>().filter(|_| bytes.len() == 64) {
            let pair = ed25519_dalek::SigningKey::from_keypair_bytes(pair);
            return pair.map(Self).map_err(|_| wrong("its second half is not the public key of the first"));
        }
        let seed: Zeroizing<[u8; 32]> = exactly(&bytes)?;
        Ok(Self(ed25519_dalek::SigningKey::from_bytes(&seed)))
    }

    pub(super) fn public(&self) -> Public {
        Public(self.0.verifying_key())
    }

    pub(super) fn sign(&self, message: &Message<'_>) -> [u8; 64] {
        self.0.sign(&message.bytes()).to_bytes()
    }
}

impl Public {
    pub(super) fn read(text: &str) -> Result<Self> {
        let bytes = exactly(&decoded(text, PUBLIC)?)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak());
        key.map(Self).ok_or_else(|| wrong("is not a public key of Ed25519"))
    }

    pub(super) fn to_text(self) -> String {
        format!("{PUBLIC}{}", &*encoded(self.0.as_bytes()))
    }

    pub(super) fn verifies(&self, message: &Message<'_>, signature: &[u8]) -> bool {
        let signature = Signature::from_slice(signature);
        signature.is_ok_and(|signature| self.0.verify_strict(&message.bytes(), &signature).is_ok())
    }
}

fn exactly(bytes: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    let exact = bytes.try_into().map(Zeroizing::new);
    exact.map_err(|_| wrong(format_args!("is {} bytes long; Ed25519 wants 32", bytes.len())))
}
