//! What must be remembered: policies, events on their way, deliveries and their history.
//!
//! Two seams. [`PolicyStore`] keeps the policies (its half [`PolicySource`] is all that sending needs);
//! [`DeliveryStore`] keeps events and deliveries. [`MemoryStore`] and [`SqliteStore`] implement both.
//!
//! # Words
//!
//! An appended event lies in the *outbox* until it has been *fanned out* into deliveries, one per target. Each target has
//! a *lane*: its queue, and a gate that may be closed for a time. Work is *claimed* under a *lease* and *settled* with
//! that lease; a lease that ran out, or that was given to somebody else, is *stale* and settles nothing.
//!
//! # Time
//!
//! Callers give durations and get durations. "Now" is the store's own and never jumps, so clocks that differ between
//! nodes, or are set, cannot lose, repeat or delay a delivery.
//!
//! # Writing a store
//!
//! A host's own database becomes a store by implementing the traits here; nothing else of the crate knows what a store is.
//! `examples/custom_store` does it on an embedded key-value store and is meant to be copied from. Only
//! [`PolicySource`] and [`DeliveryStore`] are needed where the host keeps its policies itself
//! ([`Webhooks::with_policy_source`](crate::Webhooks::with_policy_source)).
//!
//! * *One change, one transaction.* Whatever a method changes, it changes in one step of the database. Two claims that run
//!   side by side must not see the same row as free.
//! * *What to keep of a delivery:* what [`Delivery`] shows, and besides when it is due or its lease ends, since when its
//!   [age](Claimed::age) counts, how many attempts were [made before its last redelivery](Claimed::attempts), how many leases it
//!   lost since, and the token of its lease. A body is kept as long as a delivery sends it.
//! * *What to keep of a target:* its fields, of which [`options`](crate::policy::Target::options) is one text
//!   ([`to_text`](crate::policy::TargetOptions::to_text)), or nothing. Options that later versions add lie in the same text.
//! * *What to keep of a lane:* its limits (those that came with its newest delivery), its gate and the reason, its
//!   [health](Health) with when its failures began, when its [rate](crate::delivery::Rate) has its next token, and when it was
//!   last served. A claim that goes by the oldest delivery of all lets one lane starve the others; one that goes by which lane
//!   could have been served for the longest time does not.
//! * *Hours* are counters beside the lane, changed with its attempts and read without them: see [`Hour`].
//! * *Time* is a number that only grows, in steps of a millisecond or less. A store that outlives its process takes care
//!   that it does not fall back at a restart. The wall clock is for [`Delivery::created_at`] and its like only.
//! * *Tokens* may come from one counter for all leases. A lease may run on over a restart, or end with the process that
//!   held it.
//! * *A gate* outlives the deliveries of its lane; a lane that is empty and open may go.
//! * *Values* are made with the constructors that say "for stores". Enums that may grow give and take stable names
//!   (`as_str`, `from_name`); what a store does not know it refuses with an error of the kind
//!   [`Store`](crate::ErrorKind::Store), so that nothing is dropped silently.
//! * *Errors:* `Unavailable` and `Full` are tried again, any other ends [`run`](crate::Webhooks::run). No message may hold a
//!   secret; an address may be one.
//!
//! What a store keeps beyond its process it keeps whole: policies with their ids and secrets, the switch, the outbox,
//! remembered ids, bodies, deliveries, attempts, gates and hours.
//!
//! The feature `testing` brings the checks that all this is true, for the host's own tests: `store::conformance`.

#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

mod listing;
mod memory;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod outbox;
mod overview;
mod sealed;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod tally;
mod types;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod view;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use listing::*;
pub use memory::MemoryStore;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use outbox::OutboxRow;
pub use overview::{Hour, LaneState};
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
pub use sealed::Sealed;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use types::*;

pub use crate::policy::pairing::pair_targets;

use crate::delivery::Delivery;
#[allow(unused_imports)] // named in the documentation
use crate::delivery::breaker::{Breaker, Health};
use crate::error::Result;
use crate::event::{Event, EventType};
use crate::id::{DeliveryId, PolicyId, ProjectId, TargetId};
use crate::policy::{Policy, PolicyDraft};

/// Where sending learns which policies want an event, and where a target's deliveries go.
#[async_trait]
pub trait PolicySource: fmt::Debug + Send + Sync + 'static {
    /// The enabled policies of `project` that list `event_type`, oldest first; none while webhooks are switched off.
    ///
    /// The answer may be up to `max_age` old (a change made through this very value shows at once). It is asked for
    /// every event, so it should come from memory.
    async fn subscribers(
        &self,
        project: ProjectId,
        event_type: EventType,
        max_age: Duration,
    ) -> Result<Vec<Arc<Policy>>>;

    /// Where deliveries of these targets go now, in the order asked. At most one second old.
    ///
    /// A target that is not there is [`Gone`](Resolved::Gone), whatever else holds; one that is there is held with the
    /// reason [`SwitchedOff`](Hold::SwitchedOff) while webhooks are, and [`Disabled`](Hold::Disabled) while its policy is.
    async fn resolve(&self, targets: &[TargetId]) -> Result<Vec<Resolved>>;
}

/// Keeps policies and the global switch.
#[async_trait]
pub trait PolicyStore: PolicySource {
    /// Stores a new policy and numbers it and its targets.
    ///
    /// # Errors
    ///
    /// [`Conflict`](crate::ErrorKind::Conflict) if the project has a policy of that name.
    async fn create(&self, project: ProjectId, draft: PolicyDraft) -> Result<Policy>;

    /// Replaces everything but the id, the project, the creation time and the creator, which stays when the draft names
    /// none. Targets keep their ids as [`pair_targets`] says; targets without a partner get new ids, the rest are gone.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound); [`Conflict`](crate::ErrorKind::Conflict) if another policy of the
    /// project has that name.
    async fn replace(&self, id: PolicyId, draft: PolicyDraft) -> Result<Policy>;

    /// Deletes policies and says how many. Deleting nothing is no error.
    async fn delete(&self, which: PolicyFilter) -> Result<u64>;

    /// Lists policies, newest first unless the page says otherwise.
    async fn policies(&self, which: PolicyFilter, page: Page) -> Result<Vec<Policy>>;

    /// Reads the global switch, after setting it if `on` is given. It is on in a new store.
    async fn switch(&self, on: Option<bool>) -> Result<bool>;
}

/// Keeps events and deliveries.
///
/// Every method is idempotent and may be called by any number of tasks at once. Dropping a future leaves each of its
/// effects done or not done, never half done.
#[async_trait]
pub trait DeliveryStore: fmt::Debug + Send + Sync + 'static {
    /// Adds events to the outbox, all or none; durable, as far as the store promises, when it returns.
    ///
    /// An event whose id is remembered from the last 24 hours is a [`Duplicate`](Appended::Duplicate) and changes nothing. So
    /// is one that comes twice in one call.
    ///
    /// # Errors
    ///
    /// [`Full`](crate::ErrorKind::Full) if the outbox is at its bound.
    async fn append(&self, events: &[Event]) -> Result<Vec<Appended>>;

    /// Leases up to `max` events that are not fanned out, oldest first. None while the deliveries are at the global bound; fewer,
    /// but at least one, if they are large: what is claimed lies in memory.
    async fn claim_events(&self, max: usize, lease: Duration) -> Result<Vec<ClaimedEvent>>;

    /// Adds deliveries of a claimed event, and its bodies, in one step. Deliveries are unique by event and target: one
    /// that exists is left as it is. The last part takes the event out of the outbox; its id stays remembered.
    ///
    /// A delivery whose lane already has `max_waiting` waiting is stored dead with the reason `lane_full`; one without a
    /// body is stored dead with the reason `format`. One whose target is disabled, or that comes
    /// [parked](NewDelivery::parked), is stored parked.
    async fn fan_out(&self, lease: &Lease, part: FanOut) -> Result<Fenced>;

    /// Leases up to `max` due deliveries, and at least one if there is one: picks lanes that are open and have due deliveries and room for one more in
    /// flight, then the oldest due in each. No ready lane waits for more than one round of the others. A lane's limits hold over
    /// all claims: how many are in flight, no more than its [health](Health) allows, and its rate.
    ///
    /// A delivery whose lease ran out counts as due, with one more loss; the fifth loss makes it dead with the reason
    /// `poison` instead.
    ///
    /// A delivery is claimed as it stands: its id, event, project, policy, target and body, and the attempts and the age since it
    /// was made or last redelivered.
    async fn claim(&self, max: usize, lease: Duration) -> Result<Vec<Claimed>>;

    /// Leases as [`claim`](Self::claim) does, from lanes of other projects than these. They have as much in hand as they may, and all
    /// that waits for them, however many lanes that is, shall not be in the others' way.
    ///
    /// A store that cannot tell may give theirs too, as it does unless this is implemented: they are given back, and their lanes
    /// closed for a moment, for each of them again and again.
    async fn claim_beside(&self, busy: &[ProjectId], max: usize, lease: Duration) -> Result<Vec<Claimed>> {
        let _ = busy;
        self.claim(max, lease).await
    }

    /// Writes what came of claimed deliveries: for each, the attempt, the next state and the lane's gate in one step.
    ///
    /// A [verdict](Settlement::verdict) changes the lane's health, and perhaps its gate, as [`Breaker::after`] says. When it disables the
    /// target, all that is due in its lane is parked; what is given back to a disabled lane is parked too.
    async fn settle(&self, results: Vec<Settlement>) -> Result<Vec<Settled>>;

    /// Changes the deliveries (or lanes) that `which` selects, at most `page.limit` of them, newest first.
    async fn change(&self, which: &Filter, to: Change, page: Page) -> Result<Changed>;

    /// Lists deliveries, newest first unless the page says otherwise. One whose lease ran out may stand there as leased until
    /// something is claimed.
    async fn list(&self, which: &Filter, page: Page) -> Result<Vec<Delivery>>;

    /// How many deliveries are selected: as many as a listing without an end would show.
    ///
    /// By default they are listed, a thousand at a time. A store for many of them counts with each lane how many are in which state:
    /// the numbers of deliveries of a project, a policy or a target, in one state or all, are asked for with every page that
    /// people look at.
    async fn count(&self, which: &Filter) -> Result<u64> {
        const PART: usize = 1000;
        let (mut page, mut count) = (Page::first(PART), 0);
        loop {
            let listed = self.list(which, page).await?;
            count += listed.len() as u64;
            match listed.last() {
                Some(last) if listed.len() == PART => page = Page::after(last.id.0, PART),
                _ => return Ok(count),
            }
        }
    }

    /// One delivery with its body and its attempts.
    async fn detail(&self, id: DeliveryId) -> Result<Option<Detail>>;

    /// Removes history beyond `keep`, and gives up what waited too long. At most about `max` rows. What waits is never
    /// removed.
    async fn sweep(&self, keep: &Retention, max: usize) -> Result<Swept>;

    /// What waits, how much and how old. May be one second old.
    async fn status(&self) -> Result<Status>;

    /// How much of what waits is each project's, those left out that have nothing waiting. May be one second old. `None` if the
    /// store does not count it: then [bounds](crate::Bounds) cannot be kept.
    async fn usage(&self) -> Result<Option<Vec<Usage>>> {
        Ok(None)
    }

    /// How the lanes of the selected policy, target or project stand (of all, if none is given). One that is empty and open may be
    /// left out. `None` if the store does not tell.
    async fn lanes(&self, which: &Filter) -> Result<Option<Vec<LaneState>>> {
        let _ = which;
        Ok(None)
    }

    /// What the attempts of the last [48 hours](Hour::KEPT) came to in the lanes of the selected policy, target or project (in all,
    /// if none is given): by targets, then by hours, those without attempts left out. `None` if the store does not count them.
    ///
    /// What is counted is written with the attempt, outlives it, and goes with the policy.
    async fn hours(&self, which: &Filter) -> Result<Option<Vec<Hour>>> {
        let _ = which;
        Ok(None)
    }

    /// The newest delivery of each of these policies, for those that have one, in any order. By default each is listed.
    async fn newest(&self, policies: &[PolicyId]) -> Result<Vec<Delivery>> {
        let mut newest = Vec::new();
        for policy in policies {
            newest.extend(self.list(&Filter::policy(*policy), Page::first(1)).await?);
        }
        Ok(newest)
    }

    /// Returns when work may be due, or after `at_most`. May return early; must not return late for work that was
    /// appended, changed or became due in this store value.
    async fn ready(&self, at_most: Duration) -> Result<()>;
}

#[cfg(test)]
fn _dyn_safe(_: Box<dyn PolicySource>, _: Box<dyn PolicyStore>, _: Box<dyn DeliveryStore>) {}
