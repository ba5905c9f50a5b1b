use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::db::{Db, failure};
use super::history::{Selection, params};
use crate::error::Result;
use crate::id::{PolicyId, TargetId};
use crate::store::{Filter, Hold, Hour, LaneState};

/// The lanes that are selected, whatever else the filter says.
fn selected(which: &Filter) -> Selection {
    let Filter { target_id, policy_id, project_id, .. } = *which;
    Selection::of(&Filter { target_id, policy_id, project_id, ..Filter::all() })
}

pub(super) async fn lanes(db: &Db<'_>, which: &Filter) -> Result<Vec<LaneState>> {
    let Selection { conditions, values } = selected(which);
    let sql = format!(
        "SELECT l.target_id, l.policy_id, l.waiting - l.parked, l.parked, l.failures, l.gate_why,
           extract(epoch FROM least(greatest(l.gate_until, statement_timestamp()), statement_timestamp() + interval '100 years')
             - statement_timestamp())::float8,
           extract(epoch FROM statement_timestamp() - least(f.since,
             (SELECT since FROM {{s}}.deliveries d WHERE d.target_id = l.target_id AND state = 0
              ORDER BY due, id LIMIT 1)))::float8
         FROM (SELECT * FROM {{s}}.lanes WHERE {conditions}) l LEFT JOIN
           (SELECT target_id, min(since) AS since FROM {{s}}.deliveries WHERE state = 1 GROUP BY target_id) f
           ON f.target_id = l.target_id"
    );
    let rows = db.rows(&sql, &params(&values)).await?;
    rows.iter().map(read_lane).collect::<Result<_, _>>().map_err(failure)
}

fn read_lane(row: &Row) -> Result<LaneState, tokio_postgres::Error> {
    let count = |at| Ok(row.try_get::<_, i64>(at)?.max(0).unsigned_abs());
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let mut lane = LaneState::new(TargetId(row.try_get(0)?), PolicyId(row.try_get(1)?));
    (lane.waiting, lane.parked) = (count(2)?, count(3)?);
    lane.failures = u32::try_from(count(4)?).unwrap_or(u32::MAX);
    lane.oldest_waiting = row.try_get::<_, Option<f64>>(7)?.map(seconds);
    let opens_in: f64 = row.try_get(6)?;
    if opens_in <= 0.0 {
        return Ok(lane);
    }
    let why = row.try_get::<_, Option<&str>>(5)?.and_then(Hold::from_name).unwrap_or(Hold::RetryAfter);
    Ok(lane.closed(why, seconds(opens_in)))
}

pub(super) async fn hours(db: &Db<'_>, which: &Filter) -> Result<Vec<Hour>> {
    let Selection { conditions, mut values } = selected(which);
    values.push(Box::new(f64::from(Hour::KEPT)));
    let sql = format!(
        "WITH l AS (SELECT * FROM {{s}}.lanes WHERE {conditions})
         SELECT target_id, hour, sum(taken)::bigint, sum(failed)::bigint, sum(us)::bigint, max(longest_us) FROM (
           SELECT h.target_id, h.hour, h.taken, h.failed, h.us, h.longest_us
             FROM l JOIN {{s}}.hours h ON h.target_id = l.target_id
           UNION ALL SELECT target_id, hour, hour_taken, hour_failed, hour_us, hour_longest_us
             FROM l WHERE hour_taken + hour_failed > 0) h
         WHERE hour > statement_timestamp() - ${} * interval '1 hour'
         GROUP BY target_id, hour ORDER BY target_id, hour",
        values.len()
    );
    let rows = db.rows(&sql, &params(&values)).await?;
    rows.iter().map(read_hour).collect::<Result<_, _>>().map_err(failure)
}

fn read_hour(row: &Row) -> Result<Hour, tokio_postgres::Error> {
    let count = |at| Ok(row.try_get::<_, i64>(at)?.max(0).unsigned_abs());
    let mut hour = Hour::of(TargetId(row.try_get(0)?), row.try_get::<_, DateTime<Utc>>(1)?);
    (hour.delivered, hour.failed) = (count(2)?, count(3)?);
    (hour.latency, hour.max_latency) = (Duration::from_micros(count(4)?), Duration::from_micros(count(5)?));
    Ok(hour)
}

/// Forgets what was counted in these lanes.
pub(super) async fn forget_hours(db: &Db<'_>, which: &Filter) -> Result<()> {
    let Selection { conditions, values } = selected(which);
    let lanes = format!("SELECT target_id FROM {{s}}.lanes WHERE {conditions} ORDER BY target_id FOR NO KEY UPDATE");
    let rows = db.rows(&lanes, &params(&values)).await?;
    let targets: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(failure)?;
    db.execute("DELETE FROM {s}.hours WHERE target_id = ANY($1)", &[&targets]).await?;
    db.execute(
        "UPDATE {s}.lanes SET hour_taken = 0, hour_failed = 0, hour_us = 0, hour_longest_us = 0
         WHERE target_id = ANY($1) AND hour_taken + hour_failed > 0",
        &[&targets],
    )
    .await
    .map(|_| ())
}

/// Removes the hours that are over for long; at most so many.
pub(super) async fn sweep_hours(db: &Db<'_>, max: i64) -> Result<u64> {
    db.execute(
        "DELETE FROM {s}.hours WHERE (target_id, hour) IN (SELECT target_id, hour FROM {s}.hours
           WHERE hour <= statement_timestamp() - $1 * interval '1 hour' ORDER BY hour LIMIT $2)",
        &[&f64::from(Hour::KEPT), &max],
    )
    .await
}
