//! The disk of a PostgreSQL server is full, and then it is not: what was accepted arrives, what was not was refused.
//!
//! The disk is a file system in memory that only the server sees. Where a user may not mount even that, the tests fail.

use std::time::Duration;

use harbor_webhook::delivery::{Attempt, Outcome};
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{DeliveryStore, Fenced, LaneLimits, Next, PolicyStore, PostgresStore, Settlement};
use harbor_webhook::{ErrorKind, EventType, Webhooks};

use crate::postgres::client;
use crate::stores::{LEASE, deliver};
use crate::support::events::PROJECT;
use crate::support::load::{Load, all_arrive};
use crate::support::postgres::{Cluster, tell};
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, impatient, loopback};

/// How soon work goes on when there is space again.
const RECOVERY: Duration = Duration::from_secs(10);

/// Takes all that is left of the disk.
const FILL: &str = "COPY (SELECT) TO PROGRAM 'dd if=/dev/zero of={folder}/disk/filler bs=4k 2>/dev/null; true'";
const FREE: &str = "COPY (SELECT) TO PROGRAM 'rm {folder}/disk/filler'";

async fn run(url: &str, cluster: &Cluster, sql: &str) {
    let folder = cluster.folder.to_str().unwrap();
    client(url).await.batch_execute(&sql.replace("{folder}", folder)).await.unwrap();
}

/// A server, and the URL of a database on the small disk.
async fn small_database(cluster: &Cluster) -> (std::process::Child, String, String) {
    let (server, url) = cluster.start_on_small_disk("64m", "mkdir disk/space", "");
    run(&url, cluster, "CREATE TABLESPACE small LOCATION '{folder}/disk/space'").await;
    run(&url, cluster, "CREATE DATABASE small TABLESPACE small").await;
    let small = format!("{}/small", url.rsplit_once('/').unwrap().0);
    (server, url, small)
}

async fn under_load(url: &str, receiver: &Receiver) -> (Load, Running) {
    let store = PostgresStore::connect(url, "harbor_webhook").unwrap();
    store.migrate().await.unwrap();
    let hooks = Webhooks::builder(store, loopback()).settings(impatient()).build().unwrap();
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http(&receiver.url).unwrap());
    hooks.policies().create(PROJECT, draft).await.unwrap();
    let running = Running::start(&hooks);
    let load = Load::start(&hooks, 8);
    load.accepts(100, Duration::from_secs(20)).await;
    (load, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_load_refuses_what_it_cannot_keep_and_loses_nothing() {
    let cluster = Cluster::make();
    let (_server, url, small) = small_database(&cluster).await;
    let receiver = Receiver::start(|_| 200).await;
    let (load, running) = under_load(&small, &receiver).await;
    run(&url, &cluster, FILL).await;
    load.refuses(20, Duration::from_secs(60)).await;
    run(&url, &cluster, FREE).await;
    let took = load.accepts(100, RECOVERY).await;
    let (accepted, refused) = load.end().await;
    let count = accepted.len();
    let repeated = all_arrive(&receiver, accepted).await;
    println!("{count} accepted, {} refused, {repeated} repeated, 100 more {took:?} after", refused.len());
    assert!(refused.iter().all(|error| error.contains("the server's disk is full")), "{refused:?}");
    running.stop().await;
}

/// What came of an attempt is written when there is space again, as long as its lease lasts.
#[tokio::test]
async fn results_that_find_the_disk_full_are_not_lost() {
    let cluster = Cluster::make();
    let (_server, url, small) = small_database(&cluster).await;
    let store = PostgresStore::connect(&small, "harbor_webhook").unwrap();
    store.migrate().await.unwrap();
    let target = Target::http("http://a.example.com/").unwrap();
    let draft = PolicyDraft::new("a").on(EventType::PushArtifact).target(target);
    let policy = store.create(PROJECT, draft).await.unwrap();
    for _ in 0..50 {
        deliver(&store, &[&policy], LaneLimits::new(1000, 50)).await;
    }
    let claimed = store.claim(50, LEASE).await.unwrap();
    assert_eq!(claimed.len(), 50);
    run(&url, &cluster, FILL).await;
    let results = || claimed.iter().map(|claim| Settlement::new(claim.lease, Next::Delivered).attempt(answered()));
    let error = store.settle(results().collect()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("the server's disk is full"), "{error}");
    // What is there can still be looked at, and nothing was written.
    assert_eq!(store.status().await.unwrap().waiting, 50);
    run(&url, &cluster, FREE).await;
    let settled = store.settle(results().collect()).await.unwrap();
    assert_eq!(settled, vec![Fenced::Done; 50]);
    assert_eq!(store.status().await.unwrap().waiting, 0);
}

/// An answer of eight kilobytes that cannot be packed, so that no page has room for fifty of them.
fn answered() -> Attempt {
    let body: String = (0..256).map(|_| uuid::Uuid::now_v7().simple().to_string()).collect();
    Attempt::new(
        chrono::Utc::now(),
        Duration::from_millis(1),
        Outcome::Answered { status: 200, body, truncated: false },
    )
}

/// A server that cannot write its log goes down, and does not come up before there is space.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_the_servers_log_loses_nothing() {
    let cluster = Cluster::make_with(&["--wal-segsize=1"]);
    // Without a checkpoint no part of the log is used again.
    let move_log = "cp -a data/pg_wal disk/wal && rm -r data/pg_wal && ln -s \"$2/disk/wal\" data/pg_wal";
    let options = "-c min_wal_size=2MB -c max_wal_size=1GB -c checkpoint_timeout=1h -c restart_after_crash=off";
    let (mut server, url) = cluster.start_on_small_disk("24m", move_log, options);
    let receiver = Receiver::start(|_| 200).await;
    let (load, running) = under_load(&url, &receiver).await;
    run(&url, &cluster, FILL).await;
    load.refuses(20, Duration::from_secs(120)).await;
    // The operator makes space, and starts it again.
    tell(&mut server, "wait $server; rm disk/filler; start");
    load.accepts(100, Duration::from_secs(60)).await;
    let (accepted, refused) = load.end().await;
    let count = accepted.len();
    let repeated = all_arrive(&receiver, accepted).await;
    println!("{count} accepted, {} refused, {repeated} repeated", refused.len());
    running.stop().await;
}
