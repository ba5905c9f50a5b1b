use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::db::gave_way;
use crate::error::{Error, ErrorKind, Result};

/// How often work is tried that gave way to another transaction.
const TRIES: usize = 5;

/// As how many rows one counts that has so many bytes: all that is written together is a message to the server, and held twice in
/// memory on the way.
pub(super) const fn weight(bytes: usize) -> usize {
    1 + bytes / (16 * 1024)
}

/// Puts the work of concurrent callers into one transaction: whoever comes while a transaction is being committed waits for
/// the next one, so that many callers cost one wait for the disk, and one turn at a lane that all of them need.
#[derive(Debug)]
pub(super) struct Batcher<J, A> {
    queue: Mutex<Queue<J, A>>,
    /// How many rows a job writes.
    weigh: fn(&J) -> usize,
    /// Rows of one transaction, after which no further job joins it.
    most: usize,
    /// Transactions at the same time at most.
    workers: usize,
}

#[derive(Debug)]
struct Queue<J, A> {
    jobs: VecDeque<(J, oneshot::Sender<Result<A>>)>,
    workers: usize,
}

impl<J: Send + Sync + 'static, A: Send + 'static> Batcher<J, A> {
    pub(super) fn new(weigh: fn(&J) -> usize, most: usize, workers: usize) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::new(Queue { jobs: VecDeque::new(), workers: 0 }), weigh, most, workers })
    }

    /// Has the job done, alone or together with others. `work` does many jobs in one transaction and answers each of them, in
    /// their order; that of any caller is as good as another's.
    ///
    /// Dropping the future does not take the job back.
    pub(super) async fn submit<F, W>(self: &Arc<Self>, job: J, work: W) -> Result<A>
    where
        W: Fn(Arc<Vec<J>>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Vec<A>>> + Send,
    {
        let (answer, answered) = oneshot::channel();
        if self.enqueue(job, answer) {
            let batcher = Arc::clone(self);
            tokio::spawn(async move { batcher.work(work).await });
        }
        let gone = |_| Error::new(ErrorKind::Unavailable, "the runtime is shutting down");
        answered.await.map_err(gone)?
    }

    /// Says whether a worker is to be started.
    fn enqueue(&self, job: J, answer: oneshot::Sender<Result<A>>) -> bool {
        let mut queue = self.lock();
        queue.jobs.push_back((job, answer));
        let start = queue.workers < self.workers;
        queue.workers += usize::from(start);
        start
    }

    async fn work<F, W>(&self, work: W)
    where
        W: Fn(Arc<Vec<J>>) -> F,
        F: Future<Output = Result<Vec<A>>>,
    {
        let place = Place(self);
        while let Some((jobs, callers)) = self.take() {
            match together(&jobs, &work).await {
                Ok(answers) => {
                    callers.into_iter().zip(answers).for_each(|(caller, answer)| drop(caller.send(Ok(answer))))
                }
                Err(e) if e.is_retryable() || callers.len() == 1 => {
                    callers.into_iter().for_each(|caller| drop(caller.send(Err(again(&e)))));
                }
                // One of them cannot be done; the others shall not fail with it.
                Err(_) => alone(jobs, callers, &work).await,
            }
        }
        // `take` has given it back, under the lock under which it found nothing.
        std::mem::forget(place);
    }

    #[allow(clippy::type_complexity)]
    fn take(&self) -> Option<(Arc<Vec<J>>, Vec<oneshot::Sender<Result<A>>>)> {
        let mut queue = self.lock();
        if queue.jobs.is_empty() {
            queue.workers -= 1;
            return None;
        }
        let mut rows = 0;
        let joins = |(job, _): &&(J, _)| {
            let joins = rows == 0 || rows + (self.weigh)(job) <= self.most;
            rows += (self.weigh)(job).max(1);
            joins
        };
        let count = queue.jobs.iter().take_while(joins).count();
        let (jobs, callers): (Vec<_>, Vec<_>) = queue.jobs.drain(..count).unzip();
        Some((Arc::new(jobs), callers))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue<J, A>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn together<J, A, F: Future<Output = Result<Vec<A>>>>(
    jobs: &Arc<Vec<J>>,
    work: impl Fn(Arc<Vec<J>>) -> F,
) -> Result<Vec<A>> {
    giving_way(|| work(Arc::clone(jobs))).await
}

/// Tries a transaction again that met another one and gave way to it.
pub(super) async fn giving_way<T, F: Future<Output = Result<T>>>(work: impl Fn() -> F) -> Result<T> {
    let mut tries = 1;
    loop {
        match work().await {
            Err(e) if gave_way(&e) && tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

async fn alone<J, A, F: Future<Output = Result<Vec<A>>>>(
    jobs: Arc<Vec<J>>,
    callers: Vec<oneshot::Sender<Result<A>>>,
    work: impl Fn(Arc<Vec<J>>) -> F,
) {
    let Some(jobs) = Arc::into_inner(jobs) else { return };
    for (job, caller) in jobs.into_iter().zip(callers) {
        let answer = together(&Arc::new(vec![job]), &work).await;
        let missing = || Error::new(ErrorKind::Store, "a job was not answered");
        let _ = caller.send(answer.and_then(|mut answers| answers.pop().ok_or_else(missing)));
    }
}

/// The same error for one more caller.
fn again(error: &Error) -> Error {
    Error::new(error.kind(), error.to_string())
}

/// A worker's place, given back when it panics or is dropped.
struct Place<'a, J, A>(&'a Batcher<J, A>);

impl<J, A> Drop for Place<'_, J, A> {
    fn drop(&mut self) {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).workers -= 1;
    }
}
