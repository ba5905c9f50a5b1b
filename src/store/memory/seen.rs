use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use uuid::Uuid;

use super::moment::Moment;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// The ids of events, so that one is not taken twice. Those of events that were fanned out lie together by the hour and are
/// forgotten together: so an id needs no time of its own, and none is looked at twice.
#[derive(Debug, Default)]
pub(super) struct Seen {
    open: HashSet<Uuid>,
    past: VecDeque<Hour>,
}

#[derive(Debug)]
struct Hour {
    begun: Moment,
    newest: Moment,
    ids: HashSet<Uuid>,
}

impl Seen {
    pub(super) fn knows(&self, id: &Uuid) -> bool {
        self.open.contains(id) || self.past.iter().any(|hour| hour.ids.contains(id))
    }

    pub(super) fn open(&mut self, id: Uuid) {
        self.open.insert(id);
    }

    /// The event was fanned out.
    pub(super) fn done(&mut self, id: Uuid, now: Moment) {
        self.open.remove(&id);
        if self.open.capacity() > 64 && self.open.len() < self.open.capacity() / 8 {
            self.open.shrink_to(self.open.len() * 2);
        }
        match self.past.back_mut() {
            Some(hour) if now.since(hour.begun) < HOUR => {
                hour.newest = now;
                hour.ids.insert(id);
            }
            last => {
                if let Some(hour) = last {
                    hour.ids.shrink_to_fit();
                }
                self.past.push_back(Hour { begun: now, newest: now, ids: HashSet::from([id]) });
            }
        }
    }

    /// Forgets the hours whose newest id is older than `keep`, and says how many ids that were.
    pub(super) fn forget(&mut self, keep: Duration, now: Moment) -> usize {
        let mut forgotten = 0;
        while let Some(hour) = self.past.front().filter(|hour| now.since(hour.newest) > keep) {
            forgotten += hour.ids.len();
            self.past.pop_front();
        }
        forgotten
    }
}
