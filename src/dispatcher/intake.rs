use tokio::sync::watch;
use tracing::Instrument as _;

use super::caught::{Panicked, caught};
use super::idle::Idle;
use super::left::Left;
use super::news::News;
use super::parts::{Load, Part};
use super::rendering::Renderer;
use super::shared::Inner;
use super::turns::Turns;
use crate::clock::instant;
use crate::error::Result;
use crate::event::Event;
use crate::observe::{Cycle, Observation};
use crate::policy::{Policy, PolicyTarget, TargetType};
use crate::settings::AtBound;
use crate::store::{ClaimedEvent, FanOut, Fenced, LaneLimits, Lease};
use crate::together::side_by_side;

/// The cycle that turns events into deliveries.
pub(super) async fn run(inner: &Inner, stopped: watch::Receiver<bool>, news: &News) -> Result<()> {
    let mut idle = Idle::new(inner, Cycle::Intake, &inner.appended, stopped);
    let (mut turns, mut left) = (Turns::default(), Left::default());
    while !idle.is_stopped() {
        match round(inner, &mut turns, &mut left, news).await {
            Ok(0) => idle.wait().await,
            Ok(_) => {
                idle.busy();
            }
            Err(e) if e.is_retryable() => idle.trouble(&e).await,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Fans out what is in the outbox, and what was left. The events go to the store in their order but side by side, so that a
/// store that commits in groups can. Says how many of the outbox were tried.
async fn round(inner: &Inner, turns: &mut Turns, left: &mut Left, news: &News) -> Result<usize> {
    let (lease, room) = (inner.settings.event_lease, turns.room());
    if room > 0 {
        let until = instant() + lease / 2;
        turns.put(inner.deliveries.claim_events(room, lease).await?, until);
    }
    let mut claimed = turns.take(instant());
    let count = claimed.len();
    claimed.extend(left.take_due());
    let load = Load::default();
    let events: Vec<_> =
        claimed.iter().map(|event| Box::pin(caught(fan_out(inner, event, &load).instrument(span(event))))).collect();
    let results = side_by_side(events).await;
    news.tell_of(claimed.iter().filter_map(|event| Some(event.event.as_ref().ok()?.project_id)));
    let (mut failed, mut again, mut through) = (None, None, 0);
    for (n, (event, done)) in claimed.into_iter().zip(results).enumerate() {
        match done {
            Ok(Ok(deliveries)) => {
                through += usize::from(n < count);
                if let Ok(event) = &event.event {
                    turns.had(event.project_id, deliveries);
                }
            }
            Ok(Err(e)) if !e.is_retryable() => return Err(e),
            Ok(Err(e)) => {
                left.keep(event);
                let fault = if n < count { &mut failed } else { &mut again };
                fault.get_or_insert(e);
            }
            // A host's policy source panicked. The event's lease runs out and it is tried again.
            Err(Panicked) => tracing::error!("fanning an event out panicked"),
        }
    }
    left.rest();
    // Where some got through, the trouble is that of a project, for which the others do not wait.
    let waits = if through == 0 { failed.take() } else { None };
    if let Some(e) = again.or(failed) {
        inner.trouble(Cycle::Intake, &e, left.pause());
    }
    waits.map_or(Ok(count), Err)
}

fn span(claimed: &ClaimedEvent) -> tracing::Span {
    match &claimed.event {
        Ok(event) => tracing::debug_span!("intake", event = %event.id),
        Err(_) => tracing::debug_span!("intake", row = claimed.lease.key),
    }
}

/// Says how many deliveries an event has.
async fn fan_out(inner: &Inner, claimed: &ClaimedEvent, load: &Load) -> Result<usize> {
    let event = match &claimed.event {
        Ok(event) => event,
        Err(reason) => return set_aside(inner, &claimed.lease, reason.clone()).await.map(|()| 0),
    };
    let policies = inner.subscribers(event).await?;
    let parked = is_parked(inner, event).await?;
    let mut renderer = Renderer::new(event, &inner.formats);
    let (mut part, mut failed) = (Part::new(load), Vec::new());
    let targets: Vec<_> = policies.iter().flat_map(|p| std::iter::zip(std::iter::repeat(p), &p.targets)).collect();
    let deliveries = targets.len();
    for (policy, target) in targets {
        let body = renderer.body(policy.id, target.target.format_name());
        if !part.takes(&body) {
            let written = inner.deliveries.fan_out(&claimed.lease, part.take()).await?;
            part.written();
            if written == Fenced::Stale {
                return Ok(deliveries); // somebody else has the event now
            }
        }
        if let Err(reason) = &body {
            failed.push((policy, target, reason.clone()));
        }
        part.add(policy.id, target, body, lane(inner, target), parked);
    }
    let written = inner.deliveries.fan_out(&claimed.lease, part.take_last()).await?;
    part.written();
    if written == Fenced::Done {
        tracing::debug!(deliveries, "fanned out");
        inner.observers.tell(|| Observation::FannedOut { event, deliveries });
        for (policy, target, reason) in &failed {
            not_rendered(inner, event, policy, target, reason);
        }
    }
    Ok(deliveries)
}

/// Whether the deliveries are kept and not sent, as too much waits.
async fn is_parked(inner: &Inner, event: &Event) -> Result<bool> {
    if inner.settings.bounds.at_bound != AtBound::Park || event.is_test() {
        return Ok(false);
    }
    let bound = inner.bound_reached(event.project_id).await?;
    if let Some(bound) = bound {
        // Observers are told. A line for each event would be a second flood.
        tracing::debug!(event = %event.id, project = %event.project_id, bound = bound.as_str(), "parked: too much waits");
    }
    Ok(bound.is_some())
}

fn not_rendered(inner: &Inner, event: &Event, policy: &Policy, target: &PolicyTarget, reason: &str) {
    let (policy_id, target_id, format) = (policy.id, target.id, target.target.format_name());
    inner.observers.tell(|| Observation::NotRendered { event, policy_id, target_id, format, reason });
}

async fn set_aside(inner: &Inner, lease: &Lease, reason: String) -> Result<()> {
    tracing::error!(row = lease.key, reason, "an event in the outbox cannot be read and is set aside");
    let part = FanOut { last: true, set_aside: Some(reason.clone()), ..FanOut::default() };
    if inner.deliveries.fan_out(lease, part).await? == Fenced::Done {
        inner.observers.tell(|| Observation::SetAside { reason: &reason });
    }
    Ok(())
}

fn lane(inner: &Inner, target: &PolicyTarget) -> LaneLimits {
    let lane = inner.settings.lane;
    let (in_flight, rate) = match target.target.target_type {
        TargetType::Slack => (inner.settings.slack_in_flight, inner.settings.slack_rate),
        TargetType::Http => (lane.max_in_flight, lane.rate),
    };
    LaneLimits::new(lane.max_waiting, in_flight).rate(rate)
}
