//! What people read, and what is forgotten.

use std::collections::HashMap;
use std::time::Duration;

use harbor_webhook::delivery::{DeadReason, Delivery, State};
use harbor_webhook::store::{ClosedLane, Detail, Filter, Page, Retention, SetAside, Status, Swept};
use harbor_webhook::{DeliveryId, TargetId};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};

use super::clock::{between, micros};
use super::fault::Fault;
use super::rows::{AttemptRow, BodyRow, Lane, Row};
use super::tx::{self, Tx, json};

/// How many closed lanes and unreadable events a status names.
const NAMED: usize = 100;

pub(super) fn list(txn: &ReadTransaction, which: &Filter, page: Page, now: i64) -> Result<Vec<Delivery>, Fault> {
    select(&txn.open_table(tx::DELIVERIES)?, which, page, now)
}

/// Goes through the deliveries in the page's order. (A store for millions of them would keep an index for each policy.)
pub(super) fn select(
    deliveries: &impl ReadableTable<i64, &'static [u8]>,
    which: &Filter,
    page: Page,
    now: i64,
) -> Result<Vec<Delivery>, Fault> {
    let mut range = match (page.after, page.oldest_first) {
        (None, _) => 0..i64::MAX,
        (Some(after), true) => after.saturating_add(1)..i64::MAX,
        (Some(after), false) => 0..after,
    };
    if let Some(id) = which.id {
        range = range.start.max(id.0)..range.end.min(id.0.saturating_add(1));
    }
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let (mut rows, mut skipped, mut selected) = (deliveries.range(range)?, 0, Vec::new());
    while selected.len() < page.limit {
        let Some(row) = (if page.oldest_first { rows.next() } else { rows.next_back() }) else { break };
        let (id, row) = row?;
        let delivery = serde_json::from_slice::<Row>(row.value())?.shown(id.value(), now)?;
        if !which.selects(&delivery) {
            continue;
        }
        if skipped < page.skip {
            skipped += 1;
        } else {
            selected.push(delivery);
        }
    }
    Ok(selected)
}

pub(super) fn detail(txn: &ReadTransaction, id: DeliveryId, now: i64) -> Result<Option<Detail>, Fault> {
    let Some(row) = json::<Row>(txn.open_table(tx::DELIVERIES)?.get(id.0)?)? else { return Ok(None) };
    let mut body = None;
    if let Some(id) = row.body {
        body = json::<BodyRow>(txn.open_table(tx::BODIES)?.get(id.as_u128())?)?.map(|row| row.body(id));
    }
    let mut attempts = Vec::new();
    for entry in txn.open_table(tx::ATTEMPTS)?.range((id.0, 0)..=(id.0, u32::MAX))? {
        attempts.push(serde_json::from_slice::<AttemptRow>(entry?.1.value())?.attempt()?);
    }
    Ok(Some(Detail::new(row.shown(id.0, now)?, body, attempts)))
}

pub(super) fn sweep(tx: &mut Tx<'_>, keep: &Retention, max: usize) -> Result<Swept, Fault> {
    let expired = expire(tx, keep.max_age, max)?;
    let old = old_history(tx, keep, max)?;
    for id in &old {
        tx.put(*id, None)?;
    }
    remove_empty_lanes(tx)?;
    let forgotten = forget_ids(tx, keep.event_ids, max)?;
    let more = [expired, old.len(), forgotten].iter().any(|done| *done >= max);
    Ok(Swept::new((old.len() + forgotten) as u64, expired as u64, more))
}

fn expire(tx: &mut Tx<'_>, max_age: Duration, max: usize) -> Result<usize, Fault> {
    let before = tx.now.saturating_sub(micros(max_age));
    let old: Vec<i64> = {
        let old = tx.ages.range(..(before, 0))?;
        old.map(|entry| entry.map(|(key, _)| key.value().1)).collect::<Result<_, _>>()?
    };
    let mut expired = 0;
    for id in old {
        let Some(mut row) = tx.row(id)?.filter(|row| row.is(State::Due)) else { continue };
        if expired == max {
            break;
        }
        row.set(State::Dead(DeadReason::Expired), tx.now);
        tx.put(id, Some(&row))?;
        expired += 1;
    }
    Ok(expired)
}

/// What has ended and is beyond its policy's share, or too old. Only what has ended stands in this index.
fn old_history(tx: &Tx<'_>, keep: &Retention, max: usize) -> Result<Vec<i64>, Fault> {
    let mut kept = HashMap::new();
    let mut old = Vec::new();
    for entry in tx.ended.iter()?.rev() {
        let (policy, dead, id) = entry?.0.value();
        if old.len() >= max {
            break;
        }
        let kept: &mut usize = kept.entry((policy, dead)).or_default();
        *kept += 1;
        let most = if dead { keep.dead_per_policy } else { keep.finished_per_policy };
        let too_old = dead && tx.row(id)?.is_some_and(|row| between(row.at, tx.now) > keep.dead);
        if *kept > most || too_old {
            old.push(id);
        }
    }
    Ok(old)
}

/// Those that were closed when their last delivery went, and have opened since.
fn remove_empty_lanes(tx: &mut Tx<'_>) -> Result<(), Fault> {
    let mut empty = Vec::new();
    for entry in tx.lanes.iter()? {
        let (target, lane) = entry?;
        let lane: Lane = serde_json::from_slice(lane.value())?;
        if lane.rows == 0 {
            empty.push((TargetId(target.value()), lane));
        }
    }
    empty.into_iter().try_for_each(|(target, lane)| tx.put_lane(target, lane))
}

fn forget_ids(tx: &mut Tx<'_>, keep: Duration, max: usize) -> Result<usize, Fault> {
    let before = tx.now.saturating_sub(micros(keep));
    let old: Vec<(i64, u128)> = {
        let old = tx.old_ids.range(..(before, 0))?.take(max);
        old.map(|entry| entry.map(|(key, _)| key.value())).collect::<Result<_, _>>()?
    };
    for key in &old {
        tx.old_ids.remove(key)?;
        tx.event_ids.remove(key.1)?;
    }
    Ok(old.len())
}

pub(super) fn status(txn: &ReadTransaction, now: i64) -> Result<Status, Fault> {
    let meta = txn.open_table(tx::META)?;
    let count = |state| tx::count(&meta, state).map(|count| count.unsigned_abs());
    let outbox = txn.open_table(tx::OUTBOX)?;
    let ages = txn.open_table(tx::AGES)?;
    let mut status = Status::default();
    status.outbox = outbox.len()?;
    status.oldest_event = outbox.first()?.map(|(_, row)| between(row.value().1, now));
    status.waiting = ages.len()?;
    status.oldest_waiting = ages.first()?.map(|(key, _)| between(key.value().0, now));
    status.parked = count("parked")?;
    status.dead = count("dead")?;
    for entry in txn.open_table(tx::LANES)?.iter()? {
        let (target, lane) = entry?;
        let lane: Lane = serde_json::from_slice(lane.value())?;
        if let Some(why) = lane.hold().filter(|_| lane.closed_until > now && status.closed_lanes.len() < NAMED) {
            let opens_in = between(now, lane.closed_until);
            status.closed_lanes.push(ClosedLane::new(TargetId(target.value()), lane.policy, opens_in, why));
        }
    }
    for entry in txn.open_table(tx::SET_ASIDE)?.iter()?.take(NAMED) {
        let (number, reason) = entry?;
        status.set_aside.push(SetAside::new(number.value(), reason.value()));
    }
    Ok(status)
}
