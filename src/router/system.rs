//! What is there to choose from, and the switch for all projects.
//!
//! Source: Harbor 2.16, `server/v2.0/handler/webhook.go:381-403`, `server/v2.0/handler/config.go`, `server/v2.0/handler/systeminfo.go`.

use axum::body::Body;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Api;
use super::access::Action;
use super::answer::{Answer, empty, json};
use super::ask::Ask;
use crate::event::EventType;
use crate::policy::TargetType;

#[derive(Serialize)]
struct Supported<'a> {
    event_type: [EventType; 10],
    notify_type: [&'a str; 2],
    payload_formats: [Formats<'a>; 1],
}

#[derive(Serialize)]
struct Formats<'a> {
    formats: Vec<&'a str>,
    notify_type: &'a str,
}

/// The event types, kinds of endpoint and formats. Formats that the host has added stand behind Harbor's.
pub(super) async fn events(api: &Api, ask: Ask) -> Answer {
    api.project(&ask, Action::Read).await?;
    let (http, slack) = (TargetType::Http.as_str(), TargetType::Slack.as_str());
    // That one is for Slack targets, which can have no other.
    let formats = api.hooks.inner.formats.names().filter(|name| *name != "Slack").collect();
    json(&Supported {
        event_type: EventType::ALL,
        notify_type: [http, slack],
        payload_formats: [Formats { formats, notify_type: http }],
    })
}

/// Of Harbor's configuration, what is about webhooks.
pub(super) async fn configurations(api: &Api, ask: Ask) -> Answer {
    ask.admin()?;
    json(&json!({ "notification_enable": { "editable": true, "value": api.hooks.is_on().await? } }))
}

/// Other members are not ours to change, and ignored.
#[derive(Default, Deserialize)]
struct Configurations {
    notification_enable: Option<bool>,
}

pub(super) async fn configure(api: &Api, ask: Ask, body: Body) -> Answer {
    ask.admin()?;
    let sent: Configurations = ask.json(api, body).await?;
    if let Some(on) = sent.notification_enable {
        api.hooks.switch(on).await?;
    }
    empty()
}

/// As in Harbor, everybody may ask, and who is signed in is told whether webhooks are switched on.
pub(super) async fn system_info(api: &Api, ask: Ask) -> Answer {
    match ask.caller {
        Some(_) => json(&json!({ "notification_enable": api.hooks.is_on().await? })),
        None => json(&json!({})),
    }
}
