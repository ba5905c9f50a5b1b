use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::id::ProjectId;

/// What wakes the cycle that sends: there are new deliveries, or room in lanes.
#[derive(Debug, Default)]
pub(super) struct News {
    wakes: Notify,
    projects: Mutex<HashSet<ProjectId>>,
}

impl News {
    /// There are new deliveries of these projects.
    pub(super) fn tell_of(&self, projects: impl Iterator<Item = ProjectId>) {
        self.projects.lock().unwrap_or_else(PoisonError::into_inner).extend(projects);
        self.tell();
    }

    /// Lanes have room again.
    pub(super) fn tell(&self) {
        self.wakes.notify_one();
    }

    pub(super) fn wakes(&self) -> &Notify {
        &self.wakes
    }

    /// Returns when there are some.
    pub(super) async fn told(&self) {
        self.wakes.notified().await;
    }

    /// The projects of what is new since the last time.
    pub(super) fn take(&self) -> impl Iterator<Item = ProjectId> + use<> {
        std::mem::take(&mut *self.projects.lock().unwrap_or_else(PoisonError::into_inner)).into_iter()
    }
}
