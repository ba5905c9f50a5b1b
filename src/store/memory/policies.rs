use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::error::{Error, ErrorKind, Result};
use crate::event::EventType;
use crate::id::{PolicyId, ProjectId, TargetId};
use crate::policy::{Policy, PolicyDraft, PolicyIndex, PolicyTarget, Target};
use crate::store::{Hold, Page, PolicyFilter, Resolved, pair_targets};

/// All policies, and what sending asks of them.
#[derive(Debug)]
pub(super) struct Policies {
    by_id: BTreeMap<PolicyId, Arc<Policy>>,
    names: HashSet<(ProjectId, String)>,
    targets: HashMap<TargetId, (PolicyId, Arc<Target>)>,
    /// Made from the policies when it is first needed after a change.
    index: Option<PolicyIndex>,
    last_policy: i64,
    last_target: i64,
    on: bool,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            by_id: BTreeMap::new(),
            names: HashSet::new(),
            targets: HashMap::new(),
            index: None,
            last_policy: 0,
            last_target: 0,
            on: true,
        }
    }
}

impl Policies {
    pub(super) fn subscribers(&mut self, project: ProjectId, event_type: EventType) -> &[Arc<Policy>] {
        if !self.on {
            return &[];
        }
        let by_id = &self.by_id;
        let index = self.index.get_or_insert_with(|| by_id.values().cloned().collect());
        index.subscribers(project, event_type)
    }

    pub(super) fn resolve(&self, target: TargetId) -> Resolved {
        let Some((policy, target)) = self.targets.get(&target) else { return Resolved::Gone };
        if !self.on {
            return Resolved::Hold(Hold::SwitchedOff);
        }
        match self.by_id.get(policy) {
            None => Resolved::Gone,
            Some(policy) if !policy.enabled => Resolved::Hold(Hold::Disabled),
            Some(_) => Resolved::Send(Arc::clone(target)),
        }
    }

    pub(super) fn create(&mut self, project: ProjectId, draft: PolicyDraft, now: DateTime<Utc>) -> Result<Policy> {
        self.check_name(project, &draft.name)?;
        self.last_policy += 1;
        let id = PolicyId(self.last_policy);
        let fresh = vec![None; draft.targets.len()];
        let targets = self.number(draft.targets, fresh);
        let policy = Policy {
            id,
            project_id: project,
            name: draft.name,
            description: draft.description,
            targets,
            event_types: draft.event_types,
            creator: draft.creator,
            creation_time: now,
            update_time: now,
            enabled: draft.enabled,
        };
        self.insert(policy.clone());
        Ok(policy)
    }

    pub(super) fn replace(&mut self, id: PolicyId, draft: PolicyDraft, now: DateTime<Utc>) -> Result<Policy> {
        let not_found = || Error::new(ErrorKind::NotFound, format!("notificationPolicy {id} not found"));
        let old = Arc::clone(self.by_id.get(&id).ok_or_else(not_found)?);
        if old.name != draft.name {
            self.check_name(old.project_id, &draft.name)?;
        }
        let paired = pair_targets(&old.targets, &draft.targets);
        self.remove(id);
        let targets = self.number(draft.targets, paired);
        let creator = if draft.creator.is_empty() { old.creator.clone() } else { draft.creator };
        let policy = Policy {
            id,
            project_id: old.project_id,
            name: draft.name,
            description: draft.description,
            targets,
            event_types: draft.event_types,
            creator,
            creation_time: old.creation_time,
            update_time: now,
            enabled: draft.enabled,
        };
        self.insert(policy.clone());
        Ok(policy)
    }

    pub(super) fn delete(&mut self, which: PolicyFilter) -> Vec<PolicyId> {
        let gone: Vec<_> = self.selected(which).map(|policy| policy.id).collect();
        for id in &gone {
            self.remove(*id);
        }
        gone
    }

    pub(super) fn list(&self, which: PolicyFilter, page: Page) -> Vec<Policy> {
        let behind = |policy: &&Arc<Policy>| match page.after {
            Some(after) if page.oldest_first => policy.id.0 > after,
            Some(after) => policy.id.0 < after,
            None => true,
        };
        let mut found: Vec<_> = self.selected(which).filter(behind).collect();
        if page.oldest_first {
            found.reverse();
        }
        found.into_iter().skip(page.skip).take(page.limit).map(|policy| Policy::clone(policy)).collect()
    }

    pub(super) fn switch(&mut self, on: Option<bool>) -> bool {
        self.on = on.unwrap_or(self.on);
        self.on
    }

    /// Newest first.
    fn selected(&self, which: PolicyFilter) -> impl Iterator<Item = &Arc<Policy>> {
        self.by_id.values().rev().filter(move |policy| match which {
            PolicyFilter::All => true,
            PolicyFilter::Project(project) => policy.project_id == project,
            PolicyFilter::Id(id) => policy.id == id,
        })
    }

    fn check_name(&self, project: ProjectId, name: &str) -> Result<()> {
        if self.names.contains(&(project, name.to_owned())) {
            return Err(Error::new(ErrorKind::Conflict, format!("notification policy named {name} already exists")));
        }
        Ok(())
    }

    fn number(&mut self, targets: Vec<Target>, ids: Vec<Option<TargetId>>) -> Vec<PolicyTarget> {
        let number = |(target, id): (Target, Option<TargetId>)| {
            let id = id.unwrap_or_else(|| {
                self.last_target += 1;
                TargetId(self.last_target)
            });
            PolicyTarget { id, target }
        };
        targets.into_iter().zip(ids).map(number).collect()
    }

    fn insert(&mut self, policy: Policy) {
        self.index = None;
        self.names.insert((policy.project_id, policy.name.clone()));
        for target in &policy.targets {
            self.targets.insert(target.id, (policy.id, Arc::new(target.target.clone())));
        }
        self.by_id.insert(policy.id, Arc::new(policy));
    }

    fn remove(&mut self, id: PolicyId) {
        self.index = None;
        if let Some(policy) = self.by_id.remove(&id) {
            self.names.remove(&(policy.project_id, policy.name.clone()));
            for target in &policy.targets {
                self.targets.remove(&target.id);
            }
        }
    }
}
