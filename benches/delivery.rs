//! What a delivery costs from `notify` to its record, as ratios of two sides in the same process.
//!
//! `cargo bench --bench delivery [NAME]` runs all comparisons, or those whose name contains NAME. Rounds of the two sides are
//! interleaved. The receiver lies on a thread of its own; CPU is that of the process without this thread.

mod support;

use support::Result;
use support::measure::{Goal, Sides, fdatasync_p50, median, print_load};
use support::pipeline::{Shape, bare, pipeline, runtime};
use support::scene;
use support::sink::Sink;

const ROUNDS: usize = 7;

fn main() -> Result<()> {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    print_load("begin");
    let sink = Sink::start()?;
    type Comparison = fn(&Sink) -> Result<()>;
    let all: [(&str, Comparison); 3] = [("memory", memory), ("sqlite", sqlite), ("fan-out", fan_out)];
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
