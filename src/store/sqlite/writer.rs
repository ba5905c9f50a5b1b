use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::db::Db;
use crate::error::{Error, ErrorKind, Result};

/// Changes that are written in one transaction at most.
const GROUP: usize = 256;

/// The one thread that writes. Whoever waits while a transaction is being made durable shares the next one, so that many
/// callers cost one wait for the disk.
///
/// It ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    jobs: Sender<Job>,
}

/// How long a change must last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Durability {
    /// Beyond a loss of power.
    Full,
    /// Beyond the end of the process. Enough for leases: taking the sending lock frees them all.
    Process,
}

/// Makes a change. Given an error instead of a connection, it answers with that.
type Run = Box<dyn FnOnce(Result<&Db<'_>, &Error>) -> Done + Send>;
/// Answers the caller, with the error if the commit failed.
type Reply = Box<dyn FnOnce(Option<&Error>) + Send>;

struct Job {
    durability: Durability,
    run: Run,
}

/// A change that was made, or failed, and waits for the commit.
struct Done {
    failed: Option<Error>,
    reply: Reply,
}

impl Writer {
    /// `last` comes behind a group's changes, before their commit.
    pub(super) fn start(conn: Connection, last: fn(&Db<'_>) -> Result<()>) -> Result<Self> {
        let (jobs, queue) = channel();
        let thread = thread::Builder::new().name("harbor-webhook-sqlite".to_owned());
        thread
            .spawn(move || work(&conn, &queue, last))
            .map_err(|e| Error::new(ErrorKind::Unavailable, "the writer thread cannot be started").with_source(e))?;
        Ok(Self { jobs })
    }

    /// Makes a change, alone or together with others. It is as durable as asked when this returns.
    ///
    /// Dropping the future does not take the change back.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        change: impl FnOnce(&Db<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let run = move |db: Result<&Db<'_>, &Error>| {
            let result = db.map_err(again).and_then(change);
            let failed = result.as_ref().err().map(again);
            let reply = move |broken: Option<&Error>| {
                // The caller may have gone.
                let _ = answer.send(result.and_then(|made| broken.map_or(Ok(made), |e| Err(again(e)))));
            };
            Done { failed, reply: Box::new(reply) }
        };
        let gone = || Error::new(ErrorKind::Store, "the writer thread has ended");
        self.jobs.send(Job { durability, run: Box::new(run) }).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn work(conn: &Connection, queue: &Receiver<Job>, last: fn(&Db<'_>) -> Result<()>) {
    let db = Db::new(conn);
    let mut durability = Durability::Full;
    while let Ok(first) = queue.recv() {
        let mut group: VecDeque<Job> = std::iter::once(first).chain(queue.try_iter().take(GROUP - 1)).collect();
        while !group.is_empty() {
            transaction(conn, &db, &mut durability, &mut group, last);
        }
    }
}

/// Makes the group's changes and commits them. If SQLite gives the transaction up on the way, the changes behind the one
/// that broke it are left for the next one.
fn transaction(
    conn: &Connection,
    db: &Db<'_>,
    durability: &mut Durability,
    group: &mut VecDeque<Job>,
    last: fn(&Db<'_>) -> Result<()>,
) {
    let full = group.iter().any(|job| job.durability == Durability::Full);
    let needed = if full { Durability::Full } else { Durability::Process };
    if let Err(e) = set_durability(db, durability, needed).and_then(|()| db.batch("BEGIN IMMEDIATE")) {
        group.drain(..).for_each(|job| ((job.run)(Err(&e)).reply)(None));
        return;
    }
    let mut done: Vec<Done> = Vec::with_capacity(group.len());
    while let Some(job) = group.pop_front() {
        done.push(run(db, job));
        // Out of disk or memory, SQLite may roll back everything at once, and what follows would commit on its own.
        if conn.is_autocommit() {
            break;
        }
    }
    let commit = || last(db).and_then(|()| db.batch("COMMIT"));
    let broken = if conn.is_autocommit() { Some(lost(&done)) } else { commit().err() };
    if !conn.is_autocommit() {
        let _ = db.batch("ROLLBACK");
    }
    done.into_iter().for_each(|done| (done.reply)(broken.as_ref()));
}

/// Why the transaction was given up: the fault of the change that was made last.
fn lost(done: &[Done]) -> Error {
    match done.last().and_then(|done| done.failed.as_ref()) {
        Some(e) if matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Store) => again(e),
        _ => Error::new(ErrorKind::Unavailable, "the database gave the transaction up; nothing was written"),
    }
}

/// Makes one change within the transaction; one that fails is taken back and leaves the others as they are.
fn run(db: &Db<'_>, job: Job) -> Done {
    if let Err(e) = db.execute("SAVEPOINT change", []) {
        return (job.run)(Err(&e));
    }
    let done = (job.run)(Ok(db));
    let undone = done.failed.is_none() || db.execute("ROLLBACK TO change", []).is_ok();
    if !undone || db.execute("RELEASE change", []).is_err() {
        // Half a change must not be committed with the others. There is nothing to roll back if SQLite has done so already.
        let _ = db.batch("ROLLBACK");
    }
    done
}

fn set_durability(db: &Db<'_>, now: &mut Durability, needed: Durability) -> Result<()> {
    if *now != needed {
        db.batch(match needed {
            Durability::Full => "PRAGMA synchronous = FULL",
            Durability::Process => "PRAGMA synchronous = NORMAL",
        })?;
        *now = needed;
    }
    Ok(())
}

/// The same error for one more caller.
fn again(error: &Error) -> Error {
    Error::new(error.kind(), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSERT: &str = "INSERT INTO t VALUES (?1, zeroblob(3000))";

    /// A writer whose database can grow by a few pages, as on a disk that is nearly full.
    fn nearly_full() -> (Writer, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let conn = Connection::open(folder.path().join("t.db")).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER, bytes BLOB)").unwrap();
        conn.execute_batch("PRAGMA max_page_count = 10").unwrap();
        (Writer::start(conn, |_| Ok(())).unwrap(), folder)
    }

    /// Starts changes that reach the writer together: it waits in the first until all have been sent.
    async fn together(writer: &Writer, ids: std::ops::Range<i64>) -> Vec<Result<i64>> {
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let first = writer.write(Durability::Full, move |_| {
            let _ = gone.recv();
            Ok(0)
        });
        let mut running = tokio::task::JoinSet::new();
        for id in ids {
            let writer = writer.clone();
            running.spawn(async move {
                writer.write(Durability::Full, move |db| db.execute(INSERT, [id]).map(|_| id)).await
            });
        }
        let all_sent = async {
            tokio::task::yield_now().await;
            drop(go);
        };
        // It shares the others' transaction, and their fate.
        let _ = tokio::join!(first, all_sent);
        running.join_all().await
    }

    #[tokio::test]
    async fn on_a_full_disk_everybody_is_told_the_truth() {
        let (writer, _folder) = nearly_full();
        let told = together(&writer, 0..40).await;
        let mut kept: Vec<i64> = told.iter().filter_map(|told| told.as_ref().ok().copied()).collect();
        kept.sort_unstable();
        let failed: Vec<_> = told.iter().filter_map(|told| told.as_ref().err()).collect();
        assert!(!failed.is_empty());
        for error in failed {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains("the disk is full"), "{error}");
        }
        let there = writer
            .write(Durability::Full, |db| db.rows("SELECT id FROM t ORDER BY id", [], |row| row.get::<_, i64>(0)));
        assert_eq!(there.await.unwrap(), kept);

        writer.write(Durability::Full, |db| db.batch("PRAGMA max_page_count = 1000")).await.unwrap();
        assert!(together(&writer, 40..60).await.iter().all(Result::is_ok));
    }
}
