use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

mod cache;
mod deliveries;
mod target;

use cache::Cache;

use super::{Page, PolicyFilter, PolicySource, PolicyStore, Resolved, pair_targets};
use crate::error::Result;
use crate::event::EventType;
use crate::id::{PolicyId, ProjectId, TargetId};
use crate::policy::{Policy, PolicyDraft, PolicyTarget, Target};
use crate::sealing::SecretSealer;

/// Policies read at once when all are sealed anew.
const ROUND: usize = 100;

/// A store whose secrets are sealed: it gives a store of any kind only what a [`SecretSealer`] has made of them.
///
/// Sealed are the address of each target, its `Authorization` value and its options with their keys, all in one, so that none
/// can be given to another target. Names, event types, and events and deliveries with their bodies are not: they hold none of
/// these secrets.
///
/// ```
/// use harbor_webhook::sealing::{SealingKey, SealingKeys};
/// use harbor_webhook::store::{MemoryStore, Sealed};
/// use harbor_webhook::transport::DestinationPolicy;
/// use harbor_webhook::Webhooks;
///
/// # let key = SealingKey::generate()?.expose();
/// let keys = SealingKeys::new("2026", key.parse()?)?; // from the host's configuration
/// let store = Sealed::new(MemoryStore::new(), keys);
/// let hooks = Webhooks::builder(store, DestinationPolicy::private_networks()).build()?;
/// # Ok::<(), harbor_webhook::Error>(())
/// ```
///
/// Targets that were stored in clear before go on working; [`reseal`](Self::reseal) seals them. Where they lay in clear, in
/// free pages of the database or in backups, they may still be found: give such secrets anew.
///
/// If a key is missing, nothing is lost: reading such a policy is an error that names the key, its deliveries wait with the
/// reason [`Sealed`](super::Hold::Sealed), and go on when the key is there.
#[derive(Clone)]
pub struct Sealed<S> {
    store: S,
    sealer: Arc<dyn SecretSealer>,
    opened: Arc<Opened>,
    /// Changes take turns, as each reads what it changes.
    turn: Arc<Mutex<()>>,
}

/// What was opened lately: it is asked for with every event and every attempt.
#[derive(Default)]
struct Opened {
    policies: Cache<PolicyId, Policy>,
    targets: Cache<TargetId, Target>,
}

impl<S> Sealed<S> {
    /// Puts the sealer before the store.
    pub fn new(store: S, sealer: impl SecretSealer) -> Self {
        Self { store, sealer: Arc::new(sealer), opened: Arc::default(), turn: Arc::default() }
    }

    /// The store behind, for what only it can do, such as `migrate`. Its policies are the sealed ones.
    pub fn inner(&self) -> &S {
        &self.store
    }

    /// With its secrets opened. A policy of which one cannot be opened is an error that says which.
    fn open(&self, mut policy: Policy) -> Result<Policy> {
        for PolicyTarget { id, target } in &mut policy.targets {
            *target = target::open(&*self.sealer, target).map_err(|e| target::of(policy.id, *id, &e))?;
        }
        Ok(policy)
    }

    /// With its secrets opened, as far as that is possible.
    fn opened(&self, policy: &Arc<Policy>) -> Arc<Policy> {
        self.opened.policies.get(policy.id, policy, |policy| self.open(policy.clone()).ok())
    }

    /// With its secrets opened; as it is, and so not to be sent to, if that is not possible.
    fn target(&self, id: TargetId, sealed: &Arc<Target>) -> Arc<Target> {
        self.opened.targets.get(id, sealed, |target| match target::open(&*self.sealer, target) {
            Ok(target) => Some(target),
            Err(error) => {
                tracing::error!(target = %id, %error, "the deliveries of a target wait, as its secrets cannot be opened");
                None
            }
        })
    }

    fn needs_sealing(&self, policy: &Policy) -> bool {
        policy.targets.iter().any(|target| !target::is_sealed_newly(&*self.sealer, &target.target))
    }
}

impl<S: PolicyStore> Sealed<S> {
    /// Seals anew, with the newest key, whatever is sealed with an older one or lies in clear, and says in how many policies
    /// that was. Their update time becomes now. It may be called again at any time.
    ///
    /// Changes through this value wait for it; changes by other nodes to the same policy at the same moment can be lost, so call
    /// it when nobody is editing policies there.
    ///
    /// # Errors
    ///
    /// [`Store`](crate::ErrorKind::Store) if a policy cannot be opened, which stays as it is, as do those after it; the store's.
    pub async fn reseal(&self) -> Result<u64> {
        let _turn = self.turn.lock().await;
        let (mut page, mut count) = (Page::first(ROUND), 0);
        loop {
            let policies = self.store.policies(PolicyFilter::All, page).await?;
            let last = policies.last().map(|policy| policy.id.0);
            for policy in policies.into_iter().filter(|policy| self.needs_sealing(policy)) {
                self.reseal_one(policy).await?;
                count += 1;
            }
            match last {
                Some(last) => page = Page::after(last, ROUND),
                None => return Ok(count),
            }
        }
    }

    /// Gives the policy as it is sealed now. Its targets keep their places, and with them their ids.
    async fn reseal_one(&self, sealed: Policy) -> Result<Policy> {
        let tags: Vec<_> = sealed.targets.iter().map(|target| target::tag(&target.target)).collect();
        let (id, policy) = (sealed.id, self.open(sealed)?);
        let mut draft = PolicyDraft::new(policy.name).on_all(policy.event_types).description(policy.description);
        draft = draft.creator(policy.creator).enabled(policy.enabled);
        draft.targets = policy.targets.into_iter().map(|target| target.target).collect();
        self.store.replace(id, self.seal(draft, tags)?).await
    }

    /// `tags` are those of the stored targets that these follow.
    fn seal(&self, mut draft: PolicyDraft, tags: Vec<Option<String>>) -> Result<PolicyDraft> {
        for (target, tag) in draft.targets.iter_mut().zip(tags) {
            *target = target::seal(&*self.sealer, target, tag)?;
        }
        Ok(draft)
    }
}

#[async_trait]
impl<S: PolicySource> PolicySource for Sealed<S> {
    async fn subscribers(
        &self,
        project: ProjectId,
        event_type: EventType,
        max_age: Duration,
    ) -> Result<Vec<Arc<Policy>>> {
        let policies = self.store.subscribers(project, event_type, max_age).await?;
        Ok(policies.iter().map(|policy| self.opened(policy)).collect())
    }

    async fn resolve(&self, targets: &[TargetId]) -> Result<Vec<Resolved>> {
        let resolved = self.store.resolve(targets).await?;
        let open = |(id, resolved): (&TargetId, Resolved)| match resolved {
            Resolved::Send(target) => Resolved::Send(self.target(*id, &target)),
            other => other,
        };
        Ok(targets.iter().zip(resolved).map(open).collect())
    }
}

#[async_trait]
impl<S: PolicyStore> PolicyStore for Sealed<S> {
    async fn create(&self, project: ProjectId, draft: PolicyDraft) -> Result<Policy> {
        let fresh = vec![None; draft.targets.len()];
        self.open(self.store.create(project, self.seal(draft, fresh)?).await?)
    }

    async fn replace(&self, id: PolicyId, draft: PolicyDraft) -> Result<Policy> {
        let _turn = self.turn.lock().await;
        let old = self.store.policies(PolicyFilter::Id(id), Page::first(1)).await?;
        let mut tags = vec![None; draft.targets.len()];
        if let Some(mut old) = old.into_iter().next() {
            if old.targets.iter().any(|target| target::tag(&target.target).is_none()) {
                // So that each has a tag by which the store can pair them.
                old = self.reseal_one(old).await?;
            }
            let clear = self.open(old.clone())?;
            let tag = |kept: Option<TargetId>| old.targets.iter().find(|old| Some(old.id) == kept);
            let paired = pair_targets(&clear.targets, &draft.targets).into_iter();
            tags = paired.map(|kept| tag(kept).and_then(|old| target::tag(&old.target))).collect();
        }
        self.open(self.store.replace(id, self.seal(draft, tags)?).await?)
    }

    async fn delete(&self, which: PolicyFilter) -> Result<u64> {
        self.store.delete(which).await
    }

    async fn policies(&self, which: PolicyFilter, page: Page) -> Result<Vec<Policy>> {
        self.store.policies(which, page).await?.into_iter().map(|policy| self.open(policy)).collect()
    }

    async fn switch(&self, on: Option<bool>) -> Result<bool> {
        self.store.switch(on).await
    }
}

impl<S: fmt::Debug> fmt::Debug for Sealed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("store", &self.store).field("sealer", &self.sealer).finish_non_exhaustive()
    }
}
