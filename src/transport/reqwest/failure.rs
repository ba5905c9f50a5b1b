use std::error::Error as StdError;
use std::io;

use super::guard::Unresolved;
use crate::delivery::FailureKind;
use crate::transport::{Blocked, TransportError};

/// The longest message that is kept, in characters.
const MAX_MESSAGE: usize = 300;

/// Sorts what went wrong, by type and never by text, and strips the address from it.
pub(super) fn failure(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    if let Some(blocked) = find::<Blocked>(&error) {
        return refused(blocked);
    }
    let kind = if error.is_timeout() {
        FailureKind::Timeout
    } else if find::<Unresolved>(&error).is_some() {
        FailureKind::Dns
    } else if is_tls(&error) {
        FailureKind::Tls
    } else if error.is_connect() {
        FailureKind::Connect
    } else {
        broken(&error)
    };
    TransportError::new(kind, chain(&error))
}

pub(super) fn refused(blocked: &Blocked) -> TransportError {
    let kind = if blocked.is_for_now() { FailureKind::Connect } else { FailureKind::Blocked };
    TransportError::new(kind, blocked.to_string())
}

/// What rustls found wrong: in the handshake, or after it, which is where a server refuses a client's certificate. A handshake that
/// ends early has no error of rustls', but opening a connection below it does not end that way.
fn is_tls(error: &reqwest::Error) -> bool {
    #[cfg(feature = "rustls")]
    if find::<rustls::Error>(error).is_some() {
        return true;
    }
    error.is_connect() && io_kind(error) == Some(io::ErrorKind::UnexpectedEof)
}

/// A connection that was there and broke, or what came over it was not HTTP.
fn broken(error: &reqwest::Error) -> FailureKind {
    match io_kind(error) {
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => FailureKind::Protocol,
        Some(_) => FailureKind::Reset,
        None => match find::<hyper::Error>(error) {
            Some(e) if e.is_parse_too_large() => FailureKind::TooLarge,
            Some(e) if e.is_incomplete_message() || e.is_closed() || e.is_canceled() => FailureKind::Reset,
            Some(e) if e.is_parse() => FailureKind::Protocol,
            _ => FailureKind::Other,
        },
    }
}

/// The kind of the innermost I/O error: those around it are `Other`.
fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    causes(error).filter_map(|e| e.downcast_ref::<io::Error>()).last().map(io::Error::kind)
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    causes(error).find_map(|e| e.downcast_ref::<E>())
}

/// The error and what lies underneath, to the bottom.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| below(*error))
}

/// What lies directly underneath: an I/O error does not show what it wraps as its source.
fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// The error and what lies underneath, without repeating what is said already.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(source) = at {
        let more = source.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        at = source.source();
    }
    if text.chars().count() > MAX_MESSAGE { text.chars().take(MAX_MESSAGE).chain(['…']).collect() } else { text }
}
