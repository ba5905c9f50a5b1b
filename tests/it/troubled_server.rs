//! A PostgreSQL server that restarts, is out of reach or has no connection to spare, while events are reported.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::postgres::deadpool_postgres::{Manager, Pool};
use harbor_webhook::store::postgres::tokio_postgres::NoTls;
use harbor_webhook::store::{DeliveryStore, LaneLimits, PolicyStore, PostgresStore};
use harbor_webhook::{EventType, Webhooks};

use crate::postgres::client;
use crate::stores::deliver;
use crate::support::events::{PROJECT, push};
use crate::support::load::{Load, all_arrive};
use crate::support::postgres::{Cluster, kill, schema, url};
use crate::support::proxy::Network;
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, impatient, loopback};

const RECOVERY: Duration = Duration::from_secs(5);

struct Under {
    load: Load,
    receiver: Receiver,
    running: Running,
}

/// A store with load on it, and a dispatcher that runs.
async fn under_load(store: PostgresStore) -> Under {
    store.migrate().await.unwrap();
    let receiver = Receiver::start(|_| 200).await;
    let hooks = Webhooks::builder(store, loopback()).settings(impatient()).build().unwrap();
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http(&receiver.url).unwrap());
    hooks.policies().create(PROJECT, draft).await.unwrap();
    let running = Running::start(&hooks);
    let load = Load::start(&hooks, 8);
    load.accepts(100, Duration::from_secs(20)).await;
    Under { load, receiver, running }
}

impl Under {
    /// Everything that was accepted arrives, and the dispatcher has never stopped. What was said to refused events.
    async fn end(self) -> Vec<String> {
        let (accepted, refused) = self.load.end().await;
        let count = accepted.len();
        let repeated = all_arrive(&self.receiver, accepted).await;
        println!("{count} accepted, {} refused, {repeated} repeated", refused.len());
        self.running.stop().await;
        refused
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_accepted_event_is_lost_by_restarts_of_the_server() {
    let cluster = Cluster::make();
    let (mut server, url) = cluster.start();
    let under = under_load(PostgresStore::connect(&url, "harbor_webhook").unwrap()).await;
    for _ in 0..3 {
        kill(&mut server);
        under.load.refuses(8, Duration::from_secs(20)).await;
        server = cluster.start().0;
        under.load.accepts(100, RECOVERY).await;
    }
    under.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_accepted_event_is_lost_by_half_a_minute_without_the_server() {
    let cluster = Cluster::make();
    let (_server, url) = cluster.start();
    let network = Network::to(cluster.address()).await;
    let under = under_load(PostgresStore::connect(&through(&network, &url), "harbor_webhook").unwrap()).await;
    network.cut();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(under.load.refused() >= 8, "{}", under.load.refused());
    network.mend();
    println!("100 more {:?} after", under.load.accepts(100, RECOVERY).await);
    let refused: HashSet<String> = under.end().await.into_iter().collect();
    assert!(refused.iter().all(|error| error.contains("within")), "{refused:?}");
}

fn through(network: &Network, url: &str) -> String {
    let (host, _) = url.rsplit_once(':').unwrap();
    format!("{host}:{}/postgres", network.address.port())
}

/// The connections that nobody used meanwhile are as dead as the one that was, and nobody waits for each of them in turn.
#[tokio::test(flavor = "multi_thread")]
async fn one_answer_that_does_not_come_is_enough_to_connect_anew() {
    let cluster = Cluster::make();
    let (_server, url) = cluster.start();
    let network = Network::to(cluster.address()).await;
    let store = PostgresStore::connect(&through(&network, &url), "harbor_webhook").unwrap();
    store.migrate().await.unwrap();
    fill_pool(&store).await;
    network.cut();
    let error = store.append(&[push()]).await.unwrap_err();
    assert!(error.to_string().contains("did not answer within 10 s"), "{error}");
    network.mend();
    let begun = Instant::now();
    store.append(&[push()]).await.unwrap();
    assert!(begun.elapsed() < RECOVERY, "{:?}", begun.elapsed());
    assert!(is_told(&store, &PostgresStore::connect(&url, "harbor_webhook").unwrap()).await < RECOVERY);
}

/// Has all connections made, also that which listens.
async fn fill_pool(store: &PostgresStore) {
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        all.spawn(async move { store.status().await.unwrap() });
    }
    all.join_all().await;
    store.ready(Duration::from_secs(1)).await.unwrap();
}

/// How long it takes until a node knows of another one's event.
async fn is_told(node: &PostgresStore, other: &PostgresStore) -> Duration {
    node.claim_events(10, Duration::from_secs(600)).await.unwrap();
    node.ready(Duration::from_secs(1)).await.unwrap();
    let begun = Instant::now();
    let append = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        other.append(&[push()]).await.unwrap();
    };
    let (ready, ()) = tokio::join!(node.ready(Duration::from_secs(60)), append);
    ready.unwrap();
    begun.elapsed()
}

/// A node that is cut off while it holds a lane, of which nobody tells the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_lane_is_not_held_for_ever_by_a_node_that_vanished() {
    let cluster = Cluster::make();
    let (_server, url) = cluster.start();
    let network = Network::to(cluster.address()).await;
    let vanishing = PostgresStore::connect(&through(&network, &url), "harbor_webhook").unwrap();
    let other = PostgresStore::connect(&url, "harbor_webhook").unwrap();
    other.migrate().await.unwrap();
    let target = Target::http("http://a.example.com/").unwrap();
    let draft = PolicyDraft::new("a").on(EventType::PushArtifact).target(target);
    let policy = other.create(PROJECT, draft).await.unwrap();
    deliver(&other, &[&policy], LaneLimits::new(10, 1)).await;

    let (mut holder, watcher) = (client(&url).await, client(&url).await);
    let holding = holder.transaction().await.unwrap();
    holding.execute("SELECT 1 FROM harbor_webhook.lanes FOR UPDATE", &[]).await.unwrap();
    let claim = tokio::spawn(async move { vanishing.claim(1, Duration::from_secs(60)).await });
    let waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    while watcher.query(waiting, &[]).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    network.cut();
    // The lane is the node's now, which does not hear of it.
    holding.commit().await.unwrap();
    let begun = Instant::now();
    while !other.claim(1, Duration::from_secs(60)).await.is_ok_and(|claimed| claimed.len() == 1) {
        assert!(begun.elapsed() < Duration::from_secs(30), "nobody gets the lane any more");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(claim.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_accepted_event_is_lost_while_the_host_takes_all_connections() {
    let pool = Pool::builder(Manager::new(url().parse().unwrap(), NoTls)).max_size(4).build().unwrap();
    let under = under_load(PostgresStore::new(pool.clone(), &schema()).unwrap()).await;
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.push(pool.get().await.unwrap());
    }
    under.load.refuses(8, Duration::from_secs(30)).await;
    drop(taken);
    under.load.accepts(100, RECOVERY).await;
    let refused = under.end().await;
    assert!(refused.iter().all(|error| error.contains("the pool gave no connection within 5 s")), "{refused:?}");
}
