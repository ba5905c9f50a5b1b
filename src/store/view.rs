use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::{Hold, Resolved};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventType;
use crate::id::{ProjectId, TargetId};
use crate::policy::{Policy, PolicyIndex, Target};

/// The policies of a database as they were a moment ago: asked for every event and every attempt, so they lie in memory.
#[derive(Debug, Default)]
pub(super) struct View {
    known: RwLock<Known>,
    /// One looks at a time, as each look may read everything; who asks meanwhile shares the next look. Holds the last one's fault.
    turn: tokio::sync::Mutex<Option<Fault>>,
}

#[derive(Debug, Default)]
struct Known {
    seen: Option<Seen>,
    /// When the last change was made through this handle.
    changed: Option<Instant>,
}

/// A look that failed, and when it began.
#[derive(Debug)]
struct Fault {
    at: Instant,
    kind: ErrorKind,
    message: String,
}

/// A look at the database that has begun.
#[derive(Debug)]
pub(super) struct Look {
    at: Instant,
    /// The version of the policies that the view holds. Of the same version, they need not be read again.
    pub(super) known: Option<i64>,
}

/// What was seen by the look that began then.
#[derive(Debug)]
pub(super) struct Seen {
    at: Instant,
    version: i64,
    on: bool,
    index: PolicyIndex,
    targets: HashMap<TargetId, (bool, Arc<Target>)>,
}

impl View {
    /// A change was made through this handle: what was seen before does not count for those who ask from now on.
    pub(super) fn forget(&self) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).changed = Some(Instant::now());
    }

    /// An answer that is at most so old, after another look if need be.
    pub(super) async fn ask<T, L: Future<Output = Result<()>>>(
        &self,
        max_age: Duration,
        answer: impl Fn(&Seen) -> T,
        look: impl FnOnce() -> L,
    ) -> Result<T> {
        let asked = Instant::now();
        if let Some(answer) = self.fresh(asked, max_age, &answer) {
            return Ok(answer);
        }
        let mut fault = self.turn.lock().await;
        if let Some(answer) = self.fresh(asked, max_age, &answer) {
            return Ok(answer);
        }
        if let Some(Fault { kind, message, .. }) = fault.as_ref().filter(|fault| fault.at >= asked) {
            return Err(Error::new(*kind, message.clone()));
        }
        let at = Instant::now();
        let looked = look().await;
        *fault = looked.as_ref().err().map(|e| Fault { at, kind: e.kind(), message: e.to_string() });
        looked?;
        let answer = self.fresh(asked, max_age, &answer);
        answer.ok_or_else(|| Error::new(ErrorKind::Unavailable, "the policies were read by two at once; try again"))
    }

    /// Comes before the first question to the database.
    pub(super) fn look(&self) -> Look {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        Look { at: Instant::now(), known: known.seen.as_ref().map(|seen| seen.version) }
    }

    /// What was seen: the version, and, unless it is the known one, the switch and all policies.
    pub(super) fn saw(&self, look: &Look, version: i64, news: Option<(bool, Vec<Policy>)>) {
        let news = news.map(|(on, policies)| Seen::new(look.at, version, on, policies));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match (&mut known.seen, news) {
            // By a look whose caller did not wait for it.
            (Some(seen), _) if seen.at > look.at => {}
            (_, Some(news)) => known.seen = Some(news),
            (Some(seen), None) if seen.version == version => seen.at = look.at,
            (_, None) => {}
        }
    }

    /// What was seen is good enough if it is not too old, and either knows of all changes made here or was seen since the
    /// question: a change that is made while a look is under way does not make the look worthless.
    fn fresh<T>(&self, asked: Instant, max_age: Duration, answer: impl FnOnce(&Seen) -> T) -> Option<T> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let seen = known.seen.as_ref().filter(|seen| asked.saturating_duration_since(seen.at) <= max_age)?;
        let counts = seen.at >= asked || known.changed.is_none_or(|changed| seen.at >= changed);
        counts.then(|| answer(seen))
    }
}

impl Seen {
    fn new(at: Instant, version: i64, on: bool, policies: Vec<Policy>) -> Self {
        let mut targets = HashMap::new();
        for policy in &policies {
            for target in &policy.targets {
                targets.insert(target.id, (policy.enabled, Arc::new(target.target.clone())));
            }
        }
        Self { at, version, on, index: policies.into_iter().map(Arc::new).collect(), targets }
    }

    pub(super) fn subscribers(&self, project: ProjectId, kind: EventType) -> Vec<Arc<Policy>> {
        if self.on { self.index.subscribers(project, kind).to_vec() } else { Vec::new() }
    }

    pub(super) fn resolve(&self, target: TargetId) -> Resolved {
        match self.targets.get(&target) {
            None => Resolved::Gone,
            Some(_) if !self.on => Resolved::Hold(Hold::SwitchedOff),
            Some((false, _)) => Resolved::Hold(Hold::Disabled),
            Some((true, target)) => Resolved::Send(Arc::clone(target)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    const NONE: Duration = Duration::ZERO;

    /// The database's switch, which stands for the policies.
    async fn look(view: &View, version: &AtomicI64) -> Result<()> {
        let look = view.look();
        let version = version.load(Ordering::Relaxed);
        tokio::task::yield_now().await;
        view.saw(&look, version, (look.known != Some(version)).then(|| (version % 2 == 0, Vec::new())));
        Ok(())
    }

    #[tokio::test]
    async fn a_change_during_a_look_does_not_make_it_worthless() {
        let (view, version) = (View::default(), AtomicI64::new(0));
        let change = || {
            version.fetch_add(1, Ordering::Relaxed);
            view.forget();
        };
        for _ in 0..10 {
            let overtaken = || async {
                look(&view, &version).await?;
                change();
                Ok(())
            };
            assert!(view.ask(NONE, |seen| seen.on, overtaken).await.unwrap());
            // What was changed shows at once all the same.
            assert!(!view.ask(Duration::MAX, |seen| seen.on, || look(&view, &version)).await.unwrap());
            change();
        }
    }

    #[tokio::test]
    async fn who_asks_at_once_shares_a_look_and_its_fault() {
        let (view, version, looks) = (View::default(), AtomicI64::new(0), AtomicI64::new(0));
        for fails in [true, false] {
            let ask = || {
                view.ask(
                    NONE,
                    |seen| seen.on,
                    || async {
                        looks.fetch_add(1, Ordering::Relaxed);
                        look(&view, &version).await?;
                        if fails { Err(Error::new(ErrorKind::Unavailable, "out of order")) } else { Ok(()) }
                    },
                )
            };
            view.forget();
            let asked = crate::together::side_by_side((0..100).map(|_| Box::pin(ask())).collect()).await;
            assert!(asked.iter().all(|answer| fails || answer.is_ok()));
            assert!(looks.swap(0, Ordering::Relaxed) <= 2);
        }
    }
}
