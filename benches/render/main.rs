//! What rendering costs, as a ratio to a rival in the same process: `cargo bench --bench render`.
//!
//! Rounds of the two sides are interleaved and medians compared, so that a machine that changes its speed changes both.
//! Times are shown and judged, but only an allocation too many fails: it is the same on every machine. What fails on time
//! is `cargo bench --bench instructions`, which counts instead of measuring.
#![allow(unsafe_code)] // an allocator that counts

mod cases;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cases::{Case, Render};

const ROUNDS: usize = 31;
const RENDERS: usize = 2000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut allocated = 0;
    for (subject, event) in [("push", cases::push()?), ("scan", cases::scan()?)] {
        for mut case in cases::of(&event) {
            allocated += compare(subject, &mut case);
        }
    }
    if allocated > 0 { Err("rendering allocated".into()) } else { Ok(()) }
}

/// Prints a line, and says how many allocations there were: rendering needs none.
fn compare(subject: &str, case: &mut Case<'_>) -> u64 {
    let mut out = Vec::with_capacity(16 * 1024);
    let (mut ours, mut rival) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(time(&mut case.ours, &mut out));
        rival.push(time(&mut case.rival, &mut out));
    }
    let allocations = allocations(&mut case.ours, &mut out);
    let (ours, rival) = (median(ours), median(rival));
    let ratio = ours.as_secs_f64() / rival.as_secs_f64();
    let verdict = if ratio <= case.goal { "ok" } else { "MISSED" };
    println!(
        "{:<34} {:>5} ns  {:<16} {:>5} ns  ratio {ratio:.2} (goal {:.2}: {verdict})  allocations {allocations}",
        format!("{subject}: {}", case.name),
        each(ours),
        case.rival_name,
        each(rival),
        case.goal,
    );
    allocations
}

fn time(render: &mut Render<'_>, out: &mut Vec<u8>) -> Duration {
    let begun = Instant::now();
    let all = (0..RENDERS).all(|_| {
        out.clear();
        black_box(render(out))
    });
    let taken = begun.elapsed();
    assert!(all, "rendering failed");
    taken
}

fn allocations(render: &mut Render<'_>, out: &mut Vec<u8>) -> u64 {
    out.clear();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    black_box(render(out));
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

fn each(total: Duration) -> u128 {
    total.as_nanos() / RENDERS as u128
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}
