//! The embedded store.
/// placeholder
#[derive(Debug)]
pub struct SqliteStore {}
