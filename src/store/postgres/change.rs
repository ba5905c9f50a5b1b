use std::collections::HashSet;

use tokio_postgres::Row;

use super::db::{Db, Param, failure};
use super::history::{Selection, params};
use super::lanes::{self, CANCELLED, DUE, LEASED, Moves, PARKED};
use super::overview::forget_hours;
use crate::delivery::CancelReason;
use crate::error::Result;
use crate::id::PolicyId;
use crate::store::{Change, Changed, Filter, Hold, Page, StateKind};

/// A delivery that was selected, as it stands while its lane is held.
struct Selected {
    id: i64,
    target: i64,
    state: i16,
    size: i32,
}

/// Changes deliveries within the transaction that is open.
pub(super) async fn change(db: &Db<'_>, which: &Filter, to: Change, page: Page) -> Result<Changed> {
    if let Change::OpenLanes(why) = to {
        return open_lanes(db, which, why).await;
    }
    let limit = page.limit;
    let (end, values) = Selection::of(which).page(page);
    let rows = db.rows(&format!("SELECT id, target_id FROM {{s}}.deliveries {end}"), &params(&values)).await?;
    let (ids, mut targets) = pairs(&rows)?;
    targets.sort_unstable();
    targets.dedup();
    // Results hold their deliveries before they take the lanes, and so does this.
    let leased = "SELECT 1 FROM {s}.deliveries WHERE id = ANY($1) AND state = 1 ORDER BY id FOR NO KEY UPDATE";
    db.execute(leased, &[&ids]).await?;
    lanes::take(db, &targets).await?;
    let sql = "SELECT id, target_id, state, size FROM {s}.deliveries WHERE id = ANY($1) FOR NO KEY UPDATE";
    let selected = db.rows(sql, &[&ids]).await?;
    let selected = selected.iter().map(read).collect::<Result<Vec<_>, _>>().map_err(failure)?;
    let changed = apply(db, to, &selected).await?;
    let next = ids.last().copied().filter(|_| ids.len() == limit);
    if to == Change::Forget && which.is_whole() && next.is_none() {
        forget_hours(db, which).await?;
    }
    Ok(Changed::new(changed, next))
}

fn pairs(rows: &[Row]) -> Result<(Vec<i64>, Vec<i64>)> {
    let pair = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?));
    let pairs: Vec<(i64, i64)> = rows.iter().map(pair).collect::<Result<_, _>>().map_err(failure)?;
    Ok(pairs.into_iter().unzip())
}

fn read(row: &Row) -> Result<Selected, tokio_postgres::Error> {
    Ok(Selected { id: row.try_get(0)?, target: row.try_get(1)?, state: row.try_get(2)?, size: row.try_get(3)? })
}

/// Says how many deliveries the change applied to.
async fn apply(db: &Db<'_>, to: Change, selected: &[Selected]) -> Result<u64> {
    let fits: fn(i16) -> bool = match to {
        Change::Redeliver => |state| state >= PARKED,
        Change::Cancel(_) => |state| state <= PARKED,
        Change::Park => |state| matches!(state, DUE | LEASED),
        Change::Unpark => |state| state == PARKED,
        Change::Forget => |_| true,
        Change::OpenLanes(_) => |_| false,
    };
    let ids: Vec<i64> = selected.iter().filter(|delivery| fits(delivery.state)).map(|delivery| delivery.id).collect();
    let mut moves = Moves::default();
    if to == Change::Forget {
        let gone = forget(db, &ids, DUE, &mut moves).await?;
        lanes::apply(db, &moves).await?;
        return Ok(gone);
    }
    let next = match to {
        Change::Redeliver | Change::Unpark => DUE,
        Change::Park => PARKED,
        Change::Cancel(_) | Change::OpenLanes(_) | Change::Forget => CANCELLED,
    };
    let changed: HashSet<i64> = returned(db, statement(to), &[&ids], to).await?.into_iter().collect();
    for delivery in selected.iter().filter(|delivery| changed.contains(&delivery.id)) {
        moves.of(delivery.target).step(Some(delivery.state), Some(next), delivery.size);
    }
    lanes::apply(db, &moves).await?;
    Ok(changed.len() as u64)
}

fn statement(to: Change) -> &'static str {
    match to {
        // One whose format failed has nothing to send.
        Change::Redeliver => {
            "UPDATE {s}.deliveries d SET state = 0, reason = NULL, detail = NULL, spent = attempts, losses = 0,
               since = statement_timestamp(), due = statement_timestamp(), updated_at = statement_timestamp()
             WHERE id = ANY($1) AND EXISTS (SELECT 1 FROM {s}.bodies b WHERE b.id = d.body_id) RETURNING id"
        }
        Change::Cancel(_) => {
            "UPDATE {s}.deliveries SET state = 5, reason = $2, updated_at = statement_timestamp()
             WHERE id = ANY($1) RETURNING id"
        }
        Change::Park => "UPDATE {s}.deliveries SET state = 2 WHERE id = ANY($1) RETURNING id",
        Change::Unpark | Change::OpenLanes(_) | Change::Forget => {
            "UPDATE {s}.deliveries SET state = 0, due = statement_timestamp() WHERE id = ANY($1) RETURNING id"
        }
    }
}

async fn returned(db: &Db<'_>, sql: &str, ids: &[Param<'_>], to: Change) -> Result<Vec<i64>> {
    let rows = match to {
        Change::Cancel(reason) => db.rows(sql, &[ids, &[&reason.as_str()]].concat()).await?,
        _ => db.rows(sql, ids).await?,
    };
    rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(failure)
}

/// Deletes deliveries in this state or a later one with their attempts, and the bodies that nobody sends any more. Says how many,
/// and what their lanes are to count less.
pub(super) async fn forget(db: &Db<'_>, ids: &[i64], least: i16, moves: &mut Moves) -> Result<u64> {
    if ids.is_empty() {
        return Ok(0);
    }
    let sql = "DELETE FROM {s}.deliveries WHERE id = ANY($1) AND state >= $2
               RETURNING target_id, state, size, body_id, id";
    let rows = db.rows(sql, &[&ids, &least]).await?;
    let (mut gone, mut bodies): (Vec<i64>, Vec<uuid::Uuid>) = Default::default();
    for row in &rows {
        gone.push(row.try_get(4).map_err(failure)?);
        let state = row.try_get(1).map_err(failure)?;
        moves.of(row.try_get(0).map_err(failure)?).step(Some(state), None, row.try_get(2).map_err(failure)?);
        bodies.extend(row.try_get::<_, Option<uuid::Uuid>>(3).map_err(failure)?);
    }
    db.execute("DELETE FROM {s}.attempts WHERE delivery_id = ANY($1)", &[&gone]).await?;
    db.execute(
        "DELETE FROM {s}.bodies b WHERE id = ANY($1)
         AND NOT EXISTS (SELECT 1 FROM {s}.deliveries d WHERE d.body_id = b.id)",
        &[&bodies],
    )
    .await?;
    Ok(gone.len() as u64)
}

async fn open_lanes(db: &Db<'_>, which: &Filter, why: Hold) -> Result<Changed> {
    let (target, policy, project) =
        (which.target_id.map(|id| id.0), which.policy_id.map(|id| id.0), which.project_id.map(|id| id.0));
    let rows = db
        .rows(
            "SELECT target_id FROM {s}.lanes WHERE gate_why = $4 AND ($1::bigint IS NULL OR target_id = $1)
               AND ($2::bigint IS NULL OR policy_id = $2) AND ($3::bigint IS NULL OR project_id = $3)
             ORDER BY target_id FOR NO KEY UPDATE",
            &[&target, &policy, &project, &why.as_str()],
        )
        .await?;
    let closed: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(failure)?;
    let set = match why {
        Hold::CircuitOpen | Hold::TargetDisabled => lanes::STARTED_ANEW,
        Hold::SwitchedOff | Hold::Disabled | Hold::Sealed | Hold::RetryAfter | Hold::ProjectBusy | Hold::Crowded => {
            lanes::OPENED
        }
    };
    db.execute(&format!("UPDATE {{s}}.lanes SET {set} WHERE target_id = ANY($1)"), &[&closed]).await?;
    let mut moves = Moves::default();
    closed.iter().for_each(|target| moves.touch(*target));
    lanes::apply(db, &moves).await?;
    Ok(Changed::new(closed.len() as u64, None))
}

/// The deliveries of policies that were deleted are no longer wanted.
pub(super) async fn cancel_policy(db: &Db<'_>, policy: PolicyId) -> Result<()> {
    for state in [StateKind::Due, StateKind::Leased, StateKind::Parked] {
        let which = Filter::policy(policy).state(state);
        let to = Change::Cancel(CancelReason::TargetGone);
        while change(db, &which, to, Page::first(1000)).await?.next.is_some() {}
    }
    // A gate that nobody will open would outlive its lane for ever.
    open_lanes(db, &Filter::policy(policy), Hold::TargetDisabled).await?;
    forget_hours(db, &Filter::policy(policy)).await
}
