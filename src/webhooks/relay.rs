use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::Webhooks;
use crate::error::{ErrorKind, Result};
use crate::event::Event;
use crate::notified::Notified;
use crate::together::side_by_side;

/// Events taken from a source at once.
const ROUND: usize = 100;
/// The pause after a round that gave nothing.
const IDLE: Duration = Duration::from_millis(500);
/// The longest pause after a fault.
const LONGEST_TROUBLE: Duration = Duration::from_secs(30);

/// Where a host keeps events that it has not handed over yet: a table of its own, a queue, a log.
#[async_trait]
pub trait EventSource: fmt::Debug + Send + Sync + 'static {
    /// Up to `max` events that are not acknowledged, oldest first. It may wait for some to come.
    ///
    /// An event must have the same [id](Event::id) whenever it is given: then giving it again is harmless.
    async fn pull(&self, max: usize) -> Result<Vec<Event>>;

    /// These need not be given again: each was taken, or never can be. Until this has returned, they may be given again.
    async fn acknowledge(&self, relayed: &[Relayed]) -> Result<()>;
}

/// What became of an event from an [`EventSource`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Relayed {
    /// The event's id.
    pub id: Uuid,
    /// What [`Webhooks::notify`] answered. An error is final: the event breaks a rule.
    pub outcome: Result<Notified>,
}

impl Webhooks {
    /// Takes events from a source until `shutdown` completes: pulls, takes each as [`Webhooks::notify`] does, acknowledges.
    ///
    /// No event is lost, and none is sent twice because it was pulled twice: its id tells (for a day after it was sent on).
    /// When the store is full or away, or the source fails, it tries again, ever more slowly, up to every 30 seconds.
    ///
    /// # Errors
    ///
    /// A fault that needs an operator, of the store or of the source: of the kind [`Store`](crate::ErrorKind::Store), for example.
    ///
    /// # Cancellation
    ///
    /// Dropping the future stops at once. What was pulled and not acknowledged is to be pulled again.
    pub async fn relay(&self, source: &dyn EventSource, shutdown: impl Future) -> Result<()> {
        let mut shutdown = pin!(shutdown);
        let mut troubles = 0;
        loop {
            let pause = tokio::select! {
                _ = &mut shutdown => return Ok(()),
                round = self.relay_round(source) => match round {
                    Ok(count) => {
                        troubles = 0;
                        if count == 0 { IDLE } else { Duration::ZERO }
                    }
                    Err(error) if error.is_retryable() => {
                        let pause = Duration::from_millis(100 << troubles.min(9)).min(LONGEST_TROUBLE);
                        troubles += 1;
                        tracing::warn!(%error, ?pause, "events cannot be relayed; trying again");
                        pause
                    }
                    Err(error) => return Err(error),
                },
            };
            tokio::select! {
                _ = &mut shutdown => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn relay_round(&self, source: &dyn EventSource) -> Result<usize> {
        let events = source.pull(ROUND).await?;
        // Side by side, so that a store that commits in groups can.
        let outcomes = side_by_side(events.iter().map(|event| Box::pin(self.notify(event))).collect()).await;
        let mut relayed = Vec::with_capacity(events.len());
        let mut fault = None;
        for (event, outcome) in events.iter().zip(outcomes) {
            match outcome {
                Err(error) if error.kind() != ErrorKind::Invalid => fault = Some(error),
                outcome => relayed.push(Relayed { id: event.id, outcome }),
            }
        }
        if !relayed.is_empty() {
            source.acknowledge(&relayed).await?;
        }
        fault.map_or(Ok(events.len()), Err)
    }
}
