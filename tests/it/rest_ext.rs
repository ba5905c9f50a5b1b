//! What the REST API has beyond Harbor's, through real HTTP.

use std::time::Duration;

use harbor_webhook::delivery::State;
use harbor_webhook::router::RouterOptions;
use harbor_webhook::store::{Filter, Page};
use serde_json::{Value, json};

use crate::support::events::{PROJECT, push};
use crate::support::receiver::Receiver;
use crate::support::rest::Api;
use crate::support::sending::Running;
use crate::support::stores::{Fresh, on_every_store};

const HOOKS: &str = "/api/v2.0/projects/2/webhook/policies";
const EXT: &str = "/api/webhooks/v1";
const PROJECT_2: &str = "/api/webhooks/v1/projects/2";

/// A policy for this address; its number.
async fn subscribe(api: &Api, name: &str, address: &str) -> i64 {
    let policy = json!({"name": name, "enabled": true, "event_types": ["PUSH_ARTIFACT"],
        "targets": [{"type": "http", "address": address, "auth_header": "Bearer s3cret"}]});
    let created = api.call("POST", HOOKS, &policy).await;
    assert_eq!(created.status, 201, "{created:?}");
    created.header("location").unwrap().rsplit('/').next().unwrap().parse().unwrap()
}

/// Waits until the deliveries of a policy are as wanted.
async fn until(api: &Api, policy: i64, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let asked = async {
        loop {
            let list = api.json(&format!("{PROJECT_2}/deliveries?policy_id={policy}")).await;
            let list = list.as_array().unwrap().clone();
            if wanted(&list) {
                return list;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.expect("the deliveries are as wanted")
}

fn all(state: &'static str) -> impl Fn(&[Value]) -> bool {
    move |list| !list.is_empty() && list.iter().all(|delivery| delivery["state"] == state)
}

async fn callers_learn_who_they_are_and_what_they_may<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    let session = Api::send(api.request("reader", "GET", &format!("{EXT}/session"))).await.json();
    assert_eq!(session, json!({"name": "reader", "system_admin": false, "webhooks_enabled": true}));
    api.hooks.switch(false).await.unwrap();
    assert_eq!(api.json(&format!("{EXT}/session")).await["webhooks_enabled"], false);
    let projects = Api::send(api.request("reader", "GET", &format!("{EXT}/projects"))).await.json();
    assert_eq!(projects, json!([{"id": 2, "name": "library", "actions": ["list", "read"]}]));
    assert_eq!(api.json(&format!("{EXT}/projects")).await.as_array().unwrap().len(), 3);
    for path in ["/session", "/projects", "/health", "/openapi.json", "/projects/2/overview", "/projects/2/deliveries"]
    {
        assert_eq!(Api::send(api.request("", "GET", &format!("{EXT}{path}"))).await.status, 401, "{path}");
    }
    // Health is of all projects.
    assert_eq!(Api::send(api.request("owner", "GET", &format!("{EXT}/health"))).await.status, 403);
    let health = api.json(&format!("{EXT}/health")).await;
    assert!(health["problems"].is_array() && health["waiting"]["deliveries"] == 0, "{health}");
}

async fn a_failed_delivery_is_read_and_sent_again<S: Fresh>() {
    let up = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_up = up.clone();
    let receiver =
        Receiver::start(move |_| if is_up.load(std::sync::atomic::Ordering::SeqCst) { 200 } else { 500 }).await;
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    let policy = subscribe(&api, "ci", &receiver.url).await;
    let running = Running::start(&api.hooks);
    api.hooks.notify(&push()).await.unwrap();
    let dead = until(&api, policy, all("dead")).await.remove(0);
    assert_eq!(
        (&dead["reason"], &dead["test"], &dead["target_type"]),
        (&json!("exhausted"), &json!(false), &json!("http"))
    );
    let path = format!("{PROJECT_2}/deliveries/{}", dead["id"]);
    let whole = api.json(&path).await;
    let attempts = whole["attempts"].as_array().unwrap();
    assert_eq!(attempts.len() as u64, dead["attempts"].as_u64().unwrap());
    assert_eq!(
        (&attempts[0]["number"], &attempts[0]["status"], &attempts[0]["outcome"]),
        (&json!(1), &json!(500), &json!("5xx"))
    );
    let body: Value = serde_json::from_str(whole["body"].as_str().unwrap()).unwrap();
    assert_eq!((&body["type"], &whole["content_type"]), (&json!("PUSH_ARTIFACT"), &json!("application/json")));
    assert!(!whole.to_string().contains("s3cret"));

    up.store(true, std::sync::atomic::Ordering::SeqCst);
    let again = api.call("POST", &format!("{path}/redeliver"), &json!({})).await;
    assert_eq!((again.status, again.json()), (200, json!({})));
    until(&api, policy, all("delivered")).await;
    // Delivered is final too: once more is allowed, of what is not there is said so.
    assert_eq!(api.call("POST", &format!("{path}/redeliver"), &json!({})).await.status, 200);
    for gone in [
        format!("{PROJECT_2}/deliveries/999999/redeliver"),
        format!("{EXT}/projects/1/deliveries/{}/redeliver", dead["id"]),
    ] {
        assert_eq!(api.call("POST", &gone, &json!({})).await.status, 404, "{gone}");
    }
    running.stop().await;
    assert_eq!(receiver.seen().iter().map(|seen| seen.body.clone()).collect::<std::collections::HashSet<_>>().len(), 1);
}

async fn all_that_failed_is_sent_again_and_what_waits_is_cancelled<S: Fresh>() {
    // A refusal closes no lane.
    let (api, receiver) = (Api::fresh::<S>(RouterOptions::default()).await, Receiver::start(|_| 404).await);
    let policy = subscribe(&api, "ci", &receiver.url).await;
    let running = Running::start(&api.hooks);
    for _ in 0..3 {
        api.hooks.notify(&push()).await.unwrap();
    }
    until(&api, policy, |list| list.len() == 3 && all("dead")(list)).await;
    running.stop().await;
    let path = format!("{PROJECT_2}/policies/{policy}/redeliver");
    let none = api.call("POST", &path, &json!({"since": "2100-01-01T00:00:00Z"})).await.json();
    assert_eq!((&none["count"], &none["next"]), (&json!(0), &json!(null)));
    let done = Api::send(api.request("owner", "POST", &path)).await.json();
    assert_eq!((&done["count"], &done["skipped"]["target_gone"]), (&json!(3), &json!(0)));
    let due = until(&api, policy, all("due")).await;
    let cancel = format!("{PROJECT_2}/deliveries/{}/cancel", due[0]["id"]);
    assert_eq!(api.call("POST", &cancel, &json!({})).await.status, 200);
    // It is done already, which is what was wanted.
    assert_eq!(api.call("POST", &cancel, &json!({})).await.status, 200);
    let cancelled = api.json(&format!("{PROJECT_2}/deliveries?state=cancelled")).await;
    assert_eq!((cancelled.as_array().unwrap().len(), &cancelled[0]["reason"]), (1, &json!("operator")));
    // Readers change nothing.
    for path in [path, cancel, format!("{PROJECT_2}/policies/{policy}/test"), format!("{PROJECT_2}/targets/1/enable")] {
        assert_eq!(Api::send(api.request("reader", "POST", &path)).await.status, 403, "{path}");
    }
}

async fn listings_are_filtered_and_go_on<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    let policy = subscribe(&api, "ci", "http://127.0.0.1:9/hook").await;
    let running = Running::start(&api.hooks);
    for _ in 0..3 {
        api.hooks.notify(&push()).await.unwrap();
    }
    let list = until(&api, policy, |list| list.len() == 3).await;
    running.stop().await;
    let count =
        async |query: &str| api.json(&format!("{PROJECT_2}/deliveries?{query}")).await.as_array().unwrap().len();
    let (newest, event) = (list[0]["id"].as_i64().unwrap(), list[1]["event_id"].as_str().unwrap());
    assert_eq!(count("limit=2").await, 2);
    assert_eq!(count(&format!("after={newest}")).await, 2);
    assert_eq!(count(&format!("event_id={event}")).await, 1);
    assert_eq!(count("event_type=PULL_ARTIFACT").await, 0);
    assert_eq!(count("until=2020-01-01T00:00:00Z").await, 0);
    assert_eq!(count("since=2020-01-01T00:00:00Z").await, 3);
    assert_eq!(count("policy_id=999").await, 0);
    for wrong in ["limit=0", "limit=101", "state=lost", "event_type=x", "since=noon", "after=x", "event_id=1"] {
        assert_eq!(api.get(&format!("{PROJECT_2}/deliveries?{wrong}")).await.status, 422, "{wrong}");
    }
    assert_eq!(Api::send(api.request("reader", "GET", &format!("{EXT}/projects/1/deliveries"))).await.status, 403);
}

async fn a_test_is_sent_and_seen_at_a_glance<S: Fresh>() {
    let receiver = Receiver::start(|_| 200).await;
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    let policy = subscribe(&api, "ci", &receiver.url).await;
    let running = Running::start(&api.hooks);
    let path = format!("{PROJECT_2}/policies/{policy}/test");
    let sent = api.call("POST", &path, &json!({})).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let list = until(&api, policy, all("delivered")).await;
    assert_eq!((&list[0]["event_id"], &list[0]["test"]), (&sent.json()["event_id"], &json!(true)));
    running.stop().await;
    let state = api.json(&format!("{PROJECT_2}/overview")).await[0].clone();
    assert_eq!((&state["name"], &state["last_delivery"]["state"]), (&json!("ci"), &json!("delivered")));
    let target = &state["targets"][0];
    assert_eq!(
        (&target["type"], &target["lane"], &target["waiting"]),
        (&json!("http"), &json!({"closed": false}), &json!(0))
    );
    assert_eq!((&target["hours"][0]["delivered"], &target["hours"][0]["failed"]), (&json!(1), &json!(0)));

    let refused = api.call("POST", &path, &json!({"event_type": "TAG_RETENTION"})).await;
    assert_eq!(refused.status, 400, "not of the policy: {refused:?}");
    let refused = api.call("POST", &path, &json!({"event_type": "NOTHING"})).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["field"]), (400, &json!("event_type")));
    api.hooks.switch(false).await.unwrap();
    assert_eq!(api.call("POST", &path, &json!({})).await.status, 409);
}

async fn a_project_is_explained_and_a_lane_opened<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    let policy = subscribe(&api, "ci", "http://127.0.0.1:9/hook").await;
    let running = Running::start(&api.hooks);
    for _ in 0..9 {
        api.hooks.notify(&push()).await.unwrap();
    }
    let closed = async {
        loop {
            let target = api.json(&format!("{PROJECT_2}/overview")).await[0]["targets"][0].clone();
            if target["lane"]["why"] == "circuit_open" {
                return target;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let target = tokio::time::timeout(Duration::from_secs(20), closed).await.unwrap();
    running.stop().await;
    assert!(
        target["lane"]["opens_in_seconds"].as_f64().unwrap() > 0.0 && target["failures_in_row"].as_u64() >= Some(5)
    );
    let explained =
        api.call("POST", &format!("{PROJECT_2}/explain"), &json!({"event_type": "PUSH_ARTIFACT"})).await.json();
    let found = &explained["policies"][0];
    assert_eq!(
        (&found["policy_id"], &found["wanted"], &found["targets"][0]["reached"]),
        (&json!(policy), &json!(true), &json!(true))
    );
    assert!(found["targets"][0]["obstacles"][0].as_str().unwrap().contains("circuit_open"));
    let other = api.call("POST", &format!("{PROJECT_2}/explain"), &json!({"event_type": "REPLICATION"})).await.json();
    assert_eq!(other["policies"][0]["reason"], "event_type_not_selected");
    assert_eq!(api.call("POST", &format!("{PROJECT_2}/explain"), &json!({})).await.status, 422);

    let enable = format!("{PROJECT_2}/targets/{}/enable", target["target_id"]);
    assert_eq!(api.call("POST", &enable.replace("projects/2", "projects/1"), &json!({})).await.status, 404);
    assert_eq!(api.call("POST", &enable, &json!({})).await.status, 200);
    assert_eq!(api.json(&format!("{PROJECT_2}/overview")).await[0]["targets"][0]["lane"], json!({"closed": false}));
    let waiting = api.hooks.deliveries(&Filter::project(PROJECT), Page::first(9)).await.unwrap();
    assert!(waiting.iter().all(|delivery| delivery.state != State::Parked));
}

on_every_store! {
    callers_learn_who_they_are_and_what_they_may,
    a_failed_delivery_is_read_and_sent_again,
    all_that_failed_is_sent_again_and_what_waits_is_cancelled,
    listings_are_filtered_and_go_on,
    a_test_is_sent_and_seen_at_a_glance,
    a_project_is_explained_and_a_lane_opened,
}
