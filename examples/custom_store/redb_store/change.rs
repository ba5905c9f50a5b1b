//! What operators change.

use harbor_webhook::TargetId;
use harbor_webhook::delivery::State;
use harbor_webhook::delivery::breaker::Health;
use harbor_webhook::store::{Change, Changed, Filter, Hold, Page};
use redb::ReadableTable;

use super::fault::Fault;
use super::history::select;
use super::rows::{Lane, newer};
use super::tx::Tx;

pub(super) fn change(tx: &mut Tx<'_>, which: &Filter, to: Change, page: Page) -> Result<Changed, Fault> {
    if let Change::OpenLanes(why) = to {
        return open_lanes(tx, which, why);
    }
    let selected = select(&tx.deliveries, which, page, tx.now)?;
    let next = selected.last().filter(|_| selected.len() == page.limit).map(|last| last.id.0);
    let mut count = 0;
    for delivery in selected {
        count += u64::from(change_one(tx, delivery.id.0, delivery.state, to)?);
    }
    Ok(Changed::new(count, next))
}

fn change_one(tx: &mut Tx<'_>, id: i64, state: State, to: Change) -> Result<bool, Fault> {
    let Some(mut row) = tx.row(id)? else { return Ok(false) };
    let waits = !state.is_final();
    match to {
        Change::Redeliver if (!waits || state == State::Parked) && row.body.is_some() => {
            row.set(State::Due, tx.now);
            (row.since, row.spent, row.losses, row.detail) = (tx.now, row.attempts, 0, None);
        }
        Change::Cancel(reason) if waits => row.set(State::Cancelled(reason), tx.now),
        Change::Park if matches!(state, State::Due | State::Leased) => row.set(State::Parked, tx.now),
        Change::Unpark if state == State::Parked => row.set(State::Due, tx.now),
        Change::Forget => {
            tx.put(id, None)?;
            return Ok(true);
        }
        Change::Redeliver | Change::Cancel(_) | Change::Park | Change::Unpark => return Ok(false),
        _ => return Err(newer("a change")),
    }
    tx.put(id, Some(&row))?;
    Ok(true)
}

fn open_lanes(tx: &mut Tx<'_>, which: &Filter, why: Hold) -> Result<Changed, Fault> {
    let mut closed = Vec::new();
    for row in tx.lanes.iter()? {
        let (target, lane) = row?;
        let (target, lane) = (TargetId(target.value()), serde_json::from_slice::<Lane>(lane.value())?);
        let selected = which.target_id.is_none_or(|id| id == target)
            && which.policy_id.is_none_or(|id| id == lane.policy)
            && which.project_id.is_none_or(|id| id == lane.project);
        if selected && lane.closed_until > tx.now && lane.hold() == Some(why) {
            closed.push((target, lane));
        }
    }
    let count = closed.len() as u64;
    for (target, mut lane) in closed {
        (lane.closed_until, lane.why) = (0, None);
        if matches!(why, Hold::CircuitOpen | Hold::TargetDisabled) {
            lane.health = Health::default();
        }
        tx.put_lane(target, lane)?;
    }
    Ok(Changed::new(count, None))
}
