use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::message::Message;
use super::moment::Moment;
use super::seen::Seen;
use crate::error::Result;
use crate::event::Event;
use crate::id::{ProjectId, TargetId};
use crate::store::{Appended, ClaimedEvent, Lease, SetAside, Usage};

/// Events that were set aside and are still listed.
const SET_ASIDE: usize = 100;

/// An event, and about how many bytes it takes.
#[derive(Debug)]
pub(super) struct Weighed {
    pub(super) event: Event,
    pub(super) bytes: usize,
}

impl Weighed {
    /// What the tables and the event's own fields take. Its texts and lists are taken to be as long as its JSON.
    const EMPTY: usize = size_of::<Outboxed>() + 128;

    pub(super) fn new(event: &Event) -> Result<Self> {
        Ok(Self { bytes: Self::EMPTY + event.json_len()?, event: event.clone() })
    }
}

/// The events that are not fanned out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    events: BTreeMap<i64, Box<Outboxed>>,
    /// Those that nobody has claimed.
    unclaimed: BTreeSet<i64>,
    leases: BTreeSet<(Moment, i64)>,
    pub(super) seen: Seen,
    set_aside: VecDeque<SetAside>,
    bytes: usize,
    claimed_bytes: usize,
    last_seq: i64,
    last_token: i64,
}

#[derive(Debug)]
pub(super) struct Outboxed {
    pub(super) event: Event,
    bytes: usize,
    since: Moment,
    lease: Option<(i64, Moment)>,
    /// What the parts so far have brought.
    pub(super) reached: HashSet<TargetId>,
    pub(super) messages: Vec<Arc<Message>>,
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Of the events that are being fanned out: about what their bodies are going to take.
    pub(super) fn claimed_bytes(&self) -> usize {
        self.claimed_bytes
    }

    /// What is not fanned out of each project.
    pub(super) fn usage(&self) -> Vec<Usage> {
        let mut projects: HashMap<ProjectId, (u64, u64)> = HashMap::new();
        for row in self.events.values() {
            let (events, bytes) = projects.entry(row.event.project_id).or_default();
            (*events, *bytes) = (*events + 1, *bytes + row.bytes as u64);
        }
        projects.into_iter().map(|(id, (events, bytes))| Usage::new(id, 0, 0).events(events, bytes)).collect()
    }

    pub(super) fn append(&mut self, new: Weighed, now: Moment) -> Appended {
        let Weighed { event, bytes } = new;
        if self.seen.knows(&event.id) {
            return Appended::Duplicate;
        }
        self.seen.open(event.id);
        self.last_seq += 1;
        self.bytes += bytes;
        self.unclaimed.insert(self.last_seq);
        let (reached, messages) = (HashSet::new(), Vec::new());
        let row = Outboxed { event, bytes, since: now, lease: None, reached, messages };
        self.events.insert(self.last_seq, Box::new(row));
        Appended::Inserted
    }

    /// Leases the oldest event that nobody has.
    pub(super) fn claim(&mut self, lease: Duration, now: Moment) -> Option<ClaimedEvent> {
        let seq = self.unclaimed.pop_first()?;
        let row = self.events.get_mut(&seq)?;
        self.last_token += 1;
        let until = now.after(lease);
        row.lease = Some((self.last_token, until));
        self.leases.insert((until, seq));
        self.claimed_bytes += row.bytes;
        Some(ClaimedEvent::new(Lease::new(seq, self.last_token), Ok(row.event.clone())))
    }

    /// Frees the events whose leases have run out.
    pub(super) fn advance(&mut self, now: Moment) {
        while let Some((until, seq)) = self.leases.first().copied().filter(|(until, _)| *until <= now) {
            self.leases.remove(&(until, seq));
            if let Some(row) = self.events.get_mut(&seq) {
                row.lease = None;
                self.claimed_bytes -= row.bytes;
                self.unclaimed.insert(seq);
            }
        }
    }

    /// Takes a leased event out, to be put back or to be done with.
    pub(super) fn take(&mut self, lease: &Lease) -> Option<Box<Outboxed>> {
        let held = self.events.get(&lease.key)?.lease;
        held.filter(|(token, _)| *token == lease.token)?;
        self.events.remove(&lease.key)
    }

    pub(super) fn put_back(&mut self, key: i64, row: Box<Outboxed>) {
        self.events.insert(key, row);
    }

    /// The event that was taken out is fanned out.
    pub(super) fn done(&mut self, key: i64, row: &Outboxed, now: Moment) {
        if let Some((_, until)) = row.lease {
            self.leases.remove(&(until, key));
        }
        self.bytes -= row.bytes;
        self.claimed_bytes -= row.bytes;
        self.seen.done(row.event.id, now);
    }

    pub(super) fn set_aside(&mut self, row: SetAside) {
        self.set_aside.truncate(SET_ASIDE - 1);
        self.set_aside.push_front(row);
    }

    pub(super) fn listed(&self) -> Vec<SetAside> {
        self.set_aside.iter().cloned().collect()
    }

    pub(super) fn has_unclaimed(&self) -> bool {
        !self.unclaimed.is_empty()
    }

    pub(super) fn next_lease(&self) -> Option<Moment> {
        self.leases.first().map(|(until, _)| *until)
    }

    pub(super) fn oldest(&self) -> Option<Moment> {
        self.events.values().next().map(|row| row.since)
    }
}
