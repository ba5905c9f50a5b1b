//! Many deliveries from `notify` to their records, and the bare requests that they are measured beside.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use harbor_webhook::store::{DeliveryStore, LaneLimits};
use harbor_webhook::{Event, ProjectId, Settings, Webhooks};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use tokio::runtime::Runtime;

use super::Result;
use super::measure::{Cost, Meter};
use super::scene::{self, Store};
use super::sink::Sink;

/// Requests on their way from producer to receiver at most.
pub(crate) const WINDOW: usize = 1024;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Requests under way at once.
    pub(crate) concurrency: usize,
    pub(crate) producers: usize,
    /// Targets of each event.
    pub(crate) targets: usize,
    /// Projects, with a policy each, that the events are spread over.
    pub(crate) projects: usize,
    pub(crate) deliveries: usize,
    /// What is different from Harbor's settings besides.
    pub(crate) tune: fn(&mut Settings),
}

impl Default for Shape {
    fn default() -> Self {
        Self { concurrency: 64, producers: 16, targets: 1, projects: 16, deliveries: 25_600, tune: |_| {} }
    }
}

/// One thread for everything but the receiver (and the store's writer, if it has one).
pub(crate) fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// From `notify` until the last delivery is recorded.
pub(crate) async fn pipeline<S: Store>(store: S, sink: &Sink, shape: Shape) -> Result<Cost> {
    let work = Work::prepare(&store, sink, shape).await?;
    let meter = Meter::start()?;
    work.share(store, shape.producers).await?;
    meter.stop(shape.deliveries)
}

/// Events to be sent, by one node or by several that share them.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    sink: Sink,
    shape: Shape,
    events: Arc<Vec<Event>>,
    /// The next event that a producer takes.
    next: Arc<AtomicUsize>,
    /// What the sink has seen when all are delivered.
    end: usize,
}

impl Work {
    pub(crate) async fn prepare<S: Store>(store: &S, sink: &Sink, shape: Shape) -> Result<Self> {
        let addresses: Vec<_> = (0..shape.targets).map(|n| format!("{}/hook/{n}", sink.url)).collect();
        let projects = i64::try_from(shape.projects)?;
        scene::subscribe(store, 1, projects, &addresses).await?;
        let event = |n: usize| scene::push(ProjectId(1 + i64::try_from(n)? % projects));
        let events = (0..shape.deliveries / shape.targets).map(event).collect::<Result<_>>()?;
        sink.open(WINDOW);
        let end = sink.seen() + shape.deliveries;
        Ok(Self { sink: sink.clone(), shape, events: Arc::new(events), next: Arc::default(), end })
    }

    /// What one node does: its producers notify, and it sends, until nothing waits any more on any of them.
    pub(crate) async fn share<S: Store>(&self, store: S, producers: usize) -> Result<()> {
        let mut settings = Settings::harbor();
        // As many slots as the rival has workers; half is for attempts that take long.
        settings.max_in_flight = 2 * self.shape.concurrency;
        settings.lane = LaneLimits::new(1_000_000, u32::try_from(self.shape.concurrency)?);
        (self.shape.tune)(&mut settings);
        let deliveries: Arc<dyn DeliveryStore> = Arc::new(store.clone());
        let hooks = Webhooks::builder(store, scene::loopback()?).settings(settings).build()?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn({
            let hooks = hooks.clone();
            async move { hooks.run(stopped).await }
        });
        let produce = |_| tokio::spawn(self.clone().produce(hooks.clone()));
        for producer in (0..producers).map(produce).collect::<Vec<_>>() {
            producer.await??;
        }
        let all = async {
            self.sink.wait_for(self.end).await;
            scene::drained(&deliveries).await
        };
        tokio::time::timeout(Duration::from_secs(120), all).await??;
        let _ = stop.send(());
        Ok(running.await??)
    }

    async fn produce(self, hooks: Webhooks) -> Result<()> {
        while let Some(event) = self.events.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            self.sink.room(self.shape.targets).await?;
            hooks.notify(event).await?;
        }
        Ok(())
    }
}

/// The same requests by a client with the settings of the crate's own transport, without anything around them.
pub(crate) async fn bare(sink: &Sink, shape: Shape) -> Result<Cost> {
    let client = Client::new()?;
    let url: reqwest::Url = format!("{}/hook/0", sink.url).parse()?;
    let body = Bytes::from(vec![b'x'; 700]);
    let left = Arc::new(AtomicUsize::new(shape.deliveries));
    let meter = Meter::start()?;
    let one = |_| {
        let (client, url, body) = (client.clone(), url.clone(), body.clone());
        let left = Arc::clone(&left);
        tokio::spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                client.post(url.clone(), body.clone()).await?;
            }
            Ok::<_, reqwest::Error>(())
        })
    };
    for task in (0..shape.concurrency).map(one).collect::<Vec<_>>() {
        task.await??;
    }
    meter.stop(shape.deliveries)
}

/// A client with the settings of the crate's own transport.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    client: reqwest::Client,
    headers: HeaderMap,
}

impl Client {
    pub(crate) fn new() -> Result<Self> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .retry(reqwest::retry::never())
            .http1_only()
            .connect_timeout(Duration::from_secs(5))
            .pool_idle_timeout(Duration::from_secs(60))
            .tcp_nodelay(true)
            .tls_certs_only([])
            .build()?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("harbor-webhook/bench"));
        headers.insert("webhook-id", HeaderValue::from_static("66e18103-09c1-41f6-982f-37df223f3eeb"));
        Ok(Self { client, headers })
    }

    pub(crate) async fn post(&self, url: reqwest::Url, body: Bytes) -> Result<(), reqwest::Error> {
        let request = self.client.post(url).headers(self.headers.clone()).body(body);
        let answer = request.timeout(Duration::from_secs(3)).send().await?;
        answer.error_for_status()?.bytes().await.map(|_| ())
    }
}
