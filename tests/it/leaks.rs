//! A secret shows nowhere: not in `Debug`, errors, events of `tracing`, what the HTTP client and the database driver log, the
//! history, or what readers of policies get.
//!
//! Harbor and Hook0 give secrets to whoever may read; CNCF Distribution writes them into its log at the start.

use std::cell::RefCell;
use std::fmt::{Debug, Write as _};
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex};

use harbor_webhook::policy::{Address, HarborPolicy, PolicyDraft, Target};
use harbor_webhook::signing::{SigningKey, Verifier};
use harbor_webhook::store::{Filter, Page, PolicyFilter, SqliteStore};
use harbor_webhook::transport::{Request, ReqwestTransport, Transport};
use harbor_webhook::{Error, EventType, Webhooks};

use crate::support::events::{PROJECT, push};
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, end_state, impatient, loopback};

/// Stands in each secret, and nowhere else.
const MARK: &str = "MARK3R";

/// Stands in paths, which readers of policies see, but for what looks like a token.
const TOKEN: &str = "MARK3R-of-20-characters";

/// What was logged, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// Where what the dependencies log goes: each test runs on a thread of its own.
struct ByThread;

thread_local! {
    static LOG: RefCell<Option<Log>> = const { RefCell::new(None) };
}

impl log::Log for ByThread {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        LOG.with_borrow(Option::is_some)
    }

    fn log(&self, record: &log::Record<'_>) {
        LOG.with_borrow_mut(|log| log.iter_mut().for_each(|log| writeln!(log, "{}", record.args()).unwrap()));
    }

    fn flush(&self) {}
}

fn log_dependencies_to(log: &Log) {
    LOG.set(Some(log.clone()));
    // Fails if another test was faster.
    let _ = log::set_logger(&ByThread);
    log::set_max_level(log::LevelFilter::Trace);
}

/// An error with all that is underneath.
fn told(error: &Error) -> String {
    let mut told = format!("{error} {error:?}");
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let _ = write!(told, " {inner} {inner:?}");
        source = inner.source();
    }
    told
}

fn key() -> SigningKey {
    format!("whsec_{}", &MARK.repeat(6)[..32]).parse().unwrap()
}

fn secret(address: &str) -> Target {
    let target = Target::http(address).unwrap().signing_keys(key());
    target.auth_header(&format!("Bearer {MARK}")).unwrap()
}

#[tokio::test]
async fn a_secret_shows_nowhere() {
    // With one subscriber alone, `tracing` asks the thread that comes by first whether an event is wanted, for all threads.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    let _logging = tracing::subscriber::set_default(subscriber.with_writer(move || writer.clone()).finish());
    log_dependencies_to(&log);
    let (refusing, redirecting) = (Receiver::start(|_| 500).await, Receiver::start(|_| 302).await);
    let port = refusing.url.rsplit(':').next().unwrap().to_owned();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("webhooks.db")).await.unwrap();
    store.migrate().await.unwrap();
    let mut settings = impatient();
    settings.retry.max_retries = 1;
    let builder = Webhooks::builder(store.clone(), loopback()).settings(settings).signing_keys(key());
    let mut seen = format!("{builder:?}");
    let hooks = builder.build().unwrap();
    let targets = [
        secret(&format!("http://u-{MARK}:p-{MARK}@127.0.0.1:{port}/a/{TOKEN}?token={MARK}#{MARK}")),
        secret(&format!("http://{nobody}/{TOKEN}?token={MARK}")), // refuses the connection
        secret(&format!("https://127.0.0.1:{port}/{TOKEN}?token={MARK}")), // answers, but not with TLS
        secret(&format!("{}/{TOKEN}?token={MARK}", redirecting.url)),
        secret(&format!("http://{MARK}:{MARK}@localhost:1/{TOKEN}?{MARK}")), // a name
        Target::slack(&format!("http://127.0.0.1:{port}/services/{MARK}")).unwrap(),
    ];
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact);
    let draft = targets.into_iter().fold(draft, PolicyDraft::target);
    let show = |what: &dyn Debug| format!("\n{what:?} {what:#?}");
    seen += &show(&draft);
    let policy = hooks.policies().create(PROJECT, draft).await.unwrap();
    let event = push();
    hooks.notify(&event).await.unwrap();
    let running = Running::start(&hooks);
    end_state(&hooks).await;
    running.stop().await;

    // The secrets did go where they belong.
    let arrived = refusing.seen();
    assert!(arrived.iter().any(|seen| seen.path.contains(MARK)));
    assert!(arrived.iter().any(|seen| seen.header("authorization") == Some(&format!("Bearer {MARK}"))));
    let header = |name: &str| arrived[0].headers.get(name).map(|value| &value[..]);
    Verifier::new([key().verifying_key()]).verify(header, &arrived[0].body).unwrap();

    let deliveries = hooks.deliveries(&Filter::all(), Page::first(100)).await.unwrap();
    assert_eq!(deliveries.len(), 6);
    for delivery in &deliveries {
        let detail = hooks.delivery(delivery.id).await.unwrap().unwrap();
        assert!(!detail.attempts.is_empty(), "{detail:?}");
        seen += &show(&detail);
        seen += &hooks.job_log(delivery.id).await.unwrap();
    }
    let harbor = HarborPolicy::masked(&policy);
    seen += &serde_json::to_string(&harbor).unwrap();
    seen += &show(&(&hooks, &store, &policy, deliveries, HarborPolicy::with_secrets(&policy), harbor));
    seen += &show(&(hooks.status().await.unwrap(), hooks.explain(&event).await.unwrap()));
    seen += &show(&hooks.policies().list(PolicyFilter::All, Page::first(10)).await.unwrap());
    seen += &show(&(key(), key().verifying_key(), Verifier::new([key().verifying_key()])));

    let forbidden =
        PolicyDraft::new("x").on(EventType::PushArtifact).target(secret(&format!("http://10.0.0.1/{MARK}")));
    seen += &told(&hooks.policies().create(PROJECT, forbidden).await.unwrap_err());
    for address in ["http://x/MARK3R MARK3R", "MARK3R", "http://u:MARK3R@:x/", "http://[MARK3R]/", "http://MARK3R:x/"] {
        seen += &told(&address.parse::<Address>().unwrap_err());
    }
    seen += &told(&secret("http://x/").auth_header("MARK3R\n").unwrap_err());
    for key in ["MARK3R", "whsec_MARK3R", "whsec_MARK3R!", "whsk_MARK3R"] {
        seen += &told(&key.parse::<SigningKey>().unwrap_err());
    }

    let logged = log.text();
    assert!(logged.contains("attempt made") && logged.contains("TRACE"), "nothing was captured");
    assert!(logged.contains("starting new connection"), "the HTTP client's log was not captured");
    for (what, text) in [("the log", &logged), ("what is shown", &seen)] {
        let lines: Vec<_> = text.lines().filter(|line| line.contains(MARK)).collect();
        assert!(lines.is_empty(), "{what} has {} lines with the secret: {}", lines.len(), lines.join("\n"));
    }
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn the_driver_of_postgresql_logs_no_secret() {
    use crate::support::postgres::{schema, url};

    let log = Log::default();
    let store = harbor_webhook::store::PostgresStore::connect(url(), &schema()).unwrap();
    log_dependencies_to(&log);
    store.migrate().await.unwrap();
    let hooks = Webhooks::builder(store, loopback()).build().unwrap();
    let target = || secret(&format!("http://u-{MARK}:p-{MARK}@127.0.0.1:1/{TOKEN}?token={MARK}"));
    let draft = || PolicyDraft::new("ci").on(EventType::PushArtifact).target(target());
    let policy = hooks.policies().create(PROJECT, draft()).await.unwrap();
    hooks.policies().replace(policy.id, draft().target(target())).await.unwrap();
    let logged = log.text();
    assert!(logged.contains("INSERT INTO") && logged.contains("with parameters: ["), "nothing was captured");
    let lines: Vec<_> = logged.lines().filter(|line| line.contains(MARK)).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

/// As Go's client does it for Harbor: as `Authorization`, unless there is another one.
#[tokio::test]
async fn a_user_in_the_address_is_sent_in_the_header() {
    let receiver = Receiver::start(|_| 200).await;
    let address: Address = receiver.url.replace("http://", "http://us%20er:p%40ss@").parse().unwrap();
    let destination = loopback();
    for own in [None, Some("Bearer own")] {
        let mut request = Request::new(&address, bytes::Bytes::new(), &destination);
        if let Some(own) = own {
            request.headers.push("authorization", own);
        }
        ReqwestTransport::new().send(request).await.unwrap();
    }
    let seen = receiver.seen();
    let sent: Vec<_> = seen.iter().map(|seen| seen.header("authorization").unwrap()).collect();
    assert_eq!(sent, ["Basic dXMgZXI6cEBzcw==", "Bearer own"]);
}
