use std::collections::{BTreeMap, HashMap};

use tokio_postgres::Row;
use uuid::Uuid;

use super::batch::weight;
use super::db::{Db, both, failure, storable};
use super::lanes::{self, Moves};
use super::outbox::{self, Head, Origin};
use super::turns::Turns;
use crate::delivery::DeadReason;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{FanOut, Fenced, Hold, Lease, NewDelivery};

/// A part of one event's deliveries, with the right to write it.
pub(super) type Part = (Lease, FanOut);

/// The rows that a part becomes.
pub(super) fn rows((_, part): &Part) -> usize {
    1 + part.bodies.iter().map(|body| weight(body.bytes.len())).sum::<usize>() + part.deliveries.len()
}

/// Writes parts of several events in one transaction, so that a lane that all of them go to is taken once.
///
/// A server that loses the transaction in a crash has the events in its outbox still, which is what was promised.
pub(super) async fn fan_out(db: &Db<'_>, turns: &Turns, parts: &[Part]) -> Result<Vec<Fenced>> {
    let leases: Vec<Lease> = parts.iter().map(|(lease, _)| *lease).collect();
    let ((), held) = both(db.begin_loosely(), outbox::held(db, &leases)).await?;
    let good: Vec<(&Origin, &Part)> =
        parts.iter().filter_map(|part| held.get(&part.0.key).map(|origin| (origin, part))).collect();
    let set_aside: Vec<_> =
        good.iter().filter_map(|(_, (lease, part))| part.set_aside.as_deref().map(|why| (lease.key, why))).collect();
    let last = |(_, (_, part)): &&(&Origin, &Part)| part.last && part.set_aside.is_none();
    let done: Vec<i64> = good.iter().filter(last).map(|(_, (lease, _))| lease.key).collect();
    let news = news(&good)?;
    let written = both(add_bodies(db, &good), outbox::finish(db, &done, &set_aside));
    let (_, inserted) = both(written, insert(db, &news, &sizes(&good))).await?;
    // Last, as all that send need the lanes.
    let _turn = turns.take().await;
    let rooms = take_lanes(db, &news).await?;
    let moves = admit(db, &inserted, rooms).await?;
    lanes::apply_and_commit(db, &moves, false).await?;
    Ok(parts
        .iter()
        .map(|(lease, _)| if held.contains_key(&lease.key) { Fenced::Done } else { Fenced::Stale })
        .collect())
}

async fn add_bodies(db: &Db<'_>, parts: &[(&Origin, &Part)]) -> Result<()> {
    // In the order of their ids, so that two transactions cannot wait for each other.
    let bodies: BTreeMap<Uuid, _> =
        parts.iter().flat_map(|(_, (_, part))| &part.bodies).map(|body| (body.id, body)).collect();
    if bodies.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = bodies.keys().copied().collect();
    let formats: Vec<&str> = bodies.values().map(|body| &*body.format).collect();
    let types: Vec<&str> = bodies.values().map(|body| &*body.content_type).collect();
    let bytes: Vec<&[u8]> = bodies.values().map(|body| &*body.bytes).collect();
    db.execute(
        "INSERT INTO {s}.bodies (id, format, content_type, bytes)
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[]) ON CONFLICT DO NOTHING",
        &[&ids, &formats, &types, &bytes],
    )
    .await
    .map(|_| ())
}

/// How large the bodies are that come with these parts.
fn sizes(parts: &[(&Origin, &Part)]) -> HashMap<Uuid, i32> {
    let bodies = parts.iter().flat_map(|(_, (_, part))| &part.bodies);
    bodies.map(|body| (body.id, i32::try_from(body.bytes.len()).unwrap_or(i32::MAX))).collect()
}

/// The columns of new deliveries.
#[derive(Default)]
struct Columns<'a> {
    event_ids: Vec<Uuid>,
    event_types: Vec<&'static str>,
    projects: Vec<i64>,
    policies: Vec<i64>,
    targets: Vec<i64>,
    target_types: Vec<&'static str>,
    bodies: Vec<Option<Uuid>>,
    /// `None` if the body came with an earlier part.
    sizes: Vec<Option<i32>>,
    states: Vec<i16>,
    reasons: Vec<Option<&'static str>>,
    details: Vec<Option<std::borrow::Cow<'a, str>>>,
}

/// A delivery that is to be, and what it has from its event.
type New<'a> = (Uuid, &'a Head, &'a NewDelivery);

fn news<'a>(parts: &[(&'a Origin, &'a Part)]) -> Result<Vec<New<'a>>> {
    let changed = || Error::new(ErrorKind::Store, "an event in the outbox changed while it was claimed");
    let mut news = Vec::new();
    for (origin, (_, part)) in parts {
        for new in &part.deliveries {
            news.push((origin.event_id, origin.head.as_ref().ok_or_else(changed)?, new));
        }
    }
    Ok(news)
}

/// Makes the lanes that are missing, takes all of them, and says what each may hold.
async fn take_lanes(db: &Db<'_>, news: &[New<'_>]) -> Result<HashMap<i64, Room>> {
    if news.is_empty() {
        return Ok(HashMap::new());
    }
    let lanes: BTreeMap<i64, _> = news.iter().map(|(_, head, new)| (new.target_id.0, (head, new))).collect();
    let targets: Vec<i64> = lanes.keys().copied().collect();
    let policies: Vec<i64> = lanes.values().map(|(_, new)| new.policy_id.0).collect();
    let projects: Vec<i64> = lanes.values().map(|(head, _)| head.project_id.0).collect();
    let waiting: Vec<i64> = lanes.values().map(|(_, new)| i64::from(new.lane.max_waiting)).collect();
    let in_flight: Vec<i64> = lanes.values().map(|(_, new)| i64::from(new.lane.max_in_flight)).collect();
    let micros = |new: &NewDelivery| i64::try_from(new.lane.rate.spacing().as_micros()).unwrap_or(i64::MAX);
    let spacings: Vec<i64> = lanes.values().map(|(_, new)| micros(new)).collect();
    // A lane whose limits are the same is taken all the same: the row is locked.
    let rows = db
        .rows(
            "INSERT INTO {s}.lanes AS l (target_id, policy_id, project_id, max_waiting, max_in_flight, spacing_us)
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
             ON CONFLICT (target_id) DO UPDATE
               SET max_waiting = excluded.max_waiting, max_in_flight = excluded.max_in_flight,
                 spacing_us = excluded.spacing_us
             RETURNING l.target_id, l.max_waiting - l.waiting, coalesce(l.gate_why = $7, false)",
            &[&targets, &policies, &projects, &waiting, &in_flight, &spacings, &Hold::TargetDisabled.as_str()],
        )
        .await?;
    let room = |row: &Row| Ok((row.try_get(0)?, Room { left: row.try_get(1)?, disabled: row.try_get(2)? }));
    rows.iter().map(room).collect::<Result<_, _>>().map_err(failure)
}

/// What a lane takes.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    /// How many more deliveries it may hold.
    left: i64,
    disabled: bool,
}

impl<'a> Columns<'a> {
    fn push(&mut self, (event_id, head, new): &New<'a>, sizes: &HashMap<Uuid, i32>) {
        let (state, reason, detail) = match &new.body {
            Err(why) => (lanes::DEAD, Some(DeadReason::Format), Some(storable(why))),
            Ok(_) if new.parked => (lanes::PARKED, None, None),
            Ok(_) => (lanes::DUE, None, None),
        };
        self.event_ids.push(*event_id);
        self.event_types.push(head.event_type.as_str());
        self.projects.push(head.project_id.0);
        self.policies.push(new.policy_id.0);
        self.targets.push(new.target_id.0);
        self.target_types.push(new.target_type.as_str());
        self.bodies.push(new.body.as_ref().ok().copied());
        self.sizes.push(new.body.as_ref().map_or(Some(0), |id| sizes.get(id).copied()));
        self.states.push(state);
        self.reasons.push(reason.map(DeadReason::as_str));
        self.details.push(detail);
    }
}

/// A delivery that was not there before.
struct Inserted {
    id: i64,
    target: i64,
    state: i16,
    size: i32,
}

async fn insert(db: &Db<'_>, news: &[New<'_>], sizes: &HashMap<Uuid, i32>) -> Result<Vec<Inserted>> {
    if news.is_empty() {
        return Ok(Vec::new());
    }
    let mut columns = Columns::default();
    news.iter().for_each(|new| columns.push(new, sizes));
    let rows = db
        .rows(
            "INSERT INTO {s}.deliveries (event_id, event_type, project_id, policy_id, target_id, target_type, body_id,
               state, reason, detail, size, since, due, created_at, updated_at)
             SELECT n.event_id, n.event_type, n.project_id, n.policy_id, n.target_id, n.target_type, n.body_id, n.state,
               n.reason, n.detail, coalesce(n.size, (SELECT octet_length(bytes) FROM {s}.bodies WHERE id = n.body_id), 0),
               statement_timestamp(), statement_timestamp(), statement_timestamp(), statement_timestamp()
             FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::uuid[],
               $8::smallint[], $9::text[], $10::text[], $11::int[])
               AS n(event_id, event_type, project_id, policy_id, target_id, target_type, body_id, state, reason, detail, size)
             ON CONFLICT DO NOTHING RETURNING id, target_id, state, size",
            &[
                &columns.event_ids,
                &columns.event_types,
                &columns.projects,
                &columns.policies,
                &columns.targets,
                &columns.target_types,
                &columns.bodies,
                &columns.states,
                &columns.reasons,
                &columns.details,
                &columns.sizes,
            ],
        )
        .await?;
    let read = |row: &Row| {
        Ok(Inserted { id: row.try_get(0)?, target: row.try_get(1)?, state: row.try_get(2)?, size: row.try_get(3)? })
    };
    rows.iter().map(read).collect::<Result<_, _>>().map_err(failure)
}

/// Now that the lanes are held: what is beyond their bounds is dead, and what is for a disabled target is parked.
async fn admit(db: &Db<'_>, inserted: &[Inserted], mut rooms: HashMap<i64, Room>) -> Result<Moves> {
    let (mut beyond, mut parked, mut moves) = (Vec::new(), Vec::new(), Moves::default());
    for new in inserted {
        let room = rooms.entry(new.target).or_default();
        let state = match new.state {
            lanes::DEAD => lanes::DEAD,
            _ if room.left <= 0 => {
                beyond.push(new.id);
                lanes::DEAD
            }
            lanes::DUE if room.disabled => {
                parked.push(new.id);
                lanes::PARKED
            }
            state => state,
        };
        room.left -= i64::from(state != lanes::DEAD);
        moves.of(new.target).step(None, Some(state), new.size);
    }
    if !beyond.is_empty() {
        let sql = "UPDATE {s}.deliveries SET state = 4, reason = $2 WHERE id = ANY($1)";
        db.execute(sql, &[&beyond, &DeadReason::LaneFull.as_str()]).await?;
    }
    if !parked.is_empty() {
        db.execute("UPDATE {s}.deliveries SET state = 2 WHERE id = ANY($1)", &[&parked]).await?;
    }
    Ok(moves)
}
