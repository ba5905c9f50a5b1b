use tokio::time::Instant;

use super::{PATIENCE, Turn};

/// The part of all attempts, or of those of a project, that others may have to wait for.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// Long ones.
    pub(super) old: usize,
    /// Young ones at doubtful targets.
    pub(super) doubtful: usize,
    /// Young ones that began while it was tight, at targets which had not answered since.
    pub(super) unproven: usize,
    /// Since when it is tight.
    pub(super) tight: Option<Instant>,
    /// Since when it could be over.
    eased: Option<Instant>,
}

impl Share {
    pub(super) fn begins(&mut self, doubtful: bool, unproven: bool) {
        self.doubtful += usize::from(doubtful);
        self.unproven += usize::from(unproven);
    }

    /// A young one is over, or not young any longer.
    pub(super) fn is_over(&mut self, turn: &Turn) {
        self.doubtful -= usize::from(turn.doubtful);
        self.unproven -= usize::from(turn.unproven);
    }

    /// How many attempts have places, or are likely to take them.
    pub(super) fn taken(&self) -> usize {
        self.old + self.doubtful
    }

    /// It is tight from when all places are taken until they have not been for a while: those that waited are likely to take them
    /// again.
    pub(super) fn settle(&mut self, most: usize, now: Instant) {
        if self.old >= most {
            self.tight.get_or_insert(now);
            self.eased = None;
        } else if self.tight.is_some() {
            let eased = *self.eased.get_or_insert(now);
            if now >= eased + 2 * PATIENCE {
                (self.tight, self.eased) = (None, None);
            }
        }
    }

    /// Whether there is nothing to know of it.
    pub(super) fn is_idle(&self) -> bool {
        self.taken() + self.unproven == 0 && self.tight.is_none()
    }
}
