//! What a delivery that waits costs in the memory store: the bytes alive on the heap, everything included, less the body.
//!
//! `cargo bench --bench memory`. It fails above 256 bytes, for a delivery with a body of its own and for each further one of
//! the same body; and if fanning out large events takes more than [`MOST_OF_LARGE`] at its height.

#![allow(unsafe_code)] // an allocator cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use harbor_webhook::delivery::{Attempt, Outcome};
use harbor_webhook::event::Artifact;
use harbor_webhook::policy::{Policy, PolicyDraft, Target};
use harbor_webhook::store::{
    Body, Claimed, DeliveryStore, FanOut, LaneLimits, MemoryStore, NewDelivery, Next, PolicyStore, Retention,
    Settlement,
};
use harbor_webhook::transport::{DestinationPolicy, Request, Response, Transport, TransportError};
use harbor_webhook::{Error, Event, EventType, ProjectId, Registry, Result, Webhooks};
use uuid::Uuid;

const MOST: f64 = 256.0;
const MIB: usize = 1024 * 1024;
/// What waits, what is rendered and not written, and what is claimed.
const MOST_OF_LARGE: f64 = (100 * MIB) as f64;
const DELIVERIES: usize = 100_000;
const LANES: usize = 100;
const BODY: usize = 700;
const LEASE: Duration = Duration::from_secs(60);
const PROJECT: ProjectId = ProjectId(2);
const DIGEST: &str = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";

/// The system's allocator, and how much of it is in use.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; beside that, only a number is kept.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: `at` came from `alloc` above with this layout, so from the system's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn live() -> f64 {
    LIVE.load(Relaxed) as f64
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let own = own_bodies().await?;
    let further = shared_bodies(own).await?;
    attempted().await?;
    outbox().await?;
    let peak = large_events().await?;
    if own > MOST || further > MOST || peak > MOST_OF_LARGE {
        eprintln!("more than {MOST} bytes, or than {MOST_OF_LARGE} for large events");
        std::process::exit(1);
    }
    Ok(())
}

/// One event for one of 100 targets, 100,000 times. Gives the bytes of each.
async fn own_bodies() -> Result<f64> {
    let (store, policies) = filled_store().await?;
    let before = live();
    for n in 0..DELIVERIES {
        fan_out(&store, &policies[n % LANES..][..1]).await?;
    }
    let each = (live() - before) / DELIVERIES as f64 - BODY as f64;
    println!("a delivery with a body of its own   {each:6.1} bytes beside the body of {BODY}");
    drain(&store, DELIVERIES).await?;
    let left = (live() - before) / DELIVERIES as f64;
    println!(
        "  when all are delivered and swept  {left:6.1} bytes, of the newest 50 per policy and the known event ids"
    );
    Ok(each)
}

/// One event for 100 targets, 1,000 times. Gives the bytes of each delivery beyond the first of its body.
async fn shared_bodies(own: f64) -> Result<f64> {
    let (store, policies) = filled_store().await?;
    let before = live();
    let bodies = DELIVERIES / LANES;
    for _ in 0..bodies {
        fan_out(&store, &policies).await?;
    }
    let all = live() - before;
    let further = (all - bodies as f64 * (own + BODY as f64)) / (DELIVERIES - bodies) as f64;
    println!("each further one of the same body   {further:6.1} bytes");
    println!("  all, with the body                {:6.1} bytes", all / DELIVERIES as f64);
    Ok(further)
}

/// Twenty events of a megabyte for 30 policies with bodies of their own, 600 MB of them, in a store that takes 64 MiB. Gives what
/// was alive at once.
async fn large_events() -> Result<f64> {
    let store = MemoryStore::new().max_bytes(64 * MIB);
    let hooks = Webhooks::builder(store, DestinationPolicy::public_addresses()).transport(Hung).build()?;
    for n in 0..30 {
        let target = Target::http(&format!("http://{n}.example.com/"))?.payload_format("CloudEvents");
        let draft = PolicyDraft::new(format!("p{n}")).on(EventType::PushArtifact).target(target);
        hooks.policies().create(PROJECT, draft).await?;
    }
    let before = live();
    PEAK.store(LIVE.load(Relaxed), Relaxed);
    let sending = async {
        let mut refused = 0;
        for _ in 0..20 {
            let mut event = push()?;
            event.data.custom_attributes.insert("notes".to_owned(), "n".repeat(1_000_000));
            refused += u32::from(hooks.notify(&event).await.is_err());
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok::<_, Error>(refused)
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (refused, ran) = tokio::join!(async { (sending.await, stop.send(())).0 }, hooks.run(stopped));
    ran?;
    let (peak, waiting) = (PEAK.load(Relaxed) as f64 - before, hooks.status().await?.waiting_bytes.unwrap_or_default());
    let mib = |bytes: f64| bytes / MIB as f64;
    println!(
        "20 events of 1 MB for 30 policies   {:6.1} MiB at most, of which {:.1} wait",
        mib(peak),
        mib(waiting as f64)
    );
    println!("  refused by a store of 64 MiB      {:6}", refused?);
    Ok(peak)
}

/// Never answers.
#[derive(Debug)]
struct Hung;

#[async_trait::async_trait]
impl Transport for Hung {
    async fn send(&self, _: Request<'_>) -> Result<Response, TransportError> {
        std::future::pending().await
    }
}

/// The same as the first, when each was attempted once and waits for the next time.
async fn attempted() -> Result<()> {
    const SOME: usize = 10_000;
    let (store, policies) = filled_store().await?;
    let before = live();
    for n in 0..SOME {
        fan_out(&store, &policies[n % LANES..][..1]).await?;
    }
    claim(&store, SOME, |claimed| {
        let outcome = Outcome::Answered { status: 500, body: "told so".to_owned(), truncated: false };
        let attempt = Attempt::new(Utc::now(), Duration::from_millis(3), outcome);
        Settlement::new(claimed.lease, Next::Retry(LEASE)).attempt(attempt)
    })
    .await?;
    let each = (live() - before) / SOME as f64 - BODY as f64;
    println!("after an attempt that failed        {each:6.1} bytes beside the body, the attempt included");
    Ok(())
}

async fn filled_store() -> Result<(MemoryStore, Vec<Policy>)> {
    let store = MemoryStore::new();
    let mut policies = Vec::new();
    for n in 0..LANES {
        let target = Target::http(&format!("http://{n}.example.com/"))?;
        let draft = PolicyDraft::new(format!("p{n}")).on(EventType::PushArtifact).target(target);
        policies.push(store.create(PROJECT, draft).await?);
    }
    Ok((store, policies))
}

/// Events that are not fanned out.
async fn outbox() -> Result<()> {
    const SOME: usize = 10_000;
    let store = MemoryStore::new();
    let before = live();
    for _ in 0..SOME {
        store.append(&[push()?]).await?;
    }
    let each = (live() - before) / SOME as f64;
    println!("an event in the outbox              {each:6.1} bytes");
    Ok(())
}

fn push() -> Result<Event> {
    Ok(Registry::new("hub.example.com")?.push(PROJECT, "library/alpine", Artifact::tagged("3.20", DIGEST)?))
}

/// An event, as intake hands it on.
async fn fan_out(store: &MemoryStore, to: &[Policy]) -> Result<()> {
    store.append(&[push()?]).await?;
    for claimed in store.claim_events(1, LEASE).await? {
        let id = Uuid::now_v7();
        let bytes = Bytes::from(vec![b'x'; BODY].into_boxed_slice());
        let mut part = FanOut::default();
        part.bodies.push(Body::new(id, "Default", "application/json", bytes));
        let limits = LaneLimits::new(10_000, 4);
        part.deliveries.extend(to.iter().map(|p| NewDelivery::new(p.id, &p.targets[0], Ok(id), limits)));
        part.last = true;
        store.fan_out(&claimed.lease, part).await?;
    }
    Ok(())
}

async fn drain(store: &MemoryStore, count: usize) -> Result<()> {
    claim(store, count, |claimed| Settlement::new(claimed.lease, Next::Delivered)).await?;
    while store.sweep(&Retention::default(), 1000).await?.more {}
    Ok(())
}

async fn claim(store: &MemoryStore, count: usize, settle: impl Fn(Claimed) -> Settlement) -> Result<()> {
    let mut claimed = 0;
    while claimed < count {
        let some = store.claim(256, LEASE).await?;
        assert!(!some.is_empty(), "{claimed} of {count} could be claimed");
        claimed += some.len();
        store.settle(some.into_iter().map(&settle).collect()).await?;
    }
    Ok(())
}
