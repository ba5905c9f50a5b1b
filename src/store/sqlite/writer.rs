use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::db::{Db, failure};
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

struct Job {
    durability: Durability,
    /// Given an error instead of a connection, it answers with that.
    run: Box<dyn FnOnce(Result<&Db<'_>, &Error>) -> Done + Send>,
}

/// A change that was made, or failed, and waits for the commit.
struct Done {
    failed: bool,
    reply: Box<dyn FnOnce(Option<&Error>) + Send>,
}

impl Writer {
    pub(super) fn start(conn: Connection) -> Result<Self> {
        let (jobs, queue) = channel();
        let thread = thread::Builder::new().name("harbor-webhook-sqlite".to_owned());
        thread
            .spawn(move || work(&conn, &queue))
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
            let failed = result.is_err();
            let reply = move |broken: Option<&Error>| {
                // The caller may have gone.
                let _ = answer.send(broken.map_or(result, |e| Err(again(e))));
            };
            Done { failed, reply: Box::new(reply) }
        };
        let gone = || Error::new(ErrorKind::Store, "the writer thread has ended");
        self.jobs.send(Job { durability, run: Box::new(run) }).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn work(conn: &Connection, queue: &Receiver<Job>) {
    let db = Db::new(conn);
    let mut durability = Durability::Full;
    while let Ok(first) = queue.recv() {
        let group: Vec<Job> = std::iter::once(first).chain(queue.try_iter().take(GROUP - 1)).collect();
        let full = group.iter().any(|job| job.durability == Durability::Full);
        let needed = if full { Durability::Full } else { Durability::Process };
        if let Err(e) = set_durability(&db, &mut durability, needed).and_then(|()| db.batch("BEGIN IMMEDIATE")) {
            group.into_iter().for_each(|job| ((job.run)(Err(&e)).reply)(None));
            continue;
        }
        let done: Vec<Done> = group.into_iter().map(|job| run(&db, job)).collect();
        let committed = conn.execute_batch("COMMIT").map_err(failure);
        if committed.is_err() {
            // Nothing is left to roll back if SQLite has done so already.
            let _ = db.batch("ROLLBACK");
        }
        let broken = committed.err();
        done.into_iter().for_each(|done| (done.reply)(broken.as_ref()));
    }
}

/// Makes one change within the transaction; one that fails is taken back and leaves the others as they are.
fn run(db: &Db<'_>, job: Job) -> Done {
    let _ = db.execute("SAVEPOINT change", []);
    let done = (job.run)(Ok(db));
    if done.failed {
        let _ = db.execute("ROLLBACK TO change", []);
    }
    let _ = db.execute("RELEASE change", []);
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
