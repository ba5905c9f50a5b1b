//! When a target that fails is left alone, tried again, and given up: arithmetic without clocks or I/O.
//!
//! ```text
//!            `failures` in a row             pause over
//!   closed ─────────────────────▶ open ───────────────────▶ one attempt at a time
//!     ▲                            ▲                          │ taken        │ failed
//!     │                            └───── twice the pause ────┼──────────────┘
//!     └──────── two, four, … attempts at a time ◀─────────────┘
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{FailureKind, Outcome};

/// The shortest run of failures that is told of, where the breaker does not say.
const FAILING: u32 = 5;

/// How a target that fails is treated.
///
/// What is counted lies in the store with the lane, so all nodes share it, and it survives them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Breaker {
    /// Failures in a row that close the lane: no connection, no answer in time, 5xx, 429. Zero: never.
    pub failures: u32,
    /// How long the lane is closed for the first time. Doubled each time that the target fails again when it is tried.
    pub pause: Duration,
    /// The longest time that it is closed.
    pub longest_pause: Duration,
    /// When the target is given up. `None`: never.
    pub disable: Option<Disable>,
}

/// When a target is disabled: its lane is closed until somebody opens it, and what waits is parked.
///
/// Both must hold, so that neither a short outage of a busy target nor a single failure of a quiet one is enough.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Disable {
    /// Attempts since the last one that was taken, all of which failed.
    pub failures: u32,
    /// The time since the first of these.
    pub failing_for: Duration,
    /// Whether 410 Gone disables at once.
    pub gone: bool,
}

impl Breaker {
    /// Closes for 30 seconds after five failures, for up to half an hour; never disables.
    pub const fn standard() -> Self {
        Self { failures: 5, pause: Duration::from_secs(30), longest_pause: Duration::from_secs(30 * 60), disable: None }
    }

    /// Never closes a lane, and never disables a target.
    pub const fn off() -> Self {
        Self { failures: 0, ..Self::standard() }
    }
}

impl Disable {
    /// After five days without success and at least twenty failures; at once after 410 Gone.
    pub const fn standard() -> Self {
        Self { failures: 20, failing_for: Duration::from_secs(5 * 24 * 60 * 60), gone: true }
    }
}

/// What an attempt says about its target.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// It took the delivery.
    Healthy,
    /// It is down or overloaded: no connection, no answer, 5xx, 429.
    Failing,
    /// It answered, and refused this delivery. Another one, of another event type perhaps, may fare better.
    Refused,
    /// It answered 410: it is there no more.
    Gone,
}

impl Verdict {
    /// What this outcome says. Nothing, where the fault lies here: a forbidden address, a transport that panicked.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Answered { status: 200..=299, .. } => Some(Self::Healthy),
            Outcome::Answered { status: 410, .. } => Some(Self::Gone),
            Outcome::Answered { status: 408 | 425 | 429 | 500.., .. } => Some(Self::Failing),
            Outcome::Answered { .. } => Some(Self::Refused),
            Outcome::Failed { kind: FailureKind::Blocked | FailureKind::Panic, .. } => None,
            Outcome::Failed { .. } => Some(Self::Failing),
        }
    }
}

/// What is remembered of a lane's attempts. Stores keep it with the lane; a new lane has the default.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Attempts since the last one that was taken, all of which failed.
    pub failures: u32,
    /// How many of the newest of them say that the target is down.
    pub failing: u32,
    /// How often in a row the lane was closed by them.
    pub opened: u32,
    /// How many attempts may be under way after that; `None`: as many as the lane's limits say.
    pub ramp: Option<u32>,
}

impl Health {
    /// For stores: what was kept. Counters are read as what they hold at most.
    pub const fn new(failures: u32, failing: u32, opened: u32, ramp: Option<u32>) -> Self {
        Self { failures, failing, opened, ramp }
    }
}

/// A lane as it stands when an attempt is settled.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Before {
    /// What is remembered of it.
    pub health: Health,
    /// The time since the first of its [failures](Health::failures).
    pub failing_for: Duration,
    /// Whether its gate is closed, for a reason that [makes late](crate::store::Hold::makes_late) what was under way then: it
    /// counts no further.
    pub closed: bool,
    /// How many attempts its limits allow to be under way.
    pub max_in_flight: u32,
}

impl Before {
    /// For stores.
    pub const fn new(health: Health, failing_for: Duration, closed: bool, max_in_flight: u32) -> Self {
        Self { health, failing_for, closed, max_in_flight }
    }
}

/// What becomes of a lane.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct After {
    /// To be remembered.
    pub health: Health,
    /// What happens to the gate.
    pub gate: Gate,
    /// What the host is told.
    pub news: Option<News>,
}

/// What happens to a lane's gate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Gate {
    /// Nothing.
    Stays,
    /// It is closed for this long.
    Closes(Duration),
    /// It is closed until somebody opens it.
    Disables(Given),
}

/// What changed with a target.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum News {
    /// Attempts fail, one after the other.
    Failing,
    /// One was taken, after it had been failing.
    Recovered,
    /// It was given up.
    Disabled(Given),
}

impl News {
    /// The change's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Recovered => "recovered",
            Self::Disabled(_) => "disabled",
        }
    }
}

/// Why a target was given up.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Given {
    /// It answered 410 Gone.
    Gone,
    /// It failed for too long.
    Failed,
}

impl Breaker {
    /// Decides what an attempt means for its lane. `seed` spreads the pauses of different lanes by up to a fifth.
    pub fn after(&self, before: &Before, verdict: Verdict, seed: i64) -> After {
        match verdict {
            Verdict::Healthy => self.taken(before),
            Verdict::Gone if self.disable.is_some_and(|disable| disable.gone) => gave_up(before, Given::Gone),
            Verdict::Failing | Verdict::Refused | Verdict::Gone => self.failed(before, verdict, seed),
        }
    }

    fn taken(&self, before: &Before) -> After {
        // One more for each that was taken: twice as many when all that are under way were.
        let ramp = before.health.ramp.map(|ramp| ramp.saturating_add(1));
        let ramp = ramp.filter(|ramp| *ramp < before.max_in_flight);
        let news = (before.health.failures >= self.told_after()).then_some(News::Recovered);
        After { health: Health { ramp, ..Health::default() }, gate: Gate::Stays, news }
    }

    fn failed(&self, before: &Before, verdict: Verdict, seed: i64) -> After {
        let mut health = before.health;
        health.failures = health.failures.saturating_add(1);
        if verdict == Verdict::Failing {
            health.failing = health.failing.saturating_add(1);
        }
        if let Some(disable) = self.disable
            && health.failures >= disable.failures
            && before.failing_for >= disable.failing_for
        {
            return gave_up(before, Given::Failed);
        }
        let news = (health.failures == self.told_after()).then_some(News::Failing);
        let opens = self.failures > 0
            && verdict == Verdict::Failing
            && !before.closed
            && (health.failing >= self.failures || health.opened > 0);
        if !opens {
            return After { health, gate: Gate::Stays, news };
        }
        let pause = self.nth_pause(health.opened, seed);
        health.opened = health.opened.saturating_add(1);
        health.ramp = Some(1);
        After { health, gate: Gate::Closes(pause), news }
    }

    fn told_after(&self) -> u32 {
        if self.failures > 0 { self.failures } else { FAILING }
    }

    /// The pause after so many before it, up to a fifth longer: targets that failed together are not tried together.
    fn nth_pause(&self, opened: u32, seed: i64) -> Duration {
        let doubled = self.pause.saturating_mul(1u32.checked_shl(opened.min(30)).unwrap_or(u32::MAX));
        let random = super::retry::splitmix64((seed as u64) ^ u64::from(opened).rotate_left(40));
        let spread = doubled.min(self.longest_pause).as_secs_f64() * 0.2 * super::retry::share(random);
        doubled.saturating_add(Duration::from_secs_f64(spread)).min(self.longest_pause)
    }
}

fn gave_up(before: &Before, why: Given) -> After {
    let mut health = before.health;
    health.failures = health.failures.saturating_add(1);
    After { health, gate: Gate::Disables(why), news: Some(News::Disabled(why)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAKER: Breaker = Breaker::standard();

    fn before(health: Health) -> Before {
        Before::new(health, Duration::ZERO, false, 4)
    }

    fn run(breaker: &Breaker, verdicts: &[Verdict]) -> After {
        let mut health = Health::default();
        let mut last = After { health, gate: Gate::Stays, news: None };
        for verdict in verdicts {
            last = breaker.after(&before(health), *verdict, 7);
            health = last.health;
        }
        last
    }

    #[test]
    fn five_failures_in_a_row_close_the_lane_and_four_do_not() {
        assert_eq!(run(&BREAKER, &[Verdict::Failing; 4]).gate, Gate::Stays);
        let fifth = run(&BREAKER, &[Verdict::Failing; 5]);
        let Gate::Closes(pause) = fifth.gate else { panic!("{fifth:?}") };
        assert!(pause >= Duration::from_secs(30) && pause <= Duration::from_secs(36), "{pause:?}");
        assert_eq!((fifth.health.ramp, fifth.news), (Some(1), Some(News::Failing)));
        let between = [[Verdict::Failing; 4].as_slice(), &[Verdict::Healthy], &[Verdict::Failing; 4]].concat();
        assert_eq!(run(&BREAKER, &between).gate, Gate::Stays);
    }

    #[test]
    fn refusals_of_one_event_type_do_not_close_the_lane_for_the_others() {
        let after = run(&BREAKER, &[Verdict::Refused; 100]);
        assert_eq!((after.gate, after.health.ramp), (Gate::Stays, None));
        let mixed: Vec<_> = [Verdict::Refused, Verdict::Healthy].into_iter().cycle().take(100).collect();
        assert_eq!(run(&BREAKER, &mixed).gate, Gate::Stays);
    }

    #[test]
    fn each_failed_try_doubles_the_pause_up_to_the_longest() {
        let mut health = run(&BREAKER, &[Verdict::Failing; 5]).health;
        let mut last = Duration::from_secs(30);
        for _ in 0..100 {
            let after = BREAKER.after(&before(health), Verdict::Failing, 7);
            let Gate::Closes(pause) = after.gate else { panic!("{after:?}") };
            assert!(
                pause >= last.min(BREAKER.longest_pause) && pause <= BREAKER.longest_pause,
                "{pause:?} after {last:?}"
            );
            (health, last) = (after.health, pause.saturating_sub(pause / 5));
        }
        assert_eq!(health.opened, 101);
    }

    #[test]
    fn counters_at_their_ends_overflow_nothing() {
        let worn = Health::new(u32::MAX, u32::MAX, u32::MAX, Some(u32::MAX));
        let after = BREAKER.after(&before(worn), Verdict::Failing, i64::MIN);
        assert!(matches!(after.gate, Gate::Closes(pause) if pause <= BREAKER.longest_pause), "{after:?}");
        let endless = Breaker { longest_pause: Duration::MAX, pause: Duration::MAX, ..BREAKER };
        assert!(matches!(endless.after(&before(worn), Verdict::Failing, 1).gate, Gate::Closes(_)));
        assert_eq!(BREAKER.after(&before(worn), Verdict::Healthy, 1).health, Health::default());
    }

    #[test]
    fn what_comes_in_after_the_lane_was_closed_closes_it_no_further() {
        let health = run(&BREAKER, &[Verdict::Failing; 5]).health;
        let late = Before::new(health, Duration::ZERO, true, 4);
        assert_eq!(BREAKER.after(&late, Verdict::Failing, 7).gate, Gate::Stays);
    }

    #[test]
    fn each_attempt_that_was_taken_allows_one_more_until_the_limit() {
        let mut health = run(&BREAKER, &[Verdict::Failing; 5]).health;
        let mut ramps = vec![health.ramp];
        for _ in 0..3 {
            health = BREAKER.after(&Before::new(health, Duration::ZERO, false, 4), Verdict::Healthy, 7).health;
            ramps.push(health.ramp);
        }
        assert_eq!(ramps, [Some(1), Some(2), Some(3), None]);
    }

    #[test]
    fn recovery_is_told_once_and_only_after_failing() {
        let failing = run(&BREAKER, &[Verdict::Failing; 9]).health;
        let recovered = BREAKER.after(&before(failing), Verdict::Healthy, 7);
        assert_eq!(recovered.news, Some(News::Recovered));
        assert_eq!(BREAKER.after(&before(recovered.health), Verdict::Healthy, 7).news, None);
        assert_eq!(run(&BREAKER, &[Verdict::Failing, Verdict::Healthy]).news, None);
    }

    #[test]
    fn a_target_is_given_up_after_time_and_failures_never_after_one_of_them() {
        let breaker = Breaker { disable: Some(Disable::standard()), ..BREAKER };
        let five_days = Duration::from_secs(5 * 24 * 3600);
        let decide = |failures, failing_for| {
            let health = Health::new(failures, 0, 0, None);
            breaker.after(&Before::new(health, failing_for, false, 4), Verdict::Refused, 7).gate
        };
        assert_eq!(decide(0, five_days * 100), Gate::Stays);
        assert_eq!(decide(1000, five_days - Duration::from_secs(1)), Gate::Stays);
        assert_eq!(decide(18, five_days), Gate::Stays);
        assert_eq!(decide(19, five_days), Gate::Disables(Given::Failed));
    }

    #[test]
    fn gone_disables_where_the_host_wants_it_and_is_a_refusal_elsewhere() {
        let gone = Outcome::Answered { status: 410, body: String::new(), truncated: false };
        assert_eq!(Verdict::of(&gone), Some(Verdict::Gone));
        assert_eq!(run(&BREAKER, &[Verdict::Gone; 30]).gate, Gate::Stays);
        let breaker = Breaker { disable: Some(Disable::standard()), ..BREAKER };
        assert_eq!(run(&breaker, &[Verdict::Gone]).gate, Gate::Disables(Given::Gone));
    }

    #[test]
    fn switched_off_it_closes_nothing() {
        assert_eq!(run(&Breaker::off(), &[Verdict::Failing; 1000]).gate, Gate::Stays);
    }
}
