use std::time::Duration;

use super::state::State;
use crate::delivery::{DeadReason, State as Stands};
use crate::store::{Retention, Swept};

/// How long the history of a deleted policy can be read.
const DELETED: Duration = Duration::from_secs(60 * 60);

impl State {
    pub(super) fn sweep(&mut self, keep: &Retention, max: usize) -> Swept {
        self.keep = keep.clone();
        let max = max.max(1);
        let expired = self.expire(keep.max_age, max);
        let (looked, mut removed) = self.remove_long_dead(keep.dead, max);
        let beyond = self.ended.all_beyond(keep, max);
        beyond.iter().for_each(|id| self.remove(*id));
        let of_deleted = self.forget_deleted(max);
        let more = [expired, looked, beyond.len(), of_deleted].iter().any(|n| *n >= max);
        removed += beyond.len() + of_deleted + self.outbox.seen.forget(keep.event_ids, self.now);
        Swept::new(removed as u64, expired as u64, more)
    }

    /// Gives up what waited too long. A leased one may still be delivered.
    fn expire(&mut self, max_age: Duration, max: usize) -> usize {
        let mut expired = Vec::new();
        for (id, row) in self.rows.waiting() {
            let old = self.now.since(row.since) > max_age;
            if expired.len() >= max || (!old && !row.redelivered) {
                break;
            }
            if old && row.state == Stands::Due {
                expired.push(id);
            }
        }
        for id in &expired {
            self.finish(*id, Stands::Dead(DeadReason::Expired), None);
        }
        expired.len()
    }

    /// Looks at some of the dead deliveries, each time at the next ones. Says at how many, and how many of them went.
    fn remove_long_dead(&mut self, keep: Duration, max: usize) -> (usize, usize) {
        let looked: Vec<i64> = self.ended.dead_from(self.swept).take(max).collect();
        self.swept = if looked.len() == max { looked.last().map_or(0, |id| id + 1) } else { 0 };
        let mut gone = looked.clone();
        gone.retain(|id| self.rows.get(*id).is_some_and(|row| self.now.since(row.at) > keep));
        gone.iter().for_each(|id| self.remove(*id));
        (looked.len(), gone.len())
    }

    fn forget_deleted(&mut self, max: usize) -> usize {
        let mut forgotten = 0;
        while let Some((since, policy)) = self.deleted.front().copied() {
            if forgotten >= max || self.now.since(since) <= DELETED {
                break;
            }
            let left = max - forgotten;
            let count = self.forget_policy(policy, left);
            forgotten += count;
            if count < left {
                self.deleted.pop_front();
            }
        }
        forgotten
    }
}
