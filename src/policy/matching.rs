use std::collections::HashMap;
use std::sync::Arc;

use super::Policy;
use crate::event::{Event, EventType};
use crate::id::ProjectId;

/// Whether a policy wants an event, and if not, why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Match {
    /// The event goes to every target of the policy.
    Matched,
    /// The policy belongs to another project.
    OtherProject,
    /// The policy is disabled.
    Disabled,
    /// The policy does not list the event type.
    EventTypeNotSelected,
    /// The event is a [test](Event::as_test) of another policy.
    OtherPolicy,
}

impl Match {
    /// Decides for one policy. Source: Harbor 2.16, `pkg/notification/policy/manager.go:131-152`; unlike there, an
    /// event type that is listed twice matches once.
    pub fn of(policy: &Policy, project: ProjectId, event_type: EventType) -> Self {
        if policy.project_id != project {
            Self::OtherProject
        } else if !policy.enabled {
            Self::Disabled
        } else if !policy.event_types.contains(&event_type) {
            Self::EventTypeNotSelected
        } else {
            Self::Matched
        }
    }

    /// Decides for one policy, and for tests too.
    pub fn of_event(policy: &Policy, event: &Event) -> Self {
        match Self::of(policy, event.project_id, event.event_type) {
            Self::Matched if !event.is_for(policy.id) => Self::OtherPolicy,
            matched => matched,
        }
    }
}

/// The enabled policies by project and event type: a lookup costs the same with ten policies and with ten thousand.
#[derive(Clone, Debug, Default)]
pub struct PolicyIndex {
    by_subscription: HashMap<(ProjectId, EventType), Vec<Arc<Policy>>>,
}

impl PolicyIndex {
    /// The policies that want this event, oldest policy first.
    pub fn subscribers(&self, project: ProjectId, event_type: EventType) -> &[Arc<Policy>] {
        self.by_subscription.get(&(project, event_type)).map_or(&[], Vec::as_slice)
    }
}

impl FromIterator<Arc<Policy>> for PolicyIndex {
    fn from_iter<I: IntoIterator<Item = Arc<Policy>>>(policies: I) -> Self {
        let mut index = Self::default();
        for policy in policies {
            for event_type in EventType::ALL {
                if Match::of(&policy, policy.project_id, event_type) == Match::Matched {
                    let key = (policy.project_id, event_type);
                    index.by_subscription.entry(key).or_default().push(Arc::clone(&policy));
                }
            }
        }
        for subscribers in index.by_subscription.values_mut() {
            subscribers.sort_by_key(|policy| policy.id);
        }
        index
    }
}
