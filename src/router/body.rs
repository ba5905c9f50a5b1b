use std::future::poll_fn;
use std::pin::Pin;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};

use super::RouterOptions;
use super::refusal::Refusal;

/// Reads a body, within its bound and its time.
pub(super) async fn read(headers: &HeaderMap, body: Body, options: &RouterOptions) -> Result<Vec<u8>, Refusal> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > options.max_body as u64) {
        return Err(too_large(options.max_body));
    }
    let read = tokio::time::timeout(options.body_timeout, collect(body, options.max_body)).await;
    read.unwrap_or_else(|_| {
        let message = "the body did not come in time";
        Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message))
    })
}

async fn collect(mut body: Body, most: usize) -> Result<Vec<u8>, Refusal> {
    let mut read = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|_| Refusal::bad_request("the body ended early"))?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > most {
            return Err(too_large(most));
        }
        read.extend_from_slice(&data);
    }
    Ok(read)
}

fn too_large(most: usize) -> Refusal {
    let message = format!("the body is larger than {most} bytes");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "REQUEST_ENTITY_TOO_LARGE", message)
}
