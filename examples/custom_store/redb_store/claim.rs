//! Giving deliveries out, and writing down what came of them.

use std::time::Duration;

use harbor_webhook::TargetId;
use harbor_webhook::delivery::breaker::News;
use harbor_webhook::delivery::{DeadReason, State};
use harbor_webhook::store::{Claimed, Lease, Next, Settled, Settlement};
use redb::ReadableTable;

use super::clock::{between, micros};
use super::fault::Fault;
use super::rows::{AttemptRow, BodyRow, Row, newer};
use super::tx::{Tx, json};

/// Leases that a delivery may lose.
const MAX_LOSSES: u32 = 5;
/// Lost leases that are looked after in one claim.
const REAP: usize = 1000;

pub(super) fn claim(tx: &mut Tx<'_>, max: usize, lease: Duration) -> Result<Vec<Claimed>, Fault> {
    take_back_lost(tx)?;
    let mut claimed = Vec::new();
    while claimed.len() < max {
        // The lane that could have been served for the longest time. Serving it puts it behind the others.
        let Some((at, _, target)) = tx.ready.first()?.map(|(key, _)| key.value()) else { break };
        if at > tx.now {
            break;
        }
        claimed.push(claim_from(tx, TargetId(target), lease)?);
    }
    Ok(claimed)
}

fn claim_from(tx: &mut Tx<'_>, target: TargetId, lease: Duration) -> Result<Claimed, Fault> {
    let broken = || newer("the index of lanes"); // cannot happen: a ready lane has a due delivery
    let mut lane = tx.lane(target)?.ok_or_else(broken)?;
    let (_, id) = tx.first_due(target)?.ok_or_else(broken)?;
    let mut row = tx.row(id)?.ok_or_else(broken)?;
    let token = tx.next("token")?;
    lane.served = (tx.now, token);
    let next = lane.rate().take(between(0, lane.next_token), between(0, tx.now), 1);
    lane.next_token = micros(next);
    tx.put_lane(target, lane)?;
    row.set(State::Leased, tx.now.saturating_add(micros(lease)));
    row.token = token;
    tx.put(id, Some(&row))?;
    let body_id = row.body.ok_or_else(broken)?;
    let body = json::<BodyRow>(tx.bodies.get(body_id.as_u128())?)?.ok_or_else(broken)?.body(body_id);
    let mut claimed =
        Claimed::new(Lease::new(id, token), row.event_id, row.event_type, (row.project, row.policy, row.target), body);
    claimed.attempts = row.attempts - row.spent;
    claimed.age = between(row.since, tx.now);
    Ok(claimed)
}

/// Makes deliveries due again whose leases ran out, or gives them up.
fn take_back_lost(tx: &mut Tx<'_>) -> Result<(), Fault> {
    let lost: Vec<i64> = {
        let over = tx.leased.range(..=(tx.now, i64::MAX))?.take(REAP);
        over.map(|entry| entry.map(|(key, _)| key.value().1)).collect::<Result<_, _>>()?
    };
    for id in lost {
        let Some(mut row) = tx.row(id)? else { continue };
        row.losses += 1;
        let next = if row.losses >= MAX_LOSSES { State::Dead(DeadReason::Poison) } else { State::Due };
        row.set(next, tx.now);
        tx.put(id, Some(&row))?;
    }
    Ok(())
}

pub(super) fn settle(tx: &mut Tx<'_>, result: Settlement) -> Result<Settled, Fault> {
    let id = result.lease.key;
    let held = |row: &Row| row.is(State::Leased) && row.token == result.lease.token && row.at > tx.now;
    let Some(mut row) = tx.row(id)?.filter(held) else { return Ok(Settled::STALE) };
    if let Some(attempt) = result.attempt {
        tx.attempts.insert((id, row.attempts), &*serde_json::to_vec(&AttemptRow::new(attempt)?)?)?;
        row.attempts += 1;
    }
    let now = tx.now;
    let later = |after: Duration| now.saturating_add(micros(after));
    let mut lane = tx.lane(row.target)?.ok_or_else(|| newer("a lane"))?; // there is one for every delivery
    let news = lane.judge(row.target, result.verdict, now)?;
    if let Some((time, why)) = result.close_lane {
        lane.close(later(time), why);
    }
    let disabled = lane.is_disabled();
    tx.put_lane(row.target, lane)?;
    match result.next {
        Next::Delivered => row.set(State::Delivered, now),
        Next::Retry(_) | Next::Release(_) if disabled => row.set(State::Parked, now),
        Next::Retry(after) | Next::Release(after) => row.set(State::Due, later(after)),
        Next::Dead(reason, detail) => {
            row.set(State::Dead(reason), now);
            row.detail = detail;
        }
        Next::Cancelled(reason) => row.set(State::Cancelled(reason), now),
        _ => return Err(newer("a settlement")),
    }
    tx.put(id, Some(&row))?;
    if matches!(news, Some(News::Disabled(_))) {
        park_due(tx, row.target)?;
    }
    Ok(Settled::done(news.map(|news| (row.target, news))))
}

/// The target was given up: what is due for it waits for somebody to decide.
fn park_due(tx: &mut Tx<'_>, target: TargetId) -> Result<(), Fault> {
    while let Some((_, id)) = tx.first_due(target)? {
        let mut row = tx.row(id)?.ok_or_else(|| newer("the index of due deliveries"))?;
        row.set(State::Parked, tx.now);
        tx.put(id, Some(&row))?;
    }
    Ok(())
}
