//! Giving deliveries out, and writing down what came of them.

use std::time::Duration;

use harbor_webhook::TargetId;
use harbor_webhook::delivery::{DeadReason, State};
use harbor_webhook::store::{Claimed, Fenced, Lease, Next, Settlement};
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
    tx.put_lane(target, lane)?;
    row.set(State::Leased, tx.now.saturating_add(micros(lease)));
    row.token = token;
    tx.put(id, Some(&row))?;
    let body_id = row.body.ok_or_else(broken)?;
    let body = json::<BodyRow>(tx.bodies.get(body_id.as_u128())?)?.ok_or_else(broken)?.body(body_id);
    let mut claimed = Claimed::new(Lease::new(id, token), row.event_id, row.event_type, (row.policy, row.target), body);
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

pub(super) fn settle(tx: &mut Tx<'_>, result: Settlement) -> Result<Fenced, Fault> {
    let id = result.lease.key;
    let held = |row: &Row| row.is(State::Leased) && row.token == result.lease.token && row.at > tx.now;
    let Some(mut row) = tx.row(id)?.filter(held) else { return Ok(Fenced::Stale) };
    if let Some(attempt) = result.attempt {
        tx.attempts.insert((id, row.attempts), &*serde_json::to_vec(&AttemptRow::new(attempt)?)?)?;
        row.attempts += 1;
    }
    let now = tx.now;
    let later = |after: Duration| now.saturating_add(micros(after));
    match result.next {
        Next::Delivered => row.set(State::Delivered, now),
        Next::Retry(after) | Next::Release(after) => row.set(State::Due, later(after)),
        Next::Dead(reason, detail) => {
            row.set(State::Dead(reason), now);
            row.detail = detail;
        }
        Next::Cancelled(reason) => row.set(State::Cancelled(reason), now),
        _ => return Err(newer("a settlement")),
    }
    if let (Some((time, why)), Some(mut lane)) = (result.close_lane, tx.lane(row.target)?)
        && later(time) > lane.closed_until
    {
        (lane.closed_until, lane.why) = (later(time), Some(why.as_str().to_owned()));
        tx.put_lane(row.target, lane)?;
    }
    tx.put(id, Some(&row))?;
    Ok(Fenced::Done)
}
