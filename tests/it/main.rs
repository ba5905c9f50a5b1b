//! The integration tests: one binary, one module per topic.
#![allow(clippy::expect_used, clippy::unwrap_used)] // a test may fail

#[cfg(all(feature = "reqwest", feature = "sqlite"))]
mod bridge;
#[cfg(all(feature = "reqwest", feature = "sqlite"))]
mod distribution;
#[cfg(all(feature = "reqwest", feature = "sqlite"))]
mod running_bridge;
