use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::{Hold, Resolved};
use crate::event::EventType;
use crate::id::{ProjectId, TargetId};
use crate::policy::{Policy, PolicyIndex, Target};

/// The policies of a database as they were a moment ago: asked for every event and every attempt, so they lie in memory.
#[derive(Debug, Default)]
pub(super) struct View {
    seen: RwLock<Option<Seen>>,
    /// Rises with every change made through this handle, so that a look which began before it does not count.
    changes: AtomicU64,
}

/// A look at the database that has begun.
#[derive(Debug)]
pub(super) struct Look {
    at: Instant,
    changes: u64,
    /// The version of the policies that the view holds. Of the same version, they need not be read again.
    pub(super) known: Option<i64>,
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    version: i64,
    on: bool,
    index: PolicyIndex,
    targets: HashMap<TargetId, (bool, Arc<Target>)>,
}

impl View {
    /// A change was made through this handle: what was seen before does not count any more.
    pub(super) fn forget(&self) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        self.changes.fetch_add(1, Ordering::Relaxed);
        *seen = None;
    }

    /// `None` if the view is too old.
    pub(super) fn subscribers(
        &self,
        project: ProjectId,
        kind: EventType,
        max_age: Duration,
    ) -> Option<Vec<Arc<Policy>>> {
        self.fresh(max_age, |seen| if seen.on { seen.index.subscribers(project, kind).to_vec() } else { Vec::new() })
    }

    /// `None` if the view is too old.
    pub(super) fn resolve(&self, targets: &[TargetId], max_age: Duration) -> Option<Vec<Resolved>> {
        self.fresh(max_age, |seen| targets.iter().map(|target| seen.resolve(*target)).collect())
    }

    /// Comes before the first question to the database.
    pub(super) fn look(&self) -> Look {
        let known = self.seen.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|seen| seen.version);
        Look { at: Instant::now(), changes: self.changes.load(Ordering::Relaxed), known }
    }

    /// What was seen: the version, and, unless it is the known one, the switch and all policies.
    pub(super) fn saw(&self, look: &Look, version: i64, news: Option<(bool, Vec<Policy>)>) {
        let news = news.map(|(on, policies)| Seen::new(look.at, version, on, policies));
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if self.changes.load(Ordering::Relaxed) != look.changes {
            return;
        }
        match (&mut *seen, news) {
            (_, Some(news)) => *seen = Some(news),
            (Some(seen), None) => seen.at = look.at,
            (None, None) => {}
        }
    }

    fn fresh<T>(&self, max_age: Duration, answer: impl FnOnce(&Seen) -> T) -> Option<T> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().filter(|seen| seen.at.elapsed() <= max_age).map(answer)
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

    fn resolve(&self, target: TargetId) -> Resolved {
        match self.targets.get(&target) {
            None => Resolved::Gone,
            Some(_) if !self.on => Resolved::Hold(Hold::SwitchedOff),
            Some((false, _)) => Resolved::Hold(Hold::Disabled),
            Some((true, target)) => Resolved::Send(Arc::clone(target)),
        }
    }
}
