//! A queue on the bare driver: the same rows in the same tables, in batches, without lanes, fences and retries.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use harbor_webhook::Event;
use harbor_webhook::store::postgres::deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use harbor_webhook::store::postgres::tokio_postgres::{NoTls, Row};
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use uuid::Uuid;

use crate::support::Result;
use crate::support::pipeline::{Client, Shape};
use crate::support::sink::Sink;

/// Rows in one statement at most.
pub(crate) const BATCH: usize = 256;
/// Statements that append at the same time.
const APPENDERS: usize = 4;

/// Connections to a schema that the store has made.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pool: Pool,
    schema: String,
}

/// A delivery that was claimed.
#[derive(Debug)]
pub(crate) struct Job {
    id: i64,
    body: Bytes,
}

impl Raw {
    pub(crate) fn new(url: &str, schema: &str) -> Result<Self> {
        let manager =
            Manager::from_config(url.parse()?, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        Ok(Self { pool: Pool::builder(manager).max_size(8).build()?, schema: schema.to_owned() })
    }

    async fn rows(
        &self,
        sql: &str,
        params: &[&(dyn harbor_webhook::store::postgres::tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Vec<Row>> {
        let db = self.pool.get().await?;
        let statement = db.prepare_cached(&sql.replace("{s}", &self.schema)).await?;
        Ok(db.query(&statement, params).await?)
    }

    pub(crate) async fn append(&self, events: &[(Uuid, String)]) -> Result<()> {
        let (ids, texts): (Vec<Uuid>, Vec<&str>) = events.iter().map(|(id, text)| (*id, &**text)).unzip();
        let sql = "INSERT INTO {s}.outbox (event_id, event) SELECT * FROM unnest($1::uuid[], $2::text[])";
        self.rows(sql, &[&ids, &texts]).await.map(|_| ())
    }

    /// Turns up to `BATCH` events into a delivery for each of `targets`, in one transaction, and says how many events.
    pub(crate) async fn fan_out(&self, targets: &[i64]) -> Result<usize> {
        let sql = "WITH o AS (
                     UPDATE {s}.outbox SET done_at = now(), event = NULL FROM
                       (SELECT seq AS key, event AS json FROM {s}.outbox WHERE done_at IS NULL AND set_aside IS NULL
                        ORDER BY seq LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED) c
                     WHERE seq = c.key RETURNING event_id, c.json),
                   b AS (INSERT INTO {s}.bodies SELECT event_id, 'Default', 'application/json', convert_to(json, 'UTF8') FROM o),
                   d AS (INSERT INTO {s}.deliveries (event_id, event_type, project_id, policy_id, target_id, target_type,
                           body_id, state, since, due, created_at, updated_at)
                         SELECT event_id, 'PUSH_ARTIFACT', 1, 1, t, 'http', event_id, 0, now(), now(), now(), now()
                         FROM o CROSS JOIN unnest($2::bigint[]) t)
                   SELECT count(*) FROM o";
        let rows = self.rows(sql, &[&i64::try_from(BATCH)?, &targets]).await?;
        Ok(usize::try_from(rows[0].get::<_, i64>(0))?)
    }

    /// Leases up to `max` due deliveries of these targets, the same number of each.
    pub(crate) async fn claim(&self, targets: &[i64], max: usize) -> Result<Vec<Job>> {
        let each = i64::try_from(max.div_ceil(targets.len()))?;
        let sql = "WITH due AS MATERIALIZED (
                     SELECT d.id FROM unnest($1::bigint[]) AS l(target_id) CROSS JOIN LATERAL
                       (SELECT id FROM {s}.deliveries WHERE target_id = l.target_id AND state = 0 AND due <= now()
                        ORDER BY due, id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED) d LIMIT $3),
                   c AS (UPDATE {s}.deliveries d SET state = 1, token = 1, lease_until = now() + interval '600 s'
                         FROM due WHERE d.id = due.id RETURNING d.id, d.body_id)
                   SELECT c.id, b.bytes FROM c JOIN {s}.bodies b ON b.id = c.body_id";
        let rows = self.rows(sql, &[&targets, &each, &i64::try_from(max)?]).await?;
        Ok(rows.iter().map(|row| Job { id: row.get(0), body: Bytes::from(row.get::<_, Vec<u8>>(1)) }).collect())
    }

    /// Records an attempt that was answered with 200, and that the delivery is done with (or due again).
    pub(crate) async fn settle(&self, jobs: &[Job], state: i16) -> Result<()> {
        let ids: Vec<i64> = jobs.iter().map(|job| job.id).collect();
        let sql = "WITH d AS (UPDATE {s}.deliveries SET state = $2, attempts = attempts + 1, updated_at = now()
                             WHERE id = ANY($1) RETURNING id, attempts)
                   INSERT INTO {s}.attempts (delivery_id, number, started_at, duration_us, status, text, truncated)
                   SELECT id, attempts, now(), 100, 200, '', false FROM d";
        self.rows(sql, &[&ids, &state]).await.map(|_| ())
    }

    /// The whole way of `shape`'s deliveries: append, fan out, claim, post, settle, each a task that works in batches.
    pub(crate) async fn pipeline(&self, sink: &Sink, shape: Shape, events: Vec<Event>) -> Result<()> {
        let (appends, queue) = mpsc::channel(1024);
        let queue = Arc::new(Mutex::new(queue));
        let wake = Arc::new((Notify::new(), Notify::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..APPENDERS {
            tasks.spawn(self.clone().appender(Arc::clone(&queue), Arc::clone(&wake)));
        }
        let targets: Vec<i64> = (1..=i64::try_from(shape.targets)?).collect();
        tasks.spawn(self.clone().fanner(targets.clone(), Arc::clone(&wake), shape));
        let (jobs, posts) = mpsc::channel(shape.concurrency * 3);
        tasks.spawn(self.clone().claimer(targets, jobs, Arc::clone(&wake), shape));
        let (results, settled) = mpsc::channel(shape.concurrency * 3);
        let posts = Arc::new(Mutex::new(posts));
        let client = Client::new()?;
        for _ in 0..shape.concurrency {
            tasks.spawn(post(client.clone(), sink.url.clone(), Arc::clone(&posts), results.clone()));
        }
        drop(results);
        let events: Arc<HashMap<usize, Event>> = Arc::new(events.into_iter().enumerate().collect());
        let next = Arc::new(AtomicUsize::new(0));
        for _ in 0..shape.producers {
            tasks.spawn(produce(appends.clone(), sink.clone(), Arc::clone(&events), Arc::clone(&next), shape.targets));
        }
        drop(appends);
        self.settler(settled, shape.deliveries).await?;
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }

    async fn appender(self, queue: Arc<Mutex<mpsc::Receiver<Append>>>, wake: Arc<(Notify, Notify)>) -> Result<()> {
        loop {
            let mut batch = Vec::new();
            if queue.lock().await.recv_many(&mut batch, BATCH).await == 0 {
                return Ok(());
            }
            let (events, answers): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            self.append(&events).await?;
            for answer in answers {
                let answer: oneshot::Sender<()> = answer;
                // A producer that is gone ends the bench with its own error.
                let _ = answer.send(());
            }
            wake.0.notify_one();
        }
    }

    async fn fanner(self, targets: Vec<i64>, wake: Arc<(Notify, Notify)>, shape: Shape) -> Result<()> {
        let mut left = shape.deliveries / shape.targets;
        while left > 0 {
            match self.fan_out(&targets).await? {
                0 => wake.0.notified().await,
                count => left -= count,
            }
            wake.1.notify_one();
        }
        Ok(())
    }

    async fn claimer(
        self,
        targets: Vec<i64>,
        jobs: mpsc::Sender<Job>,
        wake: Arc<(Notify, Notify)>,
        shape: Shape,
    ) -> Result<()> {
        let mut left = shape.deliveries;
        while left > 0 {
            let claimed = self.claim(&targets, jobs.capacity().clamp(shape.concurrency / 2, BATCH)).await?;
            left -= claimed.len();
            if claimed.is_empty() {
                let _ = tokio::time::timeout(Duration::from_millis(10), wake.1.notified()).await;
            }
            for job in claimed {
                jobs.send(job).await?;
            }
        }
        Ok(())
    }

    async fn settler(&self, mut settled: mpsc::Receiver<Job>, mut left: usize) -> Result<()> {
        while left > 0 {
            let mut batch = Vec::new();
            left -= settled.recv_many(&mut batch, BATCH).await;
            self.settle(&batch, 3).await?;
        }
        Ok(())
    }
}

type Append = ((Uuid, String), oneshot::Sender<()>);

async fn produce(
    appends: mpsc::Sender<Append>,
    sink: Sink,
    events: Arc<HashMap<usize, Event>>,
    next: Arc<AtomicUsize>,
    each: usize,
) -> Result<()> {
    while let Some(event) = events.get(&next.fetch_add(1, Ordering::Relaxed)) {
        sink.room(each).await?;
        let (answer, answered) = oneshot::channel();
        appends.send(((event.id, serde_json::to_string(event)?), answer)).await?;
        answered.await?;
    }
    Ok(())
}

async fn post(
    client: Client,
    url: String,
    jobs: Arc<Mutex<mpsc::Receiver<Job>>>,
    results: mpsc::Sender<Job>,
) -> Result<()> {
    let url: reqwest::Url = format!("{url}/hook/0").parse()?;
    loop {
        let Some(job) = jobs.lock().await.recv().await else { return Ok(()) };
        client.post(url.clone(), job.body.clone()).await?;
        results.send(job).await?;
    }
}
