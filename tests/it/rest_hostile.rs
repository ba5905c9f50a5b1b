//! What hostile, broken and careless clients send to the REST API.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use harbor_webhook::router::RouterOptions;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use crate::support::rest::{Answered, Api};

const POLICIES: &str = "/api/v2.0/projects/2/webhook/policies";

/// Sends bytes and reads until the server closes.
fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // A server that refuses a body may close before it has read all of it.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn address(api: &Api) -> SocketAddr {
    api.url.strip_prefix("http://").unwrap().parse().unwrap()
}

fn code(answer: &Answered) -> String {
    answer.json()["errors"][0]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn large_bodies_are_refused() {
    let api = Api::start().await;
    let large = "x".repeat(1024 * 1024 + 1);
    let refused = Api::send(api.request("owner", "POST", POLICIES).body(large.clone())).await;
    assert_eq!((refused.status, &*code(&refused)), (413, "REQUEST_ENTITY_TOO_LARGE"));
    let (address, chunk) = (address(&api), format!("{:x}\r\n{large}\r\n", large.len()));
    let head = format!("POST {POLICIES} HTTP/1.1\r\nHost: x\r\nX-User: owner\r\nTransfer-Encoding: chunked\r\n\r\n");
    let answer = tokio::task::spawn_blocking(move || raw(address, (head + &chunk).as_bytes())).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // Of somebody who may not send it, it is not read.
    let refused = Api::send(api.request("reader", "POST", POLICIES).body(large)).await;
    assert_eq!(refused.status, 403);
    let just = format!("{}{{}}", " ".repeat(1024 * 1024 - 2));
    assert_eq!(Api::send(api.request("owner", "POST", POLICIES).body(just)).await.status, 400);
}

#[tokio::test]
async fn slow_bodies_are_given_up() {
    let mut options = RouterOptions::default();
    options.body_timeout = Duration::from_millis(100);
    let api = Api::with(options).await;
    let address = address(&api);
    let head = format!("POST {POLICIES} HTTP/1.1\r\nHost: x\r\nX-User: owner\r\nContent-Length: 2\r\n\r\n{{");
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        answer
    });
    assert_eq!(&answer.await.unwrap(), b"HTTP/1.1 408");
}

#[tokio::test]
async fn request_ids_cannot_forge_anything() {
    let api = Api::start().await;
    let with = async |id: &str| {
        let answer = Api::send(api.request("admin", "GET", POLICIES).header("X-Request-Id", id)).await;
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(with("0b6b1e4e-1").await, "0b6b1e4e-1");
    for forged in ["a b", "a\tINFO forged", "", &"a".repeat(129)] {
        let id = with(forged).await;
        assert!(id != forged && id.len() == 36, "{id}");
    }
    let refused = Api::send(api.request("", "GET", "/api/webhooks/v1/nothing").header("X-Request-Id", "seen")).await;
    assert_eq!(refused.header("x-request-id"), Some("seen"));
}

#[tokio::test]
async fn other_sites_cannot_cause_changes() {
    let api = Api::start().await;
    let status = async |method: &str, header: &str, value: &str| {
        Api::send(api.request("admin", method, POLICIES).header(header, value).body("{}")).await.status
    };
    assert_eq!(status("POST", "Sec-Fetch-Site", "cross-site").await, 403);
    assert_eq!(status("POST", "Origin", "https://evil.example").await, 403);
    assert_eq!(status("POST", "Origin", "null").await, 403);
    assert_eq!(status("POST", "Sec-Fetch-Site", "same-origin").await, 400);
    assert_eq!(status("POST", "Origin", &api.url.clone()).await, 400);
    assert_eq!(status("GET", "Sec-Fetch-Site", "cross-site").await, 200);
}

#[tokio::test]
async fn wrong_methods_and_paths_are_refused_in_harbors_form() {
    let api = Api::start().await;
    for (method, path) in [("PATCH", POLICIES), ("OPTIONS", POLICIES), ("DELETE", "/api/v2.0/systeminfo")] {
        let refused = Api::send(api.request("admin", method, path)).await;
        assert_eq!((refused.status, &*code(&refused)), (405, "METHOD_NOT_ALLOWED"), "{method} {path}");
        assert!(refused.header("allow").unwrap().starts_with("GET"));
    }
    for path in ["/api/v2.0/projects/2/webhook/nothing", "/api/webhooks/v1/nothing", &format!("{POLICIES}/1/x/y/z")] {
        let refused = api.get(path).await;
        assert_eq!((refused.status, &*code(&refused)), (404, "NOT_FOUND"), "{path}");
    }
    let not_utf8 = api.get("/api/v2.0/projects/%ff/webhook/policies").await;
    assert_eq!((not_utf8.status, &*code(&not_utf8)), (400, "BAD_REQUEST"));
    let head = Api::send(api.request("admin", "HEAD", POLICIES)).await;
    assert_eq!((head.status, head.header("x-total-count"), &*head.body), (200, Some("0"), ""));
    assert_eq!(api.get(&format!("{POLICIES}/")).await.status, 200);
    // What is not ours stays the host's.
    assert_eq!(api.get("/api/v2.0/projects").await.body, "");
}

#[tokio::test]
async fn a_host_may_serve_it_anywhere() {
    let same = ["", "/a/%7Bb%7D/c%20d", "/api/webhooks/v1"].map(|path| (path, path));
    for (base, path) in same.into_iter().chain([("/", ""), ("a/{b}/", "/a/{b}")]) {
        let api = Api::with(RouterOptions::default().base_path(base)).await;
        let (address, path) = (address(&api), format!("{path}/projects/2/webhook/policies"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-User: admin\r\nConnection: close\r\n\r\n");
        let listed = tokio::task::spawn_blocking(move || raw(address, request.as_bytes())).await.unwrap();
        assert!(listed.starts_with("HTTP/1.1 200 "), "{path}: {listed}");
        assert_eq!(api.get("/api/webhooks/v1/session").await.status, 200, "{base}");
    }
}

#[tokio::test]
async fn what_careless_clients_send_is_read() {
    let api = Api::start().await;
    let careless = json!({
        "id": 0, "project_id": 0, "name": "ci", "creator": null, "description": null, "unknown": {"a": [1]},
        "creation_time": "0001-01-01T00:00:00.000Z", "update_time": "0001-01-01T00:00:00Z", "enabled": true,
        "event_types": ["PUSH_ARTIFACT", "PUSH_ARTIFACT"],
        "targets": [{"type": "http", "address": "http://127.0.0.1:9/", "auth_header": "", "payload_format": "", "x": 1}],
    });
    let created = api.call("POST", &format!("{POLICIES}/"), &careless).await;
    assert_eq!(created.status, 201);
    let location = created.header("location").unwrap();
    assert!(!location.contains("//"), "{location}");
    assert_eq!(api.call("PUT", location, &careless).await.status, 200);
    assert_eq!(api.json(location).await["event_types"], json!(["PUSH_ARTIFACT"]));
    let odd = format!("{POLICIES}?page=&page_size=&q=&sort=&with_detail=True&q=enabled%253DTrue");
    assert_eq!(api.json(&odd).await.as_array().unwrap().len(), 1);
    assert_eq!(api.call("DELETE", location, &json!({})).await.status, 200);
}

#[tokio::test]
async fn nobody_can_make_any_number_of_policies() {
    let mut options = RouterOptions::default();
    (options.max_policies, options.max_targets) = (2, 3);
    let api = Api::with(options).await;
    let create = async |name: &str, targets: usize| {
        let targets = vec![json!({"type": "http", "address": "http://127.0.0.1:9/"}); targets];
        let policy = json!({"name": name, "event_types": ["PUSH_ARTIFACT"], "targets": targets});
        api.call("POST", POLICIES, &policy).await
    };
    let refused = create("a", 4).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["field"]), (400, &json!("targets")));
    assert_eq!(create("a", 3).await.status, 201);
    assert_eq!(create("b", 1).await.status, 201);
    let refused = create("c", 1).await;
    assert!(refused.status == 409 && refused.body.contains("can have no more"), "{refused:?}");
    let other = "/api/v2.0/projects/1/webhook/policies";
    let policy =
        json!({"event_types": ["PUSH_ARTIFACT"], "targets": [{"type": "http", "address": "http://127.0.0.1:9/"}]});
    assert_eq!(api.call("POST", other, &policy).await.status, 201);
}

#[tokio::test]
async fn nobody_can_make_any_number_of_targets() {
    let mut options = RouterOptions::default();
    options.max_project_targets = 4;
    let api = Api::with(options).await;
    let policy = |name: &str, targets: usize| {
        let targets = vec![json!({"type": "http", "address": "http://127.0.0.1:9/"}); targets];
        json!({"name": name, "event_types": ["PUSH_ARTIFACT"], "targets": targets})
    };
    assert_eq!(api.call("POST", POLICIES, &policy("a", 2)).await.status, 201);
    let refused = api.call("POST", POLICIES, &policy("b", 3)).await;
    assert!(refused.status == 409 && refused.body.contains("4 targets together, and have 2"), "{refused:?}");
    assert_eq!(api.call("POST", POLICIES, &policy("b", 2)).await.status, 201);
    let one = format!("{POLICIES}/2");
    assert_eq!(api.call("PUT", &one, &policy("b", 3)).await.status, 409);
    assert_eq!(api.call("PUT", &one, &policy("b", 1)).await.status, 200);
    assert_eq!(api.call("PUT", &one, &policy("b", 2)).await.status, 200);
}

/// A piece of a request target.
fn piece() -> impl Strategy<Value = String> {
    let known = select(vec![
        "api/v2.0",
        "api/webhooks/v1",
        "projects",
        "2",
        "library",
        "webhook",
        "policies",
        "1",
        "executions",
        "tasks",
        "log",
        "events",
        "jobs",
        "lasttrigger",
        "configurations",
        "systeminfo",
        "%2e%2e",
        "%00",
        "%ff",
        "%",
        "-1",
        "..",
        "",
        "99999999999999999999",
        "deliveries",
        "overview",
        "redeliver",
        "'--",
    ]);
    prop_oneof![6 => known.prop_map(str::to_owned), 1 => "[!-~]{0,8}".prop_map(|text| text.replace(['?', '#'], ""))]
}

fn path() -> impl Strategy<Value = String> {
    let real = select(vec![
        POLICIES,
        "/api/v2.0/projects/library/webhook/policies/1",
        "/api/v2.0/projects/2/webhook/policies/1/executions",
        "/api/v2.0/projects/2/webhook/policies/1/executions/1/tasks",
        "/api/v2.0/projects/2/webhook/jobs",
        "/api/v2.0/projects/2/webhook/lasttrigger",
        "/api/v2.0/configurations",
        "/api/webhooks/v1/projects/2/deliveries",
        "/api/webhooks/v1/projects/2/explain",
        "/api/webhooks/v1/projects/2/policies/1/redeliver",
    ]);
    let made = prop::collection::vec(piece(), 1..9).prop_map(|pieces| format!("/{}", pieces.join("/")));
    prop_oneof![real.prop_map(str::to_owned), made]
}

fn query() -> impl Strategy<Value = String> {
    let name = select(vec![
        "page",
        "page_size",
        "sort",
        "q",
        "policy_id",
        "status",
        "since",
        "until",
        "after",
        "limit",
        "state",
    ]);
    let value = prop_oneof![
        "[!-~]{0,20}".prop_map(|text| text.replace('#', "")),
        select(vec![
            "0",
            "-1",
            "9223372036854775807",
            "9223372036854775808",
            "id=[1~2]",
            "id={1 2}",
            "name=~%25",
            "start_time=[~]",
            "start_time=[-262143-01-01T00:00:00~+262142-12-31T23:59:59]",
            "%0d%0aSet-Cookie:x",
            "%F0%9F%98%80",
            "=,=,=",
            "status=Running",
            "-status,-,--",
            "2026-11-26T22:00:00Z",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec((name, value), 0..4).prop_map(|pairs| {
        let pairs: Vec<_> =
            pairs.into_iter().map(|(name, value)| format!("{name}={}", value.replace(' ', "+"))).collect();
        pairs.join("&")
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        select(vec![
            "{}",
            "[]",
            "null",
            "{\"targets\":[{}]}",
            "{\"event_types\":[\"PUSH_ARTIFACT\"],\"targets\":[{\"type\":\"http\",\
             \"address\":\"http://127.0.0.1:1/\"}]}",
            "{\"event_types\":null,\"targets\":[null]}",
            "{\"notification_enable\":true}",
            "{\"name\":\"\\u0000\\ud800\"}",
            "{\"event_type\":\"PUSH_ARTIFACT\"}",
            "{\"since\":\"x\",\"after\":-1}",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        (1_usize..5000).prop_map(|depth| "[".repeat(depth).into_bytes()),
    ]
}

#[test]
fn nothing_that_is_sent_makes_it_fail() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let api = runtime.block_on(async {
        let api = Api::start().await;
        let policy = json!({"name": "ci", "enabled": true, "event_types": ["PUSH_ARTIFACT"],
            "targets": [{"type": "http", "address": "http://127.0.0.1:9/"}]});
        assert_eq!(api.call("POST", POLICIES, &policy).await.status, 201);
        api.hooks.notify(&crate::support::events::push()).await.unwrap();
        api
    });
    let address = address(&api);
    let method = select(vec!["GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "BREW"]);
    let user = select(vec!["", "admin", "owner", "reader", "stranger"]);
    let header = prop::collection::vec(any::<u8>().prop_filter("ends the line", |b| !b"\r\n\0".contains(b)), 0..40);
    let name = select(vec!["X-Request-Id", "X-Is-Resource-Name", "Origin", "Sec-Fetch-Site", "Content-Type", "Accept"]);
    let request = (method, path(), query(), user, (name, header), body());
    proptest!(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() }, |(request in request)| {
        let (method, path, query, user, (name, header), body) = request;
        let mut bytes = format!("{method} {path}?{query} HTTP/1.1\r\nHost: x\r\nX-User: {user}\r\n").into_bytes();
        bytes.extend([name.as_bytes(), b": ", &header, b"\r\n"].concat());
        bytes.extend(format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len()).into_bytes());
        bytes.extend(body);
        let answer = raw(address, &bytes);
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        prop_assert!(["200", "201", "202", "400", "401", "403", "404", "405", "409", "422"].contains(&&*status), "{answer}");
        prop_assert!(!answer.to_lowercase().contains("\nset-cookie"), "{answer}");
    });
}
