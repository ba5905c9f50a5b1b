use std::io;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::lookups::{Lookups, PROJECT};
use crate::id::ProjectId;
use crate::transport::{Blocked, DestinationPolicy};

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
    pub(super) async fn look_up(&self, name: &str, project: Option<ProjectId>) -> Result<Vec<SocketAddr>, Refused> {
        let addrs = self.lookups.look_up(name, project).await.map_err(Unresolved)?;
        for addr in &addrs {
            self.destination.judge(Some(name), self.port, addr.ip())?;
        }
        Ok(addrs)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        // Asked for here, within the request: what follows may go on in a task of its own.
        let (guard, project) = (self.clone(), PROJECT.try_with(|project| *project).ok().flatten());
        Box::pin(async move {
            let addrs = match guard.look_up(name.as_str(), project).await {
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
