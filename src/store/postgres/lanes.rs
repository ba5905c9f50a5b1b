use std::collections::BTreeMap;

use super::db::{Db, Param};
use crate::error::Result;
use crate::store::tally::Tally;

/// The column `state` of a delivery.
pub(super) const DUE: i16 = 0;
pub(super) const LEASED: i16 = 1;
pub(super) const PARKED: i16 = 2;
pub(super) const DELIVERED: i16 = 3;
pub(super) const DEAD: i16 = 4;
pub(super) const CANCELLED: i16 = 5;

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
}

impl Columns {
    fn params<'a>(&'a self, served: &'a bool) -> Vec<Param<'a>> {
        let first: [Param<'_>; 3] = [&self.targets, served, &self.tokens];
        first.into_iter().chain(self.counts.iter().map(|column| column as Param<'_>)).collect()
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

const APPLY: &str = "
    UPDATE {s}.lanes l SET
      waiting = greatest(0, l.waiting + m.waits),
      bytes = greatest(0, l.bytes + m.bytes),
      in_flight = greatest(0, l.in_flight + m.flies),
      parked = greatest(0, l.parked + m.parked),
      delivered = greatest(0, l.delivered + m.delivered),
      dead = greatest(0, l.dead + m.dead),
      cancelled = greatest(0, l.cancelled + m.cancelled),
      served = CASE WHEN $2 THEN statement_timestamp() ELSE l.served END,
      token_us = coalesce(m.token_us, l.token_us),
      next_at = CASE WHEN l.in_flight + m.flies < least(l.max_in_flight, l.ramp) THEN
        (SELECT greatest(d.due, l.gate_until, CASE WHEN $2 THEN statement_timestamp() ELSE l.served END,
           CASE WHEN l.spacing_us > 0 THEN to_timestamp(coalesce(m.token_us, l.token_us) / 1e6) END)
         FROM {s}.deliveries d WHERE d.target_id = l.target_id AND d.state = 0 ORDER BY d.due, d.id LIMIT 1) END
    FROM unnest($1::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
        $9::bigint[], $10::bigint[])
      AS m(target_id, token_us, waits, bytes, flies, parked, delivered, dead, cancelled)
    WHERE l.target_id = m.target_id";
