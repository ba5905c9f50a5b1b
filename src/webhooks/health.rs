use std::time::Duration;

use super::Webhooks;
use crate::health::{Closed, Health, Waiting};
use crate::store::ClosedLane;

/// How long the store may take before the answer is given without it.
const PATIENCE: Duration = Duration::from_secs(3);

impl Webhooks {
    /// How it goes: what waits and how old it is, which lanes are closed, what failed last, and what is stuck, in words.
    ///
    /// It never fails and takes three seconds at most: a store that does not answer is part of the answer. What it says of
    /// [`run`](Self::run) and of what failed holds for this process. It asks the store as [`status`](Self::status) does.
    pub async fn health(&self) -> Health {
        let asked = async { (self.status().await, self.is_on().await.ok()) };
        let (status, on) = match tokio::time::timeout(PATIENCE, asked).await {
            Ok((Ok(status), on)) => (Ok(status), on),
            Ok((Err(error), on)) => (Err(error.to_string()), on),
            Err(_) => (Err(format!("no answer within {PATIENCE:?}")), None),
        };
        let pulse = &self.inner.pulse;
        let health = Health {
            problems: Vec::new(),
            on,
            waiting: status.as_ref().ok().map(Waiting::of),
            closed_lanes: status
                .as_ref()
                .map(|status| status.closed_lanes.iter().map(closed).collect())
                .unwrap_or_default(),
            run: pulse.runs(),
            store_faults: pulse.faults(),
            failed_attempts: pulse.failed_attempts(),
        };
        health.diagnose(status.err().as_deref(), self.inner.settings.retry.max_age)
    }
}

fn closed(lane: &ClosedLane) -> Closed {
    Closed { target_id: lane.target_id, policy_id: lane.policy_id, why: lane.why, opens_in: Some(lane.opens_in) }
}
