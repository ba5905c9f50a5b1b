use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::shared::Inner;
use crate::error::Error;
use crate::observe::Cycle;

/// The longest time without a look at the store.
const POLL: Duration = Duration::from_secs(1);
/// The longest pause between two looks when the store says that there is work and gives none.
const LONGEST_DOUBT: Duration = Duration::from_millis(250);
/// The longest pause after the store failed.
const LONGEST_TROUBLE: Duration = Duration::from_secs(5);

/// How a cycle waits when it found nothing to do.
///
/// The store says when work may be due, but not of which kind, nor whether this cycle can take it now. A cycle that is woken
/// for nothing therefore waits longer each time, so that it cannot spin.
#[derive(Debug)]
pub(super) struct Idle<'a> {
    inner: &'a Inner,
    cycle: Cycle,
    /// Wakes this cycle alone: something was done for it within this process.
    poke: &'a Notify,
    stopped: watch::Receiver<bool>,
    doubts: u32,
    troubles: u32,
}

impl<'a> Idle<'a> {
    pub(super) fn new(inner: &'a Inner, cycle: Cycle, poke: &'a Notify, stopped: watch::Receiver<bool>) -> Self {
        Self { inner, cycle, poke, stopped, doubts: 0, troubles: 0 }
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// The cycle found work.
    pub(super) fn busy(&mut self) {
        self.doubts = 0;
        self.troubles = 0;
        self.inner.pulse.answered(self.cycle, true);
    }

    /// The cycle found nothing: returns when there may be something, or at shutdown.
    pub(super) async fn wait(&mut self) {
        self.inner.pulse.answered(self.cycle, false);
        let pause = Duration::from_millis(1 << self.doubts.min(8)).min(LONGEST_DOUBT);
        let doubtful = self.doubts > 0;
        self.doubts += 1;
        let inner = self.inner;
        let look = async {
            if doubtful {
                tokio::time::sleep(pause).await;
            }
            let waited = crate::clock::instant();
            let ready = inner.deliveries.ready(POLL).await;
            (ready, waited.elapsed())
        };
        let looked = tokio::select! {
            looked = look => Some(looked),
            () = self.poke.notified() => {
                self.doubts = 0;
                None
            }
            _ = self.stopped.wait_for(|stopped| *stopped) => None,
        };
        match looked {
            // It had to wait, so what it was woken for is news.
            Some((Ok(()), waited)) if waited >= Duration::from_millis(1) => self.doubts = 0,
            Some((Err(e), _)) => self.trouble(&e).await,
            Some((Ok(()), _)) | None => {}
        }
    }

    /// The store failed: waits longer each time.
    pub(super) async fn trouble(&mut self, error: &Error) {
        let pause = Duration::from_millis(100 << self.troubles.min(6)).min(LONGEST_TROUBLE);
        self.troubles += 1;
        self.inner.trouble(self.cycle, error, pause);
        tracing::warn!(%error, ?pause, "the store failed; trying again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = self.stopped.wait_for(|stopped| *stopped) => {}
        }
    }
}
