use std::time::Duration;

use tokio_postgres::Row;

use super::change::forget;
use super::db::{Db, failure};
use super::lanes::{self, DEAD, DELIVERED, DUE, Moves};
use super::millis;
use super::overview::sweep_hours;
use crate::delivery::DeadReason;
use crate::error::Result;
use crate::store::{Hour, Retention, Swept};

/// One step of removing what is beyond `keep`. One node does it at a time.
pub(super) async fn sweep(db: &Db<'_>, lock: i64, keep: &Retention, max: usize) -> Result<Swept> {
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    db.begin().await?;
    let mine = db.row("SELECT pg_try_advisory_xact_lock($1)", &[&(lock ^ 1)]).await?;
    if !mine.is_some_and(|row| row.try_get(0).unwrap_or(false)) {
        db.commit().await?;
        return Ok(Swept::default());
    }
    let mut gone = old_dead(db, keep.dead, max).await?;
    gone.extend(beyond(db, "state = 4", keep.dead_per_policy, max).await?);
    gone.extend(beyond(db, "state IN (3, 5)", keep.finished_per_policy, max).await?);
    gone.sort_unstable();
    gone.dedup();
    let mut moves = Moves::default();
    // What was redelivered meanwhile waits again.
    forget(db, &gone, DELIVERED, &mut moves).await?;
    let forgotten = forget_events(db, keep.event_ids, max).await?;
    let hours = sweep_hours(db, max).await?;
    // Last, as all that send need the lanes, and all at once, as everybody takes them.
    let expired = expire(db, keep.max_age, max, &mut moves).await?;
    lanes::apply_and_commit(db, &moves, false).await?;
    forget_lanes(db).await?;
    let removed = gone.len() as u64 + forgotten;
    let full = |n: u64| i64::try_from(n).is_ok_and(|n| n >= max);
    Ok(Swept::new(removed, expired, full(removed) || full(expired) || full(hours)))
}

/// Takes the lanes, and gives up what waited too long. What is leased just now is left to its attempt.
async fn expire(db: &Db<'_>, max_age: Duration, max: i64, moves: &mut Moves) -> Result<u64> {
    let age = millis(max_age) as f64;
    let rows = db
        .rows(
            "SELECT id, target_id FROM {s}.deliveries
             WHERE state IN (0, 1) AND state = 0 AND since < statement_timestamp() - $1 * interval '1 ms' LIMIT $2",
            &[&age, &max],
        )
        .await?;
    let old = ids(&rows, 0)?;
    lanes::take(db, &[moves.targets(), ids(&rows, 1)?].concat()).await?;
    if old.is_empty() {
        return Ok(0);
    }
    let expired = db
        .rows(
            "UPDATE {s}.deliveries SET state = 4, reason = $2, updated_at = statement_timestamp()
             WHERE id = ANY($1) AND state = 0 RETURNING target_id, size",
            &[&old, &DeadReason::Expired.as_str()],
        )
        .await?;
    for row in &expired {
        let size = row.try_get(1).map_err(failure)?;
        moves.of(row.try_get(0).map_err(failure)?).step(Some(DUE), Some(DEAD), size);
    }
    Ok(expired.len() as u64)
}

async fn old_dead(db: &Db<'_>, age: Duration, max: i64) -> Result<Vec<i64>> {
    let sql = "SELECT id FROM {s}.deliveries
               WHERE state = 4 AND updated_at < statement_timestamp() - $1 * interval '1 ms' LIMIT $2";
    ids(&db.rows(sql, &[&(millis(age) as f64), &max]).await?, 0)
}

/// The finished deliveries of each policy beyond the newest `keep`. Goes from policy to policy by the index, so that it costs
/// nothing for what is kept.
async fn beyond(db: &Db<'_>, states: &str, keep: usize, max: i64) -> Result<Vec<i64>> {
    let keep = i64::try_from(keep).unwrap_or(i64::MAX);
    let sql = format!(
        "WITH RECURSIVE p(policy_id) AS (
           (SELECT policy_id FROM {{s}}.deliveries WHERE {states} ORDER BY policy_id LIMIT 1)
           UNION ALL
           SELECT (SELECT d.policy_id FROM {{s}}.deliveries d WHERE {states} AND d.policy_id > p.policy_id
                   ORDER BY d.policy_id LIMIT 1)
           FROM p WHERE p.policy_id IS NOT NULL)
         SELECT d.id FROM p CROSS JOIN LATERAL
           (SELECT id FROM {{s}}.deliveries d WHERE d.policy_id = p.policy_id AND {states}
            ORDER BY id DESC OFFSET $1) d
         LIMIT $2"
    );
    ids(&db.rows(&sql, &[&keep, &max]).await?, 0)
}

async fn forget_events(db: &Db<'_>, age: Duration, max: i64) -> Result<u64> {
    db.execute(
        "DELETE FROM {s}.outbox WHERE seq IN (SELECT seq FROM {s}.outbox
           WHERE done_at < statement_timestamp() - $1 * interval '1 ms' ORDER BY done_at LIMIT $2)",
        &[&(millis(age) as f64), &max],
    )
    .await
}

/// Lanes of targets that are gone.
async fn forget_lanes(db: &Db<'_>) -> Result<()> {
    db.execute(
        "DELETE FROM {s}.lanes l WHERE waiting + in_flight + delivered + dead + cancelled = 0 AND gate_until <= statement_timestamp()
           AND NOT EXISTS (SELECT 1 FROM {s}.targets t WHERE t.id = l.target_id)
           AND NOT EXISTS (SELECT 1 FROM {s}.deliveries d WHERE d.target_id = l.target_id AND d.state = 0)
           AND (hour_taken + hour_failed = 0 OR hour <= statement_timestamp() - $1 * interval '1 hour')
           AND NOT EXISTS (SELECT 1 FROM {s}.hours h WHERE h.target_id = l.target_id)",
        &[&f64::from(Hour::KEPT)],
    )
    .await
    .map(|_| ())
}

fn ids(rows: &[Row], column: usize) -> Result<Vec<i64>> {
    rows.iter().map(|row| row.try_get(column)).collect::<Result<_, _>>().map_err(failure)
}
