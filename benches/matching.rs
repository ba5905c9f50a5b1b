//! Who wants an event: `cargo bench --bench matching`.
//!
//! Finding the subscribers must not depend on how many policies other projects have, and an event that nobody wants must cost
//! next to nothing and write nothing.

mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use harbor_webhook::policy::{Policy, PolicyIndex};
use harbor_webhook::store::MemoryStore;
use harbor_webhook::{EventType, Notified, ProjectId, Webhooks};
use support::Result;
use support::measure::{Goal, Sides, print_goal, print_load};
use support::scene::{self, Store};

const ROUNDS: usize = 9;
const LOOKUPS: usize = 200_000;
const NOTIFIED: usize = 20_000;
const MANY: i64 = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    print_load("begin");
    let policies = scene::subscribe(&MemoryStore::new(), 1, MANY, &["http://127.0.0.1:9/".to_owned()]).await?;
    lookups(&policies);
    nobody("memory", scene::memory()).await?;
    let (store, _folder) = scene::sqlite().await?;
    nobody("SQLite", store).await?;
    print_load("end");
    Ok(())
}

fn lookups(policies: &[Policy]) {
    let index = |count: usize| policies.iter().take(count).cloned().map(Arc::new).collect::<PolicyIndex>();
    let (few, many) = (index(10), index(policies.len()));
    let mut sides = Sides::default();
    for _ in 0..ROUNDS {
        sides.push(each_lookup(&many), each_lookup(&few));
    }
    sides.print("matching with 10,000 policies / with 10", "ns each", Goal::AtMost(2.0));
}

/// Nanoseconds. The same ten projects are asked for, so that what is measured is the index and not the memory behind it.
fn each_lookup(index: &PolicyIndex) -> f64 {
    let begun = Instant::now();
    for n in 0..LOOKUPS {
        let project = ProjectId(1 + (n % 10) as i64);
        assert_eq!(black_box(index.subscribers(black_box(project), EventType::PushArtifact)).len(), 1);
    }
    begun.elapsed().as_nanos() as f64 / LOOKUPS as f64
}

/// An event of a project without policies, in a registry that has many others.
async fn nobody<S: Store>(name: &str, store: S) -> Result<()> {
    scene::subscribe(&store, 1, MANY, &["http://127.0.0.1:9/".to_owned()]).await?;
    let hooks = Webhooks::builder(store.clone(), scene::loopback()?).build()?;
    let event = scene::push(ProjectId(MANY + 1))?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        hooks.notify(&event).await?;
        let begun = Instant::now();
        for _ in 0..NOTIFIED {
            assert_eq!(hooks.notify(black_box(&event)).await?, Notified::NoSubscriber);
        }
        times.push(begun.elapsed().as_secs_f64() * 1e6 / NOTIFIED as f64);
    }
    assert_eq!(store.status().await?.outbox, 0, "something was written");
    times.sort_unstable_by(f64::total_cmp);
    let detail = format!("{:.3} to {:.3}; us", times[0], times[ROUNDS - 1]);
    print_goal(
        &format!("notify that nobody wants, 10,000 policies, {name}"),
        times[ROUNDS / 2],
        &detail,
        Goal::AtMost(1.0),
    );
    Ok(())
}
