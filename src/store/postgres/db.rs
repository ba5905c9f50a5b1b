use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use deadpool_postgres::{Object, Pool, PoolError};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, WasNull, WrongType};

use crate::error::{Error, ErrorKind, Result};

pub(super) type Param<'a> = &'a (dyn ToSql + Sync);

/// A parameter that is a secret: the driver logs those of each statement, as `Debug` shows them.
pub(super) struct Hidden<T>(pub(super) T);

impl<T> fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T: ToSql> ToSql for Hidden<T> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        self.0.to_sql(kind, out)
    }

    fn accepts(kind: &Type) -> bool {
        T::accepts(kind)
    }

    tokio_postgres::types::to_sql_checked!();
}

/// The longest time for a connection. The pool may have a shorter one of its own.
const CONNECTION: Duration = Duration::from_secs(5);

/// A node that vanishes in the middle of a transaction, or is cut off, must not hold its lanes until the server's system finds
/// out, which takes two hours: the server gives up when the node has (`LIMIT`).
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = '10s'; SET LOCAL idle_in_transaction_session_timeout = '10s'";

/// Planning anew for each batch took a fifth of the server's time; and a plan that is made while the tables are nearly empty must
/// not read them whole when they are large.
const PLANS: &str = "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off";

/// The schema that holds the tables, as it stands in statements.
#[derive(Debug)]
pub(super) struct Schema {
    quoted: String,
    /// What advisory locks are taken on.
    pub(super) lock: i64,
}

impl Schema {
    pub(super) fn new(name: &str) -> Result<Self> {
        // A longer name would be cut by the server, and two names become one.
        if name.is_empty() || name.len() > 63 || name.contains('\0') {
            return Err(Error::invalid("schema", "must be a name of 1 to 63 bytes"));
        }
        let hash = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("harbor-webhook {name}").as_bytes());
        Ok(Self { quoted: format!("\"{}\"", name.replace('"', "\"\"")), lock: hash.as_u128() as i64 })
    }

    /// The statement with the schema in place of `{s}`.
    pub(super) fn sql(&self, template: &str) -> String {
        template.replace("{s}", &self.quoted)
    }
}

/// A connection for the time of one piece of work. One that is dropped in the middle of a transaction goes back to nobody; one
/// with a question that nobody waits for any more is as good as new, as its driver drops the answer.
#[derive(Debug)]
pub(super) struct Db<'s> {
    object: Option<Object>,
    schema: &'s Schema,
    in_transaction: AtomicBool,
}

impl<'s> Db<'s> {
    pub(super) async fn get(pool: &Pool, schema: &'s Schema) -> Result<Self> {
        let object = tokio::time::timeout(CONNECTION, pool.get()).await.map_err(|_| {
            let limit = CONNECTION.as_secs();
            Error::new(
                ErrorKind::Unavailable,
                format!("the pool gave no connection within {limit} s; it is too small, or PostgreSQL does not answer"),
            )
        })?;
        Ok(Self { object: Some(object.map_err(no_connection)?), schema, in_transaction: AtomicBool::new(false) })
    }

    pub(super) async fn begin(&self) -> Result<()> {
        self.in_transaction.store(true, Ordering::Relaxed);
        self.run(BEGIN).await
    }

    /// For the queue: its statements have one good plan each, which is made once, and not by what is in the tables then.
    pub(super) async fn begin_queue(&self) -> Result<()> {
        self.in_transaction.store(true, Ordering::Relaxed);
        self.run(&format!("{BEGIN}; {PLANS}")).await
    }

    /// The same for what need not outlive the server: leases.
    pub(super) async fn begin_loosely(&self) -> Result<()> {
        self.in_transaction.store(true, Ordering::Relaxed);
        self.run(&format!("{BEGIN}; {PLANS}; SET LOCAL synchronous_commit = off")).await
    }

    pub(super) async fn commit(&self) -> Result<()> {
        self.run("COMMIT").await?;
        self.in_transaction.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Runs statements without parameters and results.
    pub(super) async fn run(&self, sql: &str) -> Result<()> {
        self.answered(self.client()?.batch_execute(&self.schema.sql(sql))).await
    }

    pub(super) async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>> {
        let client = self.client()?;
        let sql = self.schema.sql(sql);
        self.answered(async { client.query(&client.prepare_cached(&sql).await?, params).await }).await
    }

    pub(super) async fn row(&self, sql: &str, params: &[Param<'_>]) -> Result<Option<Row>> {
        Ok(self.rows(sql, params).await?.into_iter().next())
    }

    pub(super) async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64> {
        let client = self.client()?;
        let sql = self.schema.sql(sql);
        self.answered(async { client.execute(&client.prepare_cached(&sql).await?, params).await }).await
    }

    /// Runs the last statement of a transaction and commits, in one turn: what the transaction holds is held for that much
    /// shorter.
    pub(super) async fn execute_and_commit(&self, sql: &str, params: &[Param<'_>]) -> Result<()> {
        let client = self.client()?;
        let sql = self.schema.sql(sql);
        // Prepared before, so that the commit cannot overtake it.
        let statement = self.answered(client.prepare_cached(&sql)).await?;
        let last = self.answered(client.execute(&statement, params));
        both(last, self.commit()).await.map(|_| ())
    }

    async fn answered<T>(&self, question: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T> {
        // The driver's futures are large, and a transaction holds many.
        Box::pin(question).await.map_err(failure)
    }

    fn client(&self) -> Result<&Object> {
        self.object.as_ref().ok_or_else(|| Error::new(ErrorKind::Unavailable, "the connection is gone"))
    }
}

impl Drop for Db<'_> {
    fn drop(&mut self) {
        if *self.in_transaction.get_mut()
            && let Some(object) = self.object.take()
        {
            drop(Object::take(object));
        }
    }
}

fn no_connection(error: PoolError) -> Error {
    match error {
        PoolError::Backend(error) => failure(error),
        error => {
            let message = "the pool gave no connection; it is too small, or the server does not answer";
            Error::new(ErrorKind::Unavailable, message).with_source(error)
        }
    }
}

/// Sorts PostgreSQL's errors by what can be done about them.
pub(super) fn failure(error: tokio_postgres::Error) -> Error {
    let Some(state) = error.code() else {
        let source = StdError::source(&error);
        if source.is_some_and(|source| source.is::<WrongType>() || source.is::<WasNull>()) {
            let message = format!("a column of the webhook tables is not of its type: {}", words(&error));
            return Error::new(ErrorKind::Store, message).with_source(error);
        }
        // Not the server's word: the connection broke, or was never made.
        let message = format!("PostgreSQL cannot be reached: {}", words(&error));
        return Error::new(ErrorKind::Unavailable, message).with_source(error);
    };
    let (kind, message) = match state.code() {
        "42P01" | "3F000" => {
            (ErrorKind::Store, "the schema has no webhook tables yet; call migrate() first".to_owned())
        }
        "42501" => (ErrorKind::Store, format!("the database user lacks a right: {}", words(&error))),
        "28000" | "28P01" | "3D000" => {
            (ErrorKind::Store, format!("PostgreSQL refuses the connection: {}", words(&error)))
        }
        "25006" => (ErrorKind::Unavailable, "the server is read-only now; is it a standby?".to_owned()),
        "53100" => (ErrorKind::Unavailable, "the server's disk is full; nothing was written".to_owned()),
        // Another statement of the same transaction failed first.
        "25P02" => (ErrorKind::Unavailable, format!("the transaction failed: {}", words(&error))),
        // Connections, resources, the operator, the system, and transactions that met.
        code if ["08", "53", "57", "58", "40"].iter().any(|class| code.starts_with(class)) => {
            (ErrorKind::Unavailable, format!("PostgreSQL cannot answer now: {}", words(&error)))
        }
        _ => (ErrorKind::Store, format!("the database refused: {}", words(&error))),
    };
    Error::new(kind, message).with_source(error)
}

/// The driver's own text holds the server's message only in its source.
fn words(error: &tokio_postgres::Error) -> String {
    match StdError::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The answers to two questions that are asked at once in a transaction. If the first one to fail fails the other, it is the
/// one that says why.
pub(super) async fn both<A, B>(
    one: impl Future<Output = Result<A>>,
    other: impl Future<Output = Result<B>>,
) -> Result<(A, B)> {
    let aborted = |error: &Error| state(error).is_some_and(|state| *state == SqlState::IN_FAILED_SQL_TRANSACTION);
    match tokio::join!(one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(one), Err(other)) => Err(if aborted(&one) { other } else { one }),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
    }
}

/// Whether two transactions met and this one gave way: it can be tried again at once.
pub(super) fn gave_way(error: &Error) -> bool {
    let gave_way = [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE];
    state(error).is_some_and(|state| gave_way.contains(state))
}

/// Whether the server may not write: what was a primary is a standby now.
pub(super) fn is_read_only(error: &Error) -> bool {
    state(error).is_some_and(|state| *state == SqlState::READ_ONLY_SQL_TRANSACTION)
}

fn state(error: &Error) -> Option<&SqlState> {
    let source = StdError::source(error).and_then(|source| source.downcast_ref::<tokio_postgres::Error>());
    source.and_then(tokio_postgres::Error::code)
}

/// PostgreSQL's texts cannot hold the character U+0000.
pub(super) fn storable(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}
