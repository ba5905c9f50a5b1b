//! The console as it is served: headers, size, and that it asks for nothing from elsewhere. (`.ci/console` uses it in a browser.)

use std::collections::BTreeMap;

use axum::Router;
use harbor_webhook::console;
use reqwest::{Client, Response, StatusCode, Url};
use tokio::net::TcpListener;

const LIMIT: usize = 150_000;

async fn served(app: Router) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url.parse().unwrap()
}

async fn at_root() -> Url {
    served(console::router("/api/v2.0", "/api/webhooks/v1")).await
}

async fn get(client: &Client, url: &Url) -> Response {
    let answer = client.get(url.clone()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{url}");
    answer
}

/// What stands between the two, each time.
fn all_between<'t>(text: &'t str, before: &str, after: &str) -> Vec<&'t str> {
    text.split(before).skip(1).filter_map(|rest| rest.split(after).next()).collect()
}

/// The files that a text names: its links, or its imports.
fn named(text: &str) -> Vec<&str> {
    [(" href=\"", "\""), (" src=\"", "\""), ("from \"./", "\"")]
        .into_iter()
        .flat_map(|(before, after)| all_between(text, before, after))
        .filter(|link| !link.starts_with('#'))
        .collect()
}

/// The page and everything that a browser loads for it.
async fn loaded(client: &Client, page: Url) -> BTreeMap<Url, String> {
    let (mut loaded, mut left) = (BTreeMap::new(), vec![page]);
    while let Some(url) = left.pop() {
        if loaded.contains_key(&url) {
            continue;
        }
        let text = get(client, &url).await.text().await.unwrap();
        left.extend(named(&text).into_iter().map(|link| url.join(link).unwrap()));
        loaded.insert(url, text);
    }
    loaded
}

#[tokio::test]
async fn the_page_is_small_and_whole() {
    let files = loaded(&Client::new(), at_root().await).await;
    let size: usize = files.values().map(String::len).sum();
    let on_disk = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/console/page")).unwrap().count();
    assert_eq!(files.len(), on_disk, "{:?}", files.keys());
    assert!(size < LIMIT, "{size} bytes");
}

#[tokio::test]
async fn every_answer_forbids_what_comes_from_elsewhere() {
    let client = Client::new();
    for url in loaded(&client, at_root().await).await.keys() {
        let answer = get(&client, url).await;
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{url}: {policy}");
        for part in ["frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'", "connect-src 'self'"] {
            assert!(policy.split("; ").any(|directive| directive == part), "{url}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{url}: {policy}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{url}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{url}");
        assert_eq!(header("cache-control"), "no-cache", "{url}");
        let kind = match url.path().rsplit_once('.') {
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(header("content-type"), kind, "{url}");
    }
}

#[tokio::test]
async fn nothing_is_loaded_from_elsewhere_and_no_text_becomes_markup() {
    // A namespace, and what the form suggests and explains.
    let harmless = ["http://www.w3.org/2000/svg", "placeholder: \"https://\"", "with https:// is", "/^https?:"];
    let forbidden = [
        "http://",
        "https://",
        "//cdn",
        "@import",
        "url(",
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "localStorage",
        "sessionStorage",
        "document.cookie",
        "style=\"",
        "onclick=",
    ];
    for (url, text) in loaded(&Client::new(), at_root().await).await {
        let text = harmless.iter().fold(text, |text, harmless| text.replace(harmless, ""));
        for word in forbidden {
            assert!(!text.contains(word), "{url}: {word}");
        }
    }
}

#[tokio::test]
async fn what_the_browser_has_is_not_sent_again() {
    let client = Client::new();
    for url in loaded(&client, at_root().await).await.keys() {
        let tag = get(&client, url).await.headers()["etag"].clone();
        let asked = |tags: String| client.get(url.clone()).header("If-None-Match", tags).send();
        let tag = tag.to_str().unwrap();
        let again = asked(format!("\"other\", W/{tag}")).await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{url}");
        assert_eq!(again.headers()["etag"], tag);
        assert!(again.headers().contains_key("content-security-policy"));
        assert!(again.bytes().await.unwrap().is_empty());
        assert_eq!(asked("\"other\"".to_owned()).await.unwrap().status(), StatusCode::OK, "{url}");
    }
}

#[tokio::test]
async fn the_page_can_be_mounted_anywhere() {
    let client = Client::new();
    let app = Router::new()
        .nest("/console", console::router("/registry/api/v2.0", "/x\"><script>&"))
        .nest("/{tenant}/hooks", console::router("/a", "/b"));
    let root = served(app).await;
    let files = loaded(&client, root.join("/console").unwrap()).await;
    assert_eq!(files.len(), loaded(&client, at_root().await).await.len());
    let page = &files[&root.join("/console").unwrap()];
    assert!(page.contains(r#"data-api="/registry/api/v2.0" data-ext="/x&quot;&gt;&lt;script&gt;&amp;""#), "{page}");
    assert_eq!(loaded(&client, root.join("/one/hooks").unwrap()).await.len(), files.len());
}
