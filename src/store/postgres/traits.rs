use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::batch::giving_way;
use super::{PostgresStore, RESOLVE_AGE};
use super::{change, claim, fan_out, history, outbox, overview, policies, settle, sweep};
use crate::delivery::Delivery;
use crate::error::Result;
use crate::event::{Event, EventType};
use crate::id::{DeliveryId, PolicyId, ProjectId, TargetId};
use crate::policy::{Policy, PolicyDraft};
use crate::store::{
    Appended, Change, Changed, Claimed, ClaimedEvent, DeliveryStore, Detail, FanOut, Fenced, Filter, Hour, LaneState,
    Lease, OutboxRow, Page, PolicyFilter, PolicySource, PolicyStore, Resolved, Retention, Settled, Settlement, Status,
    Swept, Usage,
};

#[async_trait]
impl PolicySource for PostgresStore {
    async fn subscribers(&self, project: ProjectId, kind: EventType, max_age: Duration) -> Result<Vec<Arc<Policy>>> {
        self.ask_view(max_age, |seen| seen.subscribers(project, kind)).await
    }

    async fn resolve(&self, targets: &[TargetId]) -> Result<Vec<Resolved>> {
        self.ask_view(RESOLVE_AGE, |seen| targets.iter().map(|target| seen.resolve(*target)).collect()).await
    }
}

#[async_trait]
impl PolicyStore for PostgresStore {
    async fn create(&self, project: ProjectId, draft: PolicyDraft) -> Result<Policy> {
        let create = async {
            let db = self.db().await?;
            db.begin().await?;
            let policy = policies::create(&db, project, draft).await?;
            self.commit(&db).await?;
            Ok(policy)
        };
        self.change_policies(create).await
    }

    async fn replace(&self, id: PolicyId, draft: PolicyDraft) -> Result<Policy> {
        let replace = async {
            let db = self.db().await?;
            db.begin().await?;
            let policy = policies::replace(&db, id, draft).await?;
            self.commit(&db).await?;
            Ok(policy)
        };
        self.change_policies(replace).await
    }

    async fn delete(&self, which: PolicyFilter) -> Result<u64> {
        let delete = || async {
            let db = self.db().await?;
            db.begin().await?;
            let gone = policies::delete(&db, which).await?;
            for policy in &gone {
                change::cancel_policy(&db, *policy).await?;
            }
            self.commit(&db).await?;
            Ok(gone.len() as u64)
        };
        self.change_policies(giving_way(delete)).await
    }

    async fn policies(&self, which: PolicyFilter, page: Page) -> Result<Vec<Policy>> {
        self.bounded(async { policies::list(&self.db().await?, which, page).await }).await
    }

    async fn switch(&self, on: Option<bool>) -> Result<bool> {
        let Some(on) = on else {
            return self.bounded(async { policies::is_on(&self.db().await?).await }).await;
        };
        let switch = async {
            let db = self.db().await?;
            db.begin().await?;
            policies::switch(&db, on).await?;
            self.commit(&db).await?;
            Ok(on)
        };
        self.change_policies(switch).await
    }
}

#[async_trait]
impl DeliveryStore for PostgresStore {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>> {
        let rows = events.iter().map(OutboxRow::unchecked).collect::<Result<Vec<_>>>()?;
        let store = self.clone();
        let append = move |calls: Arc<Vec<Vec<OutboxRow>>>| {
            let store = store.clone();
            async move {
                store
                    .bounded(async {
                        let db = store.db().await?;
                        let appended = outbox::append(&db, &store.inner.intake, &calls).await?;
                        store.changed(&db).await;
                        Ok(appended)
                    })
                    .await
            }
        };
        self.inner.appends.submit(rows, append).await
    }

    async fn claim_events(&self, max: usize, lease: Duration) -> Result<Vec<ClaimedEvent>> {
        self.bounded(async {
            let db = self.db().await?;
            if self.is_full(&db).await? {
                Ok(Vec::new())
            } else {
                outbox::claim(&db, &self.inner.intake, max, lease).await
            }
        })
        .await
    }

    async fn fan_out(&self, lease: &Lease, part: FanOut) -> Result<Fenced> {
        let store = self.clone();
        let fan_out = move |parts: Arc<Vec<fan_out::Part>>| {
            let store = store.clone();
            async move {
                let written = store
                    .bounded(async { fan_out::fan_out(&store.db().await?, &store.inner.turns, &parts).await })
                    .await;
                store.inner.changed.notify_waiters();
                written
            }
        };
        self.inner.fan_outs.submit((*lease, part), fan_out).await
    }

    async fn claim(&self, max: usize, lease: Duration) -> Result<Vec<Claimed>> {
        self.claim_beside(&[], max, lease).await
    }

    async fn claim_beside(&self, busy: &[ProjectId], max: usize, lease: Duration) -> Result<Vec<Claimed>> {
        let busy: Vec<i64> = busy.iter().map(|project| project.0).collect();
        self.bounded(async { claim::claim(&self.db().await?, &self.inner.turns, &busy, max, lease).await }).await
    }

    async fn settle(&self, results: Vec<Settlement>) -> Result<Vec<Settled>> {
        let store = self.clone();
        let settle = move |calls: Arc<Vec<Vec<Settlement>>>| {
            let store = store.clone();
            async move {
                let settled =
                    store.bounded(async { settle::settle(&store.db().await?, &store.inner.turns, &calls).await }).await;
                store.inner.changed.notify_waiters();
                settled
            }
        };
        self.inner.settlements.submit(results, settle).await
    }

    async fn change(&self, which: &Filter, to: Change, page: Page) -> Result<Changed> {
        let change = || async {
            let db = self.db().await?;
            db.begin().await?;
            let changed = change::change(&db, which, to, page).await?;
            self.commit(&db).await?;
            Ok(changed)
        };
        self.bounded(giving_way(change)).await
    }

    async fn list(&self, which: &Filter, page: Page) -> Result<Vec<Delivery>> {
        self.bounded(async { history::list(&self.db().await?, which, page).await }).await
    }

    async fn count(&self, which: &Filter) -> Result<u64> {
        self.bounded(async { history::count(&self.db().await?, which).await }).await
    }

    async fn detail(&self, id: DeliveryId) -> Result<Option<Detail>> {
        self.bounded(async { history::detail(&self.db().await?, id).await }).await
    }

    async fn sweep(&self, keep: &Retention, max: usize) -> Result<Swept> {
        let sweep = || async { sweep::sweep(&self.db().await?, self.inner.schema.lock, keep, max).await };
        self.bounded(giving_way(sweep)).await
    }

    async fn status(&self) -> Result<Status> {
        self.bounded(async { history::status(&self.db().await?).await }).await
    }

    async fn usage(&self) -> Result<Option<Vec<Usage>>> {
        self.bounded(async { history::usage(&self.db().await?).await }).await.map(Some)
    }

    async fn lanes(&self, which: &Filter) -> Result<Option<Vec<LaneState>>> {
        self.bounded(async { overview::lanes(&self.db().await?, which).await }).await.map(Some)
    }

    async fn hours(&self, which: &Filter) -> Result<Option<Vec<Hour>>> {
        self.bounded(async { overview::hours(&self.db().await?, which).await }).await.map(Some)
    }

    async fn newest(&self, policies: &[PolicyId]) -> Result<Vec<Delivery>> {
        self.bounded(async { history::newest(&self.db().await?, policies).await }).await
    }

    async fn ready(&self, at_most: Duration) -> Result<()> {
        // Listens before it looks, so that nothing can happen in between.
        let changed = self.inner.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let due_in = self.bounded(async { history::due_in(&self.db().await?).await }).await?;
        let pause = [due_in, self.recently_told()].into_iter().flatten().fold(at_most, Duration::min);
        if !pause.is_zero() {
            tokio::select! {
                () = changed => {}
                () = self.hear() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(())
    }
}
