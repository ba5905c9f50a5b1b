//! A project at a glance: its policies, and how their targets fare.

use std::collections::HashMap;

use super::Webhooks;
use crate::delivery::Delivery;
use crate::error::Result;
use crate::id::{PolicyId, ProjectId, TargetId};
use crate::policy::{Policy, PolicyTarget, TargetType, masked_address};
use crate::store::{Filter, Hour, LaneState, Page, PolicyFilter};

/// A policy at a glance.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PolicyState {
    /// The policy.
    pub policy_id: PolicyId,
    /// Its name.
    pub name: String,
    /// Whether it is enabled.
    pub enabled: bool,
    /// The newest of its deliveries that are kept.
    pub last_delivery: Option<Delivery>,
    /// Its endpoints, in its order.
    pub targets: Vec<TargetState>,
}

/// An endpoint at a glance.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TargetState {
    /// The endpoint.
    pub target_id: TargetId,
    /// Its kind.
    pub target_type: TargetType,
    /// Its address as people are shown it: without what may be a secret in it, as [`HarborPolicy::masked`](crate::policy::HarborPolicy::masked)
    /// has it.
    pub address: String,
    /// How its lane stands: empty and open if it never had anything to send. `None` if the store does not tell.
    pub lane: Option<LaneState>,
    /// What its attempts of the last [48 hours](Hour::KEPT) came to, oldest first, hours without attempts left out. `None` if the store
    /// does not count them.
    pub hours: Option<Vec<Hour>>,
}

/// What the store says of a project's deliveries.
struct Seen {
    last: HashMap<PolicyId, Delivery>,
    lanes: Option<HashMap<TargetId, LaneState>>,
    hours: Option<HashMap<TargetId, Vec<Hour>>>,
}

impl Webhooks {
    /// The policies of a project, newest first, with their last deliveries and how their targets fare: what waits, which lanes are
    /// closed and why, and what attempts came to lately. The bundled stores are asked a few questions, however many policies there are.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) if the host keeps its policies itself; the store's.
    pub async fn overview(&self, project: ProjectId) -> Result<Vec<PolicyState>> {
        let policies = self.policies().list(PolicyFilter::Project(project), Page::first(usize::MAX)).await?;
        let ids: Vec<PolicyId> = policies.iter().map(|policy| policy.id).collect();
        let mut seen = self.seen(project, &ids).await?;
        Ok(policies.into_iter().map(|policy| seen.policy(policy)).collect())
    }

    async fn seen(&self, project: ProjectId, policies: &[PolicyId]) -> Result<Seen> {
        let (store, which) = (&self.inner.deliveries, Filter::project(project));
        let last = store.newest(policies).await?;
        let lanes = store.lanes(&which).await?;
        let hours = store.hours(&which).await?.map(|hours| {
            let mut by_target: HashMap<TargetId, Vec<Hour>> = HashMap::new();
            hours.into_iter().for_each(|hour| by_target.entry(hour.target_id).or_default().push(hour));
            by_target
        });
        Ok(Seen {
            last: last.into_iter().map(|delivery| (delivery.policy_id, delivery)).collect(),
            lanes: lanes.map(|lanes| lanes.into_iter().map(|lane| (lane.target_id, lane)).collect()),
            hours,
        })
    }
}

impl Seen {
    fn policy(&mut self, policy: Policy) -> PolicyState {
        let targets = policy.targets.iter().map(|target| self.target(policy.id, target)).collect();
        let last_delivery = self.last.remove(&policy.id);
        PolicyState { policy_id: policy.id, name: policy.name, enabled: policy.enabled, last_delivery, targets }
    }

    fn target(&mut self, policy: PolicyId, PolicyTarget { id, target }: &PolicyTarget) -> TargetState {
        let lane = |lanes: &mut HashMap<_, _>| lanes.remove(id).unwrap_or_else(|| LaneState::new(*id, policy));
        TargetState {
            target_id: *id,
            target_type: target.target_type,
            address: masked_address(target),
            lane: self.lanes.as_mut().map(lane),
            hours: self.hours.as_mut().map(|hours| hours.remove(id).unwrap_or_default()),
        }
    }
}
