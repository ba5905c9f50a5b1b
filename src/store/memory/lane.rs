use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::moment::Moment;
use crate::delivery::breaker::{After, Before, Breaker, Gate, Health, News, Verdict};
use crate::delivery::{Attempt, State as Stands};
use crate::id::{PolicyId, ProjectId, TargetId};
use crate::store::{Hold, Hour, LaneLimits};

/// A target's queue and gate. Each delivery that waits is in exactly one of `fresh`, `again` and `held`.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) policy_id: PolicyId,
    pub(super) project_id: ProjectId,
    pub(super) limits: LaneLimits,
    /// Deliveries of the target that are kept, in whatever state. The lane stays as long as there are any, so that a
    /// redelivery finds its limits.
    pub(super) kept: u32,
    /// What the deliveries that wait weigh.
    pub(super) bytes: usize,
    pub(super) in_flight: u32,
    pub(super) closed: Option<(Moment, Hold)>,
    pub(super) place: Place,
    /// Its attempts of late, the oldest hour first.
    pub(super) hours: Vec<Hour>,
    /// Until when they are kept.
    hours_until: Moment,
    health: Health,
    /// When the first of the failures was that the health counts.
    failing_since: Moment,
    /// When the rate has its next token.
    next_token: Moment,
    /// Due since they were made, by their ids.
    fresh: VecDeque<i64>,
    /// Due a second time, by when.
    again: BTreeSet<(Moment, i64)>,
    /// Leased or parked.
    held: BTreeSet<i64>,
}

/// Where the lane is among the others.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Nowhere,
    Ready(u64),
    Timed(Moment),
}

impl Lane {
    pub(super) fn new(policy_id: PolicyId, project_id: ProjectId, limits: LaneLimits) -> Self {
        Self {
            policy_id,
            project_id,
            limits,
            kept: 0,
            bytes: 0,
            in_flight: 0,
            closed: None,
            place: Place::Nowhere,
            hours: Vec::new(),
            hours_until: Moment::default(),
            health: Health::default(),
            failing_since: Moment::default(),
            next_token: Moment::default(),
            fresh: VecDeque::new(),
            again: BTreeSet::new(),
            held: BTreeSet::new(),
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.fresh.len() + self.again.len() + self.held.len()
    }

    /// Of what is due, the first of those made and of those due again.
    pub(super) fn first_due(&self) -> impl Iterator<Item = i64> {
        self.fresh.front().copied().into_iter().chain(self.again.first().map(|(_, id)| *id))
    }

    /// What is leased or parked.
    pub(super) fn held(&self) -> impl Iterator<Item = i64> {
        self.held.iter().copied()
    }

    /// Deliveries that are due now or later.
    pub(super) fn due(&self) -> usize {
        self.fresh.len() + self.again.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = i64> {
        let again = self.again.iter().map(|(_, id)| *id);
        self.fresh.iter().copied().chain(again).chain(self.held.iter().copied())
    }

    /// Until when the gate is closed.
    pub(super) fn gate(&self) -> Moment {
        self.closed.map_or(Moment::default(), |(until, _)| until)
    }

    /// How long the lane stays when nothing of its deliveries is left.
    pub(super) fn kept_until(&self) -> Moment {
        self.gate().max(self.hours_until)
    }

    pub(super) fn failures(&self) -> u32 {
        self.health.failures
    }

    /// Counts an attempt of the target `id` that is written down now, at this time on the wall.
    pub(super) fn tried(&mut self, id: TargetId, attempt: &Attempt, now: Moment, wall: DateTime<Utc>) {
        let (mut hour, oldest) = (Hour::of(id, wall), Hour::oldest_kept(wall));
        self.hours.retain(|hour| hour.begins_at >= oldest);
        match self.hours.iter_mut().find(|known| known.begins_at == hour.begins_at) {
            Some(known) => known.add(attempt),
            None => {
                hour.add(attempt);
                self.hours.push(hour);
            }
        }
        self.hours_until = now.after(Duration::from_secs(3600) * Hour::KEPT);
    }

    pub(super) fn forget_hours(&mut self) {
        (self.hours, self.hours_until) = (Vec::new(), Moment::default());
    }

    /// When a delivery can be taken; none if there is none, or no room for one more in flight.
    pub(super) fn ready_at(&self) -> Option<Moment> {
        if self.in_flight >= self.health.ramp.map_or(u32::MAX, |ramp| ramp.max(1)).min(self.limits.max_in_flight) {
            return None;
        }
        let again = self.again.first().map(|(at, _)| *at);
        let first = if self.fresh.is_empty() { again? } else { Moment::default() };
        Some(first.max(self.gate()).max(self.next_token))
    }

    pub(super) fn is_disabled(&self) -> bool {
        matches!(self.closed, Some((_, Hold::TargetDisabled)))
    }

    /// Closes the lane, unless it is closed for longer already.
    pub(super) fn close(&mut self, until: Moment, why: Hold) {
        if self.closed.is_none_or(|(already, _)| already < until) {
            self.closed = Some((until, why));
        }
    }

    /// Opens the lane. What closed it is forgotten.
    pub(super) fn open(&mut self) {
        if let Some((_, Hold::CircuitOpen | Hold::TargetDisabled)) = self.closed.take() {
            self.health = Health::default();
        }
    }

    /// An attempt says this about the target.
    pub(super) fn judge(&mut self, id: TargetId, verdict: Verdict, breaker: &Breaker, now: Moment) -> Option<News> {
        if self.is_disabled() {
            return None;
        }
        if self.health.failures == 0 {
            self.failing_since = now;
        }
        let failing_for = now.since(self.failing_since);
        let late = self.closed.is_some_and(|(until, why)| until > now && why.makes_late());
        let before = Before::new(self.health, failing_for, late, self.limits.max_in_flight);
        let After { health, gate, news, .. } = breaker.after(&before, verdict, id.0);
        self.health = health;
        match gate {
            Gate::Stays => {}
            Gate::Closes(pause) => self.close(now.after(pause), Hold::CircuitOpen),
            Gate::Disables(_) => self.close(Moment::END, Hold::TargetDisabled),
        }
        news
    }

    pub(super) fn add_fresh(&mut self, id: i64) {
        self.fresh.push_back(id);
    }

    pub(super) fn add_again(&mut self, id: i64, at: Moment) {
        self.again.insert((at, id));
    }

    pub(super) fn add_parked(&mut self, id: i64) {
        self.held.insert(id);
    }

    /// Takes the delivery that has been due for longest. `due` says since when a fresh one is.
    pub(super) fn take(&mut self, now: Moment, due: impl Fn(i64) -> Moment) -> Option<i64> {
        let fresh = self.fresh.front().map(|id| (due(*id), *id));
        let again = self.again.first().copied();
        let id = match (fresh, again) {
            (Some(fresh), again) if again.is_none_or(|again| fresh < again) => self.fresh.pop_front(),
            _ => self.again.pop_first().map(|(_, id)| id),
        }?;
        self.shrink();
        self.in_flight += 1;
        self.held.insert(id);
        self.next_token = Moment::new(self.limits.rate.take(self.next_token.to_duration(), now.to_duration(), 1));
        Some(id)
    }

    /// Takes a delivery out that stands like this.
    pub(super) fn leave(&mut self, id: i64, state: Stands, at: Moment) {
        match state {
            Stands::Due => {
                if !self.again.remove(&(at, id))
                    && let Ok(position) = self.fresh.binary_search(&id)
                {
                    self.fresh.remove(position);
                    self.shrink();
                }
            }
            Stands::Leased => {
                self.held.remove(&id);
                self.in_flight = self.in_flight.saturating_sub(1);
            }
            Stands::Parked => _ = self.held.remove(&id),
            Stands::Delivered | Stands::Dead(_) | Stands::Cancelled(_) => {}
        }
    }

    /// A queue that was long once gives its room back.
    fn shrink(&mut self) {
        if self.fresh.capacity() > 32 && self.fresh.len() < self.fresh.capacity() / 4 {
            self.fresh.shrink_to(self.fresh.len() * 2);
        }
    }
}
