use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Row, params};
use uuid::Uuid;

use super::db::{Db, unreadable};
use super::{Now, health, micros, millis, overview};
use crate::delivery::{Attempt, DeadReason, Outcome, Rate};
use crate::error::Result;
use crate::event::EventType;
use crate::id::{DeliveryId, PolicyId, ProjectId, TargetId};
use crate::store::tally::{CANCELLED, DEAD, DELIVERED, DUE, LEASED, Tally, Tried};
use crate::store::{Body, Claimed, Lease, Next, Settled, Settlement};

/// Lost leases that make a delivery poison.
const MAX_LOSSES: i64 = 5;
/// Leases looked at in one claim.
const EXPIRED: i64 = 256;

/// Of other projects than these.
pub(super) fn claim(
    db: &Db<'_>,
    beside: &[ProjectId],
    max: usize,
    until: i64,
    token: i64,
    now: Now,
) -> Result<Vec<Claimed>> {
    lose_expired(db, now.store, now)?;
    place(db)?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let lanes = ready(db, beside, max, now)?;
    let Some(each) = i64::try_from(lanes.len()).ok().filter(|n| *n > 0).map(|n| (max + n - 1) / n) else {
        return Ok(Vec::new());
    };
    let mut claimed = Vec::new();
    for (target, room, bucket) in lanes {
        let left = max - i64::try_from(claimed.len()).unwrap_or(max);
        claim_lane(db, (target, &bucket), each.min(room).min(left), (until, token), now, &mut claimed)?;
    }
    Ok(claimed)
}

/// Lanes that have something to claim, and how much each allows, those first that have waited for longest.
fn ready(db: &Db<'_>, beside: &[ProjectId], max: i64, now: Now) -> Result<Vec<(TargetId, i64, Bucket)>> {
    let read = |row: &Row<'_>| {
        let micros = |at| Ok::<_, rusqlite::Error>(row.get::<_, i64>(at)?.max(0).unsigned_abs());
        let bucket = Bucket { rate: Rate::per(1, Duration::from_micros(micros(2)?)), next: micros(3)? };
        Ok((TargetId(row.get(0)?), row.get::<_, i64>(1)?.min(bucket.tokens(now)), bucket))
    };
    if beside.is_empty() {
        return db.rows(READY, params![now.store, max], read);
    }
    let beside: Vec<String> = beside.iter().map(|project| project.0.to_string()).collect();
    let others = format!("next_at <= ?1 AND project_id NOT IN ({})", beside.join(", "));
    db.rows_of(&READY.replace("next_at <= ?1", &others), params![now.store, max], read)
}

const READY: &str =
    "SELECT target_id, min(max_in_flight, ifnull(ramp, max_in_flight)) - in_flight, spacing_us, token_us
    FROM harbor_webhook_lanes WHERE next_at <= ?1 ORDER BY next_at LIMIT ?2";

/// A lane's rate, and when its next token is there, in microseconds.
struct Bucket {
    rate: Rate,
    next: u64,
}

impl Bucket {
    fn tokens(&self, now: Now) -> i64 {
        self.rate.tokens(Duration::from_micros(self.next), now.since_start()).into()
    }

    /// When the next token is there after some were taken.
    fn take(&self, now: Now, taken: usize) -> i64 {
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        micros(self.rate.take(Duration::from_micros(self.next), now.since_start(), taken))
    }
}

fn claim_lane(
    db: &Db<'_>,
    (target, bucket): (TargetId, &Bucket),
    most: i64,
    (until, token): (i64, i64),
    now: Now,
    claimed: &mut Vec<Claimed>,
) -> Result<()> {
    let due = db.rows(
        "SELECT d.id, d.event_id, d.event_type, d.policy_id, d.attempts - d.spent, d.since, b.id, b.format,
                b.content_type, b.bytes, d.project_id
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
            let (id, at) = (row.get(0)?, (ProjectId(row.get(10)?), PolicyId(row.get(3)?), target));
            let mut claim = Claimed::new(Lease::new(id, token), Uuid::from_bytes(row.get(1)?), kind, at, body);
            claim.id = DeliveryId(id);
            claim.attempts = row.get(4)?;
            claim.age = Duration::from_millis((now.store - row.get::<_, i64>(5)?).max(0).unsigned_abs());
            Ok(claim)
        },
    )?;
    for claim in &due {
        db.change_found(
            "UPDATE harbor_webhook_deliveries SET state = 1, token = ?2, lease_until = ?3 WHERE id = ?1 AND state = 0",
            params![claim.id.0, token, until],
        )?;
    }
    db.execute(
        "UPDATE harbor_webhook_lanes SET in_flight = in_flight + ?2, served = ?3, token_us = ?4 WHERE target_id = ?1",
        params![target.0, i64::try_from(due.len()).unwrap_or_default(), now.store, bucket.take(now, due.len())],
    )?;
    db.displace(target);
    claimed.extend(due);
    Ok(())
}

pub(super) fn settle(db: &Db<'_>, results: &[Settlement], now: Now) -> Result<Vec<Settled>> {
    let mut tallies = BTreeMap::new();
    let settled = results.iter().map(|result| settle_one(db, result, now, &mut tallies)).collect::<Result<_>>()?;
    // Once for each lane, however many results it has.
    tallies.iter().try_for_each(|(target, tally)| hour(db, *target, tally, now))?;
    Ok(settled)
}

fn settle_one(db: &Db<'_>, result: &Settlement, now: Now, tallies: &mut BTreeMap<TargetId, Tally>) -> Result<Settled> {
    let (state, reason, detail, pause) = match &result.next {
        Next::Delivered => (DELIVERED, None, None, Duration::ZERO),
        Next::Dead(reason, detail) => (DEAD, Some(reason.as_str()), detail.as_deref(), Duration::ZERO),
        Next::Cancelled(reason) => (CANCELLED, Some(reason.as_str()), None, Duration::ZERO),
        Next::Retry(pause) | Next::Release(pause) => (DUE, None, None, *pause),
    };
    let id = result.lease.key;
    let settled = db.row(
        "UPDATE harbor_webhook_deliveries SET state = ?4, reason = ?5, detail = ?6, due = iif(?4 = 0, ?7, due),
           attempts = attempts + ?8, updated_at = ?9
         WHERE id = ?1 AND state = 1 AND token = ?2 AND lease_until > ?3 RETURNING target_id, attempts, size",
        params![
            id,
            result.lease.token,
            now.store,
            state,
            reason,
            detail,
            now.store.saturating_add(millis(pause)),
            result.attempt.is_some(),
            now.wall,
        ],
        |row| Ok((TargetId(row.get(0)?), row.get::<_, i64>(1)?, row.get(2)?)),
    )?;
    let Some((target, number, size)) = settled else { return Ok(Settled::STALE) };
    let tally = tallies.entry(target).or_default();
    // In a disabled lane, what is due again is parked as soon as it is judged, and counted there.
    tally.step(Some(LEASED), Some(state), size);
    if let Some(attempt) = &result.attempt {
        record(db, id, number, attempt)?;
        tally.attempt(attempt);
    }
    let news = health::judge(db, target, result.verdict, state == DUE, now)?;
    if let Some((time, why)) = result.close_lane {
        health::close_lane(db, target, now.store.saturating_add(millis(time)), why)?;
    }
    Ok(Settled::done(news.map(|news| (target, news))))
}

fn record(db: &Db<'_>, id: i64, number: i64, attempt: &Attempt) -> Result<()> {
    let (status, failure, text, truncated) = match &attempt.outcome {
        Outcome::Answered { status, body, truncated } => (Some(*status), None, body, *truncated),
        Outcome::Failed { kind, message } => (None, Some(kind.as_str()), message, false),
    };
    db.execute(
        "INSERT INTO harbor_webhook_attempts
         (delivery_id, number, started_at, duration_us, status, failure, text, truncated, remote_addr)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            id,
            number,
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

/// A waiting delivery ends. The caller sees to the lane.
pub(super) fn end(
    db: &Db<'_>,
    id: i64,
    state: i64,
    reason: Option<&str>,
    detail: Option<&str>,
    now: Now,
) -> Result<()> {
    db.execute(
        "UPDATE harbor_webhook_deliveries SET state = ?2, reason = ?3, detail = ?4, updated_at = ?5 WHERE id = ?1",
        params![id, state, reason, detail, now.wall],
    )
    .map(|_| ())
}

/// Leases that ran out, or that the process before this one held.
pub(super) fn lose_all(db: &Db<'_>, now: Now) -> Result<()> {
    db.execute("UPDATE harbor_webhook_outbox SET lease_until = 0 WHERE done_at IS NULL AND lease_until > 0", [])?;
    while lose_expired(db, i64::MAX, now)? > 0 {}
    Ok(())
}

fn lose_expired(db: &Db<'_>, until: i64, now: Now) -> Result<usize> {
    let lost = db.rows(
        "SELECT id, target_id, losses, size FROM harbor_webhook_deliveries WHERE state = 1 AND lease_until <= ?1 LIMIT ?2",
        params![until, EXPIRED],
        |row| Ok((row.get(0)?, TargetId(row.get(1)?), row.get::<_, i64>(2)? + 1, row.get(3)?)),
    )?;
    for (id, target, losses, size) in &lost {
        db.change_found(
            "UPDATE harbor_webhook_deliveries SET state = 0, due = ?2, losses = ?3 WHERE id = ?1 AND state = 1",
            params![id, now.store, losses],
        )?;
        let poison = *losses >= MAX_LOSSES;
        if poison {
            let detail = format!("its lease was lost {losses} times: the attempt seems to bring the sender down");
            end(db, *id, DEAD, Some(DeadReason::Poison.as_str()), Some(&detail), now)?;
        }
        lane(db, *target, Tally::default().step(Some(LEASED), Some(if poison { DEAD } else { DUE }), *size))?;
    }
    Ok(lost.len())
}

/// Deliveries of the lane have changed: counts them where they are now.
pub(super) fn lane(db: &Db<'_>, target: TargetId, tally: &Tally) -> Result<()> {
    db.displace(target);
    if *tally == Tally::default() {
        return Ok(());
    }
    let sql = "UPDATE harbor_webhook_lanes SET waiting = max(0, waiting + ?2), in_flight = max(0, in_flight + ?3),
                 bytes = max(0, bytes + ?4), parked = max(0, parked + ?5), delivered = max(0, delivered + ?6),
                 dead = max(0, dead + ?7), cancelled = max(0, cancelled + ?8) WHERE target_id = ?1";
    let Tally { waiting, bytes, in_flight, parked, delivered, dead, cancelled, .. } = *tally;
    db.execute(sql, [target.0, waiting, in_flight, bytes, parked, delivered, dead, cancelled]).map(|_| ())
}

/// The same after attempts, which are counted in the present hour.
fn hour(db: &Db<'_>, target: TargetId, tally: &Tally, now: Now) -> Result<()> {
    if tally.tried == Tried::default() {
        return lane(db, target, tally);
    }
    let Tally { waiting, bytes, in_flight, parked, delivered, dead, cancelled, tried } = *tally;
    let count = || {
        db.execute(
            "UPDATE harbor_webhook_lanes SET waiting = max(0, waiting + ?2), in_flight = max(0, in_flight + ?3),
               bytes = max(0, bytes + ?4), parked = max(0, parked + ?5), delivered = max(0, delivered + ?6),
               dead = max(0, dead + ?7), cancelled = max(0, cancelled + ?8), hour_taken = hour_taken + ?10,
               hour_failed = hour_failed + ?11, hour_us = hour_us + ?12, hour_longest_us = max(hour_longest_us, ?13)
             WHERE target_id = ?1 AND hour = ?9",
            [
                target.0,
                waiting,
                in_flight,
                bytes,
                parked,
                delivered,
                dead,
                cancelled,
                now.hour(),
                tried.taken,
                tried.failed,
                tried.us,
                tried.longest_us,
            ],
        )
    };
    db.displace(target);
    if count()? == 0 {
        overview::begin_hour(db, target, now)?;
        count()?;
    }
    Ok(())
}

/// Works out when the lanes that changed can be claimed from. A lane that was just served comes behind those that wait for
/// longer.
pub(super) fn place(db: &Db<'_>) -> Result<()> {
    for target in db.take_displaced() {
        db.execute(
            "UPDATE harbor_webhook_lanes SET next_at = CASE WHEN in_flight < min(max_in_flight, ifnull(ramp, max_in_flight)) THEN
               (SELECT max(due, harbor_webhook_lanes.gate_until, harbor_webhook_lanes.served,
                           (harbor_webhook_lanes.token_us + 999) / 1000)
                FROM harbor_webhook_deliveries WHERE target_id = ?1 AND state = 0 ORDER BY due, id LIMIT 1) END
             WHERE target_id = ?1",
            [target],
        )?;
    }
    Ok(())
}
