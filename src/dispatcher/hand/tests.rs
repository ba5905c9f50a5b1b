//! Whatever comes, the counts agree, the bounds hold, and nothing that waits is left behind.

use proptest::prelude::*;

use super::room::IN_HAND;
use super::*;
use crate::store::Hold;

const MOST: usize = 12;
/// Deliveries of one project that may be in hand.
const OF_PROJECT: usize = 30;

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many deliveries are claimed, if there is room: this one for a target of one of three projects, and those after it.
    Claimed(i64, usize),
    /// One that waits begins.
    Begins,
    /// The nth attempt turns long, if it is not.
    TurnsLong(usize),
    /// The nth attempt ends.
    Ends(usize),
    /// Time goes by.
    Passes(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..12i64, 1..20usize).prop_map(|(target, most)| Step::Claimed(target, most)),
        4 => Just(Step::Begins),
        2 => (0..MOST).prop_map(Step::TurnsLong),
        3 => (0..MOST).prop_map(Step::Ends),
        1 => (0..2000u64).prop_map(Step::Passes),
    ];
    proptest::collection::vec(step, 0..300)
}

/// Names its target.
struct Ready(i64);

impl Aimed for Ready {
    fn target(&self) -> TargetId {
        TargetId(self.0)
    }

    fn project(&self) -> ProjectId {
        ProjectId(self.0 % 3)
    }
}

/// A hand, the attempts under way, and how many deliveries went in and came out.
struct Played {
    hand: Hand<Ready>,
    turns: Vec<Turn>,
    now: Instant,
    taken: usize,
    begun: usize,
}

impl Played {
    fn new() -> Self {
        Self { hand: Hand::new(MOST, OF_PROJECT), turns: Vec::new(), now: Instant::now(), taken: 0, begun: 0 }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Claimed(target, most) => {
                let Some(wanted) = self.hand.wanted(self.now) else { return };
                let others = |ready: &Ready| !wanted.beside.contains(&ready.project());
                let claimed: Vec<_> = (target..target + most as i64).map(|n| Ready(n % 12)).filter(others).collect();
                let claimed: Vec<_> = claimed.into_iter().take(wanted.max).collect();
                let count = claimed.len();
                self.hand.claimed(&wanted, self.now, count, self.now);
                self.taken += count - self.hand.take(claimed, &wanted.beside, self.now).len();
            }
            Step::Begins => {
                if let Some((_, turn)) = self.hand.begin() {
                    self.turns.push(turn);
                    self.begun += 1;
                }
            }
            Step::TurnsLong(n) => {
                if let Some(turn) = self.turns.get_mut(n).filter(|turn| !turn.is_long()) {
                    self.hand.turned_long(turn, self.now);
                }
            }
            Step::Ends(n) if n < self.turns.len() => {
                let turn = self.turns.swap_remove(n);
                self.hand.ended(&turn, true, self.now);
            }
            Step::Ends(_) => {}
            Step::Passes(millis) => self.now += Duration::from_millis(millis),
        }
    }

    fn check(&self) {
        let hand = &self.hand;
        let long = self.turns.iter().filter(|turn| turn.is_long()).count();
        assert_eq!((hand.young, hand.all.old), (self.turns.len() - long, long));
        assert_eq!(hand.all.doubtful, self.turns.iter().filter(|turn| turn.doubtful && !turn.is_long()).count());
        assert_eq!(hand.all.unproven, self.turns.iter().filter(|turn| turn.unproven && !turn.is_long()).count());
        assert_eq!(hand.projects.values().map(|of| of.share.doubtful).sum::<usize>(), hand.all.doubtful);
        assert_eq!(hand.projects.values().map(|of| of.share.old).sum::<usize>(), long);
        assert_eq!(hand.waiting, self.taken - self.begun);
        assert_eq!(hand.waiting, hand.targets.values().map(|seen| seen.waiting.len()).sum::<usize>());
        let in_hand = hand.projects.values().map(|of| of.in_hand);
        assert_eq!(in_hand.clone().sum::<usize>(), hand.waiting + self.turns.len());
        assert!(in_hand.max().unwrap_or_default() <= OF_PROJECT);
        assert!(self.turns.len() <= MOST && hand.waiting <= hand.slots * (IN_HAND + 1) + IN_HAND * hand.slots / 2);
    }
}

proptest! {
    #[test]
    fn the_counts_agree_and_nothing_is_left_behind(steps in steps()) {
        let mut played = Played::new();
        for step in steps {
            played.step(step);
            played.check();
        }
        // Everybody answers quickly from now on.
        let waiting = played.hand.waiting;
        for _ in 0..=waiting + MOST {
            while !played.turns.is_empty() {
                played.step(Step::Ends(0));
            }
            played.step(Step::Begins);
            played.step(Step::Passes(1));
            played.check();
        }
        prop_assert_eq!((played.taken, played.turns.len()), (played.begun, 0));
    }
}

/// Targets of a project, quick ones.
struct Of(i64, i64);

impl Aimed for Of {
    fn target(&self) -> TargetId {
        TargetId(1000 * self.0 + self.1)
    }

    fn project(&self) -> ProjectId {
        ProjectId(self.0)
    }
}

fn many(project: i64, count: usize) -> Vec<Of> {
    (0..count as i64).map(|n| Of(project, n)).collect()
}

#[test]
fn a_project_with_many_targets_leaves_room_and_turns_to_others() {
    let (mut hand, now) = (Hand::new(64, usize::MAX), Instant::now());
    let most = 32 * IN_HAND;
    assert_eq!(hand.wanted(now), Some(Wanted { max: most, beside: vec![] }));
    let refused = hand.take(many(1, most), &[], now);
    assert_eq!(refused.len(), most / 3);
    // It is kept apart, so its lanes may stay open.
    assert!(refused.iter().all(|(_, refusal)| *refusal == Refusal { why: Hold::ProjectBusy, pause: Duration::ZERO }));
    let wanted = hand.wanted(now).unwrap();
    assert_eq!(wanted, Wanted { max: most / 3, beside: vec![ProjectId(1)] });
    assert!(hand.take(many(2, 10), &wanted.beside, now).is_empty());
    hand.claimed(&wanted, now, 10, now);
    let turns: Vec<_> = std::iter::from_fn(|| hand.begin()).take(16).collect();
    assert_eq!(turns.iter().filter(|(_, turn)| turn.project == ProjectId(2)).count(), 8);
}

#[test]
fn others_are_looked_for_now_and_then_and_when_there_is_news() {
    let (mut hand, now) = (Hand::new(64, usize::MAX), Instant::now());
    hand.take(many(1, 32 * IN_HAND), &[], now);
    let look = hand.wanted(now).unwrap();
    hand.claimed(&look, now, 0, now);
    assert_eq!((hand.wanted(now), hand.next_look()), (None, Some(now + Duration::from_millis(25))));
    let later = hand.next_look().unwrap();
    hand.claimed(&hand.wanted(later).unwrap(), later, 0, later);
    assert_eq!(hand.next_look(), Some(later + Duration::from_millis(50)));
    hand.told_of([ProjectId(1)].into_iter());
    assert_eq!(hand.wanted(later), None);
    hand.told_of([ProjectId(1), ProjectId(2)].into_iter());
    assert_eq!(hand.wanted(later), Some(look));
}

#[test]
fn one_that_has_drained_is_claimed_again_until_it_has_nothing_more() {
    let (mut hand, now) = (Hand::new(128, 20), Instant::now());
    assert_eq!(hand.take(many(1, 30), &[], now).len(), 10);
    let look = hand.wanted(now).unwrap();
    hand.claimed(&look, now, 0, now);
    let mut turns: Vec<_> = std::iter::from_fn(|| hand.begin()).map(|(_, turn)| turn).collect();
    assert_eq!((turns.len(), hand.wanted(now)), (20, None));
    turns.drain(..10).for_each(|turn| hand.ended(&turn, true, now));
    let wanted = hand.wanted(now).unwrap();
    assert_eq!(wanted, Wanted { max: 10, beside: vec![] });
    hand.claimed(&wanted, now, 9, now);
    assert!(hand.take(many(1, 9), &wanted.beside, now).is_empty() && hand.next_look().is_none());
}

/// A store that gives what it was asked to leave has the lanes closed, and the more of them the longer.
#[test]
fn what_comes_all_the_same_is_left_alone_for_a_while() {
    let (mut hand, now) = (Hand::new(64, 20), Instant::now());
    hand.take(many(1, 30), &[], now);
    let look = hand.wanted(now).unwrap();
    let pauses: Vec<_> = hand.take(many(1, 100), &look.beside, now).iter().map(|(_, refusal)| refusal.pause).collect();
    assert!(pauses.len() == 100 && pauses.is_sorted() && pauses[0] > Duration::ZERO && pauses[99] > 2 * pauses[0]);
}

/// A target, and its project.
struct Own(i64);

impl Aimed for Own {
    fn target(&self) -> TargetId {
        TargetId(self.0)
    }

    fn project(&self) -> ProjectId {
        ProjectId(self.0)
    }
}

/// The pauses of those that are given back, of so many targets of as many projects, when all places have been taken for so long, and
/// the half of the slots that is for strangers.
fn pauses(long_for: Duration) -> Vec<Duration> {
    let (mut hand, begun) = (Hand::new(16, usize::MAX), Instant::now());
    for project in 0..8 + 4 {
        hand.take(vec![Own(project)], &[], begun);
        let (_, mut turn) = hand.begin().unwrap();
        if project < 8 {
            hand.turned_long(&mut turn, begun);
        }
    }
    let more = hand.take((100..300).map(Own).collect(), &[], begun + long_for);
    more.into_iter().map(|(_, refusal)| refusal.pause).collect()
}

#[test]
fn in_a_crowd_that_stays_the_later_ones_come_later() {
    assert!(pauses(Duration::ZERO).iter().all(|pause| *pause == PATIENCE));
    let later = pauses(4 * PATIENCE);
    assert!(later.is_sorted() && later[0] == PATIENCE && *later.last().unwrap() > 20 * PATIENCE, "{later:?}");
}
