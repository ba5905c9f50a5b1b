use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tracing::Instrument as _;

use super::caught::{Panicked, caught, caught_now};
use super::idle::Idle;
use super::left::Left;
use super::shared::Inner;
use super::turns::Turns;
use crate::clock::instant;
use crate::error::Result;
use crate::event::Event;
use crate::format::{Format, RenderContext, Scope};
use crate::id::PolicyId;
use crate::observe::{Cycle, Observation};
use crate::policy::{Policy, PolicyTarget, TargetType};
use crate::settings::AtBound;
use crate::store::{Body, ClaimedEvent, FanOut, Fenced, LaneLimits, Lease, NewDelivery};
use crate::together::side_by_side;

/// Deliveries of one event written at once.
const PART: usize = 1000;

/// The cycle that turns events into deliveries.
pub(super) async fn run(inner: &Inner, stopped: watch::Receiver<bool>, news: &Notify) -> Result<()> {
    let mut idle = Idle::new(inner, Cycle::Intake, &inner.appended, stopped);
    let (mut turns, mut left) = (Turns::default(), Left::default());
    while !idle.is_stopped() {
        match round(inner, &mut turns, &mut left).await {
            Ok(0) => idle.wait().await,
            Ok(_) => {
                idle.busy();
                news.notify_one();
            }
            Err(e) if e.is_retryable() => idle.trouble(&e).await,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Fans out what is in the outbox, and what was left. The events go to the store in their order but side by side, so that a
/// store that commits in groups can. Says how many of the outbox were tried.
async fn round(inner: &Inner, turns: &mut Turns, left: &mut Left) -> Result<usize> {
    let (lease, room) = (inner.settings.event_lease, turns.room());
    if room > 0 {
        let until = instant() + lease / 2;
        turns.put(inner.deliveries.claim_events(room, lease).await?, until);
    }
    let mut claimed = turns.take(instant());
    let count = claimed.len();
    claimed.extend(left.take_due());
    let events: Vec<_> =
        claimed.iter().map(|event| Box::pin(caught(fan_out(inner, event).instrument(span(event))))).collect();
    let results = side_by_side(events).await;
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
async fn fan_out(inner: &Inner, claimed: &ClaimedEvent) -> Result<usize> {
    let event = match &claimed.event {
        Ok(event) => event,
        Err(reason) => return set_aside(inner, &claimed.lease, reason.clone()).await.map(|()| 0),
    };
    let policies = inner.subscribers(event).await?;
    let parked = is_parked(inner, event).await?;
    let mut renderer = Renderer { inner, event, bodies: Vec::new() };
    let (mut part, mut failed) = (FanOut::default(), Vec::new());
    let targets: Vec<_> = policies.iter().flat_map(|p| std::iter::zip(std::iter::repeat(p), &p.targets)).collect();
    let deliveries = targets.len();
    for (policy, target) in targets {
        if part.deliveries.len() == PART {
            let full = std::mem::take(&mut part);
            if inner.deliveries.fan_out(&claimed.lease, full).await? == Fenced::Stale {
                return Ok(deliveries); // somebody else has the event now
            }
        }
        let body = renderer.body(policy, target);
        if let Err(reason) = &body {
            failed.push((policy, target, reason.clone()));
        }
        let mut new =
            NewDelivery::new(policy.id, target, body.as_ref().map(|b| b.id).map_err(Clone::clone), lane(inner, target));
        new.parked = parked;
        part.deliveries.push(new);
        if let Ok(body) = body
            && !part.bodies.iter().any(|known| known.id == body.id)
        {
            part.bodies.push(body);
        }
    }
    part.last = true;
    if inner.deliveries.fan_out(&claimed.lease, part).await? == Fenced::Done {
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

/// Renders each body of an event once.
struct Renderer<'a> {
    inner: &'a Inner,
    event: &'a Event,
    bodies: Vec<(Key<'a>, Result<Body, String>)>,
}

/// What a body is shared by: the format's name, and the policy if the body names it.
type Key<'a> = (&'a str, Option<PolicyId>);

impl<'a> Renderer<'a> {
    fn body(&mut self, policy: &Policy, target: &'a PolicyTarget) -> Result<Body, String> {
        let name = target.target.format_name();
        let format = self.inner.formats.find(name);
        let format = format.ok_or_else(|| format!("no format of the name {name} is registered"))?;
        let key = (name, (format.scope() == Scope::Policy).then_some(policy.id));
        if let Some((_, body)) = self.bodies.iter().rev().find(|(known, _)| *known == key) {
            return body.clone();
        }
        let cx = RenderContext::new(self.event, &**format, policy.id);
        // A body of this format for another policy of the event, which this one may be made from.
        let known =
            self.bodies.iter().rev().find_map(|(_, body)| body.as_ref().ok().filter(|body| &*body.format == name));
        let body = render(self.event, &**format, &cx, known.map(|body| &body.bytes[..]));
        if let Err(reason) = &body {
            tracing::error!(format = name, reason, event = %self.event.id, "a format failed");
        }
        self.bodies.push((key, body.clone()));
        body
    }
}

fn render(event: &Event, format: &dyn Format, cx: &RenderContext, known: Option<&[u8]>) -> Result<Body, String> {
    let mut out = Vec::with_capacity(known.map_or(1024, |known| known.len() + 32));
    let rendered = caught_now(|| match known {
        Some(known) => format.render_again(event, cx, known, &mut out),
        None => format.render(event, cx, &mut out),
    });
    match rendered {
        Ok(Ok(())) => {
            Ok(Body::new(cx.body_id, format.name(), format.content_type(), Bytes::from(out.into_boxed_slice())))
        }
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err("the format panicked".to_owned()),
    }
}
