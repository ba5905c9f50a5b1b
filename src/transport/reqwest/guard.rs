use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use crate::transport::{Blocked, DestinationPolicy};

/// Names that are looked up at once. A lookup cannot be ended: it keeps a thread for as long as the system's resolver waits for name
/// servers, ten seconds or more, however soon its attempt has ended. The runtime has 512 threads, which the host and the
/// stores need too.
const LOOKUPS: usize = 256;

/// The right to look names up.
#[derive(Clone, Debug)]
pub(super) struct Lookups(Arc<Semaphore>);

impl Default for Lookups {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOKUPS)))
    }
}

impl Lookups {
    async fn look_up(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let permit = Arc::clone(&self.0).acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        let lookup = move || {
            let found = (&*name, 0).to_socket_addrs().map(Iterator::collect);
            drop(permit);
            found
        };
        tokio::task::spawn_blocking(lookup).await.map_err(io::Error::other)?
    }
}

/// Resolves names, and refuses an answer that holds a forbidden address.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) destination: DestinationPolicy,
    /// That of all requests of the client, if it matters.
    pub(super) port: Option<u16>,
    pub(super) lookups: Lookups,
}

impl Guard {
    /// The addresses of a name, if a connection may go to every one of them.
    pub(super) async fn look_up(&self, name: &str) -> Result<Vec<SocketAddr>, Refused> {
        let addrs = self.lookups.look_up(name).await.map_err(Unresolved)?;
        for addr in &addrs {
            self.destination.judge(Some(name), self.port, addr.ip())?;
        }
        Ok(addrs)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let addrs = match guard.look_up(name.as_str()).await {
                Ok(addrs) => addrs,
                Err(Refused::Blocked(blocked)) => return Err(blocked.into()),
                Err(Refused::Unresolved(unresolved)) => return Err(unresolved.into()),
            };
            Ok(Box::new(addrs.into_iter()) as Addrs)
        })
    }
}

/// Why there is nowhere to connect to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error(transparent)]
    Blocked(#[from] Blocked),
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
}

/// The name could not be resolved.
#[derive(Debug, thiserror::Error)]
#[error("the name cannot be resolved: {0}")]
pub(super) struct Unresolved(#[source] io::Error);
