use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

/// How long anybody waits for its turn, and goes ahead then: what holds it up may be a lane that others do not need.
const PATIENCE: Duration = Duration::from_millis(100);

/// Whose turn at the lanes it is within this process.
///
/// Fanning out, claiming and settling take the same lanes, and would otherwise wait for each other in the server, each with a
/// connection and what little it had in hand. Here they wait before they begin, and what comes in the meantime joins them. The
/// lanes' rows are what keeps them apart; this only saves work.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<()>);

impl Turns {
    pub(super) async fn take(&self) -> Option<MutexGuard<'_, ()>> {
        tokio::time::timeout(PATIENCE, self.0.lock()).await.ok()
    }
}
