//! The integration tests: one binary, one module for each subject.

mod delivery;
mod format_props;
mod formats;
mod stores;
mod support;
mod transport;
