use std::collections::{BTreeSet, HashMap};

use crate::id::PolicyId;
use crate::store::Retention;

/// The deliveries that have come to their end: the delivered and cancelled ones apart from the dead.
#[derive(Debug, Default)]
pub(super) struct Ended {
    all: Sets,
    by_policy: HashMap<PolicyId, Sets>,
}

#[derive(Debug, Default)]
struct Sets {
    done: BTreeSet<i64>,
    dead: BTreeSet<i64>,
}

impl Sets {
    fn of(&mut self, dead: bool) -> &mut BTreeSet<i64> {
        if dead { &mut self.dead } else { &mut self.done }
    }

    /// The oldest ones beyond what is kept of each sort.
    fn beyond(&self, keep: &Retention) -> impl Iterator<Item = i64> {
        let done = self.done.iter().take(self.done.len().saturating_sub(keep.finished_per_policy));
        done.chain(self.dead.iter().take(self.dead.len().saturating_sub(keep.dead_per_policy))).copied()
    }
}

impl Ended {
    pub(super) fn insert(&mut self, id: i64, policy: PolicyId, dead: bool) {
        self.all.of(dead).insert(id);
        self.by_policy.entry(policy).or_default().of(dead).insert(id);
    }

    pub(super) fn remove(&mut self, id: i64, policy: PolicyId, dead: bool) {
        self.all.of(dead).remove(&id);
        if let Some(sets) = self.by_policy.get_mut(&policy) {
            sets.of(dead).remove(&id);
            if sets.done.is_empty() && sets.dead.is_empty() {
                self.by_policy.remove(&policy);
            }
        }
    }

    pub(super) fn of(&self, policy: PolicyId) -> impl Iterator<Item = i64> {
        self.by_policy.get(&policy).into_iter().flat_map(|sets| sets.done.iter().chain(&sets.dead)).copied()
    }

    /// The dead ones, from this id on.
    pub(super) fn dead_from(&self, id: i64) -> impl Iterator<Item = i64> {
        self.all.dead.range(id..).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.all.done.len() + self.all.dead.len()
    }

    pub(super) fn dead(&self) -> usize {
        self.all.dead.len()
    }

    /// The one to drop first when there is no room: dead ones are kept for longest.
    pub(super) fn oldest(&self) -> Option<i64> {
        self.all.done.first().or(self.all.dead.first()).copied()
    }

    pub(super) fn beyond(&self, policy: PolicyId, keep: &Retention) -> Vec<i64> {
        self.by_policy.get(&policy).map(|sets| sets.beyond(keep).collect()).unwrap_or_default()
    }

    pub(super) fn all_beyond(&self, keep: &Retention, max: usize) -> Vec<i64> {
        self.by_policy.values().flat_map(|sets| sets.beyond(keep)).take(max).collect()
    }
}
