//! Who would get an event, and why the others not.

use std::time::Duration;

use super::Webhooks;
use crate::error::Result;
use crate::event::Event;
use crate::id::{PolicyId, TargetId};
use crate::policy::{Match, Policy, PolicyTarget};
use crate::store::{ClosedLane, Hold, Page, PolicyFilter};
use crate::transport::Blocked;

/// Policies read at once.
const READ: usize = 500;

/// What would become of an event now.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// Whether webhooks are switched on. Off, nobody gets anything, whatever else stands here.
    pub switched_on: bool,
    /// The policies that were asked about, newest first.
    pub policies: Vec<PolicyExplained>,
}

impl Explanation {
    /// The endpoints that would get the event, sooner or later: a closed lane only delays.
    pub fn receivers(&self) -> impl Iterator<Item = TargetId> {
        let wanting = self.policies.iter().filter(|policy| self.switched_on && policy.matched == Match::Matched);
        wanting.flat_map(|policy| &policy.targets).filter(|target| target.is_reached()).map(|target| target.id)
    }
}

/// Whether a policy wants an event, and what stands between the event and its targets.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PolicyExplained {
    /// The policy.
    pub policy: Policy,
    /// Whether it wants the event; if not, why.
    pub matched: Match,
    /// Its endpoints, in its order, whether it wants the event or not.
    pub targets: Vec<TargetExplained>,
}

/// What stands between an event and an endpoint.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TargetExplained {
    /// The endpoint.
    pub id: TargetId,
    /// What is in the way; empty if nothing is.
    pub obstacles: Vec<Obstacle>,
}

impl TargetExplained {
    /// Whether an event can reach it, sooner or later.
    pub fn is_reached(&self) -> bool {
        self.obstacles.iter().all(|obstacle| matches!(obstacle, Obstacle::LaneClosed { .. }))
    }
}

/// Something between an event and an endpoint.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The destination policy forbids the address: the delivery would be dead at once. A name is judged by what it resolves
    /// to, at each attempt, so that it may be forbidden although this does not stand here.
    Blocked(Blocked),
    /// No format of this name is registered: the delivery would be dead at once.
    UnknownFormat(String),
    /// The endpoint's lane is closed: the delivery would wait.
    LaneClosed {
        /// Why.
        why: Hold,
        /// How long still.
        opens_in: Duration,
    },
}

impl Webhooks {
    /// Says which policies of the event's project, and which of their targets, would get an event now, and why the others
    /// would not. Nothing is written and nothing is sent; the event need not have happened.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if the event breaks a rule, as [`notify`](Self::notify) would say;
    /// [`NotFound`](crate::ErrorKind::NotFound) if the host keeps its policies itself; the store's.
    pub async fn explain(&self, event: &Event) -> Result<Explanation> {
        let mut policies = Vec::new();
        let mut page = Page::first(READ);
        loop {
            let read = self.policies().list(PolicyFilter::Project(event.project_id), page).await?;
            let last = read.last().map(|policy| policy.id.0).filter(|_| read.len() == READ);
            policies.extend(read);
            match last {
                Some(last) => page = Page::after(last, READ),
                None => return self.explain_to(event, policies).await,
            }
        }
    }

    /// Says the same for one policy, which may be of another project.
    ///
    /// # Errors
    ///
    /// As for [`explain`](Self::explain), and [`NotFound`](crate::ErrorKind::NotFound) if there is no such policy.
    pub async fn explain_policy(&self, event: &Event, policy: PolicyId) -> Result<Explanation> {
        let policy = self.policies().get(policy).await?;
        self.explain_to(event, vec![policy]).await
    }

    async fn explain_to(&self, event: &Event, policies: Vec<Policy>) -> Result<Explanation> {
        event.check()?;
        event.check_size()?;
        let closed = self.status().await?.closed_lanes;
        let explained = policies.into_iter().map(|policy| PolicyExplained {
            matched: Match::of_event(&policy, event),
            targets: policy.targets.iter().map(|target| self.explain_target(target, &closed)).collect(),
            policy,
        });
        Ok(Explanation { switched_on: self.is_on().await?, policies: explained.collect() })
    }

    fn explain_target(&self, PolicyTarget { id, target }: &PolicyTarget, closed: &[ClosedLane]) -> TargetExplained {
        let blocked = self.inner.destination.check_address(&target.address).err().map(Obstacle::Blocked);
        let format = target.format_name();
        let unknown = self.inner.formats.find(format).is_none().then(|| Obstacle::UnknownFormat(format.to_owned()));
        let lane = closed.iter().find(|lane| lane.target_id == *id);
        let lane = lane.map(|lane| Obstacle::LaneClosed { why: lane.why, opens_in: lane.opens_in });
        TargetExplained { id: *id, obstacles: [blocked, unknown, lane].into_iter().flatten().collect() }
    }
}
