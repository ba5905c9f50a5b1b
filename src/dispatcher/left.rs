use std::time::Duration;

use tokio::time::Instant;

use crate::clock::instant;
use crate::store::ClaimedEvent;

/// Events kept to be tried again. More than these wait until their leases have run out.
const MOST: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Events that are leased and could not be fanned out, because the store or the policy source failed.
///
/// They are tried again at a pace of their own: the trouble may be that of one project, and the others' events go on.
#[derive(Debug, Default)]
pub(super) struct Left {
    events: Vec<ClaimedEvent>,
    /// When to try again, and the pause that led there.
    next: Option<(Instant, Duration)>,
}

impl Left {
    /// Takes the events if it is time to try them again.
    pub(super) fn take_due(&mut self) -> Vec<ClaimedEvent> {
        match self.next {
            Some((at, _)) if instant() >= at => std::mem::take(&mut self.events),
            _ => Vec::new(),
        }
    }

    /// Keeps an event for later.
    pub(super) fn keep(&mut self, event: ClaimedEvent) {
        if self.events.len() < MOST {
            self.events.push(event);
        }
    }

    /// How long those that are kept wait.
    pub(super) fn pause(&self) -> Duration {
        self.next.map_or(Duration::ZERO, |(_, pause)| pause)
    }

    /// All due events were tried: those that are kept wait, and longer each time.
    pub(super) fn rest(&mut self) {
        let pause = match self.next {
            _ if self.events.is_empty() => return self.next = None,
            Some((at, _)) if instant() < at => return,
            Some((_, pause)) => (pause * 2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        self.next = Some((instant() + pause, pause));
    }
}
