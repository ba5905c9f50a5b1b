use std::error::Error as StdError;
use std::fmt;

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in this crate's own calls.
///
/// The text says what was wrong, where, and what to do about it; it never holds a secret, a header value or an
/// address with its path. [`Error::kind`] says what the caller can do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value that the caller gave breaks a rule; the message names the field. Sending it again cannot help.
    Invalid,
    /// What the caller named does not exist (any more).
    NotFound,
    /// The name is taken, or the state does not allow the change.
    Conflict,
    /// The store is at its bound; nothing was kept. Try again when deliveries have drained.
    Full,
    /// The store cannot answer now (locked, disconnected, out of disk); the same call may succeed later.
    Unavailable,
    /// The store is damaged, foreign, of an unknown version, or in use by another sender: it needs an operator.
    Store,
}

impl Error {
    /// An error of `kind`, for hosts that implement a store, a policy source or a format.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// A value that breaks a rule: `field` names it, `problem` says what is wrong and what would be right.
    pub fn invalid(field: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Invalid, format!("{field}: {problem}"))
    }

    /// Adds the error underneath, reachable through [`std::error::Error::source`].
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later without a change by the caller.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Full | ErrorKind::Unavailable)
    }
}
