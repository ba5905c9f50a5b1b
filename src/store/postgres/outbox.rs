use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::Row;
use uuid::Uuid;

use super::batch::weight;
use super::db::{Db, failure, storable};
use super::{millis, token};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventType};
use crate::id::ProjectId;
use crate::store::types::CLAIMED_BYTES;
use crate::store::{Appended, ClaimedEvent, Lease, OutboxRow};

/// Events that may wait in the outbox.
const MAX_EVENTS: i64 = 100_000;

/// How old a finding may be that the outbox has room.
const MEASURED: Duration = Duration::from_secs(1);
/// How long what lies before the front may wait for being found: an event whose transaction was long, and one whose lease ran
/// out.
const SEARCHED: Duration = Duration::from_millis(200);

/// Where the outbox's open events began a moment ago. What is done leaves entries in the index until the server cleans up,
/// which takes it a minute; each look at all of them would cost more than what it finds.
#[derive(Debug, Default)]
pub(super) struct Front(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// When there was room.
    roomy: Option<Instant>,
    /// When all was searched, and where what was found last began.
    searched: Option<(Instant, i64)>,
}

impl Front {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_roomy(&self) -> bool {
        self.known().roomy.is_some_and(|at| at.elapsed() < MEASURED)
    }

    fn measured(&self, roomy: bool) {
        self.known().roomy = roomy.then(Instant::now);
    }

    /// Where to search from.
    fn begin(&self) -> Option<i64> {
        self.known().searched.filter(|(at, _)| at.elapsed() < SEARCHED).map(|(_, begin)| begin)
    }

    /// What was found begins here. `all` says that it was searched for from the beginning.
    fn found(&self, begin: i64, all: bool) {
        let mut known = self.known();
        known.searched = match known.searched {
            Some((at, _)) if !all => Some((at, begin)),
            _ => Some((Instant::now(), begin)),
        };
    }
}

/// The rows that a call appends, by their weight.
#[allow(clippy::ptr_arg)] // a batcher weighs what it is given
pub(super) fn rows(call: &Vec<OutboxRow>) -> usize {
    call.iter().map(|row| weight(row.event.len())).sum()
}

/// What several callers append, in one statement, which is a transaction by itself: all of it, or nothing.
pub(super) async fn append(db: &Db<'_>, front: &Front, calls: &[Vec<OutboxRow>]) -> Result<Vec<Vec<Appended>>> {
    let (ids, events): (Vec<_>, Vec<_>) = calls.iter().flatten().map(|row| (row.event_id, &*row.event)).unzip();
    let rows = if front.is_roomy() {
        db.rows(APPEND, &[&ids, &events]).await?
    } else {
        db.rows(APPEND_BOUNDED, &[&ids, &events, &MAX_EVENTS]).await?
    };
    // A row for each event that was inserted, or one without an id if the outbox is full.
    let fresh = rows.iter().map(|row| row.try_get(0)).collect::<Result<HashSet<Option<Uuid>>, _>>().map_err(failure)?;
    front.measured(!fresh.contains(&None));
    if fresh.contains(&None) && !all_known(db, &ids).await? {
        let message =
            format!("the outbox holds its bound of {MAX_EVENTS} events; try again when deliveries have drained");
        return Err(Error::new(ErrorKind::Full, message));
    }
    // Of several with the same id, the first one counts.
    let mut fresh: HashSet<Uuid> = fresh.into_iter().flatten().collect();
    let mut answer =
        |row: &OutboxRow| if fresh.remove(&row.event_id) { Appended::Inserted } else { Appended::Duplicate };
    Ok(calls.iter().map(|call| call.iter().map(&mut answer).collect()).collect())
}

/// Appends one event: the statement that a host runs in a transaction of its own.
pub(super) const INSERT: &str = "INSERT INTO {s}.outbox (event_id, event) VALUES ($1, $2) ON CONFLICT DO NOTHING";

const APPEND: &str = "INSERT INTO {s}.outbox (event_id, event) SELECT * FROM unnest($1::uuid[], $2::text[])
    ON CONFLICT DO NOTHING RETURNING event_id";

/// The sequence numbers bound the count from above; only near the bound is it worth counting.
const APPEND_BOUNDED: &str = "
    WITH bound AS MATERIALIZED (
      SELECT coalesce(CASE WHEN (SELECT max(seq) FROM {s}.outbox)
          - (SELECT seq FROM {s}.outbox WHERE done_at IS NULL AND set_aside IS NULL ORDER BY seq LIMIT 1) < $3
        THEN false ELSE
          (SELECT count(*) FROM (SELECT 1 FROM {s}.outbox WHERE done_at IS NULL AND set_aside IS NULL LIMIT $3) w) >= $3
        END, false) AS reached),
    inserted AS (
      INSERT INTO {s}.outbox (event_id, event)
      SELECT n.* FROM unnest($1::uuid[], $2::text[]) AS n WHERE NOT (SELECT reached FROM bound)
      ON CONFLICT DO NOTHING RETURNING event_id)
    SELECT event_id FROM inserted UNION ALL SELECT NULL::uuid FROM bound WHERE reached";

/// Whether all of these were appended before, so that a full outbox need not take them.
async fn all_known(db: &Db<'_>, ids: &[Uuid]) -> Result<bool> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM unnest($1::uuid[]) AS n(id)
               WHERE NOT EXISTS (SELECT 1 FROM {s}.outbox o WHERE o.event_id = n.id))";
    db.row(sql, &[&ids]).await?.map_or(Ok(false), |row| row.try_get(0)).map_err(failure)
}

pub(super) async fn claim(db: &Db<'_>, front: &Front, max: usize, lease: Duration) -> Result<Vec<ClaimedEvent>> {
    let begin = front.begin();
    let mut claimed = claim_from(db, begin.unwrap_or(i64::MIN), max, lease).await?;
    let all = begin.is_none() || claimed.is_empty();
    if begin.is_some() && claimed.is_empty() {
        claimed = claim_from(db, i64::MIN, max, lease).await?;
    }
    claimed.sort_unstable_by_key(|event| event.lease.key);
    if let Some(first) = claimed.first() {
        front.found(first.lease.key, all);
    }
    Ok(claimed)
}

/// The commit need not outlive the server: it is the lease's.
async fn claim_from(db: &Db<'_>, begin: i64, max: usize, lease: Duration) -> Result<Vec<ClaimedEvent>> {
    let (max, token) = (i64::try_from(max).unwrap_or(i64::MAX), token());
    let rows = db
        .rows(
            "UPDATE {s}.outbox o SET token = $2, lease_until = statement_timestamp() + $3 * interval '1 ms'
             FROM (SELECT seq, sum(bytes) OVER (ORDER BY seq) - bytes AS before FROM (
                     SELECT seq, coalesce(octet_length(event), 0) AS bytes FROM {s}.outbox
                     WHERE done_at IS NULL AND set_aside IS NULL AND lease_until <= statement_timestamp() AND seq >= $4
                     ORDER BY seq LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED) l) c,
                  (SELECT set_config('synchronous_commit', 'off', true)) loosely
             WHERE o.seq = c.seq AND c.before < $5 RETURNING o.seq, o.event_id, o.event",
            &[&max, &token, &(millis(lease) as f64), &begin, &(CLAIMED_BYTES as i64)],
        )
        .await?;
    rows.iter().map(|row| read(row, token)).collect()
}

fn read(row: &Row, token: i64) -> Result<ClaimedEvent> {
    let seq = row.try_get(0).map_err(failure)?;
    let id: Uuid = row.try_get(1).map_err(failure)?;
    let json: Option<&str> = row.try_get(2).map_err(failure)?;
    let event = json.ok_or_else(|| "the row holds no event".to_owned()).and_then(|json| {
        let event: Event = serde_json::from_str(json).map_err(|e| e.to_string())?;
        if event.id == id { Ok(event) } else { Err("the event's id is not the row's event_id".to_owned()) }
    });
    Ok(ClaimedEvent::new(Lease::new(seq, token), event))
}

/// What the deliveries need to know of their event.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) event_id: Uuid,
    /// `None` if the row cannot be read: then there are no deliveries.
    pub(super) head: Option<Head>,
}

#[derive(Debug, serde::Deserialize)]
pub(super) struct Head {
    pub(super) project_id: ProjectId,
    #[serde(rename = "type")]
    pub(super) event_type: EventType,
}

impl Origin {
    fn read(row: &Row) -> Result<Self> {
        let json: Option<&str> = row.try_get(2).map_err(failure)?;
        let head = json.and_then(|json| serde_json::from_str(json).ok());
        Ok(Self { event_id: row.try_get(1).map_err(failure)?, head })
    }
}

/// The leases that are still good, with what their events' deliveries need to know, held until the transaction ends.
pub(super) async fn held(db: &Db<'_>, leases: &[Lease]) -> Result<HashMap<i64, Origin>> {
    let (keys, tokens): (Vec<i64>, Vec<i64>) = leases.iter().map(|lease| (lease.key, lease.token)).unzip();
    let rows = db
        .rows(
            "SELECT o.seq, o.event_id, o.event FROM {s}.outbox o
             JOIN unnest($1::bigint[], $2::bigint[]) AS l(seq, token) ON o.seq = l.seq AND o.token = l.token
             WHERE o.lease_until > statement_timestamp() AND o.done_at IS NULL ORDER BY o.seq FOR NO KEY UPDATE OF o",
            &[&keys, &tokens],
        )
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0).map_err(failure)?, Origin::read(row)?))).collect()
}

/// Takes events that are fanned out from the outbox, and sets aside those that cannot be read.
pub(super) async fn finish(db: &Db<'_>, done: &[i64], set_aside: &[(i64, &str)]) -> Result<()> {
    if !done.is_empty() {
        let sql = "UPDATE {s}.outbox SET event = NULL, done_at = statement_timestamp() WHERE seq = ANY($1)";
        db.execute(sql, &[&done]).await?;
    }
    for (seq, reason) in set_aside {
        let sql = "UPDATE {s}.outbox SET set_aside = $2, lease_until = '-infinity' WHERE seq = $1";
        db.execute(sql, &[seq, &storable(reason)]).await?;
    }
    Ok(())
}
