use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::caught::caught_now;
use super::idle::Idle;
use crate::error::Result;
use crate::event::Event;
use crate::format::{Format, RenderContext};
use crate::policy::{Policy, PolicyTarget, TargetType};
use crate::store::{Body, ClaimedEvent, FanOut, Fenced, LaneLimits, Lease, NewDelivery};
use crate::webhooks::{Inner, VIEW_AGE};

/// Events taken at once.
const ROUND: usize = 64;
/// Deliveries of one event written at once.
const PART: usize = 1000;

/// The cycle that turns events into deliveries.
pub(super) async fn run(inner: &Arc<Inner>, stopped: watch::Receiver<bool>, fanned_out: &Notify) -> Result<()> {
    let mut idle = Idle::new(inner, &inner.appended, stopped);
    while !idle.is_stopped() {
        match round(inner).await {
            Ok(0) => idle.wait().await,
            Ok(_) => {
                idle.busy();
                fanned_out.notify_one();
            }
            Err(e) if e.is_retryable() => idle.trouble(&e).await,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Fans out what is in the outbox, side by side, so that a store that commits in groups can.
async fn round(inner: &Arc<Inner>) -> Result<usize> {
    let claimed = inner.deliveries.claim_events(ROUND, inner.settings.event_lease).await?;
    let count = claimed.len();
    let mut events = JoinSet::new();
    for event in claimed {
        let inner = Arc::clone(inner);
        events.spawn(async move { fan_out(&inner, event).await });
    }
    let mut worst = Ok(count);
    while let Some(done) = events.join_next().await {
        match done {
            Ok(Ok(())) => {}
            Ok(Err(e)) => worst = Err(e),
            // A host's policy source panicked. The event's lease runs out and it is tried again.
            Err(panic) => tracing::error!(%panic, "fanning an event out panicked"),
        }
    }
    worst
}

async fn fan_out(inner: &Inner, claimed: ClaimedEvent) -> Result<()> {
    let event = match claimed.event {
        Ok(event) => event,
        Err(reason) => return set_aside(inner, &claimed.lease, reason).await,
    };
    let policies = inner.source.subscribers(event.project_id, event.event_type, VIEW_AGE).await?;
    let mut renderer = Renderer { inner, event: &event, bodies: Vec::new() };
    let mut part = FanOut::default();
    let targets: Vec<_> = policies.iter().flat_map(|p| std::iter::zip(std::iter::repeat(p), &p.targets)).collect();
    for (policy, target) in targets {
        if part.deliveries.len() == PART {
            let full = std::mem::take(&mut part);
            if inner.deliveries.fan_out(&claimed.lease, full).await? == Fenced::Stale {
                return Ok(()); // somebody else has the event now
            }
        }
        let body = renderer.body(policy, target);
        let new =
            NewDelivery::new(policy.id, target, body.as_ref().map(|b| b.id).map_err(Clone::clone), lane(inner, target));
        part.deliveries.push(new);
        if let Ok(body) = body {
            if !part.bodies.iter().any(|known| known.id == body.id) {
                part.bodies.push(body);
            }
        }
    }
    part.last = true;
    inner.deliveries.fan_out(&claimed.lease, part).await.map(|_| ())
}

async fn set_aside(inner: &Inner, lease: &Lease, reason: String) -> Result<()> {
    tracing::error!(row = lease.key, reason, "an event in the outbox cannot be read and is set aside");
    let part = FanOut { last: true, set_aside: Some(reason), ..FanOut::default() };
    inner.deliveries.fan_out(lease, part).await.map(|_| ())
}

fn lane(inner: &Inner, target: &PolicyTarget) -> LaneLimits {
    let in_flight = match target.target.target_type {
        TargetType::Slack => inner.settings.slack_in_flight,
        TargetType::Http => inner.settings.lane.max_in_flight,
    };
    LaneLimits::new(inner.settings.lane.max_waiting, in_flight)
}

/// Renders each body of an event once.
struct Renderer<'a> {
    inner: &'a Inner,
    event: &'a Event,
    bodies: Vec<(Uuid, Result<Body, String>)>,
}

impl Renderer<'_> {
    fn body(&mut self, policy: &Policy, target: &PolicyTarget) -> Result<Body, String> {
        let name = target.target.format_name();
        let format = self.inner.formats.find(name);
        let format = format.ok_or_else(|| format!("no format of the name {name} is registered"))?;
        let cx = RenderContext::new(self.event, &**format, policy.id);
        if let Some((_, body)) = self.bodies.iter().rev().find(|(id, _)| *id == cx.body_id) {
            return body.clone();
        }
        let body = render(self.event, &**format, &cx);
        if let Err(reason) = &body {
            tracing::error!(format = name, reason, event = %self.event.id, "a format failed");
        }
        self.bodies.push((cx.body_id, body.clone()));
        body
    }
}

fn render(event: &Event, format: &dyn Format, cx: &RenderContext) -> Result<Body, String> {
    let mut out = Vec::with_capacity(1024);
    match caught_now(|| format.render(event, cx, &mut out)) {
        Ok(Ok(())) => {
            Ok(Body::new(cx.body_id, format.name(), format.content_type(), Bytes::from(out.into_boxed_slice())))
        }
        Ok(Err(e)) => Err(e.to_string()),
        Err(_) => Err("the format panicked".to_owned()),
    }
}
