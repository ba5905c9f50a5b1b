use std::sync::Arc;

use tokio::sync::Notify;

use super::Webhooks;
use crate::clock::{Clock, Guarded, SystemClock};
use crate::dispatcher::{Figures, Inner, Pulse};
#[allow(unused_imports)] // `ErrorKind` is named in the documentation
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Format, Formats};
use crate::observe::{Observer, Observers};
use crate::settings::Settings;
#[cfg(feature = "signing")]
use crate::signing::SigningKeys;
use crate::store::{DeliveryStore, PolicySource, PolicyStore};
use crate::transport::{DestinationPolicy, Transport};

/// Builds a [`Webhooks`].
#[derive(Debug)]
#[must_use = "call build()"]
pub struct Builder {
    source: Arc<dyn PolicySource>,
    policies: Option<Arc<dyn PolicyStore>>,
    deliveries: Arc<dyn DeliveryStore>,
    destination: DestinationPolicy,
    transport: Option<Arc<dyn Transport>>,
    formats: Vec<Arc<dyn Format>>,
    settings: Settings,
    clock: Arc<dyn Clock>,
    observers: Observers,
    #[cfg(feature = "signing")]
    signing_keys: Option<SigningKeys>,
}

impl Builder {
    pub(super) fn new(
        policies: Arc<dyn PolicyStore>,
        deliveries: Arc<dyn DeliveryStore>,
        destination: DestinationPolicy,
    ) -> Self {
        let source: Arc<dyn PolicySource> = Arc::clone(&policies) as _;
        Self { policies: Some(policies), ..Self::with_source(source, deliveries, destination) }
    }

    pub(super) fn with_source(
        source: Arc<dyn PolicySource>,
        deliveries: Arc<dyn DeliveryStore>,
        destination: DestinationPolicy,
    ) -> Self {
        Self {
            source,
            policies: None,
            deliveries,
            destination,
            transport: None,
            formats: Vec::new(),
            settings: Settings::harbor(),
            clock: Arc::new(SystemClock),
            observers: Observers::default(),
            #[cfg(feature = "signing")]
            signing_keys: None,
        }
    }

    /// Replaces [`Settings::harbor`].
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Adds a format that targets can select by its name.
    pub fn format(mut self, format: impl Format) -> Self {
        self.formats.push(Arc::new(format));
        self
    }

    /// Replaces the transport. Without one, the crate's own on reqwest is used.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// Replaces the system's clock as the source of the times that people read.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(Guarded(clock));
        self
    }

    /// Adds an observer, which is told what happens. There may be any number of them.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers.add(Arc::new(observer));
        self
    }

    /// Signs every request with these keys, beside those that its target has of its own
    /// ([`Target::signing_keys`](crate::policy::Target::signing_keys)).
    #[cfg(feature = "signing")]
    pub fn signing_keys(mut self, keys: impl Into<SigningKeys>) -> Self {
        self.signing_keys = Some(keys.into());
        self
    }

    /// Builds it. Nothing starts yet: see [`Webhooks::run`].
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) if two formats have one name; [`Invalid`](ErrorKind::Invalid) if the timeout is zero, or there is no
    /// transport, which happens only without the feature `reqwest`.
    pub fn build(self) -> Result<Webhooks> {
        if self.settings.timeout.is_zero() {
            return Err(Error::invalid(
                "timeout",
                "is zero, so no attempt could succeed; give the seconds that one may take",
            ));
        }
        let mut formats = Formats::default();
        for format in self.formats {
            formats.register(format)?;
        }
        let transport = match self.transport {
            Some(transport) => transport,
            None => default_transport()?,
        };
        let inner = Inner {
            source: self.source,
            policies: self.policies,
            deliveries: self.deliveries,
            transport,
            formats,
            destination: self.destination,
            settings: self.settings,
            clock: self.clock,
            #[cfg(feature = "signing")]
            signing_keys: self.signing_keys,
            appended: Notify::new(),
            observers: self.observers,
            pulse: Pulse::default(),
            figures: Figures::default(),
        };
        Ok(Webhooks { inner: Arc::new(inner) })
    }
}

#[cfg(feature = "reqwest")]
#[allow(clippy::unnecessary_wraps)] // its twin below fails
fn default_transport() -> Result<Arc<dyn Transport>> {
    Ok(Arc::new(crate::transport::ReqwestTransport::new()))
}

#[cfg(not(feature = "reqwest"))]
fn default_transport() -> Result<Arc<dyn Transport>> {
    Err(Error::new(
        ErrorKind::Invalid,
        "there is no transport: give one with .transport(..), or enable the feature reqwest",
    ))
}
