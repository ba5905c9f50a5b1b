use std::time::Duration;

use super::outbox::{Outboxed, Weighed};
use super::row::Row;
use super::state::State;
use crate::delivery::{DeadReason, State as Stands};
use crate::error::{Error, ErrorKind, Result};
use crate::store::types::CLAIMED_BYTES;
use crate::store::{Appended, ClaimedEvent, FanOut, Fenced, Lease, NewDelivery, SetAside};

impl State {
    pub(super) fn append(&mut self, events: Vec<Weighed>) -> Result<Vec<Appended>> {
        let fresh = || events.iter().filter(|new| !self.outbox.seen.knows(&new.event.id));
        let (count, bytes) = (fresh().count(), fresh().map(|new| new.bytes).sum::<usize>());
        self.check_room(count, bytes)?;
        Ok(events.into_iter().map(|new| self.outbox.append(new, self.now)).collect())
    }

    fn check_room(&self, events: usize, bytes: usize) -> Result<()> {
        let bound = self.bounds.tenth();
        // One event always fits into an empty outbox: otherwise it could never be sent.
        let heavy = self.outbox.bytes() + bytes > bound.bytes && self.outbox.len() + events > 1;
        if events == 0 || (!heavy && self.outbox.len() + events <= bound.deliveries) {
            return Ok(());
        }
        let message = format!(
            "the outbox holds its bound of {} events or {} bytes; try again when deliveries have drained",
            bound.deliveries, bound.bytes
        );
        Err(Error::new(ErrorKind::Full, message))
    }

    pub(super) fn claim_events(&mut self, max: usize, lease: Duration) -> Vec<ClaimedEvent> {
        let (mut claimed, before) = (Vec::new(), self.outbox.claimed_bytes());
        while claimed.len() < max && self.outbox.claimed_bytes() < before + CLAIMED_BYTES && !self.is_full() {
            let Some(event) = self.outbox.claim(lease, self.now) else { break };
            claimed.push(event);
        }
        claimed
    }

    pub(super) fn fan_out(&mut self, lease: &Lease, part: FanOut) -> Result<Fenced> {
        let Some(mut row) = self.outbox.take(lease) else { return Ok(Fenced::Stale) };
        if let Err(full) = self.check_bytes(&row, &part) {
            self.outbox.put_back(lease.key, row);
            return Err(full);
        }
        for body in part.bodies {
            // The first body of an id counts: later ones are the same.
            if !row.messages.iter().any(|known| known.has_body(body.id)) {
                row.messages.push(self.kinds.message(row.event.id, row.event.event_type, Some(body)));
            }
        }
        for new in part.deliveries {
            if row.reached.insert(new.target_id) {
                self.deliver(&row, new);
            }
        }
        if !part.last {
            self.outbox.put_back(lease.key, row);
            return Ok(Fenced::Done);
        }
        self.outbox.done(lease.key, &row, self.now);
        if let Some(reason) = part.set_aside {
            self.outbox.set_aside(SetAside::new(lease.key, reason));
        }
        Ok(Fenced::Done)
    }

    /// An event counts with about one body from when it is claimed, so that one always fits. It may have one for each policy.
    fn check_bytes(&self, row: &Outboxed, part: &FanOut) -> Result<()> {
        let fresh = part.bodies.iter().filter(|body| !row.messages.iter().any(|known| known.has_body(body.id)));
        let bytes: usize = fresh.skip(usize::from(row.messages.is_empty())).map(|body| body.bytes.len()).sum();
        let taken = self.weights.waiting.saturating_add(self.outbox.claimed_bytes());
        // What nothing else waits for always fits: otherwise it could never be sent.
        if bytes == 0 || self.waiting == 0 || taken + bytes <= self.bounds.bytes {
            return Ok(());
        }
        let message = format!(
            "the deliveries that wait hold the store's bound of {} bytes; try again when they have drained",
            self.bounds.bytes
        );
        Err(Error::new(ErrorKind::Full, message))
    }

    fn deliver(&mut self, from: &Outboxed, new: NewDelivery) {
        let NewDelivery { target_id, policy_id, target_type, body, lane, parked } = new;
        let event = &from.event;
        let (message, failed) = match body {
            Ok(body) => (from.messages.iter().find(|known| known.has_body(body)).cloned(), None),
            Err(reason) => (None, Some(reason)),
        };
        let dead = message.is_none();
        let message = message.unwrap_or_else(|| self.kinds.message(event.id, event.event_type, None));
        let mut row = Row::new(message, (target_id, target_type), self.now, self.wall);
        if dead {
            row.state = Stands::Dead(DeadReason::Format);
            row.explain(failed, self.wall);
        }
        self.add(row, (policy_id, event.project_id), lane, parked);
    }
}
