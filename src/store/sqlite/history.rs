use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::types::Value;
use rusqlite::{Row, params, params_from_iter};
use uuid::Uuid;

use super::db::{Db, unreadable};
use super::policies::time;
use super::{Now, millis};
use super::{deliveries, overview};
use crate::delivery::{Attempt, CancelReason, DeadReason, Delivery, FailureKind, Outcome, State};
use crate::error::Result;
use crate::id::{DeliveryId, PolicyId, ProjectId, TargetId};
use crate::store::tally::{CANCELLED, DEAD, DELIVERED, DUE, LEASED, PARKED, Tally, counted};
use crate::store::{
    Body, Change, Changed, ClosedLane, Detail, Filter, Hold, Page, Retention, SetAside, StateKind, Status, Swept, Usage,
};

/// There is no index by projects, which every write would pay for: those of a project are found by its policies.
pub(super) fn list(db: &Db<'_>, which: &Filter, page: Page, now: Now) -> Result<Vec<Delivery>> {
    if !which.is_of_project() {
        return list_in_order(db, which, page, now);
    }
    let sql = "SELECT DISTINCT policy_id FROM harbor_webhook_lanes WHERE project_id = ?1";
    let policies = db.rows(sql, [which.project_id.map(|id| id.0)], |row| row.get(0).map(PolicyId))?;
    let each = Page { limit: page.limit.saturating_add(page.skip), ..page }.skip(0);
    let mut found = Vec::new();
    for policy in policies {
        found.extend(list_in_order(db, &Filter { policy_id: Some(policy), ..which.clone() }, each, now)?);
        found.sort_unstable_by_key(
            |delivery: &Delivery| {
                if page.oldest_first { delivery.id.0 } else { -delivery.id.0 }
            },
        );
        found.truncate(each.limit);
    }
    Ok(found.into_iter().skip(page.skip).collect())
}

fn list_in_order(db: &Db<'_>, which: &Filter, page: Page, now: Now) -> Result<Vec<Delivery>> {
    let (mut end, mut values) = selection(which, page.after.map(|after| (after, page.oldest_first)));
    end.push_str(if page.oldest_first { " ORDER BY id" } else { " ORDER BY id DESC" });
    end.push_str(" LIMIT ? OFFSET ?");
    values.extend([page.limit, page.skip].map(|n| Value::Integer(i64::try_from(n).unwrap_or(i64::MAX))));
    let sql = format!("SELECT {SHOWN} FROM harbor_webhook_deliveries {end}");
    db.rows_of(&sql, params_from_iter(values), |row| read_delivery(row, now))
}

/// The columns of a delivery that are shown.
const SHOWN: &str = "id, event_id, event_type, project_id, policy_id, target_id, target_type, state, reason, attempts,
                     created_at, updated_at, due, detail";

/// The newest delivery of each policy.
pub(super) fn newest(db: &Db<'_>, policies: &[PolicyId], now: Now) -> Result<Vec<Delivery>> {
    let ids = policies.iter().map(|policy| policy.to_string()).collect::<Vec<_>>().join(",");
    let sql = format!(
        "SELECT {SHOWN} FROM harbor_webhook_deliveries WHERE id IN
         (SELECT (SELECT max(id) FROM harbor_webhook_deliveries WHERE policy_id = p.value) FROM json_each(?1) p)"
    );
    db.rows_of(&sql, [format!("[{ids}]")], |row| read_delivery(row, now))
}

/// How many deliveries are selected. What lanes count is not counted anew.
pub(super) fn count(db: &Db<'_>, which: &Filter) -> Result<u64> {
    let by_lane = which.is_of_lanes();
    let (from, what) = match by_lane {
        true => ("lanes", format!("ifnull(sum({}), 0)", counted(which.state))),
        false => ("deliveries", "count(*)".to_owned()),
    };
    let (mut end, values) = selection(&Filter { state: which.state.filter(|_| !by_lane), ..which.clone() }, None);
    if let (true, Some(project)) = (which.is_of_project() && !by_lane, which.project_id) {
        let policies = format!("SELECT policy_id FROM harbor_webhook_lanes WHERE project_id = {project}");
        end.push_str(&format!(" AND policy_id IN ({policies})"));
    }
    let sql = format!("SELECT {what} FROM harbor_webhook_{from} {end}");
    let count = db.rows_of(&sql, params_from_iter(values), |row| row.get::<_, i64>(0))?.pop();
    Ok(count.unwrap_or_default().max(0).unsigned_abs())
}

/// What a filter selects, behind an id perhaps, and whether that means above it: only what it names stands in the statement,
/// so that the planner sees which index fits.
fn selection(which: &Filter, behind: Option<(i64, bool)>) -> (String, Vec<Value>) {
    let number = |number: Option<i64>| number.map(Value::Integer);
    let conditions = [
        ("id =", number(which.id.map(|id| id.0))),
        ("event_id =", which.event_id.map(|id| Value::Blob(id.as_bytes().to_vec()))),
        ("project_id =", number(which.project_id.map(|id| id.0))),
        ("policy_id =", number(which.policy_id.map(|id| id.0))),
        ("target_id =", number(which.target_id.map(|id| id.0))),
        ("event_type =", which.event_type.map(|kind| Value::Text(kind.as_str().to_owned()))),
        ("created_at >=", number(which.since.map(|time| time.timestamp_millis()))),
        ("created_at <", number(which.until.map(|time| time.timestamp_millis()))),
        ("id <", number(behind.and_then(|(id, above)| (!above).then_some(id)))),
        ("id >", number(behind.and_then(|(id, above)| above.then_some(id)))),
    ];
    let (mut end, mut values) = ("WHERE true".to_owned(), Vec::new());
    for (condition, value) in conditions {
        if let Some(value) = value {
            end.push_str(&format!(" AND {condition} ?"));
            values.push(value);
        }
    }
    if let Some(state) = which.state {
        // Not as a parameter: the indexes are made for states. That of what has finished must be named by both.
        let finished = matches!(state, StateKind::Delivered | StateKind::Cancelled) && which.policy_id.is_some();
        end.push_str(if finished { " AND state IN (3, 5)" } else { "" });
        end.push_str(&format!(" AND state = {}", column(state)));
    }
    (end, values)
}

pub(super) fn detail(db: &Db<'_>, id: DeliveryId, now: Now) -> Result<Option<Detail>> {
    let Some(delivery) = list(db, &Filter::id(id), Page::first(1), now)?.into_iter().next() else { return Ok(None) };
    let body = db.row(
        "SELECT b.id, b.format, b.content_type, b.bytes FROM harbor_webhook_deliveries d
         JOIN harbor_webhook_bodies b ON b.id = d.body_id WHERE d.id = ?1",
        [id.0],
        |row| {
            let (format, content_type): (Arc<str>, Arc<str>) = (row.get(1)?, row.get(2)?);
            let bytes = Bytes::from(row.get::<_, Vec<u8>>(3)?);
            Ok(Body::new(Uuid::from_bytes(row.get(0)?), format, content_type, bytes))
        },
    )?;
    let attempts = db.rows(
        "SELECT started_at, duration_us, status, failure, text, truncated, remote_addr
         FROM harbor_webhook_attempts WHERE delivery_id = ?1 ORDER BY number",
        [id.0],
        read_attempt,
    )?;
    Ok(Some(Detail::new(delivery, body, attempts)))
}

fn read_delivery(row: &Row<'_>, now: Now) -> rusqlite::Result<Delivery> {
    let wrong = |_| unreadable("a delivery is of another version");
    let (kind, target_type): (String, String) = (row.get(2)?, row.get(6)?);
    let state = read_state(row.get(7)?, row.get::<_, Option<String>>(8)?.as_deref())?;
    let due: i64 = row.get(12)?;
    Ok(Delivery {
        id: DeliveryId(row.get(0)?),
        event_id: Uuid::from_bytes(row.get(1)?),
        event_type: kind.parse().map_err(wrong)?,
        project_id: ProjectId(row.get(3)?),
        policy_id: PolicyId(row.get(4)?),
        target_id: TargetId(row.get(5)?),
        target_type: target_type.parse().map_err(wrong)?,
        state,
        attempts: row.get(9)?,
        created_at: time(row.get(10)?),
        updated_at: time(row.get(11)?),
        due_in: (state == State::Due).then(|| since(due, now.store)),
        detail: row.get(13)?,
    })
}

fn read_state(column: i64, reason: Option<&str>) -> rusqlite::Result<State> {
    let reason = reason.unwrap_or_default();
    let state = match column {
        DUE => Some(State::Due),
        LEASED => Some(State::Leased),
        PARKED => Some(State::Parked),
        DELIVERED => Some(State::Delivered),
        DEAD => DeadReason::from_name(reason).map(State::Dead),
        CANCELLED => CancelReason::from_name(reason).map(State::Cancelled),
        _ => None,
    };
    state.ok_or_else(|| unreadable("a delivery is of another version"))
}

fn column(state: StateKind) -> i64 {
    match state {
        StateKind::Due => DUE,
        StateKind::Leased => LEASED,
        StateKind::Parked => PARKED,
        StateKind::Delivered => DELIVERED,
        StateKind::Dead => DEAD,
        StateKind::Cancelled => CANCELLED,
    }
}

fn read_attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    let (status, failure): (Option<u16>, Option<String>) = (row.get(2)?, row.get(3)?);
    let text: String = row.get(4)?;
    let outcome = match status {
        Some(status) => Outcome::Answered { status, body: text, truncated: row.get(5)? },
        None => {
            let kind = failure.as_deref().and_then(FailureKind::from_name).unwrap_or(FailureKind::Other);
            Outcome::Failed { kind, message: text }
        }
    };
    let remote: Option<String> = row.get(6)?;
    let duration = Duration::from_micros(row.get::<_, i64>(1)?.unsigned_abs());
    Ok(Attempt::new(time(row.get(0)?), duration, outcome).remote_addr(remote.and_then(|addr| addr.parse().ok())))
}

/// How long from `now` until `due`, both in milliseconds of the store.
fn since(due: i64, now: i64) -> Duration {
    Duration::from_millis(due.saturating_sub(now).max(0).unsigned_abs())
}

pub(super) fn change(db: &Db<'_>, which: &Filter, to: Change, page: Page, now: Now) -> Result<Changed> {
    if let Change::OpenLanes(why) = to {
        return open_lanes(db, which, why);
    }
    let selected = list_in_order(db, which, page, now)?;
    let next = selected.last().filter(|_| selected.len() == page.limit).map(|delivery| delivery.id.0);
    let mut count = 0;
    for delivery in &selected {
        count += u64::from(change_one(db, delivery, to, now)?);
    }
    if to == Change::Forget && which.is_whole() && next.is_none() {
        overview::forget_hours(db, which)?;
    }
    Ok(Changed::new(count, next))
}

fn open_lanes(db: &Db<'_>, which: &Filter, why: Hold) -> Result<Changed> {
    let closed = db.rows(
        "SELECT target_id FROM harbor_webhook_lanes WHERE gate_why = ?4 AND (?1 IS NULL OR target_id = ?1)
           AND (?2 IS NULL OR policy_id = ?2) AND (?3 IS NULL OR project_id = ?3)",
        params![
            which.target_id.map(|id| id.0),
            which.policy_id.map(|id| id.0),
            which.project_id.map(|id| id.0),
            why.as_str(),
        ],
        |row| row.get(0).map(TargetId),
    )?;
    for target in &closed {
        db.execute(
            "UPDATE harbor_webhook_lanes SET gate_until = 0, gate_why = NULL, failures = iif(?2, 0, failures),
               failing = iif(?2, 0, failing), opened = iif(?2, 0, opened), ramp = iif(?2, NULL, ramp)
             WHERE target_id = ?1",
            params![target.0, matches!(why, Hold::CircuitOpen | Hold::TargetDisabled)],
        )?;
        db.displace(*target);
    }
    Ok(Changed::new(closed.len() as u64, None))
}

/// Says whether the change applied.
fn change_one(db: &Db<'_>, delivery: &Delivery, to: Change, now: Now) -> Result<bool> {
    let (id, state) = (delivery.id.0, delivery.state);
    let size = db.number("SELECT size FROM harbor_webhook_deliveries WHERE id = ?1", [id])?;
    let next = match to {
        Change::Redeliver if state.is_final() || state == State::Parked => {
            if !redeliver(db, id, now)? {
                return Ok(false);
            }
            Some(DUE)
        }
        Change::Cancel(reason) if !state.is_final() => {
            deliveries::end(db, id, CANCELLED, Some(reason.as_str()), None, now)?;
            Some(CANCELLED)
        }
        Change::Park if matches!(state, State::Due | State::Leased) => {
            db.execute("UPDATE harbor_webhook_deliveries SET state = 2 WHERE id = ?1", [id])?;
            Some(PARKED)
        }
        Change::Unpark if state == State::Parked => {
            db.execute("UPDATE harbor_webhook_deliveries SET state = 0, due = ?2 WHERE id = ?1", [id, now.store])?;
            Some(DUE)
        }
        Change::Forget => {
            remove(db, id)?;
            None
        }
        _ => return Ok(false),
    };
    let from = column(StateKind::of(state));
    deliveries::lane(db, delivery.target_id, Tally::default().step(Some(from), next, size))?;
    Ok(true)
}

fn redeliver(db: &Db<'_>, id: i64, now: Now) -> Result<bool> {
    let changed = db.execute(
        "UPDATE harbor_webhook_deliveries SET state = 0, reason = NULL, detail = NULL, spent = attempts, losses = 0,
           since = ?2, due = ?2, updated_at = ?3 WHERE id = ?1 AND body_id IN (SELECT id FROM harbor_webhook_bodies)",
        params![id, now.store, now.wall],
    )?;
    Ok(changed == 1)
}

fn remove(db: &Db<'_>, id: i64) -> Result<()> {
    let body = db.row("SELECT body_id FROM harbor_webhook_deliveries WHERE id = ?1", [id], |row| {
        row.get::<_, Option<[u8; 16]>>(0)
    })?;
    db.execute("DELETE FROM harbor_webhook_attempts WHERE delivery_id = ?1", [id])?;
    db.execute("DELETE FROM harbor_webhook_deliveries WHERE id = ?1", [id])?;
    if let Some(Some(body)) = body {
        db.execute(
            "DELETE FROM harbor_webhook_bodies WHERE id = ?1
             AND NOT EXISTS (SELECT 1 FROM harbor_webhook_deliveries WHERE body_id = ?1)",
            [body],
        )?;
    }
    Ok(())
}

pub(super) fn sweep(db: &Db<'_>, keep: &Retention, max: usize, now: Now) -> Result<Swept> {
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    db.execute("UPDATE harbor_webhook_meta SET value = max(value, ?1) WHERE key = 'clock'", [now.store])?;
    let expired = expire(db, now.store.saturating_sub(millis(keep.max_age)), max, now)?;
    let old = now.wall.saturating_sub(millis(keep.dead));
    let mut gone = db.rows(
        "SELECT id FROM harbor_webhook_deliveries WHERE state = 4 AND updated_at < ?1 LIMIT ?2",
        [old, max],
        |row| row.get::<_, i64>(0),
    )?;
    gone.extend(beyond(db, "state = 4", keep.dead_per_policy, max)?);
    gone.extend(beyond(db, "state IN (3, 5)", keep.finished_per_policy, max)?);
    gone.sort_unstable();
    gone.dedup();
    remove_history(db, &gone)?;
    let forgotten = db.execute(
        "DELETE FROM harbor_webhook_outbox WHERE seq IN
         (SELECT seq FROM harbor_webhook_outbox WHERE done_at < ?1 LIMIT ?2)",
        [now.store.saturating_sub(millis(keep.event_ids)), max],
    )?;
    db.execute(
        "DELETE FROM harbor_webhook_lanes WHERE waiting + delivered + dead + cancelled <= 0 AND gate_until <= ?1
           AND target_id NOT IN (SELECT id FROM harbor_webhook_targets)
           AND (hour < ?2 OR hour_taken + hour_failed = 0) AND NOT EXISTS
             (SELECT 1 FROM harbor_webhook_hours h WHERE h.target_id = harbor_webhook_lanes.target_id)",
        [now.store, overview::oldest_kept(now)],
    )?;
    let hours = overview::sweep_hours(db, max, now)?;
    let removed = gone.len() + forgotten;
    let full = |n: usize| i64::try_from(n).is_ok_and(|n| n >= max);
    Ok(Swept::new(removed as u64, expired as u64, full(removed) || full(expired) || full(hours)))
}

/// Removes deliveries that have ended, and counts them once for each lane.
fn remove_history(db: &Db<'_>, ids: &[i64]) -> Result<()> {
    let mut lanes: HashMap<TargetId, Tally> = HashMap::new();
    for id in ids {
        let sql = "SELECT target_id, state FROM harbor_webhook_deliveries WHERE id = ?1";
        if let Some((target, state)) = db.row(sql, [id], |row| Ok((TargetId(row.get(0)?), row.get(1)?)))? {
            lanes.entry(target).or_default().step(Some(state), None, 0);
        }
        remove(db, *id)?;
    }
    lanes.iter().try_for_each(|(target, tally)| deliveries::lane(db, *target, tally))
}

fn expire(db: &Db<'_>, before: i64, max: i64, now: Now) -> Result<usize> {
    let expired = db.rows(
        "SELECT id, target_id, size FROM harbor_webhook_deliveries
         WHERE state IN (0, 1) AND state = 0 AND since < ?1 LIMIT ?2",
        [before, max],
        |row| Ok((row.get(0)?, TargetId(row.get(1)?), row.get(2)?)),
    )?;
    for (id, target, size) in &expired {
        deliveries::end(db, *id, DEAD, Some(DeadReason::Expired.as_str()), None, now)?;
        deliveries::lane(db, *target, Tally::default().step(Some(DUE), Some(DEAD), *size))?;
    }
    Ok(expired.len())
}

/// The deliveries of each policy in these states beyond the newest `keep`. Goes from policy to policy by the index, so that
/// it costs little for what is kept.
fn beyond(db: &Db<'_>, states: &str, keep: usize, max: i64) -> Result<Vec<i64>> {
    let keep = i64::try_from(keep).unwrap_or(i64::MAX);
    let next = format!(
        "SELECT policy_id FROM harbor_webhook_deliveries WHERE {states} AND policy_id > ?1 ORDER BY policy_id LIMIT 1"
    );
    let old = format!(
        "SELECT id FROM harbor_webhook_deliveries WHERE {states} AND policy_id = ?1
         ORDER BY id DESC LIMIT ?2 OFFSET ?3"
    );
    let (mut gone, mut policy) = (Vec::new(), i64::MIN);
    while let Some(found) = db.rows_of(&next, [policy], |row| row.get(0))?.pop() {
        policy = found;
        let left = max - i64::try_from(gone.len()).unwrap_or(max);
        if left <= 0 {
            break;
        }
        gone.extend(db.rows_of(&old, [policy, left, keep], |row| row.get::<_, i64>(0))?);
    }
    Ok(gone)
}

pub(super) fn status(db: &Db<'_>, now: Now) -> Result<Status> {
    let count = |sql| db.number(sql, []).map(|n: i64| n.max(0).unsigned_abs());
    let oldest = |sql| {
        Ok::<_, crate::Error>(
            db.row(sql, [], |row| row.get::<_, Option<i64>>(0))?.flatten().map(|at| since(now.store, at)),
        )
    };
    let closed_lanes = db.rows(
        "SELECT target_id, policy_id, gate_until, gate_why FROM harbor_webhook_lanes WHERE gate_until > ?1 LIMIT 100",
        [now.store],
        |row| {
            let why = row.get::<_, Option<String>>(3)?.as_deref().and_then(Hold::from_name).unwrap_or(Hold::RetryAfter);
            Ok(ClosedLane::new(TargetId(row.get(0)?), PolicyId(row.get(1)?), since(row.get(2)?, now.store), why))
        },
    )?;
    let set_aside = db.rows(
        "SELECT seq, set_aside FROM harbor_webhook_outbox WHERE done_at IS NULL AND set_aside IS NOT NULL LIMIT 100",
        [],
        |row| Ok(SetAside::new(row.get(0)?, row.get::<_, String>(1)?)),
    )?;
    Ok(Status {
        outbox: count("SELECT count(*) FROM harbor_webhook_outbox WHERE done_at IS NULL AND set_aside IS NULL")?,
        oldest_event: oldest(
            "SELECT since FROM harbor_webhook_outbox WHERE done_at IS NULL AND set_aside IS NULL ORDER BY seq LIMIT 1",
        )?,
        waiting: count("SELECT count(*) FROM harbor_webhook_deliveries WHERE state IN (0, 1)")?,
        oldest_waiting: oldest("SELECT min(since) FROM harbor_webhook_deliveries WHERE state IN (0, 1)")?,
        waiting_bytes: Some(count("SELECT ifnull(sum(bytes), 0) FROM harbor_webhook_lanes")?),
        parked: count("SELECT count(*) FROM harbor_webhook_deliveries WHERE state = 2")?,
        dead: count("SELECT count(*) FROM harbor_webhook_deliveries WHERE state = 4")?,
        closed_lanes,
        set_aside,
    })
}

/// How much the deliveries of each project use, and its events that are not fanned out.
pub(super) fn usage(db: &Db<'_>) -> Result<Vec<Usage>> {
    let count = |row: &Row<'_>, at| Ok::<_, rusqlite::Error>(row.get::<_, i64>(at)?.max(0).unsigned_abs());
    let deliveries = db.rows(
        "SELECT project_id, sum(waiting), sum(bytes) FROM harbor_webhook_lanes WHERE waiting > 0 GROUP BY project_id",
        [],
        |row| Ok(Usage::new(ProjectId(row.get(0)?), count(row, 1)?, count(row, 2)?)),
    )?;
    // The number behind the key's first place, without reading the whole as JSON: a cast takes the digits that it begins with.
    let events = db.rows(
        r#"SELECT CAST(substr(event, instr(event, '"project_id":') + 13, 24) AS INTEGER), count(*), sum(length(event))
           FROM harbor_webhook_outbox WHERE done_at IS NULL AND set_aside IS NULL GROUP BY 1"#,
        [],
        |row| {
            let project = ProjectId(row.get::<_, Option<i64>>(0)?.unwrap_or_default());
            Ok(Usage::new(project, 0, 0)
                .events(count(row, 1)?, row.get::<_, Option<i64>>(2)?.unwrap_or(0).unsigned_abs()))
        },
    )?;
    Ok(Usage::merge(deliveries, events))
}

/// How long until there is work; `None` if none is in sight.
pub(super) fn due_in(db: &Db<'_>, now: Now) -> Result<Option<Duration>> {
    let next = db.row(
        "SELECT min(at) FROM (
           SELECT min(next_at) AS at FROM harbor_webhook_lanes WHERE next_at IS NOT NULL
           UNION ALL SELECT min(lease_until) FROM harbor_webhook_deliveries WHERE state = 1
           UNION ALL SELECT min(lease_until) FROM (SELECT lease_until FROM harbor_webhook_outbox
             WHERE done_at IS NULL AND set_aside IS NULL ORDER BY seq LIMIT 100))",
        [],
        |row| row.get::<_, Option<i64>>(0),
    )?;
    Ok(next.flatten().map(|at| since(at, now.store)))
}

/// The deliveries of policies that were deleted are no longer wanted.
pub(super) fn cancel_policy(db: &Db<'_>, policy: PolicyId, now: Now) -> Result<()> {
    let which = Filter::policy(policy);
    for state in [StateKind::Due, StateKind::Leased, StateKind::Parked] {
        let which = which.clone().state(state);
        while change(db, &which, Change::Cancel(CancelReason::TargetGone), Page::first(1000), now)?.next.is_some() {}
    }
    // A gate that nobody will open would outlive its lane for ever.
    open_lanes(db, &which, Hold::TargetDisabled)?;
    overview::forget_hours(db, &which)
}
