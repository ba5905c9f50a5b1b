use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use harbor_webhook::delivery::Delivery;
use harbor_webhook::policy::{Policy, PolicyDraft};
use harbor_webhook::store::{
    Appended, Change, Changed, Claimed, ClaimedEvent, DeliveryStore, Detail, FanOut, Fenced, Filter, Lease,
    MemoryStore, Page, PolicyFilter, PolicySource, PolicyStore, Resolved, Retention, Settled, Settlement, Status,
    Swept, Usage,
};
use harbor_webhook::{DeliveryId, Error, ErrorKind, Event, EventType, PolicyId, ProjectId, Result, TargetId};

use super::random::Random;

/// A store that answers late, fails before it has done anything, or has done it and loses the answer.
#[derive(Clone, Debug)]
pub(crate) struct Faulty {
    pub(crate) store: MemoryStore,
    random: Arc<Random>,
    pub(crate) faults: Arc<AtomicBool>,
}

impl Faulty {
    pub(crate) fn new(store: MemoryStore, random: Arc<Random>) -> Self {
        Self { store, random, faults: Arc::new(AtomicBool::new(true)) }
    }

    async fn disturbed<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        if !self.faults.load(Ordering::Relaxed) {
            return work.await;
        }
        if self.random.one_in(4) {
            tokio::time::sleep(self.random.up_to(Duration::from_millis(300))).await;
        }
        if self.random.one_in(30) {
            return Err(Error::new(ErrorKind::Unavailable, "the store failed"));
        }
        let result = work.await;
        if self.random.one_in(4) {
            tokio::time::sleep(self.random.up_to(Duration::from_millis(300))).await;
        }
        if self.random.one_in(30) {
            return Err(Error::new(ErrorKind::Unavailable, "the store's answer was lost"));
        }
        result
    }
}

#[async_trait]
impl PolicySource for Faulty {
    async fn subscribers(&self, project: ProjectId, kind: EventType, max_age: Duration) -> Result<Vec<Arc<Policy>>> {
        self.disturbed(self.store.subscribers(project, kind, max_age)).await
    }
    async fn resolve(&self, targets: &[TargetId]) -> Result<Vec<Resolved>> {
        self.disturbed(self.store.resolve(targets)).await
    }
}

#[async_trait]
impl PolicyStore for Faulty {
    async fn create(&self, project: ProjectId, draft: PolicyDraft) -> Result<Policy> {
        self.store.create(project, draft).await
    }
    async fn replace(&self, id: PolicyId, draft: PolicyDraft) -> Result<Policy> {
        self.store.replace(id, draft).await
    }
    async fn delete(&self, which: PolicyFilter) -> Result<u64> {
        self.store.delete(which).await
    }
    async fn policies(&self, which: PolicyFilter, page: Page) -> Result<Vec<Policy>> {
        self.store.policies(which, page).await
    }
    async fn switch(&self, on: Option<bool>) -> Result<bool> {
        self.store.switch(on).await
    }
}

#[async_trait]
impl DeliveryStore for Faulty {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>> {
        self.disturbed(self.store.append(events)).await
    }
    async fn claim_events(&self, max: usize, lease: Duration) -> Result<Vec<ClaimedEvent>> {
        self.disturbed(self.store.claim_events(max, lease)).await
    }
    async fn fan_out(&self, lease: &Lease, part: FanOut) -> Result<Fenced> {
        self.disturbed(self.store.fan_out(lease, part)).await
    }
    async fn claim(&self, max: usize, lease: Duration) -> Result<Vec<Claimed>> {
        self.disturbed(self.store.claim(max, lease)).await
    }
    async fn claim_beside(&self, busy: &[ProjectId], max: usize, lease: Duration) -> Result<Vec<Claimed>> {
        self.disturbed(self.store.claim_beside(busy, max, lease)).await
    }
    async fn settle(&self, results: Vec<Settlement>) -> Result<Vec<Settled>> {
        self.disturbed(self.store.settle(results)).await
    }
    async fn change(&self, which: &Filter, to: Change, page: Page) -> Result<Changed> {
        self.disturbed(self.store.change(which, to, page)).await
    }
    async fn list(&self, which: &Filter, page: Page) -> Result<Vec<Delivery>> {
        self.store.list(which, page).await
    }
    async fn count(&self, which: &Filter) -> Result<u64> {
        self.store.count(which).await
    }
    async fn detail(&self, id: DeliveryId) -> Result<Option<Detail>> {
        self.store.detail(id).await
    }
    async fn sweep(&self, keep: &Retention, max: usize) -> Result<Swept> {
        self.disturbed(self.store.sweep(keep, max)).await
    }
    async fn usage(&self) -> Result<Option<Vec<Usage>>> {
        self.store.usage().await
    }

    async fn status(&self) -> Result<Status> {
        self.store.status().await
    }
    async fn ready(&self, at_most: Duration) -> Result<()> {
        self.disturbed(self.store.ready(at_most)).await
    }
}
