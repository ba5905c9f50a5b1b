use super::db::Db;
use crate::error::{Error, ErrorKind, Result};

/// The steps from nothing to the present, numbered from 1. A step that was released never changes.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001_init.sql")];

/// Takes the steps that are missing, in one transaction. Nodes that start at once take turns.
pub(super) async fn migrate(db: &Db<'_>, lock: i64) -> Result<()> {
    db.begin().await?;
    // Large tables, and the turns of many nodes, take what they take.
    db.run("SET LOCAL statement_timeout = 0").await?;
    db.execute("SELECT pg_advisory_xact_lock($1)", &[&lock]).await?;
    db.run(
        "CREATE SCHEMA IF NOT EXISTS {s};
         CREATE TABLE IF NOT EXISTS {s}.migrations
         (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())",
    )
    .await
    .map_err(foreign)?;
    let version = version(db).await?;
    for (number, step) in (1i32..).zip(MIGRATIONS).skip(version) {
        db.run(step).await.map_err(foreign)?;
        db.execute("INSERT INTO {s}.migrations VALUES ($1)", &[&number]).await?;
    }
    db.commit().await
}

/// Refuses a schema without our tables, and tables that a newer version of this crate has written.
pub(super) async fn check(db: &Db<'_>) -> Result<()> {
    match version(db).await? {
        version if version == MIGRATIONS.len() => Ok(()),
        version => Err(Error::new(
            ErrorKind::Store,
            format!(
                "the webhook tables are of version {version}, this crate needs {}; call migrate() first",
                MIGRATIONS.len()
            ),
        )),
    }
}

async fn version(db: &Db<'_>) -> Result<usize> {
    let row = db.row("SELECT coalesce(max(version), 0) FROM {s}.migrations", &[]).await.map_err(foreign)?;
    let version: i32 = row.map_or(Ok(0), |row| row.try_get(0)).map_err(super::db::failure)?;
    let newest = MIGRATIONS.len();
    match usize::try_from(version) {
        Ok(version) if version <= newest => Ok(version),
        _ => Err(Error::new(
            ErrorKind::Store,
            format!(
                "the webhook tables are of version {version}, this crate knows {newest}; use a newer release of it"
            ),
        )),
    }
}

/// Tables of these names that are not ours.
fn foreign(error: Error) -> Error {
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<tokio_postgres::Error>());
    let code = source.and_then(tokio_postgres::Error::code).map(tokio_postgres::error::SqlState::code);
    match code {
        // Duplicate tables and columns, and columns that do not exist.
        Some("42P07" | "42701" | "42703") => {
            let message = format!("the schema holds tables that are not this crate's; choose another schema ({error})");
            Error::new(ErrorKind::Store, message).with_source(error)
        }
        _ => error,
    }
}
