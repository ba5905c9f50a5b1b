//! What cannot be seen from outside: that nothing is left behind.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::moment::Moment;
use super::outbox::Weighed;
use super::state::{Bounds, State};
use crate::event::{Artifact, Registry};
use crate::id::{PolicyId, ProjectId, TargetId};
use crate::policy::{PolicyTarget, Target};
use crate::store::{Body, Change, FanOut, Filter, Hold, LaneLimits, NewDelivery, Next, Page, Retention, Settlement};

const MINUTE: Duration = Duration::from_secs(60);
const DIGEST: &str = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";

fn state() -> State {
    State::new(Bounds { deliveries: 1000, bytes: 1 << 20 })
}

fn at(state: &mut State, minute: u32) {
    state.advance(Moment::new(MINUTE * minute), DateTime::<Utc>::default());
}

fn deliver(state: &mut State, target: i64) {
    let event = Registry::new("hub.example.com").unwrap();
    let event = event.push(ProjectId(2), "library/alpine", Artifact::tagged("3.20", DIGEST).unwrap());
    state.append(vec![Weighed::new(&event).unwrap()]).unwrap();
    let claimed = state.claim_events(1, MINUTE).remove(0);
    let id = Uuid::now_v7();
    let mut part = FanOut::default();
    part.bodies.push(Body::new(id, "Default", "application/json", Bytes::from(vec![0; 100])));
    let target = PolicyTarget { id: TargetId(target), target: Target::http("http://x/").unwrap() };
    part.deliveries.push(NewDelivery::new(PolicyId(target.id.0 / 10), &target, Ok(id), LaneLimits::new(100, 4)));
    part.last = true;
    state.fan_out(&claimed.lease, part).unwrap();
}

fn close(state: &mut State, next: Next, time: Duration) {
    let claimed = state.claim(&[], 1, MINUTE).remove(0);
    state.settle(Settlement::new(claimed.lease, next).close_lane(time, Hold::RetryAfter));
}

fn forget_all(state: &mut State) {
    while state.change(&Filter::all(), Change::Forget, Page::first(10)).next.is_some() {}
}

fn nothing_is_left(state: &State) {
    assert_eq!((state.waiting, state.parked, state.ended.dead()), (0, 0, 0));
    assert_eq!((state.weights.waiting, state.weights.history), (0, 0));
    assert_eq!((state.outbox.bytes(), state.outbox.claimed_bytes()), (0, 0));
    assert!(state.leases.is_empty());
    assert_eq!(state.rows.within(0..i64::MAX).count(), 0);
    assert_eq!(state.lanes.all().count(), 0);
    assert_eq!(state.lanes.selected(&Filter::policy(PolicyId(0))), []);
}

#[test]
fn a_lane_goes_with_its_last_delivery() {
    let mut state = state();
    for target in 0..30 {
        deliver(&mut state, target);
    }
    let claimed = state.claim(&[], 10, MINUTE);
    state.settle(Settlement::new(claimed[0].lease, Next::Delivered));
    state.settle(Settlement::new(claimed[1].lease, Next::Retry(MINUTE)));
    state.change(&Filter::id(claimed[2].id), Change::Park, Page::first(1));
    assert_eq!(state.lanes.all().count(), 30);
    forget_all(&mut state);
    nothing_is_left(&state);
}

#[test]
fn a_gate_outlives_the_last_delivery_and_nothing_outlives_the_gate() {
    let mut state = state();
    deliver(&mut state, 1);
    close(&mut state, Next::Delivered, MINUTE * 10);
    let keep = Retention { finished_per_policy: 0, ..Retention::default() };
    state.sweep(&keep, 1000);
    at(&mut state, 9);
    deliver(&mut state, 1);
    assert!(state.claim(&[], 1, MINUTE).is_empty(), "the receiver asked for ten minutes");
    forget_all(&mut state);
    assert_eq!(state.lanes.all().count(), 1);
    at(&mut state, 10);
    nothing_is_left(&state);
}

#[test]
fn weights_follow_what_happens() {
    let mut state = state();
    deliver(&mut state, 1);
    let fresh = state.weights.waiting;
    assert_eq!(fresh, 256 + 100);
    close(&mut state, Next::Delivered, Duration::ZERO);
    assert_eq!(state.weights.waiting, 0);
    assert!(state.weights.history > fresh);
    state.change(&Filter::all(), Change::Redeliver, Page::first(1));
    assert_eq!(state.weights.history, 0);
    let waiting = state.weights.waiting;
    state.change(&Filter::all(), Change::Park, Page::first(1));
    assert_eq!((state.weights.waiting, state.parked), (waiting, 1));
    state.cancel_policy(PolicyId(0));
    assert_eq!((state.weights.waiting, state.weights.history, state.parked), (0, waiting, 0));
    forget_all(&mut state);
    nothing_is_left(&state);
}

#[test]
fn a_lease_that_runs_out_is_in_no_list_any_more() {
    let mut state = state();
    deliver(&mut state, 1);
    for minute in 1..=5 {
        assert_eq!(state.claim(&[], 1, MINUTE).len(), 1, "in minute {minute}");
        at(&mut state, minute);
        assert!(state.leases.is_empty());
    }
    assert_eq!(state.ended.dead(), 1);
    forget_all(&mut state);
    nothing_is_left(&state);
}
