use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::params;
use uuid::Uuid;

use super::db::{Db, unreadable};
use super::{Now, millis};
use crate::delivery::{Attempt, DeadReason, Outcome};
use crate::error::Result;
use crate::event::EventType;
use crate::id::{DeliveryId, PolicyId, TargetId};
use crate::store::{Body, Claimed, Fenced, Hold, Lease, Next, Settlement};

/// The column `state`.
pub(super) const DUE: i64 = 0;
pub(super) const LEASED: i64 = 1;
pub(super) const PARKED: i64 = 2;
pub(super) const DELIVERED: i64 = 3;
pub(super) const DEAD: i64 = 4;
pub(super) const CANCELLED: i64 = 5;

/// Lost leases that make a delivery poison.
const MAX_LOSSES: i64 = 5;
/// Leases looked at in one claim.
const EXPIRED: i64 = 256;

pub(super) fn claim(db: &Db<'_>, max: usize, until: i64, token: i64, now: Now) -> Result<Vec<Claimed>> {
    lose_expired(db, now.store, now)?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let lanes = db.rows(
        "SELECT target_id, max_in_flight - in_flight FROM harbor_webhook_lanes
         WHERE next_at <= ?1 ORDER BY next_at LIMIT ?2",
        params![now.store, max],
        |row| Ok((TargetId(row.get(0)?), row.get::<_, i64>(1)?)),
    )?;
    let Some(each) = i64::try_from(lanes.len()).ok().filter(|n| *n > 0).map(|n| (max + n - 1) / n) else {
        return Ok(Vec::new());
    };
    let mut claimed = Vec::new();
    for (target, room) in lanes {
        let left = max - i64::try_from(claimed.len()).unwrap_or(max);
        claim_lane(db, target, each.min(room).min(left), (until, token), now, &mut claimed)?;
    }
    Ok(claimed)
}

fn claim_lane(
    db: &Db<'_>,
    target: TargetId,
    most: i64,
    (until, token): (i64, i64),
    now: Now,
    claimed: &mut Vec<Claimed>,
) -> Result<()> {
    let due = db.rows(
        "SELECT d.id, d.event_id, d.event_type, d.policy_id, d.attempts - d.spent, d.since, b.id, b.format,
                b.content_type, b.bytes
         FROM harbor_webhook_deliveries d JOIN harbor_webhook_bodies b ON b.id = d.body_id
         WHERE d.target_id = ?1 AND d.state = 0 AND d.due <= ?2 ORDER BY d.due, d.id LIMIT ?3",
        params![target.0, now.store, most],
        |row| {
            let kind: String = row.get(2)?;
            let kind: EventType = kind.parse().map_err(|_| unreadable("a delivery is of another version"))?;
            let body = Body::new(
                Uuid::from_bytes(row.get(6)?),
                row.get::<_, Arc<str>>(7)?,
                row.get::<_, Arc<str>>(8)?,
                Bytes::from(row.get::<_, Vec<u8>>(9)?),
            );
            let (id, at) = (row.get(0)?, (PolicyId(row.get(3)?), target));
            let mut claim = Claimed::new(Lease::new(id, token), Uuid::from_bytes(row.get(1)?), kind, at, body);
            claim.id = DeliveryId(id);
            claim.attempts = row.get(4)?;
            claim.age = Duration::from_millis((now.store - row.get::<_, i64>(5)?).max(0).unsigned_abs());
            Ok(claim)
        },
    )?;
    for claim in &due {
        let sql = "UPDATE harbor_webhook_deliveries SET state = 1, token = ?2, lease_until = ?3 WHERE id = ?1";
        db.execute(sql, params![claim.id.0, token, until])?;
    }
    let sql = "UPDATE harbor_webhook_lanes SET in_flight = in_flight + ?2, served = ?3 WHERE target_id = ?1";
    db.execute(sql, params![target.0, i64::try_from(due.len()).unwrap_or_default(), now.store])?;
    place(db, target)?;
    claimed.extend(due);
    Ok(())
}

pub(super) fn settle(db: &Db<'_>, result: &Settlement, now: Now) -> Result<Fenced> {
    let id = result.lease.key;
    let target = db.row(
        "SELECT target_id FROM harbor_webhook_deliveries WHERE id = ?1 AND state = 1 AND token = ?2 AND lease_until > ?3",
        params![id, result.lease.token, now.store],
        |row| row.get(0).map(TargetId),
    )?;
    let Some(target) = target else { return Ok(Fenced::Stale) };
    if let Some(attempt) = &result.attempt {
        record(db, id, attempt)?;
    }
    if let Some((time, why)) = result.close_lane {
        close_lane(db, target, now.store.saturating_add(millis(time)), why)?;
    }
    match &result.next {
        Next::Delivered => end(db, id, target, DELIVERED, None, None, now)?,
        Next::Dead(reason, detail) => end(db, id, target, DEAD, Some(reason.as_str()), detail.as_deref(), now)?,
        Next::Cancelled(reason) => end(db, id, target, CANCELLED, Some(reason.as_str()), None, now)?,
        Next::Retry(after) | Next::Release(after) => {
            db.execute(
                "UPDATE harbor_webhook_deliveries SET state = 0, due = ?2, updated_at = ?3 WHERE id = ?1",
                params![id, now.store.saturating_add(millis(*after)), now.wall],
            )?;
        }
    }
    lane_flies(db, target, -1)?;
    place(db, target)?;
    Ok(Fenced::Done)
}

fn record(db: &Db<'_>, id: i64, attempt: &Attempt) -> Result<()> {
    let (status, failure, text, truncated) = match &attempt.outcome {
        Outcome::Answered { status, body, truncated } => (Some(*status), None, body, *truncated),
        Outcome::Failed { kind, message } => (None, Some(kind.as_str()), message, false),
    };
    db.execute("UPDATE harbor_webhook_deliveries SET attempts = attempts + 1 WHERE id = ?1", [id])?;
    db.execute(
        "INSERT INTO harbor_webhook_attempts
         (delivery_id, number, started_at, duration_us, status, failure, text, truncated, remote_addr)
         SELECT ?1, attempts, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM harbor_webhook_deliveries WHERE id = ?1",
        params![
            id,
            attempt.started_at.timestamp_millis(),
            i64::try_from(attempt.duration.as_micros()).unwrap_or(i64::MAX),
            status,
            failure,
            text,
            truncated,
            attempt.remote_addr.map(|addr| addr.to_string()),
        ],
    )?;
    Ok(())
}

fn close_lane(db: &Db<'_>, target: TargetId, until: i64, why: Hold) -> Result<()> {
    db.execute(
        "UPDATE harbor_webhook_lanes SET gate_until = ?2, gate_why = ?3 WHERE target_id = ?1 AND gate_until < ?2",
        params![target.0, until, why.as_str()],
    )
    .map(|_| ())
}

/// A waiting delivery ends. The caller sees to the lane's flight and place.
pub(super) fn end(
    db: &Db<'_>,
    id: i64,
    target: TargetId,
    state: i64,
    reason: Option<&str>,
    detail: Option<&str>,
    now: Now,
) -> Result<()> {
    db.execute(
        "UPDATE harbor_webhook_deliveries SET state = ?2, reason = ?3, detail = ?4, updated_at = ?5 WHERE id = ?1",
        params![id, state, reason, detail, now.wall],
    )?;
    lane_waits(db, target, -1)
}

/// Leases that ran out, or that the process before this one held.
pub(super) fn lose_all(db: &Db<'_>, now: Now) -> Result<()> {
    db.execute("UPDATE harbor_webhook_outbox SET lease_until = 0 WHERE done_at IS NULL AND lease_until > 0", [])?;
    while lose_expired(db, i64::MAX, now)? > 0 {}
    Ok(())
}

fn lose_expired(db: &Db<'_>, until: i64, now: Now) -> Result<usize> {
    let lost = db.rows(
        "SELECT id, target_id, losses FROM harbor_webhook_deliveries WHERE state = 1 AND lease_until <= ?1 LIMIT ?2",
        params![until, EXPIRED],
        |row| Ok((row.get(0)?, TargetId(row.get(1)?), row.get::<_, i64>(2)? + 1)),
    )?;
    for (id, target, losses) in &lost {
        db.execute(
            "UPDATE harbor_webhook_deliveries SET state = 0, due = ?2, losses = ?3 WHERE id = ?1",
            params![id, now.store, losses],
        )?;
        if *losses >= MAX_LOSSES {
            let detail = format!("its lease was lost {losses} times: the attempt seems to bring the sender down");
            end(db, *id, *target, DEAD, Some(DeadReason::Poison.as_str()), Some(&detail), now)?;
        }
        lane_flies(db, *target, -1)?;
        place(db, *target)?;
    }
    Ok(lost.len())
}

pub(super) fn lane_waits(db: &Db<'_>, target: TargetId, by: i64) -> Result<()> {
    let sql = "UPDATE harbor_webhook_lanes SET waiting = waiting + ?2 WHERE target_id = ?1";
    db.execute(sql, [target.0, by]).map(|_| ())
}

pub(super) fn lane_flies(db: &Db<'_>, target: TargetId, by: i64) -> Result<()> {
    let sql = "UPDATE harbor_webhook_lanes SET in_flight = max(0, in_flight + ?2) WHERE target_id = ?1";
    db.execute(sql, [target.0, by]).map(|_| ())
}

/// Works out when the lane can be claimed from. A lane that was just served comes behind those that wait for longer.
pub(super) fn place(db: &Db<'_>, target: TargetId) -> Result<()> {
    db.execute(
        "UPDATE harbor_webhook_lanes SET next_at = CASE WHEN in_flight < max_in_flight THEN
           (SELECT max(due, harbor_webhook_lanes.gate_until, harbor_webhook_lanes.served)
            FROM harbor_webhook_deliveries WHERE target_id = ?1 AND state = 0 ORDER BY due, id LIMIT 1) END
         WHERE target_id = ?1",
        [target.0],
    )
    .map(|_| ())
}
