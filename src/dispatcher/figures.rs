use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::shared::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ProjectId;
use crate::observe::{Bound, Observation};
use crate::settings::Bounds;
use crate::store::Usage;

/// How old the figures may be that bounds are checked against.
const AGE: Duration = Duration::from_secs(1);

/// What waited when it was last looked at.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    known: Mutex<Option<Arc<Known>>>,
    /// One looks for all.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Known {
    at: Instant,
    deliveries: u64,
    bytes: u64,
    projects: HashMap<ProjectId, Usage>,
}

impl Known {
    fn new(at: Instant, usage: Vec<Usage>) -> Self {
        let sum = |of: fn(&Usage) -> u64| usage.iter().map(of).fold(0, u64::saturating_add);
        let (deliveries, bytes) = (sum(|usage| usage.deliveries), sum(|usage| usage.bytes));
        Self { at, deliveries, bytes, projects: usage.into_iter().map(|usage| (usage.project_id, usage)).collect() }
    }

    fn reached(&self, bounds: &Bounds, project: ProjectId) -> Option<Bound> {
        let of = self.projects.get(&project).map_or((0, 0), |usage| (usage.deliveries, usage.bytes));
        if bounds.project.is_full(of.0, of.1) {
            return Some(Bound::Project);
        }
        bounds.total.is_full(self.deliveries, self.bytes).then_some(Bound::Total)
    }
}

impl Figures {
    fn fresh(&self) -> Option<Arc<Known>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|known| known.at.elapsed() < AGE).map(Arc::clone)
    }

    fn keep(&self, known: Known) -> Arc<Known> {
        let known = Arc::new(known);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
        known
    }
}

impl Inner {
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
