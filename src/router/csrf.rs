use axum::http::request::Parts;
use axum::http::{HeaderValue, header};

/// Whether a browser says that another site caused this request. Programs say nothing of the kind.
pub(super) fn is_foreign(head: &Parts) -> bool {
    if head.method.is_safe() {
        return false;
    }
    match head.headers.get("sec-fetch-site") {
        Some(site) => site != "same-origin" && site != "none",
        None => head.headers.get(header::ORIGIN).is_some_and(|origin| !is_own(origin, head)),
    }
}

/// Whether the origin is that of this server. Its scheme is not compared: behind a proxy it is not known here.
fn is_own(origin: &HeaderValue, head: &Parts) -> bool {
    let host = head.headers.get(header::HOST).map(HeaderValue::as_bytes);
    let host = host.or_else(|| head.uri.authority().map(|authority| authority.as_str().as_bytes()));
    let origin = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
    matches!((origin, host), (Some(origin), Some(host)) if origin.as_bytes().eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn foreign(method: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().method(method).uri("/x").header("host", "hub.example.com:8443");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        is_foreign(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn what_other_sites_cause_is_known() {
        assert!(!foreign("POST", &[]) && !foreign("GET", &[("sec-fetch-site", "cross-site")]));
        for site in ["cross-site", "same-site", "", "SAME-ORIGIN"] {
            assert!(foreign("PUT", &[("sec-fetch-site", site)]), "{site}");
        }
        assert!(!foreign("DELETE", &[("sec-fetch-site", "same-origin"), ("origin", "https://proxied")]));
        assert!(!foreign("POST", &[("sec-fetch-site", "none")]));
        assert!(!foreign("POST", &[("origin", "https://HUB.example.com:8443")]));
        for origin in ["null", "https://evil.example", "https://hub.example.com", "hub.example.com:8443", ""] {
            assert!(foreign("POST", &[("origin", origin)]), "{origin}");
        }
    }
}
