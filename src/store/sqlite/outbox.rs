use rusqlite::params;
use rusqlite::types::ValueRef;

use super::db::Db;
use super::{Now, deliveries, micros};
use crate::delivery::DeadReason;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventType};
use crate::id::ProjectId;
use crate::store::tally::{DEAD, DUE, PARKED, Tally};
use crate::store::types::CLAIMED_BYTES;
use crate::store::{Appended, Body, ClaimedEvent, FanOut, Fenced, Hold, Lease, NewDelivery, OutboxRow};

/// Events that may wait in the outbox.
const MAX_EVENTS: i64 = 100_000;

/// Waiting deliveries at which intake stops. What is appended then stays in the outbox, until that is full too.
const MAX_WAITING: i64 = 1_000_000;

pub(super) fn append(db: &Db<'_>, rows: &[OutboxRow], now: Now) -> Result<Vec<Appended>> {
    let appended: Result<Vec<_>> = rows.iter().map(|row| append_one(db, row, now)).collect();
    let appended = appended?;
    // The sequence numbers bound the count from above; only near the bound is it worth counting.
    let mut open = db.number(
        "SELECT coalesce((SELECT max(seq) FROM harbor_webhook_outbox)
           - (SELECT seq FROM harbor_webhook_outbox WHERE done_at IS NULL ORDER BY seq LIMIT 1) + 1, 0)",
        [],
    )?;
    if open > MAX_EVENTS {
        open =
            db.number("SELECT count(*) FROM harbor_webhook_outbox WHERE done_at IS NULL AND set_aside IS NULL", [])?;
    }
    if open > MAX_EVENTS && appended.contains(&Appended::Inserted) {
        let message =
            format!("the outbox holds its bound of {MAX_EVENTS} events; try again when deliveries have drained");
        return Err(Error::new(ErrorKind::Full, message));
    }
    Ok(appended)
}

fn append_one(db: &Db<'_>, row: &OutboxRow, now: Now) -> Result<Appended> {
    let inserted = db.execute(
        "INSERT INTO harbor_webhook_outbox (event_id, event, since) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        params![row.event_id.as_bytes(), row.event, now.store],
    )?;
    Ok(if inserted == 1 { Appended::Inserted } else { Appended::Duplicate })
}

pub(super) fn claim(db: &Db<'_>, max: usize, until: i64, token: i64, now: Now) -> Result<Vec<ClaimedEvent>> {
    if db.number("SELECT coalesce(sum(waiting), 0) FROM harbor_webhook_lanes", [])? >= MAX_WAITING {
        return Ok(Vec::new());
    }
    let mut bytes = 0;
    let rows = db.rows(
        "SELECT seq, event_id, event FROM harbor_webhook_outbox
         WHERE done_at IS NULL AND lease_until <= ?1 AND set_aside IS NULL ORDER BY seq LIMIT ?2",
        params![now.store, i64::try_from(max).unwrap_or(i64::MAX)],
        |row| {
            if bytes >= CLAIMED_BYTES {
                return Ok(None);
            }
            let json = raw(row, 2)?;
            bytes += json.len();
            Ok(Some((row.get::<_, i64>(0)?, raw(row, 1)?, json)))
        },
    )?;
    let mut claimed = Vec::with_capacity(rows.len());
    for (seq, id, json) in rows.into_iter().flatten() {
        let sql = "UPDATE harbor_webhook_outbox SET token = ?2, lease_until = ?3 WHERE seq = ?1";
        db.execute(sql, params![seq, token, until])?;
        claimed.push(ClaimedEvent::new(Lease::new(seq, token), read(&id, &json)));
    }
    Ok(claimed)
}

/// The bytes of a column, whatever they are: a row that is damaged must not stop the others.
fn raw(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Ok(bytes.to_vec()),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => Ok(Vec::new()),
    }
}

fn read(id: &[u8], json: &[u8]) -> Result<Event, String> {
    if json.is_empty() {
        return Err("the row holds no event".to_owned());
    }
    let event: Event = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    if event.id.as_bytes() == id { Ok(event) } else { Err("the event's id is not the row's event_id".to_owned()) }
}

/// What the deliveries need to know of their event.
pub(super) struct Origin {
    pub(super) event_id: [u8; 16],
    pub(super) event_type: EventType,
    pub(super) project_id: ProjectId,
}

pub(super) fn fan_out(db: &Db<'_>, lease: &Lease, part: FanOut, now: Now) -> Result<Fenced> {
    let held = db.row(
        "SELECT event_id, event FROM harbor_webhook_outbox
         WHERE seq = ?1 AND token = ?2 AND lease_until > ?3 AND done_at IS NULL",
        params![lease.key, lease.token, now.store],
        |row| Ok((raw(row, 0)?, raw(row, 1)?)),
    )?;
    let Some((event_id, json)) = held else { return Ok(Fenced::Stale) };
    if let Some(reason) = part.set_aside {
        let sql = "UPDATE harbor_webhook_outbox SET set_aside = ?2, lease_until = 0 WHERE seq = ?1";
        db.execute(sql, params![lease.key, reason])?;
        return Ok(Fenced::Done);
    }
    for body in &part.bodies {
        db.execute(
            "INSERT INTO harbor_webhook_bodies (id, format, content_type, bytes) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
            params![body.id.as_bytes(), &*body.format, &*body.content_type, &*body.bytes],
        )?;
    }
    if !part.deliveries.is_empty() {
        let origin = origin(&event_id, &json)?;
        part.deliveries.iter().try_for_each(|new| add(db, &origin, new, &part.bodies, now))?;
    }
    if part.last {
        let sql = "UPDATE harbor_webhook_outbox SET event = NULL, done_at = ?2 WHERE seq = ?1";
        db.execute(sql, params![lease.key, now.store])?;
    }
    Ok(Fenced::Done)
}

/// The row was read when it was claimed, so reading it again works; only its head is looked at.
fn origin(event_id: &[u8], json: &[u8]) -> Result<Origin> {
    #[derive(serde::Deserialize)]
    struct Head {
        project_id: ProjectId,
        #[serde(rename = "type")]
        event_type: EventType,
    }
    let changed = || Error::new(ErrorKind::Store, "an event in the outbox changed while it was claimed");
    let head: Head = serde_json::from_slice(json).map_err(|e| changed().with_source(e))?;
    let event_id = event_id.try_into().map_err(|_| changed())?;
    Ok(Origin { event_id, event_type: head.event_type, project_id: head.project_id })
}

fn add(db: &Db<'_>, origin: &Origin, new: &NewDelivery, bodies: &[Body], now: Now) -> Result<()> {
    let target = new.target_id;
    let size = size(db, new, bodies)?;
    let lane = db.row(
        "INSERT INTO harbor_webhook_lanes (target_id, policy_id, project_id, max_waiting, max_in_flight, spacing_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET max_waiting = excluded.max_waiting, max_in_flight = excluded.max_in_flight,
           spacing_us = excluded.spacing_us, token_us = iif(excluded.spacing_us > 0, token_us, 0)
         RETURNING waiting >= max_waiting, gate_why",
        params![
            target.0,
            new.policy_id.0,
            origin.project_id.0,
            new.lane.max_waiting,
            new.lane.max_in_flight,
            micros(new.lane.rate.spacing()),
        ],
        |row| Ok((row.get(0)?, row.get::<_, Option<String>>(1)?)),
    )?;
    let (full, closed) = lane.unwrap_or_default();
    let (state, reason, detail) = match &new.body {
        Err(why) => (DEAD, Some(DeadReason::Format), Some(why)),
        Ok(_) if full => (DEAD, Some(DeadReason::LaneFull), None),
        Ok(_) if new.parked || closed.as_deref() == Some(Hold::TargetDisabled.as_str()) => (PARKED, None, None),
        Ok(_) => (DUE, None, None),
    };
    let inserted = db.execute(
        "INSERT INTO harbor_webhook_deliveries (event_id, event_type, project_id, policy_id, target_id, target_type,
         body_id, state, reason, detail, since, due, created_at, updated_at, size)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11, ?12, ?12, ?13) ON CONFLICT DO NOTHING",
        params![
            origin.event_id,
            origin.event_type.as_str(),
            origin.project_id.0,
            new.policy_id.0,
            target.0,
            new.target_type.as_str(),
            new.body.as_ref().ok().map(|id| *id.as_bytes()),
            state,
            reason.map(DeadReason::as_str),
            detail,
            now.store,
            now.wall,
            size,
        ],
    )?;
    let made = (inserted == 1).then_some(state);
    deliveries::lane(db, target, Tally::default().step(None, made, size))
}

/// The bytes of a delivery's body, which may have come with an earlier part.
fn size(db: &Db<'_>, new: &NewDelivery, bodies: &[Body]) -> Result<i64> {
    let Ok(id) = &new.body else { return Ok(0) };
    match bodies.iter().find(|body| body.id == *id) {
        Some(body) => Ok(i64::try_from(body.bytes.len()).unwrap_or(i64::MAX)),
        None => {
            db.number("SELECT ifnull(max(length(bytes)), 0) FROM harbor_webhook_bodies WHERE id = ?1", [id.as_bytes()])
        }
    }
}
