//! The embedded store: one SQLite file.
//!
//! The file is in WAL mode with `synchronous = FULL`: an event that was taken survives a loss of power. One thread writes;
//! whoever waits for the disk shares the next transaction, so many callers cost one wait. One process sends from a file;
//! others may open it to change policies and to read the history.
//!
//! All tables begin with `harbor_webhook_`, so the file may be the host's own. Addresses and `Authorization` values lie in
//! it in clear: a new file is readable by its owner only.

mod db;
mod deliveries;
mod health;
mod history;
mod outbox;
mod overview;
mod policies;
mod schema;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::Utc;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::{Notify, OnceCell};

use db::{Db, failure};
use writer::{Durability, Writer};

use super::view::{Seen, View};
use super::{
    Appended, Change, Changed, Claimed, ClaimedEvent, DeliveryStore, Detail, FanOut, Fenced, Filter, Hour, LaneState,
    Lease, OutboxRow, Page, PolicyFilter, PolicySource, PolicyStore, Resolved, Retention, Settled, Settlement, Status,
    Swept, Usage,
};
use crate::clock::{Clock, SystemClock};
use crate::delivery::Delivery;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventType};
use crate::id::{DeliveryId, PolicyId, ProjectId, TargetId};
use crate::policy::{Policy, PolicyDraft};

/// Read connections kept for reuse.
const READERS: usize = 4;
/// A group's pages stay in memory until its commit (8 MiB, filled as needed), and the log grows to 16 MiB before its pages go
/// into the file: pages that change often are written there once for many changes. What a savepoint must remember stays in memory
/// too: it was ten times as many writes as all others.
const WRITER: &str = "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8192; PRAGMA wal_autocheckpoint = 4000;";
/// How old the view of the policies may be that says where deliveries go.
const RESOLVE_AGE: Duration = Duration::from_millis(900);

/// Keeps everything in one SQLite file.
///
/// A handle: clones are the same store. The writer thread starts with [`SqliteStore::open`] and ends with the last handle.
///
/// ```no_run
/// # async fn open() -> Result<(), harbor_webhook::Error> {
/// use harbor_webhook::store::SqliteStore;
///
/// let store = SqliteStore::open("webhooks.db").await?;
/// store.migrate().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    writer: Writer,
    readers: Mutex<Vec<Connection>>,
    view: View,
    changed: Notify,
    /// The lock that makes this the one sender of the file.
    sender: OnceCell<File>,
    /// Different for every claim, also of processes before and after this one: it starts at the time of opening.
    last_token: AtomicI64,
    /// Milliseconds of the store's clock when it was opened.
    clock: OnceCell<i64>,
    opened: Instant,
}

/// The present, in milliseconds: on the store's clock, which never jumps, and on the wall.
#[derive(Clone, Copy, Debug)]
struct Now {
    store: i64,
    wall: i64,
}

impl Now {
    /// The store's time, from its beginning.
    fn since_start(self) -> Duration {
        Duration::from_millis(self.store.max(0).unsigned_abs())
    }

    /// When the present hour began on the wall.
    fn hour(self) -> i64 {
        self.wall - self.wall.rem_euclid(3_600_000)
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}

impl SqliteStore {
    /// Appends an event to the outbox within a transaction of the host's, on a connection of its own to the same file.
    ///
    /// Its parameters are those of an [`OutboxRow`]: the 16 bytes of the event's id, and the event's JSON. Intake sees the
    /// event within a second of the commit. While the host's transaction is open nobody else can write to the file: deliveries
    /// wait then, and none is lost.
    pub const OUTBOX_INSERT: &str =
        "INSERT INTO harbor_webhook_outbox (event_id, event) VALUES (?1, ?2) ON CONFLICT DO NOTHING";

    /// Opens the file, or makes it. Call [`SqliteStore::migrate`] before anything else.
    ///
    /// # Errors
    ///
    /// [`Store`](ErrorKind::Store) if the file is not a SQLite database, is damaged, or was written by a newer version of
    /// this crate; [`Unavailable`](ErrorKind::Unavailable) if it cannot be opened.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let at = path.clone();
        let conn = blocking(move || {
            let conn = connect(&at)?;
            schema::check(&Db::new(&conn))?;
            conn.execute_batch(WRITER).map_err(failure)?;
            Ok(conn)
        });
        let conn = conn.await.map_err(|e| at_path(&path, e))?;
        let inner = Inner {
            path,
            writer: Writer::start(conn, deliveries::place)?,
            readers: Mutex::default(),
            view: View::default(),
            changed: Notify::new(),
            sender: OnceCell::new(),
            last_token: AtomicI64::new(Utc::now().timestamp_micros()),
            clock: OnceCell::new(),
            opened: Instant::now(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes the tables, or brings them to this version. Doing it again changes nothing.
    ///
    /// # Errors
    ///
    /// The database's.
    pub async fn migrate(&self) -> Result<()> {
        self.inner.writer.write(Durability::Full, schema::migrate).await
    }

    /// Reads on a connection of its own, beside the writer.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Db<'_>, &View) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let idle = inner.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let conn = match idle {
                Some(conn) => conn,
                None => connect(&inner.path)?,
            };
            let result = read(&Db::new(&conn), &inner.view);
            let mut readers = inner.readers.lock().unwrap_or_else(PoisonError::into_inner);
            if readers.len() < READERS {
                readers.push(conn);
            }
            result
        })
        .await
    }

    /// Changes deliveries or events, and wakes who waits for work.
    async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        change: impl FnOnce(&Db<'_>, Now) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let now = self.now().await?;
        let result = self.inner.writer.write(durability, move |db| change(db, now)).await;
        if durability == Durability::Full {
            self.inner.changed.notify_waiters();
        }
        result
    }

    /// Changes policies or the switch.
    async fn write_policies<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Db<'_>, Now) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let result = self.write(Durability::Full, change).await;
        self.inner.view.forget();
        result
    }

    /// The store's clock starts at the wall's time, or where it was last seen if the wall's has gone back since.
    async fn now(&self) -> Result<Now> {
        let wall = Utc::now().timestamp_millis();
        let read = || async {
            let sql = "SELECT value FROM harbor_webhook_meta WHERE key = 'clock'";
            let mark = self.read(move |db, _| db.number(sql, [])).await?;
            Ok::<_, Error>(mark.max(wall).saturating_sub(millis(self.inner.opened.elapsed())))
        };
        let start = self.inner.clock.get_or_try_init(read).await?;
        Ok(Now { store: start.saturating_add(millis(self.inner.opened.elapsed())), wall })
    }

    fn token(&self) -> i64 {
        self.inner.last_token.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes the sending lock, once. Whoever held leases on the file has ended, so they are all free.
    async fn send(&self) -> Result<()> {
        let take = || async {
            let path = self.inner.path.clone();
            let lock = blocking(move || lock(&path)).await?;
            self.write(Durability::Process, deliveries::lose_all).await?;
            Ok::<_, Error>(lock)
        };
        self.inner.sender.get_or_try_init(take).await.map(|_| ())
    }

    /// An answer from the view, after another look if it is too old.
    async fn ask_view<T>(&self, max_age: Duration, answer: impl Fn(&Seen) -> T) -> Result<T> {
        self.inner.view.ask(max_age, answer, || self.read(policies::refresh)).await
    }
}

#[async_trait]
impl PolicySource for SqliteStore {
    async fn subscribers(&self, project: ProjectId, kind: EventType, max_age: Duration) -> Result<Vec<Arc<Policy>>> {
        self.ask_view(max_age, |seen| seen.subscribers(project, kind)).await
    }

    async fn resolve(&self, targets: &[TargetId]) -> Result<Vec<Resolved>> {
        self.ask_view(RESOLVE_AGE, |seen| targets.iter().map(|target| seen.resolve(*target)).collect()).await
    }
}

#[async_trait]
impl PolicyStore for SqliteStore {
    async fn create(&self, project: ProjectId, draft: PolicyDraft) -> Result<Policy> {
        self.write_policies(move |db, _| policies::create(db, project, draft, SystemClock.now())).await
    }

    async fn replace(&self, id: PolicyId, draft: PolicyDraft) -> Result<Policy> {
        self.write_policies(move |db, _| policies::replace(db, id, draft, SystemClock.now())).await
    }

    async fn delete(&self, which: PolicyFilter) -> Result<u64> {
        let delete = move |db: &Db<'_>, now| {
            let gone = policies::delete(db, which)?;
            gone.iter().try_for_each(|policy| history::cancel_policy(db, *policy, now))?;
            Ok(gone.len() as u64)
        };
        self.write_policies(delete).await
    }

    async fn policies(&self, which: PolicyFilter, page: Page) -> Result<Vec<Policy>> {
        self.read(move |db, _| policies::list(db, which, page)).await
    }

    async fn switch(&self, on: Option<bool>) -> Result<bool> {
        match on {
            None => self.read(|db, _| policies::is_on(db)).await,
            Some(on) => {
                self.write_policies(move |db, _| policies::switch(db, on)).await?;
                Ok(on)
            }
        }
    }
}

#[async_trait]
impl DeliveryStore for SqliteStore {
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>> {
        let rows = events.iter().map(OutboxRow::unchecked).collect::<Result<Vec<_>>>()?;
        self.write(Durability::Full, move |db, now| outbox::append(db, &rows, now)).await
    }

    async fn claim_events(&self, max: usize, lease: Duration) -> Result<Vec<ClaimedEvent>> {
        self.send().await?;
        let token = self.token();
        let claim =
            move |db: &Db<'_>, now: Now| outbox::claim(db, max, now.store.saturating_add(millis(lease)), token, now);
        self.write(Durability::Process, claim).await
    }

    async fn fan_out(&self, lease: &Lease, part: FanOut) -> Result<Fenced> {
        let lease = *lease;
        self.write(Durability::Full, move |db, now| outbox::fan_out(db, &lease, part, now)).await
    }

    async fn claim(&self, max: usize, lease: Duration) -> Result<Vec<Claimed>> {
        self.claim_beside(&[], max, lease).await
    }

    async fn claim_beside(&self, busy: &[ProjectId], max: usize, lease: Duration) -> Result<Vec<Claimed>> {
        self.send().await?;
        let (busy, token) = (busy.to_vec(), self.token());
        let claim = move |db: &Db<'_>, now: Now| {
            deliveries::claim(db, &busy, max, now.store.saturating_add(millis(lease)), token, now)
        };
        self.write(Durability::Process, claim).await
    }

    async fn settle(&self, results: Vec<Settlement>) -> Result<Vec<Settled>> {
        self.write(Durability::Full, move |db, now| deliveries::settle(db, &results, now)).await
    }

    async fn change(&self, which: &Filter, to: Change, page: Page) -> Result<Changed> {
        let which = which.clone();
        self.write(Durability::Full, move |db, now| history::change(db, &which, to, page, now)).await
    }

    async fn list(&self, which: &Filter, page: Page) -> Result<Vec<Delivery>> {
        let (which, now) = (which.clone(), self.now().await?);
        self.read(move |db, _| history::list(db, &which, page, now)).await
    }

    async fn count(&self, which: &Filter) -> Result<u64> {
        let which = which.clone();
        self.read(move |db, _| history::count(db, &which)).await
    }

    async fn detail(&self, id: DeliveryId) -> Result<Option<Detail>> {
        let now = self.now().await?;
        self.read(move |db, _| history::detail(db, id, now)).await
    }

    async fn sweep(&self, keep: &Retention, max: usize) -> Result<Swept> {
        let keep = keep.clone();
        self.write(Durability::Full, move |db, now| history::sweep(db, &keep, max, now)).await
    }

    async fn status(&self) -> Result<Status> {
        let now = self.now().await?;
        self.read(move |db, _| history::status(db, now)).await
    }

    async fn usage(&self) -> Result<Option<Vec<Usage>>> {
        self.read(move |db, _| history::usage(db)).await.map(Some)
    }

    async fn lanes(&self, which: &Filter) -> Result<Option<Vec<LaneState>>> {
        let (which, now) = (which.clone(), self.now().await?);
        self.read(move |db, _| overview::lanes(db, &which, now)).await.map(Some)
    }

    async fn hours(&self, which: &Filter) -> Result<Option<Vec<Hour>>> {
        let (which, now) = (which.clone(), self.now().await?);
        self.read(move |db, _| overview::hours(db, &which, now)).await.map(Some)
    }

    async fn newest(&self, policies: &[PolicyId]) -> Result<Vec<Delivery>> {
        let (policies, now) = (policies.to_vec(), self.now().await?);
        self.read(move |db, _| history::newest(db, &policies, now)).await
    }

    async fn ready(&self, at_most: Duration) -> Result<()> {
        // Listens before it looks, so that nothing can happen in between.
        let changed = self.inner.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let now = self.now().await?;
        let due_in = self.read(move |db, _| history::due_in(db, now)).await?;
        let pause = due_in.map_or(at_most, |due| due.min(at_most));
        if !pause.is_zero() {
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(())
    }
}

/// Opens a connection with the settings that all of them have. A new file is readable by its owner only.
fn connect(path: &Path) -> Result<Connection> {
    create(path)?;
    let conn = Connection::open(path).map_err(|e| unopened(path, e))?;
    conn.busy_timeout(Duration::from_secs(5)).map_err(failure)?;
    let set = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF;";
    conn.execute_batch(set).map_err(failure)?;
    // Otherwise a statement with a bound LIMIT is planned anew for each use.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(failure)?;
    Ok(conn)
}

/// Makes an empty file if there is none.
///
/// One that is there must not be opened but by SQLite: whoever closes any handle of a file gives up all locks that the process
/// has on it, those of SQLite too, and another process would then take the write-ahead log away from under it.
fn create(path: &Path) -> Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(unopened(path, e)),
        _ => Ok(()),
    }
}

fn unopened(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{} cannot be opened: {error}", path.display())).with_source(error)
}

/// Makes this process the one that sends from the file.
fn lock(path: &Path) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push("-sender");
    let file = File::options().write(true).create(true).truncate(false).open(&name);
    let file = file.map_err(|e| unopened(Path::new(&name), e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(e) => Err(Error::new(
            ErrorKind::Store,
            format!(
                "{} is already used for sending, by another process or another handle; one process sends from a file: \
                 stop the other one",
                path.display()
            ),
        )
        .with_source(e)),
    }
}

fn at_path(path: &Path, error: Error) -> Error {
    Error::new(error.kind(), format!("{}: {error}", path.display())).with_source(error)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::new(ErrorKind::Unavailable, "the runtime is shutting down").with_source(e)),
    }
}
