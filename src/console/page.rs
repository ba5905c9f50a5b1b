//! The files of the page, and how they are answered.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

/// Nothing from elsewhere, nothing inline, no frame around it, and no text that becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
     form-action 'none'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// What every answer carries. It is asked for anew each time, so that a new version of the host brings its page at once; mostly
/// the answer is 304.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-cache"),
];

const INDEX: &str = include_str!("page/index.html");

pub(super) struct File {
    name: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($name:literal),* $(,)?) => { [$(File { name: $name, text: include_str!(concat!("page/", $name)) }),*] };
}

pub(super) static FILES: [File; 23] = files![
    "actions.js",
    "api.js",
    "console.css",
    "delivery.js",
    "dialogs.js",
    "dom.js",
    "execution-row.js",
    "form.js",
    "icon.svg",
    "lanes.js",
    "main.js",
    "plots.js",
    "polling.js",
    "problems.js",
    "projects.js",
    "sign-in.js",
    "system.js",
    "tables.js",
    "target-fields.js",
    "webhook.js",
    "webhooks.js",
    "where.js",
    "words.js",
];

impl File {
    pub(super) fn path(&self) -> String {
        format!("/console-page/{}", self.name)
    }

    pub(super) fn answer(&self, asked: &HeaderMap) -> Response {
        let kind = match self.name.rsplit_once('.') {
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        };
        answer(kind, self.text, asked)
    }
}

/// The page itself, but for the links, which depend on where it was asked for.
pub(super) struct Index(String);

impl Index {
    pub(super) fn new(base: &str, beyond: &str) -> Self {
        let modules = FILES.iter().filter(|file| file.name.ends_with(".js"));
        let links: Vec<_> =
            modules.map(|file| format!(r#"<link rel="modulepreload" href="{{here}}{}">"#, &file.path()[1..])).collect();
        let page = INDEX.replace("{modules}", &links.join("\n    "));
        Self(page.replace("{api}", &escaped(base)).replace("{ext}", &escaped(beyond)))
    }

    /// Links are relative, so that a proxy may put the page elsewhere. They begin at the last slash of the page's own path.
    pub(super) fn answer(&self, path: &str, asked: &HeaderMap) -> Response {
        let here = match path.rsplit_once('/') {
            Some((_, last)) if !last.is_empty() => format!("./{}/", escaped(last)),
            _ => String::new(),
        };
        answer("text/html; charset=utf-8", &self.0.replace("{here}", &here), asked)
    }
}

fn answer(kind: &'static str, text: &str, asked: &HeaderMap) -> Response {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let known = asked.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let is_known = known.is_some_and(|tags| tags.split(',').any(|known| known.trim().trim_start_matches("W/") == tag));
    let headers = (HEADERS, [(header::ETAG, tag)]);
    if is_known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, kind)], text.to_owned()).into_response()
}

/// For the value of an attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}
