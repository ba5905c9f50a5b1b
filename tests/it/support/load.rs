//! Events that are reported without a pause while something else goes wrong.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harbor_webhook::{Error, ErrorKind, Webhooks};

use super::events::{number, numbered};
use super::receiver::{Receiver, Seen};

/// No call may take longer: ten seconds for the policies, and as many for the transaction before its own and for its own.
const LONGEST_CALL: Duration = Duration::from_secs(35);
/// How long nothing may arrive, of what is missing, when nothing fails any more: leases must run out.
const PATIENCE: Duration = Duration::from_secs(120);

/// Callers of `notify`, each of which goes on when its event was refused.
pub(crate) struct Load {
    shared: Arc<Shared>,
    producers: Vec<tokio::task::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    next: AtomicUsize,
    accepted: Mutex<HashSet<usize>>,
    refused: Mutex<Vec<Error>>,
    ended: AtomicBool,
}

impl Load {
    pub(crate) fn start(hooks: &Webhooks, producers: usize) -> Self {
        let shared = Arc::<Shared>::default();
        let produce = |_| {
            let (hooks, shared) = (hooks.clone(), Arc::clone(&shared));
            tokio::spawn(async move {
                while !shared.ended.load(Ordering::Relaxed) {
                    shared.report(&hooks).await;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        };
        let producers = (0..producers).map(produce).collect();
        Self { shared, producers }
    }

    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.lock().unwrap().len()
    }

    pub(crate) fn refused(&self) -> usize {
        self.shared.refused.lock().unwrap().len()
    }

    /// Waits until so many more events were accepted, and says how long it took.
    pub(crate) async fn accepts(&self, count: usize, within: Duration) -> Duration {
        self.grows("accepted", || self.accepted(), count, within).await
    }

    /// Waits until so many more events were refused.
    pub(crate) async fn refuses(&self, count: usize, within: Duration) -> Duration {
        self.grows("refused", || self.refused(), count, within).await
    }

    async fn grows(&self, what: &str, count: impl Fn() -> usize, by: usize, within: Duration) -> Duration {
        let (before, begun) = (count(), Instant::now());
        while count() < before + by {
            let last = self.shared.refused.lock().unwrap().last().map(ToString::to_string);
            assert!(begun.elapsed() < within, "{} more {what}, not {by}; {last:?}", count() - before);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        begun.elapsed()
    }

    /// Ends the load; the events that were accepted, and what was said to refused ones.
    pub(crate) async fn end(self) -> (HashSet<usize>, Vec<String>) {
        self.shared.ended.store(true, Ordering::Relaxed);
        for producer in self.producers {
            producer.await.unwrap();
        }
        let refused = std::mem::take(&mut *self.shared.refused.lock().unwrap());
        for error in &refused {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.is_retryable());
        }
        let accepted = std::mem::take(&mut *self.shared.accepted.lock().unwrap());
        (accepted, refused.iter().map(ToString::to_string).collect())
    }
}

impl Shared {
    async fn report(&self, hooks: &Webhooks) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let answer = tokio::time::timeout(LONGEST_CALL, hooks.notify(&numbered(number))).await;
        match answer.expect("notify hangs") {
            Ok(_) => drop(self.accepted.lock().unwrap().insert(number)),
            Err(error) => self.refused.lock().unwrap().push(error),
        }
    }
}

/// Waits until all of these events have arrived, and checks that no attempt differs from another of the same event. Says how
/// many were repeated.
pub(crate) async fn all_arrive(receiver: &Receiver, mut missing: HashSet<usize>) -> usize {
    let (mut last, mut looked, count) = (Instant::now(), 0, missing.len());
    while !missing.is_empty() {
        let (new, before) = (receiver.seen_after(looked), missing.len());
        looked += new.len();
        for seen in &new {
            missing.remove(&number(&seen.body));
        }
        last = if missing.len() < before { Instant::now() } else { last };
        assert!(last.elapsed() < PATIENCE, "{} of {count} accepted events were lost", missing.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    repetitions(&receiver.seen())
}

fn repetitions(seen: &[Seen]) -> usize {
    let mut first = std::collections::HashMap::new();
    let mut repeated = 0;
    for seen in seen {
        let known: &Seen = first.entry(number(&seen.body)).or_insert(seen);
        repeated += usize::from(!std::ptr::eq(known, seen));
        assert_eq!((known.header("webhook-id"), &known.body), (seen.header("webhook-id"), &seen.body));
    }
    repeated
}
