//! The store for several nodes: PostgreSQL 13 or newer.
//!
//! Any number of dispatchers, on any number of nodes, share the work of one schema. Time is the server's. A policy that is
//! changed on one node holds there at once, and on the others within a second.
//!
//! The host brings the connections, and with them TLS: [`PostgresStore::new`] takes a pool. The crates whose types it takes
//! are re-exported: [`deadpool_postgres`] and [`tokio_postgres`].
//!
//! All tables lie in one schema of the host's choice, made by [`PostgresStore::migrate`]; the crate touches nothing outside
//! it, so that other migrations in the same database do not meet it. Addresses and `Authorization` values lie in it in clear.
//!
//! Statements are prepared and cached for each connection: a proxy that gives every transaction another connection must
//! know prepared statements (PgBouncer does since 1.21).

mod batch;
mod change;
mod claim;
mod connect;
mod db;
mod fan_out;
mod health;
mod history;
mod lanes;
mod listen;
mod outbox;
mod overview;
mod policies;
mod schema;
mod settle;
mod sweep;
mod traits;
mod turns;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::{ManagerConfig, Pool, RecyclingMethod};
use tokio::sync::{Notify, OnceCell};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Config, Socket};
use uuid::Uuid;

pub use deadpool_postgres;
pub use tokio_postgres;

use batch::Batcher;
use connect::EachHost;
use db::{Db, Schema, failure, is_read_only};
use listen::Listener;
use turns::Turns;

use super::view::{Seen, View};
use super::{Appended, Fenced, OutboxRow, Settled, Settlement};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;

/// The longest time for one piece of work. A server that does not answer is an error by then, and the connection is given up.
const LIMIT: Duration = Duration::from_secs(10);
/// The same for migrations, which may wait for those of another node.
const LIMIT_MIGRATE: Duration = Duration::from_secs(300);
/// How old the view of the policies may be that says where deliveries go.
const RESOLVE_AGE: Duration = Duration::from_millis(900);
/// The shortest time between two words to the other nodes.
const TELL: Duration = Duration::from_millis(50);
/// Waiting deliveries at which intake stops. What is appended then stays in the outbox, until that is full too.
const MAX_WAITING: i64 = 1_000_000;
/// The connections of a pool that [`PostgresStore::connect`] makes.
const CONNECTIONS: usize = 8;

/// Keeps everything in one schema of a PostgreSQL database, for any number of nodes.
///
/// A handle: clones are the same store.
///
/// ```no_run
/// # async fn open() -> Result<(), harbor_webhook::Error> {
/// use harbor_webhook::store::PostgresStore;
///
/// let store = PostgresStore::connect("postgres://registry@db/registry", "harbor_webhook")?;
/// store.migrate().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: Pool,
    schema: Schema,
    name: String,
    listener: Option<Listener>,
    view: View,
    changed: Notify,
    /// The tables were seen, and are of this version.
    checked: OnceCell<()>,
    appends: Arc<Batcher<Vec<OutboxRow>, Vec<Appended>>>,
    fan_outs: Arc<Batcher<fan_out::Part, Fenced>>,
    settlements: Arc<Batcher<Vec<Settlement>, Vec<Settled>>>,
    turns: Turns,
    intake: outbox::Front,
    /// When the other nodes were told of work.
    told: Mutex<Option<Instant>>,
    /// When another node told of work: more may have come since that it did not tell of.
    heard: Mutex<Option<Instant>>,
    /// Whether the deliveries are at their bound, as it was a moment ago.
    full: Mutex<Option<(Instant, bool)>>,
}

fn millis(time: Duration) -> i64 {
    // A hundred years: more is no time that a database can add.
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).min(100 * 365 * 24 * 3_600_000)
}

/// Different for every claim on every node, also when the server forgets its last ones in a crash.
fn token() -> i64 {
    (Uuid::now_v7().as_u128() as i64) & i64::MAX
}

impl PostgresStore {
    /// A store on the host's own pool. Call [`PostgresStore::migrate`] before anything else.
    ///
    /// The pool is given 5 seconds for a connection, or less if it has a timeout of its own. Work that other nodes add is found within a
    /// second, and at once with [`PostgresStore::listening`].
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if `schema` is not a name of 1 to 63 bytes. Any other text is one, quotes included.
    pub fn new(pool: Pool, schema: &str) -> Result<Self> {
        let inner = Inner {
            pool,
            schema: Schema::new(schema)?,
            name: schema.to_owned(),
            listener: None,
            view: View::default(),
            changed: Notify::new(),
            checked: OnceCell::new(),
            appends: Batcher::new(outbox::rows, 1024, 2),
            fan_outs: Batcher::new(fan_out::rows, 4096, 2),
            settlements: Batcher::new(Vec::len, 4096, 2),
            turns: Turns::default(),
            intake: outbox::Front::default(),
            told: Mutex::default(),
            heard: Mutex::default(),
            full: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A store on connections of its own, eight and one that listens, without TLS. Nothing is connected before it is needed.
    ///
    /// A primary and its standbys are given as several hosts, which are tried one after the other:
    /// `postgres://registry@db1,db2/registry?target_session_attrs=read-write`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if `url` is not a PostgreSQL URL or key-value text (the error does not show it), or
    /// asks for TLS; or as for [`PostgresStore::new`].
    pub fn connect(url: &str, schema: &str) -> Result<Self> {
        let config: Config = url.parse().map_err(|_| Error::invalid("url", "is not a PostgreSQL URL"))?;
        if config.get_ssl_mode() == tokio_postgres::config::SslMode::Require {
            return Err(Error::invalid("url", "asks for TLS; make a pool with the TLS library of your choice"));
        }
        let recycling_method = RecyclingMethod::Fast;
        let hosts = EachHost::new(config.clone());
        let manager =
            deadpool_postgres::Manager::from_connect(config, hosts.clone(), ManagerConfig { recycling_method });
        let pool = Pool::builder(manager).max_size(CONNECTIONS).build();
        let pool = pool.map_err(|e| Error::new(ErrorKind::Unavailable, "the pool cannot be made").with_source(e))?;
        Ok(Self::new(pool, schema)?.hearing(Listener::to(hosts)))
    }

    /// Has the server tell of work that other nodes add, on a connection of its own, while [`run`](crate::Webhooks::run) waits
    /// for work. To be called before the store is cloned; on a clone it does nothing.
    #[must_use]
    pub fn listening<T>(self, config: Config, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as tokio_postgres::tls::TlsConnect<Socket>>::Future: Send,
    {
        self.hearing(Listener::new(config, tls))
    }

    fn hearing(mut self, listener: Listener) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.listener = Some(listener);
        }
        self
    }

    /// Makes the schema and its tables, or brings them to this version. Doing it again changes nothing; nodes that do it at
    /// the same time take turns.
    ///
    /// # Errors
    ///
    /// [`Store`](ErrorKind::Store) if the schema holds somebody else's tables or those of a newer version, or if the user may
    /// not make them; [`Unavailable`](ErrorKind::Unavailable).
    pub async fn migrate(&self) -> Result<()> {
        within(LIMIT_MIGRATE, async {
            let db = Db::get(&self.inner.pool, &self.inner.schema).await?;
            schema::migrate(&db, self.inner.schema.lock).await
        })
        .await
    }

    /// Appends events within a transaction of the host: they are there if it commits, and never were if it does not.
    ///
    /// The transaction must be one of this store's database. Intake sees the events within a second of the commit, or at once
    /// after [`PostgresStore::wake`].
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if an event fails its [check](Event::check); what PostgreSQL says. The transaction is
    /// then of no more use, as after any error.
    pub async fn append_in(
        &self,
        transaction: &tokio_postgres::Transaction<'_>,
        events: &[Event],
    ) -> Result<Vec<Appended>> {
        let mut appended = Vec::with_capacity(events.len());
        for event in events {
            let row = OutboxRow::new(event)?;
            let written = transaction.execute(&self.outbox_insert(), &[&row.event_id, &row.event]).await;
            let written = written.map_err(failure)?;
            appended.push(if written == 1 { Appended::Inserted } else { Appended::Duplicate });
        }
        Ok(appended)
    }

    /// The statement that [`append_in`](Self::append_in) runs, for transactions of other drivers. Its parameters are those of
    /// an [`OutboxRow`]: the event's id as a `uuid`, and its JSON as `text`.
    pub fn outbox_insert(&self) -> String {
        self.inner.schema.sql(outbox::INSERT)
    }

    /// Says that events were appended by other means, so that they need not wait for the next look. Costs nothing to forget.
    pub async fn wake(&self) {
        self.inner.changed.notify_waiters();
        if let Ok(db) = Db::get(&self.inner.pool, &self.inner.schema).await {
            self.tell(&db).await;
        }
    }

    /// Does a piece of work in time. What else hangs on a server that does not answer, or that is no primary any more, is not
    /// asked: a connection that was cut off on its way would cost everybody who tries it the whole time.
    async fn bounded<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut answered = false;
        let done = within(LIMIT, async {
            let done = work.await;
            answered = !done.as_ref().is_err_and(is_read_only);
            done
        });
        let done = done.await;
        if !answered {
            self.inner.pool.retain(|_, _| false);
            self.inner.listener.iter().for_each(Listener::doubt);
        }
        done
    }

    /// A connection to tables of this version.
    async fn db(&self) -> Result<Db<'_>> {
        let inner = &*self.inner;
        let db = Db::get(&inner.pool, &inner.schema).await?;
        inner.checked.get_or_try_init(|| schema::check(&db)).await?;
        Ok(db)
    }

    /// Something changed that others may be waiting for.
    async fn changed(&self, db: &Db<'_>) {
        self.inner.changed.notify_waiters();
        self.tell(db).await;
    }

    /// Tells the other nodes, outside of any transaction: within one, all commits of the server would wait for each other.
    async fn tell(&self, db: &Db<'_>) {
        let now = Instant::now();
        {
            let mut told = self.inner.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.is_some_and(|told| now.duration_since(told) < TELL) {
                return;
            }
            *told = Some(now);
        }
        // They look for themselves every second.
        let _ = db.execute("SELECT pg_notify($1, $2)", &[&listen::CHANNEL, &self.inner.name]).await;
    }

    async fn commit(&self, db: &Db<'_>) -> Result<()> {
        db.commit().await?;
        self.changed(db).await;
        Ok(())
    }

    /// Runs a change of policies or of the switch: afterwards the view is made anew.
    async fn change_policies<T>(&self, change: impl Future<Output = Result<T>>) -> Result<T> {
        let result = self.bounded(change).await;
        self.inner.view.forget();
        result
    }

    /// An answer from the view, after another look if it is too old.
    async fn ask_view<T>(&self, max_age: Duration, answer: impl Fn(&Seen) -> T) -> Result<T> {
        self.inner
            .view
            .ask(max_age, answer, || {
                self.bounded(async { policies::refresh(&self.db().await?, &self.inner.view).await })
            })
            .await
    }

    /// Whether the deliveries are at the bound. Counting them is not worth it for every claim.
    async fn is_full(&self, db: &Db<'_>) -> Result<bool> {
        let known = *self.inner.full.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, full)) = known.filter(|(at, _)| at.elapsed() < Duration::from_secs(1)) {
            return Ok(full);
        }
        let row = db.row("SELECT coalesce(sum(waiting), 0)::bigint FROM {s}.lanes", &[]).await?;
        let waiting: i64 = row.map_or(Ok(0), |row| row.try_get(0)).map_err(failure)?;
        let full = waiting >= MAX_WAITING;
        *self.inner.full.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), full));
        Ok(full)
    }

    /// No longer than until more may have come than another node told of.
    fn recently_told(&self) -> Option<Duration> {
        let heard = (*self.inner.heard.lock().unwrap_or_else(PoisonError::into_inner))?;
        (heard.elapsed() < 2 * TELL).then_some(TELL)
    }

    async fn hear(&self) {
        match &self.inner.listener {
            None => std::future::pending().await,
            Some(listener) => {
                listener.hear(&self.inner.name).await;
                *self.inner.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                self.inner.changed.notify_waiters();
            }
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Unavailable, format!("PostgreSQL did not answer within {} s", limit.as_secs())))
    })
}
