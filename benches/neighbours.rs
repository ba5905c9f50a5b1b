//! What healthy targets notice of bad ones, and what it costs to hold those off: `cargo bench --bench neighbours [NAME]`.
//!
//! A hundred targets of which ten are bad (dead, hung, slow) stand beside a hundred healthy ones in the same process; what is
//! compared is the rate of the ninety that are healthy on both sides. Rounds are interleaved. All receivers lie on threads of
//! their own, and their CPU is not counted.

mod support;

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use harbor_webhook::delivery::Rate;
use harbor_webhook::delivery::breaker::{Before, Breaker, Health, Verdict};
use harbor_webhook::policy::Address;
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{ProjectId, Settings, Webhooks};
use support::measure::{Cost, Goal, Meter, Sides, median, print_goal, print_load};
use support::pipeline::{Shape, WINDOW, pipeline, runtime};
use support::scene::{self, Store};
use support::sink::Sink;
use support::{Result, bad};

const ROUNDS: usize = 5;
/// Rounds of sides that differ by very little.
const MORE_ROUNDS: usize = 15;
const HEALTHY: usize = 90;
const BAD: usize = 10;
/// Decisions that are timed.
const DECISIONS: usize = 1_000_000;

fn main() -> Result<()> {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    print_load("begin");
    type Comparison = fn() -> Result<()>;
    let all: [(&str, Comparison); 3] = [("memory", memory), ("sqlite", sqlite), ("protection", protection)];
    for (name, compare) in all {
        if name.contains(&wanted) {
            compare()?;
        }
    }
    print_load("end");
    Ok(())
}

fn memory() -> Result<()> {
    let (receivers, mut sides) = (Receivers::start()?, Sides::default());
    for _ in 0..ROUNDS {
        let ours = runtime()?.block_on(receivers.healthy_rate(scene::memory(), &receivers.bad, 1500))?;
        let theirs = runtime()?.block_on(receivers.healthy_rate(scene::memory(), &receivers.good, 1500))?;
        sides.push(ours.rate(), theirs.rate());
    }
    sides.print("rate of 90 healthy beside 10 bad / beside 10 healthy, memory", "a second", Goal::AtLeast(0.9));
    Ok(())
}

fn sqlite() -> Result<()> {
    let (receivers, mut sides) = (Receivers::start()?, Sides::default());
    for _ in 0..ROUNDS {
        let runtime = runtime()?;
        let ((ours, _folder), (theirs, _other)) =
            (runtime.block_on(scene::sqlite())?, runtime.block_on(scene::sqlite())?);
        let ours = runtime.block_on(receivers.healthy_rate(ours, &receivers.bad, 400))?;
        let theirs = runtime.block_on(receivers.healthy_rate(theirs, &receivers.good, 400))?;
        sides.push(ours.rate(), theirs.rate());
    }
    sides.print("rate of 90 healthy beside 10 bad / beside 10 healthy, SQLite", "a second", Goal::AtLeast(0.9));
    Ok(())
}

struct Receivers {
    healthy: Sink,
    /// The ten others, on one side and on the other.
    bad: Vec<String>,
    good: Vec<String>,
}

impl Receivers {
    fn start() -> Result<Self> {
        let (bad, good) = (bad::start()?, Sink::start()?);
        let bad = (0..BAD).map(|n| format!("{}/{n}", bad[n % bad.len()])).collect();
        let addresses = (0..BAD).map(|n| format!("{}/{n}", good.url)).collect();
        Ok(Self { healthy: Sink::start()?, bad, good: addresses })
    }

    /// Sends events to the ninety and these ten, until the ninety have theirs.
    async fn healthy_rate<S: Store>(&self, store: S, others: &[String], events: usize) -> Result<Cost> {
        let mut addresses: Vec<_> = (0..HEALTHY).map(|n| format!("{}/{n}", self.healthy.url)).collect();
        addresses.extend_from_slice(others);
        scene::subscribe(&store, 1, 1, &addresses).await?;
        let all = (0..events).map(|_| scene::push(ProjectId(1))).collect::<Result<Vec<_>>>()?;
        let hooks = Webhooks::builder(store, scene::loopback()?).settings(Settings::harbor()).build()?;
        self.healthy.open(WINDOW);
        let end = self.healthy.seen() + HEALTHY * events;
        let running = tokio::spawn({
            let hooks = hooks.clone();
            async move { hooks.run(std::future::pending::<()>()).await }
        });
        let meter = Meter::start()?;
        for event in &all {
            self.healthy.room(HEALTHY).await?;
            hooks.notify(event).await?;
        }
        tokio::time::timeout(Duration::from_secs(120), self.healthy.wait_for(end)).await?;
        let cost = meter.stop(HEALTHY * events)?;
        // What the bad ones have not answered is left.
        running.abort();
        Ok(cost)
    }
}

/// The CPU of the breaker and of a limit to the rate in a whole delivery, by leaving them out; and that of all decisions,
/// those of the destination policy too, which cannot be left out.
fn protection() -> Result<()> {
    let sink = Sink::start()?;
    let with = Shape {
        tune: |settings| {
            settings.breaker = Breaker::standard();
            settings.lane = settings.lane.rate(Rate::per_second(1_000_000));
        },
        ..Shape::default()
    };
    let without = Shape { tune: |settings| settings.breaker = Breaker::off(), ..Shape::default() };
    let (mut sides, mut each) = (Sides::default(), Vec::new());
    for _ in 0..MORE_ROUNDS {
        let ours = runtime()?.block_on(pipeline(scene::memory(), &sink, with))?.cpu_each();
        let theirs = runtime()?.block_on(pipeline(scene::memory(), &sink, without))?.cpu_each();
        sides.push(ours, theirs);
        each.push(theirs);
    }
    sides.print("breaker and rate / neither, memory: CPU", "us each", Goal::AtMost(1.05));
    let (decisions, each) = (decisions()?, median(&mut each));
    let detail = format!("{decisions:.3} of {each:.1} us");
    let name = "destination, breaker and rate, % of a delivery's CPU";
    print_goal(name, 100.0 * decisions / each, &detail, Goal::AtMost(5.0));
    Ok(())
}

/// Microseconds of CPU for what is decided about one delivery. The resolved address is judged for each connection only, and here each time.
fn decisions() -> Result<f64> {
    let destination = DestinationPolicy::public_addresses().deny_listener("10.0.0.1:5432".parse()?);
    let destination = destination.allow_host("*.ci.example.com")?.deny_network("203.0.113.0/24")?;
    let address: Address = "https://hooks.example.com/services/T0/B0/x".parse()?;
    let addr: IpAddr = "2606:4700::6812:1b78".parse()?;
    let (breaker, rate) = (Breaker::standard(), Rate::per_second(1_000_000));
    let meter = Meter::start()?;
    for n in 0..DECISIONS {
        let n = u32::try_from(n)?;
        black_box(destination.check_address(black_box(&address)))?;
        black_box(destination.check_resolved(&address, black_box(addr)))?;
        let before = Before::new(Health::new(n % 5, n % 5, 0, None), Duration::from_secs(1), false, 4);
        let verdict = if n.is_multiple_of(2) { Verdict::Failing } else { Verdict::Healthy };
        black_box(breaker.after(black_box(&before), verdict, n.into()));
        let (next, now) = (Duration::from_micros(n.into()), Duration::from_micros(u64::from(n) + 1));
        if black_box(rate.tokens(next, now)) > 0 {
            black_box(rate.take(next, now, 1));
        }
    }
    Ok(meter.stop(DECISIONS)?.cpu_each())
}
