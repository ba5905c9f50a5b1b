use std::time::Duration;

use tokio::time::Instant;

use crate::id::ProjectId;

/// Projects that are kept apart at most. Those beyond have their lanes closed for a moment.
const MOST: usize = 64;
/// The pauses between two looks for what others have, while there is nothing: each is twice as long as the one before.
const SOON: Duration = Duration::from_millis(25);
const LATE: Duration = Duration::from_millis(250);
/// A look has others look again after so many times as long as it took.
const COSTS: u32 = 10;

/// The projects that have more ready than they may have in hand. What others have is looked for apart from them, however many lanes
/// they have.
#[derive(Debug, Default)]
pub(super) struct Wide {
    projects: Vec<ProjectId>,
    next_look: Option<Instant>,
    pause: Duration,
}

impl Wide {
    pub(super) fn projects(&self) -> &[ProjectId] {
        &self.projects
    }

    pub(super) fn is_empty(&self) -> bool {
        self.projects.is_empty()
    }

    /// Says whether it is kept apart then.
    pub(super) fn add(&mut self, project: ProjectId) -> bool {
        let known = self.projects.contains(&project);
        if !known && self.projects.len() < MOST {
            self.projects.push(project);
        }
        known || self.projects.contains(&project)
    }

    /// All but these have nothing more.
    pub(super) fn keep(&mut self, beside: &[ProjectId]) {
        self.projects.retain(|project| beside.contains(project));
    }

    /// Others have something new.
    pub(super) fn told_of(&mut self, mut fresh: impl Iterator<Item = ProjectId>) {
        if fresh.any(|project| !self.projects.contains(&project)) {
            self.next_look = None;
        }
    }

    /// When to look for what others have; `None` is now.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next_look.is_none_or(|at| at <= now)
    }

    /// Others were looked for, since this time.
    pub(super) fn looked(&mut self, since: Instant, found: bool, now: Instant) {
        self.pause = if found { Duration::ZERO } else { (2 * self.pause).clamp(SOON, LATE) };
        self.next_look = (!found).then(|| now + self.pause.max(now.duration_since(since) * COSTS));
    }
}
