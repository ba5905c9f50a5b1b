use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::attempt::attempt;
use super::hand::{Aimed, Hand, PATIENCE, Refusal, Turn, Wanted};
use super::news::News;
use super::shared::Inner;
use crate::clock::instant;
use crate::delivery::{CancelReason, DeadReason};
use crate::id::{ProjectId, TargetId};
use crate::store::{Claimed, Hold, Next, Resolved, Settlement};

/// How long a lane stays closed before somebody looks again whether its policy is enabled. Enabling it opens the lane.
const HOLD: Duration = Duration::from_secs(30);
/// How long an answer to where a delivery goes is good for.
const FRESH: Duration = Duration::from_millis(100);
/// How long a claimed delivery may wait for a worker, so that its lease outlasts the attempt.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The attempts under way, and the deliveries that are claimed ahead, so that no worker waits for the store.
///
/// A worker goes on for as long as there is a turn for it, and ends then.
#[derive(Debug)]
pub(super) struct Workers {
    shared: Arc<Shared>,
    abandon: watch::Sender<bool>,
}

#[derive(Debug)]
struct Shared {
    inner: Arc<Inner>,
    hand: Mutex<Hand<Ready>>,
    tasks: Mutex<JoinSet<()>>,
    abandoned: watch::Receiver<bool>,
    /// Wakes who claims when there is room for a good number again.
    low: Notify,
    results: mpsc::Sender<Settlement>,
}

/// A claimed delivery and where it went when it was last asked.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) claimed: Claimed,
    pub(super) resolved: Resolved,
    /// When it was claimed and resolved.
    pub(super) at: Instant,
}

impl Aimed for Ready {
    fn target(&self) -> TargetId {
        self.claimed.target_id
    }

    fn project(&self) -> ProjectId {
        self.claimed.project_id
    }
}

impl Workers {
    pub(super) fn new(inner: &Arc<Inner>, results: mpsc::Sender<Settlement>) -> Self {
        let abandon = watch::Sender::new(false);
        let shared = Shared {
            inner: Arc::clone(inner),
            hand: Mutex::new(Hand::new(inner.settings.max_in_flight, inner.settings.bounds.project_in_flight)),
            tasks: Mutex::default(),
            abandoned: abandon.subscribe(),
            low: Notify::new(),
            results,
        };
        Self { shared: Arc::new(shared), abandon }
    }

    /// What may be claimed now; nothing until it is worth it.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        lock(&self.shared.hand).wanted(instant())
    }

    /// Returns when there may be room. While some projects have as much as they may, what others have is looked for again after a
    /// while, or when there is news.
    pub(super) async fn low(&self, news: &News) {
        let next_look = lock(&self.shared.hand).next_look();
        let low = self.shared.low.notified();
        let Some(at) = next_look else { return low.await };
        tokio::select! {
            () = low => {}
            () = news.told() => {}
            () = tokio::time::sleep_until(at) => {}
        }
    }

    /// There are new deliveries of these projects.
    pub(super) fn told_of(&self, projects: impl Iterator<Item = ProjectId>) {
        lock(&self.shared.hand).told_of(projects);
    }

    /// So much came of a claim that began at this time.
    pub(super) fn claimed(&self, wanted: &Wanted, since: Instant, count: usize) {
        lock(&self.shared.hand).claimed(wanted, since, count, instant());
    }

    /// Hands deliveries to workers. What there is no room for is given back, and its lane is left alone for a while, at most for as
    /// long as an attempt lasts.
    pub(super) async fn take(&self, ready: Vec<Ready>, beside: &[ProjectId]) {
        let refused = lock(&self.shared.hand).take(ready, beside, instant());
        self.staff();
        for (ready, Refusal { why, pause }) in refused {
            let pause = pause.min(self.shared.inner.settings.timeout);
            let release = Settlement::new(ready.claimed.lease, Next::Release(Duration::ZERO));
            self.settle(if pause.is_zero() { release } else { release.close_lane(pause, why) }).await;
        }
    }

    /// Writes down what needs no attempt.
    pub(super) async fn settle(&self, settlement: Settlement) {
        self.shared.settle(settlement).await;
    }

    /// Sees to it that there are workers for what waits, also if one has panicked.
    pub(super) fn staff(&self) {
        while lock(&self.shared.tasks).try_join_next().is_some() {}
        self.shared.staff();
    }

    /// Gives back what no worker has begun, waits for the attempts under way, and abandons those that outlast the grace.
    pub(super) async fn drain(&mut self, grace: Duration) {
        let begun_never = lock(&self.shared.hand).empty();
        let mut tasks = std::mem::take(&mut *lock(&self.shared.tasks));
        // However short the grace is: what is not given back is nobody's until its lease has run out.
        let given_back = async {
            for ready in begun_never {
                self.shared.settle(Settlement::new(ready.claimed.lease, Next::Release(Duration::ZERO))).await;
            }
        };
        let ended = async {
            if tokio::time::timeout(grace, all(&mut tasks)).await.is_err() {
                // Fails only when there is no worker left.
                let _ = self.abandon.send(true);
                all(&mut tasks).await;
            }
        };
        tokio::join!(given_back, ended);
    }
}

async fn all(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

impl Drop for Workers {
    fn drop(&mut self) {
        // The workers hold the set that they are in.
        lock(&self.shared.tasks).abort_all();
    }
}

impl Shared {
    /// Starts a worker for each turn that is free.
    fn staff(self: &Arc<Self>) {
        loop {
            let Some((ready, turn)) = self.begin(&mut lock(&self.hand)) else { return };
            let worker = Worker { shared: Arc::clone(self), turn: Some(turn) };
            lock(&self.tasks).spawn(worker.run(ready, self.abandoned.clone()));
        }
    }

    fn begin(&self, hand: &mut Hand<Ready>) -> Option<(Ready, Turn)> {
        let begun = hand.begin();
        if hand.has_room() {
            self.low.notify_one();
        }
        begun
    }

    async fn settle(&self, settlement: Settlement) {
        // Fails only when `run` was dropped: then the lease runs out.
        let _ = self.results.send(settlement).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Worker {
    shared: Arc<Shared>,
    /// What it has a slot for, or a place, until it is dropped.
    turn: Option<Turn>,
}

impl Worker {
    async fn run(mut self, ready: Ready, mut abandoned: watch::Receiver<bool>) {
        let mut over = pin!(async { drop(abandoned.wait_for(|over| *over).await) });
        let mut next = Some(ready);
        while let Some(ready) = next {
            let lease = ready.claimed.lease;
            let settlement = tokio::select! {
                biased;
                settlement = self.attend(ready) => settlement,
                // Given back as if it had not been claimed; whether the receiver saw it is unknown.
                () = &mut over => {
                    self.shared.settle(Settlement::new(lease, Next::Release(Duration::ZERO))).await;
                    return;
                }
            };
            let attempted = settlement.attempt.is_some();
            self.shared.settle(settlement).await;
            next = self.next(attempted);
        }
    }

    /// Attends to a delivery, and leaves the slot to others if that takes long.
    async fn attend(&mut self, ready: Ready) -> Settlement {
        let shared = Arc::clone(&self.shared);
        let mut attended = pin!(attend(&shared.inner, ready));
        if let Ok(settlement) = tokio::time::timeout(PATIENCE, &mut attended).await {
            return settlement;
        }
        if let Some(turn) = &mut self.turn {
            lock(&shared.hand).turned_long(turn, instant());
        }
        shared.staff();
        attended.await
    }

    /// Ends this turn and begins the next, in one step, so that nothing is left behind.
    fn next(&mut self, attempted: bool) -> Option<Ready> {
        let ended = self.turn.take()?;
        let mut hand = lock(&self.shared.hand);
        hand.ended(&ended, attempted, instant());
        let (ready, turn) = self.shared.begin(&mut hand).unzip();
        drop(hand);
        self.turn = turn;
        if ended.is_long() {
            self.shared.staff();
        }
        ready
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(turn) = &self.turn {
            lock(&self.shared.hand).ended(turn, false, instant());
            self.shared.low.notify_one();
        }
    }
}

/// Sends a delivery, unless there is a reason not to.
async fn attend(inner: &Inner, ready: Ready) -> Settlement {
    let Ready { mut claimed, mut resolved, at } = ready;
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
