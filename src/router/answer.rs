use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::refusal::Refusal;
use crate::error::{Error, ErrorKind};

/// What an endpoint gives.
pub(super) type Answer = Result<Response, Refusal>;

/// 200 with a value in JSON, and a line break behind it as Harbor has.
pub(super) fn json(value: &impl Serialize) -> Answer {
    json_as(StatusCode::OK, HeaderMap::new(), value)
}

/// A value in JSON.
pub(super) fn json_as(status: StatusCode, headers: HeaderMap, value: &impl Serialize) -> Answer {
    let mut body = serde_json::to_vec(value)
        .map_err(|e| Refusal::internal(&Error::new(ErrorKind::Store, "an answer cannot be written").with_source(e)))?;
    body.push(b'\n');
    let json = HeaderValue::from_static("application/json");
    Ok((status, headers, [(header::CONTENT_TYPE, json)], body).into_response())
}

/// 200 without a body: Harbor's answer to what changes something.
#[allow(clippy::unnecessary_wraps)] // as the others
pub(super) fn empty() -> Answer {
    Ok(StatusCode::OK.into_response())
}

/// What every answer has.
///
/// Answers are for the one who asked, and no browser shall take one for something else than it says: a log shows what
/// receivers answered.
pub(super) fn finish(mut response: Response, request_id: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.insert("x-request-id", request_id);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
