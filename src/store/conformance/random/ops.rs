use crate::delivery::{CancelReason, DeadReason};
use crate::store::{Change, Hold, Next, StateKind};

/// Operations of one seed.
const LENGTH: u64 = 45;
pub(super) const POLICIES: usize = 3;
/// Two to a policy.
pub(super) const TARGETS: usize = 2 * POLICIES;

/// Why senders close lanes themselves. (Stores disable targets.)
const HOLDS: [Hold; 4] = [Hold::SwitchedOff, Hold::Disabled, Hold::RetryAfter, Hold::CircuitOpen];

/// One step. Numbers choose among what there is when its turn comes, so a list stays meaningful when steps are left out.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Append,
    /// To the targets of these bits; the format fails for the first of them.
    FanOut {
        to: u64,
        fails: bool,
    },
    Claim {
        max: usize,
    },
    /// Claims, loses the leases, and claims all.
    Lose {
        max: usize,
    },
    Settle {
        which: usize,
        end: End,
        attempt: bool,
        close: Option<Hold>,
    },
    Change {
        to: Change,
        which: Which,
        limit: usize,
    },
    Sweep,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Delivered,
    Retry,
    RetryLater,
    Release,
    Dead,
    Cancelled,
}

impl End {
    pub(super) fn next(self) -> Next {
        use crate::store::conformance::setup::LONG;
        use std::time::Duration;
        match self {
            Self::Delivered => Next::Delivered,
            Self::Retry => Next::Retry(Duration::ZERO),
            Self::RetryLater => Next::Retry(LONG),
            Self::Release => Next::Release(Duration::ZERO),
            Self::Dead => Next::Dead(DeadReason::Exhausted, None),
            Self::Cancelled => Next::Cancelled(CancelReason::TargetGone),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    All,
    One(usize),
    Policy(usize),
    Target(usize),
    State(StateKind),
}

pub(super) fn operations(seed: u64) -> Vec<Op> {
    let mut random = Random(seed);
    (0..LENGTH).map(|_| operation(&mut random)).collect()
}

fn operation(random: &mut Random) -> Op {
    match random.below(30) {
        0..3 => Op::Append,
        3..10 => Op::FanOut { to: random.below(1 << TARGETS), fails: random.below(10) == 0 },
        10..15 => Op::Claim { max: 1 + random.index(8) },
        15 => Op::Lose { max: 1 + random.index(4) },
        16..24 => Op::Settle {
            which: random.index(1000),
            end: random.one(&[
                End::Delivered,
                End::Delivered,
                End::Retry,
                End::Retry,
                End::RetryLater,
                End::Release,
                End::Dead,
                End::Cancelled,
            ]),
            attempt: random.below(2) == 0,
            close: if random.below(6) == 0 { Some(random.one(&HOLDS)) } else { None },
        },
        24..29 => Op::Change { to: change(random), which: which(random), limit: 1 + random.index(6) },
        _ => Op::Sweep,
    }
}

fn change(random: &mut Random) -> Change {
    let open = crate::store::conformance::checks::open_lanes(random.one(&Hold::ALL));
    random.one(&[
        Change::Redeliver,
        Change::Redeliver,
        Change::Cancel(CancelReason::Operator),
        Change::Park,
        Change::Unpark,
        Change::Unpark,
        open,
        open,
        Change::Forget,
    ])
}

fn which(random: &mut Random) -> Which {
    let states = [StateKind::Due, StateKind::Leased, StateKind::Parked, StateKind::Delivered, StateKind::Dead];
    match random.below(8) {
        0 => Which::All,
        1 | 2 => Which::Policy(random.index(POLICIES)),
        3 => Which::Target(random.index(TARGETS)),
        4 | 5 => Which::State(random.one(&states)),
        _ => Which::One(random.index(1000)),
    }
}

/// SplitMix64: small, good enough, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }
}
