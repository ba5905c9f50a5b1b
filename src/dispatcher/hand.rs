use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

pub(super) use self::room::{Refusal, Wanted};
use self::share::Share;
use self::wide::Wide;
use crate::id::{ProjectId, TargetId};

mod room;
mod share;
#[cfg(test)]
mod tests;
mod wide;

/// An attempt that is under way for longer is a long one.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// Targets that are remembered before those are forgotten that were not sent to for a while.
const REMEMBERED: usize = 4096;
const A_WHILE: Duration = Duration::from_secs(60);

/// Something that is to be sent.
pub(super) trait Aimed {
    /// Where to.
    fn target(&self) -> TargetId;
    /// Whose it is.
    fn project(&self) -> ProjectId;
}

/// The attempts under way, and the deliveries that are claimed ahead: which of them has the next turn.
///
/// Attempts have slots. One that turns long leaves its slot, for there are as many places for long ones. So receivers that hang
/// take nothing from the others, if these rules hold:
///
/// * A target whose last attempt was long is *slow*, and until it has answered quickly it is *doubtful*, as are those that nothing is
///   known of. Attempts at these begin while a quarter of the places stays free, and while their project has less than twice as
///   many as are left above it: one project comes to half of the places, more share them, and the next finds some. An unknown
///   target may begin if it is the only one of its project.
/// * While all places are taken it is *tight*, and for a project while it has half of them. Then a target that has not answered
///   quickly since has one attempt at a time, and such targets have half of the slots. Those of a tight project have what its long
///   attempts leave of half of the places.
///
/// Projects take turns, and within each its targets. One has less than twice as much in hand as there is room left: alone it comes
/// to two thirds, and the next finds some. What it has more than that is not claimed meanwhile ([`Wide`]).
#[derive(Debug)]
pub(super) struct Hand<D> {
    slots: usize,
    places: usize,
    /// How much one project may have in hand by the settings.
    most_of_project: usize,
    targets: HashMap<TargetId, Seen<D>>,
    /// Those of which something is in hand, or to be remembered.
    projects: HashMap<ProjectId, Project>,
    /// Projects for which something waits, each once, in the order of their turns.
    turns: VecDeque<ProjectId>,
    waiting: usize,
    all: Share,
    wide: Wide,
    young: usize,
    /// How often the next delivery was asked for.
    asked: usize,
    /// When this many targets are remembered, some are forgotten.
    forget_at: usize,
}

/// What is in hand of a project.
#[derive(Debug, Default)]
struct Project {
    share: Share,
    /// How much waits and is under way.
    in_hand: usize,
    /// Its targets for which something waits, each once, in the order of their turns.
    turns: VecDeque<TargetId>,
}

/// What this process knows of a target.
#[derive(Debug)]
struct Seen<D> {
    project: ProjectId,
    waiting: VecDeque<D>,
    running: usize,
    /// When its last attempt ended, if that was not a long one.
    quick: Option<Instant>,
    /// How long its last attempt took, if that was a long one; while its first is under way nobody knows.
    slow: Option<Duration>,
}

/// An attempt under way. It is given back when the attempt has ended.
#[derive(Debug)]
pub(super) struct Turn {
    target: TargetId,
    project: ProjectId,
    doubtful: bool,
    unproven: bool,
    /// Since when it is a long one.
    long: Option<Instant>,
}

impl Turn {
    /// Whether it left its slot.
    pub(super) fn is_long(&self) -> bool {
        self.long.is_some()
    }
}

impl<D> Seen<D> {
    fn new(project: ProjectId) -> Self {
        Self { project, waiting: VecDeque::new(), running: 0, quick: None, slow: None }
    }

    /// What was answered while the long ones began to hang counts too.
    fn answered_since(&self, tight: Option<Instant>) -> bool {
        tight.is_none_or(|tight| self.quick.is_some_and(|quick| quick + PATIENCE >= tight))
    }
}

impl Project {
    /// Whether nothing is in hand, and nothing to be remembered.
    fn is_idle(&self) -> bool {
        self.in_hand == 0 && self.share.is_idle()
    }
}

impl<D: Aimed> Hand<D> {
    /// Of the attempts that may be under way at once, half are slots and half places for long ones.
    pub(super) fn new(max_in_flight: usize, most_of_project: usize) -> Self {
        let most = max_in_flight.max(1);
        Self {
            slots: most.div_ceil(2),
            places: most / 2,
            most_of_project: most_of_project.max(1),
            targets: HashMap::new(),
            projects: HashMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
            all: Share::default(),
            wide: Wide::default(),
            young: 0,
            asked: 0,
            forget_at: REMEMBERED,
        }
    }

    fn wait(&mut self, ready: D) {
        let target = ready.target();
        let seen = self.targets.entry(target).or_insert_with(|| Seen::new(ready.project()));
        let project = self.projects.entry(seen.project).or_default();
        if project.turns.is_empty() {
            self.turns.push_back(seen.project);
        }
        if seen.waiting.is_empty() {
            project.turns.push_back(target);
        }
        seen.waiting.push_back(ready);
        project.in_hand += 1;
        self.waiting += 1;
    }

    /// The next delivery to attempt, if there is a slot for it.
    pub(super) fn begin(&mut self) -> Option<(D, Turn)> {
        if self.slots_used() >= self.slots {
            return None;
        }
        let (turn, next) = self.turns.iter().enumerate().find_map(|(n, project)| Some((n, self.next_of(*project)?)))?;
        let project = self.turns.remove(turn)?;
        let of = self.projects.get_mut(&project)?;
        let target = of.turns.remove(next)?;
        let seen = self.targets.get_mut(&target)?;
        let ready = seen.waiting.pop_front()?;
        seen.running += 1;
        if !seen.waiting.is_empty() {
            of.turns.push_back(target);
        }
        if !of.turns.is_empty() {
            self.turns.push_back(project);
        }
        Some((ready, self.turn(target, project)))
    }

    /// Which of a project's targets is the next that may begin.
    fn next_of(&self, project: ProjectId) -> Option<usize> {
        self.projects.get(&project)?.turns.iter().position(|target| self.has_turn(*target))
    }

    fn turn(&mut self, target: TargetId, project: ProjectId) -> Turn {
        let tight = self.tight(project);
        let seen = self.targets.get(&target);
        let doubtful = seen.is_some_and(|seen| seen.quick.is_none());
        let unproven = seen.is_some_and(|seen| !seen.answered_since(tight));
        self.waiting -= 1;
        self.young += 1;
        self.all.begins(doubtful, unproven);
        self.projects.entry(project).or_default().share.begins(doubtful, unproven);
        Turn { target, project, doubtful, unproven, long: None }
    }

    /// An attempt is a long one from now on.
    pub(super) fn turned_long(&mut self, turn: &mut Turn, now: Instant) {
        self.no_longer_young(turn);
        turn.long = Some(now);
        self.all.old += 1;
        self.projects.entry(turn.project).or_default().share.old += 1;
        self.settle(turn.project, now);
        if let Some(seen) = self.targets.get_mut(&turn.target) {
            (seen.quick, seen.slow) = (None, seen.slow.or(Some(Duration::MAX)));
        }
    }

    /// A turn is over. `attempted` says whether anything was sent: if not, it tells nothing of the target.
    pub(super) fn ended(&mut self, turn: &Turn, attempted: bool, now: Instant) {
        if turn.is_long() {
            self.all.old -= 1;
            self.of(turn.project, |project| project.share.old -= 1);
        } else {
            self.no_longer_young(turn);
        }
        self.settle(turn.project, now);
        self.of(turn.project, |project| project.in_hand -= 1);
        if let Some(seen) = self.targets.get_mut(&turn.target) {
            seen.running -= 1;
            match turn.long {
                Some(since) => seen.slow = Some(now.duration_since(since) + PATIENCE),
                None if attempted => (seen.quick, seen.slow) = (Some(now), None),
                None => {}
            }
        }
        self.forget(now);
    }

    fn no_longer_young(&mut self, turn: &Turn) {
        self.young -= 1;
        self.all.is_over(turn);
        self.of(turn.project, |project| project.share.is_over(turn));
    }

    fn settle(&mut self, project: ProjectId, now: Instant) {
        let most_of_one = self.most_of_one();
        self.all.settle(self.places.max(1), now);
        self.of(project, |project| project.share.settle(most_of_one, now));
    }

    fn of(&mut self, project: ProjectId, change: impl FnOnce(&mut Project)) {
        let Some(of) = self.projects.get_mut(&project) else { return };
        change(of);
        if of.is_idle() {
            self.projects.remove(&project);
        }
    }

    /// Gives up all that waits.
    pub(super) fn empty(&mut self) -> Vec<D> {
        self.turns.clear();
        self.waiting = 0;
        for project in self.projects.values_mut() {
            project.turns.clear();
        }
        for seen in self.targets.values() {
            self.projects.entry(seen.project).or_default().in_hand -= seen.waiting.len();
        }
        self.targets.values_mut().flat_map(|seen| seen.waiting.drain(..)).collect()
    }

    /// Long attempts have no slots, but for those that there are no places for.
    fn slots_used(&self) -> usize {
        self.young + self.stuck()
    }

    fn stuck(&self) -> usize {
        self.all.old.saturating_sub(self.places)
    }

    /// The places that doubtful targets may have.
    fn most_of_doubtful(&self) -> usize {
        (self.places - self.places / 4).max(1)
    }

    /// The places that one project may have.
    fn most_of_one(&self) -> usize {
        (self.places / 2).max(1)
    }

    /// Since when it is tight for a project.
    fn tight(&self, project: ProjectId) -> Option<Instant> {
        self.all.tight.max(self.projects.get(&project).and_then(|of| of.share.tight))
    }

    fn has_turn(&self, target: TargetId) -> bool {
        self.targets.get(&target).is_some_and(|seen| self.lets(seen))
    }

    /// Whether there is no reason but a lack of slots why an attempt may not begin.
    fn lets(&self, seen: &Seen<D>) -> bool {
        let tight = self.all.tight;
        let of_all = tight.is_none() || self.all.unproven < (self.slots.saturating_sub(self.stuck()) / 2).max(1);
        self.lets_own(seen) && self.lets_doubtful(seen) && (seen.answered_since(tight) || of_all && seen.running == 0)
    }

    /// Whether neither the target nor its project is a reason.
    fn lets_own(&self, seen: &Seen<D>) -> bool {
        let most = self.most_of_one();
        self.projects.get(&seen.project).is_none_or(|Project { share, .. }| {
            seen.answered_since(share.tight) || share.old + share.unproven < most && seen.running == 0
        })
    }

    /// Whether there is a place for it, if it is likely to need one.
    fn lets_doubtful(&self, seen: &Seen<D>) -> bool {
        let left = self.most_of_doubtful().saturating_sub(self.all.taken());
        let most = if seen.slow.is_none() { (2 * left).max(1) } else { 2 * left };
        seen.quick.is_some() || self.projects.get(&seen.project).map_or(0, |of| of.share.taken()) < most
    }

    /// A target that is forgotten is not known to be quick, which matters only while it is tight.
    fn forget(&mut self, now: Instant) {
        if self.targets.len() < self.forget_at {
            return;
        }
        let lately = |at: Instant| now.duration_since(at) < A_WHILE;
        self.targets.retain(|_, seen| !seen.waiting.is_empty() || seen.running > 0 || seen.quick.is_some_and(lately));
        let most_of_one = self.most_of_one();
        self.projects.retain(|_, project| {
            project.share.settle(most_of_one, now);
            !project.is_idle()
        });
        self.forget_at = REMEMBERED.max(2 * self.targets.len());
    }
}
