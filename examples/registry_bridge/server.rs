//! The endpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use harbor_webhook::event::Payload;
use harbor_webhook::health::{Health, Waiting};
use harbor_webhook::router::{RouterOptions, webhook_router};
use harbor_webhook::{Error, ErrorKind, Event, ProjectId, Webhooks};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};

use crate::access::{Access, Projects, guard};
use crate::distribution::Reader;

const MAX_ENVELOPE: usize = 4 * 1024 * 1024;
const MAX_EVENT: usize = 1024 * 1024;

/// What the endpoints need.
#[derive(Debug)]
pub(crate) struct Bridge {
    pub(crate) hooks: Webhooks,
    pub(crate) reader: Reader,
    metrics: PrometheusHandle,
    access: Access,
    /// Notifications of repositories without a project, since the start.
    strangers: AtomicU64,
}

impl Bridge {
    pub(crate) fn new(hooks: Webhooks, reader: Reader, metrics: PrometheusHandle, access: Access) -> Self {
        Self { hooks, reader, metrics, access, strangers: AtomicU64::new(0) }
    }
}

pub(crate) fn router(bridge: Bridge) -> Router {
    let access = bridge.access.clone();
    let projects = Projects::new(&bridge.reader.projects);
    let api = webhook_router(bridge.hooks.clone(), access.clone(), projects, RouterOptions::default());
    let bridge = Arc::new(bridge);
    let healthz = Router::new().route("/healthz", get(healthz)).with_state(Arc::clone(&bridge));
    Router::new()
        .route("/distribution", post(distribution).layer(DefaultBodyLimit::max(MAX_ENVELOPE)))
        .route("/projects/{id}/events", post(event).layer(DefaultBodyLimit::max(MAX_EVENT)))
        .route("/metrics", get(metrics))
        .with_state(bridge)
        .merge(api)
        // Whoever may not come in is not told either what is not there.
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(from_fn_with_state(access, guard))
        .merge(healthz)
        .merge(console())
}

/// The console at `/`. It needs no guard: it holds nothing, and asks for the token itself.
#[cfg(feature = "console")]
fn console() -> Router {
    let RouterOptions { base_path, ext_path, .. } = RouterOptions::default();
    harbor_webhook::console::router(&base_path, &ext_path)
}

#[cfg(not(feature = "console"))]
fn console() -> Router {
    Router::new()
}

/// Takes a registry's envelope. The registry sends it again until it is answered with success, so success means that
/// all its events are kept.
async fn distribution(
    State(bridge): State<Arc<Bridge>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let read = bridge.reader.read(&body?)?;
    for repository in &read.strangers {
        bridge.strangers.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(repository, "ignored: no --project names the first component of this repository");
    }
    let taken = read.events.len();
    for event in read.events {
        let notified = bridge.hooks.notify(&event).await?;
        tracing::debug!(id = %event.id, event_type = %event.event_type, ?notified, "taken from the registry");
    }
    Ok((StatusCode::ACCEPTED, Json(json!({ "events": taken }))).into_response())
}

/// Takes one event in Harbor's Default format.
async fn event(
    State(bridge): State<Arc<Bridge>>,
    Path(project): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let project = project.parse().ok().filter(|id| *id > 0).map(ProjectId);
    let project = project.ok_or_else(|| Error::invalid("project id", "must be a whole number from 1"))?;
    let payload: Payload = serde_json::from_slice(&body?).map_err(|e| Error::invalid("body", e))?;
    let mut event = Event::from_payload(project, payload)?;
    if let Some(id) = headers.get("x-request-id").filter(|id| !id.is_empty()) {
        let id = id.to_str().map_err(|_| Error::invalid("X-Request-Id", "must be visible ASCII"))?;
        event = event.request_id(id);
    }
    let notified = bridge.hooks.notify(&event).await?;
    tracing::debug!(id = %event.id, event_type = %event.event_type, ?notified, "taken");
    Ok((StatusCode::ACCEPTED, Json(json!({ "event_id": event.id }))).into_response())
}

/// What waits, and in `problems` what is stuck, in words. The status is `ok` as long as the store answers, and 503 if it does
/// not: what stands among the problems is for people, and a restart would mend none of it.
///
/// Whoever has no token learns the status only: errors name receivers and what lies behind them.
async fn healthz(State(bridge): State<Arc<Bridge>>, headers: HeaderMap) -> Response {
    let health = bridge.hooks.health().await;
    let is_known = bridge.access.lets_in(&headers);
    match &health.waiting {
        None => {
            let body = if is_known { json!(health) } else { json!({ "status": "unavailable" }) };
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], Json(body)).into_response()
        }
        Some(waiting) if is_known => Json(bridge.in_full(&health, waiting)).into_response(),
        Some(_) => Json(json!({ "status": "ok" })).into_response(),
    }
}

impl Bridge {
    fn in_full(&self, health: &Health, waiting: &Waiting) -> Value {
        let seconds = |age: Option<Duration>| age.map(|age| age.as_secs());
        json!({
            "status": "ok",
            "problems": health.problems,
            "outbox": waiting.events,
            "oldest_event_seconds": seconds(waiting.oldest_event),
            "waiting": waiting.deliveries,
            "oldest_waiting_seconds": seconds(waiting.oldest_delivery),
            "parked": waiting.parked,
            "dead": waiting.dead,
            "closed_lanes": health.closed_lanes.len(),
            "lanes": health.closed_lanes,
            "set_aside": waiting.set_aside,
            "ignored_unknown_project": self.strangers.load(Ordering::Relaxed),
            "run": health.run,
            "store_faults": health.store_faults,
            "failed_attempts": health.failed_attempts,
        })
    }
}

/// Prometheus' text format.
async fn metrics(State(bridge): State<Arc<Bridge>>) -> Response {
    bridge.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], bridge.metrics.render()).into_response()
}

/// A request that was not granted.
#[derive(Debug)]
enum Refused {
    /// The body could not be read, or is too large.
    Body(BytesRejection),
    Error(Error),
}

impl From<BytesRejection> for Refused {
    fn from(rejection: BytesRejection) -> Self {
        Self::Body(rejection)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, reason) = match self {
            Self::Body(rejection) => (rejection.status(), rejection.body_text()),
            Self::Error(error) => (status_of(&error), error.to_string()),
        };
        tracing::warn!(status = status.as_u16(), reason, "refused a request");
        let body = Json(json!({ "error": reason }));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return (status, [(header::RETRY_AFTER, "1")], body).into_response();
        }
        (status, body).into_response()
    }
}

fn status_of(error: &Error) -> StatusCode {
    match error.kind() {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        _ if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
