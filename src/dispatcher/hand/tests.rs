//! Whatever comes, the counts agree, the bounds hold, and nothing that waits is left behind.

use proptest::prelude::*;

use super::*;

const MOST: usize = 12;

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A delivery for a target of one of three projects is claimed.
    Claimed(i64),
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
        4 => (0..12i64).prop_map(Step::Claimed),
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
        Self { hand: Hand::new(MOST), turns: Vec::new(), now: Instant::now(), taken: 0, begun: 0 }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Claimed(_) if self.hand.room() == 0 => {}
            Step::Claimed(target) => {
                let refused = self.hand.take(vec![Ready(target)], self.now);
                self.taken += 1 - refused.len();
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
        assert_eq!(hand.projects.values().map(|share| share.doubtful).sum::<usize>(), hand.all.doubtful);
        assert_eq!(hand.projects.values().map(|share| share.old).sum::<usize>(), long);
        assert_eq!(hand.waiting, self.taken - self.begun);
        assert_eq!(hand.waiting, hand.targets.values().map(|seen| seen.waiting.len()).sum::<usize>());
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
    let (mut hand, begun) = (Hand::new(16), Instant::now());
    for project in 0..8 + 4 {
        hand.take(vec![Own(project)], begun);
        let (_, mut turn) = hand.begin().unwrap();
        if project < 8 {
            hand.turned_long(&mut turn, begun);
        }
    }
    let more = hand.take((100..300).map(Own).collect(), begun + long_for);
    more.into_iter().map(|(_, pause)| pause).collect()
}

#[test]
fn in_a_crowd_that_stays_the_later_ones_come_later() {
    assert!(pauses(Duration::ZERO).iter().all(|pause| *pause == PATIENCE));
    let later = pauses(4 * PATIENCE);
    assert!(later.is_sorted() && later[0] == PATIENCE && *later.last().unwrap() > 20 * PATIENCE, "{later:?}");
}
