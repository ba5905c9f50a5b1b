//! Webhooks inside a Rust registry: the `container-registry` crate with its hook wired to `notify`.
//!
//! `cargo run --example embedded_registry -- http://127.0.0.1:9000/hook`, then push to it:
//! `skopeo copy --dest-tls-verify=false SOURCE docker://127.0.0.1:5000/library/alpine:3.20`
//!
//! The hook of that crate is called for pushed manifests only, so pushes are what this registry can tell.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use container_registry::ContainerRegistry;
use container_registry::auth::Permissions;
use container_registry::hooks::RegistryHooks;
use container_registry::storage::{ManifestReference, Reference};
use harbor_webhook::event::Artifact;
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::SqliteStore;
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{Event, EventType, ProjectId, Registry, Webhooks};

/// A registry with one project.
const PROJECT: ProjectId = ProjectId(1);
const LISTEN: &str = "127.0.0.1:5000";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: embedded_registry WEBHOOK-ADDRESS")?;
    let folder = tempfile::tempdir()?;

    let store = SqliteStore::open(folder.path().join("webhooks.db")).await?;
    store.migrate().await?;
    let destination = DestinationPolicy::private_networks().allow_network("127.0.0.0/8")?;
    let hooks = Webhooks::builder(store, destination).build()?;
    let target = Target::http(&address)?;
    println!("registry on {LISTEN}, webhooks to {}", target.address.origin());
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(target);
    hooks.policies().create(PROJECT, draft).await?;
    let running = tokio::spawn({
        let hooks = hooks.clone();
        async move { hooks.run(tokio::signal::ctrl_c()).await }
    });

    let storage = folder.path().join("registry");
    std::fs::create_dir(&storage)?;
    let notifier = Notifier { hooks, registry: Registry::new(LISTEN)?, storage: storage.clone() };
    let registry = ContainerRegistry::builder()
        .storage(storage)
        .auth_provider(Arc::new(Permissions::ReadWrite))
        .hooks(Box::new(notifier))
        .build()?;
    let listener = tokio::net::TcpListener::bind(LISTEN).await?;
    let server = axum07::serve(listener, registry.make_router());
    server.with_graceful_shutdown(async { _ = tokio::signal::ctrl_c().await }).await?;
    running.await??;
    Ok(())
}

/// Tells the webhooks what happens in the registry.
struct Notifier {
    hooks: Webhooks,
    registry: Registry,
    storage: PathBuf,
}

#[async_trait]
impl RegistryHooks for Notifier {
    async fn on_manifest_uploaded(&self, manifest: &ManifestReference) {
        let told = match self.event(manifest).await {
            Ok(event) => self.hooks.notify(&event).await.map_err(Into::into),
            Err(e) => Err(e),
        };
        // The push has succeeded. A registry of your own can let it fail here instead, so that the client pushes again.
        match told {
            Ok(what) => println!("{manifest}: {what:?}"),
            Err(e) => eprintln!("{manifest}: no webhook: {e}"),
        }
    }
}

impl Notifier {
    async fn event(&self, manifest: &ManifestReference) -> Result<Event, Box<dyn Error + Send + Sync>> {
        let location = manifest.location();
        let repository = format!("{}/{}", location.repository(), location.image());
        let artifact = match manifest.reference() {
            Reference::Digest(digest) => Artifact::untagged(format!("sha256:{digest}"))?,
            Reference::Tag(tag) => {
                // The hook does not give the digest; the storage's tag is a link to it.
                let link = self.storage.join("tags").join(location.repository()).join(location.image()).join(tag);
                let target = tokio::fs::read_link(link).await?;
                let digest = target.file_name().and_then(|name| name.to_str()).ok_or("the tag links to nothing")?;
                Artifact::tagged(tag.as_str(), format!("sha256:{digest}"))?
            }
        };
        Ok(self.registry.push(PROJECT, repository, artifact))
    }
}
