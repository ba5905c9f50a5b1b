//! What the checks build on: a store with policies, and short ways to fill and empty it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::sentences::SETTLED;
use super::{Broken, Factory};
use crate::delivery::{Attempt, Delivery, Outcome, State};
use crate::event::{Artifact, Event, EventType, Registry};
use crate::id::{DeliveryId, ProjectId};
use crate::policy::{Policy, PolicyDraft, Target};
use crate::signing::SigningKey;
use crate::store::{
    Body, Change, Claimed, DeliveryStore, Detail, FanOut, Fenced, Filter, LaneLimits, Lease, NewDelivery, Next, Page,
    PolicyStore, Settled, Settlement, Status,
};

/// Longer than any check takes.
pub(super) const LONG: Duration = Duration::from_secs(60 * 60);
/// A lease that runs out at once.
pub(super) const MOMENT: Duration = Duration::from_millis(2);
/// So much later it has.
pub(super) const LATER: Duration = Duration::from_millis(25);
/// More than a store is ever asked for.
pub(super) const ALL: usize = 10_000;

pub(super) const PROJECT: ProjectId = ProjectId(2);
pub(super) const OTHER: ProjectId = ProjectId(3);

/// Fails with the sentence unless the condition holds.
macro_rules! promise {
    ($sentence:expr, $holds:expr, $($found:tt)+) => {
        if !$holds {
            return Err($crate::store::conformance::Broken::new($sentence, format!($($found)+)));
        }
    };
}
/// Fails with the sentence unless two values are equal.
macro_rules! promise_eq {
    ($sentence:expr, $found:expr, $right:expr, $what:literal) => {
        match (&$found, &$right) {
            (found, right) => {
                promise!($sentence, found == right, concat!($what, ": {:?}, where it should be {:?}"), found, right)
            }
        }
    };
}
pub(super) use {promise, promise_eq};

/// An option of a target, which the store is to keep as it is.
pub(super) fn signing_key() -> Result<SigningKey, Broken> {
    Ok("whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3A=".parse()?)
}

/// A store with policies of one target each.
pub(super) struct World<S> {
    pub(super) store: Arc<S>,
    pub(super) policies: Vec<Policy>,
}

impl<S: PolicyStore + DeliveryStore> World<S> {
    /// A fresh store with so many policies in [`PROJECT`].
    pub(super) async fn new<F: Factory<Store = S>>(factory: &F, policies: usize) -> Result<Self, Broken> {
        let store = Arc::new(factory.fresh().await);
        let mut world = Self { store, policies: Vec::new() };
        for n in 0..policies {
            let draft = draft(&format!("policy {n}"), &[&format!("http://{n}.example.com/")])?;
            world.policies.push(world.store.create(PROJECT, draft).await?);
        }
        Ok(world)
    }

    /// Appends an event and fans it out to these policies. Gives the event's id.
    pub(super) async fn deliver(&self, to: &[usize], lane: LaneLimits) -> Result<Uuid, Broken> {
        let event = push()?;
        self.store.append(std::slice::from_ref(&event)).await?;
        let lease = self.claim_event().await?;
        self.store.fan_out(&lease, self.part(to, Uuid::now_v7(), lane)).await?;
        Ok(event.id)
    }

    /// Delivers to one policy, and gives the delivery.
    pub(super) async fn deliver_one(&self) -> Result<Delivery, Broken> {
        let event = self.deliver(&[0], lane()).await?;
        let listed = self.store.list(&Filter::event(event), Page::first(2)).await?;
        promise_eq!(super::sentences::LISTED, listed.len(), 1, "deliveries listed of an event for one target");
        listed.into_iter().next().ok_or_else(|| Broken::new("", "unreachable"))
    }

    /// The last part of an event's deliveries, all with one body.
    pub(super) fn part(&self, to: &[usize], body: Uuid, lane: LaneLimits) -> FanOut {
        let mut part = FanOut::default();
        part.bodies.push(body_of(body));
        for policy in to.iter().map(|n| &self.policies[*n]) {
            part.deliveries.extend(policy.targets.iter().map(|t| NewDelivery::new(policy.id, t, Ok(body), lane)));
        }
        part.last = true;
        part
    }

    pub(super) async fn claim_event(&self) -> Result<Lease, Broken> {
        let claimed = self.store.claim_events(1, LONG).await?;
        let claimed = claimed.into_iter().next();
        claimed.map(|event| event.lease).ok_or_else(|| {
            Broken::new(super::sentences::EVENTS_CLAIMED, "nothing was claimed of an outbox with an event")
        })
    }

    /// Claims one that must be there.
    pub(super) async fn claim(&self, sentence: &'static str, lease: Duration) -> Result<Claimed, Broken> {
        let claimed = self.store.claim(1, lease).await?;
        promise_eq!(sentence, claimed.len(), 1, "deliveries claimed, with one due and one asked for");
        claimed.into_iter().next().ok_or_else(|| Broken::new("", "unreachable"))
    }

    /// Claims so many, which must be there; a store may take several calls to give them.
    pub(super) async fn claim_some(&self, count: usize) -> Result<Vec<Claimed>, Broken> {
        let mut claimed = Vec::new();
        while claimed.len() < count {
            let more = self.store.claim(count - claimed.len(), LONG).await?;
            promise!(super::sentences::LANES, !more.is_empty(), "only {} of {count} were given", claimed.len());
            claimed.extend(more);
        }
        Ok(claimed)
    }

    pub(super) async fn claims_nothing(&self, sentence: &'static str, when: &str) -> Result<(), Broken> {
        let claimed: Vec<_> = self.store.claim(ALL, LONG).await?.into_iter().map(|claimed| claimed.id).collect();
        promise!(sentence, claimed.is_empty(), "deliveries {claimed:?} were claimed {when}");
        Ok(())
    }

    pub(super) async fn settle(&self, lease: Lease, next: Next) -> Result<Fenced, Broken> {
        self.settle_with(Settlement::new(lease, next)).await
    }

    pub(super) async fn settle_with(&self, settlement: Settlement) -> Result<Fenced, Broken> {
        Ok(self.judged(settlement).await?.fenced)
    }

    /// With what it changed for the target.
    pub(super) async fn judged(&self, settlement: Settlement) -> Result<Settled, Broken> {
        let settled = self.store.settle(vec![settlement]).await?;
        promise_eq!(SETTLED, settled.len(), 1, "answers to one settlement");
        Ok(settled[0])
    }

    /// Changes one delivery, and gives how many were changed.
    pub(super) async fn change(&self, id: DeliveryId, to: Change) -> Result<u64, Broken> {
        Ok(self.store.change(&Filter::id(id), to, Page::first(10)).await?.count)
    }

    pub(super) async fn detail(&self, id: DeliveryId) -> Result<Detail, Broken> {
        let detail = self.store.detail(id).await?;
        detail.ok_or_else(|| Broken::new(super::sentences::DETAIL, format!("delivery {id} is gone")))
    }

    pub(super) async fn state(&self, id: DeliveryId) -> Result<State, Broken> {
        Ok(self.detail(id).await?.delivery.state)
    }

    /// The status, as soon as it is right; as it may be a second old, a wrong one only counts after that.
    pub(super) async fn status(&self, right: impl Fn(&Status) -> bool) -> Result<Status, Broken> {
        let asked = tokio::time::Instant::now();
        loop {
            let status = self.store.status().await?;
            if right(&status) || asked.elapsed() > Duration::from_millis(1500) {
                return Ok(status);
            }
            pause(LATER).await;
        }
    }

    pub(super) async fn list(&self, which: &Filter) -> Result<Vec<Delivery>, Broken> {
        Ok(self.store.list(which, Page::first(ALL)).await?)
    }
}

pub(super) fn lane() -> LaneLimits {
    LaneLimits::new(1000, 4)
}

pub(super) fn draft(name: &str, addresses: &[&str]) -> Result<PolicyDraft, Broken> {
    let mut draft = PolicyDraft::new(name).on(EventType::PushArtifact);
    for address in addresses {
        draft = draft.target(Target::http(address)?);
    }
    Ok(draft)
}

/// A push of its own: every call gives another event.
pub(super) fn push() -> Result<Event, Broken> {
    let digest = format!("sha256:{}", "5e".repeat(32));
    let event = Registry::new("hub.example.com")?.push(PROJECT, "library/alpine", Artifact::tagged("3.20", digest)?);
    Ok(event.operator("admin"))
}

pub(super) fn body_of(id: Uuid) -> Body {
    Body::new(id, "Default", "application/json", Bytes::from(format!("{{\"id\":\"{id}\"}}")))
}

/// A refusal by the receiver, whose text tells it from others.
pub(super) fn refusal(text: &str) -> Attempt {
    let outcome = Outcome::Answered { status: 503, body: text.to_owned(), truncated: false };
    // Stores need not keep more than milliseconds.
    let when = chrono::DateTime::from_timestamp(1_700_000_000, 123_000_000).unwrap_or_default();
    Attempt::new(when, Duration::from_millis(7), outcome)
}

pub(super) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
