use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Aimed, Hand, PATIENCE, Project, Seen};
use crate::id::ProjectId;
use crate::store::Hold;

/// Deliveries in hand for each slot: as many as may be sent while the store answers once.
pub(super) const IN_HAND: usize = 9;
/// How long the lanes are left alone that have more for a project than it may have in hand, if it cannot be kept apart.
const BUSY: Duration = Duration::from_millis(250);

/// What may be claimed.
#[derive(Debug, Eq, PartialEq)]
pub(in crate::dispatcher) struct Wanted {
    /// How many.
    pub(in crate::dispatcher) max: usize,
    /// From other projects than these.
    pub(in crate::dispatcher) beside: Vec<ProjectId>,
}

/// Why a delivery is given back, and for how long its lane is left alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::dispatcher) struct Refusal {
    pub(in crate::dispatcher) why: Hold,
    pub(in crate::dispatcher) pause: Duration,
}

/// What may be claimed, and what of it stays.
impl<D: Aimed> Hand<D> {
    /// What may be claimed now; nothing until it is worth it.
    pub(in crate::dispatcher) fn wanted(&self, now: Instant) -> Option<Wanted> {
        let (left, wide) = (self.left(), self.wide.projects());
        if wide.is_empty() {
            let max = self.room();
            return (max > 0).then(|| Wanted { max, beside: Vec::new() });
        }
        if left == 0 {
            return None;
        }
        if self.wide.is_due(now) {
            return Some(Wanted { max: left, beside: wide.to_vec() });
        }
        let drained = self.drained();
        let most = drained.iter().map(|(_, more)| *more).max()?;
        let beside = wide.iter().filter(|project| drained.iter().all(|(drained, _)| *drained != **project));
        Some(Wanted { max: most.max(drained.len()).min(left), beside: beside.copied().collect() })
    }

    /// Whether something is wanted, for those who need not know at once.
    pub(in crate::dispatcher) fn has_room(&mut self) -> bool {
        self.asked = self.asked.wrapping_add(1);
        if !self.wide.is_empty() {
            return self.left() > 0 && !self.drained().is_empty();
        }
        // Finding out takes as long as much waits.
        let quick = self.waiting < self.most() / 8;
        (quick || self.asked.is_multiple_of((self.slots / 8).max(1))) && self.room() > 0
    }

    /// When to look again for what others have than those that have as much as they may; never while there is no room for it.
    pub(in crate::dispatcher) fn next_look(&self) -> Option<Instant> {
        self.wide.next_look().filter(|_| !self.wide.is_empty() && self.left() > 0)
    }

    /// There are new deliveries of these projects.
    pub(in crate::dispatcher) fn told_of(&mut self, projects: impl Iterator<Item = ProjectId>) {
        self.wide.told_of(projects);
    }

    /// So much came of a claim that began at this time.
    pub(in crate::dispatcher) fn claimed(&mut self, wanted: &Wanted, since: Instant, count: usize, now: Instant) {
        let looked_for_others = wanted.beside.len() == self.wide.projects().len();
        if looked_for_others {
            self.wide.looked(since, count > 0, now);
        } else if count < wanted.max {
            self.wide.keep(&wanted.beside);
        }
    }

    /// How much may be in hand, attempts with slots included.
    fn most(&self) -> usize {
        self.slots * IN_HAND
    }

    fn left(&self) -> usize {
        self.most().saturating_sub(self.waiting + self.slots_used())
    }

    /// How many deliveries there is room for; none until it is worth it. Those that may not begin take no more than half of it.
    fn room(&self) -> usize {
        let (most, held) = (self.most(), self.held());
        let taken = self.waiting - held + held.min(most / 2) + self.slots_used();
        let room = most.saturating_sub(taken);
        let worth_it = if held == 0 { most / 2 } else { most / 4 };
        if room >= worth_it.max(1) { room } else { 0 }
    }

    /// Of the wide projects those that have no more in hand than they may have in addition, and how much that is.
    fn drained(&self) -> Vec<(ProjectId, usize)> {
        let of = |project: &ProjectId| (*project, self.room_of(*project));
        let drained = |(project, more): &(ProjectId, usize)| *more >= self.in_hand(*project).max(1);
        self.wide.projects().iter().map(of).filter(drained).collect()
    }

    fn in_hand(&self, project: ProjectId) -> usize {
        self.projects.get(&project).map_or(0, |project| project.in_hand)
    }

    /// How much more of a project may come in hand. What is long has a place, and takes no room.
    fn room_of(&self, project: ProjectId) -> usize {
        let (in_hand, old) = self.projects.get(&project).map_or((0, 0), |of| (of.in_hand, of.share.old));
        let twice_what_is_left = (2 * self.left() + 2).saturating_sub(in_hand.saturating_sub(old)) / 3;
        twice_what_is_left.max(usize::from(in_hand == 0)).min(self.most_of_project.saturating_sub(in_hand))
    }

    /// Takes claimed deliveries, and gives back those that may not begin and that there is no room for. Says after which time it is
    /// worth it to come back: when the attempts that are in its way, of its own target or project, have ended; else in a moment.
    pub(in crate::dispatcher) fn take(
        &mut self,
        ready: Vec<D>,
        beside: &[ProjectId],
        now: Instant,
    ) -> Vec<(D, Refusal)> {
        let mut room = (self.most() / 2).saturating_sub(self.held());
        let mut of_projects = self.held_of_projects();
        let mut refused = Vec::new();
        for ready in ready {
            let project = ready.project();
            let stranger = Seen::new(project);
            let seen = self.targets.get(&ready.target()).unwrap_or(&stranger);
            let held = of_projects.entry(project).or_default();
            if self.room_of(project) == 0 {
                let refusal = self.too_wide(project, beside, refused.len());
                refused.push((ready, refusal));
            } else if self.lets(seen) {
                self.wait(ready);
            } else if *held < 2 * room {
                (*held, room) = (*held + 1, room - 1);
                self.wait(ready);
            } else {
                let pause = self.pause(seen, refused.len(), now);
                refused.push((ready, Refusal { why: Hold::Crowded, pause }));
            }
        }
        refused
    }

    /// A project has as much in hand as it may. Its lanes stay open if it is kept apart when more is claimed.
    fn too_wide(&mut self, project: ProjectId, beside: &[ProjectId], others: usize) -> Refusal {
        let apart = self.wide.add(project) && !beside.contains(&project);
        let pause = if apart { Duration::ZERO } else { BUSY * (1 + others / self.slots) as u32 };
        Refusal { why: Hold::ProjectBusy, pause }
    }

    /// After which time it is worth it to come back for one that may not begin, behind so many others. In a crowd that stays, the later
    /// ones come later: all of them every moment would keep the store busy with nothing else.
    fn pause(&self, seen: &Seen<D>, others: usize, now: Instant) -> Duration {
        let stays = self.all.tight.is_some_and(|since| now >= since + 4 * PATIENCE);
        let crowd = if stays { 4 * others / self.slots } else { 0 };
        let moment = PATIENCE * (1 + crowd as u32);
        match seen.slow {
            None if self.lets_own(seen) => moment,
            Some(_) if self.lets_own(seen) && self.lets_doubtful(seen) => moment,
            slow => slow.unwrap_or(Duration::MAX),
        }
    }

    /// Targets for which something waits that may not begin.
    fn held_back(&self) -> impl Iterator<Item = &Seen<D>> {
        let of = |project: &Project| !self.all.is_idle() || !project.share.is_idle();
        let waiting =
            self.turns.iter().filter_map(|project| self.projects.get(project)).filter(move |project| of(project));
        let targets = waiting.flat_map(|project| &project.turns).filter_map(|target| self.targets.get(target));
        targets.filter(|seen| !self.lets(seen))
    }

    /// How many of those that wait may not begin.
    fn held(&self) -> usize {
        self.held_back().map(|seen| seen.waiting.len()).sum()
    }

    fn held_of_projects(&self) -> HashMap<ProjectId, usize> {
        let mut of_projects = HashMap::new();
        for seen in self.held_back() {
            *of_projects.entry(seen.project).or_default() += seen.waiting.len();
        }
        of_projects
    }
}
