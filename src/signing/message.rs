use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The header that names the message: equal on every attempt.
pub const WEBHOOK_ID: &str = "webhook-id";
/// The header with the time of the attempt, in seconds since 1970.
pub const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
/// The header with the signatures.
pub const WEBHOOK_SIGNATURE: &str = "webhook-signature";

/// What is signed: its parts, with a dot between two of them.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) id: &'a str,
    pub(super) timestamp: i64,
    pub(super) body: &'a [u8],
}

impl Message<'_> {
    /// What comes before the body.
    pub(super) fn head(&self) -> String {
        format!("{}.{}.", self.id, self.timestamp)
    }

    #[cfg(feature = "signing-ed25519")]
    pub(super) fn bytes(&self) -> Vec<u8> {
        [self.head().as_bytes(), self.body].concat()
    }
}

/// `v1,` and its like, and the signature in base64.
pub(super) fn written(version: &str, signature: &[u8]) -> String {
    let mut out = String::with_capacity(version.len() + 1 + signature.len().div_ceil(3) * 4);
    out.push_str(version);
    out.push(',');
    STANDARD.encode_string(signature, &mut out);
    out
}
