//! Harbor's REST API for what was sent, and for the switch.

use std::time::Duration;

use harbor_webhook::router::RouterOptions;
use serde_json::{Value, json};

use crate::support::events::push;
use crate::support::receiver::Receiver;
use crate::support::rest::{Api, golden};
use crate::support::sending::{Running, end_state};
use crate::support::stores::{Fresh, on_every_store};

const HOOKS: &str = "/api/v2.0/projects/2/webhook";

/// The fifteenth policy of the project, which goes to this receiver: its path.
async fn fifteenth(api: &Api, url: &str) -> String {
    let mut path = String::new();
    for n in 1..=15 {
        let name = if n == 15 { "ci".to_owned() } else { format!("p{n}") };
        let policy = json!({"name": name, "enabled": n == 15, "event_types": ["PUSH_ARTIFACT", "SCANNING_COMPLETED"],
            "targets": [{"type": "http", "address": url}]});
        let created = api.call("POST", &format!("{HOOKS}/policies"), &policy).await;
        path = created.header("location").unwrap().to_owned();
    }
    path
}

/// So many pushes, brought to their end.
async fn push_times(api: &Api, times: usize) {
    for _ in 0..times {
        api.hooks.notify(&push()).await.unwrap();
    }
    let running = Running::start(&api.hooks);
    while api.hooks.status().await.unwrap().outbox > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    end_state(&api.hooks).await;
    running.stop().await;
}

/// Which members there are, in their order.
fn shape(text: &str) -> Vec<String> {
    let members = text.split("\":").map(|before| before.rsplit('"').next().unwrap_or_default().to_owned());
    let mut members: Vec<_> = members.collect();
    members.pop();
    members
}

async fn executions_have_tasks_and_logs<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    let receiver = Receiver::start(|n| if n == 0 { 500 } else { 200 }).await;
    let policy = fifteenth(&api, &receiver.url).await;
    push_times(&api, 1).await;

    let executions = api.get(&format!("{policy}/executions")).await;
    assert_eq!(executions.header("x-total-count"), Some("1"));
    let mut expected = golden("executions")[1].clone();
    let got = executions.json()[0].clone();
    let id = got["id"].as_i64().unwrap();
    expected["id"] = json!(id);
    for time in ["start_time", "end_time"] {
        assert!(got[time].as_str().unwrap().len() == 20, "{got}");
        expected[time] = got[time].clone();
    }
    let payload = got["extra_attrs"]["payload"].as_str().unwrap();
    assert_eq!(payload.as_bytes(), receiver.seen()[1].body);
    expected["extra_attrs"]["payload"] = json!(payload);
    assert_eq!(got, expected);

    let tasks = api.get(&format!("{policy}/executions/{id}/tasks")).await;
    let task = tasks.json()[0].clone();
    assert_eq!((task["id"].clone(), task["execution_id"].clone()), (json!(id), json!(id)));
    assert_eq!((task["run_count"].clone(), task["status"].clone()), (json!(2), json!("Success")));
    let members: Vec<_> = golden("tasks")[0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(shape(&tasks.body), members);

    let log = api.get(&format!("{policy}/executions/{id}/tasks/{id}/log")).await;
    assert_eq!((log.status, log.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    assert!(log.body.contains("abnormal response code: 500") && log.body.contains("success to run"), "{}", log.body);
    assert_eq!(log.header("x-content-type-options"), Some("nosniff"));
}

async fn what_is_not_there_is_not_found_in_harbors_words<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    let receiver = Receiver::start(|_| 200).await;
    let policy = fifteenth(&api, &receiver.url).await;
    api.get(&format!("{policy}/executions/7/tasks")).await.is_golden("error_404_execution");
    push_times(&api, 7).await;
    api.get(&format!("{policy}/executions/7/tasks/9/log")).await.is_golden("error_404_task");
    let other = policy.replace("/15", "/14");
    for path in [format!("{other}/executions/7/tasks"), format!("{other}/executions/7/tasks/7/log")] {
        assert_eq!(api.get(&path).await.status, 404, "{path}");
    }
    for wrong in ["x", "1.5", "99999999999999999999"] {
        assert_eq!(api.get(&format!("{policy}/executions/{wrong}/tasks")).await.status, 422, "{wrong}");
    }
    let reader = Api::send(api.request("reader", "GET", &format!("{policy}/executions"))).await;
    assert_eq!(reader.status, 200);
    Api::send(api.request("stranger", "GET", &format!("{policy}/executions"))).await.is_golden("error_403");
}

async fn executions_are_filtered_and_paged<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    let receiver = Receiver::start(|n| if n < 3 { 200 } else { 500 }).await;
    let policy = fifteenth(&api, &receiver.url).await;
    push_times(&api, 3).await;
    push_times(&api, 1).await; // not so many that the circuit opens
    let ids = async |query: &str| -> Vec<i64> {
        let list = api.json(&format!("{policy}/executions?{query}")).await;
        list.as_array().unwrap().iter().map(|execution| execution["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids("").await, [4, 3, 2, 1]);
    assert_eq!(ids("sort=start_time&page_size=2").await, [1, 2]);
    assert_eq!(ids("page=2&page_size=3").await, [1]);
    assert_eq!(ids("page=9").await, [0; 0]);
    assert_eq!(ids("q=status=Success").await, [3, 2, 1]);
    assert_eq!(ids("q=status={Error Success}&sort=id").await, [1, 2, 3, 4]);
    assert_eq!(ids("q=extra_attrs.event_type=PUSH_ARTIFACT,id=[2~3]").await, [3, 2]);
    assert_eq!(ids("q=extra_attrs.event_type=PULL_ARTIFACT").await, [0; 0]);
    assert_eq!(ids("q=start_time=[2020-04-09 02:36:00~]&sort=status,id").await, [4, 1, 2, 3]);
    assert_eq!(ids("q=start_time=[~2020-04-09T02:36:00]").await, [0; 0]);
    let page = api.get(&format!("{policy}/executions?page_size=2&q=status%3DSuccess")).await;
    assert_eq!(page.header("x-total-count"), Some("3"));
    let link = format!("<{policy}/executions?page=2&page_size=2&q=status=Success>; rel=\"next\"");
    assert_eq!(page.header("link"), Some(&*link));
}

/// Each attempt has the body in its log, and is made again as often as somebody wishes.
async fn logs_are_bounded<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    let receiver = Receiver::start(|_| 200).await;
    let policy = fifteenth(&api, &receiver.url).await;
    let mut event = push();
    event.data.custom_attributes = [("Details".to_owned(), "x".repeat(900_000))].into();
    api.hooks.notify(&event).await.unwrap();
    push_times(&api, 0).await;
    for _ in 0..13 {
        api.hooks.redeliver(harbor_webhook::DeliveryId(1)).await.unwrap();
        push_times(&api, 0).await;
    }
    let log = api.get(&format!("{policy}/executions/1/tasks/1/log")).await.body;
    assert!(log.len() <= 10 * 1024 * 1024 && log.len() > 8 * 1024 * 1024, "{}", log.len());
    assert!(log.contains(":14]: success to run") && !log.contains(":1]: "));
}

async fn old_clients_have_jobs_and_last_triggers<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    let receiver = Receiver::start(|_| 200).await;
    let policy = fifteenth(&api, &receiver.url).await;
    push_times(&api, 2).await;

    let jobs = api.get(&format!("{HOOKS}/jobs?policy_id=15&status=Success&status=Error&page_size=1")).await;
    assert_eq!((jobs.header("x-total-count"), jobs.json().as_array().unwrap().len()), (Some("2"), 1));
    let mut expected = golden("webhook_jobs")[0].clone();
    let got = jobs.json()[0].clone();
    for member in ["id", "creation_time", "update_time", "job_detail"] {
        expected[member] = got[member].clone();
    }
    assert_eq!(got, expected);
    assert_eq!(api.json(&format!("{HOOKS}/jobs?policy_id=15&status=Stopped")).await, json!([]));
    assert_eq!(api.get(&format!("{HOOKS}/jobs")).await.status, 422);
    api.get(&format!("{HOOKS}/jobs?policy_id=99")).await.is_golden("error_404_policy");

    let triggers = api.json(&format!("{HOOKS}/lasttrigger")).await;
    let made = api.json(&policy).await["creation_time"].clone();
    let mut expected = golden("lasttrigger");
    for trigger in expected.as_array_mut().unwrap() {
        trigger["creation_time"] = made.clone();
    }
    expected[0]["last_trigger_time"] = jobs.json()[0]["creation_time"].clone();
    assert_eq!(triggers.as_array().unwrap()[..2], expected.as_array().unwrap()[..]);
    assert_eq!(triggers.as_array().unwrap().len(), 30);
}

/// What a store may not be able to keep or to compare.
async fn odd_times_and_texts_are_no_trouble<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    let receiver = Receiver::start(|_| 200).await;
    let policy = fifteenth(&api, &receiver.url).await;
    let times = [
        "0001-01-01T00:00:00",
        "9999-12-31T23:59:59",
        "-262143-01-01T00:00:00",
        "%2B262142-12-31T23:59:59",
        "9999-12-31T23:59:60",
    ];
    for (from, to) in times.iter().flat_map(|from| times.iter().map(move |to| (from, to))) {
        let range = format!("{policy}/executions?q=start_time=[{from}~{to}]");
        assert_eq!(api.get(&range).await.status, 200, "{range}");
        let beyond =
            format!("/api/webhooks/v1/projects/2/deliveries?since={from}&until={to}&after=-9223372036854775808");
        assert!([200, 422].contains(&api.get(&beyond).await.status), "{beyond}");
    }
    let redelivered = json!({"since": "+262142-12-31T23:59:59Z"});
    let redeliver = "/api/webhooks/v1/projects/2/policies/15/redeliver";
    assert_eq!(api.call("POST", redeliver, &redelivered).await.status, 422);
    assert_eq!(api.get(&format!("{policy}/executions?page=9223372036854775807&page_size=100")).await.status, 200);
    let mut odd = api.json(&policy).await;
    for text in ["\u{0}", "\u{feff}\u{202e}", "'; DROP TABLE policies; --"] {
        odd["description"] = json!(text);
        assert!([200, 400].contains(&api.call("PUT", &policy, &odd).await.status), "{text:?}");
    }
    assert_eq!(api.json(&policy).await["description"], odd["description"]);
    let by_name = "/api/v2.0/projects/%00'--/webhook/policies";
    assert_eq!(api.get(by_name).await.status, 404);
}

async fn what_can_be_chosen_is_harbors<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    assert_eq!(api.json(&format!("{HOOKS}/events")).await, golden("webhook_events"));
}

async fn the_switch_is_a_part_of_the_configuration<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default().base_path("hub/api/")).await;
    let value = |on: bool| json!({"notification_enable": {"value": on, "editable": true}});
    assert_eq!(api.json("/hub/api/configurations").await, value(true));
    let sent = json!({"notification_enable": false, "auth_mode": "db_auth"});
    let saved = api.call("PUT", "/hub/api/configurations", &sent).await;
    assert_eq!((saved.status, &*saved.body), (200, ""));
    assert_eq!(api.json("/hub/api/configurations").await, value(false));
    assert!(!api.hooks.is_on().await.unwrap());
    assert_eq!(api.call("PUT", "/hub/api/configurations", &json!({})).await.status, 200);
    assert_eq!(api.call("PUT", "/hub/api/configurations", &json!({"notification_enable": 7})).await.status, 422);

    let info = async |user: &str| Api::send(api.request(user, "GET", "/hub/api/systeminfo")).await.json();
    assert_eq!(info("reader").await, json!({"notification_enable": false}));
    assert_eq!(info("").await, json!({}));
    for method in ["GET", "PUT"] {
        Api::send(api.request("owner", method, "/hub/api/configurations")).await.is_golden("error_403");
        Api::send(api.request("", method, "/hub/api/configurations")).await.is_golden("error_401");
    }
    let gone: Value = api.get("/hub/api/projects/2/webhook/nothing").await.json();
    assert_eq!(gone["errors"][0]["code"], "NOT_FOUND");
}

on_every_store! {
    executions_have_tasks_and_logs,
    what_is_not_there_is_not_found_in_harbors_words,
    executions_are_filtered_and_paged,
    logs_are_bounded,
    old_clients_have_jobs_and_last_triggers,
    odd_times_and_texts_are_no_trouble,
    what_can_be_chosen_is_harbors,
    the_switch_is_a_part_of_the_configuration,
}
