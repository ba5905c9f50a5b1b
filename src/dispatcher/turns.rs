use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

use crate::id::ProjectId;
use crate::store::ClaimedEvent;

/// Events that are fanned out in one round, deliveries of theirs, and bytes.
const ROUND: usize = 256;
const DELIVERIES: usize = 8192;
const BYTES: usize = 16 * 1024 * 1024;
/// Events that are claimed ahead, deliveries of theirs, and bytes: what can be fanned out long before the leases run out, and what
/// the memory has room for.
const AHEAD: usize = 2048;
const DELIVERIES_AHEAD: usize = 32 * DELIVERIES;
const BYTES_AHEAD: usize = 64 * 1024 * 1024;
/// Projects of which is remembered how many deliveries an event had.
const REMEMBERED: usize = 10_000;

/// Claimed events that wait to be fanned out, in the turns of their projects: those of one whose events go to thousands of targets
/// leave time to the others. Each project's own stay in their order.
///
/// When `run` ends, their leases run out, and they come again.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The projects that have some, the next one first. Rows that cannot be read are nobody's.
    projects: VecDeque<(Option<ProjectId>, VecDeque<Waiting>)>,
    events: usize,
    deliveries: usize,
    bytes: usize,
    /// How many deliveries the last event of a project had.
    widths: HashMap<ProjectId, usize>,
}

#[derive(Debug)]
struct Waiting {
    event: ClaimedEvent,
    /// From when on it may not be begun, as its lease could run out meanwhile.
    until: Instant,
    /// How many deliveries it was thought to have when it came.
    width: usize,
    /// About how much memory it takes.
    bytes: usize,
}

impl Turns {
    /// How many events may be claimed now.
    pub(super) fn room(&self) -> usize {
        let full = self.deliveries >= DELIVERIES_AHEAD || self.bytes >= BYTES_AHEAD;
        if full { 0 } else { ROUND.min(AHEAD.saturating_sub(self.events)) }
    }

    /// Adds events that were claimed, in their order.
    pub(super) fn put(&mut self, claimed: Vec<ClaimedEvent>, until: Instant) {
        for event in claimed {
            let project = event.event.as_ref().ok().map(|event| event.project_id);
            let width = self.width(project).unwrap_or(1);
            let bytes = event.event.as_ref().map_or(0, |event| event.json_len().unwrap_or_default());
            self.events += 1;
            self.deliveries += width;
            self.bytes += bytes;
            let waiting = Waiting { event, until, width, bytes };
            match self.projects.iter_mut().find(|(known, _)| *known == project) {
                Some((_, events)) => events.push_back(waiting),
                None => self.projects.push_back((project, VecDeque::from([waiting]))),
            }
        }
    }

    /// What is fanned out next: of each project one after the other. Of a project of which is not known how wide its events are
    /// there is one only.
    pub(super) fn take(&mut self, now: Instant) -> Vec<ClaimedEvent> {
        let (mut taken, mut deliveries, mut bytes, mut done) = (Vec::new(), 0, 0, Vec::new());
        while taken.len() < ROUND && deliveries < DELIVERIES && bytes < BYTES {
            let Some((project, mut events)) = self.projects.pop_front() else { break };
            // If the first is too late all are left to come again, so that they stay in their order.
            if events.front().is_some_and(|first| first.until <= now) {
                events.drain(..).for_each(|late| self.forget(&late));
            }
            let Some(next) = events.pop_front() else { continue };
            self.forget(&next);
            let width = self.width(project);
            deliveries += width.unwrap_or(1).max(1);
            bytes += next.bytes;
            taken.push(next.event);
            match width {
                _ if events.is_empty() => {}
                Some(_) => self.projects.push_back((project, events)),
                None => done.push((project, events)),
            }
        }
        self.projects.extend(done);
        taken
    }

    fn forget(&mut self, gone: &Waiting) {
        self.events -= 1;
        self.deliveries -= gone.width;
        self.bytes -= gone.bytes;
    }

    fn width(&self, project: Option<ProjectId>) -> Option<usize> {
        project.map_or(Some(1), |project| self.widths.get(&project).copied())
    }

    /// An event of this project had so many deliveries.
    pub(super) fn had(&mut self, project: ProjectId, deliveries: usize) {
        if self.widths.len() >= REMEMBERED {
            self.widths.clear();
        }
        self.widths.insert(project, deliveries);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::Utc;

    use super::*;
    use crate::event::{Event, EventType};
    use crate::store::Lease;

    const SOON: Duration = Duration::from_secs(30);

    /// Events of a project, whose keys go on from this one.
    fn events(project: i64, count: usize, key: i64) -> Vec<ClaimedEvent> {
        let event = Event::sample(ProjectId(project), EventType::PushArtifact, Utc::now()).unwrap();
        (key..).take(count).map(|key| ClaimedEvent::new(Lease::new(key, 0), Ok(event.clone()))).collect()
    }

    fn keys(taken: &[ClaimedEvent]) -> Vec<i64> {
        taken.iter().map(|event| event.lease.key).collect()
    }

    #[test]
    fn projects_take_turns_and_keep_their_order() {
        let (mut turns, now) = (Turns::default(), crate::clock::instant());
        turns.had(ProjectId(1), 3000);
        turns.had(ProjectId(2), 1);
        turns.put(events(1, 10, 0), now + SOON);
        turns.put(events(2, 3, 100), now + SOON);
        turns.put(events(3, 2, 200), now + SOON);
        turns.put(vec![ClaimedEvent::new(Lease::new(300, 0), Err("odd".to_owned()))], now + SOON);
        // Nobody knows yet how wide the third's are.
        assert_eq!(keys(&turns.take(now)), [0, 100, 200, 300, 1, 101, 2]);
        assert_eq!(keys(&turns.take(now)), [102, 3, 201, 4, 5]);
        assert_eq!(keys(&turns.take(now)), [6, 7, 8]);
        assert_eq!(keys(&turns.take(now)), [9]);
        assert_eq!((turns.events, turns.deliveries, turns.take(now).len()), (0, 0, 0));
    }

    #[test]
    fn what_is_claimed_ahead_is_bounded() {
        let (mut turns, now) = (Turns::default(), crate::clock::instant());
        assert_eq!(turns.room(), ROUND);
        turns.put(events(1, AHEAD, 0), now + SOON);
        assert_eq!(turns.room(), 0);
        let mut turns = Turns::default();
        turns.had(ProjectId(1), DELIVERIES_AHEAD);
        turns.put(events(1, 1, 0), now + SOON);
        assert_eq!((turns.room(), turns.take(now).len(), turns.room()), (0, 1, ROUND));
    }

    #[test]
    fn large_events_come_a_few_at_a_time() {
        let (mut turns, now) = (Turns::default(), crate::clock::instant());
        let mut large = events(1, 100, 0);
        let data = large[0].event.clone().map(|mut event| {
            event.data.custom_attributes.insert("notes".to_owned(), "n".repeat(1 << 20));
            event
        });
        large.iter_mut().for_each(|claimed| claimed.event = data.clone());
        turns.had(ProjectId(1), 1);
        turns.put(large, now + SOON);
        assert_eq!(turns.room(), 0);
        assert_eq!((turns.take(now).len(), turns.take(now).len(), turns.room()), (16, 16, 0));
        assert_eq!((turns.take(now).len(), turns.room()), (16, ROUND));
        while !turns.take(now).is_empty() {}
        assert_eq!((turns.events, turns.bytes), (0, 0));
    }

    #[test]
    fn what_is_too_late_is_left_with_all_behind_it() {
        let (mut turns, now) = (Turns::default(), crate::clock::instant());
        turns.had(ProjectId(1), 1);
        turns.put(events(1, 2, 0), now + SOON);
        turns.put(events(2, 1, 100), now + 2 * SOON);
        turns.put(events(1, 1, 2), now + 2 * SOON);
        assert_eq!(keys(&turns.take(now + SOON)), [100]);
        assert_eq!((turns.events, turns.deliveries), (0, 0));
    }
}
