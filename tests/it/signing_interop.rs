//! What our sender signs is right for the libraries of Standard Webhooks.
//!
//! Those for Python and JavaScript are installed by `.ci/interop`, which runs their tests: `cargo test` must not need them.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use harbor_webhook::delivery::State;
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::signing::{SigningKey, SigningKeys};
use harbor_webhook::store::{Filter, MemoryStore, Page};
use harbor_webhook::{EventType, Webhooks};

use crate::support::events::{PROJECT, push};
use crate::support::sending::{Running, end_state, impatient, loopback};

/// A receiver that answers with 2xx if its library takes the signature.
trait Verifier {
    fn url(&self) -> &str;
}

/// One that is a process of its own; killed when dropped.
struct Other {
    child: Child,
    url: String,
}

impl Other {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { child, url: format!("http://127.0.0.1:{}/", port.trim()) }
    }
}

impl Verifier for Other {
    fn url(&self) -> &str {
        &self.url
    }
}

/// One within this process; gone when dropped.
struct Task {
    task: tokio::task::JoinHandle<()>,
    url: String,
}

impl Task {
    async fn start(key: &SigningKey) -> Self {
        let webhook = Arc::new(standardwebhooks::Webhook::new(key.expose()).unwrap());
        let verify = move |headers: HeaderMap, body: Bytes| async move {
            match webhook.verify(&body, &headers) {
                Ok(()) => StatusCode::NO_CONTENT,
                Err(_) => StatusCode::UNAUTHORIZED,
            }
        };
        let router = axum::Router::new().route("/", axum::routing::post(verify));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { task, url }
    }
}

impl Verifier for Task {
    fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `.ci/interop` has put the libraries.
fn installed() -> PathBuf {
    let folder = std::env::var_os("HARBOR_WEBHOOK_INTEROP");
    folder.expect("HARBOR_WEBHOOK_INTEROP names no folder with the libraries; run .ci/interop").into()
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

/// Each format is delivered when the receiver's key is among those that sign, and dead when it is not.
async fn verifies<R: Verifier>(receiver: impl AsyncFn(&SigningKey) -> R) {
    let (new, old) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let both = SigningKeys::new(new.clone()).and(old.clone(), None).unwrap();
    for (known, format, right) in [(&new, "Default", true), (&old, "CloudEvents", true), (&new, "Default", false)] {
        let other = receiver(known).await;
        let mut settings = impatient();
        settings.retry.max_retries = 0;
        settings.timeout = std::time::Duration::from_secs(20);
        let hooks = Webhooks::builder(MemoryStore::new(), loopback()).settings(settings).build().unwrap();
        let keys = if right { both.clone() } else { SigningKey::generate().unwrap().into() };
        let target = Target::http(other.url()).unwrap().payload_format(format).signing_keys(keys);
        let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(target);
        hooks.policies().create(PROJECT, draft).await.unwrap();
        hooks.notify(&push()).await.unwrap();
        let running = Running::start(&hooks);
        let state = end_state(&hooks).await;
        running.stop().await;
        let id = hooks.deliveries(&Filter::all(), Page::first(1)).await.unwrap()[0].id;
        let log = hooks.delivery(id).await.unwrap().unwrap().attempts;
        assert_eq!(state == State::Delivered, right, "{format}: {log:?}");
    }
}

#[tokio::test]
async fn the_library_for_rust_takes_our_signatures() {
    verifies(Task::start).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Python and the library: .ci/interop"]
async fn the_library_for_python_takes_our_signatures() {
    let python = installed().join("venv/bin/python");
    verifies(async |key| Other::start(Command::new(&python).arg(script("receiver.py")).arg(key.expose()))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node and the library: .ci/interop"]
async fn the_library_for_javascript_takes_our_signatures() {
    let folder = installed();
    let start = async |key: &SigningKey| {
        Other::start(Command::new("node").arg(script("receiver.mjs")).arg(key.expose()).arg(&folder))
    };
    verifies(start).await;
}
