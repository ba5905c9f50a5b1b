//! Harbor's REST API for policies, through real HTTP.

use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::router::RouterOptions;
use harbor_webhook::store::{Filter, Page};
use harbor_webhook::{EventType, PolicyId, ProjectId};
use serde_json::{Value, json};

use crate::support::events::push;
use crate::support::rest::{Api, golden};
use crate::support::stores::{Fresh, on_every_store};

const POLICIES: &str = "/api/v2.0/projects/2/webhook/policies";

fn policy(name: &str) -> Value {
    json!({"name": name, "enabled": true, "event_types": ["PUSH_ARTIFACT"],
        "targets": [{"type": "http", "address": "http://127.0.0.1:9/hook"}]})
}

/// Creates one and gives its path.
async fn create(api: &Api, policy: &Value) -> String {
    let created = api.call("POST", POLICIES, policy).await;
    assert_eq!((created.status, &*created.body), (201, ""), "{created:?}");
    created.header("location").unwrap().to_owned()
}

/// The body without what differs from run to run.
fn timeless(mut policy: Value, id: i64) -> Value {
    for time in ["creation_time", "update_time"] {
        let text = policy[time].as_str().unwrap();
        assert!(text.len() == 24 && text.ends_with('Z'), "{text}");
        policy[time] = Value::Null;
    }
    policy["id"] = json!(id);
    policy.as_object_mut().unwrap().remove("creator");
    policy
}

async fn a_policy_lives_as_in_harbor<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default().show_secrets(true)).await;
    let location = create(&api, &golden("webhook_policy_create_request")).await;
    assert!(location.starts_with(&format!("{POLICIES}/")), "{location}");

    let read = api.get(&location).await;
    let got = read.json();
    assert_eq!(got["creator"], "admin");
    assert_eq!(timeless(got.clone(), 15), timeless(golden("webhook_policy"), 15));
    let keys = |text: &str| {
        let keys = ["creation_time", "description", "enabled", "event_types", "id", "name", "project_id", "targets"];
        keys.map(|key| text.find(&format!("\"{key}\":")).unwrap())
    };
    assert!(keys(&read.body).is_sorted(), "{}", read.body);

    let mut changed = got;
    changed["enabled"] = json!(false);
    changed["creator"] = json!("somebody else");
    changed.as_object_mut().unwrap().remove("description");
    let updated = api.call("PUT", &location, &changed).await;
    assert_eq!((updated.status, &*updated.body), (200, ""));
    let got = api.json(&location).await;
    assert_eq!((got["enabled"].clone(), got["description"].clone()), (json!(false), Value::Null));
    assert_eq!(got["creator"], "admin");

    let deleted = api.call("DELETE", &location, &json!({})).await;
    assert_eq!((deleted.status, &*deleted.body), (200, ""));
    assert_eq!(api.get(&location).await.status, 404);
}

async fn lists_are_harbors<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default().show_secrets(true)).await;
    create(&api, &golden("webhook_policy_create_request")).await;
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    let slack = json!({"name": "chat", "event_types": ["TAG_RETENTION"], "targets": [{"type": "slack",
        "address": "https://hooks.slack.com/services/T000/B000/XXXX", "skip_cert_verify": true}]});
    create(&api, &slack).await;
    let list = api.get(POLICIES).await;
    assert_eq!((list.header("x-total-count"), list.header("link")), (Some("2"), None));
    let ids = [16, 15];
    let timeless = |list: Value| -> Vec<Value> {
        let policies = list.as_array().unwrap().clone();
        policies.into_iter().zip(ids).map(|(policy, id)| timeless(policy, id)).collect()
    };
    assert_eq!(timeless(list.json()), timeless(golden("webhook_policies_list")));
    assert_eq!(api.json("/api/v2.0/projects/1/webhook/policies").await, json!([]));
}

async fn lists_are_paged_sorted_and_filtered<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    for n in 0..12 {
        create(&api, &policy(&format!("p{n:02}"))).await;
    }
    let names = async |query: &str| -> Vec<String> {
        let list = api.json(&format!("{POLICIES}?{query}")).await;
        list.as_array().unwrap().iter().map(|policy| policy["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("").await.len(), 10);
    assert_eq!(names("page=2").await, ["p01", "p00"]);
    assert_eq!(names("page_size=0").await.len(), 12);
    assert_eq!(names("sort=name&page_size=2").await, ["p00", "p01"]);
    assert_eq!(names("sort=-Name,unknown&page_size=1&page=12").await, ["p00"]);
    assert_eq!(names("q=name%3D~P1").await, ["p11", "p10"]);
    assert_eq!(names("q=enabled=True,name={p03 p04},x=y&sort=id").await, ["p03", "p04"]);
    let paged = api.get(&format!("{POLICIES}?page_size=5&page=2")).await;
    assert_eq!(paged.header("x-total-count"), Some("12"));
    let link = paged.header("link").unwrap();
    let expected = "</api/v2.0/projects/2/webhook/policies?page=1&page_size=5>; rel=\"prev\" , \
                    </api/v2.0/projects/2/webhook/policies?page=3&page_size=5>; rel=\"next\"";
    assert_eq!(link, expected);
    for (query, status) in [("page_size=101", 422), ("page=x", 422), ("q=name", 400), ("q=id=[1", 400)] {
        assert_eq!(api.get(&format!("{POLICIES}?{query}")).await.status, status, "{query}");
    }
}

async fn errors_are_harbors<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    let with = |change: fn(&mut Value)| {
        let mut policy = policy("ci");
        change(&mut policy);
        policy
    };
    let cases: [(&str, &str, Value); 8] = [
        ("error_400_empty_event_type", "event_types", with(|p| p["event_types"] = json!([]))),
        ("error_400_event_type", "event_types", with(|p| p["event_types"] = json!(["INVALID"]))),
        ("error_400_no_targets", "targets", with(|p| p["targets"] = json!([]))),
        ("error_400_address_empty", "targets[0].address", with(|p| p["targets"][0]["address"] = json!(" "))),
        ("error_400_address_scheme", "targets[0].address", with(|p| p["targets"][0]["address"] = json!("ftp://x"))),
        ("error_400_target_type", "targets[0].type", with(|p| p["targets"][0]["type"] = json!("email"))),
        (
            "error_400_payload_format",
            "targets[0].payload_format",
            with(|p| p["targets"][0]["payload_format"] = json!("XML")),
        ),
        (
            "error_400_slack_format",
            "targets[1].payload_format",
            with(|p| {
                let slack = json!({"type": "slack", "address": "http://127.0.0.1/", "payload_format": "Default"});
                p["targets"].as_array_mut().unwrap().push(slack);
            }),
        ),
    ];
    let location = create(&api, &policy("first")).await;
    for (name, field, body) in cases {
        for (method, path) in [("POST", POLICIES), ("PUT", &*location)] {
            let refused = api.call(method, path, &body).await;
            refused.is_golden(name);
            assert_eq!(refused.json()["errors"][0]["field"], field);
        }
    }
    create(&api, &policy("ci")).await;
    api.call("POST", POLICIES, &policy("ci")).await.is_golden("error_409_name");
    api.call("PUT", &location, &policy("ci")).await.is_golden("error_409_name");
    api.get(&format!("{POLICIES}/99")).await.is_golden("error_404_policy");

    Api::send(api.request("", "GET", POLICIES)).await.is_golden("error_401");
    Api::send(api.request("stranger", "GET", POLICIES)).await.is_golden("error_403");
    Api::send(api.request("panic", "GET", POLICIES)).await.is_golden("error_500");
    for body in ["", "[]", "x", r#"{"name":7}"#, r#"{"enabled":"s3cret"}"#] {
        let refused = Api::send(api.request("owner", "POST", POLICIES).body(body)).await;
        assert_eq!((refused.status, &refused.json()["errors"][0]["code"]), (422, &json!("UNPROCESSABLE_ENTITY")));
        assert!(!refused.body.contains("s3cret"));
    }
}

async fn nothing_is_told_of_other_projects<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    for n in 0..14 {
        create(&api, &policy(&format!("p{n}"))).await;
    }
    let location = create(&api, &policy("p")).await;
    assert!(location.ends_with("/15"), "{location}");
    let from_other = "/api/v2.0/projects/1/webhook/policies/15";
    api.get(from_other).await.is_golden("error_404_policy_other_project");

    let target = Target::http("http://127.0.0.1/").unwrap();
    let foreign = PolicyDraft::new("x").on(EventType::PushArtifact).target(target);
    let foreign = api.hooks.policies().create(ProjectId(1), foreign).await.unwrap().id;
    for method in ["GET", "PUT", "DELETE"] {
        let path = format!("{POLICIES}/{foreign}");
        let refused = Api::send(api.request("owner", method, &path).body("{}")).await;
        let expected = json!({"errors": [{"code": "NOT_FOUND", "message": "notificationPolicy 16 not found"}]});
        assert_eq!((refused.status, refused.json()), (404, expected));
    }
    for project in ["1", "4", "other", "nothing"] {
        let path = format!("/api/v2.0/projects/{project}/webhook/policies");
        Api::send(api.request("owner", "GET", &path)).await.is_golden("error_403");
        Api::send(api.request("", "GET", &path)).await.is_golden("error_401");
    }
    let refused = api.get("/api/v2.0/projects/4/webhook/policies").await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["message"]), (404, &json!("project 4 not found")));
}

async fn actions_are_told_apart<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    let location = create(&api, &policy("ci")).await;
    let status = async |user: &str, method: &str, path: &str| {
        let answered = Api::send(api.request(user, method, path).body(policy("new").to_string())).await;
        answered.status
    };
    assert_eq!(status("reader", "GET", POLICIES).await, 200);
    assert_eq!(status("reader", "GET", &location).await, 200);
    assert_eq!(status("reader", "POST", POLICIES).await, 403);
    assert_eq!(status("reader", "PUT", &location).await, 403);
    assert_eq!(status("reader", "DELETE", &location).await, 403);
    assert_eq!(status("owner", "POST", POLICIES).await, 201);
    assert_eq!(status("owner", "DELETE", &location).await, 200);
}

async fn projects_go_by_number_or_name<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    create(&api, &policy("ci")).await;
    let count = async |project: &str, header: Option<&str>| {
        let path = format!("/api/v2.0/projects/{project}/webhook/policies");
        let mut request = api.request("admin", "GET", &path);
        if let Some(value) = header {
            request = request.header("X-Is-Resource-Name", value);
        }
        let answered = Api::send(request).await;
        (answered.status, answered.json().as_array().map(Vec::len))
    };
    assert_eq!(count("2", None).await, (200, Some(1)));
    assert_eq!(count("library", None).await, (200, Some(1)));
    assert_eq!(count("%6cibrary", Some("true")).await, (200, Some(1)));
    assert_eq!(count("7", None).await, (404, None));
    assert_eq!(count("7", Some("True")).await, (200, Some(0)));
    assert_eq!(count("2", Some("true")).await, (404, None));
    assert_eq!(count("2", Some("false")).await, (200, Some(1)));
}

async fn secrets_are_masked_and_masks_keep_them<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    let location = create(&api, &golden("webhook_policy_create_request")).await;
    let read = api.get(&location).await;
    assert!(!read.body.contains("s3cr3t") && read.body.contains("********"), "{}", read.body);
    assert!(!api.get(POLICIES).await.body.contains("s3cr3t"));

    let mut changed = read.json();
    changed["enabled"] = json!(false);
    assert_eq!(api.call("PUT", &location, &changed).await.status, 200);
    let id = location.rsplit('/').next().unwrap().parse().unwrap();
    let stored = api.hooks.policies().get(PolicyId(id)).await.unwrap();
    assert_eq!(stored.targets[0].target.auth_header.as_ref().unwrap().expose(), "Bearer s3cr3t");

    changed["targets"][0]["address"] = json!("http://127.0.0.1/elsewhere");
    let refused = api.call("PUT", &location, &changed).await;
    assert_eq!((refused.status, &refused.json()["errors"][0]["field"]), (400, &json!("targets[0].auth_header")));
}

async fn masks_that_could_be_anothers_are_refused<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    let slack = |token: &str| json!({"type": "slack", "address": format!("http://127.0.0.1:9/{token}")});
    let mut chats = policy("chats");
    chats["targets"] = json!([slack("s3cret-1"), slack("s3cret-2")]);
    let location = create(&api, &chats).await;
    let addresses = async || {
        let id = location.rsplit('/').next().unwrap().parse().unwrap();
        let stored = api.hooks.policies().get(PolicyId(id)).await.unwrap();
        stored.targets.iter().map(|t| t.target.address.expose().to_owned()).collect::<Vec<_>>()
    };
    let mut sent = api.json(&location).await;
    sent["name"] = json!("talks");
    assert_eq!(api.call("PUT", &location, &sent).await.status, 200);
    assert_eq!(addresses().await, ["http://127.0.0.1:9/s3cret-1", "http://127.0.0.1:9/s3cret-2"]);

    sent["targets"].as_array_mut().unwrap().remove(0);
    let refused = api.call("PUT", &location, &sent).await;
    let message =
        "targets[0].address: ******** stands for more than one stored address; give the addresses anew".to_owned();
    let error = json!({"code": "BAD_REQUEST", "field": "targets[0].address", "message": message});
    assert_eq!((refused.status, refused.json()), (400, json!({"errors": [error]})));
    assert_eq!(addresses().await.len(), 2);
    sent["targets"] = json!([slack("s3cret-2")]);
    assert_eq!(api.call("PUT", &location, &sent).await.status, 200);
    assert_eq!(addresses().await, ["http://127.0.0.1:9/s3cret-2"]);
}

async fn deleting_cancels_what_waits_or_is_refused<S: Fresh>() {
    let api = Api::fresh::<S>(RouterOptions::default()).await;
    let strict = Api::fresh::<S>(RouterOptions::default().refuse_delete_while_waiting(true)).await;
    for (api, refused) in [(&api, false), (&strict, true)] {
        let receiver = crate::support::receiver::Receiver::start(|_| 500).await;
        let mut retried = policy("ci");
        retried["targets"][0]["address"] = json!(receiver.url);
        for n in 0..14 {
            create(api, &policy(&format!("p{n}"))).await;
        }
        let location = create(api, &retried).await;
        api.hooks.notify(&push()).await.unwrap();
        let running = crate::support::sending::Running::start(&api.hooks);
        receiver.wait_for(1).await;
        running.stop().await;
        let deleted = api.call("DELETE", &location, &json!({})).await;
        let which = Filter::policy(PolicyId(15));
        let state = api.hooks.deliveries(&which, Page::first(1)).await.unwrap()[0].state;
        if refused {
            deleted.is_golden("error_412_delete_harbor");
            assert!(!state.is_final(), "{state:?}");
        } else {
            assert_eq!(deleted.status, 200);
            assert_eq!(state.as_str(), "cancelled");
        }
    }
}

on_every_store! {
    a_policy_lives_as_in_harbor,
    lists_are_harbors,
    lists_are_paged_sorted_and_filtered,
    errors_are_harbors,
    nothing_is_told_of_other_projects,
    actions_are_told_apart,
    projects_go_by_number_or_name,
    secrets_are_masked_and_masks_keep_them,
    masks_that_could_be_anothers_are_refused,
    deleting_cancels_what_waits_or_is_refused,
}
