use uuid::Uuid;

use super::Webhooks;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventType};
use crate::id::PolicyId;
use crate::notified::Notified;
use crate::policy::Policy;

impl Webhooks {
    /// Sends a sample to the targets of one policy, on the way that every event takes: outbox, matching, format, destination
    /// policy, transport, retries, history. No other policy gets it.
    ///
    /// The sample is the one that Harbor's manual shows of the event type `of`, or of the first one that the policy lists.
    /// Nothing in the body says that it is a test; the header `webhook-test: true` does, and
    /// [`Delivery::is_test`](crate::delivery::Delivery::is_test). A host that wants to send something else makes a test of
    /// an event of its own: [`Event::as_test`].
    ///
    /// The answer is the event's id: [`Filter::event`](crate::store::Filter::event) finds its deliveries, as soon as the
    /// event is fanned out.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such policy; [`Conflict`](ErrorKind::Conflict) if it is disabled or
    /// webhooks are switched off; [`Invalid`](ErrorKind::Invalid) if the policy does not list the event type; those of
    /// [`notify`](Self::notify).
    pub async fn send_test(&self, policy: PolicyId, of: Option<EventType>) -> Result<Uuid> {
        let policy = self.policies().get(policy).await?;
        if !policy.enabled {
            return Err(conflict(&policy, "is disabled; enable it, then test it"));
        }
        if !self.is_on().await? {
            return Err(Error::new(ErrorKind::Conflict, "webhooks are switched off; switch them on, then test"));
        }
        let event_type = listed(&policy, of)?;
        let test = Event::sample(policy.project_id, event_type, self.inner.clock.now())?.as_test(policy.id);
        match self.notify(&test).await? {
            Notified::Queued | Notified::Duplicate => Ok(test.id),
            Notified::NoSubscriber => Err(conflict(&policy, "was changed in this moment; look at it, then test again")),
        }
    }
}

/// The type to test with.
fn listed(policy: &Policy, of: Option<EventType>) -> Result<EventType> {
    let listed = &policy.event_types;
    of.or(listed.first().copied()).filter(|wanted| listed.contains(wanted)).ok_or_else(|| {
        let names: Vec<_> = listed.iter().map(|listed| listed.as_str()).collect();
        Error::invalid("event_type", format_args!("policy {} does not list it, but {}", policy.id, names.join(", ")))
    })
}

fn conflict(policy: &Policy, problem: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("notificationPolicy {}: {problem}", policy.id))
}
