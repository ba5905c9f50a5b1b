//! Everything at once, on one machine: three policies, ten events, a receiver that fails now and then, and the history.
//!
//! `cargo run --example quickstart`

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::post;
use harbor_webhook::delivery::retry::Schedule;
use harbor_webhook::event::{
    Artifact, ArtifactInfo, Replication, ReplicationSide, Retention, ScanReport, Scanned, Vulnerabilities, quota,
};
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{Filter, Page, SqliteStore};
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{Event, EventType, ProjectId, Registry, Settings, Webhooks};

const PROJECT: ProjectId = ProjectId(2);
const DIGEST: &str = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let receiver = start_receiver().await?;
    println!("receiver on {receiver}, every third request is answered 503\n");

    // One file keeps policies, waiting deliveries and the history. Here it lives as long as the example.
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path().join("webhooks.db")).await?;
    store.migrate().await?;

    // Webhooks may go to public addresses, and to this machine because the receiver is here.
    let destination = DestinationPolicy::public_addresses().allow_network("127.0.0.0/8")?;
    let hooks = Webhooks::builder(store, destination).settings(impatient()).build()?;
    create_policies(&hooks, &receiver).await?;

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let hooks = hooks.clone();
        async move { hooks.run(stopped).await }
    });

    for event in all_ten()? {
        let answer = hooks.notify(&event).await?;
        println!("notify {:<20} {answer:?}", event.event_type.as_str());
    }

    wait_until_idle(&hooks).await?;
    print_history(&hooks).await?;

    let _ = stop.send(());
    running.await??;
    Ok(())
}

/// Harbor's settings wait a quarter of a minute before the first retry; a demonstration should not.
fn impatient() -> Settings {
    let mut settings = Settings::harbor();
    settings.retry.schedule = Schedule::Delays { delays: vec![Duration::from_millis(300)], jitter: 0.2 };
    settings
}

async fn create_policies(hooks: &Webhooks, receiver: &str) -> Result<(), Box<dyn Error>> {
    let default = Target::http(&format!("{receiver}/default"))?.auth_header("Bearer s3cret")?;
    let cloud_events = Target::http(&format!("{receiver}/cloudevents"))?.payload_format("CloudEvents");
    let slack = Target::slack(&format!("{receiver}/slack"))?;
    for (name, target) in [("ci", default), ("broker", cloud_events), ("chat", slack)] {
        hooks.policies().create(PROJECT, PolicyDraft::new(name).on_all(EventType::ALL).target(target)).await?;
    }
    Ok(())
}

/// One event of each type, as a registry would make them.
fn all_ten() -> Result<Vec<Event>, harbor_webhook::Error> {
    let registry = Registry::new("hub.example.com")?;
    let tagged = Artifact::tagged("3.20", DIGEST)?;
    let repository = "library/alpine";
    let found = Vulnerabilities::new(2, [("Critical", 1), ("High", 2)]);
    let report = ScanReport::success("af0546c1-67dc-4e9d-927e-372900ead0df", "Critical", found);
    let stopped = ScanReport::unfinished("bf92700b-fa5e-4fe4-891c-42b730c81151", "Stopped");
    let failed = ScanReport::unfinished("a2573415-c727-4723-bc92-376c1d978637", "Error");
    let hub = ReplicationSide::new("docker-hub", "https://hub.docker.com", "library");
    let here = ReplicationSide::new("harbor", "https://hub.example.com", "library");
    let gone = vec![ArtifactInfo::new("image", "SUCCESS", "alpine:3.8")];
    let events = [
        registry.push(PROJECT, repository, tagged.clone()),
        registry.pull(PROJECT, repository, tagged.clone()),
        registry.delete(PROJECT, repository, tagged.clone()),
        registry.quota_exceed(PROJECT, repository, Some(tagged.clone()), quota::exceed(2 << 20, 9 << 20, 10 << 20)),
        registry.quota_warning(PROJECT, repository, None, quota::warning(9 << 20, 10 << 20)),
        registry.scan_failed(PROJECT, repository, tagged.clone(), Scanned::vulnerability(failed)),
        registry.scan_stopped(PROJECT, repository, tagged.clone(), Scanned::vulnerability(stopped)),
        registry.scan_completed(PROJECT, repository, tagged, Scanned::vulnerability(report)),
        registry.replication(PROJECT, Replication::new("Success", hub, here)),
        registry.tag_retention(PROJECT, Retention::new(3, 2, gone)),
    ];
    Ok(events.into_iter().map(|event| event.operator("admin")).collect())
}

async fn wait_until_idle(hooks: &Webhooks) -> Result<(), harbor_webhook::Error> {
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let status = hooks.status().await?;
        if status.outbox + status.waiting == 0 {
            return Ok(());
        }
    }
}

async fn print_history(hooks: &Webhooks) -> Result<(), harbor_webhook::Error> {
    println!("\n{:>8}  {:<6}  {:<20} {:<10} {:>8}", "delivery", "policy", "event", "state", "attempts");
    let deliveries = hooks.deliveries(&Filter::all(), Page::first(100)).await?;
    for delivery in deliveries.iter().rev() {
        println!(
            "{:>8}  {:<6}  {:<20} {:<10} {:>8}",
            delivery.id,
            delivery.policy_id,
            delivery.event_type.as_str(),
            format!("{:?}", delivery.state),
            delivery.attempts
        );
    }
    if let Some(retried) = deliveries.iter().find(|delivery| delivery.attempts > 1) {
        println!("\nthe log of delivery {}:\n{}", retried.id, hooks.job_log(retried.id).await?);
    }
    Ok(())
}

/// A receiver that answers every third request with 503.
async fn start_receiver() -> Result<String, Box<dyn Error>> {
    static REQUESTS: AtomicU32 = AtomicU32::new(0);
    let answer = |uri: Uri, headers: HeaderMap, body: String| async move {
        let busy = REQUESTS.fetch_add(1, Ordering::Relaxed) % 3 == 2;
        let status = if busy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT };
        let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        println!("  {:<12} {id} {:>5} bytes -> {}", uri.path(), body.len(), status.as_u16());
        status
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/{*path}", post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(format!("http://{address}"))
}
