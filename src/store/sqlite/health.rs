//! How lanes fare: what is remembered of their attempts.

use std::time::Duration;

use rusqlite::params;

use super::db::Db;
use super::deliveries::lane;
use super::{Now, millis};
use crate::delivery::breaker::{After, Before, Breaker, Gate, Health, News, Verdict};
use crate::error::Result;
use crate::id::TargetId;
use crate::store::Hold;
use crate::store::tally::Tally;

/// A lane as it stands, and when the first of its failures was.
struct Lane {
    before: Before,
    failing_since: i64,
    disabled: bool,
}

/// Decides what an attempt means for its lane, and writes it down. `returns`: the delivery is due again, unless the lane is
/// disabled: then it is parked.
pub(super) fn judge(
    db: &Db<'_>,
    target: TargetId,
    verdict: Option<(Verdict, Breaker)>,
    returns: bool,
    now: Now,
) -> Result<Option<News>> {
    let Some(lane) = read(db, target, now)? else { return Ok(None) };
    if lane.disabled {
        if returns {
            park_due(db, target)?;
        }
        return Ok(None);
    }
    let Some((verdict, breaker)) = verdict else { return Ok(None) };
    let After { health, gate, news, .. } = breaker.after(&lane.before, verdict, target.0);
    if health != lane.before.health {
        write(db, target, health, if lane.before.health.failures == 0 { now.store } else { lane.failing_since })?;
    }
    match gate {
        Gate::Stays => {}
        Gate::Closes(pause) => close_lane(db, target, now.store.saturating_add(millis(pause)), Hold::CircuitOpen)?,
        Gate::Disables(_) => {
            close_lane(db, target, i64::MAX, Hold::TargetDisabled)?;
            park_due(db, target)?;
        }
    }
    Ok(news)
}

fn read(db: &Db<'_>, target: TargetId, now: Now) -> Result<Option<Lane>> {
    db.row(
        "SELECT failures, failing, opened, ramp, failing_since, gate_until, gate_why, max_in_flight
         FROM harbor_webhook_lanes WHERE target_id = ?1",
        [target.0],
        |row| {
            let health = Health::new(row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            let since: i64 = row.get(4)?;
            let failing_for =
                if health.failures == 0 { 0 } else { now.store.saturating_sub(since).max(0).unsigned_abs() };
            let why = row.get::<_, Option<String>>(6)?.as_deref().and_then(Hold::from_name);
            let late = row.get::<_, i64>(5)? > now.store && why.is_none_or(Hold::makes_late);
            Ok(Lane {
                before: Before::new(health, Duration::from_millis(failing_for), late, row.get(7)?),
                failing_since: since,
                disabled: why == Some(Hold::TargetDisabled),
            })
        },
    )
}

fn write(db: &Db<'_>, target: TargetId, health: Health, since: i64) -> Result<()> {
    db.execute(
        "UPDATE harbor_webhook_lanes SET failures = ?2, failing = ?3, opened = ?4, ramp = ?5, failing_since = ?6
         WHERE target_id = ?1",
        params![target.0, health.failures, health.failing, health.opened, health.ramp, since],
    )
    .map(|_| ())
}

fn park_due(db: &Db<'_>, target: TargetId) -> Result<()> {
    let sql = "UPDATE harbor_webhook_deliveries SET state = 2 WHERE target_id = ?1 AND state = 0";
    let parked = i64::try_from(db.execute(sql, [target.0])?).unwrap_or(i64::MAX);
    lane(db, target, &Tally { parked, ..Tally::default() })
}

/// Closes a lane, unless it is closed for longer already.
pub(super) fn close_lane(db: &Db<'_>, target: TargetId, until: i64, why: Hold) -> Result<()> {
    db.execute(
        "UPDATE harbor_webhook_lanes SET gate_until = ?2, gate_why = ?3 WHERE target_id = ?1 AND gate_until < ?2",
        params![target.0, until, why.as_str()],
    )
    .map(|_| ())
}
