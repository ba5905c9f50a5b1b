use std::time::Duration;

use super::{Health, Problem, Rounds, Waiting};
use crate::observe::Cycle;

/// Events are fanned out within a second when all is well.
const OLD_EVENT: Duration = Duration::from_secs(10);
/// A cycle asks the store every second, and more seldom only while all workers are busy.
const STUCK: Duration = Duration::from_secs(60);
/// Sweeping rests a minute between two rounds.
const SWEEPING_STUCK: Duration = Duration::from_secs(300);

impl Health {
    /// Names what is wrong. `silent` says why the store did not answer; deliveries are given up after `max_age`.
    pub(crate) fn diagnose(mut self, silent: Option<&str>, max_age: Duration) -> Self {
        let mut problems: Vec<_> = silent.map(not_answering).into_iter().collect();
        problems.extend(self.run_ended());
        problems.extend(self.failing());
        problems.extend(self.run.cycles.iter().filter_map(stuck));
        if let Some(waiting) = &self.waiting {
            problems.extend(self.old_events(waiting));
            problems.extend(self.switched_off(waiting, max_age));
            problems.extend(expiring(waiting, max_age));
            problems.extend(set_aside(waiting));
        }
        self.problems = problems;
        self
    }

    fn run_ended(&self) -> Option<Problem> {
        if self.run.running > 0 || !self.run.started {
            return None;
        }
        Some(match &self.run.ended_with {
            Some(error) => Problem::new(format!("`run` ended: {error}"), "mend what it names, then await `run` again"),
            None => Problem::new("`run` was stopped, and nothing is sent by this process", "await `run` again"),
        })
    }

    fn failing(&self) -> Option<Problem> {
        let cycle = self.run.cycles.iter().find(|rounds| rounds.failing)?.cycle;
        let fault = self.store_faults.iter().find(|fault| fault.cycle == cycle);
        let error = fault.map_or("it did not say why", |fault| &fault.error);
        Some(Problem::new(
            format!("the store fails, and {} waits for it: {error}", cycle.as_str()),
            "see that its database can be reached and has room; nothing is lost meanwhile, and all goes on by itself",
        ))
    }

    fn old_events(&self, waiting: &Waiting) -> Option<Problem> {
        let age = waiting.oldest_event.filter(|age| *age > OLD_EVENT)?;
        let what = format!("{} events wait, the oldest for {}", waiting.events, spoken(age));
        if self.run.running == 0 {
            return Some(Problem::new(
                format!("{what}, and nobody runs `run` in this process"),
                "await `Webhooks::run`, in this process or in another one on the same store",
            ));
        }
        let fault = self.store_faults.iter().find(|fault| fault.cycle == Cycle::Intake);
        let fault = fault.map(|fault| format!("; the last fault was: {}", fault.error)).unwrap_or_default();
        Some(Problem::new(
            format!("{what}, although `run` is running{fault}"),
            "the deliveries may be at the store's bound (look at what waits), or the store fails or is too slow",
        ))
    }

    fn switched_off(&self, waiting: &Waiting, max_age: Duration) -> Option<Problem> {
        (self.on == Some(false) && waiting.deliveries > 0).then(|| {
            Problem::new(
                format!("webhooks are switched off, and {} deliveries wait", waiting.deliveries),
                format!("switch them on; what waits is given up {} after it was made", spoken(max_age)),
            )
        })
    }
}

fn not_answering(reason: &str) -> Problem {
    Problem::new(
        format!("the store does not say what waits: {reason}"),
        "see that its database can be reached and has room",
    )
}

/// What hangs without an error.
fn stuck(rounds: &Rounds) -> Option<Problem> {
    let limit = match rounds.cycle {
        Cycle::Intake | Cycle::Sending => STUCK,
        Cycle::Sweeping | Cycle::Sampling => SWEEPING_STUCK,
        Cycle::Settling => return None, // it asks only when there is something to write
    };
    let since = rounds.answered.filter(|since| *since > limit && !rounds.failing)?;
    Some(Problem::new(
        format!("{} got no answer from the store for {}", rounds.cycle.as_str(), spoken(since)),
        "a call to the store hangs: look at its locks and connections, or restart the process",
    ))
}

fn expiring(waiting: &Waiting, max_age: Duration) -> Option<Problem> {
    let age = waiting.oldest_delivery.filter(|age| *age > max_age * 3 / 4)?;
    Some(Problem::new(
        format!("a delivery has waited for {}, and is given up after {}", spoken(age), spoken(max_age)),
        "look at the oldest deliveries that are due, and at what their receivers answer",
    ))
}

fn set_aside(waiting: &Waiting) -> Option<Problem> {
    (waiting.set_aside > 0).then(|| {
        Problem::new(
            format!("{} rows of the outbox cannot be read and are not sent", waiting.set_aside),
            "`Webhooks::status` lists them with the reason; mend the program that writes them",
        )
    })
}

/// A time as people say it.
fn spoken(time: Duration) -> String {
    const UNITS: [(f64, &str); 3] = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min")];
    let seconds = time.as_secs_f64();
    match UNITS.iter().find(|(unit, _)| seconds >= 2.0 * unit) {
        Some((unit, name)) => format!("{:.1} {name}", seconds / unit),
        None => format!("{seconds:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Runs, StoreFault};

    const DAY: Duration = Duration::from_secs(86_400);

    fn calm() -> Health {
        let waiting = Waiting {
            events: 0,
            oldest_event: None,
            deliveries: 3,
            oldest_delivery: Some(DAY),
            bytes: None,
            parked: 0,
            dead: 9,
            set_aside: 0,
        };
        let rounds = |cycle| Rounds { cycle, answered: Some(Duration::from_secs(1)), worked: None, failing: false };
        Health {
            problems: Vec::new(),
            on: Some(true),
            waiting: Some(waiting),
            closed_lanes: Vec::new(),
            run: Runs { running: 1, started: true, ended_with: None, cycles: Cycle::ALL.map(rounds).into() },
            store_faults: Vec::new(),
            failed_attempts: Vec::new(),
        }
    }

    /// What is named after a change.
    fn named(silent: Option<&str>, change: impl FnOnce(&mut Health)) -> Vec<String> {
        let mut health = calm();
        change(&mut health);
        health.diagnose(silent, 4 * DAY).problems.into_iter().map(|problem| problem.what).collect()
    }

    #[test]
    fn nothing_is_named_when_nothing_is_wrong() {
        assert_eq!(named(None, |_| {}), [""; 0]);
        // A node that only reports events and never runs, while others send.
        assert_eq!(named(None, |health| health.run = Runs::default()), [""; 0]);
    }

    #[test]
    fn each_stuck_thing_is_named() {
        let seconds = |n| Some(Duration::from_secs(n));
        let old = |health: &mut Health| {
            let waiting = health.waiting.as_mut().unwrap();
            (waiting.events, waiting.oldest_event) = (2, seconds(40));
        };
        let idle = |health: &mut Health| {
            old(health);
            health.run = Runs::default();
        };
        assert_eq!(named(None, idle), ["2 events wait, the oldest for 40 s, and nobody runs `run` in this process"]);
        assert_eq!(named(None, old), ["2 events wait, the oldest for 40 s, although `run` is running"]);
        let ended = |health: &mut Health| {
            health.run = Runs { started: true, ended_with: Some("another sender".to_owned()), ..Runs::default() };
        };
        assert_eq!(named(None, ended), ["`run` ended: another sender"]);
        assert_eq!(
            named(Some("locked"), |health| health.waiting = None),
            ["the store does not say what waits: locked"]
        );
        assert_eq!(
            named(None, |health| health.run.cycles[0].answered = seconds(600)),
            ["intake got no answer from the store for 10.0 min"]
        );
        let failing = |health: &mut Health| {
            health.run.cycles[2].failing = true;
            let error = "disk full".to_owned();
            health.store_faults.push(StoreFault { at: chrono::Utc::now(), cycle: Cycle::Settling, error });
        };
        assert_eq!(named(None, failing), ["the store fails, and settling waits for it: disk full"]);
        assert_eq!(named(None, |health| health.on = Some(false)), ["webhooks are switched off, and 3 deliveries wait"]);
        let aging = |health: &mut Health| health.waiting.as_mut().unwrap().oldest_delivery = Some(DAY * 7 / 2);
        assert_eq!(named(None, aging), ["a delivery has waited for 3.5 d, and is given up after 4.0 d"]);
        assert_eq!(
            named(None, |health| health.waiting.as_mut().unwrap().set_aside = 1),
            ["1 rows of the outbox cannot be read and are not sent"]
        );
    }

    #[test]
    fn it_can_be_shown_as_json() {
        let json = serde_json::to_value(calm()).unwrap();
        assert_eq!(json["waiting"]["oldest_delivery_seconds"], 86_400.0);
        assert_eq!(json["run"]["cycles"][0]["cycle"], "intake");
        assert_eq!(json["run"]["cycles"][0]["answered_seconds_ago"], 1.0);
    }
}
