//! The OpenAPI document of everything that is served.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse as _;

use super::answer::Answer;
use super::ask::Ask;
use super::serve::prefix;
use super::{Api, RouterOptions};

/// Paths begin with `BASE` and `EXT`, as hosts choose where both are served.
const TEXT: &str = include_str!("openapi.json");

pub(super) async fn read(api: &Api, ask: Ask) -> Answer {
    ask.caller()?;
    let json = HeaderValue::from_static("application/json");
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, json)], document(&api.options)).into_response())
}

fn document(options: &RouterOptions) -> String {
    // With a quote before it and none behind: the path goes on.
    let begun = |path: &str| serde_json::Value::from(prefix(path) + "/").to_string().trim_end_matches('"').to_owned();
    TEXT.replace("\"BASE/", &begun(&options.base_path))
        .replace("\"EXT/", &begun(&options.ext_path))
        .replace("\"VERSION\"", concat!("\"", env!("CARGO_PKG_VERSION"), "\""))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::router::routes::{BASE, EXT};

    fn parsed(options: &RouterOptions) -> Value {
        serde_json::from_str(&document(options)).unwrap()
    }

    /// Both ways: what is served is described, and what is described is served.
    #[test]
    fn the_document_describes_what_is_served() {
        let document = parsed(&RouterOptions::default());
        let mut described = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                described.insert((path.clone(), method.to_uppercase()));
            }
        }
        let at = |prefix: &'static str| {
            move |route: &crate::router::routes::Route| (format!("{prefix}{}", route.path), route.method.to_owned())
        };
        let served: BTreeSet<_> =
            BASE.iter().map(at("/api/v2.0")).chain(EXT.iter().map(at("/api/webhooks/v1"))).collect();
        assert_eq!(described, served);
    }

    /// Each name in a path is a parameter of the operation, and each reference leads somewhere.
    #[test]
    fn the_document_is_whole() {
        let document = parsed(&RouterOptions::default());
        for (path, methods) in document["paths"].as_object().unwrap() {
            let names: Vec<_> = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            for (method, operation) in methods.as_object().unwrap() {
                let known: Vec<_> = operation["parameters"].as_array().unwrap().iter().collect();
                let found = |name: &str| known.iter().any(|p| resolve(&document, p)["name"] == name);
                assert!(names.iter().all(|name| found(name)), "{method} {path}");
            }
        }
        check_references(&document, &document);
    }

    fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => document.pointer(reference.trim_start_matches('#')).expect(reference),
            None => value,
        }
    }

    fn check_references(document: &Value, value: &Value) {
        resolve(document, value);
        match value {
            Value::Array(values) => values.iter().for_each(|value| check_references(document, value)),
            Value::Object(members) => members.values().for_each(|value| check_references(document, value)),
            _ => {}
        }
    }

    #[test]
    fn paths_follow_the_host() {
        let options = RouterOptions::default().base_path("").ext_path("/registry/\"hooks\"/");
        let document = parsed(&options);
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.contains_key("/configurations") && paths.contains_key("/registry/\"hooks\"/session"));
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
