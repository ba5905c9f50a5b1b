//! What the benches of sending share.
#![allow(dead_code)] // each of them uses a part

pub(crate) mod bad;
pub(crate) mod measure;
pub(crate) mod pipeline;
pub(crate) mod scene;
pub(crate) mod sink;

/// A bench ends with the first error.
pub(crate) type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
