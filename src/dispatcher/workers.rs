use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::attempt::attempt;
use super::shared::Inner;
use crate::delivery::{CancelReason, DeadReason};
use crate::id::ProjectId;
use crate::store::{Claimed, Hold, Next, Resolved, Settlement};

/// How long a lane stays closed before somebody looks again whether its policy is enabled. Enabling it opens the lane.
const HOLD: Duration = Duration::from_secs(30);
/// How long an answer to where a delivery goes is good for.
const FRESH: Duration = Duration::from_millis(100);
/// How long a claimed delivery may wait for a worker, so that its lease outlasts the attempt.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// Deliveries in hand for each worker, its own included: as many as it may send while the store answers once.
const IN_HAND: usize = 6;

/// A project has as many deliveries in hand as it may.
#[derive(Debug)]
pub(super) struct Busy;

/// The attempts under way, and the deliveries that are claimed ahead, so that no worker waits for the store.
///
/// A worker goes on for as long as deliveries wait, and ends then.
#[derive(Debug)]
pub(super) struct Workers {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    abandon: watch::Sender<bool>,
}

#[derive(Debug)]
struct Shared {
    inner: Arc<Inner>,
    hand: Mutex<Hand>,
    /// Wakes who claims when there is room for a good number again.
    low: Notify,
    results: mpsc::Sender<Settlement>,
}

/// What is claimed and not settled.
#[derive(Debug, Default)]
struct Hand {
    waiting: VecDeque<Ready>,
    /// Workers that have not ended.
    running: usize,
    /// What is waiting or being sent of each project, if that is bounded.
    projects: HashMap<ProjectId, usize>,
}

/// A delivery's place among those of its project that are in hand.
#[derive(Debug)]
pub(super) struct Place(Arc<Shared>, ProjectId);

impl Drop for Place {
    fn drop(&mut self) {
        let mut hand = self.0.hand();
        let Some(count) = hand.projects.get_mut(&self.1) else { return };
        *count -= 1;
        if *count == 0 {
            hand.projects.remove(&self.1);
        }
    }
}

/// A claimed delivery and where it went when it was last asked.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) claimed: Claimed,
    pub(super) resolved: Resolved,
    /// When it was claimed and resolved.
    pub(super) at: Instant,
    pub(super) place: Option<Place>,
}

impl Workers {
    pub(super) fn new(inner: &Arc<Inner>, results: mpsc::Sender<Settlement>) -> Self {
        let shared = Shared { inner: Arc::clone(inner), hand: Mutex::default(), low: Notify::new(), results };
        Self { shared: Arc::new(shared), tasks: JoinSet::new(), abandon: watch::Sender::new(false) }
    }

    /// How many deliveries may be claimed now; none until it is worth it.
    pub(super) fn room(&self) -> usize {
        let most = self.shared.most();
        let hand = self.shared.hand();
        let room = (most * IN_HAND).saturating_sub(hand.waiting.len() + hand.running);
        if room >= most * IN_HAND / 2 { room } else { 0 }
    }

    /// Returns when there may be room.
    pub(super) async fn low(&self) {
        self.shared.low.notified().await;
    }

    /// A place for one more delivery of a project; an error if it has as many as it may. No place is needed if there is no bound.
    pub(super) fn place(&self, project: ProjectId) -> Result<Option<Place>, Busy> {
        let most = self.shared.inner.settings.bounds.project_in_flight.max(1);
        if most == usize::MAX {
            return Ok(None);
        }
        let mut hand = self.shared.hand();
        let count = hand.projects.entry(project).or_default();
        if *count >= most {
            return Err(Busy);
        }
        *count += 1;
        Ok(Some(Place(Arc::clone(&self.shared), project)))
    }

    /// Hands deliveries to workers.
    pub(super) fn take(&mut self, ready: impl IntoIterator<Item = Ready>) {
        self.shared.hand().waiting.extend(ready);
        self.staff();
    }

    /// Writes down what needs no attempt.
    pub(super) async fn settle(&self, settlement: Settlement) {
        self.shared.settle(settlement).await;
    }

    /// Sees to it that there are workers for what waits, also if one has panicked.
    pub(super) fn staff(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        let mut hand = self.shared.hand();
        let wanted = (hand.running + hand.waiting.len()).min(self.shared.most());
        for _ in hand.running..wanted {
            hand.running += 1;
            let worker = Worker { shared: Arc::clone(&self.shared), counted: true };
            self.tasks.spawn(worker.run(self.abandon.subscribe()));
        }
    }

    /// Gives back what no worker has begun, waits for the attempts under way, and abandons those that outlast the grace.
    pub(super) async fn drain(&mut self, grace: Duration) {
        let begun_never = std::mem::take(&mut self.shared.hand().waiting);
        let all = async {
            for ready in begun_never {
                self.shared.settle(Settlement::new(ready.claimed.lease, Next::Release(Duration::ZERO))).await;
            }
            while self.tasks.join_next().await.is_some() {}
        };
        if tokio::time::timeout(grace, all).await.is_err() {
            // Fails only when there is no worker left.
            let _ = self.abandon.send(true);
            while self.tasks.join_next().await.is_some() {}
        }
    }
}

impl Shared {
    /// Attempts under way at once.
    fn most(&self) -> usize {
        self.inner.settings.max_in_flight.max(1)
    }

    fn hand(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn settle(&self, settlement: Settlement) {
        // Fails only when `run` was dropped: then the lease runs out.
        let _ = self.results.send(settlement).await;
    }
}

struct Worker {
    shared: Arc<Shared>,
    /// Whether `running` counts this worker.
    counted: bool,
}

impl Worker {
    async fn run(mut self, mut abandoned: watch::Receiver<bool>) {
        let mut over = pin!(async { drop(abandoned.wait_for(|over| *over).await) });
        while let Some(ready) = self.next() {
            let lease = ready.claimed.lease;
            let settlement = tokio::select! {
                biased;
                settlement = attend(&self.shared.inner, ready) => settlement,
                // Given back as if it had not been claimed; whether the receiver saw it is unknown.
                () = &mut over => {
                    self.shared.settle(Settlement::new(lease, Next::Release(Duration::ZERO))).await;
                    return;
                }
            };
            self.shared.settle(settlement).await;
        }
    }

    /// The oldest delivery that waits. Without one the worker ends, in the same step in which it looked, so that none is
    /// left behind.
    fn next(&mut self) -> Option<Ready> {
        let mut hand = self.shared.hand();
        let next = hand.waiting.pop_front();
        if next.is_none() {
            hand.running -= 1;
            self.counted = false;
        }
        if next.is_none() || hand.waiting.len() == self.shared.most() * (IN_HAND / 2 - 1) {
            self.shared.low.notify_one();
        }
        next
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.counted {
            self.shared.hand().running -= 1;
            self.shared.low.notify_one();
        }
    }
}

/// Sends a delivery, unless there is a reason not to.
async fn attend(inner: &Inner, ready: Ready) -> Settlement {
    let Ready { mut claimed, mut resolved, at, place: _place } = ready;
    let waited = at.elapsed();
    let release = Settlement::new(claimed.lease, Next::Release(Duration::ZERO));
    if waited > LONGEST_WAIT {
        return release;
    }
    claimed.age = claimed.age.saturating_add(waited);
    if claimed.age > inner.settings.retry.max_age {
        return Settlement::new(claimed.lease, Next::Dead(DeadReason::Expired, None));
    }
    if waited > FRESH {
        match inner.resolve(&[claimed.target_id]).await {
            Ok(now) => resolved = now.into_iter().next().unwrap_or(Resolved::Gone),
            // The deliveries that are claimed next meet the same fault, and wait it out.
            Err(_) => return release,
        }
    }
    match resolved {
        // Its address leads nowhere. The store is not wrapped, or a key is missing.
        Resolved::Send(target) if target.options.sealed.is_some() => hold(release, Hold::Sealed),
        Resolved::Send(target) => attempt(inner, claimed, &target).await,
        Resolved::Hold(why) => hold(release, why),
        Resolved::Gone => Settlement::new(claimed.lease, Next::Cancelled(CancelReason::TargetGone)),
    }
}

fn hold(release: Settlement, why: Hold) -> Settlement {
    release.close_lane(HOLD, why)
}
