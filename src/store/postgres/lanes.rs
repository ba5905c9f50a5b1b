use std::collections::BTreeMap;

use super::db::Db;
use crate::error::Result;

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
    waits: i64,
    bytes: i64,
    pub(super) flies: i64,
    /// When the next token of its rate is there, if some were taken.
    pub(super) token_us: Option<i64>,
}

impl Move {
    /// So many more deliveries wait, with a body of this size each.
    pub(super) fn wait(&mut self, more: i64, size: i32) {
        self.waits += more;
        self.bytes += more * i64::from(size);
    }
}

impl Moves {
    pub(super) fn of(&mut self, target: i64) -> &mut Move {
        self.0.entry(target).or_default()
    }

    fn columns(&self) -> Columns {
        let column = |of: fn(&Move) -> i64| self.0.values().map(of).collect();
        Columns {
            targets: self.0.keys().copied().collect(),
            waits: column(|lane| lane.waits),
            bytes: column(|lane| lane.bytes),
            flies: column(|lane| lane.flies),
            tokens: self.0.values().map(|lane| lane.token_us).collect(),
        }
    }

    /// The lane's place is to be worked out anew, and nothing else.
    pub(super) fn touch(&mut self, target: i64) {
        self.0.entry(target).or_default();
    }
}

struct Columns {
    targets: Vec<i64>,
    waits: Vec<i64>,
    bytes: Vec<i64>,
    flies: Vec<i64>,
    tokens: Vec<Option<i64>>,
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
    let Columns { targets, waits, bytes, flies, tokens } = moves.columns();
    db.execute(APPLY, &[&targets, &waits, &flies, &false, &tokens, &bytes]).await.map(|_| ())
}

/// The same as the last thing in the transaction, together with its commit. A lane that was just served comes behind those
/// that wait for longer.
pub(super) async fn apply_and_commit(db: &Db<'_>, moves: &Moves, served: bool) -> Result<()> {
    if moves.0.is_empty() {
        return db.commit().await;
    }
    let Columns { targets, waits, bytes, flies, tokens } = moves.columns();
    db.execute_and_commit(APPLY, &[&targets, &waits, &flies, &served, &tokens, &bytes]).await
}

const APPLY: &str = "
    UPDATE {s}.lanes l SET
      waiting = greatest(0, l.waiting + m.waits),
      in_flight = greatest(0, l.in_flight + m.flies),
      bytes = greatest(0, l.bytes + m.bytes),
      served = CASE WHEN $4 THEN statement_timestamp() ELSE l.served END,
      token_us = coalesce(m.token_us, l.token_us),
      next_at = CASE WHEN l.in_flight + m.flies < least(l.max_in_flight, l.ramp) THEN
        (SELECT greatest(d.due, l.gate_until, CASE WHEN $4 THEN statement_timestamp() ELSE l.served END,
           CASE WHEN l.spacing_us > 0 THEN to_timestamp(coalesce(m.token_us, l.token_us) / 1e6) END)
         FROM {s}.deliveries d WHERE d.target_id = l.target_id AND d.state = 0 ORDER BY d.due, d.id LIMIT 1) END
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $5::bigint[], $6::bigint[])
      AS m(target_id, waits, flies, token_us, bytes)
    WHERE l.target_id = m.target_id";
