use super::db::Db;
use crate::error::{Error, ErrorKind, Result};

/// The steps from nothing to the present, numbered from 1. A step that was released never changes.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001_init.sql")];

/// Refuses tables that a newer version of this crate has written. Without tables there is nothing to refuse.
pub(super) fn check(db: &Db<'_>) -> Result<()> {
    version(db).map(|_| ())
}

/// Takes the steps that are missing. It runs within the writer's transaction: all of them or none.
pub(super) fn migrate(db: &Db<'_>) -> Result<()> {
    let version = version(db)?;
    db.batch("CREATE TABLE IF NOT EXISTS harbor_webhook_migrations (version INTEGER PRIMARY KEY) STRICT")?;
    for (number, step) in (1i64..).zip(MIGRATIONS).skip(version) {
        db.batch(step)?;
        db.execute("INSERT INTO harbor_webhook_migrations VALUES (?1)", [number])?;
    }
    Ok(())
}

fn version(db: &Db<'_>) -> Result<usize> {
    let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'harbor_webhook_migrations'";
    if db.number(sql, [])? == 0 {
        return Ok(0);
    }
    let version = db.number("SELECT coalesce(max(version), 0) FROM harbor_webhook_migrations", [])?;
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
