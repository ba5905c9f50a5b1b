use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::caught::{Panicked, caught};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Formats;
use crate::id::TargetId;
use crate::settings::Settings;
#[cfg(feature = "signing")]
use crate::signing::SigningKeys;
use crate::store::{DeliveryStore, PolicySource, PolicyStore, Resolved};
use crate::transport::{DestinationPolicy, Transport};

/// How old the view of the policies may be that decides whether anybody wants an event.
pub(crate) const VIEW_AGE: Duration = Duration::from_secs(1);

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
}

impl Inner {
    /// Asks where deliveries of these targets go now. A host's policy source may panic.
    pub(super) async fn resolve(&self, targets: &[TargetId]) -> Result<Vec<Resolved>> {
        let panicked = || Error::new(ErrorKind::Unavailable, "the policy source panicked");
        caught(self.source.resolve(targets)).await.unwrap_or_else(|Panicked| Err(panicked()))
    }
}
