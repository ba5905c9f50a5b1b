//! Random operations on the memory store, against a model that is too simple to be wrong in the same way.

mod model;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use harbor_webhook::delivery::{Attempt, CancelReason, DeadReason, Outcome, State};
use harbor_webhook::policy::{Policy, PolicyDraft, Target};
use harbor_webhook::store::{
    Body, Change, DeliveryStore, FanOut, Fenced, Filter, Hold, LaneLimits, Lease, MemoryStore, NewDelivery, Next, Page,
    PolicyFilter, PolicyStore, Retention, Settlement, StateKind,
};
use harbor_webhook::{DeliveryId, EventType, PolicyId, TargetId};
use proptest::prelude::*;
use uuid::Uuid;

use model::{BOUND, Ending, IN_FLIGHT, Model, POLICIES, Row, TARGETS, ms, policy_of, targets};

use crate::support::events::{PROJECT, push};

#[derive(Clone, Debug)]
enum Op {
    Append,
    /// To the targets of these bits; the format fails for the lowest one.
    FanOut(u16, bool),
    Claim(usize, u64),
    Settle(prop::sample::Index, Ending, Option<u64>),
    Change(Change, Which, usize),
    DeletePolicy(i64),
    Sweep(u64),
    Advance(u64),
}

#[derive(Clone, Debug)]
enum Which {
    All,
    One(prop::sample::Index),
    Policy(i64),
    Target(i64),
    Due,
}

fn ops() -> impl Strategy<Value = Op> {
    let ending = prop_oneof![
        4 => Just(Ending::Delivered),
        4 => (0u64..20_000).prop_map(Ending::Retry),
        1 => Just(Ending::Release),
        2 => Just(Ending::Dead),
    ];
    let which = prop_oneof![
        1 => Just(Which::All),
        4 => any::<prop::sample::Index>().prop_map(Which::One),
        2 => (1..=POLICIES).prop_map(Which::Policy),
        2 => (1..=TARGETS).prop_map(Which::Target),
        1 => Just(Which::Due),
    ];
    let change = prop_oneof![
        3 => Just(Change::Redeliver),
        1 => Just(Change::Cancel(CancelReason::Operator)),
        2 => Just(Change::Park),
        2 => Just(Change::Unpark),
        1 => Just(Change::OpenLanes(Hold::RetryAfter)),
        1 => Just(Change::Forget),
    ];
    prop_oneof![
        3 => Just(Op::Append),
        6 => (any::<u16>(), prop::bool::weighted(0.1)).prop_map(|(to, fails)| Op::FanOut(to, fails)),
        6 => (1usize..12, 1u64..30_000).prop_map(|(max, lease)| Op::Claim(max, lease)),
        10 => (any::<prop::sample::Index>(), ending, prop::option::weighted(0.1, 0u64..30_000))
            .prop_map(|(which, ending, close)| Op::Settle(which, ending, close)),
        4 => (change, which, 1usize..8).prop_map(|(to, which, limit)| Op::Change(to, which, limit)),
        1 => (1..=POLICIES).prop_map(Op::DeletePolicy),
        1 => (1u64..60_000).prop_map(Op::Sweep),
        4 => (0u64..20_000).prop_map(Op::Advance),
    ]
}

struct Pair {
    store: MemoryStore,
    model: Model,
    /// All that were ever given, stale ones too.
    leases: Vec<Lease>,
    policies: Vec<Policy>,
}

impl Pair {
    async fn new() -> Self {
        let mut keep = Retention::default();
        (keep.finished_per_policy, keep.dead_per_policy) = (4, 3);
        let store = MemoryStore::with_bound(BOUND);
        store.sweep(&keep, 1000).await.unwrap();
        let mut policies = Vec::new();
        for n in 1..=POLICIES {
            let target = || Target::http("http://x.example.com/").unwrap();
            let draft = PolicyDraft::new(n.to_string()).on(EventType::PushArtifact);
            let draft = draft.target(target()).target(target()).target(target());
            policies.push(store.create(PROJECT, draft).await.unwrap());
        }
        let model = Model {
            now: 0,
            rows: Vec::new(),
            gates: HashMap::new(),
            outbox: 0,
            deleted: HashSet::new(),
            last: 0,
            keep,
        };
        Self { store, model, leases: Vec::new(), policies }
    }

    async fn apply(&mut self, op: Op) {
        let Self { store, model, leases, policies } = self;
        match op {
            Op::Append => {
                let fits = model.outbox < BOUND / 10;
                assert_eq!(store.append(&[push()]).await.is_ok(), fits);
                model.outbox += usize::from(fits);
            }
            Op::FanOut(to, fails) => {
                let claimed = store.claim_events(1, ms(1_000)).await.unwrap();
                assert_eq!(claimed.len(), usize::from(model.outbox > 0 && !model.is_full()));
                if let Some(claimed) = claimed.first() {
                    assert_eq!(store.fan_out(&claimed.lease, part(policies, to, fails)).await.unwrap(), Fenced::Done);
                    assert_eq!(store.fan_out(&claimed.lease, part(policies, to, fails)).await.unwrap(), Fenced::Stale);
                    model.fan_out(to, fails);
                }
            }
            Op::Claim(max, lease) => {
                let claimed = store.claim(max, ms(lease)).await.unwrap();
                model.claimed(max, lease, &claimed);
                leases.extend(claimed.iter().map(|claimed| claimed.lease));
            }
            Op::Settle(which, ending, close) if !leases.is_empty() => {
                // Mostly one of the newest.
                let lease = leases[leases.len() - 1 - which.index(leases.len().min(12))];
                let fenced = store.settle(vec![settlement(lease, ending, close)]).await.unwrap();
                assert_eq!(fenced, [model.settle(lease, ending, close)]);
            }
            Op::Settle(..) => {}
            Op::Change(to, which, limit) => {
                let which = filter(&which, model.last);
                let changed = store.change(&which, to, Page::first(limit)).await.unwrap();
                if let Change::OpenLanes(_) = to {
                    let lane = |target: i64| {
                        which.target_id.is_none_or(|id| id.0 == target)
                            && which.policy_id.is_none_or(|id| id.0 == policy_of(target))
                    };
                    model.gates.retain(|target, _| !lane(*target));
                } else {
                    assert_eq!(changed.count as usize, model.change(to, &which, limit));
                }
            }
            Op::DeletePolicy(policy) => {
                store.delete(PolicyFilter::Id(PolicyId(policy))).await.unwrap();
                // What intake matched before may still come; deleting again does nothing.
                if !model.deleted.insert(policy) {
                    return;
                }
                model.change(Change::Cancel(CancelReason::TargetGone), &Filter::policy(PolicyId(policy)), 1000);
            }
            Op::Sweep(max_age) => {
                let mut keep = model.keep.clone();
                keep.max_age = ms(max_age);
                store.sweep(&keep, 1000).await.unwrap();
                model.sweep(max_age);
            }
            Op::Advance(by) => {
                tokio::time::advance(ms(by)).await;
                model.advance(by);
            }
        }
        self.agree().await;
    }

    async fn agree(&mut self) {
        let Self { store, model, .. } = self;
        let listed = store.list(&Filter::all(), Page::first(10_000)).await.unwrap();
        model.rows.sort_by_key(|row| -row.id);
        let due = |row: &Row| (row.state == State::Due).then(|| ms(row.at.saturating_sub(model.now)));
        let expected: Vec<_> = model.rows.iter().map(|r| (r.id, r.target, r.state, r.attempts, due(r))).collect();
        let found: Vec<_> = listed.iter().map(|d| (d.id.0, d.target_id.0, d.state, d.attempts, d.due_in)).collect();
        assert_eq!(found, expected);
        for policy in 1..=POLICIES {
            let which = Filter::policy(PolicyId(policy));
            let of = store.list(&which, Page::first(10_000)).await.unwrap();
            assert!(of.iter().eq(listed.iter().filter(|delivery| which.selects(delivery))));
        }
        let status = store.status().await.unwrap();
        let count = |wanted: fn(State) -> bool| model.rows.iter().filter(|row| wanted(row.state)).count() as u64;
        let oldest = model.rows.iter().filter(|row| matches!(row.state, State::Due | State::Leased));
        assert_eq!(status.oldest_waiting, oldest.map(|row| ms(model.now - row.since)).max());
        assert_eq!(status.waiting, count(|state| matches!(state, State::Due | State::Leased)));
        assert_eq!(status.parked, count(|state| state == State::Parked));
        assert_eq!(status.dead, count(|state| matches!(state, State::Dead(_))));
        assert_eq!(status.outbox, model.outbox as u64);
    }
}

fn part(policies: &[Policy], to: u16, fails: bool) -> FanOut {
    let id = Uuid::now_v7();
    let mut part = FanOut::default();
    part.bodies.push(Body::new(id, "Default", "application/json", Bytes::from_static(b"{}")));
    for (n, target) in targets(to).enumerate() {
        let body = if fails && n == 0 { Err("cannot".to_owned()) } else { Ok(id) };
        let policy = &policies[policy_of(target) as usize - 1];
        let target = policy.targets.iter().find(|known| known.id.0 == target).unwrap();
        part.deliveries.push(NewDelivery::new(policy.id, target, body, LaneLimits::new(100, IN_FLIGHT as u32)));
    }
    part.last = true;
    part
}

fn settlement(lease: Lease, ending: Ending, close: Option<u64>) -> Settlement {
    let next = match ending {
        Ending::Delivered => Next::Delivered,
        Ending::Retry(after) => Next::Retry(ms(after)),
        Ending::Release => Next::Release(Duration::ZERO),
        Ending::Dead => Next::Dead(DeadReason::Exhausted, None),
    };
    let mut settlement = Settlement::new(lease, next);
    if !matches!(ending, Ending::Release) {
        let outcome = Outcome::Answered { status: 500, body: "no".to_owned(), truncated: false };
        settlement = settlement.attempt(Attempt::new(chrono::Utc::now(), ms(1), outcome));
    }
    match close {
        Some(time) => settlement.close_lane(ms(time), Hold::RetryAfter),
        None => settlement,
    }
}

fn filter(which: &Which, last: i64) -> Filter {
    let mut filter = Filter::all();
    match which {
        Which::All => {}
        Which::One(which) => filter.id = Some(DeliveryId(1 + which.index(last.max(1) as usize) as i64)),
        Which::Policy(policy) => filter.policy_id = Some(PolicyId(*policy)),
        Which::Target(target) => filter.target_id = Some(TargetId(*target)),
        Which::Due => filter.state = Some(StateKind::Due),
    }
    filter
}

/// Some in every run; `.ci/long` asks for many.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(128)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn the_memory_store_is_what_the_contract_says(ops in prop::collection::vec(ops(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut pair = Pair::new().await;
            for op in ops {
                pair.apply(op).await;
            }
        });
    }
}
