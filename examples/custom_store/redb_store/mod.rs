//! A store for webhooks in one redb file, made with the crate's public traits alone.
//!
//! Every call is one redb transaction on a blocking thread: done, or not done. redb allows one writer at a time, so two
//! claims can never see the same row. Rows are JSON; the tables beside them are indexes, and `tx.rs` alone writes both.

mod change;
mod claim;
mod clock;
mod fault;
mod history;
mod outbox;
mod policies;
mod rows;
mod tx;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use harbor_webhook::delivery::Delivery;
use harbor_webhook::store::{
    Appended, Change, Changed, Claimed, ClaimedEvent, DeliveryStore, Detail, FanOut, Fenced, Filter, Lease, Page,
    Retention, Settled, Settlement, Status, Swept,
};
use harbor_webhook::{DeliveryId, Error, ErrorKind, Event, Result};
use redb::{Database, ReadTransaction, ReadableDatabase};
use tokio::sync::Notify;

use clock::Clock;
use fault::Fault;
use policies::View;
use tx::Tx;

/// Policies, events and deliveries in one redb file. Clones share it; one process at a time can open it.
#[derive(Clone)]
pub(crate) struct RedbStore(Arc<Inner>);

struct Inner {
    db: Database,
    clock: Clock,
    /// The policies as they were last written, so that `subscribers` and `resolve` need no disk.
    view: RwLock<Arc<View>>,
    /// Wakes `ready` when something was written.
    written: Notify,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the file, or makes it.
    pub(crate) fn open(path: impl AsRef<Path>) -> Result<Self> {
        let open = || -> Result<Self, Fault> {
            let db = Database::create(path)?;
            let txn = db.begin_write()?;
            let last = Tx::open(&txn, 0)?.last_time()?;
            txn.commit()?;
            let view = RwLock::new(Arc::new(View::read(&db.begin_read()?)?));
            Ok(Self(Arc::new(Inner { db, clock: Clock::after(last), view, written: Notify::new() })))
        };
        Ok(open()?)
    }

    /// One transaction that writes. It ends before the future does, even if the future is dropped.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.0);
        let done = blocking(move || {
            let txn = inner.db.begin_write()?;
            // Taken with the writer's turn, so that time runs the same way as the transactions do.
            let now = inner.clock.now();
            let mut tx = Tx::open(&txn, now)?;
            let result = work(&mut tx)?; // a failure drops the transaction, which undoes it
            tx.save_time()?;
            drop(tx);
            txn.commit()?;
            inner.written.notify_waiters();
            Ok(result)
        });
        done.await
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadTransaction, i64) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.0);
        blocking(move || work(&inner.db.begin_read()?, inner.clock.now())).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(e) => Err(Error::new(ErrorKind::Unavailable, "the store's thread ended").with_source(e)),
    }
}

#[async_trait]
impl DeliveryStore for RedbStore {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>> {
        let events = events.to_vec();
        self.write(move |tx| outbox::append(tx, &events)).await
    }

    async fn claim_events(&self, max: usize, lease: Duration) -> Result<Vec<ClaimedEvent>> {
        self.write(move |tx| outbox::claim(tx, max, lease)).await
    }

    async fn fan_out(&self, lease: &Lease, part: FanOut) -> Result<Fenced> {
        let lease = *lease;
        self.write(move |tx| outbox::fan_out(tx, lease, &part)).await
    }

    async fn claim(&self, max: usize, lease: Duration) -> Result<Vec<Claimed>> {
        self.write(move |tx| claim::claim(tx, max, lease)).await
    }

    async fn settle(&self, results: Vec<Settlement>) -> Result<Vec<Settled>> {
        self.write(move |tx| results.into_iter().map(|result| claim::settle(tx, result)).collect()).await
    }

    async fn change(&self, which: &Filter, to: Change, page: Page) -> Result<Changed> {
        let which = which.clone();
        self.write(move |tx| change::change(tx, &which, to, page)).await
    }

    async fn list(&self, which: &Filter, page: Page) -> Result<Vec<Delivery>> {
        let which = which.clone();
        self.read(move |txn, now| history::list(txn, &which, page, now)).await
    }

    async fn detail(&self, id: DeliveryId) -> Result<Option<Detail>> {
        self.read(move |txn, now| history::detail(txn, id, now)).await
    }

    async fn sweep(&self, keep: &Retention, max: usize) -> Result<Swept> {
        let keep = keep.clone();
        self.write(move |tx| history::sweep(tx, &keep, max)).await
    }

    async fn status(&self) -> Result<Status> {
        self.read(history::status).await
    }

    async fn ready(&self, at_most: Duration) -> Result<()> {
        let end = tokio::time::Instant::now() + at_most;
        loop {
            let mut written = std::pin::pin!(self.0.written.notified());
            // From here on no write goes unseen, so it must come before the look.
            written.as_mut().enable();
            let wait = self.read(outbox::until_work).await?.unwrap_or(at_most);
            let until = (tokio::time::Instant::now() + wait).min(end);
            if wait.is_zero() || tokio::time::timeout_at(until, written).await.is_err() {
                return Ok(());
            }
        }
    }
}
