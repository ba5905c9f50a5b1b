use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use rusqlite::{Connection, ErrorCode, Params, Row, Statement};

use crate::error::{Error, ErrorKind, Result};
use crate::id::TargetId;

const DAMAGED: &str = "the database file is damaged; restore it from a backup";

/// A connection with its prepared statements, for the time of a stack frame.
///
/// The accepted range of rusqlite has no statement cache that all versions share, so this is ours.
pub(super) struct Db<'c> {
    conn: &'c Connection,
    /// By where their text lies: a long text is not looked at for each use. One text at two places is prepared twice.
    statements: RefCell<HashMap<(usize, usize), Statement<'c>>>,
    /// Lanes whose place among those that can be claimed from is to be worked out.
    displaced: RefCell<BTreeSet<i64>>,
}

impl<'c> Db<'c> {
    pub(super) fn new(conn: &'c Connection) -> Self {
        Self { conn, statements: RefCell::default(), displaced: RefCell::default() }
    }

    /// Runs a statement that changes something, and says how many rows it changed.
    pub(super) fn execute(&self, sql: &'static str, params: impl Params) -> Result<usize> {
        self.with(sql, |statement| statement.execute(params))
    }

    /// Changes a row that was found a moment ago, in the same transaction. Where it is not, an index and its table say different
    /// things, and what was found would be found again without end.
    pub(super) fn change_found(&self, sql: &'static str, params: impl Params) -> Result<()> {
        match self.execute(sql, params)? {
            0 => Err(Error::new(ErrorKind::Store, DAMAGED)),
            _ => Ok(()),
        }
    }

    /// All rows.
    pub(super) fn rows<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        self.with(sql, |statement| statement.query_map(params, read)?.collect())
    }

    /// All rows of a statement that was put together, and so is not worth keeping.
    pub(super) fn rows_of<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.conn.prepare(sql).map_err(failure)?;
        statement.query_map(params, read).and_then(Iterator::collect).map_err(failure)
    }

    /// The lane's place is to be worked out before the next claim, or the commit: once, however many deliveries of a group
    /// change it.
    pub(super) fn displace(&self, lane: TargetId) {
        self.displaced.borrow_mut().insert(lane.0);
    }

    /// Takes the lanes whose places are to be worked out.
    pub(super) fn take_displaced(&self) -> BTreeSet<i64> {
        self.displaced.take()
    }

    /// The first row, if there is one.
    pub(super) fn row<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.rows(sql, params, read)?.into_iter().next())
    }

    /// A number that is there: a count, a sum, or a row of `meta`.
    pub(super) fn number(&self, sql: &'static str, params: impl Params) -> Result<i64> {
        Ok(self.row(sql, params, |row| row.get(0))?.unwrap_or_default())
    }

    pub(super) fn last_id(&self) -> i64 {
        self.conn.last_insert_rowid()
    }

    /// Runs statements without parameters and results.
    pub(super) fn batch(&self, sql: &str) -> Result<()> {
        self.conn.execute_batch(sql).map_err(failure)
    }

    fn with<T>(&self, sql: &'static str, run: impl FnOnce(&mut Statement<'c>) -> rusqlite::Result<T>) -> Result<T> {
        let mut statements = self.statements.borrow_mut();
        let statement = match statements.entry((sql.as_ptr().addr(), sql.len())) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => new.insert(self.conn.prepare(sql).map_err(failure)?),
        };
        run(statement).map_err(failure)
    }
}

/// Sorts SQLite's errors by what can be done about them.
pub(super) fn failure(error: rusqlite::Error) -> Error {
    let (kind, message) = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => (ErrorKind::Unavailable, "the disk is full; nothing was written".to_owned()),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (ErrorKind::Unavailable, "the database file is locked by another connection".to_owned())
        }
        Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory | ErrorCode::CannotOpen) => (
            ErrorKind::Unavailable,
            format!("the database file cannot be read or written: {error}; look at the disk, its space and the rights"),
        ),
        Some(ErrorCode::ReadOnly) => (
            ErrorKind::Store,
            "the database file or its folder is read-only; give this process the right to write".to_owned(),
        ),
        Some(ErrorCode::NotADatabase) => {
            (ErrorKind::Store, "the file is not a SQLite database; choose another path".to_owned())
        }
        Some(ErrorCode::DatabaseCorrupt) => (ErrorKind::Store, DAMAGED.to_owned()),
        _ if error.to_string().contains("no such table: harbor_webhook") => {
            (ErrorKind::Store, "the database has no webhook tables yet; call migrate() first".to_owned())
        }
        _ => (ErrorKind::Store, format!("the database refused: {error}")),
    };
    Error::new(kind, message).with_source(error)
}

/// A value in the database that this version cannot read.
pub(super) fn unreadable(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_may_not_be_written_says_so() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t (id INTEGER); PRAGMA query_only = ON").unwrap();
        let error = Db::new(&conn).execute("INSERT INTO t VALUES (1)", []).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.to_string().contains("read-only"), "{error}");
    }
}
