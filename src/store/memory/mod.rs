//! The parts, lowest first: `moment` and `message`, `row`, `rows`; `lane`, `lanes`; `seen`, `outbox`; `ended`, `weights`;
//! `state`, which holds them in agreement; `intake`, `claiming`, `history`,
//! `overview` and `sweep`, which are made of its steps.

mod claiming;
mod ended;
mod history;
mod intake;
mod lane;
mod lanes;
mod message;
mod moment;
mod outbox;
mod overview;
mod policies;
mod row;
mod rows;
mod seen;
mod state;
mod sweep;
#[cfg(test)]
mod tests;
mod weights;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::Instant;

use moment::Moment;
use outbox::Weighed;
use policies::Policies;
use state::{Bounds, State};

use super::{
    Appended, Change, Changed, Claimed, ClaimedEvent, DeliveryStore, Detail, FanOut, Fenced, Filter, Hour, LaneState,
    Lease, Page, PolicyFilter, PolicySource, PolicyStore, Resolved, Retention, Settled, Settlement, Status, Swept,
    Usage,
};
use crate::clock::{Clock, Guarded, SystemClock, instant};
use crate::delivery::Delivery;
use crate::error::Result;
use crate::event::{Event, EventType};
use crate::id::{DeliveryId, PolicyId, ProjectId, TargetId};
use crate::policy::{Policy, PolicyDraft};

/// Waiting deliveries of [`MemoryStore::new`].
const DELIVERIES: usize = 100_000;
/// The bytes that what waits may take, unless [`MemoryStore::max_bytes`] says otherwise.
const BYTES: usize = 256 * 1024 * 1024;

/// Keeps everything in memory: for tests, and for hosts that may lose what waits when they end.
///
/// A handle: clones are the same store. It is bounded, in deliveries and in bytes; see [`MemoryStore::with_bound`] and
/// [`MemoryStore::max_bytes`]. The history of a deleted policy can be read for an hour.
///
/// A delivery that waits costs its body and at most 256 bytes, and so does each further delivery of the same body without
/// the body; attempts that failed come on top. `cargo bench --bench memory` measures it.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    policies: Mutex<Policies>,
    clock: Arc<dyn Clock>,
    start: Instant,
    changed: Notify,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// A store for up to 100,000 waiting deliveries of up to 256 MiB.
    pub fn new() -> Self {
        Self::with_bound(DELIVERIES)
    }

    /// A store for up to `deliveries` waiting deliveries (at least ten), a tenth of them for one target, and a tenth as many
    /// events that are not fanned out. At the bound no event is fanned out, and then `notify` is refused as full.
    pub fn with_bound(deliveries: usize) -> Self {
        Self::with_clock(deliveries, SystemClock)
    }

    /// The same, with the times that people read from this clock.
    pub fn with_clock(deliveries: usize, clock: impl Clock) -> Self {
        let inner = Inner {
            state: Mutex::new(State::new(Bounds { deliveries: deliveries.max(10), bytes: BYTES })),
            policies: Mutex::default(),
            clock: Arc::new(Guarded(clock)),
            start: instant(),
            changed: Notify::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Bounds the bytes as well: what waits takes up to about `bytes`, a tenth of it for one target, the events that are not
    /// fanned out take up to a tenth as much, and the history as much again. Without this it is 256 MiB.
    ///
    /// A delivery counts with its attempts and 256 bytes, a body once for all deliveries that send it, an event with its
    /// JSON and a kilobyte or so. At the bound it is as at the other: no event is fanned out, and then `notify` is refused as full. Of the
    /// history, the oldest goes first, and dead deliveries last.
    #[must_use]
    pub fn max_bytes(self, bytes: usize) -> Self {
        self.state().bounds.bytes = bytes.max(1);
        self
    }

    /// The state, brought to the present. A panic while it was held cannot have left it half changed: its methods check
    /// first and write then.
    fn state(&self) -> MutexGuard<'_, State> {
        // The clock may be the host's: its code is not run under the lock.
        let wall = self.inner.clock.now();
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(Moment::new(self.inner.start.elapsed()), wall);
        state
    }

    fn lock_policies(&self) -> MutexGuard<'_, Policies> {
        self.inner.policies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes who waits for work.
    fn with_state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.state());
        self.inner.changed.notify_waiters();
        done
    }
}

#[async_trait]
impl PolicySource for MemoryStore {
    async fn subscribers(&self, project: ProjectId, kind: EventType, _: Duration) -> Result<Vec<Arc<Policy>>> {
        Ok(self.lock_policies().subscribers(project, kind).to_vec())
    }

    async fn resolve(&self, targets: &[TargetId]) -> Result<Vec<Resolved>> {
        let policies = self.lock_policies();
        Ok(targets.iter().map(|target| policies.resolve(*target)).collect())
    }
}

#[async_trait]
impl PolicyStore for MemoryStore {
    async fn create(&self, project: ProjectId, draft: PolicyDraft) -> Result<Policy> {
        let now = self.inner.clock.now();
        self.lock_policies().create(project, draft, now)
    }

    async fn replace(&self, id: PolicyId, draft: PolicyDraft) -> Result<Policy> {
        let now = self.inner.clock.now();
        self.lock_policies().replace(id, draft, now)
    }

    async fn delete(&self, which: PolicyFilter) -> Result<u64> {
        let gone = self.lock_policies().delete(which);
        self.with_state(|state| gone.iter().for_each(|policy| state.cancel_policy(*policy)));
        Ok(gone.len() as u64)
    }

    async fn policies(&self, which: PolicyFilter, page: Page) -> Result<Vec<Policy>> {
        Ok(self.lock_policies().list(which, page))
    }

    async fn switch(&self, on: Option<bool>) -> Result<bool> {
        Ok(self.lock_policies().switch(on))
    }
}

#[async_trait]
impl DeliveryStore for MemoryStore {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>> {
        let events = events.iter().map(Weighed::new).collect::<Result<_>>()?;
        self.with_state(|state| state.append(events))
    }

    async fn claim_events(&self, max: usize, lease: Duration) -> Result<Vec<ClaimedEvent>> {
        Ok(self.state().claim_events(max, lease))
    }

    async fn fan_out(&self, lease: &Lease, part: FanOut) -> Result<Fenced> {
        self.with_state(|state| state.fan_out(lease, part))
    }

    async fn claim(&self, max: usize, lease: Duration) -> Result<Vec<Claimed>> {
        Ok(self.state().claim(&[], max, lease))
    }

    async fn claim_beside(&self, busy: &[ProjectId], max: usize, lease: Duration) -> Result<Vec<Claimed>> {
        Ok(self.state().claim(busy, max, lease))
    }

    async fn settle(&self, results: Vec<Settlement>) -> Result<Vec<Settled>> {
        Ok(self.with_state(|state| results.into_iter().map(|result| state.settle(result)).collect()))
    }

    async fn change(&self, which: &Filter, to: Change, page: Page) -> Result<Changed> {
        Ok(self.with_state(|state| state.change(which, to, page)))
    }

    async fn list(&self, which: &Filter, page: Page) -> Result<Vec<Delivery>> {
        Ok(self.state().list(which, page))
    }

    async fn count(&self, which: &Filter) -> Result<u64> {
        Ok(self.state().count(which) as u64)
    }

    async fn detail(&self, id: DeliveryId) -> Result<Option<Detail>> {
        Ok(self.state().detail(id))
    }

    async fn sweep(&self, keep: &Retention, max: usize) -> Result<Swept> {
        Ok(self.with_state(|state| state.sweep(keep, max)))
    }

    async fn status(&self) -> Result<Status> {
        Ok(self.state().status())
    }

    async fn usage(&self) -> Result<Option<Vec<Usage>>> {
        Ok(Some(self.state().usage()))
    }

    async fn lanes(&self, which: &Filter) -> Result<Option<Vec<LaneState>>> {
        Ok(Some(self.state().lane_states(which)))
    }

    async fn hours(&self, which: &Filter) -> Result<Option<Vec<Hour>>> {
        Ok(Some(self.state().hours(which)))
    }

    async fn newest(&self, policies: &[PolicyId]) -> Result<Vec<Delivery>> {
        Ok(self.state().newest(policies))
    }

    async fn ready(&self, at_most: Duration) -> Result<()> {
        // Listens before it looks, so that nothing can happen in between.
        let changed = self.inner.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let due_in = self.state().due_in();
        let pause = due_in.map_or(at_most, |due| due.min(at_most));
        if !pause.is_zero() {
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(())
    }
}
