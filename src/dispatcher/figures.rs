use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::shared::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::id::ProjectId;
use crate::observe::{Bound, Observation};
use crate::settings::{AtBound, Bounds, Room};
use crate::store::Usage;

/// How old the figures may be that bounds are checked against.
const AGE: Duration = Duration::from_secs(1);

/// What waited when it was last looked at, and what has come since.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    known: Mutex<Option<Arc<Known>>>,
    /// One looks for all.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Known {
    at: Instant,
    /// How long they may be checked against.
    good_for: Duration,
    projects: HashMap<ProjectId, Usage>,
    total: Waiting,
    /// What this process has appended since, of each project and in all.
    since: Mutex<(HashMap<ProjectId, Waiting>, Waiting)>,
}

/// What waits as deliveries, and as events.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    deliveries: u64,
    bytes: u64,
    events: u64,
    event_bytes: u64,
}

impl Waiting {
    fn of(usage: &Usage) -> Self {
        let Usage { deliveries, bytes, events, event_bytes, .. } = *usage;
        Self { deliveries, bytes, events, event_bytes }
    }

    fn and(self, more: Self) -> Self {
        Self {
            deliveries: self.deliveries.saturating_add(more.deliveries),
            bytes: self.bytes.saturating_add(more.bytes),
            events: self.events.saturating_add(more.events),
            event_bytes: self.event_bytes.saturating_add(more.event_bytes),
        }
    }

    /// An event counts as one delivery, which it will be at least. Where they are to be parked it does not: what is fanned out is
    /// an event until it is.
    fn fills(self, room: &Room, at_bound: AtBound) -> bool {
        match at_bound {
            AtBound::Park => room.is_full(self.deliveries, self.bytes),
            AtBound::Refuse => {
                room.is_full(self.deliveries.saturating_add(self.events), self.bytes.saturating_add(self.event_bytes))
            }
        }
    }
}

impl Known {
    /// Of what was asked for at this time.
    fn new(at: Instant, usage: Vec<Usage>) -> Self {
        // Where there is very much to count, it is not all that the store does.
        let good_for = AGE.max(at.elapsed() * 10);
        let total = usage.iter().map(Waiting::of).fold(Waiting::default(), Waiting::and);
        let projects = usage.into_iter().map(|usage| (usage.project_id, usage)).collect();
        Self { at, good_for, projects, total, since: Mutex::default() }
    }

    fn reached(&self, bounds: &Bounds, project: ProjectId) -> Option<Bound> {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let of = self.projects.get(&project).map(Waiting::of).unwrap_or_default();
        let of = of.and(since.0.get(&project).copied().unwrap_or_default());
        if of.fills(&bounds.project, bounds.at_bound) {
            return Some(Bound::Project);
        }
        self.total.and(since.1).fills(&bounds.total, bounds.at_bound).then_some(Bound::Total)
    }

    fn appended(&self, project: ProjectId, event_bytes: u64) {
        let more = Waiting { events: 1, event_bytes, ..Waiting::default() };
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let (projects, all) = &mut *since;
        *all = all.and(more);
        let of = projects.entry(project).or_default();
        *of = of.and(more);
    }
}

impl Figures {
    fn fresh(&self) -> Option<Arc<Known>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|known| known.at.elapsed() < known.good_for).map(Arc::clone)
    }

    fn keep(&self, known: Known) -> Arc<Known> {
        let known = Arc::new(known);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
        known
    }
}

impl Inner {
    /// An event was appended, which counts until the figures are new.
    pub(crate) fn count_appended(&self, event: &Event) {
        if self.settings.bounds.look()
            && let Some(known) = self.figures.fresh()
        {
            known.appended(event.project_id, event.json_len().map_or(0, |len| len as u64));
        }
    }

    /// Whether an event of this project comes while too much waits, and what bound that is. Observers are told.
    pub(crate) async fn bound_reached(&self, project: ProjectId) -> Result<Option<Bound>> {
        let bounds = &self.settings.bounds;
        if !bounds.look() {
            return Ok(None);
        }
        let bound = self.figures().await?.reached(bounds, project);
        if let Some(bound) = bound {
            self.observers.tell(|| Observation::BoundReached { bound, project_id: Some(project), times: 1 });
        }
        Ok(bound)
    }

    async fn figures(&self) -> Result<Arc<Known>> {
        if let Some(known) = self.figures.fresh() {
            return Ok(known);
        }
        let _looking = self.figures.looking.lock().await;
        if let Some(known) = self.figures.fresh() {
            return Ok(known);
        }
        let at = crate::clock::instant();
        let usage = self.deliveries.usage().await?.ok_or_else(|| {
            let message = "the store does not count what waits of each project, so bounds cannot be kept; \
                           leave Settings::bounds unlimited, or implement DeliveryStore::usage";
            Error::new(ErrorKind::Invalid, message)
        })?;
        Ok(self.figures.keep(Known::new(at, usage)))
    }
}
