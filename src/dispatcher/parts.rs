use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::id::PolicyId;
use crate::policy::PolicyTarget;
use crate::store::{Body, FanOut, LaneLimits, NewDelivery};

/// Deliveries of one event that are written at once, and bytes of their bodies.
const DELIVERIES: usize = 1000;
const BYTES: usize = 4 * 1024 * 1024;
/// Bytes of bodies that are rendered and not written, of all events of a round.
const LOAD: usize = 32 * 1024 * 1024;

/// The bytes of bodies that are rendered and not written.
#[derive(Debug, Default)]
pub(super) struct Load(AtomicUsize);

/// The next part of an event's deliveries. However many bodies an event has, few of them are in memory.
#[derive(Debug)]
pub(super) struct Part<'a> {
    next: FanOut,
    bytes: usize,
    load: &'a Load,
}

impl<'a> Part<'a> {
    pub(super) fn new(load: &'a Load) -> Self {
        Self { next: FanOut::default(), bytes: 0, load }
    }

    /// Whether one more delivery with this body belongs to it; if not, it is to be written. It takes one at least.
    pub(super) fn takes(&self, body: &Result<Body, String>) -> bool {
        let fresh = body.as_ref().ok().filter(|body| !self.has(body)).map_or(0, |body| body.bytes.len());
        let fits = self.bytes + fresh <= BYTES && self.load.0.load(Relaxed) + fresh <= LOAD;
        self.next.deliveries.is_empty() || self.next.deliveries.len() < DELIVERIES && (fresh == 0 || fits)
    }

    fn has(&self, body: &Body) -> bool {
        self.next.bodies.iter().rev().any(|known| known.id == body.id)
    }

    pub(super) fn add(
        &mut self,
        policy: PolicyId,
        target: &PolicyTarget,
        body: Result<Body, String>,
        lane: LaneLimits,
        parked: bool,
    ) {
        let id = body.as_ref().map(|body| body.id).map_err(Clone::clone);
        let mut new = NewDelivery::new(policy, target, id, lane);
        new.parked = parked;
        self.next.deliveries.push(new);
        if let Ok(body) = body
            && !self.has(&body)
        {
            self.bytes += body.bytes.len();
            self.load.0.fetch_add(body.bytes.len(), Relaxed);
            self.next.bodies.push(body);
        }
    }

    /// What is to be written. Its bodies are in memory until that is done.
    pub(super) fn take(&mut self) -> FanOut {
        std::mem::take(&mut self.next)
    }

    /// What is to be written and takes the event out of the outbox.
    pub(super) fn take_last(&mut self) -> FanOut {
        self.next.last = true;
        self.take()
    }

    /// What was taken is written.
    pub(super) fn written(&mut self) {
        self.load.0.fetch_sub(std::mem::take(&mut self.bytes), Relaxed);
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.written();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::id::TargetId;
    use crate::policy::Target;

    const MIB: usize = 1024 * 1024;

    fn add(part: &mut Part<'_>, body: &Result<Body, String>) -> bool {
        let takes = part.takes(body);
        if takes {
            let target = PolicyTarget::new(TargetId(1), Target::http("http://receiver.example.com/").unwrap());
            part.add(PolicyId(1), &target, body.clone(), LaneLimits::new(10, 1), false);
        }
        takes
    }

    fn body(bytes: usize) -> Result<Body, String> {
        Ok(Body::new(Uuid::new_v4(), "Default", "application/json", Bytes::from(vec![b' '; bytes])))
    }

    #[test]
    fn a_part_is_full_after_so_many_bytes_or_deliveries() {
        let load = Load::default();
        let mut part = Part::new(&load);
        assert_eq!((0..9).take_while(|_| add(&mut part, &body(MIB))).count(), 4);
        let shared = part.next.bodies[3].clone();
        assert_eq!((0..2000).take_while(|_| add(&mut part, &Ok(shared.clone()))).count(), DELIVERIES - 4);
        assert_eq!((part.take_last().last, part.take().last), (true, false));
        part.written();
        assert!(add(&mut part, &body(9 * MIB)), "one is always taken");
        assert!(!add(&mut part, &body(1)));
        assert!(add(&mut part, &Err("no format".to_owned())));
    }

    #[test]
    fn all_parts_together_hold_so_many_bytes() {
        let load = Load::default();
        let mut parts: Vec<_> = (0..40).map(|_| Part::new(&load)).collect();
        for part in &mut parts {
            while add(part, &body(MIB)) {}
        }
        let bodies = parts.iter().map(|part| part.next.bodies.len());
        // Each has one, so that it gets on.
        assert_eq!(bodies.collect::<Vec<_>>(), [[4; 8].as_slice(), &[1; 32]].concat());
        drop(parts);
        assert_eq!(load.0.load(Relaxed), 0);
    }
}
