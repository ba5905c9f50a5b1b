use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::lane::{Lane, Place};
use super::moment::Moment;
use super::row::Row;
use super::rows::Rows;
use crate::delivery::Attempt;
use crate::id::{PolicyId, ProjectId, TargetId};
use crate::store::{Filter, Hold, LaneLimits};

/// The lanes of all targets.
///
/// A lane is in at most one of two places: among the `ready` ones, which take turns, or among the `timed` ones, by when they
/// become ready. A lane without due deliveries, or without room for one more in flight, is in neither: claiming never looks
/// at it. A lane of which nothing but a closed gate, or its hours, is left is timed too, and goes when the gate opens
/// and the hours are old.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    by_target: HashMap<TargetId, Lane>,
    by_policy: HashMap<PolicyId, Vec<TargetId>>,
    ready: BTreeMap<u64, TargetId>,
    timed: BTreeSet<(Moment, TargetId)>,
    last_turn: u64,
}

impl Lanes {
    pub(super) fn get(&self, id: TargetId) -> Option<&Lane> {
        self.by_target.get(&id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (TargetId, &Lane)> {
        self.by_target.iter().map(|(id, lane)| (*id, lane))
    }

    /// The lanes of the selected target, policy or project, or all of them.
    pub(super) fn selected(&self, which: &Filter) -> Vec<TargetId> {
        let fits = |id: &TargetId| {
            which.target_id.is_none_or(|target| target == *id)
                && self.get(*id).is_some_and(|lane| {
                    which.policy_id.is_none_or(|policy| policy == lane.policy_id)
                        && which.project_id.is_none_or(|project| project == lane.project_id)
                })
        };
        match (which.target_id, which.policy_id) {
            (Some(target), _) => [target].into_iter().filter(fits).collect(),
            (_, Some(policy)) => self.by_policy.get(&policy).into_iter().flatten().copied().filter(fits).collect(),
            _ => self.by_target.keys().copied().filter(fits).collect(),
        }
    }

    /// Opens the lane if it is new, and sets its limits.
    pub(super) fn open(&mut self, id: TargetId, policy: PolicyId, project: ProjectId, limits: LaneLimits) -> &Lane {
        let lane = self.by_target.entry(id).or_insert_with(|| {
            self.by_policy.entry(policy).or_default().push(id);
            Lane::new(policy, project, limits)
        });
        lane.limits = limits;
        lane
    }

    /// Changes a lane, and puts it where it belongs then.
    pub(super) fn change(&mut self, id: TargetId, now: Moment, change: impl FnOnce(&mut Lane)) {
        if let Some(lane) = self.by_target.get_mut(&id) {
            change(lane);
            self.place(id, now);
        }
    }

    /// What waits in the lane has become heavier or lighter.
    pub(super) fn weigh(&mut self, id: TargetId, bytes: usize, more: bool) {
        if let Some(lane) = self.by_target.get_mut(&id) {
            lane.bytes = if more { lane.bytes.saturating_add(bytes) } else { lane.bytes.saturating_sub(bytes) };
        }
    }

    /// Counts an attempt, which moves the lane nowhere.
    pub(super) fn tried(&mut self, id: TargetId, attempt: &Attempt, now: Moment, wall: DateTime<Utc>) {
        if let Some(lane) = self.by_target.get_mut(&id) {
            lane.tried(id, attempt, now, wall);
        }
    }

    pub(super) fn close(&mut self, id: TargetId, time: Duration, why: Hold, now: Moment) {
        let until = now.after(time);
        self.change(id, now, |lane| lane.close(until, why));
    }

    pub(super) fn advance(&mut self, now: Moment) {
        while let Some((_, id)) = self.timed.first().copied().filter(|(at, _)| *at <= now) {
            self.place(id, now);
        }
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn next(&self) -> Option<Moment> {
        self.timed.first().map(|(at, _)| *at)
    }

    /// Takes the oldest due delivery of the lane whose turn it is, of those that come after this turn and are of other projects than
    /// these. Gives the lane's turn with it.
    pub(super) fn take(&mut self, after: u64, beside: &[ProjectId], rows: &Rows, now: Moment) -> Option<(u64, i64)> {
        let mut ready = self.ready.range(after + 1..);
        let (turn, id) = ready.find(|(_, id)| !self.is_of(**id, beside)).map(|(turn, id)| (*turn, *id))?;
        self.ready.remove(&turn);
        let lane = self.by_target.get_mut(&id)?;
        lane.place = Place::Nowhere;
        let taken = lane.take(now, |id| rows.get(id).map_or(now, |row: &Row| row.at));
        self.place(id, now);
        Some((turn, taken?))
    }

    fn is_of(&self, id: TargetId, projects: &[ProjectId]) -> bool {
        !projects.is_empty() && self.get(id).is_some_and(|lane| projects.contains(&lane.project_id))
    }

    /// Puts the lane where it belongs now. A lane that stays ready keeps its turn.
    fn place(&mut self, id: TargetId, now: Moment) {
        let Some(lane) = self.by_target.get_mut(&id) else { return };
        let wanted = if lane.kept == 0 { Some(lane.kept_until()) } else { lane.ready_at() };
        if let (Place::Ready(_), Some(at)) = (lane.place, wanted)
            && at <= now
            && lane.kept > 0
        {
            return;
        }
        match lane.place {
            Place::Nowhere => {}
            Place::Ready(turn) => _ = self.ready.remove(&turn),
            Place::Timed(at) => _ = self.timed.remove(&(at, id)),
        }
        lane.place = match wanted {
            None => Place::Nowhere,
            Some(at) if at > now => {
                self.timed.insert((at, id));
                Place::Timed(at)
            }
            Some(_) if lane.kept == 0 => return self.remove(id),
            Some(_) => {
                self.last_turn += 1;
                self.ready.insert(self.last_turn, id);
                Place::Ready(self.last_turn)
            }
        };
    }

    fn remove(&mut self, id: TargetId) {
        let Some(lane) = self.by_target.remove(&id) else { return };
        if let Some(lanes) = self.by_policy.get_mut(&lane.policy_id) {
            lanes.retain(|lane| *lane != id);
            if lanes.is_empty() {
                self.by_policy.remove(&lane.policy_id);
            }
        }
    }
}
