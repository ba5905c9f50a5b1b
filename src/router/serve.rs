use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{OriginalUri, RawPathParams, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use tracing::Instrument as _;

use super::answer::{Answer, finish};
use super::ask::Ask;
use super::query::Query;
use super::refusal::Refusal;
use super::routes::{BASE, Call, EXT, Route};
use super::{Api, csrf, request_id};
use crate::caught::caught;
use crate::error::{Error, ErrorKind};

/// What can be done at one path.
type Methods = Vec<(&'static str, Call)>;

type Params = Result<RawPathParams, RawPathParamsRejection>;

/// The router of both groups. Below the paths that are ours altogether, what is not there is not found in Harbor's way.
pub(super) fn router(api: &Arc<Api>) -> Router {
    let (base, ext) = (literal(&api.options.base_path), literal(&api.options.ext_path));
    let mut paths = by_path(&base, BASE);
    paths.extend(by_path(&ext, EXT));
    for nothing in [format!("{base}/projects/{{project}}/webhook/{{*rest}}"), format!("{ext}/{{*rest}}")] {
        paths.insert(nothing, Methods::new());
    }
    paths.into_iter().fold(Router::new(), |router, (path, methods)| router.route(&path, endpoint(api, methods)))
}

/// With a slash before it and none behind, as paths are put together.
pub(super) fn prefix(path: &str) -> String {
    let path = path.trim_matches('/');
    if path.is_empty() { String::new() } else { format!("/{path}") }
}

/// The same for axum, in whose paths braces stand around names.
fn literal(path: &str) -> String {
    prefix(path).replace('{', "{{").replace('}', "}}")
}

fn by_path(prefix: &str, routes: &[Route]) -> BTreeMap<String, Methods> {
    let mut paths: BTreeMap<_, Methods> = BTreeMap::new();
    for route in routes {
        for end in ["", "/"] {
            let path = format!("{prefix}{}{end}", route.path);
            paths.entry(path).or_default().push((route.method, route.call));
        }
    }
    paths
}

fn endpoint(api: &Arc<Api>, methods: Methods) -> axum::routing::MethodRouter {
    let (api, methods) = (Arc::clone(api), Arc::new(methods));
    any(move |OriginalUri(uri): OriginalUri, params: Params, request: Request| {
        let (api, methods) = (Arc::clone(&api), Arc::clone(&methods));
        async move { api.serve(&methods, uri.path().to_owned(), params, request).await }
    })
}

impl Api {
    async fn serve(&self, methods: &Methods, path: String, params: Params, request: Request) -> Response {
        let id = request_id::of(request.headers());
        let span = tracing::debug_span!("webhook_api", request_id = id.to_str().unwrap_or_default());
        let answered = caught(self.answer(methods, path, params, request)).instrument(span.clone()).await;
        let answer = answered.unwrap_or_else(|_| {
            Err(Refusal::internal(&Error::new(ErrorKind::Store, "an endpoint panicked; this is a fault of the crate")))
        });
        let response = answer.unwrap_or_else(|refusal| {
            span.in_scope(|| refusal.log());
            refusal.into_response()
        });
        finish(response, id)
    }

    async fn answer(&self, methods: &Methods, path: String, params: Params, request: Request) -> Answer {
        let Some(call) = find(methods, request.method()) else { return no_such_method(methods) };
        let (head, body) = request.into_parts();
        if csrf::is_foreign(&head) {
            return Err(Refusal::forbidden());
        }
        let params = params.map_err(|_| Refusal::bad_request("the path is not UTF-8"))?;
        let params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let caller = self.caller(&head).await?;
        let query = Query::parse(head.uri.query());
        call.answer(self, Ask { head, path, params, caller, query }, body).await
    }
}

/// HEAD is GET, of which the server leaves out the body.
fn find(methods: &Methods, method: &Method) -> Option<Call> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    methods.iter().find(|(name, _)| *name == method).map(|(_, call)| *call)
}

fn no_such_method(methods: &Methods) -> Answer {
    if methods.is_empty() {
        return Err(Refusal::not_found("no such path"));
    }
    let names: Vec<_> = methods.iter().map(|(name, _)| *name).collect();
    let mut response =
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "method not allowed").into_response();
    let allow = HeaderValue::try_from(names.join(", ")).unwrap_or(HeaderValue::from_static(""));
    response.headers_mut().insert(header::ALLOW, allow);
    Ok(response)
}
