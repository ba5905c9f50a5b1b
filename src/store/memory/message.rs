use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bytes::Bytes;
use uuid::Uuid;

use crate::event::EventType;
use crate::store::Body;

/// An event as one format wrote it: what the deliveries that send it have in common.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) event_id: Uuid,
    body_id: Uuid,
    kind: Arc<Kind>,
    bytes: Bytes,
    /// Its deliveries that wait, and those that are history. Only the store's one lock is ever held when they change, so no
    /// order is asked of them; they are atomic because the message is shared.
    waiting: AtomicU32,
    ended: AtomicU32,
}

/// What all events of a type as one format writes them share.
#[derive(Debug, PartialEq)]
struct Kind {
    event_type: EventType,
    /// The format's name and its content type; none if the format failed.
    written: Option<(Arc<str>, Arc<str>)>,
}

/// For whom a message's bytes are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum KeptFor {
    Nobody,
    /// A delivery that waits (and perhaps history as well).
    Waiting,
    History,
}

impl Message {
    pub(super) fn event_type(&self) -> EventType {
        self.kind.event_type
    }

    pub(super) fn has_body(&self, id: Uuid) -> bool {
        self.is_sendable() && self.body_id == id
    }

    pub(super) fn is_sendable(&self) -> bool {
        self.kind.written.is_some()
    }

    pub(super) fn body(&self) -> Option<Body> {
        let (format, content_type) = self.kind.written.clone()?;
        Some(Body { id: self.body_id, format, content_type, bytes: self.bytes.clone() })
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn kept_for(&self) -> KeptFor {
        match (self.waiting.load(Relaxed), self.ended.load(Relaxed)) {
            (0, 0) => KeptFor::Nobody,
            (0, _) => KeptFor::History,
            _ => KeptFor::Waiting,
        }
    }

    pub(super) fn count(&self, waits: bool, more: bool) {
        let count = if waits { &self.waiting } else { &self.ended };
        if more {
            count.fetch_add(1, Relaxed)
        } else {
            count.fetch_sub(1, Relaxed)
        };
    }
}

/// Makes messages that share their kinds. One that nothing is of any more is forgotten when another comes.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    known: Vec<Arc<Kind>>,
}

impl Kinds {
    /// An event's body, or what a failed format leaves.
    pub(super) fn message(&mut self, event_id: Uuid, event_type: EventType, body: Option<Body>) -> Arc<Message> {
        let (body_id, bytes, written) = match body {
            Some(body) => (body.id, body.bytes, Some((body.format, body.content_type))),
            None => (Uuid::nil(), Bytes::new(), None),
        };
        let kind = self.kind(Kind { event_type, written });
        let (waiting, ended) = (AtomicU32::new(0), AtomicU32::new(0));
        Arc::new(Message { event_id, body_id, kind, bytes, waiting, ended })
    }

    fn kind(&mut self, kind: Kind) -> Arc<Kind> {
        if let Some(known) = self.known.iter().find(|known| ***known == kind) {
            return Arc::clone(known);
        }
        self.known.retain(|kind| Arc::strong_count(kind) > 1);
        let kind = Arc::new(kind);
        self.known.push(Arc::clone(&kind));
        kind
    }
}
