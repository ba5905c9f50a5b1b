use super::Webhooks;
use crate::dispatcher::Inner;
use crate::error::Result;
use crate::id::TargetId;
use crate::store::{Change, Filter, Hold, Page, StateKind};

impl Webhooks {
    /// Enables a target that was [disabled](crate::delivery::breaker::Disable): its lane opens, what was parked is due with a fresh age and attempt budget, and what it failed at
    /// before is forgotten, so that a single failure does not disable it again. The lane of a target that merely failed is
    /// opened too.
    ///
    /// Saving a policy does the same for its targets.
    ///
    /// # Errors
    ///
    /// The store's. Calling again goes on where it failed, except that what is still parked then is to be unparked.
    pub async fn enable_target(&self, target: TargetId) -> Result<()> {
        self.inner.start_anew(target).await
    }
}

impl Inner {
    /// Somebody has seen to the target.
    pub(super) async fn start_anew(&self, target: TargetId) -> Result<()> {
        let mut which = Filter::all();
        which.target_id = Some(target);
        self.change_all(&which, Change::OpenLanes(Hold::CircuitOpen)).await?;
        let opened = self.deliveries.change(&which, Change::OpenLanes(Hold::TargetDisabled), Page::first(1)).await?;
        // Elsewhere an operator has parked what is parked. Here the target was down for days, of which deliveries shall not die.
        if opened.count > 0 {
            self.change_all(&which.state(StateKind::Parked), Change::Redeliver).await?;
        }
        Ok(())
    }
}
