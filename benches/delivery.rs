//! What a delivery costs from `notify` to its record, as ratios of two sides in the same process.
//!
//! `cargo bench --bench delivery [NAME]` runs all comparisons, or those whose name contains NAME. Rounds of the two sides are
//! interleaved. The receiver lies on a thread of its own; CPU is that of the process without this thread.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use harbor_webhook::store::{DeliveryStore, LaneLimits};
use harbor_webhook::{Event, ProjectId, Settings, Webhooks};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use support::Result;
use support::measure::{Cost, Goal, Meter, Sides, fdatasync_p50, median, print_load};
use support::scene::{self, Store};
use support::sink::Sink;
use tokio::runtime::Runtime;

const ROUNDS: usize = 7;
/// Requests on their way from producer to receiver at most.
const WINDOW: usize = 1024;
/// The lanes that deliveries are spread over.
const LANES: usize = 16;

fn main() -> Result<()> {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    print_load("begin");
    let sink = Sink::start()?;
    type Comparison = fn(&Sink) -> Result<()>;
    let all: [(&str, Comparison); 4] =
        [("memory", memory), ("sqlite", sqlite), ("fan-out", fan_out), ("postgres", postgres)];
    for (name, compare) in all {
        if name.contains(&wanted) {
            compare(&sink)?;
        }
    }
    print_load("end");
    Ok(())
}

/// The memory store's pipeline beside a loop of bare requests.
fn memory(sink: &Sink) -> Result<()> {
    for concurrency in [16, 64] {
        let (mut rate, mut cpu) = (Sides::default(), Sides::default());
        for _ in 0..ROUNDS {
            let shape = Shape { concurrency, ..Shape::default() };
            let ours = runtime()?.block_on(pipeline(scene::memory(), sink, shape))?;
            let theirs = runtime()?.block_on(bare(sink, shape))?;
            rate.push(ours.rate(), theirs.rate());
            cpu.push(ours.cpu_each(), theirs.cpu_each());
        }
        rate.print(&format!("memory / bare requests, {concurrency} at once: rate"), "a second", Goal::AtLeast(0.75));
        cpu.print(&format!("memory / bare requests, {concurrency} at once: CPU"), "us each", Goal::AtMost(1.35));
    }
    Ok(())
}

/// The SQLite store, where every event is on the disk when `notify` returns, beside the memory store.
fn sqlite(sink: &Sink) -> Result<()> {
    let shape = Shape { concurrency: 64, producers: 64, ..Shape::default() };
    let (mut rate, mut cpu, mut disk) = (Sides::default(), Sides::default(), Vec::new());
    for _ in 0..ROUNDS {
        let runtime = runtime()?;
        let (store, folder) = runtime.block_on(scene::sqlite())?;
        disk.push(fdatasync_p50(folder.path())?);
        let ours = runtime.block_on(pipeline(store, sink, shape))?;
        let theirs = runtime.block_on(pipeline(scene::memory(), sink, shape))?;
        rate.push(ours.rate(), theirs.rate());
        cpu.push(ours.cpu_each(), theirs.cpu_each());
    }
    rate.print("SQLite FULL / memory, 64 producers: rate", "a second", Goal::AtLeast(0.3));
    cpu.print("SQLite FULL / memory, 64 producers: CPU", "us each", Goal::AtMost(f64::INFINITY));
    println!("    fdatasync of 4 KiB in these rounds: p50 {:.2} ms", median(&mut disk));
    Ok(())
}

/// The PostgreSQL store beside bare requests, and wide events beside narrow ones. The server's CPU is not counted.
#[cfg(feature = "postgres")]
fn postgres(sink: &Sink) -> Result<()> {
    let Ok(url) = std::env::var("HARBOR_WEBHOOK_TEST_POSTGRES") else {
        println!("PostgreSQL: left out; HARBOR_WEBHOOK_TEST_POSTGRES names no server");
        return Ok(());
    };
    let (mut rate, mut wide_cpu) = (Sides::default(), Sides::default());
    for _ in 0..ROUNDS {
        let runtime = runtime()?;
        let shape = Shape { producers: 64, ..Shape::default() };
        let ours = runtime.block_on(async { pipeline(scene::postgres(&url).await?, sink, shape).await })?;
        let theirs = runtime.block_on(bare(sink, shape))?;
        let wide = Shape { targets: 100, ..shape };
        let wide = runtime.block_on(async { pipeline(scene::postgres(&url).await?, sink, wide).await })?;
        rate.push(ours.rate(), theirs.rate());
        wide_cpu.push(wide.cpu_each(), ours.cpu_each());
    }
    rate.print("PostgreSQL / bare requests, 64 producers: rate", "a second", Goal::AtLeast(0.0));
    wide_cpu.print("1 to 100 targets / 1 to 1, PostgreSQL: client's CPU", "us each", Goal::AtMost(1.0));
    Ok(())
}

#[cfg(not(feature = "postgres"))]
fn postgres(_sink: &Sink) -> Result<()> {
    println!("PostgreSQL: left out; build with --features postgres");
    Ok(())
}

/// One event for a hundred targets beside a hundred events for one.
fn fan_out(sink: &Sink) -> Result<()> {
    let (mut memory, mut durable) = (Sides::default(), Sides::default());
    let (one, hundred) = (Shape::default(), Shape { targets: 100, ..Shape::default() });
    for _ in 0..ROUNDS {
        let wide = runtime()?.block_on(pipeline(scene::memory(), sink, hundred))?;
        let narrow = runtime()?.block_on(pipeline(scene::memory(), sink, one))?;
        memory.push(wide.cpu_each(), narrow.cpu_each());
        let runtime = runtime()?;
        let ((wide, _folder), (narrow, _other)) =
            (runtime.block_on(scene::sqlite())?, runtime.block_on(scene::sqlite())?);
        let wide = runtime.block_on(pipeline(wide, sink, hundred))?;
        let narrow = runtime.block_on(pipeline(narrow, sink, one))?;
        durable.push(wide.cpu_each(), narrow.cpu_each());
    }
    memory.print("1 to 100 targets / 1 to 1, memory: CPU per delivery", "us each", Goal::AtMost(1.0));
    durable.print("1 to 100 targets / 1 to 1, SQLite FULL: CPU per delivery", "us each", Goal::AtMost(1.0));
    Ok(())
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    concurrency: usize,
    producers: usize,
    /// Targets of each event.
    targets: usize,
    deliveries: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self { concurrency: 64, producers: 16, targets: 1, deliveries: 25_600 }
    }
}

/// One thread for everything but the receiver (and the store's writer, if it has one).
fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// From `notify` until the last delivery is recorded.
async fn pipeline<S: Store>(store: S, sink: &Sink, shape: Shape) -> Result<Cost> {
    let addresses: Vec<_> = (0..shape.targets).map(|n| format!("{}/hook/{n}", sink.url)).collect();
    scene::subscribe(&store, 1, i64::try_from(LANES)?, &addresses).await?;
    let mut settings = Settings::harbor();
    settings.max_in_flight = shape.concurrency;
    settings.lane = LaneLimits::new(1_000_000, u32::try_from(shape.concurrency)?);
    let deliveries: Arc<dyn DeliveryStore> = Arc::new(store.clone());
    let hooks = Webhooks::builder(store, scene::loopback()?).settings(settings).build()?;
    let events = shape.deliveries / shape.targets;
    let event = |n: usize| scene::push(ProjectId(1 + i64::try_from(n % LANES)?));
    let events: Arc<Vec<Event>> = Arc::new((0..events).map(event).collect::<Result<_>>()?);
    sink.open(WINDOW);
    let end = sink.seen() + shape.deliveries;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let hooks = hooks.clone();
        async move { hooks.run(stopped).await }
    });
    let meter = Meter::start()?;
    let next = Arc::new(AtomicUsize::new(0));
    let produce = |_| {
        let produced = produce(hooks.clone(), sink.clone(), Arc::clone(&events), Arc::clone(&next), shape.targets);
        tokio::spawn(produced)
    };
    for producer in (0..shape.producers).map(produce).collect::<Vec<_>>() {
        producer.await??;
    }
    let all = async {
        sink.wait_for(end).await;
        scene::drained(&deliveries).await
    };
    tokio::time::timeout(Duration::from_secs(120), all).await??;
    let cost = meter.stop(shape.deliveries)?;
    let _ = stop.send(());
    running.await??;
    Ok(cost)
}

async fn produce(
    hooks: Webhooks,
    sink: Sink,
    events: Arc<Vec<Event>>,
    next: Arc<AtomicUsize>,
    each: usize,
) -> Result<()> {
    while let Some(event) = events.get(next.fetch_add(1, Ordering::Relaxed)) {
        sink.room(each).await?;
        hooks.notify(event).await?;
    }
    Ok(())
}

/// The same requests by a client with the settings of the crate's own transport, without anything around them.
async fn bare(sink: &Sink, shape: Shape) -> Result<Cost> {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .retry(reqwest::retry::never())
        .http1_only()
        .connect_timeout(Duration::from_secs(5))
        .pool_idle_timeout(Duration::from_secs(60))
        .tcp_nodelay(true)
        .tls_certs_only([])
        .build()?;
    let url: reqwest::Url = format!("{}/hook/0", sink.url).parse()?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static("harbor-webhook/bench"));
    headers.insert("webhook-id", HeaderValue::from_static("66e18103-09c1-41f6-982f-37df223f3eeb"));
    let body = Bytes::from(vec![b'x'; 700]);
    let left = Arc::new(AtomicUsize::new(shape.deliveries));
    let meter = Meter::start()?;
    let one = |_| {
        let (client, url, headers, body) = (client.clone(), url.clone(), headers.clone(), body.clone());
        let left = Arc::clone(&left);
        tokio::spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let request = client.post(url.clone()).headers(headers.clone()).body(body.clone());
                let answer = request.timeout(Duration::from_secs(3)).send().await?;
                answer.error_for_status()?.bytes().await?;
            }
            Ok::<_, reqwest::Error>(())
        })
    };
    for task in (0..shape.concurrency).map(one).collect::<Vec<_>>() {
        task.await??;
    }
    meter.stop(shape.deliveries)
}
