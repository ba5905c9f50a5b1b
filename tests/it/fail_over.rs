//! A primary that is lost under load, and the standby that takes its place.

use std::process::Child;
use std::time::Duration;

use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::PostgresStore;
use harbor_webhook::{EventType, Webhooks};

use crate::support::events::PROJECT;
use crate::support::load::{Load, all_arrive};
use crate::support::postgres::{Cluster, kill};
use crate::support::proxy::Network;
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, impatient, loopback};

/// A commit is acknowledged when the standby has it on its disk.
const SYNCHRONOUS: &str = "-c synchronous_standby_names=*";
/// How soon work goes on when there is a primary again.
const RECOVERY: Duration = Duration::from_secs(10);

/// Two servers of one database, the second with all that the first acknowledged.
struct Pair {
    primary: Child,
    network: Network,
    standby: Cluster,
    _second: Child,
    hosts: String,
}

impl Pair {
    async fn start() -> Self {
        let first = Cluster::make();
        let (primary, _) = first.start_with(SYNCHRONOUS);
        let standby = first.standby();
        let (second, _) = standby.start();
        let network = Network::to(first.address()).await;
        let ports = format!("{},{}", network.address.port(), standby.address().port());
        let hosts = format!(
            "host=127.0.0.1,127.0.0.1 port={ports} user=postgres dbname=postgres target_session_attrs=read-write"
        );
        Self { primary, network, standby, _second: second, hosts }
    }
}

async fn hooks(store: PostgresStore, receiver: &Receiver) -> Webhooks {
    store.migrate().await.unwrap();
    let hooks = Webhooks::builder(store, loopback()).settings(impatient()).build().unwrap();
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http(&receiver.url).unwrap());
    hooks.policies().create(PROJECT, draft).await.unwrap();
    hooks
}

/// What is common to both: `lose` takes the primary away, in whatever way.
async fn fails_over(lose: impl FnOnce(&mut Pair)) -> Vec<String> {
    let mut pair = Pair::start().await;
    let receiver = Receiver::start(|_| 200).await;
    let store = PostgresStore::connect(&pair.hosts, "harbor_webhook").unwrap();
    let hooks = hooks(store, &receiver).await;
    let running = Running::start(&hooks);
    let load = Load::start(&hooks, 8);
    load.accepts(100, Duration::from_secs(20)).await;
    lose(&mut pair);
    load.refuses(8, Duration::from_secs(60)).await;
    pair.standby.promote();
    let took = load.accepts(100, RECOVERY).await;
    let (accepted, refused) = load.end().await;
    let count = accepted.len();
    let repeated = all_arrive(&receiver, accepted).await;
    println!("{count} accepted, {} refused, {repeated} repeated, 100 more {took:?} after", refused.len());
    // It has run all the time.
    running.stop().await;
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn no_accepted_event_is_lost_with_the_primary() {
    let refused = fails_over(|pair| kill(&mut pair.primary)).await;
    assert!(refused.iter().all(|error| error.contains("PostgreSQL")), "{refused:?}");
}

/// Nothing says that the primary is gone: it just does not answer any more, neither on connections nor to new ones.
#[tokio::test(flavor = "multi_thread")]
async fn no_accepted_event_is_lost_with_a_primary_that_falls_silent() {
    let refused = fails_over(|pair| pair.network.cut()).await;
    assert!(refused.iter().any(|error| error.contains("did not answer within 10 s")), "{refused:?}");
}
