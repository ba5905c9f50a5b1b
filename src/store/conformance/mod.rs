//! Holds a store to the contract: the checks that the bundled stores pass, for a host's own. (Feature `testing`.)
//!
//! A host says in a [`Factory`] how a new store is made, and mounts the checks among its tests; each shows as one of its own:
//!
//! ```
//! use harbor_webhook::store::MemoryStore;
//! use harbor_webhook::store::conformance::Factory;
//!
//! struct Memory;
//!
//! impl Factory for Memory {
//!     type Store = MemoryStore;
//!
//!     async fn fresh(&self) -> MemoryStore {
//!         MemoryStore::new()
//!     }
//! }
//!
//! harbor_webhook::store_conformance!(memory, Memory);
//! # fn main() {}
//! ```
//!
//! Without the macro, [`check`] runs them all and [`checks`] lists them. A failure is [`Broken`]: the sentence of the contract
//! that the store breaks, and what it did instead.
//!
//! [`random_operations`] is the check that finds what nobody thought of: it compares the store with a plain list. What it
//! finds comes shortened, with the seed; [`replay`] runs that seed again.
//!
//! The checks wait on the real clock, for some tenths of a second at most. None of them needs a clock that can be set.

mod checks;
mod random;
mod sentences;
mod setup;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

pub use checks::{
    a_closed_lane_waits_and_opens, a_deleted_policy_leaves_no_closed_lane, a_disabled_target_waits_for_somebody,
    a_lane_keeps_its_limits, a_lane_keeps_its_rate, a_lane_that_was_closed_begins_slowly, a_lost_event_is_given_again,
    a_lost_lease_settles_nothing, a_sweep_never_takes_what_waits, a_switch_holds_everything, an_event_is_appended_once,
    an_operator_can_cancel, an_operator_can_forget, an_operator_can_park, an_operator_can_redeliver,
    counts_agree_with_listings, each_delivery_is_made_once, each_result_leaves_its_state, events_come_oldest_first,
    failures_close_a_lane, five_lost_leases_are_poison, forgeries_and_replays_settle_nothing,
    hours_outlive_the_history, lanes_show_how_they_stand, listings_go_on_under_writes, listings_skip_and_turn_round,
    no_lane_waits_for_more_than_a_round, policies_keep_their_names_and_targets, reopening_keeps_everything,
    sending_follows_the_policies, sixteen_claimers_lose_nothing, the_newest_of_each_policy_is_found,
    the_oldest_due_comes_first, the_status_counts, waiting_ends_when_there_is_work, what_cannot_be_sent_is_kept_dead,
    what_comes_parked_stays_parked, what_each_project_uses_is_counted,
};
pub use random::{random_operations, replay};

use super::{DeliveryStore, PolicyStore};
use crate::error::Error;

/// How a store under test is made.
pub trait Factory: Send + Sync {
    /// The store.
    type Store: PolicyStore + DeliveryStore;

    /// A new, empty store, ready for use.
    fn fresh(&self) -> impl Future<Output = Self::Store> + Send;

    /// Closes the store that [`fresh`](Self::fresh) gave last, and opens it again as a process would that was restarted.
    /// `None`, as by default, if nothing is promised about that.
    fn reopen(&self, store: Self::Store) -> impl Future<Output = Option<Self::Store>> + Send {
        drop(store);
        async { None }
    }
}

/// A store does not do what the contract says.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Broken {
    /// The sentence of the contract, without its links. Empty if the store failed where it has no reason to.
    pub sentence: &'static str,
    /// What the store did.
    pub found: String,
}

impl Broken {
    fn new(sentence: &'static str, found: impl Into<String>) -> Self {
        Self { sentence, found: found.into() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sentence {
            "" => f.write_str(&self.found),
            sentence => write!(f, "the contract says: \"{sentence}\" Here {}", self.found),
        }
    }
}

impl std::error::Error for Broken {}

impl From<Error> for Broken {
    fn from(e: Error) -> Self {
        Self::new("", format!("a call failed that has no reason to ({:?}): {e}", e.kind()))
    }
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Broken>> + Send + 'a>>;

/// One check, to run by itself.
#[derive(Clone, Copy)]
pub struct Check<F> {
    /// The name of the function that it is.
    pub name: &'static str,
    run: for<'a> fn(&'a F) -> Running<'a>,
}

impl<F> Check<F> {
    /// Runs it on a fresh store.
    ///
    /// # Errors
    ///
    /// What the store does against the contract.
    pub async fn run(&self, factory: &F) -> Result<(), Broken> {
        (self.run)(factory).await
    }
}

impl<F> fmt::Debug for Check<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Runs all checks, and gives those that failed with their names.
pub async fn check<F: Factory>(factory: &F) -> Vec<(&'static str, Broken)> {
    let mut failed = Vec::new();
    for check in checks() {
        if let Err(broken) = check.run(factory).await {
            failed.push((check.name, broken));
        }
    }
    failed
}

/// Hands the names of all checks on: the one list.
#[doc(hidden)]
#[macro_export]
macro_rules! __store_checks {
    ($($how:tt)*) => {
        $crate::__each_store_check! { $($how)* =>
            an_event_is_appended_once
            events_come_oldest_first
            a_lost_event_is_given_again
            each_delivery_is_made_once
            what_cannot_be_sent_is_kept_dead
            a_lost_lease_settles_nothing
            forgeries_and_replays_settle_nothing
            five_lost_leases_are_poison
            a_lane_keeps_its_limits
            the_oldest_due_comes_first
            no_lane_waits_for_more_than_a_round
            sixteen_claimers_lose_nothing
            each_result_leaves_its_state
            a_closed_lane_waits_and_opens
            failures_close_a_lane
            a_lane_that_was_closed_begins_slowly
            a_disabled_target_waits_for_somebody
            a_deleted_policy_leaves_no_closed_lane
            a_lane_keeps_its_rate
            an_operator_can_park
            an_operator_can_cancel
            an_operator_can_redeliver
            an_operator_can_forget
            listings_go_on_under_writes
            listings_skip_and_turn_round
            counts_agree_with_listings
            the_status_counts
            what_each_project_uses_is_counted
            what_comes_parked_stays_parked
            lanes_show_how_they_stand
            hours_outlive_the_history
            the_newest_of_each_policy_is_found
            a_sweep_never_takes_what_waits
            policies_keep_their_names_and_targets
            sending_follows_the_policies
            a_switch_holds_everything
            waiting_ends_when_there_is_work
            reopening_keeps_everything
            random_operations
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __each_store_check {
    (list => $($name:ident)*) => {
        /// All checks.
        pub fn checks<F: Factory>() -> Vec<Check<F>> {
            vec![$(Check { name: stringify!($name), run: |factory| Box::pin($name(factory)) }),*]
        }
    };
    (tests $factory:tt => $($name:ident)*) => {
        $(#[::tokio::test(flavor = "multi_thread")]
        async fn $name() {
            if let Err(broken) = $crate::store::conformance::$name(&$factory).await {
                panic!("{broken}");
            }
        })*
    };
}

__store_checks!(list);

/// Mounts every check of [`store::conformance`](crate::store::conformance) as a test of its own, in a module of this name.
///
/// The factory is an expression that is evaluated for each of them. The tests run on tokio, which the host's tests must have
/// with its features `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! store_conformance {
    ($name:ident, $factory:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $crate::__store_checks!(tests($factory));
        }
    };
}
