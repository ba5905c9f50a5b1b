//! Events on their way to becoming deliveries.

use std::time::Duration;

use chrono::Utc;
use harbor_webhook::delivery::{DeadReason, State};
use harbor_webhook::store::{Appended, ClaimedEvent, FanOut, Fenced, Lease, NewDelivery};
use harbor_webhook::{ErrorKind, Event};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};

use super::clock::{between, micros};
use super::fault::Fault;
use super::rows::{BodyRow, Row};
use super::tx::{self, Tx};

/// Events that the outbox takes.
const MAX_EVENTS: u64 = 10_000;
/// Deliveries that may wait. At this bound events stay in the outbox, until that is full too.
const MAX_WAITING: u64 = 100_000;

pub(super) fn append(tx: &mut Tx<'_>, events: &[Event]) -> Result<Vec<Appended>, Fault> {
    let answers = events.iter().map(|event| append_one(tx, event)).collect::<Result<_, _>>()?;
    // The transaction is dropped then, and with it all of them.
    if tx.outbox.len()? > MAX_EVENTS {
        return Err(Fault::told(ErrorKind::Full, format!("the outbox holds {MAX_EVENTS} events")));
    }
    Ok(answers)
}

fn append_one(tx: &mut Tx<'_>, event: &Event) -> Result<Appended, Fault> {
    let id = event.id.as_u128();
    if tx.event_ids.get(id)?.is_some() {
        return Ok(Appended::Duplicate);
    }
    let number = tx.next("event")?;
    tx.outbox.insert(number, (id, tx.now, &*serde_json::to_vec(event)?))?;
    tx.event_ids.insert(id, 0)?;
    Ok(Appended::Inserted)
}

pub(super) fn claim(tx: &mut Tx<'_>, max: usize, lease: Duration) -> Result<Vec<ClaimedEvent>, Fault> {
    if tx.ages.len()? >= MAX_WAITING {
        return Ok(Vec::new());
    }
    let mut claimed = Vec::new();
    for row in tx.outbox.iter()? {
        if claimed.len() >= max {
            break;
        }
        let (number, row) = row?;
        if tx.event_leases.get(number.value())?.is_none_or(|lease| lease.value().0 <= tx.now) {
            let event = serde_json::from_slice::<Event>(row.value().2).map_err(|e| e.to_string());
            claimed.push(ClaimedEvent::new(Lease::new(number.value(), 0), event));
        }
    }
    for event in &mut claimed {
        event.lease.token = tx.next("token")?;
        let until = tx.now.saturating_add(micros(lease));
        tx.event_leases.insert(event.lease.key, (until, event.lease.token))?;
    }
    Ok(claimed)
}

pub(super) fn fan_out(tx: &mut Tx<'_>, lease: Lease, part: &FanOut) -> Result<Fenced, Fault> {
    let held = tx.event_leases.get(lease.key)?.map(|lease| lease.value());
    if !held.is_some_and(|(until, token)| token == lease.token && until > tx.now) {
        return Ok(Fenced::Stale);
    }
    let row = tx.outbox.get(lease.key)?.map(|row| (row.value().0, row.value().2.to_vec()));
    let Some((id, event)) = row else { return Ok(Fenced::Stale) };
    if !part.deliveries.is_empty() {
        let event: Event = serde_json::from_slice(&event)?;
        for body in &part.bodies {
            if tx.bodies.get(body.id.as_u128())?.is_none() {
                tx.bodies.insert(body.id.as_u128(), &*serde_json::to_vec(&BodyRow::new(body))?)?;
            }
        }
        for new in &part.deliveries {
            add(tx, &event, new)?;
        }
    }
    if let Some(reason) = &part.set_aside {
        tx.set_aside.insert(lease.key, &**reason)?;
    }
    if part.last || part.set_aside.is_some() {
        tx.outbox.remove(lease.key)?;
        tx.event_leases.remove(lease.key)?;
        tx.event_ids.insert(id, tx.now)?;
        tx.old_ids.insert((tx.now, id), ())?;
    }
    Ok(Fenced::Done)
}

fn add(tx: &mut Tx<'_>, event: &Event, new: &NewDelivery) -> Result<(), Fault> {
    if tx.unique.get((event.id.as_u128(), new.target_id.0))?.is_some() {
        return Ok(());
    }
    let lane = tx.limit_lane(event.project_id, new)?;
    let (state, detail) = match &new.body {
        Err(reason) => (State::Dead(DeadReason::Format), Some(reason.clone())),
        Ok(_) if lane.waiting >= lane.max_waiting => (State::Dead(DeadReason::LaneFull), None),
        Ok(_) if new.parked || lane.is_disabled() => (State::Parked, None),
        Ok(_) => (State::Due, None),
    };
    let id = tx.next("delivery")?;
    tx.put(id, Some(&first_row(tx.now, event, new, state, detail)))
}

fn first_row(now: i64, event: &Event, new: &NewDelivery, state: State, detail: Option<String>) -> Row {
    let wall = Utc::now();
    Row {
        event_id: event.id,
        event_type: event.event_type,
        project: event.project_id,
        policy: new.policy_id,
        target: new.target_id,
        target_type: new.target_type.to_string(),
        body: new.body.as_ref().ok().copied(),
        state: state.as_str().to_owned(),
        reason: state.reason().map(str::to_owned),
        detail,
        created: wall,
        updated: wall,
        at: now,
        since: now,
        token: 0,
        attempts: 0,
        spent: 0,
        losses: 0,
    }
}

/// How long until there may be something to claim; `None` if only a write can change that.
pub(super) fn until_work(txn: &ReadTransaction, now: i64) -> Result<Option<Duration>, Fault> {
    let mut next = txn.open_table(tx::READY)?.first()?.map(|(key, _)| key.value().0);
    let lost = txn.open_table(tx::LEASED)?.first()?.map(|(key, _)| key.value().0);
    next = next.into_iter().chain(lost).min();
    if txn.open_table(tx::AGES)?.len()? < MAX_WAITING {
        let leases = txn.open_table(tx::EVENT_LEASES)?;
        for number in txn.open_table(tx::OUTBOX)?.iter()? {
            let at = leases.get(number?.0.value())?.map_or(now, |lease| lease.value().0);
            next = Some(next.map_or(at, |next| next.min(at)));
            if at <= now {
                break;
            }
        }
    }
    Ok(next.map(|at| between(now, at)))
}
