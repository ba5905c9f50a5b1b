//! Harbor-style webhooks for a plain CNCF Distribution registry, as a program to deploy.
//!
//! ```text
//! cargo run --release --example registry_bridge -- --listen 127.0.0.1:8080 --store sqlite:/var/lib/bridge/webhooks.db \
//!     --policies policies.json --project library=1 --allow-network 10.0.0.0/8 --public-endpoint hub.example.com
//! ```
//!
//! In the registry's configuration:
//!
//! ```yaml
//! notifications:
//!   endpoints:
//!     - name: bridge
//!       url: http://127.0.0.1:8080/distribution
//!       timeout: 3s
//!       threshold: 5
//!       backoff: 1s
//! ```
//!
//! Policies and history are there in Harbor's REST API under `/api/v2.0`, and more under `/api/webhooks/v1`. Beyond loopback
//! `--admin-token TOKEN` must be given: everything but the status at `/healthz` and the console's own files then asks for it, as password
//! of the user `admin` or as Bearer. Without it the bridge must be called `localhost`, or by its address. The registry sends it with `headers: {Authorization: [Bearer TOKEN]}` in its endpoint. Built
//! with the feature `console`, there is a page for all of it at `/`.
//!
//! It ends with 0 after SIGTERM or SIGINT, with 2 if a flag, a policy or a setting is wrong, with 1 on other faults.

mod access;
mod distribution;
mod options;
mod server;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use clap::Parser as _;
use harbor_webhook::metrics::MetricsObserver;
use harbor_webhook::policy::{HarborPolicy, PolicyDraft};
use harbor_webhook::store::{MemoryStore, SqliteStore};
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{Builder, Error, ProjectId, Webhooks};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use distribution::Reader;
use options::{Options, StoreAt};
use server::Bridge;

/// What is left for requests under way when the program shall end.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// The buckets of how long attempts take.
const SECONDS: [f64; 10] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let (listener, router, hooks) = match start(&options).await {
        Ok(started) => started,
        Err(reason) => {
            eprintln!("registry_bridge: {reason}");
            return ExitCode::from(2);
        }
    };
    match serve(&options, listener, router, hooks).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("registry_bridge: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that can be wrong with how the program was started, before it accepts anything.
async fn start(options: &Options) -> Result<(TcpListener, Router, Webhooks), String> {
    let access = options.access()?;
    let (settings, projects) = (options.settings()?, options.projects()?);
    let policies = match &options.policies {
        Some(path) => read_policies(path)?,
        None => Vec::new(),
    };
    let metrics = PrometheusBuilder::new().set_buckets(&SECONDS).and_then(PrometheusBuilder::install_recorder);
    let metrics = metrics.map_err(|e| e.to_string())?;
    let mut builder = builder(options).await?.settings(settings).transport(options.transport()?);
    builder = builder.observer(MetricsObserver::new());
    if let Some(keys) = options.signing_keys()? {
        builder = builder.signing_keys(keys);
    }
    let hooks = builder.build().map_err(|e| e.to_string())?;
    upsert(&hooks, policies).await?;
    let reader = Reader { projects, registry: options.public_endpoint.clone() };
    let listener = TcpListener::bind(options.listen).await.map_err(|e| format!("--listen {}: {e}", options.listen))?;
    let bridge = Bridge::new(hooks.clone(), reader, metrics, access);
    Ok((listener, server::router(bridge), hooks))
}

async fn builder(options: &Options) -> Result<Builder, String> {
    let destination = options.destination()?;
    match options.store()? {
        StoreAt::Memory => Ok(Webhooks::builder(MemoryStore::new(), destination)),
        StoreAt::Sqlite(path) => {
            let named = |e: Error| format!("--store sqlite:{}: {e}", path.display());
            let store = SqliteStore::open(&path).await.map_err(named)?;
            store.migrate().await.map_err(named)?;
            Ok(Webhooks::builder(store, destination))
        }
        StoreAt::Postgres(url) => postgres(&url, &options.schema, destination).await,
    }
}

#[cfg(feature = "postgres")]
async fn postgres(url: &str, schema: &str, destination: DestinationPolicy) -> Result<Builder, String> {
    // The URL may hold a password.
    let named = |e: Error| format!("--store postgres: {e}");
    let store = harbor_webhook::store::PostgresStore::connect(url, schema).map_err(named)?;
    store.migrate().await.map_err(named)?;
    Ok(Webhooks::builder(store, destination))
}

#[cfg(not(feature = "postgres"))]
async fn postgres(_url: &str, _schema: &str, _destination: DestinationPolicy) -> Result<Builder, String> {
    Err("--store postgres: needs a build with `--features postgres`".to_owned())
}

/// A policy of the file.
struct Configured {
    project: ProjectId,
    draft: PolicyDraft,
    /// Names it in an error.
    place: String,
}

fn read_policies(path: &Path) -> Result<Vec<Configured>, String> {
    let file = format!("--policies {}", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| format!("{file}: {e}"))?;
    let array: Vec<serde_json::Value> = serde_json::from_str(&text).map_err(|e| format!("{file}: {e}"))?;
    let policies = array.into_iter().enumerate().map(|(n, policy)| {
        let name = policy["name"].as_str().unwrap_or_default();
        let place = format!("{file}: policy {n} {name:?}");
        read_policy(&policy, place.clone()).map_err(|e| format!("{place}: {e}"))
    });
    policies.collect()
}

fn read_policy(policy: &serde_json::Value, place: String) -> Result<Configured, Error> {
    let policy = HarborPolicy::from_json(policy.to_string().as_bytes())?;
    if policy.project_id < 1 {
        return Err(Error::invalid("project_id", "must be a whole number from 1"));
    }
    let project = ProjectId(policy.project_id);
    Ok(Configured { project, draft: PolicyDraft::try_from(policy)?, place })
}

async fn upsert(hooks: &Webhooks, policies: Vec<Configured>) -> Result<(), String> {
    for Configured { project, draft, place } in policies {
        let policy = hooks.policies().upsert(project, draft).await.map_err(|e| format!("{place}: {e}"))?;
        tracing::info!(id = %policy.id, %project, name = policy.name, "policy in place");
    }
    Ok(())
}

/// Accepts events and sends them until a signal comes.
async fn serve(options: &Options, listener: TcpListener, router: Router, hooks: Webhooks) -> Result<(), String> {
    let (stop, stopped) = watch::channel(false);
    // Before anybody is told that it is ready, so that no signal is missed.
    let signal = stop_signal().map_err(|e| format!("signals: {e}"))?;
    let server = axum::serve(listener, router).with_graceful_shutdown(until(stopped.clone()));
    announce(options, server.local_addr().map_err(|e| e.to_string())?)?;
    let stopping = async {
        signal.await;
        tracing::info!("stopping");
        // Nobody listens any more only if both have ended.
        let _ = stop.send(true);
        Ok(())
    };
    let server = async {
        tokio::select! {
            ended = server => ended.map_err(|e| e.to_string()),
            () = async { until(stopped.clone()).await; tokio::time::sleep(LAST_REQUESTS).await } => Ok(()),
        }
    };
    let sending = async { hooks.run(until(stopped.clone())).await.map_err(|e| e.to_string()) };
    tokio::try_join!(stopping, server, sending).map(|_| ())
}

/// SIGTERM or SIGINT.
fn stop_signal() -> std::io::Result<impl Future> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // The sender is gone only when the program ends anyway.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Says where it listens, whole or not at all.
fn announce(options: &Options, address: std::net::SocketAddr) -> Result<(), String> {
    let listen = format!("http://{address}");
    tracing::info!(listen, "accepting events");
    let Some(path) = &options.ready_file else { return Ok(()) };
    let mut unfinished = path.clone().into_os_string();
    unfinished.push(".unfinished");
    let text = serde_json::json!({ "listen": listen }).to_string();
    std::fs::write(&unfinished, text)
        .and_then(|()| std::fs::rename(&unfinished, path))
        .map_err(|e| format!("--ready-file {}: {e}", path.display()))
}
