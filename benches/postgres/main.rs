//! What the PostgreSQL store costs, beside the bare driver doing the same rows on the same server, in the same process.
//!
//! `HARBOR_WEBHOOK_TEST_POSTGRES=postgres://… cargo bench --features postgres --bench postgres [NAME]` runs all comparisons, or
//! those whose name contains NAME. Rounds of the two sides are interleaved, each in a schema of its own that is dropped
//! afterwards. The server's CPU is counted where the server is on this machine.

mod raw;
#[path = "../support/mod.rs"]
mod support;

use std::sync::{Arc, Barrier};
use std::time::Duration;

use harbor_webhook::policy::Policy;
use harbor_webhook::store::{DeliveryStore, Next, PostgresStore, Settlement};
use harbor_webhook::{Event, ProjectId};
use raw::{BATCH, Raw};
use support::Result;
use support::measure::{Cost, Goal, Meter, Sides, print_load};
use support::pipeline::{Shape, Work, bare, pipeline, runtime};
use support::scene::{self, LEASE, Schema};
use support::sink::Sink;

const ROUNDS: usize = 5;
/// Batches of rows that are appended, or claimed and settled, in one round.
const BATCHES: usize = 30;
/// Deliveries that one node or two share: enough that opening their connections, and planning the statements on each, is not what
/// is measured.
const SHARED: usize = 102_400;
/// Callers that append one event at a time.
const CALLERS: usize = 256;

fn main() -> Result<()> {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let Ok(url) = std::env::var("HARBOR_WEBHOOK_TEST_POSTGRES") else {
        return Err(
            "HARBOR_WEBHOOK_TEST_POSTGRES names no server, for example postgres://postgres@localhost/postgres".into()
        );
    };
    print_load("begin");
    let sink = Sink::start()?;
    type Comparison = fn(&str, &Sink) -> Result<()>;
    let all: [(&str, Comparison); 6] = [
        ("end-to-end", end_to_end),
        ("fan-out", fan_out),
        ("batches", batches),
        ("group", group),
        ("nodes", nodes),
        ("busy", busy),
    ];
    for (name, compare) in all {
        if name.contains(&wanted) {
            compare(&url, &sink)?;
        }
    }
    print_load("end");
    Ok(())
}

/// From `notify` to the record: the crate beside the bare driver with bare requests, and beside bare requests alone.
fn end_to_end(url: &str, sink: &Sink) -> Result<()> {
    for producers in [16, 64] {
        let (mut rate, mut cpu, mut alone) = (Sides::default(), Sides::default(), Sides::default());
        for _ in 0..ROUNDS {
            let shape = Shape { producers, ..Shape::default() };
            let ours = run(url, async |schema| pipeline(schema.store().await?, sink, shape).await)?;
            let theirs = run(url, async |schema| raw_pipeline(schema, sink, shape).await)?;
            let requests = runtime()?.block_on(bare(sink, shape))?;
            rate.push(ours.rate(), theirs.rate());
            cpu.push(ours.all_cpu_each(), theirs.all_cpu_each());
            alone.push(ours.rate(), requests.rate());
        }
        let sides = format!("PostgreSQL / bare driver and requests, {producers} producers");
        rate.print(&format!("{sides}: rate"), "a second", Goal::AtLeast(0.6));
        cpu.print(&format!("{sides}: CPU with the server's"), "us each", Goal::AtMost(f64::INFINITY));
        alone.print(
            &format!("PostgreSQL / bare requests, {producers} producers: rate"),
            "a second",
            Goal::AtLeast(0.0),
        );
    }
    Ok(())
}

/// One event for a hundred targets beside a hundred events for one.
fn fan_out(url: &str, sink: &Sink) -> Result<()> {
    let (mut cpu, mut rate) = (Sides::default(), Sides::default());
    for _ in 0..ROUNDS {
        let narrow = Shape::default();
        let wide = Shape { targets: 100, ..narrow };
        let wide = run(url, async |schema| pipeline(schema.store().await?, sink, wide).await)?;
        let narrow = run(url, async |schema| pipeline(schema.store().await?, sink, narrow).await)?;
        cpu.push(wide.all_cpu_each(), narrow.all_cpu_each());
        rate.push(wide.rate(), narrow.rate());
    }
    cpu.print("1 to 100 targets / 1 to 1, PostgreSQL: CPU with the server's", "us each", Goal::AtMost(1.0));
    rate.print("1 to 100 targets / 1 to 1, PostgreSQL: rate", "a second", Goal::AtLeast(1.0));
    Ok(())
}

/// Full batches, one after the other on one connection: appended, and claimed and settled.
fn batches(url: &str, _sink: &Sink) -> Result<()> {
    let (mut append, mut work) = (Sides::default(), Sides::default());
    for _ in 0..ROUNDS {
        let ours = run(url, async |schema| {
            let store = schema.store().await?;
            let policies = scene::subscribe(&store, 1, 16, &["http://127.0.0.1:9/".to_owned()]).await?;
            Ok((append_batches(&store).await?, work_batches(&store, &policies).await?))
        })?;
        let theirs = run(url, async |schema| {
            schema.store().await?;
            let raw = Raw::new(schema.url(), schema.name())?;
            let append = raw_append_batches(&raw).await?;
            while raw.fan_out(&[1]).await? > 0 {}
            Ok((append, raw_work_batches(&raw).await?))
        })?;
        append.push(ours.0.rate(), theirs.0.rate());
        work.push(ours.1.rate(), theirs.1.rate());
    }
    append.print("append in batches of 256 / bare driver: rate", "a second", Goal::AtLeast(0.6));
    work.print("claim and settle in batches of 256 / bare driver: rate", "a second", Goal::AtLeast(0.6));
    Ok(())
}

/// Many callers with one event each beside one that commits every row.
fn group(url: &str, _sink: &Sink) -> Result<()> {
    let mut sides = Sides::default();
    for _ in 0..ROUNDS {
        let ours = run(url, async |schema| {
            let (store, events) = (schema.store().await?, events(CALLERS * BATCHES)?);
            let meter = Meter::start()?;
            let mut callers = tokio::task::JoinSet::new();
            for part in events.chunks(BATCHES) {
                let (store, part) = (store.clone(), part.to_vec());
                callers.spawn(async move {
                    for event in part {
                        store.append(&[event]).await?;
                    }
                    Ok::<_, harbor_webhook::Error>(())
                });
            }
            while let Some(ended) = callers.join_next().await {
                ended??;
            }
            meter.stop(CALLERS * BATCHES)
        })?;
        let theirs = run(url, async |schema| {
            schema.store().await?;
            let (raw, events) = (Raw::new(schema.url(), schema.name())?, events(500)?);
            let meter = Meter::start()?;
            for event in events.chunks(1) {
                raw.append(&rows(event)?).await?;
            }
            meter.stop(events.len())
        })?;
        sides.push(ours.rate(), theirs.rate());
    }
    sides.print("256 callers / bare driver, one row per commit: rate", "a second", Goal::AtLeast(10.0));
    Ok(())
}

/// Two nodes beside one, over sixteen targets.
fn nodes(url: &str, sink: &Sink) -> Result<()> {
    two_and_one(url, sink, Shape { producers: 64, deliveries: SHARED, ..Shape::default() }, "16 targets")
}

/// Two nodes beside one, all deliveries for the same target.
fn busy(url: &str, sink: &Sink) -> Result<()> {
    two_and_one(
        url,
        sink,
        Shape { producers: 64, deliveries: SHARED, projects: 1, ..Shape::default() },
        "one busy target",
    )
}

fn two_and_one(url: &str, sink: &Sink, shape: Shape, name: &str) -> Result<()> {
    let (mut rate, mut cpu) = (Sides::default(), Sides::default());
    for _ in 0..ROUNDS {
        let two = on_nodes(url, sink, shape, 2)?;
        let one = on_nodes(url, sink, shape, 1)?;
        rate.push(two.rate(), one.rate());
        cpu.push(two.all_cpu_each(), one.all_cpu_each());
    }
    rate.print(&format!("two nodes / one, {name}: rate"), "a second", Goal::AtLeast(0.9));
    cpu.print(&format!("two nodes / one, {name}: CPU with the server's"), "us each", Goal::AtMost(1.15));
    Ok(())
}

/// Each node on a thread of its own, with a pool of its own; the producers are shared out among them.
fn on_nodes(url: &str, sink: &Sink, shape: Shape, count: usize) -> Result<Cost> {
    run(url, async |schema| {
        let work = Work::prepare(&schema.store().await?, sink, shape).await?;
        let begin = Arc::new(Barrier::new(count + 1));
        let node = |_| {
            let (work, begin) = (work.clone(), Arc::clone(&begin));
            let (url, name) = (schema.url().to_owned(), schema.name().to_owned());
            std::thread::spawn(move || {
                runtime()?.block_on(async {
                    let store = PostgresStore::connect(&url, &name)?;
                    store.status().await?;
                    begin.wait();
                    work.share(store, shape.producers / count).await
                })
            })
        };
        let nodes: Vec<_> = (0..count).map(node).collect();
        begin.wait();
        let meter = Meter::start()?;
        for node in nodes {
            node.join().map_err(|_| "a node panicked")??;
        }
        meter.stop(shape.deliveries)
    })
}

/// Runs one side in a fresh schema, and drops the schema.
fn run<T>(url: &str, side: impl AsyncFnOnce(&Schema) -> Result<T>) -> Result<T> {
    runtime()?.block_on(async {
        let schema = Schema::new(url);
        let result = side(&schema).await;
        schema.drop().await?;
        result
    })
}

async fn raw_pipeline(schema: &Schema, sink: &Sink, shape: Shape) -> Result<Cost> {
    schema.store().await?;
    let raw = Raw::new(schema.url(), schema.name())?;
    let events = events(shape.deliveries / shape.targets)?;
    sink.open(1024);
    let meter = Meter::start()?;
    tokio::time::timeout(Duration::from_secs(120), raw.pipeline(sink, shape, events)).await??;
    meter.stop(shape.deliveries)
}

fn events(count: usize) -> Result<Vec<Event>> {
    (0..count).map(|n| scene::push(ProjectId(1 + i64::try_from(n % 16)?))).collect()
}

/// What is appended of events: writing them as JSON belongs to appending, on both sides.
fn rows(events: &[Event]) -> Result<Vec<(uuid::Uuid, String)>> {
    events.iter().map(|event| Ok((event.id, serde_json::to_string(event)?))).collect()
}

async fn append_batches(store: &PostgresStore) -> Result<Cost> {
    let events = events(BATCH * BATCHES)?;
    let meter = Meter::start()?;
    for batch in events.chunks(BATCH) {
        store.append(batch).await?;
    }
    meter.stop(events.len())
}

async fn raw_append_batches(raw: &Raw) -> Result<Cost> {
    let events = events(BATCH * BATCHES)?;
    let meter = Meter::start()?;
    for batch in events.chunks(BATCH) {
        raw.append(&rows(batch)?).await?;
    }
    meter.stop(events.len())
}

async fn work_batches(store: &PostgresStore, policies: &[Policy]) -> Result<Cost> {
    // A body for each delivery, as the other side has it.
    for _ in 0..BATCH * BATCHES / policies.len() / 10 {
        scene::fill(store, policies, 10, u32::MAX).await?;
    }
    let mut done = 0;
    let meter = Meter::start()?;
    while done < BATCH * BATCHES {
        let claimed = store.claim(BATCH, LEASE).await?;
        let count = claimed.len();
        let delivered = |claimed: &harbor_webhook::store::Claimed| {
            Settlement::new(claimed.lease, Next::Delivered).attempt(scene::answered())
        };
        store.settle(claimed.iter().map(delivered).collect()).await?;
        done += count;
        if count == 0 {
            break;
        }
    }
    meter.stop(done)
}

async fn raw_work_batches(raw: &Raw) -> Result<Cost> {
    let mut done = 0;
    let meter = Meter::start()?;
    while done < BATCH * BATCHES {
        let claimed = raw.claim(&[1], BATCH).await?;
        raw.settle(&claimed, 3).await?;
        done += claimed.len();
    }
    meter.stop(done)
}
