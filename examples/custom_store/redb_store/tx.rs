//! One transaction: all tables, and the one place where a row and its indexes change.

use std::ops::RangeInclusive;

use harbor_webhook::delivery::State;
use harbor_webhook::store::NewDelivery;
use harbor_webhook::{ProjectId, TargetId};
use redb::{AccessGuard, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;

use super::fault::Fault;
use super::rows::{BodyRow, Lane, Row};

pub(super) type Def<K, V> = TableDefinition<'static, K, V>;

/// Counters: the last number of each kind, how many deliveries are in each state, the time of the last write.
pub(super) const META: Def<&str, i64> = Def::new("meta");
pub(super) const POLICIES: Def<i64, &[u8]> = Def::new("policies");
/// By number: the event's id, when it was appended, the event.
pub(super) const OUTBOX: Def<i64, (u128, i64, &[u8])> = Def::new("outbox");
/// By number in the outbox: when the lease ends, and its token.
pub(super) const EVENT_LEASES: Def<i64, (i64, i64)> = Def::new("event_leases");
pub(super) const SET_ASIDE: Def<i64, &str> = Def::new("set_aside");
/// The ids of events; when they may be forgotten counts from this time, which is 0 while the event is in the outbox.
pub(super) const EVENT_IDS: Def<u128, i64> = Def::new("event_ids");
pub(super) const OLD_IDS: Def<(i64, u128), ()> = Def::new("old_ids");
pub(super) const BODIES: Def<u128, &[u8]> = Def::new("bodies");
pub(super) const DELIVERIES: Def<i64, &[u8]> = Def::new("deliveries");
/// A delivery is the only one of its event and target.
pub(super) const UNIQUE: Def<(u128, i64), i64> = Def::new("unique");
pub(super) const ATTEMPTS: Def<(i64, u32), &[u8]> = Def::new("attempts");
pub(super) const LANES: Def<i64, &[u8]> = Def::new("lanes");
/// (target, when, delivery): the queue of each lane.
pub(super) const DUE: Def<(i64, i64, i64), ()> = Def::new("due");
/// (when, delivery): where leases end.
pub(super) const LEASED: Def<(i64, i64), ()> = Def::new("leased");
/// (since, delivery): what waits, by age.
pub(super) const AGES: Def<(i64, i64), ()> = Def::new("ages");
/// (policy, dead, delivery): what has ended.
pub(super) const ENDED: Def<(i64, bool, i64), ()> = Def::new("ended");
/// (when, turn, target): the lanes that have room, by when something can be claimed from them.
pub(super) const READY: Def<(i64, i64, i64), ()> = Def::new("ready");

pub(super) struct Tx<'t> {
    pub(super) now: i64,
    pub(super) meta: Table<'t, &'static str, i64>,
    pub(super) policies: Table<'t, i64, &'static [u8]>,
    pub(super) outbox: Table<'t, i64, (u128, i64, &'static [u8])>,
    pub(super) event_leases: Table<'t, i64, (i64, i64)>,
    pub(super) set_aside: Table<'t, i64, &'static str>,
    pub(super) event_ids: Table<'t, u128, i64>,
    pub(super) old_ids: Table<'t, (i64, u128), ()>,
    pub(super) bodies: Table<'t, u128, &'static [u8]>,
    pub(super) deliveries: Table<'t, i64, &'static [u8]>,
    pub(super) unique: Table<'t, (u128, i64), i64>,
    pub(super) attempts: Table<'t, (i64, u32), &'static [u8]>,
    pub(super) lanes: Table<'t, i64, &'static [u8]>,
    pub(super) due: Table<'t, (i64, i64, i64), ()>,
    pub(super) leased: Table<'t, (i64, i64), ()>,
    pub(super) ages: Table<'t, (i64, i64), ()>,
    pub(super) ended: Table<'t, (i64, bool, i64), ()>,
    pub(super) ready: Table<'t, (i64, i64, i64), ()>,
}

impl<'t> Tx<'t> {
    pub(super) fn open(txn: &'t WriteTransaction, now: i64) -> Result<Self, Fault> {
        Ok(Self {
            now,
            meta: txn.open_table(META)?,
            policies: txn.open_table(POLICIES)?,
            outbox: txn.open_table(OUTBOX)?,
            event_leases: txn.open_table(EVENT_LEASES)?,
            set_aside: txn.open_table(SET_ASIDE)?,
            event_ids: txn.open_table(EVENT_IDS)?,
            old_ids: txn.open_table(OLD_IDS)?,
            bodies: txn.open_table(BODIES)?,
            deliveries: txn.open_table(DELIVERIES)?,
            unique: txn.open_table(UNIQUE)?,
            attempts: txn.open_table(ATTEMPTS)?,
            lanes: txn.open_table(LANES)?,
            due: txn.open_table(DUE)?,
            leased: txn.open_table(LEASED)?,
            ages: txn.open_table(AGES)?,
            ended: txn.open_table(ENDED)?,
            ready: txn.open_table(READY)?,
        })
    }

    /// The next number of a kind, from 1. A number never comes twice, which is what tokens need.
    pub(super) fn next(&mut self, kind: &'static str) -> Result<i64, Fault> {
        self.count(kind, 1)
    }

    fn count(&mut self, what: &'static str, by: i64) -> Result<i64, Fault> {
        let count = count(&self.meta, what)? + by;
        self.meta.insert(what, count)?;
        Ok(count)
    }

    pub(super) fn last_time(&self) -> Result<i64, Fault> {
        count(&self.meta, "time")
    }

    pub(super) fn save_time(&mut self) -> Result<(), Fault> {
        self.meta.insert("time", self.now)?;
        Ok(())
    }

    pub(super) fn row(&self, id: i64) -> Result<Option<Row>, Fault> {
        json(self.deliveries.get(id)?)
    }

    pub(super) fn lane(&self, target: TargetId) -> Result<Option<Lane>, Fault> {
        json(self.lanes.get(target.0)?)
    }

    /// The lane of a delivery that is about to be made, with the limits that it brings.
    pub(super) fn limit_lane(&mut self, project: ProjectId, new: &NewDelivery) -> Result<Lane, Fault> {
        let mut lane = self.lane(new.target_id)?.unwrap_or_else(|| Lane::new(new.policy_id, project));
        (lane.max_waiting, lane.max_in_flight) = (new.lane.max_waiting, new.lane.max_in_flight);
        lane.rate = new.lane.rate.spacing();
        self.lanes.insert(new.target_id.0, &*serde_json::to_vec(&lane)?)?;
        Ok(lane)
    }

    /// Writes a delivery, or removes it, with all that follows: indexes, counts, its lane, its body.
    pub(super) fn put(&mut self, id: i64, new: Option<&Row>) -> Result<(), Fault> {
        let old = self.row(id)?;
        let Some(any) = new.or(old.as_ref()) else { return Ok(()) };
        let mut lane = self.lane(any.target)?.unwrap_or_else(|| Lane::new(any.policy, any.project));
        if let Some(old) = &old {
            self.unindex(id, old)?;
            lane.count(old, |n| n.saturating_sub(1));
        }
        match new {
            Some(new) => {
                self.deliveries.insert(id, &*serde_json::to_vec(new)?)?;
                self.index(id, new)?;
                lane.count(new, |n| n + 1);
            }
            None => {
                self.deliveries.remove(id)?;
                self.attempts.retain_in((id, 0)..=(id, u32::MAX), |_, _| false)?;
            }
        }
        if old.is_none() != new.is_none() {
            self.unique.remove((any.event_id.as_u128(), any.target.0))?;
            if new.is_some() {
                self.unique.insert((any.event_id.as_u128(), any.target.0), id)?;
            }
            self.use_body(any, new.is_some())?;
        }
        self.put_lane(any.target, lane)
    }

    fn index(&mut self, id: i64, row: &Row) -> Result<(), Fault> {
        match row.state()? {
            State::Due => self.due.insert((row.target.0, row.at, id), ())?,
            State::Leased => self.leased.insert((row.at, id), ())?,
            State::Parked => None,
            ended => self.ended.insert((row.policy.0, matches!(ended, State::Dead(_)), id), ())?,
        };
        if matches!(row.state()?, State::Due | State::Leased) {
            self.ages.insert((row.since, id), ())?;
        }
        self.count(row.state()?.as_str(), 1).map(drop)
    }

    fn unindex(&mut self, id: i64, row: &Row) -> Result<(), Fault> {
        self.due.remove((row.target.0, row.at, id))?;
        self.leased.remove((row.at, id))?;
        self.ages.remove((row.since, id))?;
        self.ended.remove((row.policy.0, matches!(row.state()?, State::Dead(_)), id))?;
        self.count(row.state()?.as_str(), -1).map(drop)
    }

    fn use_body(&mut self, row: &Row, made: bool) -> Result<(), Fault> {
        let Some(id) = row.body else { return Ok(()) };
        let Some(mut body) = json::<BodyRow>(self.bodies.get(id.as_u128())?)? else { return Ok(()) };
        body.users = if made { body.users + 1 } else { body.users.saturating_sub(1) };
        match body.users {
            0 => drop(self.bodies.remove(id.as_u128())?),
            _ => drop(self.bodies.insert(id.as_u128(), &*serde_json::to_vec(&body)?)?),
        }
        Ok(())
    }

    /// Writes a lane, and puts it where claiming looks for it: nowhere if nothing can be claimed from it.
    pub(super) fn put_lane(&mut self, target: TargetId, mut lane: Lane) -> Result<(), Fault> {
        if let Some((at, turn)) = lane.ready.take() {
            self.ready.remove((at, turn, target.0))?;
        }
        // One that is closed stays closed; a sweep removes it later.
        if lane.rows == 0 && lane.closed_until <= self.now {
            self.lanes.remove(target.0)?;
            return Ok(());
        }
        if lane.in_flight < lane.room()
            && let Some((first, _)) = self.first_due(target)?
        {
            let (served, turn) = lane.served;
            let at = first.max(lane.closed_until).max(lane.next_token).max(served);
            self.ready.insert((at, turn, target.0), ())?;
            lane.ready = Some((at, turn));
        }
        self.lanes.insert(target.0, &*serde_json::to_vec(&lane)?)?;
        Ok(())
    }

    /// When the oldest delivery of a lane is due, and its id.
    pub(super) fn first_due(&self, target: TargetId) -> Result<Option<(i64, i64)>, Fault> {
        let first = self.due.range(all_of(target))?.next().transpose()?;
        Ok(first.map(|(key, _)| (key.value().1, key.value().2)))
    }
}

impl Lane {
    fn count(&mut self, row: &Row, by: impl Fn(u32) -> u32) {
        self.rows = by(self.rows);
        if row.is(State::Due) || row.is(State::Leased) || row.is(State::Parked) {
            self.waiting = by(self.waiting);
        }
        if row.is(State::Leased) {
            self.in_flight = by(self.in_flight);
        }
    }
}

fn all_of(target: TargetId) -> RangeInclusive<(i64, i64, i64)> {
    (target.0, i64::MIN, i64::MIN)..=(target.0, i64::MAX, i64::MAX)
}

pub(super) fn count(meta: &impl ReadableTable<&'static str, i64>, what: &str) -> Result<i64, Fault> {
    Ok(meta.get(what)?.map_or(0, |count| count.value()))
}

/// A row that was found in a table of JSON.
pub(super) fn json<T: DeserializeOwned>(found: Option<AccessGuard<'_, &'static [u8]>>) -> Result<Option<T>, Fault> {
    Ok(found.map(|row| serde_json::from_slice(row.value())).transpose()?)
}
