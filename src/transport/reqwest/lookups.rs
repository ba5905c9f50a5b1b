use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::id::ProjectId;

/// Names that are looked up at once. A lookup cannot be ended: it keeps a thread for as long as the system's resolver waits for name
/// servers, ten seconds or more, however soon its attempt has ended. The runtime has 512 threads, which the host and the
/// stores need too.
const LOOKUPS: usize = 256;

tokio::task_local! {
    /// Whose request is being sent: the HTTP client tells its resolver the name only.
    pub(super) static PROJECT: Option<ProjectId>;
}

/// The rights to look names up. A project has less than twice as many as are left, so that one whose names nobody answers for
/// leaves some to the others.
#[derive(Clone, Debug, Default)]
pub(super) struct Lookups(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    running: Mutex<HashMap<Option<ProjectId>, usize>>,
    freed: Notify,
}

/// The right to look one name up.
#[derive(Debug)]
struct Permit(Arc<Shared>, Option<ProjectId>);

impl Drop for Permit {
    fn drop(&mut self) {
        let mut running = self.0.running();
        if let Some(count) = running.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.1);
            }
        }
        drop(running);
        self.0.freed.notify_waiters();
    }
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, HashMap<Option<ProjectId>, usize>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, project: Option<ProjectId>) -> Option<Permit> {
        let mut running = self.running();
        let left = LOOKUPS.saturating_sub(running.values().sum());
        let own = running.entry(project).or_default();
        let takes = *own < 2 * left;
        *own += usize::from(takes);
        if *own == 0 {
            running.remove(&project);
        }
        takes.then(|| Permit(Arc::clone(self), project))
    }
}

impl Lookups {
    pub(super) async fn look_up(&self, name: &str, project: Option<ProjectId>) -> io::Result<Vec<SocketAddr>> {
        let (permit, name) = (self.permit(project).await, name.to_owned());
        let lookup = move || {
            let found = (&*name, 0).to_socket_addrs().map(Iterator::collect);
            drop(permit);
            found
        };
        tokio::task::spawn_blocking(lookup).await.map_err(io::Error::other)?
    }

    async fn permit(&self, project: Option<ProjectId>) -> Permit {
        loop {
            let mut freed = pin!(self.0.freed.notified());
            // From here on it is told, also of what is freed before it waits.
            freed.as_mut().enable();
            if let Some(permit) = self.0.take(project) {
                return permit;
            }
            freed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_leave_lookups_to_others() {
        let shared = Arc::new(Shared::default());
        let mut kept = Vec::new();
        let mut takes = |project: i64| {
            let before = kept.len();
            kept.extend(std::iter::from_fn(|| shared.take(Some(ProjectId(project)))));
            kept.len() - before
        };
        // Each has less than the one before, and the fifth still some.
        let shares: Vec<_> = (0..10).map(&mut takes).collect();
        assert!(shares[0] == 171 && shares[1] == 57 && shares.iter().take(5).all(|share| *share > 0), "{shares:?}");
        assert!(shares.iter().sum::<usize>() <= LOOKUPS);
        drop(kept);
        assert!(shared.running().is_empty() && shared.take(None).is_some());
    }
}
