//! Events of a megabyte with a body for each of many policies: what is claimed and rendered at once is bounded, and so is what waits.

use std::time::{Duration, Instant};

use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::MemoryStore;
use harbor_webhook::{Event, EventType, Webhooks};

use crate::support::events::{PROJECT, push};
use crate::support::sending::{Running, impatient, loopback};
use crate::support::simulated::{Answer, Simulated};
use crate::support::stores::{Fresh, on_every_store};

const LEASE: Duration = Duration::from_secs(60);

on_every_store!(a_claim_takes_a_few_large_events_or_many_small_ones);

fn large(bytes: usize) -> Event {
    let mut event = push();
    event.data.custom_attributes.insert("notes".to_owned(), "n".repeat(bytes));
    event
}

async fn a_claim_takes_a_few_large_events_or_many_small_ones<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    for _ in 0..20 {
        store.append(&[large(1_000_000)]).await.unwrap();
    }
    for _ in 0..40 {
        store.append(&[push()]).await.unwrap();
    }
    let mut claims = Vec::new();
    for _ in 0..3 {
        claims.push(store.claim_events(100, LEASE).await.unwrap().len());
    }
    assert_eq!(claims, [17, 43, 0], "claims end after 16 MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_store_keeps_its_bound_of_bytes() {
    const BOUND: usize = 12_000_000;
    const BODY: usize = 150_000;
    const POLICIES: usize = 40;
    const EVENTS: usize = 6;
    let receivers = Simulated::new(|_, _| Answer::new(200, Duration::from_millis(20)));
    let store = MemoryStore::new().max_bytes(BOUND);
    let builder = Webhooks::builder(store, loopback()).settings(impatient()).transport(receivers.clone());
    let hooks = builder.build().unwrap();
    for n in 0..POLICIES {
        let target = Target::http(&format!("http://h{n}.example.com/")).unwrap().payload_format("CloudEvents");
        let draft = PolicyDraft::new(format!("p{n}")).on(EventType::PushArtifact).target(target);
        hooks.policies().create(PROJECT, draft).await.unwrap();
    }
    for _ in 0..EVENTS {
        hooks.notify(&large(BODY)).await.unwrap();
    }
    let (running, begun, mut most) = (Running::start(&hooks), Instant::now(), 0);
    while receivers.all().len() < POLICIES * EVENTS {
        most = most.max(hooks.status().await.unwrap().waiting_bytes.unwrap());
        assert!(begun.elapsed() < Duration::from_secs(120), "{} arrived", receivers.all().len());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    running.stop().await;
    assert!(most > BOUND as u64 / 2 && most <= (BOUND + BODY) as u64, "{most} bytes waited");
}
