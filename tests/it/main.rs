//! The integration tests: one binary, one module per topic.

#[cfg(all(feature = "reqwest", feature = "sqlite"))]
mod bridge;
#[cfg(all(feature = "reqwest", feature = "sqlite"))]
mod distribution;
#[cfg(all(feature = "reqwest", feature = "sqlite"))]
mod running_bridge;
