//! A page over the REST API: what a project administrator and a system administrator see and do.
//!
//! ```no_run
//! # fn mount(rest: axum::Router) -> axum::Router {
//! // The page at /console, over the API at its usual paths.
//! rest.nest("/console", harbor_webhook::console::router("/api/v2.0", "/api/webhooks/v1"))
//! # }
//! ```
//!
//! The page is static and shows no data of its own: it needs no authentication, and who may see what is the API's to say. It
//! calls the API with the browser's session of the host, if there is one; when the API answers 401, it asks for user and
//! password and sends them as Basic authentication. They stay in the page's memory, never in the browser's storage.
//! A server that wants this form should answer 401 without a `WWW-Authenticate` challenge when a request has the header
//! `X-Requested-With`: at a challenge, browsers open a window of their own.

mod page;

use std::sync::Arc;

use axum::Router;
use axum::extract::OriginalUri;
use axum::http::HeaderMap;
use axum::routing::get;

use page::{FILES, Index};

/// The page, to be merged into a router (it is then at `/`), or nested at any path without a slash at its end.
///
/// `base` and `beyond` are the paths at which the browser reaches Harbor's API and what goes beyond it, for example
/// `/api/v2.0` and `/api/webhooks/v1`. Behind a proxy that changes paths, they are those before the proxy.
///
/// Besides `/`, it has routes under `/console-page/` only. All links are relative. Everything is answered with a content
/// security policy that allows nothing from elsewhere, and with an `ETag`.
pub fn router<S: Clone + Send + Sync + 'static>(base: &str, beyond: &str) -> Router<S> {
    let index = Arc::new(Index::new(base, beyond));
    let index =
        move |OriginalUri(uri): OriginalUri, headers: HeaderMap| async move { index.answer(uri.path(), &headers) };
    FILES.iter().fold(Router::new().route("/", get(index)), |router, file| {
        router.route(&file.path(), get(move |headers: HeaderMap| async move { file.answer(&headers) }))
    })
}
