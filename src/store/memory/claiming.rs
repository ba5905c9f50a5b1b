use std::time::Duration;

use chrono::{DateTime, Utc};

use super::lane::Lane;
use super::moment::Moment;
use super::state::State;
use crate::delivery::breaker::News;
use crate::delivery::{DeadReason, State as Stands};
use crate::id::{DeliveryId, ProjectId, TargetId};
use crate::store::{Claimed, Lease, Next, Settled, Settlement};

/// Lost leases that make a delivery poison.
const MAX_LOSSES: u8 = 5;

impl State {
    /// Moves to the present: leases run out, lanes become ready.
    pub(super) fn advance(&mut self, now: Moment, wall: DateTime<Utc>) {
        self.now = self.now.max(now);
        self.wall = wall;
        self.outbox.advance(self.now);
        while let Some((_, id)) = self.leases.first().copied().filter(|(until, _)| *until <= self.now) {
            self.leases.pop_first();
            self.lose(id);
        }
        self.lanes.advance(self.now);
    }

    /// How long until there is work; `None` if none is in sight.
    pub(super) fn due_in(&self) -> Option<Duration> {
        if self.lanes.has_ready() || (self.outbox.has_unclaimed() && !self.is_full()) {
            return Some(Duration::ZERO);
        }
        let lease = self.leases.first().map(|(until, _)| *until);
        let next = [self.outbox.next_lease(), lease, self.lanes.next()].into_iter().flatten().min()?;
        Some(next.since(self.now))
    }

    /// Of other projects than these.
    pub(super) fn claim(&mut self, beside: &[ProjectId], max: usize, lease: Duration) -> Vec<Claimed> {
        let until = self.now.after(lease);
        let (mut claimed, mut after) = (Vec::new(), 0);
        while claimed.len() < max {
            // A lane that stays ready has a later turn, so all of the others are looked at once.
            let Some((turn, id)) = self.lanes.take(after, beside, &self.rows, self.now) else { break };
            after = turn;
            let Some(token) = self.lease(id, until) else { continue };
            claimed.extend(self.claimed(id, token));
        }
        claimed
    }

    fn claimed(&self, id: i64, token: u32) -> Option<Claimed> {
        let row = self.rows.get(id)?;
        let (message, lane) = (&row.message, self.lanes.get(row.target)?);
        Some(Claimed {
            lease: Lease::new(id, token.into()),
            id: DeliveryId(id),
            event_id: message.event_id,
            event_type: message.event_type(),
            project_id: lane.project_id,
            policy_id: lane.policy_id,
            target_id: row.target,
            body: message.body()?,
            attempts: row.attempts_since_redelivery(),
            age: self.now.since(row.since),
        })
    }

    pub(super) fn settle(&mut self, result: Settlement) -> Settled {
        let Settlement { lease, attempt, next, close_lane, verdict } = result;
        let (id, now, wall) = (lease.key, self.now, self.wall);
        let Some(row) = self.rows.get(id) else { return Settled::STALE };
        if row.state != Stands::Leased || i64::from(row.token) != lease.token {
            return Settled::STALE;
        }
        let target = row.target;
        if let Some(attempt) = &attempt {
            self.lanes.tried(target, attempt, now, wall);
        }
        self.tell(id, |row| match attempt {
            Some(attempt) => row.record(attempt, wall),
            None => row.touch(wall),
        });
        let mut news = None;
        if let Some((verdict, breaker)) = verdict {
            self.lanes.change(target, now, |lane| news = lane.judge(target, verdict, &breaker, now));
        }
        if let Some((time, why)) = close_lane {
            self.lanes.close(target, time, why, now);
        }
        match next {
            Next::Delivered => self.finish(id, Stands::Delivered, None),
            Next::Dead(reason, detail) => self.finish(id, Stands::Dead(reason), detail),
            Next::Cancelled(reason) => self.finish(id, Stands::Cancelled(reason), None),
            Next::Retry(_) | Next::Release(_) if self.is_disabled(target) => self.park(id),
            Next::Retry(after) | Next::Release(after) => self.make_due(id, now.after(after)),
        }
        if matches!(news, Some(News::Disabled(_))) {
            self.park_due(target);
        }
        Settled::done(news.map(|news| (target, news)))
    }

    pub(super) fn is_disabled(&self, target: TargetId) -> bool {
        self.lanes.get(target).is_some_and(Lane::is_disabled)
    }

    fn park_due(&mut self, target: TargetId) {
        let due = |id: &i64| self.rows.get(*id).is_some_and(|row| row.state == Stands::Due);
        let ids: Vec<i64> = self.lanes.get(target).into_iter().flat_map(Lane::ids).filter(due).collect();
        ids.into_iter().for_each(|id| self.park(id));
    }

    /// A lease ran out.
    fn lose(&mut self, id: i64) {
        let now = self.now;
        let mut losses = 0;
        self.tell(id, |row| {
            row.losses = row.losses.saturating_add(1);
            losses = row.losses;
        });
        if losses >= MAX_LOSSES {
            let detail = format!("its lease was lost {MAX_LOSSES} times: the attempt seems to bring the sender down");
            self.finish(id, Stands::Dead(DeadReason::Poison), Some(detail));
        } else {
            self.make_due(id, now);
        }
    }
}
