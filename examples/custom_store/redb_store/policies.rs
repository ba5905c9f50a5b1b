//! The policies, and the view of them that sending reads.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use harbor_webhook::policy::{Policy, PolicyDraft, PolicyIndex, Target, TargetOptions};
use harbor_webhook::store::{Hold, Page, PolicyFilter, PolicySource, PolicyStore, Resolved, pair_targets};
use harbor_webhook::{ErrorKind, EventType, PolicyId, ProjectId, Result, TargetId};
use redb::{ReadTransaction, ReadableDatabase, ReadableTable};
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::rows::newer;
use super::tx::{self, Tx, json};
use super::{RedbStore, blocking};

/// A policy as it is kept. Whoever may read the file may read its secrets.
#[derive(Deserialize, Serialize)]
struct PolicyRow {
    project: ProjectId,
    name: String,
    description: String,
    targets: Vec<TargetRow>,
    event_types: Vec<EventType>,
    creator: String,
    created: DateTime<Utc>,
    updated: DateTime<Utc>,
    enabled: bool,
}

#[derive(Deserialize, Serialize)]
struct TargetRow {
    id: TargetId,
    kind: String,
    address: String,
    auth: Option<String>,
    skip_cert_verify: bool,
    format: Option<String>,
    options: Option<String>,
}

impl PolicyRow {
    fn new(policy: &Policy) -> Self {
        let targets = policy.targets.iter().map(|target| TargetRow::new(target.id, &target.target)).collect();
        Self {
            project: policy.project_id,
            name: policy.name.clone(),
            description: policy.description.clone(),
            targets,
            event_types: policy.event_types.clone(),
            creator: policy.creator.clone(),
            created: policy.creation_time,
            updated: policy.update_time,
            enabled: policy.enabled,
        }
    }

    fn policy(self, id: PolicyId) -> Result<Policy, Fault> {
        let ids: Vec<TargetId> = self.targets.iter().map(|target| target.id).collect();
        let mut draft = PolicyDraft::new(self.name).on_all(self.event_types);
        draft = draft.description(self.description).creator(self.creator).enabled(self.enabled);
        for target in self.targets {
            draft = draft.target(target.target()?);
        }
        let mut policy = Policy::new(id, self.project, draft, ids, self.created);
        policy.update_time = self.updated;
        Ok(policy)
    }
}

impl TargetRow {
    fn new(id: TargetId, target: &Target) -> Self {
        Self {
            id,
            kind: target.target_type.to_string(),
            address: target.address.expose().to_owned(),
            auth: target.auth_header.as_ref().map(|auth| auth.expose().to_owned()),
            skip_cert_verify: target.skip_cert_verify,
            format: target.payload_format.clone(),
            options: target.options.to_text(),
        }
    }

    fn target(self) -> Result<Target, Fault> {
        let mut target = Target::new(self.kind.parse()?, &self.address)?.skip_cert_verify(self.skip_cert_verify);
        if let Some(auth) = self.auth {
            target = target.auth_header(&auth)?;
        }
        target.payload_format = self.format;
        target.options = TargetOptions::from_text(self.options.as_deref())?;
        Ok(target)
    }
}

/// All policies, ready to be asked.
#[derive(Default)]
pub(super) struct View {
    on: bool,
    index: PolicyIndex,
    targets: HashMap<TargetId, (bool, Arc<Target>)>,
}

impl View {
    pub(super) fn read(txn: &ReadTransaction) -> Result<Self, Fault> {
        let policies = all(&txn.open_table(tx::POLICIES)?)?;
        let mut targets = HashMap::new();
        for policy in &policies {
            let of = policy.targets.iter().map(|t| (t.id, (policy.enabled, Arc::new(t.target.clone()))));
            targets.extend(of);
        }
        let on = tx::count(&txn.open_table(tx::META)?, "off")? == 0;
        Ok(Self { on, index: policies.into_iter().map(Arc::new).collect(), targets })
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

/// All policies, oldest first.
fn all(policies: &impl ReadableTable<i64, &'static [u8]>) -> Result<Vec<Policy>, Fault> {
    let mut all = Vec::new();
    for entry in policies.iter()? {
        let (id, row) = entry?;
        all.push(serde_json::from_slice::<PolicyRow>(row.value())?.policy(PolicyId(id.value()))?);
    }
    Ok(all)
}

impl RedbStore {
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.0.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes policies, then renews the view.
    async fn write_policies<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        let result = self.write(work).await?;
        let inner = Arc::clone(&self.0);
        let renewed = blocking(move || {
            // Read under the lock, so that the newest view is the last one written.
            let mut view = inner.view.write().unwrap_or_else(PoisonError::into_inner);
            *view = Arc::new(View::read(&inner.db.begin_read()?)?);
            Ok(())
        });
        renewed.await?;
        Ok(result)
    }
}

#[async_trait]
impl PolicySource for RedbStore {
    async fn subscribers(
        &self,
        project: ProjectId,
        event_type: EventType,
        _max_age: Duration,
    ) -> Result<Vec<Arc<Policy>>> {
        let view = self.view();
        Ok(if view.on { view.index.subscribers(project, event_type).to_vec() } else { Vec::new() })
    }

    async fn resolve(&self, targets: &[TargetId]) -> Result<Vec<Resolved>> {
        let view = self.view();
        Ok(targets.iter().map(|target| view.resolve(*target)).collect())
    }
}

#[async_trait]
impl PolicyStore for RedbStore {
    async fn create(&self, project: ProjectId, draft: PolicyDraft) -> Result<Policy> {
        self.write_policies(move |tx| create(tx, project, draft)).await
    }

    async fn replace(&self, id: PolicyId, draft: PolicyDraft) -> Result<Policy> {
        self.write_policies(move |tx| replace(tx, id, draft)).await
    }

    async fn delete(&self, which: PolicyFilter) -> Result<u64> {
        self.write_policies(move |tx| delete(tx, which)).await
    }

    async fn policies(&self, which: PolicyFilter, page: Page) -> Result<Vec<Policy>> {
        self.read(move |txn, _| {
            let mut policies = all(&txn.open_table(tx::POLICIES)?)?;
            policies.retain(|policy| selects(which, policy.id, policy.project_id));
            if !page.oldest_first {
                policies.reverse();
            }
            let behind = |id: i64, after: i64| if page.oldest_first { id > after } else { id < after };
            policies.retain(|policy| page.after.is_none_or(|after| behind(policy.id.0, after)));
            Ok(policies.into_iter().skip(page.skip).take(page.limit).collect())
        })
        .await
    }

    async fn switch(&self, on: Option<bool>) -> Result<bool> {
        let Some(on) = on else { return Ok(self.view().on) };
        self.write_policies(move |tx| {
            tx.meta.insert("off", i64::from(!on))?;
            Ok(on)
        })
        .await
    }
}

fn create(tx: &mut Tx<'_>, project: ProjectId, draft: PolicyDraft) -> Result<Policy, Fault> {
    name_is_free(tx, project, &draft.name, None)?;
    let id = PolicyId(tx.next("policy")?);
    let ids = draft.targets.iter().map(|_| tx.next("target").map(TargetId)).collect::<Result<Vec<_>, _>>()?;
    let policy = Policy::new(id, project, draft, ids, Utc::now());
    save(tx, &policy)?;
    Ok(policy)
}

fn replace(tx: &mut Tx<'_>, id: PolicyId, mut draft: PolicyDraft) -> Result<Policy, Fault> {
    let old = json::<PolicyRow>(tx.policies.get(id.0)?)?;
    let not_found = || Fault::told(ErrorKind::NotFound, format!("notificationPolicy {id} not found"));
    let old = old.ok_or_else(not_found)?.policy(id)?;
    name_is_free(tx, old.project_id, &draft.name, Some(id))?;
    if draft.creator.is_empty() {
        draft.creator = old.creator;
    }
    let mut ids = Vec::new();
    for kept in pair_targets(&old.targets, &draft.targets) {
        ids.push(match kept {
            Some(id) => id,
            None => TargetId(tx.next("target")?),
        });
    }
    let mut policy = Policy::new(id, old.project_id, draft, ids, old.creation_time);
    policy.update_time = Utc::now();
    save(tx, &policy)?;
    Ok(policy)
}

fn name_is_free(tx: &Tx<'_>, project: ProjectId, name: &str, but: Option<PolicyId>) -> Result<(), Fault> {
    let taken = all(&tx.policies)?.into_iter().any(|p| p.project_id == project && p.name == name && Some(p.id) != but);
    match taken {
        true => Err(Fault::told(ErrorKind::Conflict, format!("notification policy named {name} already exists"))),
        false => Ok(()),
    }
}

fn save(tx: &mut Tx<'_>, policy: &Policy) -> Result<(), Fault> {
    tx.policies.insert(policy.id.0, &*serde_json::to_vec(&PolicyRow::new(policy))?)?;
    Ok(())
}

fn delete(tx: &mut Tx<'_>, which: PolicyFilter) -> Result<u64, Fault> {
    if !matches!(which, PolicyFilter::All | PolicyFilter::Project(_) | PolicyFilter::Id(_)) {
        return Err(newer("a filter of policies"));
    }
    let gone: Vec<i64> =
        all(&tx.policies)?.into_iter().filter(|p| selects(which, p.id, p.project_id)).map(|p| p.id.0).collect();
    for id in &gone {
        tx.policies.remove(id)?;
    }
    Ok(gone.len() as u64)
}

fn selects(which: PolicyFilter, id: PolicyId, project: ProjectId) -> bool {
    match which {
        PolicyFilter::All => true,
        PolicyFilter::Project(wanted) => wanted == project,
        PolicyFilter::Id(wanted) => wanted == id,
        _ => false,
    }
}
