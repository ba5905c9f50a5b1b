use std::time::Duration;

use super::lane::Lane;
use super::state::State;
use crate::delivery::{Delivery, State as Stands};
use crate::id::{PolicyId, TargetId};
use crate::store::{Filter, Hour, LaneState, Page};

impl State {
    pub(super) fn lane_states(&self, which: &Filter) -> Vec<LaneState> {
        let state = |id: TargetId| Some(self.lane_state(id, self.lanes.get(id)?));
        self.lanes.selected(which).into_iter().filter_map(state).collect()
    }

    fn lane_state(&self, id: TargetId, lane: &Lane) -> LaneState {
        let mut state = LaneState::new(id, lane.policy_id);
        let waiting = lane.due() + lane.in_flight as usize;
        state.waiting = waiting as u64;
        state.parked = (lane.waiting() - waiting) as u64;
        state.oldest_waiting = self.oldest_in(lane);
        state.failures = lane.failures();
        match lane.closed.filter(|(until, _)| *until > self.now) {
            Some((until, why)) => state.closed(why, until.since(self.now)),
            None => state,
        }
    }

    /// The longest of what is due first and of what is leased.
    fn oldest_in(&self, lane: &Lane) -> Option<Duration> {
        let leased = lane.held().filter(|_| lane.in_flight > 0);
        let rows = lane.first_due().chain(leased).filter_map(|id| self.rows.get(id));
        rows.filter(|row| row.state != Stands::Parked).map(|row| self.now.since(row.since)).max()
    }

    pub(super) fn hours(&self, which: &Filter) -> Vec<Hour> {
        let oldest = Hour::oldest_kept(self.wall);
        let lanes = self.lanes.selected(which).into_iter().filter_map(|id| self.lanes.get(id));
        let mut hours: Vec<Hour> = lanes.flat_map(|lane| &lane.hours).copied().collect();
        hours.retain(|hour| hour.begins_at >= oldest);
        hours.sort_unstable_by_key(|hour| (hour.target_id, hour.begins_at));
        hours
    }

    pub(super) fn forget_hours(&mut self, which: &Filter) {
        for id in self.lanes.selected(which) {
            self.lanes.change(id, self.now, Lane::forget_hours);
        }
    }

    pub(super) fn newest(&self, policies: &[PolicyId]) -> Vec<Delivery> {
        policies.iter().flat_map(|policy| self.list(&Filter::policy(*policy), Page::first(1))).collect()
    }
}
