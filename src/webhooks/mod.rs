//! The front door.

mod builder;
mod explain;
mod health;
mod lanes;
mod operate;
mod overview;
mod policies;
mod relay;
mod send_test;

use std::future::Future;
use std::sync::Arc;

pub use builder::Builder;
pub use explain::{Explanation, Obstacle, PolicyExplained, TargetExplained};
pub use operate::{Redelivered, Skipped};
pub use overview::{PolicyState, TargetState};
pub use policies::Policies;
pub use relay::{EventSource, Relayed};

use crate::delivery::{Delivery, job_log};
use crate::dispatcher::{self, Inner};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::id::{DeliveryId, ProjectId};
use crate::notified::Notified;
use crate::observe::{Bound, Observation};
use crate::settings::AtBound;
use crate::store::{
    Appended, Change, Changed, DeliveryStore, Detail, Filter, Hold, Page, PolicyFilter, PolicySource, PolicyStore,
    Status, Usage,
};
use crate::transport::DestinationPolicy;

/// Webhook notifications: takes events in, gets them to their receivers, remembers what happened.
///
/// A handle: cloning it is cheap, and all clones are the same. [`Webhooks::notify`] may be called from anywhere;
/// [`Webhooks::run`] must be awaited somewhere for anything to be sent.
///
/// ```
/// use harbor_webhook::event::{Artifact, Registry};
/// use harbor_webhook::policy::{PolicyDraft, Target};
/// use harbor_webhook::store::MemoryStore;
/// use harbor_webhook::transport::DestinationPolicy;
/// use harbor_webhook::{EventType, ProjectId, Webhooks};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), harbor_webhook::Error> {
/// let hooks = Webhooks::builder(MemoryStore::new(), DestinationPolicy::private_networks()).build()?;
///
/// let ci = Target::http("https://ci.example.com/hook")?.auth_header("Bearer s3cret")?;
/// hooks.policies().create(ProjectId(2), PolicyDraft::new("ci").on(EventType::PushArtifact).target(ci)).await?;
///
/// let registry = Registry::new("hub.example.com")?;
/// let digest = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";
/// let event = registry.push(ProjectId(2), "library/alpine", Artifact::tagged("3.20", digest)?).operator("admin");
/// hooks.notify(&event).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Webhooks {
    pub(crate) inner: Arc<Inner>,
}

impl Webhooks {
    /// Starts to build one on a store that keeps both policies and deliveries.
    ///
    /// `destination` says where webhooks may go. There is no default: a registry on the internet and one in a
    /// company's network need different answers.
    pub fn builder<S: PolicyStore + DeliveryStore>(store: S, destination: DestinationPolicy) -> Builder {
        let store = Arc::new(store);
        Builder::new(Arc::clone(&store) as Arc<dyn PolicyStore>, store, destination)
    }

    /// Starts to build one on a host's own policies: [`Webhooks::policies`] is not available then.
    pub fn with_policy_source(
        source: Arc<dyn PolicySource>,
        deliveries: Arc<dyn DeliveryStore>,
        destination: DestinationPolicy,
    ) -> Builder {
        Builder::with_source(source, deliveries, destination)
    }

    /// Takes an event. At most one small durable write; none when nobody wants it. Never waits for a receiver.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if the event breaks a rule (see [`Event::check`]) or is larger than 1 MiB as JSON;
    /// [`Full`](ErrorKind::Full) if the store is at its bound, or [`Bounds`](crate::Bounds) say so; [`Unavailable`](ErrorKind::Unavailable) or
    /// [`Store`](ErrorKind::Store) if it cannot write. The event is not kept then.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped the event was taken or was not; calling again with the same event is safe.
    pub async fn notify(&self, event: &Event) -> Result<Notified> {
        let outcome = self.take(event).await;
        self.inner.observers.tell(|| Observation::Notified { event, outcome: outcome.as_ref().copied() });
        outcome
    }

    async fn take(&self, event: &Event) -> Result<Notified> {
        event.check()?;
        match self.inner.subscribers(event).await {
            Ok(nobody) if nobody.is_empty() => return Ok(Notified::NoSubscriber),
            Ok(_) => {}
            // Without a view the event is kept; intake asks again when it fans out.
            Err(e) => tracing::debug!(error = %e, "no view of the policies, so the event is kept"),
        }
        event.check_size()?;
        self.check_bounds(event).await?;
        let appended = self.inner.deliveries.append(std::slice::from_ref(event)).await.inspect_err(|e| {
            let (bound, project_id) = (Bound::Outbox, Some(event.project_id));
            if e.kind() == ErrorKind::Full {
                self.inner.observers.tell(|| Observation::BoundReached { bound, project_id, times: 1 });
            }
        })?;
        self.inner.appended.notify_one();
        if let Some(Appended::Duplicate) = appended.first() {
            return Ok(Notified::Duplicate);
        }
        self.inner.count_appended(event);
        Ok(Notified::Queued)
    }

    /// A test is what somebody tries to find out with why so much waits.
    async fn check_bounds(&self, event: &Event) -> Result<()> {
        if self.inner.settings.bounds.at_bound != AtBound::Refuse || event.is_test() {
            return Ok(());
        }
        let whose = match self.inner.bound_reached(event.project_id).await? {
            None => return Ok(()),
            Some(Bound::Project) => format!("of project {}", event.project_id),
            Some(_) => "in all".to_owned(),
        };
        let message = format!("as much waits {whose} as Settings::bounds allows; try again when it has drained");
        Err(Error::new(ErrorKind::Full, message))
    }

    /// Sends until `shutdown` completes: fans events out, makes attempts, records them, cleans up.
    ///
    /// Nothing runs unless this future is polled. Any number of them may run against one store that allows it. At
    /// shutdown no new attempt starts; those under way get [`shutdown_grace`](crate::Settings::shutdown_grace), then they are given back without
    /// being counted.
    ///
    /// # Errors
    ///
    /// [`Store`](ErrorKind::Store) when the store needs an operator, for example because another process sends from
    /// the same file. Passing faults are waited out.
    ///
    /// # Cancellation
    ///
    /// Dropping the future stops at once; what was under way is sent again when its lease has run out.
    pub async fn run(&self, shutdown: impl Future) -> Result<()> {
        dispatcher::run(Arc::clone(&self.inner), shutdown).await
    }

    /// The policies: create, replace, delete, list.
    pub fn policies(&self) -> Policies<'_> {
        Policies::new(&self.inner)
    }

    /// Switches all webhooks on or off. Off, events are not taken and nothing is sent; deliveries that wait go on waiting
    /// and ageing. It holds here at once and on other nodes within a second.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn switch(&self, on: bool) -> Result<()> {
        self.inner.policy_store()?.switch(Some(on)).await?;
        if on {
            self.change_all(&Filter::all(), Change::OpenLanes(Hold::SwitchedOff)).await?;
        }
        Ok(())
    }

    /// Whether webhooks are switched on.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn is_on(&self) -> Result<bool> {
        self.inner.policy_store()?.switch(None).await
    }

    /// Lists deliveries, newest first unless the page says otherwise.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn deliveries(&self, which: &Filter, page: Page) -> Result<Vec<Delivery>> {
        self.inner.deliveries.list(which, page).await
    }

    /// How many deliveries are selected. The bundled stores keep the numbers of each target and state; what a filter selects
    /// by event type or time is counted when it is asked for.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn count_deliveries(&self, which: &Filter) -> Result<u64> {
        self.inner.deliveries.count(which).await
    }

    /// One delivery with its body and its attempts.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn delivery(&self, id: DeliveryId) -> Result<Option<Detail>> {
        self.inner.deliveries.detail(id).await
    }

    /// The log of a delivery in the lines of Harbor's job log, with every attempt that was made.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such delivery (any more); the store's.
    pub async fn job_log(&self, id: DeliveryId) -> Result<String> {
        let detail = self.delivery(id).await?.ok_or_else(|| no_delivery(id))?;
        Ok(job_log(&detail.delivery, detail.body.as_ref().map(|body| &*body.bytes), &detail.attempts))
    }

    /// Removes everything of a project: its policies, what waits, and the history.
    ///
    /// # Errors
    ///
    /// The store's. Calling again goes on where it failed.
    pub async fn delete_project(&self, project: ProjectId) -> Result<()> {
        if let Some(policies) = &self.inner.policies {
            policies.delete(PolicyFilter::Project(project)).await?;
        }
        self.change_all(&Filter::project(project), Change::Forget).await
    }

    /// What waits, how much and how old. May be one second old.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn status(&self) -> Result<Status> {
        self.inner.deliveries.status().await
    }

    /// How much of what waits is each project's, those left out that have nothing waiting. May be one second old.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if the store does not count it (the bundled ones do); the store's.
    pub async fn usage(&self) -> Result<Vec<Usage>> {
        let usage = self.inner.deliveries.usage().await?;
        usage.ok_or_else(|| Error::new(ErrorKind::Invalid, "the store does not count what waits of each project"))
    }

    async fn change_all(&self, which: &Filter, to: Change) -> Result<()> {
        self.inner.change_all(which, to).await
    }
}

impl Inner {
    fn policy_store(&self) -> Result<&Arc<dyn PolicyStore>> {
        self.policies
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "the host keeps its policies itself; change them there"))
    }

    /// Changes a page of deliveries, and tells of it.
    async fn change(&self, which: &Filter, to: Change, page: Page) -> Result<Changed> {
        let changed = self.deliveries.change(which, to, page).await?;
        if changed.count > 0 {
            self.observers.tell(|| Observation::Changed { to, count: changed.count });
        }
        Ok(changed)
    }

    /// Goes on until all selected deliveries are changed.
    async fn change_all(&self, which: &Filter, to: Change) -> Result<()> {
        let mut page = Page::first(1000);
        loop {
            match self.change(which, to, page).await?.next {
                Some(next) => page = Page::after(next, 1000),
                None => return Ok(()),
            }
        }
    }
}

fn no_delivery(id: DeliveryId) -> Error {
    Error::new(ErrorKind::NotFound, format!("delivery {id} not found; it was never made, or swept from the history"))
}
