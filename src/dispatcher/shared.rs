use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::figures::Figures;
use super::pulse::Pulse;
use crate::caught::{Panicked, caught};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::format::Formats;
use crate::id::TargetId;
use crate::observe::{Cycle, Observation, Observers};
use crate::policy::Policy;
use crate::settings::Settings;
#[cfg(feature = "signing")]
use crate::signing::SigningKeys;
use crate::store::{DeliveryStore, PolicySource, PolicyStore, Resolved};
use crate::transport::{DestinationPolicy, Transport};

/// How old the view of the policies may be that decides whether anybody wants an event.
const VIEW_AGE: Duration = Duration::from_secs(1);

/// What the front door and the dispatcher share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) source: Arc<dyn PolicySource>,
    pub(crate) policies: Option<Arc<dyn PolicyStore>>,
    pub(crate) deliveries: Arc<dyn DeliveryStore>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) formats: Formats,
    pub(crate) destination: DestinationPolicy,
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    /// Those that sign every request.
    #[cfg(feature = "signing")]
    pub(crate) signing_keys: Option<SigningKeys>,
    /// Wakes intake when this process appended an event.
    pub(crate) appended: Notify,
    pub(crate) observers: Observers,
    pub(crate) pulse: Pulse,
    pub(crate) figures: Figures,
}

impl Inner {
    /// The policies that an event goes to. A test is asked for by somebody who may just have made the policy, perhaps on
    /// another node: no view is new enough for it.
    pub(crate) async fn subscribers(&self, event: &Event) -> Result<Vec<Arc<Policy>>> {
        let age = if event.is_test() { Duration::ZERO } else { VIEW_AGE };
        let mut policies = self.source.subscribers(event.project_id, event.event_type, age).await?;
        policies.retain(|policy| event.is_for(policy.id));
        Ok(policies)
    }

    /// The store failed, and a cycle tries again after a pause.
    pub(super) fn trouble(&self, cycle: Cycle, error: &Error, pause: Duration) {
        self.pulse.failed(cycle, error, &*self.clock);
        self.observers.tell(|| Observation::StoreFailed { cycle, error, pause });
    }

    /// Asks where deliveries of these targets go now. A host's policy source may panic, or leave targets out: that says nothing of
    /// whether they are gone.
    pub(crate) async fn resolve(&self, targets: &[TargetId]) -> Result<Vec<Resolved>> {
        let fault = |what: String| Err(Error::new(ErrorKind::Unavailable, format!("the policy source {what}")));
        match caught(self.source.resolve(targets)).await {
            Ok(Ok(resolved)) if resolved.len() != targets.len() => {
                fault(format!("gave {} answers for {} targets", resolved.len(), targets.len()))
            }
            Ok(answer) => answer,
            Err(Panicked) => fault("panicked".to_owned()),
        }
    }
}
