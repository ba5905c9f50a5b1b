use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::clock::{Clock, instant};
use crate::delivery::{Attempt, Outcome};
use crate::error::Error;
use crate::health::{FailedAttempt, Rounds, Runs, StoreFault};
use crate::observe::Cycle;
use crate::store::Claimed;

/// Faults and failed attempts that are remembered.
const REMEMBERED: usize = 10;

/// What the cycles of this process did last, for whoever asks how it goes.
///
/// The cycles only count. When a count has changed is noted once a second, so that no round costs a look at the clock.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    runs: AtomicUsize,
    beats: [Beat; Cycle::ALL.len()],
    memory: Mutex<Memory>,
}

/// How often a cycle was answered, and found something to do.
#[derive(Debug, Default)]
struct Beat {
    answered: AtomicU64,
    worked: AtomicU64,
    failing: AtomicBool,
}

#[derive(Debug, Default)]
struct Memory {
    notes: [Note; Cycle::ALL.len()],
    started: bool,
    ended_with: Option<String>,
    faults: VecDeque<StoreFault>,
    attempts: VecDeque<FailedAttempt>,
}

/// The counts of a cycle when they were last seen to change, and when that was.
#[derive(Debug, Default)]
struct Note {
    answered: (u64, Option<Instant>),
    worked: (u64, Option<Instant>),
}

impl Pulse {
    /// A `run` begins; it ends when the guard is dropped.
    pub(super) fn begin(&self) -> Running<'_> {
        let first = self.runs.fetch_add(1, Ordering::Relaxed) == 0;
        let mut memory = self.memory();
        (memory.started, memory.ended_with) = (true, None);
        if first {
            let now = Some(instant());
            memory.notes.iter_mut().for_each(|note| note.answered.1 = now);
            self.beats.iter().for_each(|beat| beat.failing.store(false, Ordering::Relaxed));
        }
        Running(self)
    }

    /// The store answered a cycle, which found something to do or did not.
    pub(super) fn answered(&self, cycle: Cycle, worked: bool) {
        let beat = &self.beats[cycle as usize];
        beat.answered.fetch_add(1, Ordering::Relaxed);
        beat.worked.fetch_add(u64::from(worked), Ordering::Relaxed);
        beat.failing.store(false, Ordering::Relaxed);
    }

    /// Notes which cycles did something since the last note.
    pub(super) fn note(&self) {
        let now = instant();
        let changed = |seen: &mut (u64, Option<Instant>), count: &AtomicU64| {
            let count = count.load(Ordering::Relaxed);
            if count != seen.0 {
                *seen = (count, Some(now));
            }
        };
        for (note, beat) in self.memory().notes.iter_mut().zip(&self.beats) {
            changed(&mut note.answered, &beat.answered);
            changed(&mut note.worked, &beat.worked);
        }
    }

    pub(super) fn failed(&self, cycle: Cycle, error: &Error, clock: &dyn Clock) {
        self.beats[cycle as usize].failing.store(true, Ordering::Relaxed);
        // The clock may be the host's: its code is not run under the lock.
        let fault = StoreFault { at: clock.now(), cycle, error: error.to_string() };
        remember(&mut self.memory().faults, fault);
    }

    /// Remembers an attempt if it failed.
    pub(super) fn attempted(&self, claimed: &Claimed, attempt: &Attempt) {
        let error = match &attempt.outcome {
            outcome if outcome.is_success() => return,
            Outcome::Answered { status, .. } => format!("answered {status}"),
            Outcome::Failed { message, .. } => message.clone(),
        };
        let failed = FailedAttempt {
            at: attempt.started_at,
            delivery_id: claimed.id,
            event_id: claimed.event_id,
            policy_id: claimed.policy_id,
            target_id: claimed.target_id,
            class: attempt.outcome.class(),
            error,
        };
        remember(&mut self.memory().attempts, failed);
    }

    pub(crate) fn runs(&self) -> Runs {
        self.note();
        let running = self.runs.load(Ordering::Relaxed);
        let memory = self.memory();
        let mut cycles: Vec<_> = Cycle::ALL.into_iter().map(|cycle| self.rounds(cycle, &memory)).collect();
        // Without an observer nothing is sampled.
        cycles.retain(|rounds| running > 0 && (rounds.cycle != Cycle::Sampling || rounds.worked.is_some()));
        Runs { running, started: memory.started, ended_with: memory.ended_with.clone(), cycles }
    }

    fn rounds(&self, cycle: Cycle, memory: &Memory) -> Rounds {
        let note = &memory.notes[cycle as usize];
        Rounds {
            cycle,
            answered: note.answered.1.map(|at| at.elapsed()),
            worked: note.worked.1.map(|at| at.elapsed()),
            failing: self.beats[cycle as usize].failing.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn faults(&self) -> Vec<StoreFault> {
        self.memory().faults.iter().cloned().collect()
    }

    pub(crate) fn failed_attempts(&self) -> Vec<FailedAttempt> {
        self.memory().attempts.iter().cloned().collect()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest stands first.
fn remember<T>(list: &mut VecDeque<T>, entry: T) {
    list.truncate(REMEMBERED - 1);
    list.push_front(entry);
}

/// A `run` that is polled, or will be.
#[derive(Debug)]
pub(super) struct Running<'a>(&'a Pulse);

impl Running<'_> {
    pub(super) fn ended_with(&self, error: &Error) {
        self.0.memory().ended_with = Some(error.to_string());
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.runs.fetch_sub(1, Ordering::Relaxed);
    }
}
