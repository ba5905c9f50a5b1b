//! What an operator does to deliveries: send again, give up, set aside. One, or all that a filter selects.

use std::collections::BTreeMap;

use super::{Webhooks, no_delivery};
use crate::delivery::{CancelReason, DeadReason, Delivery, State};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{DeliveryId, TargetId};
use crate::store::{Change, Changed, Filter, Page, Resolved};

/// Deliveries looked at in one call, however many the caller allows.
const MOST: usize = 10_000;

/// What became of many deliveries that were to be sent again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Redelivered {
    /// Deliveries that are due again.
    pub count: u64,
    /// Deliveries that were selected and left as they are.
    pub skipped: Skipped,
    /// Where to go on, with [`Page::after`]; `None` when all selected ones were seen.
    pub next: Option<i64>,
}

/// Why deliveries were not sent again, and how many.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Skipped {
    /// Their target, or its policy, was deleted.
    pub target_gone: u64,
    /// They are due or in flight anyway.
    pub waiting: u64,
    /// Their format failed, so that there is nothing to send.
    pub no_body: u64,
    /// Somebody else changed them in the same moment.
    pub meanwhile: u64,
}

impl Skipped {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.target_gone + self.waiting + self.no_body + self.meanwhile
    }
}

impl Webhooks {
    /// Makes a finished or parked delivery due again: the same id and bytes, a fresh attempt budget.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such delivery (any more); [`Conflict`](ErrorKind::Conflict) if it is
    /// waiting anyway, has no body, or if its target or policy is gone.
    pub async fn redeliver(&self, id: DeliveryId) -> Result<()> {
        let delivery = self.existing(id).await?;
        let done = self.redeliver_all(&Filter::id(id), Page::first(1)).await?;
        let problem = match done.skipped {
            Skipped { target_gone: 1.., .. } => "its target was deleted, so there is nowhere to send it",
            Skipped { waiting: 1.., .. } => "is still waiting, and is sent without that",
            Skipped { no_body: 1.., .. } => "has no body, as its format failed; report the event again",
            _ if done.count == 1 => return Ok(()),
            _ => "was changed or removed in this moment; look again",
        };
        Err(conflict(&delivery, problem))
    }

    /// Makes finished and parked deliveries due again, the newest first: the same ids and bytes, a fresh attempt budget.
    ///
    /// Looks at no more deliveries than `page` allows, and at no more than 10,000, and says where to go on. What cannot be
    /// sent again is counted in [`Redelivered::skipped`]. A filter without a state selects delivered ones too.
    ///
    /// ```
    /// # async fn all_dead(hooks: &harbor_webhook::Webhooks, ci: harbor_webhook::PolicyId) -> harbor_webhook::Result<u64> {
    /// use harbor_webhook::store::{Filter, Page, StateKind};
    ///
    /// let dead = Filter::policy(ci).state(StateKind::Dead);
    /// let (mut page, mut count) = (Page::first(1000), 0);
    /// loop {
    ///     let done = hooks.redeliver_all(&dead, page).await?;
    ///     count += done.count;
    ///     match done.next {
    ///         Some(next) => page = Page::after(next, 1000),
    ///         None => return Ok(count),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The store's. Calling again with the same page goes on where it failed; what is due by then is not changed again.
    pub async fn redeliver_all(&self, which: &Filter, page: Page) -> Result<Redelivered> {
        let page = bounded(page);
        let selected = self.deliveries(which, page).await?;
        let next = selected.last().filter(|_| selected.len() == page.limit).map(|delivery| delivery.id.0);
        let mut done = Redelivered { next, ..Redelivered::default() };
        let Some(newest) = selected.first() else { return Ok(done) };
        // Nothing newer than what was looked at, although it may have come since.
        let behind = newest.id.0.saturating_add(1);
        let gone = self.gone(&selected).await?;
        for (target, deliveries) in by_target(&selected) {
            if gone.contains(&target) {
                done.skipped.target_gone += deliveries.len() as u64;
                continue;
            }
            let which = Filter { target_id: Some(target), ..which.clone() };
            let page = Page::after(behind, deliveries.len());
            let changed = self.inner.change(&which, Change::Redeliver, page).await?;
            done.count(&deliveries, changed.count);
        }
        Ok(done)
    }

    /// Cancels a delivery that waits. Cancelling a finished one changes nothing.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such delivery (any more); the store's.
    pub async fn cancel(&self, id: DeliveryId) -> Result<()> {
        self.existing(id).await?;
        self.cancel_all(&Filter::id(id), Page::first(1)).await.map(|_| ())
    }

    /// Cancels deliveries that wait, are in flight or parked, the newest first; finished ones stay as they are. Bounded as
    /// [`redeliver_all`](Self::redeliver_all) is.
    ///
    /// # Errors
    ///
    /// The store's. Calling again goes on where it failed.
    pub async fn cancel_all(&self, which: &Filter, page: Page) -> Result<Changed> {
        self.change(which, Change::Cancel(CancelReason::Operator), page).await
    }

    /// Sets a delivery aside: it is not sent until it is [unparked](Self::unpark). Parking a parked one changes nothing.
    ///
    /// If an attempt is under way its result is not written, and the receiver may have seen it.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such delivery (any more); [`Conflict`](ErrorKind::Conflict) if it is
    /// finished.
    pub async fn park(&self, id: DeliveryId) -> Result<()> {
        self.change_waiting(id, Change::Park).await
    }

    /// Sets deliveries aside that wait or are in flight, the newest first; others stay as they are. Bounded as
    /// [`redeliver_all`](Self::redeliver_all) is.
    ///
    /// # Errors
    ///
    /// The store's. Calling again goes on where it failed.
    pub async fn park_all(&self, which: &Filter, page: Page) -> Result<Changed> {
        self.change(which, Change::Park, page).await
    }

    /// Makes a parked delivery due; its attempts and its age go on. One that waits anyway stays as it is.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if there is no such delivery (any more); [`Conflict`](ErrorKind::Conflict) if it is
    /// finished: [`redeliver`](Self::redeliver) it instead.
    pub async fn unpark(&self, id: DeliveryId) -> Result<()> {
        self.change_waiting(id, Change::Unpark).await
    }

    /// Makes parked deliveries due, the newest first; others stay as they are. Bounded as
    /// [`redeliver_all`](Self::redeliver_all) is. One whose target is gone is cancelled when its turn comes.
    ///
    /// # Errors
    ///
    /// The store's. Calling again goes on where it failed.
    pub async fn unpark_all(&self, which: &Filter, page: Page) -> Result<Changed> {
        self.change(which, Change::Unpark, page).await
    }

    async fn change(&self, which: &Filter, to: Change, page: Page) -> Result<Changed> {
        self.inner.change(which, to, bounded(page)).await
    }

    async fn change_waiting(&self, id: DeliveryId, to: Change) -> Result<()> {
        let delivery = self.existing(id).await?;
        if delivery.state.is_final() {
            return Err(conflict(&delivery, "is finished; redeliver it to send it again"));
        }
        self.change(&Filter::id(id), to, Page::first(1)).await.map(|_| ())
    }

    async fn existing(&self, id: DeliveryId) -> Result<Delivery> {
        let found = self.deliveries(&Filter::id(id), Page::first(1)).await?;
        found.into_iter().next().ok_or_else(|| no_delivery(id))
    }

    /// Those of the deliveries' targets that are not there any more.
    async fn gone(&self, deliveries: &[Delivery]) -> Result<Vec<TargetId>> {
        let mut targets: Vec<TargetId> = by_target(deliveries).into_keys().collect();
        let resolved = self.inner.resolve(&targets).await?;
        let mut resolved = resolved.into_iter();
        targets.retain(|_| matches!(resolved.next(), Some(Resolved::Gone) | None));
        Ok(targets)
    }
}

impl Redelivered {
    /// Counts deliveries of one target, of which the store has changed so many.
    fn count(&mut self, deliveries: &[&Delivery], changed: u64) {
        let of = |fits: fn(State) -> bool| deliveries.iter().filter(|delivery| fits(delivery.state)).count() as u64;
        let waiting = of(|state| matches!(state, State::Due | State::Leased));
        let no_body = of(|state| state == State::Dead(DeadReason::Format));
        self.count += changed;
        self.skipped.waiting += waiting;
        self.skipped.no_body += no_body;
        self.skipped.meanwhile += (deliveries.len() as u64).saturating_sub(changed + waiting + no_body);
    }
}

fn by_target(deliveries: &[Delivery]) -> BTreeMap<TargetId, Vec<&Delivery>> {
    let mut targets: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for delivery in deliveries {
        targets.entry(delivery.target_id).or_default().push(delivery);
    }
    targets
}

fn bounded(page: Page) -> Page {
    Page { limit: page.limit.min(MOST), ..page }.skip(0).oldest_first(false)
}

fn conflict(delivery: &Delivery, problem: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("delivery {}: {problem}", delivery.id))
}
