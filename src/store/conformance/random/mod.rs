//! Random operations on a store and on a plain list, which must agree after each of them.
//!
//! Times are either "at once" or "in an hour", and a lease that is to be lost is waited for. So the list needs no clock, and
//! the same seed gives the same operations and the same answers on every store.

mod model;
mod ops;
mod run;

use super::{Broken, Factory};
use ops::{Op, operations};

/// Seeds that are tried each time.
const SEEDS: u64 = 12;
/// Runs that shortening a failure may take.
const SHORTENING: usize = 150;

/// Compares the store with a plain list, over some hundred random operations from seeds that are always the same.
///
/// # Errors
///
/// What the store does against the contract, with the shortest list of operations that was found to show it, and the seed.
pub async fn random_operations<F: Factory>(factory: &F) -> Result<(), Broken> {
    for seed in 0..SEEDS {
        replay(factory, seed).await?;
    }
    Ok(())
}

/// The same for one seed: to see a failure again, or to try very many.
///
/// # Errors
///
/// As for [`random_operations`].
pub async fn replay<F: Factory>(factory: &F, seed: u64) -> Result<(), Broken> {
    let ops = operations(seed);
    match run::run(factory, &ops).await {
        Ok(()) => Ok(()),
        Err(broken) => Err(shorten(factory, seed, ops, broken).await),
    }
}

/// Leaves out what the failure does not need: halves first, then ever smaller pieces.
async fn shorten<F: Factory>(factory: &F, seed: u64, mut ops: Vec<Op>, mut broken: Broken) -> Broken {
    let mut runs = 0;
    let mut piece = ops.len().div_ceil(2);
    while piece > 0 {
        let mut from = 0;
        while from < ops.len() && runs < SHORTENING {
            let mut fewer = ops.clone();
            fewer.drain(from..(from + piece).min(ops.len()));
            runs += 1;
            match run::run(factory, &fewer).await {
                Err(still) => (ops, broken) = (fewer, still),
                Ok(()) => from += piece,
            }
        }
        piece /= 2;
    }
    broken.found = format!("{} (seed {seed}), after the operations {ops:#?}", broken.found);
    broken
}
