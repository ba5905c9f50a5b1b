use std::time::Duration;

use tracing::Instrument as _;

use super::caught::caught;
use super::shared::Inner;
use crate::delivery::breaker::Verdict;
use crate::delivery::retry::{Decision, Tried, parse_retry_after};
use crate::delivery::{Attempt, DeadReason, FailureKind, Outcome};
use crate::event::is_test;
use crate::observe::Observation;
use crate::policy::{Target, TargetType};
use crate::store::{Claimed, Hold, Next, Settlement};
use crate::transport::{Headers, Request, Response, TransportError};

/// Names the sender to receivers and proxies.
const USER_AGENT: &str = concat!("harbor-webhook/", env!("CARGO_PKG_VERSION"));
/// What a transport may take beyond the time it was given before it is cut off.
const OVERTIME: Duration = Duration::from_secs(1);
/// How much of a failure's words is kept, in characters, however much a host's transport says.
const MAX_MESSAGE: usize = 1000;

/// Makes one attempt and decides what follows.
pub(super) async fn attempt(inner: &Inner, claimed: Claimed, target: &Target) -> Settlement {
    let span = tracing::debug_span!("attempt", delivery = %claimed.id, event = %claimed.event_id);
    make(inner, claimed, target).instrument(span).await
}

async fn make(inner: &Inner, claimed: Claimed, target: &Target) -> Settlement {
    let started_at = inner.clock.now();
    let started = crate::clock::instant();
    let answer = send(inner, &claimed, target).await;
    let duration = started.elapsed();
    let (retry_after, remote_addr) = match &answer {
        Ok(response) => (response.retry_after.as_deref(), response.remote_addr),
        Err(_) => (None, None),
    };
    let retry_after = retry_after.and_then(|value| parse_retry_after(value, inner.clock.now()));
    let outcome = outcome(inner, answer);
    let age = claimed.age.saturating_add(duration);
    let tried = Tried::new(claimed.id, claimed.attempts.saturating_add(1), age, &outcome).retry_after(retry_after);
    let decision = inner.settings.retry.decide(&tried);
    tracing::debug!(?decision, ?duration, "attempt made");
    let attempt = Attempt::new(started_at, duration, outcome).remote_addr(remote_addr);
    tell(inner, &claimed, target, &attempt);
    let verdict = Verdict::of(&attempt.outcome);
    let settlement = settlement(&claimed, decision, attempt);
    match verdict {
        Some(verdict) => settlement.verdict(verdict, inner.settings.breaker),
        None => settlement,
    }
}

fn tell(inner: &Inner, claimed: &Claimed, target: &Target, attempt: &Attempt) {
    inner.pulse.attempted(claimed, attempt);
    inner.observers.tell(|| Observation::Attempted {
        delivery_id: claimed.id,
        event_id: claimed.event_id,
        event_type: claimed.event_type,
        policy_id: claimed.policy_id,
        target_id: claimed.target_id,
        target_type: target.target_type,
        format: &claimed.body.format,
        number: claimed.attempts.saturating_add(1),
        attempt,
    });
}

fn settlement(claimed: &Claimed, decision: Decision, attempt: Attempt) -> Settlement {
    let (next, close_lane) = match decision {
        Decision::Delivered => (Next::Delivered, None),
        Decision::Retry { after, close_lane } => (Next::Retry(after), close_lane),
        Decision::Dead(reason) => (Next::Dead(reason, detail(reason, &attempt)), None),
    };
    let settlement = Settlement::new(claimed.lease, next).attempt(attempt);
    match close_lane {
        Some(pause) => settlement.close_lane(pause, Hold::RetryAfter),
        None => settlement,
    }
}

/// A blocked delivery says what would allow it.
fn detail(reason: DeadReason, attempt: &Attempt) -> Option<String> {
    match (&attempt.outcome, reason) {
        (Outcome::Failed { message, .. }, DeadReason::Blocked) => Some(message.clone()),
        _ => None,
    }
}

async fn send(inner: &Inner, claimed: &Claimed, target: &Target) -> Result<Response, TransportError> {
    let settings = &inner.settings;
    let mut request = Request::new(&target.address, claimed.body.bytes.clone(), &inner.destination);
    request.timeout = settings.timeout;
    request.max_response = settings.max_response;
    request.project_id = Some(claimed.project_id);
    request.skip_cert_verify = target.skip_cert_verify;
    request.ca_bundle = target.options.ca_bundle.as_ref();
    request.client_identity = target.options.client_identity.as_ref();
    request.headers.push("content-type", &*claimed.body.content_type);
    request.headers.push("user-agent", USER_AGENT);
    let signed = sign(inner, claimed, target, &mut request.headers);
    if settings.webhook_id_header || signed {
        request.headers.push("webhook-id", claimed.body.id.to_string());
    }
    if is_test(claimed.event_id) {
        request.headers.push("webhook-test", "true");
    }
    // Harbor never sends the header to Slack targets.
    if let (TargetType::Http, Some(value)) = (target.target_type, &target.auth_header) {
        request.headers.push("authorization", value.expose());
    }
    let bound = settings.timeout.saturating_add(OVERTIME);
    match tokio::time::timeout(bound, caught(inner.transport.send(request))).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(TransportError::new(FailureKind::Panic, "the transport panicked")),
        Err(_) => Err(TransportError::new(FailureKind::Timeout, "the transport did not end within its time")),
    }
}

/// Signs this attempt, with its own time, over the bytes that every attempt has. Says whether there is anything to sign with.
#[cfg(feature = "signing")]
fn sign(inner: &Inner, claimed: &Claimed, target: &Target, headers: &mut Headers<'_>) -> bool {
    let (now, keys) = (inner.clock.now(), [target.options.signing_keys.as_ref(), inner.signing_keys.as_ref()]);
    let signatures = crate::signing::signatures(keys, &claimed.body.id.to_string(), now, &claimed.body.bytes);
    let Some(signatures) = signatures else { return false };
    headers.push("webhook-timestamp", now.timestamp().to_string());
    headers.push("webhook-signature", signatures);
    true
}

#[cfg(not(feature = "signing"))]
fn sign(_: &Inner, _: &Claimed, _: &Target, _: &mut Headers<'_>) -> bool {
    false
}

fn outcome(inner: &Inner, answer: Result<Response, TransportError>) -> Outcome {
    match answer {
        Ok(response) => answered(response, inner.settings.kept_response),
        Err(e) => Outcome::Failed { kind: e.kind(), message: e.to_string().chars().take(MAX_MESSAGE).collect() },
    }
}

/// Only a refusal's body is kept: it tells why.
fn answered(response: Response, kept: usize) -> Outcome {
    let Response { status, body, truncated, .. } = response;
    if (200..300).contains(&status) {
        return Outcome::Answered { status, body: String::new(), truncated: false };
    }
    let truncated = truncated || body.len() > kept;
    let body = String::from_utf8_lossy(&body[..body.len().min(kept)]).into_owned();
    Outcome::Answered { status, body, truncated }
}
