use std::collections::HashSet;
use std::time::Duration;

use super::state::{Row, State};
use crate::delivery::{DeadReason, Delivery, State as Stands};
use crate::id::{DeliveryId, TargetId};
use crate::store::{Change, Changed, ClosedLane, Detail, Filter, LaneLimits, Page, Retention, Status, Swept};

/// Closed lanes and set-aside events shown at most.
const SHOWN: usize = 100;

impl State {
    pub(super) fn list(&self, which: &Filter, page: Page) -> Vec<Delivery> {
        self.selected(which, page).map(|(_, delivery)| delivery).take(page.limit).collect()
    }

    pub(super) fn detail(&self, id: DeliveryId) -> Option<Detail> {
        let row = self.deliveries.get(&id.0)?;
        let body = row.body.as_deref().cloned();
        Some(Detail::new(self.shown(id.0, row), body, row.history.clone()))
    }

    /// Newest first.
    fn selected<'a>(&'a self, which: &'a Filter, page: Page) -> impl Iterator<Item = (i64, Delivery)> + 'a {
        let end = page.after.unwrap_or(i64::MAX);
        let (first, last) = which.id.map_or((i64::MIN, end), |id| (id.0, end.min(id.0.saturating_add(1))));
        let range = if first < last { first..last } else { 0..0 };
        let shown = self.deliveries.range(range).rev().map(|(id, row)| (*id, self.shown(*id, row)));
        shown.filter(|(_, delivery)| which.selects(delivery))
    }

    fn shown(&self, id: i64, row: &Row) -> Delivery {
        Delivery {
            id: DeliveryId(id),
            event_id: row.event_id,
            event_type: row.event_type,
            project_id: row.project_id,
            policy_id: row.policy_id,
            target_id: row.target_id,
            target_type: row.target_type,
            state: row.state,
            attempts: row.attempts,
            created_at: row.created_at,
            updated_at: row.updated_at,
            due_in: (row.state == Stands::Due).then(|| row.due.saturating_sub(self.now)),
            detail: row.detail.as_deref().map(ToOwned::to_owned),
        }
    }

    pub(super) fn change(&mut self, which: &Filter, to: Change, page: Page) -> Changed {
        if to == Change::OpenLanes {
            return self.open_lanes(which);
        }
        let selected: Vec<i64> = self.selected(which, page).map(|(id, _)| id).take(page.limit).collect();
        let next = selected.last().copied().filter(|_| selected.len() == page.limit);
        let count = selected.into_iter().filter(|id| self.change_one(*id, to)).count();
        Changed::new(count as u64, next)
    }

    fn open_lanes(&mut self, which: &Filter) -> Changed {
        let of = |(id, lane): &(&TargetId, &super::claiming::Lane)| {
            lane.closed.is_some()
                && which.target_id.is_none_or(|target| target == **id)
                && which.policy_id.is_none_or(|policy| policy == lane.policy_id)
                && which.project_id.is_none_or(|project| project == lane.project_id)
        };
        let closed: Vec<TargetId> = self.lanes.by_target.iter().filter(of).map(|(id, _)| *id).collect();
        for id in &closed {
            self.lanes.reopen(*id, self.now);
        }
        Changed::new(closed.len() as u64, None)
    }

    /// Says whether the change applied.
    fn change_one(&mut self, id: i64, to: Change) -> bool {
        let Some(row) = self.deliveries.get_mut(&id) else { return false };
        let (state, target) = (row.state, row.target_id);
        let waits = !state.is_final();
        match to {
            Change::Redeliver if row.body.is_some() && (state.is_final() || state == Stands::Parked) => {
                self.redeliver(id);
            }
            Change::Cancel(reason) if waits => self.finish(id, Stands::Cancelled(reason), None),
            Change::Park if matches!(state, Stands::Due | Stands::Leased) => {
                self.unlease(id, false);
                if let Some(row) = self.deliveries.get_mut(&id) {
                    row.state = Stands::Parked;
                }
            }
            Change::Unpark if state == Stands::Parked => {
                let now = self.now;
                row.state = Stands::Due;
                row.due = now;
                self.lanes.due(target, now, id, now);
            }
            Change::Forget => {
                if waits {
                    self.unlease(id, true);
                    self.waiting = self.waiting.saturating_sub(1);
                }
                self.drop_row(id);
            }
            _ => return false,
        }
        true
    }

    /// The lane may be gone since: it is opened again with the limits that it would get by default.
    fn redeliver(&mut self, id: i64) {
        let (now, wall) = (self.now, self.wall);
        let Some(row) = self.deliveries.get_mut(&id) else { return };
        let was_final = row.state.is_final();
        let dead = matches!(row.state, Stands::Dead(_));
        row.state = Stands::Due;
        row.updated_at = wall;
        row.spent = row.attempts;
        row.losses = 0;
        row.since = now;
        row.due = now;
        row.detail = None;
        let (target, policy, project) = (row.target_id, row.policy_id, row.project_id);
        if was_final {
            self.waiting += 1;
            if let Some(ids) = self.finished.get_mut(&(policy, dead)) {
                ids.remove(&id);
            }
            if !self.lanes.by_target.contains_key(&target) {
                self.lanes.open(target, policy, project, LaneLimits::new(u32::MAX, 4));
            }
            self.lanes.wait(target);
        }
        self.lanes.due(target, now, id, now);
    }

    fn drop_row(&mut self, id: i64) {
        if let Some(row) = self.deliveries.remove(&id) {
            let dead = matches!(row.state, Stands::Dead(_));
            if let Some(ids) = self.finished.get_mut(&(row.policy_id, dead)) {
                ids.remove(&id);
            }
        }
    }

    pub(super) fn sweep(&mut self, keep: &Retention, max: usize) -> Swept {
        self.keep = keep.clone();
        let now = self.now;
        let old = |row: &Row| now.saturating_sub(row.since) > keep.max_age;
        let waits = |row: &Row| matches!(row.state, Stands::Due | Stands::Leased);
        let expired: Vec<i64> = self
            .deliveries
            .iter()
            .filter(|(_, row)| row.state == Stands::Due && waits(row) && old(row))
            .map(|(id, _)| *id)
            .take(max)
            .collect();
        for id in &expired {
            self.finish(*id, Stands::Dead(DeadReason::Expired), None);
        }
        let long_dead = |row: &Row| {
            matches!(row.state, Stands::Dead(_))
                && self.wall.signed_duration_since(row.updated_at).to_std().is_ok_and(|age| age > keep.dead)
        };
        let mut gone: HashSet<i64> =
            self.deliveries.iter().filter(|(_, row)| long_dead(row)).map(|(id, _)| *id).take(max).collect();
        for ((_, dead), ids) in &self.finished {
            let most = if *dead { keep.dead_per_policy } else { keep.finished_per_policy };
            gone.extend(ids.iter().take(ids.len().saturating_sub(most)).copied());
        }
        for id in &gone {
            self.drop_row(*id);
        }
        let known = self.event_ids.len();
        self.event_ids.retain(|_, fanned_out| fanned_out.is_none_or(|at| now.saturating_sub(at) <= keep.event_ids));
        let removed = gone.len() + known - self.event_ids.len();
        Swept::new(removed as u64, expired.len() as u64, expired.len() >= max || gone.len() >= max)
    }

    pub(super) fn status(&self) -> Status {
        let of = |wanted: fn(Stands) -> bool| self.deliveries.values().filter(move |row| wanted(row.state));
        let waits = |state| matches!(state, Stands::Due | Stands::Leased);
        let age = |since: Duration| self.now.saturating_sub(since);
        let closed = self.lanes.by_target.iter().filter_map(|(id, lane)| {
            let (until, why) = lane.closed.filter(|(until, _)| *until > self.now)?;
            Some(ClosedLane::new(*id, lane.policy_id, until.saturating_sub(self.now), why))
        });
        Status {
            outbox: self.outbox.len() as u64,
            oldest_event: self.outbox.values().map(|row| age(row.since)).max(),
            waiting: of(waits).count() as u64,
            oldest_waiting: of(waits).map(|row| age(row.since)).max(),
            parked: of(|state| state == Stands::Parked).count() as u64,
            dead: of(|state| matches!(state, Stands::Dead(_))).count() as u64,
            closed_lanes: closed.take(SHOWN).collect(),
            set_aside: self.set_aside.iter().take(SHOWN).cloned().collect(),
        }
    }
}
