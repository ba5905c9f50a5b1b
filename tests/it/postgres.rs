//! What is the PostgreSQL store's own: several nodes, the host's transactions, and servers that go away.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harbor_webhook::delivery::State;
use harbor_webhook::policy::{Policy, PolicyDraft, Target};
use harbor_webhook::store::postgres::tokio_postgres::{self, NoTls};
use harbor_webhook::store::{
    Appended, DeliveryStore, Fenced, LaneLimits, Next, PolicySource, PolicyStore, PostgresStore, Resolved, Settlement,
};
use harbor_webhook::{ErrorKind, EventType, Webhooks};

use crate::stores::{LEASE, deliver};
use crate::support::events::{PROJECT, push};
use crate::support::postgres::{Cluster, schema, url};
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, end_state, impatient, loopback};
use crate::support::stores::Fresh;

pub(crate) async fn client(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn policy(store: &PostgresStore, name: &str) -> Policy {
    let target = Target::http(&format!("http://{name}.example.com/")).unwrap();
    store.create(PROJECT, PolicyDraft::new(name).on(EventType::PushArtifact).target(target)).await.unwrap()
}

pub(crate) fn quoted(schema: &str) -> String {
    format!("\"{}\"", schema.replace('"', "\"\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_at_once_migrate_once() {
    let schema = schema();
    let nodes: Vec<_> = (0..8).map(|_| PostgresStore::connect(url(), &schema).unwrap()).collect();
    let started: Vec<_> = nodes.iter().cloned().map(|node| tokio::spawn(async move { node.migrate().await })).collect();
    for node in started {
        node.await.unwrap().unwrap();
    }
    nodes[0].append(&[push()]).await.unwrap();
    assert_eq!(nodes[7].status().await.unwrap().outbox, 1);
}

#[tokio::test]
async fn a_schema_of_somebody_else_or_of_the_future_is_refused() {
    let client = client(url()).await;
    let foreign = schema();
    let sql = format!("CREATE SCHEMA {0}; CREATE TABLE {0}.outbox (id int)", quoted(&foreign));
    client.batch_execute(&sql).await.unwrap();
    let error = PostgresStore::connect(url(), &foreign).unwrap().migrate().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.to_string().contains("not this crate's"), "{error}");

    let future = schema();
    let store = PostgresStore::connect(url(), &future).unwrap();
    let error = store.append(&[push()]).await.unwrap_err();
    assert!(error.to_string().contains("call migrate() first"), "{error}");
    store.migrate().await.unwrap();
    client.execute(&format!("INSERT INTO {}.migrations VALUES (99)", quoted(&future)), &[]).await.unwrap();
    let newer = PostgresStore::connect(url(), &future).unwrap();
    for error in [newer.migrate().await.unwrap_err(), newer.append(&[push()]).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.to_string().contains("of version 99"), "{error}");
    }
    assert_eq!(PostgresStore::connect(url(), "").unwrap_err().kind(), ErrorKind::Invalid);
    let refused = PostgresStore::connect("http://user:secret@host/", "s").unwrap_err().to_string();
    assert!(!refused.contains("secret"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_claimers_on_four_nodes_get_each_delivery_once() {
    let schema = schema();
    let first = PostgresStore::connect(url(), &schema).unwrap();
    first.migrate().await.unwrap();
    let mut policies = Vec::new();
    for n in 0..5 {
        policies.push(policy(&first, &format!("p{n}")).await);
    }
    let all: Vec<&Policy> = policies.iter().collect();
    for _ in 0..60 {
        deliver(&first, &all, LaneLimits::new(1000, 3)).await;
    }
    let nodes: Vec<_> = (0..4).map(|_| PostgresStore::connect(url(), &schema).unwrap()).collect();
    let claimers: Vec<_> = (0..16)
        .map(|n| {
            let node = nodes[n % 4].clone();
            tokio::spawn(async move {
                let mut got = Vec::new();
                let mut empty = 0;
                while empty < 20 {
                    let claimed = node.claim(7, LEASE).await.unwrap();
                    empty = if claimed.is_empty() { empty + 1 } else { 0 };
                    let done: Vec<_> =
                        claimed.iter().map(|claim| Settlement::new(claim.lease, Next::Delivered)).collect();
                    got.extend(claimed.iter().map(|claim| claim.id));
                    let settled = node.settle(done).await.unwrap();
                    assert!(settled.iter().all(|fenced| *fenced == Fenced::Done));
                }
                got
            })
        })
        .collect();
    let mut seen = HashSet::new();
    for claimer in claimers {
        for id in claimer.await.unwrap() {
            assert!(seen.insert(id), "{id} was claimed twice");
        }
    }
    assert_eq!(seen.len(), 300);
    assert_eq!(first.status().await.unwrap().waiting, 0);
}

#[tokio::test]
async fn a_change_on_one_node_holds_on_the_others_within_a_second() {
    let schema = schema();
    let (one, other) =
        (PostgresStore::connect(url(), &schema).unwrap(), PostgresStore::connect(url(), &schema).unwrap());
    one.migrate().await.unwrap();
    let second = Duration::from_secs(1);
    assert!(other.subscribers(PROJECT, EventType::PushArtifact, second).await.unwrap().is_empty());
    let policy = policy(&one, "a").await;
    tokio::time::sleep(second).await;
    assert_eq!(other.subscribers(PROJECT, EventType::PushArtifact, second).await.unwrap().len(), 1);
    let target = policy.targets[0].id;
    assert!(matches!(other.resolve(&[target]).await.unwrap()[0], Resolved::Send(_)));
    one.switch(Some(false)).await.unwrap();
    tokio::time::sleep(second).await;
    assert!(matches!(other.resolve(&[target]).await.unwrap()[0], Resolved::Hold(_)));
    assert!(other.subscribers(PROJECT, EventType::PushArtifact, second).await.unwrap().is_empty());
}

#[tokio::test]
async fn other_nodes_are_told_of_events() {
    let schema = schema();
    let (one, other) =
        (PostgresStore::connect(url(), &schema).unwrap(), PostgresStore::connect(url(), &schema).unwrap());
    one.migrate().await.unwrap();
    other.status().await.unwrap();
    // The first wait connects.
    other.ready(Duration::from_millis(500)).await.unwrap();
    let append = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        one.append(&[push()]).await.unwrap();
    };
    let begun = Instant::now();
    let (ready, ()) = tokio::join!(other.ready(Duration::from_secs(20)), append);
    ready.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn events_in_the_hosts_transaction_share_its_fate() {
    let (store, _) = PostgresStore::fresh().await;
    let mut client = client(url()).await;
    let (kept, dropped) = (push(), push());
    let transaction = client.transaction().await.unwrap();
    let appended = store.append_in(&transaction, &[kept.clone(), kept.clone()]).await.unwrap();
    assert_eq!(appended, [Appended::Inserted, Appended::Duplicate]);
    assert!(store.claim_events(10, LEASE).await.unwrap().is_empty());
    transaction.commit().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    store.append_in(&transaction, std::slice::from_ref(&dropped)).await.unwrap();
    transaction.rollback().await.unwrap();
    let claimed = store.claim_events(10, LEASE).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].event.as_ref().unwrap(), &kept);
    assert_eq!(store.append(&[dropped]).await.unwrap(), [Appended::Inserted]);
}

#[tokio::test]
async fn a_full_outbox_takes_nothing_new_and_knows_what_it_has() {
    let schema = schema();
    let store = PostgresStore::connect(url(), &schema).unwrap();
    store.migrate().await.unwrap();
    let (known, new) = (push(), push());
    store.append(std::slice::from_ref(&known)).await.unwrap();
    let outbox = format!("\"{}\".outbox", schema.replace('"', "\"\""));
    let fill =
        format!("INSERT INTO {outbox} (event_id, event) SELECT gen_random_uuid(), '' FROM generate_series(2, 100001)");
    let client = client(url()).await;
    client.batch_execute(&fill).await.unwrap();
    // The finding that there is room, which is a second old at most.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for events in [vec![new.clone()], vec![known.clone(), new.clone()]] {
        assert_eq!(store.append(&events).await.unwrap_err().kind(), ErrorKind::Full);
    }
    assert_eq!(store.append(std::slice::from_ref(&known)).await.unwrap(), [Appended::Duplicate]);
    let drain = format!("DELETE FROM {outbox} WHERE seq IN (SELECT seq FROM {outbox} WHERE event = '' LIMIT 2)");
    client.batch_execute(&drain).await.unwrap();
    assert_eq!(store.append(&[known, new]).await.unwrap(), [Appended::Duplicate, Appended::Inserted]);
}

#[tokio::test]
async fn a_server_that_goes_and_comes_is_an_error_and_then_none() {
    let cluster = Arc::new(Cluster::make());
    let (mut server, url) = cluster.start();
    let store = PostgresStore::connect(&url, "harbor_webhook").unwrap();
    store.migrate().await.unwrap();
    store.append(&[push()]).await.unwrap();
    drop(server.stdin.take());
    server.wait().unwrap();
    let begun = Instant::now();
    let error = store.append(&[push()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.is_retryable());
    assert!(begun.elapsed() < Duration::from_secs(11));
    assert!(store.ready(Duration::from_millis(10)).await.is_err());
    let (_server, _) = cluster.start();
    let begun = Instant::now();
    while store.append(&[push()]).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5), "it does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(store.status().await.unwrap().outbox, 2);
}

#[tokio::test]
async fn a_pool_without_connections_is_an_error_in_time() {
    use harbor_webhook::store::postgres::deadpool_postgres::{Manager, Pool};
    let pool = Pool::builder(Manager::new(url().parse().unwrap(), NoTls)).max_size(1).build().unwrap();
    let store = PostgresStore::new(pool.clone(), &schema()).unwrap();
    store.migrate().await.unwrap();
    let taken = pool.get().await.unwrap();
    let begun = Instant::now();
    let error = store.append(&[push()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    drop(taken);
    store.append(&[push()]).await.unwrap();
}

#[tokio::test]
async fn what_the_server_cannot_hold_is_replaced_or_refused() {
    let (store, _) = PostgresStore::fresh().await;
    let draft = PolicyDraft::new("a\0b").on(EventType::PushArtifact).target(Target::http("http://x/").unwrap());
    let error = store.create(PROJECT, draft).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let event = push().operator("a\0b");
    store.append(std::slice::from_ref(&event)).await.unwrap();
    let claimed = store.claim_events(1, LEASE).await.unwrap().remove(0);
    assert_eq!(claimed.event.unwrap(), event);
}

/// What stands in the row of an event that somebody else wrote, or that was changed by hand.
#[tokio::test]
async fn rows_that_cannot_be_read_are_set_aside_and_the_others_go_on() {
    let schema = schema();
    let store = PostgresStore::connect(url(), &schema).unwrap();
    store.migrate().await.unwrap();
    let client = client(url()).await;
    let other = serde_json::to_string(&push()).unwrap();
    let later = serde_json::json!({ "id": uuid::Uuid::from_bytes([4; 16]), "type": "NEW_THING" }).to_string();
    let rows = [Some("no event"), Some(""), Some("\n\u{1b}[2J"), Some(&*other), Some(&*later), None];
    for (n, event) in (0u8..).zip(rows) {
        client.execute(&store.outbox_insert(), &[&uuid::Uuid::from_bytes([n; 16]), &event]).await.unwrap();
    }
    let hooks = Webhooks::builder(store.clone(), loopback()).settings(impatient()).build().unwrap();
    let receiver = Receiver::start(|_| 200).await;
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http(&receiver.url).unwrap());
    hooks.policies().create(PROJECT, draft).await.unwrap();
    hooks.notify(&push()).await.unwrap();
    let running = Running::start(&hooks);
    receiver.wait_for(1).await;
    assert_eq!(end_state(&hooks).await, State::Delivered);
    running.stop().await;
    // A status may be a second old.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let status = hooks.status().await.unwrap();
    assert_eq!((status.set_aside.len(), status.outbox), (rows.len(), 0), "{status:?}");
    assert!(status.set_aside.iter().all(|row| !row.reason.is_empty()), "{status:?}");
    assert_eq!(receiver.seen().len(), 1);
    // They are not looked at again.
    assert!(store.claim_events(10, LEASE).await.unwrap().is_empty());
}

#[test]
fn bridges_share_the_work_also_when_they_start_at_once() {
    use crate::running_bridge::{Bridge, Catcher};
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let receiver = Catcher::answering(&[]);
    let policies = serde_json::json!([{
        "project_id": 2, "name": "all", "enabled": true, "event_types": ["PUSH_ARTIFACT"],
        "targets": [{"type": "http", "address": receiver.url()}],
    }]);
    let (schema, file) = (schema(), first.path().join("policies.json"));
    std::fs::write(&file, policies.to_string()).unwrap();
    let args =
        ["--store", url(), "--schema", &schema, "--policies", file.to_str().unwrap(), "--allow-network", "127.0.0.0/8"];
    let bridges = std::thread::scope(|scope| {
        let starts = [first.path(), second.path()].map(|dir| scope.spawn(move || Bridge::start(dir, &args)));
        starts.map(|start| start.join().unwrap())
    });
    let body = serde_json::to_string(&serde_json::json!({
        "type": "PUSH_ARTIFACT", "occur_at": 1_700_000_000, "operator": "admin",
        "event_data": {
            "resources": [{"digest": "sha256:1", "tag": "1", "resource_url": "hub/library/a:1"}],
            "repository": {"repo_full_name": "library/a"},
        },
    }))
    .unwrap();
    for n in 0..20 {
        let (status, answer) = bridges[n % 2].post("/projects/2/events", "", &body);
        assert_eq!(status, 202, "{answer}");
    }
    let ids: HashSet<_> = (0..20).map(|_| receiver.next().header("webhook-id").unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 20);
    let [one, other] = bridges;
    assert!(one.stop("TERM").success());
    // The one that is left goes on alone.
    assert_eq!(other.post("/projects/2/events", "", &body).0, 202);
    receiver.next();
    receiver.nothing_more();
}
