use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// One request that was made, or was refused before it left.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Attempt {
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// How long it took.
    pub duration: Duration,
    /// What came of it.
    pub outcome: Outcome,
    /// The address that the connection went to, if one was made.
    pub remote_addr: Option<SocketAddr>,
}

impl Attempt {
    /// An attempt that started then and took so long.
    pub fn new(started_at: DateTime<Utc>, duration: Duration, outcome: Outcome) -> Self {
        Self { started_at, duration, outcome, remote_addr: None }
    }

    /// Sets the address that the connection went to.
    #[must_use]
    pub fn remote_addr(mut self, addr: Option<SocketAddr>) -> Self {
        self.remote_addr = addr;
        self
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The receiver answered.
    Answered {
        /// The HTTP status code.
        status: u16,
        /// The beginning of the answer's body as text, kept for answers other than 2xx only.
        body: String,
        /// Whether the body was longer than what is kept.
        truncated: bool,
    },
    /// There was no answer.
    Failed {
        /// The class of the failure.
        kind: FailureKind,
        /// What happened, without addresses and secrets.
        message: String,
    },
}

impl Outcome {
    /// Whether the receiver took the delivery: any 2xx status.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Answered { status: 200..=299, .. })
    }

    /// The outcome's class, of few: `2xx` and its like for an answer, [`FailureKind::as_str`] for none.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Answered { status, .. } => match *status / 100 {
                1 => "1xx",
                2 => "2xx",
                3 => "3xx",
                4 => "4xx",
                5 => "5xx",
                _ => "not_http",
            },
            Self::Failed { kind, .. } => kind.as_str(),
        }
    }
}

/// The classes of failure without an answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum FailureKind {
    /// The destination policy forbids the address. Nothing was sent; never retried.
    Blocked,
    /// The name could not be resolved.
    Dns,
    /// No connection came about (refused, unreachable).
    Connect,
    /// TLS failed: certificate, name or protocol.
    Tls,
    /// Time ran out, at whatever stage; the receiver may have seen the request.
    Timeout,
    /// The connection broke before the answer was complete; the receiver may have seen the request.
    Reset,
    /// What came back was not HTTP.
    Protocol,
    /// The head of the answer was larger than is read; the receiver has seen the request. (A long body is cut, and no failure.)
    TooLarge,
    /// The transport panicked.
    Panic,
    /// Anything else.
    Other,
}

impl FailureKind {
    /// All classes.
    pub const ALL: [Self; 10] = [
        Self::Blocked,
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Reset,
        Self::Protocol,
        Self::TooLarge,
        Self::Panic,
        Self::Other,
    ];

    /// The class's stable name, as stores keep it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::Panic => "panic",
            Self::Other => "other",
        }
    }

    /// The class of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}
