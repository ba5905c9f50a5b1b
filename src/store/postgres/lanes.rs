use std::collections::BTreeMap;

use super::db::Db;
use super::millis;
use crate::error::Result;
use crate::store::Hold;

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
    pub(super) waits: i64,
    pub(super) flies: i64,
}

impl Moves {
    pub(super) fn of(&mut self, target: i64) -> &mut Move {
        self.0.entry(target).or_default()
    }

    /// The lane's place is to be worked out anew, and nothing else.
    pub(super) fn touch(&mut self, target: i64) {
        self.0.entry(target).or_default();
    }
}

/// Takes lanes: nobody else changes their waiting deliveries until the transaction ends. Whoever takes several takes them in
/// this order, so that two transactions cannot wait for each other.
pub(super) async fn take(db: &Db<'_>, targets: &[i64]) -> Result<()> {
    let sql = "SELECT 1 FROM {s}.lanes WHERE target_id = ANY($1) ORDER BY target_id FOR NO KEY UPDATE";
    db.execute(sql, &[&targets]).await.map(|_| ())
}

/// Writes down what was done, and works out when each lane can be claimed from next. A lane that was just served comes
/// behind those that wait for longer.
pub(super) async fn apply(db: &Db<'_>, moves: &Moves, served: bool) -> Result<()> {
    if moves.0.is_empty() {
        return Ok(());
    }
    let targets: Vec<i64> = moves.0.keys().copied().collect();
    let waits: Vec<i64> = moves.0.values().map(|lane| lane.waits).collect();
    let flies: Vec<i64> = moves.0.values().map(|lane| lane.flies).collect();
    db.execute(
        "UPDATE {s}.lanes l SET
           waiting = greatest(0, l.waiting + m.waits),
           in_flight = greatest(0, l.in_flight + m.flies),
           served = CASE WHEN $4 THEN statement_timestamp() ELSE l.served END,
           next_at = CASE WHEN l.in_flight + m.flies < l.max_in_flight THEN
             (SELECT greatest(d.due, l.gate_until, CASE WHEN $4 THEN statement_timestamp() ELSE l.served END)
              FROM {s}.deliveries d WHERE d.target_id = l.target_id AND d.state = 0 ORDER BY d.due, d.id LIMIT 1) END
         FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS m(target_id, waits, flies)
         WHERE l.target_id = m.target_id",
        &[&targets, &waits, &flies, &served],
    )
    .await
    .map(|_| ())
}

/// Closes a lane that was taken, unless it is closed for longer already. [`apply`] must follow.
pub(super) async fn close(db: &Db<'_>, target: i64, time: std::time::Duration, why: Hold) -> Result<()> {
    let sql = "UPDATE {s}.lanes SET gate_until = statement_timestamp() + $2 * interval '1 ms', gate_why = $3
               WHERE target_id = $1 AND gate_until < statement_timestamp() + $2 * interval '1 ms'";
    db.execute(sql, &[&target, &(millis(time) as f64), &why.as_str()]).await.map(|_| ())
}
