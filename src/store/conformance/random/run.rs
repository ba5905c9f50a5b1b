//! Does each step on both, and compares.

use std::collections::HashSet;
use std::time::Duration;

use uuid::Uuid;

use super::model::{Due, IN_FLIGHT, MAX_WAITING, Model, is, policy_of};
use super::ops::{End, Op, POLICIES, TARGETS, Which};
use crate::id::DeliveryId;
use crate::policy::{Policy, PolicyTarget};
use crate::store::conformance::checks::opens;
use crate::store::conformance::sentences::*;
use crate::store::conformance::setup::*;
use crate::store::conformance::{Broken, Factory};
use crate::store::{
    Change, Claimed, DeliveryStore, FanOut, Fenced, Filter, Hold, LaneLimits, Lease, NewDelivery, Page, PolicyStore,
    Retention, Settlement, StateKind,
};

/// So long after each step that what becomes due in the next one is younger on any store's clock.
const STEP: Duration = Duration::from_millis(2);

/// Counted in turn.
const KINDS: [StateKind; 6] =
    [StateKind::Due, StateKind::Leased, StateKind::Parked, StateKind::Delivered, StateKind::Dead, StateKind::Cancelled];

pub(super) async fn run<F: Factory>(factory: &F, ops: &[Op]) -> Result<(), Broken> {
    let mut pair = Pair::new(factory.fresh().await).await?;
    for op in ops {
        pair.model.step += 1;
        pair.apply(op).await?;
        pair.agree().await?;
        pause(STEP).await;
    }
    pair.drain().await
}

struct Pair<S> {
    store: S,
    model: Model,
    policies: Vec<Policy>,
    /// All that were ever given, stale ones too.
    leases: Vec<Lease>,
    tokens: HashSet<(i64, i64)>,
}

impl<S: PolicyStore + DeliveryStore> Pair<S> {
    async fn new(store: S) -> Result<Self, Broken> {
        let mut policies = Vec::new();
        for n in 0..POLICIES {
            let addresses = ["http://x.example.com/", "http://y.example.com/"];
            policies.push(store.create(PROJECT, draft(&n.to_string(), &addresses)?).await?);
        }
        Ok(Self { store, model: Model::default(), policies, leases: Vec::new(), tokens: HashSet::new() })
    }

    fn target(&self, target: usize) -> (&Policy, &PolicyTarget) {
        let policy = &self.policies[policy_of(target)];
        (policy, &policy.targets[target / POLICIES])
    }

    async fn apply(&mut self, op: &Op) -> Result<(), Broken> {
        match *op {
            Op::Append => self.append().await,
            Op::FanOut { to, fails } => {
                if self.model.outbox.is_empty() {
                    self.append().await?;
                }
                self.fan_out(to, fails).await
            }
            Op::Claim { max } => self.claim(max, LONG).await.map(drop),
            Op::Lose { max } => {
                let lost = self.claim(max, MOMENT).await?;
                pause(LATER).await;
                lost.iter().for_each(|id| self.model.lose(*id));
                self.claim(ALL, LONG).await.map(drop)
            }
            Op::Settle { which, end, attempt, close } => self.settle(which, end, attempt, close).await,
            Op::Change { to, which, limit } => self.change(to, which, limit).await,
            // Nothing here is old, or many.
            Op::Sweep => Ok(self.store.sweep(&Retention::default(), ALL).await.map(drop)?),
        }
    }

    async fn append(&mut self) -> Result<(), Broken> {
        let event = push()?;
        self.store.append(std::slice::from_ref(&event)).await?;
        self.model.outbox.push(event.id);
        Ok(())
    }

    async fn fan_out(&mut self, to: u64, fails: bool) -> Result<(), Broken> {
        let claimed = self.store.claim_events(1, LONG).await?;
        let event = self.model.outbox.remove(0);
        let found: Vec<_> = claimed.iter().map(|c| c.event.as_ref().map(|event| event.id)).collect();
        promise!(EVENTS_CLAIMED, found == [Ok(event)], "{found:?} was claimed, where {event} is the oldest");
        let body = Uuid::now_v7();
        let of = |n: usize| if fails && n == 0 { None } else { Some(body) };
        let mut part = FanOut::default();
        part.bodies.push(body_of(body));
        part.last = true;
        for (n, target) in Model::targets(to).enumerate() {
            let (policy, target) = self.target(target);
            let limits = LaneLimits::new(MAX_WAITING as u32, IN_FLIGHT as u32);
            part.deliveries.push(NewDelivery::new(policy.id, target, of(n).ok_or("cannot".to_owned()), limits));
        }
        for right in [Fenced::Done, Fenced::Stale] {
            let fenced = self.store.fan_out(&claimed[0].lease, part.clone()).await?;
            promise_eq!(STALE, fenced, right, "fanning out, the first or the second time");
        }
        let made = self.store.list(&Filter::event(event), Page::first(ALL)).await?;
        promise_eq!(UNIQUE, made.len(), part.deliveries.len(), "deliveries made of an event");
        for (n, target) in Model::targets(to).enumerate() {
            let id = self.target(target).1.id;
            let made = made.iter().find(|delivery| delivery.target_id == id);
            let made = made.ok_or_else(|| Broken::new(UNIQUE, "a target has no delivery"))?;
            self.model.add(made.id.0, event, target, of(n));
        }
        Ok(())
    }

    async fn claim(&mut self, max: usize, lease: Duration) -> Result<Vec<i64>, Broken> {
        let claimed = self.store.claim(max, lease).await?;
        let mut expected = 0;
        for target in 0..TARGETS {
            expected += self.claimed_from(target, &claimed)?;
        }
        // Fewer than could be given are allowed; none are not, nor are too few when more than all was asked for.
        let least = if max == ALL { expected } else { expected.min(1) };
        let right = (least..=expected.min(max)).contains(&claimed.len());
        promise!(LANES, right, "{} were claimed of {expected}, when {max} were asked for", claimed.len());
        for claim in &claimed {
            let lease = claim.lease;
            promise!(TOKENS, self.tokens.insert((lease.key, lease.token)), "{lease:?} was given twice");
            let Some(row) = self.model.row(claim.id.0) else { continue };
            let found = (claim.event_id, Some(claim.body.id), claim.attempts);
            promise_eq!(CLAIMED, found, (row.event, row.body, row.attempts - row.spent), "event, body and attempts");
            (row.state, row.lease) = (crate::delivery::State::Leased, Some(lease));
            self.leases.push(lease);
        }
        Ok(claimed.iter().map(|claimed| claimed.id.0).collect())
    }

    /// Whether what was claimed from a lane are its oldest. Gives how many could be claimed.
    fn claimed_from(&self, target: usize, claimed: &[Claimed]) -> Result<usize, Broken> {
        let (due, room) = self.model.claimable(target);
        let id = self.target(target).1.id;
        let of: Vec<_> = claimed.iter().filter(|claimed| claimed.target_id == id).map(|c| c.id.0).collect();
        promise!(LANES, of.len() <= room, "{of:?} were claimed from a lane that could give {room}");
        let (taken, left): (Vec<_>, Vec<_>) = due.into_iter().partition(|row| of.contains(&row.id));
        promise!(LANES, taken.len() == of.len(), "{of:?} were claimed, of which only {} were due", taken.len());
        for taken in &taken {
            let older = left.iter().find(|row| matches!((row.due, taken.due), (Due::At(a), Due::At(b)) if a < b));
            promise!(LANES, older.is_none(), "{} was claimed before {:?}", taken.id, older.map(|row| row.id));
        }
        Ok(room)
    }

    async fn settle(&mut self, which: usize, end: End, attempt: bool, close: Option<Hold>) -> Result<(), Broken> {
        // Mostly one of the newest.
        let recent = self.leases.len().min(8);
        let Some(lease) = self.leases.iter().rev().nth(which % recent.max(1)).copied() else { return Ok(()) };
        let mut settlement = Settlement::new(lease, end.next());
        if attempt {
            settlement = settlement.attempt(refusal("no"));
        }
        if let Some(why) = close {
            settlement = settlement.close_lane(LONG, why);
        }
        let fenced = self.store.settle(vec![settlement]).await?;
        let good = self.model.settle(lease, end, attempt, close);
        let right = if good { Fenced::Done } else { Fenced::Stale };
        promise_eq!(if good { SETTLED } else { STALE }, fenced, [right], "the answer to a settlement");
        Ok(())
    }

    async fn change(&mut self, to: Change, which: Which, limit: usize) -> Result<(), Broken> {
        let all = self.model.select(|_| true);
        let one = |n: usize| all.get(n % all.len().max(1)).copied().unwrap_or(i64::MAX);
        let (filter, selected) = match which {
            Which::All => (Filter::all(), all.clone()),
            Which::One(n) => (Filter::id(DeliveryId(one(n))), self.model.select(|row| row.id == one(n))),
            Which::Policy(n) => (Filter::policy(self.policies[n].id), self.model.select(|r| policy_of(r.target) == n)),
            Which::State(state) => (Filter::all().state(state), self.model.select(|row| is(row, state))),
            Which::Target(n) => {
                let mut filter = Filter::all();
                filter.target_id = Some(self.target(n).1.id);
                (filter, self.model.select(|row| row.target == n))
            }
        };
        let changed = self.store.change(&filter, to, Page::first(limit)).await?;
        if opens(to).is_some() {
            let lane = |target: usize, why| {
                opens(to).is_some_and(|opens| opens(why))
                    && match which {
                        Which::Policy(n) => policy_of(target) == n,
                        Which::Target(n) => target == n,
                        Which::All | Which::One(_) | Which::State(_) => true,
                    }
            };
            let count = self.model.open(lane);
            promise_eq!(OPENED, changed.count, count, "lanes that were opened");
            return Ok(());
        }
        let page = &selected[..selected.len().min(limit)];
        let count = self.model.change(page, to);
        promise_eq!(sentence(to), changed.count, count, "deliveries that were changed");
        let on = changed.next.is_none() && selected.len() <= limit
            || changed.next == page.last().copied() && page.len() == limit;
        promise!(
            CHANGED,
            on,
            "{} were selected, {limit} at most, and it goes on at {:?}",
            selected.len(),
            changed.next
        );
        Ok(())
    }

    async fn agree(&mut self) -> Result<(), Broken> {
        let listed = self.store.list(&Filter::all(), Page::first(ALL)).await?;
        let found: Vec<_> = listed.iter().map(|d| (d.id.0, d.target_id, d.state, d.attempts)).collect();
        self.model.rows.sort_by_key(|row| -row.id);
        let rows = self.model.rows.iter();
        let right: Vec<_> = rows.map(|row| (row.id, self.target(row.target).1.id, row.state, row.attempts)).collect();
        promise!(LISTED, found == right, "deliveries, their targets, states and attempts are {found:?}, not {right:?}");
        for (n, policy) in self.policies.iter().enumerate() {
            let state = KINDS[self.model.step as usize % KINDS.len()];
            for which in [Filter::policy(policy.id), Filter::policy(policy.id).state(state)] {
                let counted = self.store.count(&which).await?;
                let right = listed.iter().filter(|delivery| which.selects(delivery)).count() as u64;
                promise!(COUNTED, counted == right, "{counted} of policy {n} are counted, not {right}: {which:?}");
            }
        }
        let wrong = listed.iter().find(|d| d.due_in.is_some() != (d.state == crate::delivery::State::Due));
        promise!(LISTED, wrong.is_none(), "the time until the next attempt is {wrong:?}");
        Ok(())
    }

    /// Whatever happened, what waits can still be sent, and nothing else.
    async fn drain(mut self) -> Result<(), Broken> {
        self.model.step += 1;
        for hold in Hold::ALL {
            self.change(crate::store::conformance::checks::open_lanes(hold), Which::All, ALL).await?;
        }
        loop {
            for lease in std::mem::take(&mut self.leases) {
                self.leases = vec![lease];
                self.settle(0, End::Delivered, true, None).await?;
            }
            self.leases.clear();
            if self.claim(ALL, LONG).await?.is_empty() {
                break;
            }
        }
        self.agree().await?;
        for row in &self.model.rows {
            let detail = self.store.detail(DeliveryId(row.id)).await?;
            let found = detail.map(|detail| (detail.body, detail.attempts.len()));
            promise_eq!(DETAIL, found, Some((row.body.map(body_of), row.attempts as usize)), "a body, and attempts");
        }
        Ok(())
    }
}

fn sentence(of: Change) -> &'static str {
    match of {
        Change::Redeliver => REDELIVER,
        Change::Cancel(_) => CANCEL,
        Change::Park => PARK,
        Change::Unpark => UNPARK,
        Change::Forget => FORGET,
        _ => CHANGED,
    }
}
