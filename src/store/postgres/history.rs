use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::claim::read_body;
use super::db::{Db, Param, both, failure};
use super::lanes::{CANCELLED, DEAD, DELIVERED, DUE, LEASED, PARKED};
use super::policies::unreadable;
use crate::delivery::{Attempt, CancelReason, DeadReason, Delivery, FailureKind, Outcome, State};
use crate::error::Result;
use crate::id::{DeliveryId, PolicyId, ProjectId, TargetId};
use crate::store::tally::counted;
use crate::store::{ClosedLane, Detail, Filter, Hold, Page, SetAside, StateKind, Status, Usage};

/// What a filter selects: only what it names stands in the statement, so that the planner sees which index fits.
pub(super) struct Selection {
    pub(super) conditions: String,
    pub(super) values: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Selection {
    pub(super) fn of(which: &Filter) -> Self {
        let mut all = Self { conditions: "true".to_owned(), values: Vec::new() };
        all.and("id =", which.id.map(|id| id.0));
        all.and("event_id =", which.event_id);
        all.and("project_id =", which.project_id.map(|id| id.0));
        all.and("policy_id =", which.policy_id.map(|id| id.0));
        all.and("target_id =", which.target_id.map(|id| id.0));
        all.and("event_type =", which.event_type.map(crate::EventType::as_str));
        all.and("created_at >=", which.since);
        all.and("created_at <", which.until);
        if let Some(state) = which.state {
            // Not as a parameter: the indexes are made for states.
            all.conditions.push_str(&format!(" AND state = {}", column(state)));
        }
        all
    }

    fn and(&mut self, condition: &str, value: Option<impl ToSql + Sync + Send + 'static>) {
        if let Some(value) = value {
            self.values.push(Box::new(value));
            self.conditions.push_str(&format!(" AND {condition} ${}", self.values.len()));
        }
    }

    /// The end of a statement: in the page's order, from behind its `after` on.
    pub(super) fn page(mut self, page: Page) -> (String, Vec<Box<dyn ToSql + Sync + Send>>) {
        let (order, limit, skip) = self.place(page);
        (format!("WHERE {} ORDER BY {order} LIMIT {limit} OFFSET {skip}", self.conditions), self.values)
    }

    /// The same with what is before it, for the project that is selected. There is no index by projects, which every write would pay
    /// for: the deliveries are found by their policies.
    fn page_of_project(mut self, page: Page) -> (String, Vec<Box<dyn ToSql + Sync + Send>>) {
        let (order, limit, skip) = self.place(page);
        let from = format!(
            "({POLICIES}) p CROSS JOIN LATERAL
               (SELECT * FROM {{s}}.deliveries WHERE policy_id = p.policy AND {}
                ORDER BY {order} LIMIT {limit} + {skip}) d
             ORDER BY {order} LIMIT {limit} OFFSET {skip}",
            self.conditions
        );
        (from, self.values)
    }

    /// Adds where the page lies, and gives the order, and the parameters for its limit and what it skips.
    fn place(&mut self, page: Page) -> (&'static str, String, String) {
        let (behind, order) = if page.oldest_first { ("id >", "id") } else { ("id <", "id DESC") };
        self.and(behind, page.after);
        let [limit, skip] = [page.limit, page.skip].map(|number| {
            // The two are added.
            self.values.push(Box::new(i64::try_from(number).unwrap_or(i64::MAX).min(i64::MAX / 2)));
            format!("${}::bigint", self.values.len())
        });
        (order, limit, skip)
    }
}

/// The policies of the project that is selected, which is the first parameter where nothing narrower is.
const POLICIES: &str = "SELECT DISTINCT policy_id AS policy FROM {s}.lanes WHERE project_id = $1";

pub(super) fn params(values: &[Box<dyn ToSql + Sync + Send>]) -> Vec<Param<'_>> {
    values.iter().map(|value| &**value as Param<'_>).collect()
}

pub(super) async fn list(db: &Db<'_>, which: &Filter, page: Page) -> Result<Vec<Delivery>> {
    let (from, values) = if which.is_of_project() {
        Selection::of(which).page_of_project(page)
    } else {
        let (end, values) = Selection::of(which).page(page);
        (format!("{{s}}.deliveries {end}"), values)
    };
    let sql = format!("SELECT {SHOWN} FROM {from}");
    db.rows(&sql, &params(&values)).await?.iter().map(read_delivery).collect()
}

/// The columns of a delivery that are shown.
const SHOWN: &str = "id, event_id, event_type, project_id, policy_id, target_id, target_type, state, reason, attempts,
                     created_at, updated_at, extract(epoch FROM due - statement_timestamp())::float8, detail";

/// The newest delivery of each policy.
pub(super) async fn newest(db: &Db<'_>, policies: &[PolicyId]) -> Result<Vec<Delivery>> {
    let policies: Vec<i64> = policies.iter().map(|policy| policy.0).collect();
    let sql = format!(
        "SELECT {SHOWN} FROM unnest($1::bigint[]) p(policy) CROSS JOIN LATERAL
         (SELECT * FROM {{s}}.deliveries WHERE policy_id = p.policy ORDER BY id DESC LIMIT 1) d"
    );
    db.rows(&sql, &[&policies]).await?.iter().map(read_delivery).collect()
}

/// How many deliveries are selected. What lanes count is not counted anew.
pub(super) async fn count(db: &Db<'_>, which: &Filter) -> Result<u64> {
    let by_lane = which.is_of_lanes();
    let (from, what) = match by_lane {
        true => ("lanes", format!("coalesce(sum({}), 0)::bigint", counted(which.state))),
        false => ("deliveries", "count(*)".to_owned()),
    };
    let Selection { mut conditions, values } =
        Selection::of(&Filter { state: which.state.filter(|_| !by_lane), ..which.clone() });
    if which.is_of_project() && !by_lane {
        conditions.push_str(&format!(" AND policy_id IN ({POLICIES})"));
    }
    let row = db.row(&format!("SELECT {what} FROM {{s}}.{from} WHERE {conditions}"), &params(&values)).await?;
    let count: i64 = row.map_or(Ok(0), |row| row.try_get(0)).map_err(failure)?;
    Ok(count.max(0).unsigned_abs())
}

pub(super) async fn detail(db: &Db<'_>, id: DeliveryId) -> Result<Option<Detail>> {
    let Some(delivery) = list(db, &Filter::id(id), Page::first(1)).await?.into_iter().next() else { return Ok(None) };
    let body = db
        .row(
            "SELECT b.id, b.format, b.content_type, b.bytes FROM {s}.deliveries d
             JOIN {s}.bodies b ON b.id = d.body_id WHERE d.id = $1",
            &[&id.0],
        )
        .await?;
    let attempts = db
        .rows(
            "SELECT started_at, duration_us, status, failure, text, truncated, remote_addr
             FROM {s}.attempts WHERE delivery_id = $1 ORDER BY number",
            &[&id.0],
        )
        .await?;
    let body = body.map(|row| read_body(&row, 0)).transpose()?;
    Ok(Some(Detail::new(delivery, body, attempts.iter().map(read_attempt).collect::<Result<_>>()?)))
}

fn read_delivery(row: &Row) -> Result<Delivery> {
    let reason: Option<&str> = row.try_get(8).map_err(failure)?;
    let state = read_state(row.try_get(7).map_err(failure)?, reason)?;
    let due_in: f64 = row.try_get(12).map_err(failure)?;
    Ok(Delivery {
        id: DeliveryId(row.try_get(0).map_err(failure)?),
        event_id: row.try_get(1).map_err(failure)?,
        event_type: row.try_get::<_, &str>(2).map_err(failure)?.parse().map_err(unreadable)?,
        project_id: ProjectId(row.try_get(3).map_err(failure)?),
        policy_id: PolicyId(row.try_get(4).map_err(failure)?),
        target_id: TargetId(row.try_get(5).map_err(failure)?),
        target_type: row.try_get::<_, &str>(6).map_err(failure)?.parse().map_err(unreadable)?,
        state,
        attempts: row.try_get::<_, i32>(9).map_err(failure)?.max(0).unsigned_abs(),
        created_at: row.try_get::<_, DateTime<Utc>>(10).map_err(failure)?,
        updated_at: row.try_get::<_, DateTime<Utc>>(11).map_err(failure)?,
        due_in: (state == State::Due).then(|| Duration::try_from_secs_f64(due_in).unwrap_or_default()),
        detail: row.try_get(13).map_err(failure)?,
    })
}

pub(super) fn read_state(column: i16, reason: Option<&str>) -> Result<State> {
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
    state.ok_or(()).map_err(unreadable)
}

fn column(state: StateKind) -> i16 {
    match state {
        StateKind::Due => DUE,
        StateKind::Leased => LEASED,
        StateKind::Parked => PARKED,
        StateKind::Delivered => DELIVERED,
        StateKind::Dead => DEAD,
        StateKind::Cancelled => CANCELLED,
    }
}

fn read_attempt(row: &Row) -> Result<Attempt> {
    let status: Option<i32> = row.try_get(2).map_err(failure)?;
    let kind: Option<&str> = row.try_get(3).map_err(failure)?;
    let text: String = row.try_get(4).map_err(failure)?;
    let outcome = match status.and_then(|status| u16::try_from(status).ok()) {
        Some(status) => Outcome::Answered { status, body: text, truncated: row.try_get(5).map_err(failure)? },
        None => {
            let kind = kind.and_then(FailureKind::from_name).unwrap_or(FailureKind::Other);
            Outcome::Failed { kind, message: text }
        }
    };
    let remote: Option<&str> = row.try_get(6).map_err(failure)?;
    let duration = Duration::from_micros(row.try_get::<_, i64>(1).map_err(failure)?.unsigned_abs());
    let attempt = Attempt::new(row.try_get(0).map_err(failure)?, duration, outcome);
    Ok(attempt.remote_addr(remote.and_then(|addr| addr.parse().ok())))
}

pub(super) async fn status(db: &Db<'_>) -> Result<Status> {
    let counts = db.row(
        "SELECT (SELECT count(*) FROM {s}.outbox WHERE done_at IS NULL AND set_aside IS NULL),
           (SELECT count(*) FROM {s}.deliveries WHERE state IN (0, 1)),
           (SELECT count(*) FROM {s}.deliveries WHERE state = 2),
           (SELECT count(*) FROM {s}.deliveries WHERE state = 4),
           extract(epoch FROM statement_timestamp() - (SELECT since FROM {s}.outbox
             WHERE done_at IS NULL AND set_aside IS NULL ORDER BY seq LIMIT 1))::float8,
           extract(epoch FROM statement_timestamp() - (SELECT min(since) FROM {s}.deliveries
             WHERE state IN (0, 1)))::float8,
           (SELECT coalesce(sum(bytes), 0)::bigint FROM {s}.lanes)",
        &[],
    );
    let closed = db.rows(
        "SELECT target_id, policy_id, extract(epoch FROM gate_until - statement_timestamp())::float8, gate_why
         FROM {s}.lanes WHERE gate_until > statement_timestamp() AND gate_until < 'infinity' LIMIT 100",
        &[],
    );
    let set_aside = db.rows(
        "SELECT seq, set_aside FROM {s}.outbox WHERE done_at IS NULL AND set_aside IS NOT NULL ORDER BY seq LIMIT 100",
        &[],
    );
    let (counts, closed, set_aside) = tokio::try_join!(counts, closed, set_aside)?;
    let mut status = Status::default();
    if let Some(row) = counts {
        let count = |at| row.try_get::<_, i64>(at).map(|n| n.max(0).unsigned_abs()).map_err(failure);
        let age = |at| row.try_get::<_, Option<f64>>(at).map(|age| age.map(seconds)).map_err(failure);
        (status.outbox, status.waiting, status.parked, status.dead) = (count(0)?, count(1)?, count(2)?, count(3)?);
        (status.oldest_event, status.oldest_waiting) = (age(4)?, age(5)?);
        status.waiting_bytes = Some(count(6)?);
    }
    status.closed_lanes = closed.iter().map(read_closed).collect::<Result<_>>()?;
    for row in set_aside {
        let reason: String = row.try_get(1).map_err(failure)?;
        status.set_aside.push(SetAside::new(row.try_get(0).map_err(failure)?, reason));
    }
    Ok(status)
}

/// How much the deliveries of each project use, and its events that are not fanned out.
pub(super) async fn usage(db: &Db<'_>) -> Result<Vec<Usage>> {
    let deliveries = "SELECT project_id, sum(waiting)::bigint, sum(bytes)::bigint FROM {s}.lanes
                      WHERE waiting > 0 GROUP BY project_id";
    // The digits behind the key's first place, without reading the whole as JSON.
    let events = r#"SELECT coalesce(substring(substr(event, strpos(event, '"project_id":') + 13, 24)
                                              FROM '^\s*(-?\d{1,18})')::bigint, 0),
                      count(*), coalesce(sum(octet_length(event)), 0)::bigint
                    FROM {s}.outbox WHERE done_at IS NULL AND set_aside IS NULL GROUP BY 1"#;
    let (deliveries, events) = both(db.rows(deliveries, &[]), db.rows(events, &[])).await?;
    let read = |row: &Row| {
        let count = |at| row.try_get::<_, i64>(at).map(|n| n.max(0).unsigned_abs());
        Ok::<_, tokio_postgres::Error>((ProjectId(row.try_get(0)?), count(1)?, count(2)?))
    };
    let all = |rows: &[Row]| rows.iter().map(read).collect::<Result<Vec<_>, _>>().map_err(failure);
    let deliveries = all(&deliveries)?.into_iter().map(|(id, count, bytes)| Usage::new(id, count, bytes));
    let events = all(&events)?.into_iter().map(|(id, count, bytes)| Usage::new(id, 0, 0).events(count, bytes));
    Ok(Usage::merge(deliveries.collect(), events.collect()))
}

fn read_closed(row: &Row) -> Result<ClosedLane> {
    let why: Option<&str> = row.try_get(3).map_err(failure)?;
    let why = why.and_then(Hold::from_name).unwrap_or(Hold::RetryAfter);
    let (target, policy) = (TargetId(row.try_get(0).map_err(failure)?), PolicyId(row.try_get(1).map_err(failure)?));
    Ok(ClosedLane::new(target, policy, seconds(row.try_get(2).map_err(failure)?), why))
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// How long until there is work; `None` if none is in sight.
pub(super) async fn due_in(db: &Db<'_>) -> Result<Option<Duration>> {
    let row = db
        .row(
            // What was never leased has been due since for ever, which nothing can be subtracted from.
            "SELECT CASE WHEN at > statement_timestamp() THEN extract(epoch FROM at - statement_timestamp())::float8
               ELSE 0 END
             FROM (SELECT least(
               (SELECT min(next_at) FROM {s}.lanes WHERE next_at IS NOT NULL),
               (SELECT min(lease_until) FROM {s}.deliveries WHERE state = 1),
               (SELECT min(lease_until) FROM (SELECT lease_until FROM {s}.outbox
                  WHERE done_at IS NULL AND set_aside IS NULL ORDER BY seq LIMIT 200) o)) AS at) soonest
             WHERE at < 'infinity'",
            &[],
        )
        .await?;
    let due: Option<f64> = row.map_or(Ok(None), |row| row.try_get(0)).map_err(failure)?;
    Ok(due.map(seconds))
}
