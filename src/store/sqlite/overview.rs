use std::time::Duration;

use chrono::DateTime;
use rusqlite::Row;

use super::Now;
use super::db::Db;
use super::policies::time;
use crate::error::Result;
use crate::id::{PolicyId, TargetId};
use crate::store::{Filter, Hold, Hour, LaneState};

/// The lanes that are selected. Only what is given stands in the statement, so that the planner sees which index fits.
fn selected(which: &Filter) -> String {
    let parts = [
        ("target_id", which.target_id.map(|id| id.0)),
        ("policy_id", which.policy_id.map(|id| id.0)),
        ("project_id", which.project_id.map(|id| id.0)),
    ];
    let parts = parts.iter().filter_map(|(column, id)| id.map(|id| format!(" AND l.{column} = {id}")));
    parts.fold("true".to_owned(), |all, part| all + &part)
}

pub(super) fn lanes(db: &Db<'_>, which: &Filter, now: Now) -> Result<Vec<LaneState>> {
    let sql = format!(
        "SELECT l.target_id, l.policy_id, l.waiting - l.parked, l.parked, l.failures, l.gate_until, l.gate_why,
           (SELECT since FROM harbor_webhook_deliveries WHERE target_id = l.target_id AND state = 0 ORDER BY due, id LIMIT 1),
           f.since
         FROM harbor_webhook_lanes l LEFT JOIN
           (SELECT target_id, min(since) AS since FROM harbor_webhook_deliveries WHERE state = 1 GROUP BY target_id) f
           ON f.target_id = l.target_id
         WHERE {}",
        selected(which)
    );
    db.rows_of(&sql, [], |row| read_lane(row, now))
}

fn read_lane(row: &Row<'_>, now: Now) -> rusqlite::Result<LaneState> {
    let count = |at| Ok::<_, rusqlite::Error>(row.get::<_, i64>(at)?.max(0).unsigned_abs());
    let mut lane = LaneState::new(TargetId(row.get(0)?), PolicyId(row.get(1)?));
    (lane.waiting, lane.parked) = (count(2)?, count(3)?);
    lane.failures = u32::try_from(count(4)?).unwrap_or(u32::MAX);
    let (first_due, leased): (Option<i64>, Option<i64>) = (row.get(7)?, row.get(8)?);
    let passed = |from: i64, to: i64| Duration::from_millis(to.saturating_sub(from).max(0).unsigned_abs());
    lane.oldest_waiting = first_due.into_iter().chain(leased).min().map(|since| passed(since, now.store));
    let until: i64 = row.get(5)?;
    if until <= now.store {
        return Ok(lane);
    }
    let why = row.get::<_, Option<String>>(6)?.as_deref().and_then(Hold::from_name).unwrap_or(Hold::RetryAfter);
    Ok(lane.closed(why, passed(now.store, until)))
}

pub(super) fn hours(db: &Db<'_>, which: &Filter, now: Now) -> Result<Vec<Hour>> {
    let selected = selected(which);
    let sql = format!(
        "SELECT target_id, hour, sum(taken), sum(failed), sum(us), max(longest_us) FROM (
           SELECT h.* FROM harbor_webhook_lanes l JOIN harbor_webhook_hours h ON h.target_id = l.target_id
             WHERE {selected}
           UNION ALL SELECT target_id, hour, hour_taken, hour_failed, hour_us, hour_longest_us
             FROM harbor_webhook_lanes l WHERE hour_taken + hour_failed > 0 AND {selected})
         WHERE hour >= ?1 GROUP BY target_id, hour ORDER BY target_id, hour"
    );
    db.rows_of(&sql, [oldest_kept(now)], read_hour)
}

fn read_hour(row: &Row<'_>) -> rusqlite::Result<Hour> {
    let count = |at| Ok::<_, rusqlite::Error>(row.get::<_, i64>(at)?.max(0).unsigned_abs());
    let mut hour = Hour::of(TargetId(row.get(0)?), time(row.get(1)?));
    (hour.delivered, hour.failed) = (count(2)?, count(3)?);
    (hour.latency, hour.max_latency) = (Duration::from_micros(count(4)?), Duration::from_micros(count(5)?));
    Ok(hour)
}

/// When the oldest hour began that is kept.
pub(super) fn oldest_kept(now: Now) -> i64 {
    let now = DateTime::from_timestamp_millis(now.wall).unwrap_or_default();
    Hour::oldest_kept(now).timestamp_millis()
}

/// Puts the lane's hour with those that are over.
pub(super) fn begin_hour(db: &Db<'_>, target: TargetId, now: Now) -> Result<()> {
    db.execute(
        "INSERT INTO harbor_webhook_hours
         SELECT target_id, hour, hour_taken, hour_failed, hour_us, hour_longest_us FROM harbor_webhook_lanes
         WHERE target_id = ?1 AND hour_taken + hour_failed > 0
         -- A clock that was set back comes to an hour again.
         ON CONFLICT DO UPDATE SET taken = taken + excluded.taken, failed = failed + excluded.failed, us = us + excluded.us,
           longest_us = max(longest_us, excluded.longest_us)",
        [target.0],
    )?;
    db.execute(
        "UPDATE harbor_webhook_lanes SET hour = ?2, hour_taken = 0, hour_failed = 0, hour_us = 0, hour_longest_us = 0
         WHERE target_id = ?1",
        [target.0, now.hour()],
    )
    .map(|_| ())
}

/// Forgets what was counted in these lanes.
pub(super) fn forget_hours(db: &Db<'_>, which: &Filter) -> Result<()> {
    let lanes = format!("SELECT target_id FROM harbor_webhook_lanes l WHERE {}", selected(which));
    db.batch(&format!(
        "DELETE FROM harbor_webhook_hours WHERE target_id IN ({lanes});
         UPDATE harbor_webhook_lanes SET hour_taken = 0, hour_failed = 0, hour_us = 0, hour_longest_us = 0
         WHERE target_id IN ({lanes})"
    ))
}

/// Removes the hours that are over for long; at most so many.
pub(super) fn sweep_hours(db: &Db<'_>, max: i64, now: Now) -> Result<usize> {
    db.execute(
        "DELETE FROM harbor_webhook_hours WHERE (target_id, hour) IN
         (SELECT target_id, hour FROM harbor_webhook_hours WHERE hour < ?1 ORDER BY hour LIMIT ?2)",
        [oldest_kept(now), max],
    )
}
