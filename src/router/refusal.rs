use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::{Error, ErrorKind};

/// A request that is not granted, in Harbor's words.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    code: &'static str,
    message: String,
    /// Which input it concerns.
    field: Option<String>,
    /// For the log; callers are not told what is wrong inside.
    cause: Option<String>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), field: None, cause: None }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "unauthorized")
    }

    pub(super) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", "forbidden")
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    /// A parameter or a body that cannot be read.
    pub(super) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "UNPROCESSABLE_ENTITY", message)
    }

    pub(super) fn internal(error: &Error) -> Self {
        let refusal = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "internal server error");
        Self { cause: Some(error.to_string()), ..refusal }
    }

    #[must_use]
    pub(super) fn field(mut self, field: Option<String>) -> Self {
        self.field = field;
        self
    }

    /// Tells the log what callers are not told.
    pub(super) fn log(&self) {
        match &self.cause {
            Some(cause) => tracing::error!(cause, "a request failed"),
            None => tracing::debug!(status = self.status.as_u16(), code = self.code, "a request was refused"),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Invalid => Self::bad_request(error.to_string()),
            ErrorKind::NotFound => Self::not_found(error.to_string()),
            ErrorKind::Conflict => Self::new(StatusCode::CONFLICT, "CONFLICT", error.to_string()),
            ErrorKind::Full | ErrorKind::Unavailable | ErrorKind::Store => Self::internal(&error),
        }
    }
}

/// Harbor's error body.
#[derive(Serialize)]
struct Errors<'a> {
    errors: [One<'a>; 1],
}

#[derive(Serialize)]
struct One<'a> {
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    message: &'a str,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let one = One { code: self.code, field: self.field.as_deref(), message: &self.message };
        // Writing strings cannot fail.
        let mut body = serde_json::to_string(&Errors { errors: [one] }).unwrap_or_default();
        body.push('\n');
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        (self.status, [(header::CONTENT_TYPE, json)], body).into_response()
    }
}
