//! How explanations are written.

use serde::Serialize;

use crate::policy::Match;
use crate::webhooks::{Explanation, Obstacle, PolicyExplained, TargetExplained};

/// Who would get an event, and why the others not.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    webhooks_enabled: bool,
    policies: Vec<PolicyShown>,
}

#[derive(Debug, Serialize)]
struct PolicyShown {
    policy_id: i64,
    name: String,
    wanted: bool,
    reason: Option<&'static str>,
    targets: Vec<TargetShown>,
}

#[derive(Debug, Serialize)]
struct TargetShown {
    target_id: i64,
    reached: bool,
    obstacles: Vec<String>,
}

impl From<Explanation> for Explained {
    fn from(explanation: Explanation) -> Self {
        let policies = explanation.policies.into_iter().map(PolicyShown::from).collect();
        Self { webhooks_enabled: explanation.switched_on, policies }
    }
}

impl From<PolicyExplained> for PolicyShown {
    fn from(explained: PolicyExplained) -> Self {
        let wanted = explained.matched == Match::Matched;
        Self {
            policy_id: explained.policy.id.0,
            name: explained.policy.name,
            wanted,
            reason: (!wanted).then(|| reason(explained.matched)),
            targets: explained.targets.iter().map(TargetShown::from).collect(),
        }
    }
}

impl From<&TargetExplained> for TargetShown {
    fn from(target: &TargetExplained) -> Self {
        let obstacles = target.obstacles.iter().map(obstacle).collect();
        Self { target_id: target.id.0, reached: target.is_reached(), obstacles }
    }
}

fn reason(matched: Match) -> &'static str {
    match matched {
        Match::Matched => "matched",
        Match::OtherProject => "other_project",
        Match::Disabled => "disabled",
        Match::EventTypeNotSelected => "event_type_not_selected",
        Match::OtherPolicy => "other_policy",
    }
}

fn obstacle(obstacle: &Obstacle) -> String {
    match obstacle {
        Obstacle::Blocked(blocked) => blocked.to_string(),
        Obstacle::UnknownFormat(name) => format!("no format is named {name}"),
        Obstacle::LaneClosed { why, opens_in } => {
            format!("the lane is closed ({}) for {} s", why.as_str(), opens_in.as_secs())
        }
    }
}
