use std::collections::{BTreeSet, HashMap};

use super::lane::Lane;
use super::row::Row;
use super::state::State;
use crate::delivery::{CancelReason, Delivery, State as Stands};
use crate::id::{DeliveryId, PolicyId, ProjectId};
use crate::store::{Change, Changed, ClosedLane, Detail, Filter, Hold, Page, StateKind, Status, Usage};

/// Closed lanes shown at most.
const SHOWN: usize = 100;
/// Deliveries that are sorted without a thought.
const MANY: usize = 1000;

impl State {
    pub(super) fn list(&self, which: &Filter, page: Page) -> Vec<Delivery> {
        self.selected(which, page).skip(page.skip).take(page.limit).collect()
    }

    pub(super) fn count(&self, which: &Filter) -> usize {
        if !which.is_of_lanes() {
            return self.selected(which, Page::first(usize::MAX)).count();
        }
        let lanes = self.lanes.selected(which).into_iter().filter_map(|lane| self.lanes.get(lane));
        match which.state {
            None => lanes.map(|lane| lane.kept as usize).sum(),
            Some(StateKind::Due) => lanes.map(Lane::due).sum(),
            Some(StateKind::Leased) => lanes.map(|lane| lane.in_flight as usize).sum(),
            Some(StateKind::Parked) => lanes.map(|lane| lane.waiting() - lane.due() - lane.in_flight as usize).sum(),
            // Of what has ended not much is kept.
            Some(_) => self.selected(which, Page::first(usize::MAX)).count(),
        }
    }

    pub(super) fn detail(&self, id: DeliveryId) -> Option<Detail> {
        let row = self.rows.get(id.0)?;
        Some(Detail::new(self.shown(id.0, row)?, row.message.body(), row.history().to_vec()))
    }

    /// In the page's order, from behind its `after` on.
    fn selected<'a>(&'a self, which: &'a Filter, page: Page) -> Box<dyn Iterator<Item = Delivery> + 'a> {
        let range = match (page.after, page.oldest_first) {
            (None, _) => 0..i64::MAX,
            (Some(after), true) => after.saturating_add(1)..i64::MAX,
            (Some(after), false) => 0..after,
        };
        let fits = |delivery: &Delivery| which.selects(delivery);
        match self.indexed(which) {
            Some(mut ids) => {
                ids.retain(|id| range.contains(id));
                ids.sort_unstable();
                let found = ids.into_iter().filter_map(|id| self.shown(id, self.rows.get(id)?));
                in_order(found.filter(fits), page.oldest_first)
            }
            None => {
                let found = self.rows.within(range).filter_map(|(id, row)| self.shown(id, row));
                in_order(found.filter(fits), page.oldest_first)
            }
        }
    }

    /// Those that can be selected at all, if something better than looking at every delivery tells.
    fn indexed(&self, which: &Filter) -> Option<Vec<i64>> {
        if let Some(id) = which.id {
            return Some(vec![id.0]);
        }
        if which.target_id.is_some() || which.policy_id.is_some() || which.project_id.is_some() {
            let ids = self.of_lanes(which);
            // Whoever reads or changes a great part of everything, page by page, would sort all of it for each page.
            let most = ids.len() > MANY && ids.len() > (self.waiting + self.ended.len()) / 8;
            return (!most).then_some(ids);
        }
        (which.state == Some(StateKind::Dead)).then(|| self.ended.dead_from(0).collect())
    }

    /// What waits in the selected lanes, and the history of their policies. There is no delivery without a lane.
    fn of_lanes(&self, which: &Filter) -> Vec<i64> {
        let lanes: Vec<_> = self.lanes.selected(which).into_iter().filter_map(|lane| self.lanes.get(lane)).collect();
        let policies: BTreeSet<PolicyId> = lanes.iter().map(|lane| lane.policy_id).collect();
        let waiting = lanes.into_iter().flat_map(|lane| lane.ids());
        waiting.chain(policies.into_iter().flat_map(|policy| self.ended.of(policy))).collect()
    }

    fn shown(&self, id: i64, row: &Row) -> Option<Delivery> {
        let lane = self.lanes.get(row.target)?;
        Some(Delivery {
            id: DeliveryId(id),
            event_id: row.message.event_id,
            event_type: row.message.event_type(),
            project_id: lane.project_id,
            policy_id: lane.policy_id,
            target_id: row.target,
            target_type: row.target_type,
            state: row.state,
            attempts: row.attempts(),
            created_at: row.created,
            updated_at: row.updated(),
            due_in: (row.state == Stands::Due).then(|| row.at.since(self.now)),
            detail: row.detail().map(ToOwned::to_owned),
        })
    }

    pub(super) fn change(&mut self, which: &Filter, to: Change, page: Page) -> Changed {
        if let Change::OpenLanes(why) = to {
            return self.open_lanes(which, why);
        }
        let selected: Vec<i64> = self.selected(which, page).map(|delivery| delivery.id.0).take(page.limit).collect();
        let next = selected.last().copied().filter(|_| selected.len() == page.limit);
        let count = selected.into_iter().filter(|id| self.change_one(*id, to)).count();
        if to == Change::Forget && which.is_whole() && next.is_none() {
            self.forget_hours(which);
        }
        Changed::new(count as u64, next)
    }

    fn open_lanes(&mut self, which: &Filter, why: Hold) -> Changed {
        let mut closed = self.lanes.selected(which);
        closed.retain(|id| self.lanes.get(*id).and_then(|lane| lane.closed).is_some_and(|(_, closed)| closed == why));
        for id in &closed {
            self.lanes.change(*id, self.now, Lane::open);
        }
        Changed::new(closed.len() as u64, None)
    }

    /// Says whether the change applied.
    fn change_one(&mut self, id: i64, to: Change) -> bool {
        let Some(row) = self.rows.get(id) else { return false };
        let (state, sendable) = (row.state, row.message.is_sendable());
        match to {
            Change::Redeliver if sendable && (state.is_final() || state == Stands::Parked) => self.begin_again(id),
            Change::Cancel(reason) if !state.is_final() => self.finish(id, Stands::Cancelled(reason), None),
            Change::Park if matches!(state, Stands::Due | Stands::Leased) => self.park(id),
            Change::Unpark if state == Stands::Parked => self.make_due(id, self.now),
            Change::Forget => self.remove(id),
            _ => return false,
        }
        true
    }

    /// The deliveries of a policy that was deleted are no longer wanted.
    pub(super) fn cancel_policy(&mut self, policy: PolicyId) {
        for id in self.of_lanes(&Filter::policy(policy)) {
            self.change_one(id, Change::Cancel(CancelReason::TargetGone));
        }
        // A gate that nobody will open would outlive its lane for ever.
        self.open_lanes(&Filter::policy(policy), Hold::TargetDisabled);
        self.forget_hours(&Filter::policy(policy));
        self.deleted.push_back((self.now, policy));
    }

    /// The policy and all that is known of it go; at most `max` deliveries at once. Says how many.
    pub(super) fn forget_policy(&mut self, policy: PolicyId, max: usize) -> usize {
        let ids = self.of_lanes(&Filter::policy(policy));
        ids.iter().take(max).for_each(|id| self.remove(*id));
        self.forget_hours(&Filter::policy(policy));
        ids.len().min(max)
    }

    pub(super) fn status(&self) -> Status {
        let closed = self.lanes.all().filter_map(|(id, lane)| {
            let (until, why) = lane.closed.filter(|(until, _)| *until > self.now)?;
            Some(ClosedLane::new(id, lane.policy_id, until.since(self.now), why))
        });
        Status {
            outbox: self.outbox.len() as u64,
            oldest_event: self.outbox.oldest().map(|since| self.now.since(since)),
            waiting: (self.waiting - self.parked) as u64,
            oldest_waiting: self.oldest_waiting(),
            waiting_bytes: Some(self.weights.waiting as u64),
            parked: self.parked as u64,
            dead: self.ended.dead() as u64,
            closed_lanes: closed.take(SHOWN).collect(),
            set_aside: self.outbox.listed(),
        }
    }

    pub(super) fn usage(&self) -> Vec<Usage> {
        let mut projects: HashMap<ProjectId, (usize, usize)> = HashMap::new();
        for (_, lane) in self.lanes.all().filter(|(_, lane)| lane.waiting() > 0) {
            let (waiting, bytes) = projects.entry(lane.project_id).or_default();
            *waiting += lane.waiting();
            *bytes = bytes.saturating_add(lane.bytes);
        }
        let usage = projects.into_iter().map(|(id, (waiting, bytes))| Usage::new(id, waiting as u64, bytes as u64));
        Usage::merge(usage.collect(), self.outbox.usage())
    }

    fn oldest_waiting(&self) -> Option<std::time::Duration> {
        let mut oldest = None;
        for (_, row) in self.rows.waiting().filter(|(_, row)| row.state != Stands::Parked) {
            oldest = oldest.max(Some(self.now.since(row.since)));
            // What comes behind is younger, whether it was redelivered or not.
            if !row.redelivered {
                break;
            }
        }
        oldest
    }
}

fn in_order<'a, T>(
    ascending: impl DoubleEndedIterator<Item = T> + 'a,
    forwards: bool,
) -> Box<dyn Iterator<Item = T> + 'a> {
    if forwards { Box::new(ascending) } else { Box::new(ascending.rev()) }
}
