use crate::delivery::CancelReason;
use crate::dispatcher::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{PolicyId, ProjectId};
use crate::policy::{Policy, PolicyDraft};
use crate::store::{Change, Filter, Hold, Page, PolicyFilter};

/// The policies behind a [`Webhooks`](super::Webhooks).
///
/// Every method fails with [`NotFound`](ErrorKind::NotFound) if the host keeps its policies itself.
#[derive(Clone, Copy, Debug)]
pub struct Policies<'a> {
    inner: &'a Inner,
}

impl<'a> Policies<'a> {
    pub(super) fn new(inner: &'a Inner) -> Self {
        Self { inner }
    }

    /// Creates a policy. It holds here at once and on other nodes within a second.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) with Harbor's message if the draft breaks a rule, names an unknown format, an
    /// address that the destination policy forbids, or certificates that are none; [`Conflict`](ErrorKind::Conflict) if the name is taken.
    pub async fn create(&self, project: ProjectId, draft: PolicyDraft) -> Result<Policy> {
        self.check(&draft)?;
        self.inner.policy_store()?.create(project, draft).await
    }

    /// Replaces a policy. Waiting deliveries follow their targets: they go to the new address, with the new
    /// credentials and the body they have. Deliveries of a target that is gone are cancelled. Targets that failed are tried anew,
    /// and those that were disabled are enabled: whoever saved the policy has seen to them.
    ///
    /// # Errors
    ///
    /// As for [`Policies::create`], and [`NotFound`](ErrorKind::NotFound).
    pub async fn replace(&self, id: PolicyId, draft: PolicyDraft) -> Result<Policy> {
        self.check(&draft)?;
        let policy = self.inner.policy_store()?.replace(id, draft).await?;
        // What waited for the policy to be enabled need not wait for the next look at it.
        self.inner.change_all(&Filter::policy(id), Change::OpenLanes(Hold::Disabled)).await?;
        for target in &policy.targets {
            self.inner.start_anew(target.id).await?;
        }
        Ok(policy)
    }

    /// Deletes a policy and cancels what waits for its targets.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound).
    pub async fn delete(&self, id: PolicyId) -> Result<()> {
        if self.inner.policy_store()?.delete(PolicyFilter::Id(id)).await? == 0 {
            return Err(not_found(id));
        }
        self.inner.change_all(&Filter::policy(id), Change::Cancel(CancelReason::TargetGone)).await
    }

    /// One policy.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound).
    pub async fn get(&self, id: PolicyId) -> Result<Policy> {
        let found = self.list(PolicyFilter::Id(id), Page::first(1)).await?;
        found.into_iter().next().ok_or_else(|| not_found(id))
    }

    /// Lists policies, newest first unless the page says otherwise.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn list(&self, which: PolicyFilter, page: Page) -> Result<Vec<Policy>> {
        self.inner.policy_store()?.policies(which, page).await
    }

    /// Creates a policy, or replaces the one of the same name in the project.
    ///
    /// # Errors
    ///
    /// As for [`Policies::create`].
    pub async fn upsert(&self, project: ProjectId, draft: PolicyDraft) -> Result<Policy> {
        if let Some(id) = self.find(project, &draft.name).await? {
            return self.replace(id, draft).await;
        }
        match self.create(project, draft.clone()).await {
            // Somebody else has just made it, another node perhaps.
            Err(e) if e.kind() == ErrorKind::Conflict => match self.find(project, &draft.name).await? {
                Some(id) => self.replace(id, draft).await,
                None => Err(e),
            },
            created => created,
        }
    }

    /// The project's policy of this name.
    async fn find(&self, project: ProjectId, name: &str) -> Result<Option<PolicyId>> {
        let mut page = Page::first(500);
        loop {
            let policies = self.list(PolicyFilter::Project(project), page).await?;
            if let Some(policy) = policies.iter().find(|policy| policy.name == name) {
                return Ok(Some(policy.id));
            }
            match policies.last() {
                Some(last) if policies.len() == page.limit => page = Page::after(last.id.0, page.limit),
                _ => return Ok(None),
            }
        }
    }

    /// Whether a draft breaks no rule.
    pub(crate) fn check(&self, draft: &PolicyDraft) -> Result<()> {
        draft.check(|name| self.inner.formats.find(name).is_some())?;
        for target in &draft.targets {
            let allowed = self.inner.destination.check_address(&target.address);
            allowed.map_err(|blocked| Error::invalid("address", blocked))?;
            self.inner.transport.check_target(target)?;
        }
        Ok(())
    }
}

fn not_found(id: PolicyId) -> Error {
    Error::new(ErrorKind::NotFound, format!("notificationPolicy {id} not found"))
}
