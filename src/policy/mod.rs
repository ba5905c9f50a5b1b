//! A project's webhook configuration.

pub use crate::secret::Secret;
