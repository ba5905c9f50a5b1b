use std::collections::BTreeMap;

use super::db::{Db, Param};
use crate::delivery::Attempt;
use crate::error::Result;
use crate::store::tally::{self, Tally};

/// The column `state` of a delivery.
pub(super) const DUE: i16 = tally::DUE as i16;
pub(super) const LEASED: i16 = tally::LEASED as i16;
pub(super) const PARKED: i16 = tally::PARKED as i16;
pub(super) const DELIVERED: i16 = tally::DELIVERED as i16;
pub(super) const DEAD: i16 = tally::DEAD as i16;
pub(super) const CANCELLED: i16 = tally::CANCELLED as i16;

/// What a transaction did to lanes, in the order of their targets: the order in which lanes are taken.
#[derive(Debug, Default)]
pub(super) struct Moves(BTreeMap<i64, Move>);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Move {
    tally: Tally,
    /// So many more are in flight that were due.
    pub(super) flies: i64,
    /// When the next token of its rate is there, if some were taken.
    pub(super) token_us: Option<i64>,
}

impl Move {
    /// A delivery with a body of this size goes from one state to another. None: it is not there yet, or no more.
    pub(super) fn step(&mut self, from: Option<i16>, to: Option<i16>, size: i32) {
        self.tally.step(from.map(i64::from), to.map(i64::from), i64::from(size));
    }

    /// An attempt was written down.
    pub(super) fn attempt(&mut self, attempt: &Attempt) {
        self.tally.attempt(attempt);
    }
}

impl Moves {
    pub(super) fn of(&mut self, target: i64) -> &mut Move {
        self.0.entry(target).or_default()
    }

    fn columns(&self) -> Columns {
        let column = |of: fn(&Move) -> i64| self.0.values().map(of).collect();
        Columns {
            targets: self.targets(),
            tokens: self.0.values().map(|lane| lane.token_us).collect(),
            counts: [
                column(|lane| lane.tally.waiting),
                column(|lane| lane.tally.bytes),
                column(|lane| lane.tally.in_flight + lane.flies),
                column(|lane| lane.tally.parked),
                column(|lane| lane.tally.delivered),
                column(|lane| lane.tally.dead),
                column(|lane| lane.tally.cancelled),
            ],
            tried: [
                column(|lane| lane.tally.tried.taken),
                column(|lane| lane.tally.tried.failed),
                column(|lane| lane.tally.tried.us),
                column(|lane| lane.tally.tried.longest_us),
            ],
        }
    }

    /// The lanes, in their order.
    pub(super) fn targets(&self) -> Vec<i64> {
        self.0.keys().copied().collect()
    }

    /// The lane's place is to be worked out anew, and nothing else.
    pub(super) fn touch(&mut self, target: i64) {
        self.0.entry(target).or_default();
    }
}

struct Columns {
    targets: Vec<i64>,
    tokens: Vec<Option<i64>>,
    counts: [Vec<i64>; 7],
    tried: [Vec<i64>; 4],
}

impl Columns {
    fn params<'a>(&'a self, served: &'a bool) -> Vec<Param<'a>> {
        let first: [Param<'_>; 3] = [&self.targets, served, &self.tokens];
        first.into_iter().chain(self.counts.iter().map(|column| column as Param<'_>)).collect()
    }

    fn params_with_tried(&self) -> Vec<Param<'_>> {
        let mut params = self.params(&false);
        params.extend(self.tried.iter().map(|column| column as Param<'_>));
        params
    }
}

/// Takes lanes: nobody else changes their waiting deliveries until the transaction ends. Whoever takes several takes them in
/// this order, so that two transactions cannot wait for each other.
pub(super) async fn take(db: &Db<'_>, targets: &[i64]) -> Result<()> {
    let sql = "SELECT 1 FROM {s}.lanes WHERE target_id = ANY($1) ORDER BY target_id FOR NO KEY UPDATE";
    db.execute(sql, &[&targets]).await.map(|_| ())
}

/// What was forgotten of lanes that somebody opens.
pub(super) const OPENED: &str = "gate_until = '-infinity', gate_why = NULL";
/// The same for lanes that failures had closed.
pub(super) const STARTED_ANEW: &str = "gate_until = '-infinity', gate_why = NULL, failures = 0, failing = 0, opened = 0, ramp = NULL, failing_since = NULL";

/// Writes down what was done, and works out when each lane can be claimed from next.
pub(super) async fn apply(db: &Db<'_>, moves: &Moves) -> Result<()> {
    if moves.0.is_empty() {
        return Ok(());
    }
    db.execute(APPLY, &moves.columns().params(&false)).await.map(|_| ())
}

/// The same as the last thing in the transaction, together with its commit. A lane that was just served comes behind those
/// that wait for longer.
pub(super) async fn apply_and_commit(db: &Db<'_>, moves: &Moves, served: bool) -> Result<()> {
    if moves.0.is_empty() {
        return db.commit().await;
    }
    db.execute_and_commit(APPLY, &moves.columns().params(&served)).await
}

/// The same after results, whose attempts are counted in the present hour.
pub(super) async fn settle_and_commit(db: &Db<'_>, moves: &Moves) -> Result<()> {
    if moves.0.is_empty() {
        return db.commit().await;
    }
    db.execute_and_commit(SETTLE, &moves.columns().params_with_tried()).await
}

/// The statement that writes moves down. `$with` comes before it, `$set` sets further columns, to what `$from` is and `$arrays` bring
/// under `$names`.
macro_rules! apply {
    ($with:literal, $set:literal, $from:literal, $arrays:literal, $names:literal) => {
        concat!(
            $with,
            "UPDATE {s}.lanes l SET
               waiting = greatest(0, l.waiting + m.waits),
               bytes = greatest(0, l.bytes + m.bytes),
               in_flight = greatest(0, l.in_flight + m.flies),
               parked = greatest(0, l.parked + m.parked),
               delivered = greatest(0, l.delivered + m.delivered),
               dead = greatest(0, l.dead + m.dead),
               cancelled = greatest(0, l.cancelled + m.cancelled),",
            $set,
            "  served = CASE WHEN $2 THEN statement_timestamp() ELSE l.served END,
               token_us = coalesce(m.token_us, l.token_us),
               next_at = CASE WHEN l.in_flight + m.flies < least(l.max_in_flight, l.ramp) THEN
                 (SELECT greatest(d.due, l.gate_until, CASE WHEN $2 THEN statement_timestamp() ELSE l.served END,
                    CASE WHEN l.spacing_us > 0 THEN to_timestamp(coalesce(m.token_us, l.token_us) / 1e6) END)
                  FROM {s}.deliveries d WHERE d.target_id = l.target_id AND d.state = 0 ORDER BY d.due, d.id LIMIT 1) END
             FROM ",
            $from,
            "unnest($1::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
                 $9::bigint[], $10::bigint[]",
            $arrays,
            ") AS m(target_id, token_us, waits, bytes, flies, parked, delivered, dead, cancelled",
            $names,
            ") WHERE l.target_id = m.target_id"
        )
    };
}

const APPLY: &str = apply!("", "", "", "", "");

/// The same after attempts. An hour that is over is put with the others.
const SETTLE: &str = apply!(
    "WITH present AS (SELECT date_trunc('hour', statement_timestamp(), 'UTC') AS hour),
       ended AS (
         INSERT INTO {s}.hours AS h (target_id, hour, taken, failed, us, longest_us)
         SELECT l.target_id, l.hour, l.hour_taken, l.hour_failed, l.hour_us, l.hour_longest_us
         FROM {s}.lanes l, present p
         WHERE l.target_id = ANY($1) AND l.hour <> p.hour AND l.hour_taken + l.hour_failed > 0
         -- A clock that was set back comes to an hour again.
         ON CONFLICT (target_id, hour) DO UPDATE SET taken = h.taken + excluded.taken, failed = h.failed + excluded.failed,
           us = h.us + excluded.us, longest_us = greatest(h.longest_us, excluded.longest_us)) ",
    "hour = p.hour,
     hour_taken = CASE WHEN l.hour = p.hour THEN l.hour_taken ELSE 0 END + m.taken,
     hour_failed = CASE WHEN l.hour = p.hour THEN l.hour_failed ELSE 0 END + m.failed,
     hour_us = CASE WHEN l.hour = p.hour THEN l.hour_us ELSE 0 END + m.us,
     hour_longest_us = greatest(CASE WHEN l.hour = p.hour THEN l.hour_longest_us ELSE 0 END, m.longest_us),",
    "present p, ",
    ", $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[]",
    ", taken, failed, us, longest_us"
);
