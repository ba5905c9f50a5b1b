use std::collections::BTreeMap;
use std::time::Duration;

use tokio_postgres::Row;

use super::db::{Db, failure};
use super::lanes::{DUE, Moves, PARKED};
use super::millis;
use crate::delivery::breaker::{After, Before, Breaker, Gate, Health, News, Verdict};
use crate::error::Result;
use crate::store::Hold;

/// Lanes that were taken, what is remembered of their attempts, and what results change about that.
#[derive(Debug)]
pub(super) struct Patients(BTreeMap<i64, Patient>);

#[derive(Debug)]
struct Patient {
    before: Before,
    disabled: bool,
    /// The health differs from what is stored.
    changed: bool,
    /// Its failures began with one of these results.
    began: bool,
    /// How long the gate is to be closed, at least, and why.
    closes: Option<(Duration, Hold)>,
}

impl Patients {
    /// Takes lanes as [`lanes::take`](super::lanes::take) does.
    pub(super) async fn take(db: &Db<'_>, targets: &[i64]) -> Result<Self> {
        let rows = db
            .rows(
                "SELECT target_id, failures, failing, opened, ramp,
                   coalesce(extract(epoch FROM statement_timestamp() - failing_since), 0)::float8,
                   gate_until > statement_timestamp(), max_in_flight, gate_why
                 FROM {s}.lanes WHERE target_id = ANY($1) ORDER BY target_id FOR NO KEY UPDATE",
                &[&targets],
            )
            .await?;
        rows.iter().map(read).collect::<Result<_, _>>().map(Self).map_err(failure)
    }

    /// An attempt says this about a lane's target.
    pub(super) fn judge(&mut self, target: i64, verdict: Option<(Verdict, Breaker)>) -> Option<News> {
        let patient = self.0.get_mut(&target).filter(|patient| !patient.disabled)?;
        let (verdict, breaker) = verdict?;
        let After { health, gate, news, .. } = breaker.after(&patient.before, verdict, target);
        if health != patient.before.health {
            patient.began |= patient.before.health.failures == 0;
            patient.changed = true;
            patient.before.health = health;
        }
        if health.failures == 0 {
            patient.before.failing_for = Duration::ZERO;
        }
        match gate {
            Gate::Stays => {}
            Gate::Closes(pause) => patient.close(pause, Hold::CircuitOpen),
            Gate::Disables(_) => {
                patient.disabled = true;
                patient.closes = Some((Duration::MAX, Hold::TargetDisabled));
            }
        }
        news
    }

    /// Closes a lane, unless it is closed for longer already.
    pub(super) fn close(&mut self, target: i64, time: Duration, why: Hold) {
        if let Some(patient) = self.0.get_mut(&target) {
            patient.close(time, why);
        }
    }

    /// Writes down what changed, and parks what is due in lanes that are disabled.
    pub(super) async fn write(&self, db: &Db<'_>, moves: &mut Moves) -> Result<()> {
        for (target, patient) in &self.0 {
            if patient.changed {
                patient.write_health(db, *target).await?;
            }
            if let Some((time, why)) = patient.closes {
                close(db, *target, time, why).await?;
            }
        }
        let disabled: Vec<i64> = self.0.iter().filter(|(_, p)| p.disabled).map(|(target, _)| *target).collect();
        if !disabled.is_empty() {
            let sql = "UPDATE {s}.deliveries SET state = 2 WHERE target_id = ANY($1) AND state = 0
                       RETURNING target_id, size";
            for row in db.rows(sql, &[&disabled]).await? {
                let size = row.try_get(1).map_err(failure)?;
                moves.of(row.try_get(0).map_err(failure)?).step(Some(DUE), Some(PARKED), size);
            }
        }
        Ok(())
    }
}

impl Patient {
    fn close(&mut self, time: Duration, why: Hold) {
        self.before.closed |= why.makes_late();
        if self.closes.is_none_or(|(longest, _)| longest < time) {
            self.closes = Some((time, why));
        }
    }

    async fn write_health(&self, db: &Db<'_>, target: i64) -> Result<()> {
        let Health { failures, failing, opened, ramp } = self.before.health;
        let sql = "UPDATE {s}.lanes SET failures = $2, failing = $3, opened = $4, ramp = $5,
                     failing_since = CASE WHEN $6 THEN statement_timestamp() ELSE failing_since END
                   WHERE target_id = $1";
        let (failures, failing, opened) = (i64::from(failures), i64::from(failing), i64::from(opened));
        db.execute(sql, &[&target, &failures, &failing, &opened, &ramp.map(i64::from), &self.began]).await.map(|_| ())
    }
}

fn read(row: &Row) -> Result<(i64, Patient), tokio_postgres::Error> {
    let count = |at| Ok(u32::try_from(row.try_get::<_, i64>(at)?).unwrap_or(u32::MAX));
    let ramp = row.try_get::<_, Option<i64>>(4)?.map(|ramp| u32::try_from(ramp).unwrap_or(u32::MAX));
    let health = Health::new(count(1)?, count(2)?, count(3)?, ramp);
    let since = if health.failures == 0 { 0.0 } else { row.try_get::<_, f64>(5)? };
    let failing_for = Duration::try_from_secs_f64(since).unwrap_or_default();
    let why = row.try_get::<_, Option<&str>>(8)?.and_then(Hold::from_name);
    let late = row.try_get(6)? && why.is_none_or(Hold::makes_late);
    let before = Before::new(health, failing_for, late, count(7)?);
    let patient =
        Patient { before, disabled: why == Some(Hold::TargetDisabled), changed: false, began: false, closes: None };
    Ok((row.try_get(0)?, patient))
}

async fn close(db: &Db<'_>, target: i64, time: Duration, why: Hold) -> Result<()> {
    let sql = "UPDATE {s}.lanes SET gate_until = statement_timestamp() + $2 * interval '1 ms', gate_why = $3
               WHERE target_id = $1 AND gate_until < statement_timestamp() + $2 * interval '1 ms'";
    db.execute(sql, &[&target, &(millis(time) as f64), &why.as_str()]).await.map(|_| ())
}
