//! A format of one's own: each event as a message for a Microsoft Teams channel, in an adaptive card.
//!
//! `cargo run --example custom_format` sends two events to a local receiver in place of Teams, and prints what came.

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use harbor_webhook::event::Artifact;
use harbor_webhook::format::{Format, FormatError, RenderContext, Scope};
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::MemoryStore;
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{Event, EventType, ProjectId, Registry, Webhooks};
use serde_json::{Value, json};
use tokio::sync::mpsc;

const PROJECT: ProjectId = ProjectId(2);
const DIGEST: &str = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";

/// A message with a title, and the resources as a list of facts.
#[derive(Debug)]
struct Teams;

/// A chat refuses long messages, and would refuse them at every attempt.
const MAX_FACTS: usize = 50;

impl Format for Teams {
    fn name(&self) -> &str {
        "Teams"
    }

    fn content_type(&self) -> &str {
        "application/json"
    }

    /// Nothing in the message names the policy, so all policies share it.
    fn scope(&self) -> Scope {
        Scope::Event
    }

    fn render(&self, event: &Event, _cx: &RenderContext, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let resources = event.data.resources.iter();
        let mut facts: Vec<Value> = resources.map(|r| json!({"title": r.tag, "value": r.resource_url})).collect();
        if facts.len() > MAX_FACTS {
            let more = facts.split_off(MAX_FACTS).len();
            facts.push(json!({"title": "…", "value": format!("and {more} more")}));
        }
        let card = json!({
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": [
                {"type": "TextBlock", "weight": "bolder", "wrap": true, "text": title(event)},
                {"type": "FactSet", "facts": facts},
            ],
        });
        let attachment = json!({"contentType": "application/vnd.microsoft.card.adaptive", "content": card});
        let message = json!({"type": "message", "attachments": [attachment]});
        serde_json::to_writer(out, &message).map_err(|e| FormatError::new(e.to_string()))
    }
}

fn title(event: &Event) -> String {
    let repository = event.data.repository.as_ref().map_or("the registry", |of| &of.repo_full_name);
    let by = if event.operator.is_empty() { String::new() } else { format!(" by {}", event.operator) };
    let what = event.event_type.as_str().replace('_', " ").to_lowercase();
    format!("{what}: {repository}{by}")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (url, mut messages) = start_receiver().await?;
    let destination = DestinationPolicy::public_addresses().allow_network("127.0.0.0/8")?;
    let hooks = Webhooks::builder(MemoryStore::new(), destination).format(Teams).build()?;
    // The format is chosen by its name; creating the policy fails if there is none of that name.
    let target = Target::http(&url)?.payload_format("Teams");
    hooks.policies().create(PROJECT, PolicyDraft::new("chat").on_all(EventType::ALL).target(target)).await?;

    let registry = Registry::new("hub.example.com")?;
    let artifact = Artifact::tagged("3.20", DIGEST)?;
    hooks.notify(&registry.push(PROJECT, "library/alpine", artifact.clone()).operator("admin")).await?;
    hooks.notify(&registry.delete(PROJECT, "library/alpine", artifact)).await?;

    let printed = async {
        for _ in 0..2 {
            if let Some(message) = messages.recv().await {
                println!("{message}\n");
            }
        }
    };
    hooks.run(tokio::time::timeout(Duration::from_secs(10), printed)).await?;
    Ok(())
}

/// Gives on what it receives.
async fn start_receiver() -> Result<(String, mpsc::Receiver<String>), Box<dyn Error>> {
    let (sender, messages) = mpsc::channel(16);
    let receive = move |body: String| {
        let sender = sender.clone();
        async move { drop(sender.send(body).await) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(receive))).await });
    Ok((url, messages))
}
