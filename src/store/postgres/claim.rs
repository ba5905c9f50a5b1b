use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use tokio_postgres::Row;
use uuid::Uuid;

use super::db::{Db, both, failure};
use super::lanes::{self, DEAD, DUE, LEASED, Moves};
use super::policies::unreadable;
use super::turns::Turns;
use super::{millis, token};
use crate::delivery::{DeadReason, Rate};
use crate::error::Result;
use crate::event::EventType;
use crate::id::{DeliveryId, PolicyId, ProjectId, TargetId};
use crate::store::{Body, Claimed, Lease};

/// Lost leases that make a delivery poison.
const MAX_LOSSES: i16 = 5;

/// A lane that is ready and was taken.
struct Lane {
    target: i64,
    /// How many more may be claimed from it: its room in flight, and what its rate allows.
    room: i64,
    rate: Rate,
    /// When the next token of its rate is there, and the present.
    next_token: Duration,
    now: Duration,
}

/// A lane's columns.
const LANE: &str = "target_id, least(max_in_flight, ramp) - in_flight, spacing_us, token_us,
                    (extract(epoch FROM statement_timestamp()) * 1000000)::bigint";

impl Lane {
    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let micros = |at| Ok(Duration::from_micros(row.try_get::<_, i64>(at)?.max(0).unsigned_abs()));
        let (rate, next_token, now) = (Rate::per(1, micros(2)?), micros(3)?, micros(4)?);
        let room = row.try_get::<_, i64>(1)?.min(rate.tokens(next_token, now).into());
        Ok(Self { target: row.try_get(0)?, room, rate, next_token, now })
    }

    /// When the next token is there, after some were taken. None if there is no limit.
    fn take(&self, taken: i64) -> Option<i64> {
        let taken = u32::try_from(taken).ok().filter(|_| !self.rate.spacing().is_zero())?;
        i64::try_from(self.rate.take(self.next_token, self.now, taken).as_micros()).ok()
    }
}

/// Of other projects than these.
pub(super) async fn claim(
    db: &Db<'_>,
    turns: &Turns,
    beside: &[i64],
    max: usize,
    lease: Duration,
) -> Result<Vec<Claimed>> {
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let Some(expired) = look(db, beside).await? else { return Ok(Vec::new()) };
    if !expired.is_empty() {
        lose(db, &expired).await?;
    }
    let _turn = turns.take().await;
    let ((), mut lanes) = both(db.begin_loosely(), ready(db, beside, max)).await?;
    if lanes.is_empty() {
        if wait_for_one(db, beside).await?.is_empty() {
            db.commit().await?;
            return Ok(Vec::new());
        }
        // Whoever held it held others too, which are free now as well; and this one is ours.
        lanes = ready(db, beside, max).await?;
    }
    let token = token();
    let rows = lease_from(db, &shares(&lanes, max), token, lease).await?;
    let mut moves = Moves::default();
    lanes.iter().for_each(|lane| moves.touch(lane.target));
    for row in &rows {
        moves.of(row.try_get(4).map_err(failure)?).flies += 1;
    }
    for lane in &lanes {
        let moved = moves.of(lane.target);
        moved.token_us = lane.take(moved.flies);
    }
    let ids: HashSet<Option<Uuid>> =
        rows.iter().map(|row| row.try_get(5)).collect::<Result<_, _>>().map_err(failure)?;
    let (bodies, ()) = both(bodies(db, ids), lanes::apply_and_commit(db, &moves, true)).await?;
    let mut claimed = rows.iter().map(|row| read(row, token, &bodies)).collect::<Result<Vec<_>>>()?;
    claimed.sort_unstable_by_key(|claim| claim.id);
    Ok(claimed)
}

/// Takes lanes that nobody holds, those first that have waited for longest.
async fn ready(db: &Db<'_>, beside: &[i64], max: i64) -> Result<Vec<Lane>> {
    let sql = format!(
        "SELECT {LANE} FROM {{s}}.lanes
         WHERE next_at <= statement_timestamp() AND project_id <> ALL($2)
         ORDER BY next_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED"
    );
    let rows = db.rows(&sql, &[&max, &beside]).await?;
    rows.iter().map(Lane::read).collect::<Result<_, _>>().map_err(failure)
}

/// All lanes that are ready are held by somebody else, for the time of a commit: waits for one. It holds no other, so that
/// nobody can wait for it in turn.
async fn wait_for_one(db: &Db<'_>, beside: &[i64]) -> Result<Vec<Lane>> {
    let sql = format!(
        "SELECT {LANE} FROM {{s}}.lanes
         WHERE target_id = (SELECT target_id FROM {{s}}.lanes
                            WHERE next_at <= statement_timestamp() AND project_id <> ALL($1) ORDER BY next_at LIMIT 1)
           AND next_at <= statement_timestamp() FOR NO KEY UPDATE"
    );
    let rows = db.rows(&sql, &[&beside]).await?;
    rows.iter().map(Lane::read).collect::<Result<_, _>>().map_err(failure)
}

/// How much is taken from each lane: the same from all, as far as there is room.
fn shares(lanes: &[Lane], max: i64) -> (Vec<i64>, Vec<i64>) {
    let count = i64::try_from(lanes.len()).unwrap_or(i64::MAX).max(1);
    let each = max / count + i64::from(max % count != 0);
    let mut left = max;
    let share = |lane: &Lane| {
        let share = each.min(lane.room).min(left).max(0);
        left -= share;
        (lane.target, share)
    };
    lanes.iter().map(share).unzip()
}

async fn lease_from(
    db: &Db<'_>,
    (targets, shares): &(Vec<i64>, Vec<i64>),
    token: i64,
    lease: Duration,
) -> Result<Vec<Row>> {
    if targets.is_empty() {
        return Ok(Vec::new());
    }
    db.rows(
        "WITH due AS MATERIALIZED (
           SELECT d.id FROM unnest($1::bigint[], $2::bigint[]) AS l(target_id, share) CROSS JOIN LATERAL
             (SELECT id FROM {s}.deliveries
              WHERE target_id = l.target_id AND state = 0 AND due <= statement_timestamp()
              ORDER BY due, id LIMIT l.share) d)
         UPDATE {s}.deliveries d
         SET state = 1, token = $3, lease_until = statement_timestamp() + $4 * interval '1 ms'
         FROM due WHERE d.id = due.id
         RETURNING d.id, d.event_id, d.event_type, d.policy_id, d.target_id, d.body_id, d.attempts - d.spent,
           extract(epoch FROM statement_timestamp() - d.since)::float8, d.project_id",
        &[targets, shares, &token, &(millis(lease) as f64)],
    )
    .await
}

async fn bodies(db: &Db<'_>, ids: HashSet<Option<Uuid>>) -> Result<HashMap<Uuid, Body>> {
    let ids: Vec<Uuid> = ids.into_iter().flatten().collect();
    let rows = db.rows("SELECT id, format, content_type, bytes FROM {s}.bodies WHERE id = ANY($1)", &[&ids]).await?;
    rows.iter().map(|row| read_body(row, 0)).map(|body| body.map(|body| (body.id, body))).collect()
}

/// A body's four columns, from this one on.
pub(super) fn read_body(row: &Row, at: usize) -> Result<Body> {
    let (format, content_type): (&str, &str) =
        (row.try_get(at + 1).map_err(failure)?, row.try_get(at + 2).map_err(failure)?);
    let bytes: Vec<u8> = row.try_get(at + 3).map_err(failure)?;
    Ok(Body::new(row.try_get(at).map_err(failure)?, format, content_type, Bytes::from(bytes)))
}

fn read(row: &Row, token: i64, bodies: &HashMap<Uuid, Body>) -> Result<Claimed> {
    let id: i64 = row.try_get(0).map_err(failure)?;
    let kind: EventType = row.try_get::<_, &str>(2).map_err(failure)?.parse().map_err(unreadable)?;
    let project = ProjectId(row.try_get(8).map_err(failure)?);
    let at = (project, PolicyId(row.try_get(3).map_err(failure)?), TargetId(row.try_get(4).map_err(failure)?));
    let body: Option<Uuid> = row.try_get(5).map_err(failure)?;
    let body = body.and_then(|id| bodies.get(&id)).ok_or(()).map_err(unreadable)?;
    let event_id = row.try_get(1).map_err(failure)?;
    let mut claimed = Claimed::new(Lease::new(id, token), event_id, kind, at, body.clone());
    claimed.id = DeliveryId(id);
    claimed.attempts = row.try_get::<_, i32>(6).map_err(failure)?.max(0).unsigned_abs();
    claimed.age = Duration::try_from_secs_f64(row.try_get::<_, f64>(7).map_err(failure)?).unwrap_or_default();
    Ok(claimed)
}

/// The targets of deliveries whose leases ran out; `None` if there are none and no lane is ready. With several nodes most claims
/// find nothing, as all of them are woken for what one takes: this question is a tenth of the work of a transaction.
async fn look(db: &Db<'_>, beside: &[i64]) -> Result<Option<Vec<i64>>> {
    let expired =
        "SELECT target_id FROM {s}.deliveries WHERE state = 1 AND lease_until <= statement_timestamp() LIMIT 256";
    let ready = "SELECT NULL FROM {s}.lanes WHERE next_at <= statement_timestamp()";
    let rows = if beside.is_empty() {
        // Without parameters, so that the server plans it once.
        db.rows(&format!("({expired}) UNION ALL ({ready} ORDER BY next_at LIMIT 1)"), &[]).await?
    } else {
        let others = "AND project_id <> ALL($1) ORDER BY next_at LIMIT 1";
        db.rows(&format!("({expired}) UNION ALL ({ready} {others})"), &[&beside]).await?
    };
    let targets: Vec<Option<i64>> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(failure)?;
    Ok((!targets.is_empty()).then(|| targets.into_iter().flatten().collect()))
}

/// Deliveries whose leases ran out are due again, or poison.
async fn lose(db: &Db<'_>, targets: &[i64]) -> Result<()> {
    db.begin().await?;
    lanes::take(db, targets).await?;
    let detail = format!("its lease was lost {MAX_LOSSES} times: the attempt seems to bring the sender down");
    let rows = db
        .rows(
            "UPDATE {s}.deliveries SET losses = losses + 1, updated_at = statement_timestamp(),
               due = CASE WHEN losses + 1 < $2::smallint THEN statement_timestamp() ELSE due END,
               state = CASE WHEN losses + 1 < $2::smallint THEN 0 ELSE 4 END,
               reason = CASE WHEN losses + 1 < $2::smallint THEN NULL ELSE $3 END,
               detail = CASE WHEN losses + 1 < $2::smallint THEN NULL ELSE $4 END
             WHERE id IN (SELECT id FROM {s}.deliveries
                          WHERE target_id = ANY($1) AND state = 1 AND lease_until <= statement_timestamp()
                          -- A result that came just in time has it, and waits for the lane.
                          FOR NO KEY UPDATE SKIP LOCKED)
             RETURNING target_id, state, size",
            &[&targets, &MAX_LOSSES, &DeadReason::Poison.as_str(), &detail],
        )
        .await?;
    let mut moves = Moves::default();
    for row in &rows {
        let state: i16 = row.try_get(1).map_err(failure)?;
        debug_assert!(state == DUE || state == DEAD);
        let lane = moves.of(row.try_get(0).map_err(failure)?);
        lane.step(Some(LEASED), Some(state), row.try_get(2).map_err(failure)?);
    }
    lanes::apply_and_commit(db, &moves, false).await
}
