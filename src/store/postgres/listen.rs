use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Socket};

use super::connect::EachHost;

/// The channel on which nodes tell each other of events. The message is the schema.
pub(super) const CHANNEL: &str = "harbor_webhook";
/// The pause after a connection that broke. Until then polling does the work.
const PAUSE: Duration = Duration::from_secs(1);

type Messages = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<Result<AsyncMessage, tokio_postgres::Error>>> + Send>;
type Connecting = Pin<Box<dyn Future<Output = Result<(Client, Messages), tokio_postgres::Error>> + Send>>;
type Listening = Pin<Box<dyn Future<Output = Result<Ear, tokio_postgres::Error>> + Send>>;

/// A connection of its own on which the server says that there is work. It moves while somebody waits, and nothing runs in the
/// background; without it, work is found by polling.
pub(super) struct Listener {
    connect: Box<dyn Fn() -> Connecting + Send + Sync>,
    state: Mutex<State>,
    /// The server did not answer on other connections: this one may be as dead, and nobody would know.
    doubted: AtomicBool,
}

enum State {
    Deaf,
    /// Those who wait come and go faster than a connection may come about.
    Listening(Listening),
    Hearing(Ear),
}

struct Ear {
    /// Ends the connection when it is dropped.
    _client: Client,
    messages: Messages,
}

impl Listener {
    pub(super) fn new<T>(config: Config, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as tokio_postgres::tls::TlsConnect<Socket>>::Future: Send,
    {
        Self::with(move || -> Connecting {
            let (config, tls) = (config.clone(), tls.clone());
            Box::pin(async move {
                let (client, connection) = config.connect(tls).await?;
                Ok((client, messages(connection)))
            })
        })
    }

    pub(super) fn to(hosts: EachHost) -> Self {
        Self::with(move || -> Connecting {
            let hosts = hosts.clone();
            Box::pin(async move {
                let (client, connection) = hosts.connect().await?;
                Ok((client, messages(connection)))
            })
        })
    }

    fn with(connect: impl Fn() -> Connecting + Send + Sync + 'static) -> Self {
        Self { connect: Box::new(connect), state: Mutex::new(State::Deaf), doubted: AtomicBool::new(false) }
    }

    /// Has the next one who listens connect anew.
    pub(super) fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    /// Returns when the server told of work in this schema. One caller listens, the others wait for it.
    pub(super) async fn hear(&self, schema: &str) {
        let mut state = self.state.lock().await;
        if self.doubted.swap(false, Ordering::Relaxed) {
            *state = State::Deaf;
        }
        loop {
            let broken = match &mut *state {
                State::Deaf => {
                    *state = State::Listening(Box::pin(listen((self.connect)())));
                    continue;
                }
                State::Listening(listening) => match listening.await {
                    Ok(ear) => {
                        *state = State::Hearing(ear);
                        continue;
                    }
                    Err(error) => Some(error),
                },
                State::Hearing(ear) => match poll_fn(|cx| (ear.messages)(cx)).await {
                    Some(Ok(AsyncMessage::Notification(told)))
                        if told.channel() == CHANNEL && told.payload() == schema =>
                    {
                        return;
                    }
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => Some(error),
                    None => None,
                },
            };
            *state = State::Deaf;
            tracing::debug!(
                error = broken.map(tracing::field::display),
                "PostgreSQL is not heard; work is found by polling"
            );
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn listen(connecting: Connecting) -> Result<Ear, tokio_postgres::Error> {
    let (client, mut messages) = connecting.await?;
    let sql = format!("LISTEN {CHANNEL}");
    {
        let mut listen = std::pin::pin!(client.batch_execute(&sql));
        // The connection moves only while it is asked for messages. One that comes this early is found by polling.
        loop {
            tokio::select! {
                done = &mut listen => break done?,
                Some(message) = poll_fn(|cx| messages(cx)) => drop(message?),
            }
        }
    }
    Ok(Ear { _client: client, messages })
}

fn messages<S, T>(mut connection: Connection<S, T>) -> Messages
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    Box::new(move |cx| connection.poll_message(cx))
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}
