use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::db::Db;
use super::policies;
use crate::error::Result;
use crate::event::EventType;
use crate::id::{ProjectId, TargetId};
use crate::policy::{Policy, PolicyIndex, Target};
use crate::store::{Hold, Page, PolicyFilter, Resolved};

/// The policies as they were a moment ago: asked for every event and every attempt, so it lies in memory.
#[derive(Debug, Default)]
pub(super) struct View {
    seen: RwLock<Option<Seen>>,
    /// Rises with every change made through this handle, so that a look which began before it does not count.
    changes: AtomicU64,
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

    pub(super) fn subscribers(
        &self,
        project: ProjectId,
        kind: EventType,
        max_age: Duration,
    ) -> Option<Vec<Arc<Policy>>> {
        self.fresh(max_age, |seen| if seen.on { seen.index.subscribers(project, kind).to_vec() } else { Vec::new() })
    }

    pub(super) fn resolve(&self, targets: &[TargetId], max_age: Duration) -> Option<Vec<Resolved>> {
        self.fresh(max_age, |seen| targets.iter().map(|target| seen.resolve(*target)).collect())
    }

    /// Looks again; reads the policies only if they have changed.
    pub(super) fn refresh(&self, db: &Db<'_>) -> Result<()> {
        let at = Instant::now();
        let changes = self.changes.load(Ordering::Relaxed);
        let version = policies::version(db)?;
        let known = self.seen.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|seen| seen.version);
        let mut fresh = if known == Some(version) { None } else { Some(Seen::read(db, version, at)?) };
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if self.changes.load(Ordering::Relaxed) != changes {
            return Ok(());
        }
        match (&mut *seen, fresh.take()) {
            (Some(seen), None) => seen.at = at,
            (_, Some(fresh)) => *seen = Some(fresh),
            (None, None) => {}
        }
        Ok(())
    }

    fn fresh<T>(&self, max_age: Duration, answer: impl FnOnce(&Seen) -> T) -> Option<T> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().filter(|seen| seen.at.elapsed() <= max_age).map(answer)
    }
}

impl Seen {
    fn read(db: &Db<'_>, version: i64, at: Instant) -> Result<Self> {
        let on = policies::is_on(db)?;
        let all = policies::list(db, PolicyFilter::All, Page::first(usize::MAX))?;
        let mut targets = HashMap::new();
        for policy in &all {
            for target in &policy.targets {
                targets.insert(target.id, (policy.enabled, Arc::new(target.target.clone())));
            }
        }
        Ok(Self { at, version, on, index: all.into_iter().map(Arc::new).collect(), targets })
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
