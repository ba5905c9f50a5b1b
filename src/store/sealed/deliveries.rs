use std::time::Duration;

use async_trait::async_trait;

use super::Sealed;
use crate::delivery::Delivery;
use crate::error::Result;
use crate::event::Event;
use crate::id::{DeliveryId, PolicyId, ProjectId};
use crate::store::{
    Appended, Change, Changed, Claimed, ClaimedEvent, DeliveryStore, Detail, FanOut, Fenced, Filter, Hour, LaneState,
    Lease, Page, Retention, Settled, Settlement, Status, Swept, Usage,
};

/// Passed through: events and deliveries hold no secrets of targets.
#[async_trait]
impl<S: DeliveryStore> DeliveryStore for Sealed<S> {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>> {
        self.store.append(events).await
    }

    async fn claim_events(&self, max: usize, lease: Duration) -> Result<Vec<ClaimedEvent>> {
        self.store.claim_events(max, lease).await
    }

    async fn fan_out(&self, lease: &Lease, part: FanOut) -> Result<Fenced> {
        self.store.fan_out(lease, part).await
    }

    async fn claim(&self, max: usize, lease: Duration) -> Result<Vec<Claimed>> {
        self.store.claim(max, lease).await
    }

    async fn claim_beside(&self, busy: &[ProjectId], max: usize, lease: Duration) -> Result<Vec<Claimed>> {
        self.store.claim_beside(busy, max, lease).await
    }

    async fn settle(&self, results: Vec<Settlement>) -> Result<Vec<Settled>> {
        self.store.settle(results).await
    }

    async fn change(&self, which: &Filter, to: Change, page: Page) -> Result<Changed> {
        self.store.change(which, to, page).await
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
        self.store.sweep(keep, max).await
    }

    async fn status(&self) -> Result<Status> {
        self.store.status().await
    }

    async fn usage(&self) -> Result<Option<Vec<Usage>>> {
        self.store.usage().await
    }

    async fn lanes(&self, which: &Filter) -> Result<Option<Vec<LaneState>>> {
        self.store.lanes(which).await
    }

    async fn hours(&self, which: &Filter) -> Result<Option<Vec<Hour>>> {
        self.store.hours(which).await
    }

    async fn newest(&self, policies: &[PolicyId]) -> Result<Vec<Delivery>> {
        self.store.newest(policies).await
    }

    async fn ready(&self, at_most: Duration) -> Result<()> {
        self.store.ready(at_most).await
    }
}
