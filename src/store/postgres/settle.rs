use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::db::{Db, both, failure, storable};
use super::health::Patients;
use super::lanes::{self, CANCELLED, DEAD, DELIVERED, DUE, LEASED, Moves};
use super::millis;
use super::turns::Turns;
use crate::delivery::{Attempt, Outcome};
use crate::error::Result;
use crate::id::TargetId;
use crate::store::{Next, Settled, Settlement};

/// Writes what came of many attempts, of one call or of several, in one transaction.
///
/// The lanes are taken last, for as short as can be: all that send need them. Their fences keep others away from the deliveries
/// before that.
pub(super) async fn settle(db: &Db<'_>, turns: &Turns, calls: &[Vec<Settlement>]) -> Result<Vec<Vec<Settled>>> {
    let results: Vec<&Settlement> = calls.iter().flatten().collect();
    let ((), done) = both(db.begin_queue(), write(db, &results)).await?;
    let targets: BTreeSet<i64> = done.iter().map(|done| done.target).collect();
    let targets: Vec<i64> = targets.into_iter().collect();
    let _turn = turns.take().await;
    let mut patients = Patients::take(db, &targets).await?;
    let mut moves = Moves::default();
    let mut settled = vec![Settled::STALE; results.len()];
    for Done { n, target, size } in done {
        let (Some(result), Some(settled)) = (results.get(n), settled.get_mut(n)) else { continue };
        let lane = moves.of(target);
        lane.step(Some(LEASED), Some(state(&result.next)), size);
        result.attempt.iter().for_each(|attempt| lane.attempt(attempt));
        let news = patients.judge(target, result.verdict);
        *settled = Settled::done(news.map(|news| (TargetId(target), news)));
        if let Some((time, why)) = result.close_lane {
            patients.close(target, time, why);
        }
    }
    patients.write(db, &mut moves).await?;
    lanes::settle_and_commit(db, &moves).await?;
    let mut settled = settled.into_iter();
    Ok(calls.iter().map(|call| settled.by_ref().take(call.len()).collect()).collect())
}

/// The column `state` of what a delivery becomes.
fn state(next: &Next) -> i16 {
    match next {
        Next::Delivered => DELIVERED,
        Next::Retry(_) | Next::Release(_) => DUE,
        Next::Dead(..) => DEAD,
        Next::Cancelled(_) => CANCELLED,
    }
}

/// The columns of what came of attempts.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<i64>,
    tokens: Vec<i64>,
    states: Vec<i16>,
    pauses: Vec<f64>,
    reasons: Vec<Option<&'static str>>,
    details: Vec<Option<Cow<'a, str>>>,
    /// Without one, no attempt was made.
    started: Vec<Option<DateTime<Utc>>>,
    durations: Vec<i64>,
    statuses: Vec<Option<i32>>,
    failures: Vec<Option<&'static str>>,
    texts: Vec<Cow<'a, str>>,
    truncated: Vec<bool>,
    remotes: Vec<Option<String>>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, result: &'a Settlement) {
        self.ids.push(result.lease.key);
        self.tokens.push(result.lease.token);
        let (pause, reason, detail) = match &result.next {
            Next::Delivered => (Duration::ZERO, None, None),
            Next::Retry(pause) | Next::Release(pause) => (*pause, None, None),
            Next::Dead(reason, detail) => (Duration::ZERO, Some(reason.as_str()), detail.as_deref()),
            Next::Cancelled(reason) => (Duration::ZERO, Some(reason.as_str()), None),
        };
        self.states.push(state(&result.next));
        self.pauses.push(millis(pause) as f64);
        self.reasons.push(reason);
        self.details.push(detail.map(storable));
        self.push_attempt(result.attempt.as_ref());
    }

    fn push_attempt(&mut self, attempt: Option<&'a Attempt>) {
        let (status, failure, text, truncated) = match attempt.map(|attempt| &attempt.outcome) {
            None => (None, None, "", false),
            Some(Outcome::Answered { status, body, truncated }) => {
                (Some(i32::from(*status)), None, &**body, *truncated)
            }
            Some(Outcome::Failed { kind, message }) => (None, Some(kind.as_str()), &**message, false),
        };
        self.started.push(attempt.map(|attempt| attempt.started_at));
        let duration = attempt.map(|attempt| attempt.duration.as_micros()).unwrap_or_default();
        self.durations.push(i64::try_from(duration).unwrap_or(i64::MAX));
        self.statuses.push(status);
        self.failures.push(failure);
        self.texts.push(storable(text));
        self.truncated.push(truncated);
        self.remotes.push(attempt.and_then(|attempt| attempt.remote_addr).map(|addr| addr.to_string()));
    }
}

/// A result that was written.
struct Done {
    /// Its place among the results.
    n: usize,
    target: i64,
    size: i32,
}

async fn write(db: &Db<'_>, results: &[&Settlement]) -> Result<Vec<Done>> {
    let mut c = Columns::default();
    results.iter().for_each(|result| c.push(result));
    let rows = db
        .rows(
            "WITH r AS (
               SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::float8[], $5::text[], $6::text[],
                 $7::timestamptz[], $8::bigint[], $9::int[], $10::text[], $11::text[], $12::bool[], $13::text[])
               WITH ORDINALITY AS r(id, token, state, pause, reason, detail, started, duration, status, failure, text,
                 truncated, remote, n)),
             d AS (
               UPDATE {s}.deliveries d SET state = r.state, reason = r.reason, detail = r.detail,
                 attempts = d.attempts + (r.started IS NOT NULL)::int,
                 due = CASE WHEN r.state = 0 THEN statement_timestamp() + r.pause * interval '1 ms' ELSE d.due END,
                 updated_at = statement_timestamp()
               -- By their ids: an index of what is leased would compare all that is with each result.
               FROM r WHERE d.id = r.id AND d.token = r.token AND d.state + 0 = 1
                 AND d.lease_until > statement_timestamp()
               -- With all that the attempt needs, so that nothing is to be joined.
               RETURNING d.id AS key, d.target_id, d.attempts, d.size, r.started, r.duration, r.status, r.failure, r.text,
                 r.truncated, r.remote, r.n),
             a AS (
               INSERT INTO {s}.attempts
                 (delivery_id, number, started_at, duration_us, status, failure, text, truncated, remote_addr)
               SELECT key, attempts, started, duration, status, failure, text, truncated, remote
               FROM d WHERE started IS NOT NULL)
             SELECT n, target_id, size FROM d",
            &[
                &c.ids,
                &c.tokens,
                &c.states,
                &c.pauses,
                &c.reasons,
                &c.details,
                &c.started,
                &c.durations,
                &c.statuses,
                &c.failures,
                &c.texts,
                &c.truncated,
                &c.remotes,
            ],
        )
        .await?;
    let done = |row: &Row| {
        let n = usize::try_from(row.try_get::<_, i64>(0)? - 1).unwrap_or(usize::MAX);
        Ok(Done { n, target: row.try_get(1)?, size: row.try_get(2)? })
    };
    rows.iter().map(done).collect::<Result<_, _>>().map_err(failure)
}
