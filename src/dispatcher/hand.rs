use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::id::{ProjectId, TargetId};

/// An attempt that is under way for longer is a long one.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// Deliveries in hand for each slot: as many as may be sent while the store answers once.
const IN_HAND: usize = 6;
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
#[derive(Debug)]
pub(super) struct Hand<D> {
    slots: usize,
    places: usize,
    targets: HashMap<TargetId, Seen<D>>,
    /// Targets for which something waits, each once, in the order of their turns.
    turns: VecDeque<TargetId>,
    waiting: usize,
    all: Share,
    /// Those projects that have attempts of these kinds.
    projects: HashMap<ProjectId, Share>,
    young: usize,
    /// When this many targets are remembered, some are forgotten.
    forget_at: usize,
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

/// The part of all attempts, or of those of a project, that others may have to wait for.
#[derive(Debug, Default)]
struct Share {
    /// Long ones.
    old: usize,
    /// Young ones at doubtful targets.
    doubtful: usize,
    /// Young ones that began while it was tight, at targets which had not answered since.
    unproven: usize,
    /// Since when it is tight.
    tight: Option<Instant>,
    /// Since when it could be over.
    eased: Option<Instant>,
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

impl Share {
    fn begins(&mut self, doubtful: bool, unproven: bool) {
        self.doubtful += usize::from(doubtful);
        self.unproven += usize::from(unproven);
    }

    /// A young one is over, or not young any longer.
    fn is_over(&mut self, turn: &Turn) {
        self.doubtful -= usize::from(turn.doubtful);
        self.unproven -= usize::from(turn.unproven);
    }

    /// How many attempts have places, or are likely to take them.
    fn taken(&self) -> usize {
        self.old + self.doubtful
    }

    /// It is tight from when all places are taken until they have not been for a while: those that waited are likely to take them
    /// again.
    fn settle(&mut self, most: usize, now: Instant) {
        if self.old >= most {
            self.tight.get_or_insert(now);
            self.eased = None;
        } else if self.tight.is_some() {
            let eased = *self.eased.get_or_insert(now);
            if now >= eased + 2 * PATIENCE {
                (self.tight, self.eased) = (None, None);
            }
        }
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

impl<D: Aimed> Hand<D> {
    /// Of the attempts that may be under way at once, half are slots and half places for long ones.
    pub(super) fn new(max_in_flight: usize) -> Self {
        let most = max_in_flight.max(1);
        Self {
            slots: most.div_ceil(2),
            places: most / 2,
            targets: HashMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
            all: Share::default(),
            projects: HashMap::new(),
            young: 0,
            forget_at: REMEMBERED,
        }
    }

    /// How many deliveries may be claimed now; none until it is worth it. Those that may not begin take no more than half of the room.
    pub(super) fn room(&self) -> usize {
        let all = self.slots * IN_HAND;
        let held = self.held();
        let taken = self.waiting - held + held.min(all / 2) + self.slots_used();
        let room = all.saturating_sub(taken);
        let worth_it = if held == 0 { all / 2 } else { all / 4 };
        if room >= worth_it.max(1) { room } else { 0 }
    }

    /// Takes claimed deliveries, and gives back those that may not begin and that there is no room for. Says after which time it is
    /// worth it to come back: when the attempts that are in its way, of its own target or project, have ended; else in a moment.
    pub(super) fn take(&mut self, ready: Vec<D>, now: Instant) -> Vec<(D, Duration)> {
        let mut room = (self.slots * IN_HAND / 2).saturating_sub(self.held());
        let mut of_projects = self.held_of_projects();
        let mut refused = Vec::new();
        for ready in ready {
            let stranger = Seen::new(ready.project());
            let seen = self.targets.get(&ready.target()).unwrap_or(&stranger);
            let held = of_projects.entry(seen.project).or_default();
            if self.lets(seen) {
                self.wait(ready);
            } else if *held < 2 * room {
                (*held, room) = (*held + 1, room - 1);
                self.wait(ready);
            } else {
                let pause = self.pause(seen, refused.len(), now);
                refused.push((ready, pause));
            }
        }
        refused
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

    fn wait(&mut self, ready: D) {
        let target = ready.target();
        let seen = self.targets.entry(target).or_insert_with(|| Seen::new(ready.project()));
        if seen.waiting.is_empty() {
            self.turns.push_back(target);
        }
        seen.waiting.push_back(ready);
        self.waiting += 1;
    }

    /// The next delivery to attempt, if there is a slot for it.
    pub(super) fn begin(&mut self) -> Option<(D, Turn)> {
        if self.slots_used() >= self.slots {
            return None;
        }
        let next = self.turns.iter().position(|target| self.has_turn(*target))?;
        let target = self.turns.remove(next)?;
        let seen = self.targets.get_mut(&target)?;
        let ready = seen.waiting.pop_front()?;
        seen.running += 1;
        if !seen.waiting.is_empty() {
            self.turns.push_back(target);
        }
        let (project, doubtful) = (seen.project, seen.quick.is_none());
        let tight = self.tight(project);
        let unproven = self.targets.get(&target).is_some_and(|seen| !seen.answered_since(tight));
        self.waiting -= 1;
        self.young += 1;
        if doubtful || unproven {
            self.all.begins(doubtful, unproven);
            self.projects.entry(project).or_default().begins(doubtful, unproven);
        }
        Some((ready, Turn { target, project, doubtful, unproven, long: None }))
    }

    /// An attempt is a long one from now on.
    pub(super) fn turned_long(&mut self, turn: &mut Turn, now: Instant) {
        self.no_longer_young(turn);
        turn.long = Some(now);
        self.all.old += 1;
        self.projects.entry(turn.project).or_default().old += 1;
        self.settle(turn.project, now);
        if let Some(seen) = self.targets.get_mut(&turn.target) {
            (seen.quick, seen.slow) = (None, seen.slow.or(Some(Duration::MAX)));
        }
    }

    /// A turn is over. `attempted` says whether anything was sent: if not, it tells nothing of the target.
    pub(super) fn ended(&mut self, turn: &Turn, attempted: bool, now: Instant) {
        if turn.is_long() {
            self.all.old -= 1;
            self.of(turn.project, |project| project.old -= 1);
        } else {
            self.no_longer_young(turn);
        }
        self.settle(turn.project, now);
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
        if turn.doubtful || turn.unproven {
            self.all.is_over(turn);
            self.of(turn.project, |project| project.is_over(turn));
        }
    }

    fn settle(&mut self, project: ProjectId, now: Instant) {
        let most_of_one = self.most_of_one();
        self.all.settle(self.places.max(1), now);
        self.of(project, |project| project.settle(most_of_one, now));
    }

    fn of(&mut self, project: ProjectId, change: impl FnOnce(&mut Share)) {
        let Some(share) = self.projects.get_mut(&project) else { return };
        change(share);
        if share.taken() + share.unproven == 0 && share.tight.is_none() {
            self.projects.remove(&project);
        }
    }

    /// Gives up all that waits.
    pub(super) fn empty(&mut self) -> Vec<D> {
        self.turns.clear();
        self.waiting = 0;
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
        self.all.tight.max(self.projects.get(&project).and_then(|share| share.tight))
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
        self.projects.get(&seen.project).is_none_or(|share| {
            seen.answered_since(share.tight) || share.old + share.unproven < most && seen.running == 0
        })
    }

    /// Whether there is a place for it, if it is likely to need one.
    fn lets_doubtful(&self, seen: &Seen<D>) -> bool {
        let left = self.most_of_doubtful().saturating_sub(self.all.taken());
        let most = if seen.slow.is_none() { (2 * left).max(1) } else { 2 * left };
        seen.quick.is_some() || self.projects.get(&seen.project).map_or(0, Share::taken) < most
    }

    /// Targets for which something waits that may not begin.
    fn held_back(&self) -> impl Iterator<Item = &Seen<D>> {
        let none = self.all.taken() == 0 && self.projects.is_empty();
        let waiting = self.turns.iter().take_while(move |_| !none).filter_map(|target| self.targets.get(target));
        waiting.filter(|seen| !self.lets(seen))
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

    /// A target that is forgotten is not known to be quick, which matters only while it is tight.
    fn forget(&mut self, now: Instant) {
        if self.targets.len() < self.forget_at {
            return;
        }
        let lately = |at: Instant| now.duration_since(at) < A_WHILE;
        self.targets.retain(|_, seen| !seen.waiting.is_empty() || seen.running > 0 || seen.quick.is_some_and(lately));
        self.forget_at = REMEMBERED.max(2 * self.targets.len());
    }
}

#[cfg(test)]
mod tests;
