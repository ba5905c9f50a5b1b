//! What a CNCF Distribution registry notifies of, and which events that makes.
//!
//! Seen from the real registry (2.8.2): one notification per envelope; a push of an image notifies of each blob and then
//! of the manifest; a HEAD request notifies as a `pull`; the deletion of a manifest notifies of its digest, and then,
//! under the same request id, of each tag that went with it, without a digest. A notification of a deletion carries no
//! media type, so the rare direct deletion of a blob cannot be told from that of an untagged manifest.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use harbor_webhook::event::Artifact;
use harbor_webhook::{Error, Event, ProjectId, Registry};
use serde::Deserialize;

/// The media types of manifests and indexes.
const MANIFESTS: [&str; 6] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// How notifications become events.
#[derive(Debug)]
pub(crate) struct Reader {
    /// The project of each first path component.
    pub(crate) projects: HashMap<String, ProjectId>,
    /// Without it, the host that the registry's client asked for.
    pub(crate) registry: Option<Registry>,
}

/// What an envelope held.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) events: Vec<Event>,
    /// Repositories of notifications that belong to no known project.
    pub(crate) strangers: Vec<String>,
}

impl Reader {
    /// The events of an envelope: all of them, or the reason why the envelope is malformed.
    pub(crate) fn read(&self, body: &[u8]) -> Result<Read, Error> {
        let envelope: Envelope = serde_json::from_slice(body).map_err(|e| Error::invalid("body", e))?;
        let tags = envelope.deleted_tags();
        let mut read = Read::default();
        for (n, notification) in envelope.events.iter().enumerate() {
            let Some(what) = notification.what() else { continue };
            let target = &notification.target;
            let project = target.repository.split('/').next().unwrap_or_default();
            let Some(&project) = self.projects.get(project) else {
                read.strangers.push(target.repository.clone());
                continue;
            };
            let tag = target.tag.as_deref().or_else(|| tags.get(&notification.deletion()).copied());
            let event = self.event(project, what, notification, tag);
            read.events.push(event.map_err(|e| Error::invalid(format_args!("events[{n}]"), e))?);
        }
        Ok(read)
    }

    fn event(&self, project: ProjectId, what: What, from: &Notification, tag: Option<&str>) -> Result<Event, Error> {
        let Notification { target, request, .. } = from;
        let artifact = match tag {
            Some(tag) if !tag.is_empty() => Artifact::tagged(tag, &*target.digest)?,
            _ => Artifact::untagged(&*target.digest)?,
        };
        let registry = self.registry(&request.host)?;
        let repository = &*target.repository;
        let mut event = match what {
            What::Push => registry.push(project, repository, artifact),
            What::Pull => registry.pull(project, repository, artifact),
            What::Delete => registry.delete(project, repository, artifact),
        };
        if !request.id.is_empty() {
            event = event.request_id(&*request.id);
        }
        let time = from.timestamp.ok_or_else(|| Error::invalid("timestamp", "is missing"))?;
        let event = event.foreign_id(&from.identity(what)?).occurred_at(time).operator(&*from.actor.name);
        event.check()?;
        Ok(event)
    }

    fn registry(&self, host: &str) -> Result<Registry, Error> {
        match &self.registry {
            Some(registry) => Ok(registry.clone()),
            // The host is the client's word: a strange one must not make the registry repeat this notification for ever.
            None => Registry::new(host).or_else(|_| Registry::new("localhost")),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Envelope {
    events: Vec<Notification>,
}

#[derive(Debug, Deserialize)]
struct Notification {
    #[serde(default)]
    id: String,
    timestamp: Option<DateTime<Utc>>,
    action: String,
    target: Target,
    #[serde(default)]
    request: Request,
    #[serde(default)]
    actor: Actor,
}

#[derive(Debug, Deserialize)]
struct Target {
    #[serde(default, rename = "mediaType")]
    media_type: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    repository: String,
    tag: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Request {
    #[serde(default)]
    id: String,
    #[serde(default)]
    host: String,
    #[serde(default)]
    method: String,
}

#[derive(Debug, Default, Deserialize)]
struct Actor {
    #[serde(default)]
    name: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    Push,
    Pull,
    Delete,
}

impl Envelope {
    /// The tags that went with deleted manifests, by deletion; the first one of each.
    fn deleted_tags(&self) -> HashMap<(&str, &str), &str> {
        let deletions = self.events.iter().filter(|n| n.action == "delete" && !n.request.id.is_empty());
        let mut tags = HashMap::new();
        for notification in deletions {
            if let Some(tag) = &notification.target.tag {
                tags.entry(notification.deletion()).or_insert(&**tag);
            }
        }
        tags
    }
}

impl Notification {
    /// What the notification tells of a manifest; none if it is about something else.
    fn what(&self) -> Option<What> {
        let manifest = || MANIFESTS.contains(&&*self.target.media_type);
        match &*self.action {
            "push" if manifest() => Some(What::Push),
            // A HEAD request looks whether the manifest is there; nothing was pulled.
            "pull" if manifest() && self.request.method != "HEAD" => Some(What::Pull),
            // Without a digest it tells of a tag of a manifest whose deletion has a notification of its own.
            "delete" if !self.target.digest.is_empty() => Some(What::Delete),
            _ => None,
        }
    }

    fn deletion(&self) -> (&str, &str) {
        (&self.request.id, &self.target.repository)
    }

    /// What stays the same when the registry tells of the same thing again.
    fn identity(&self, what: What) -> Result<String, Error> {
        match what {
            // Of one deletion the registry may tell twice, under two ids but one request.
            What::Delete if !self.request.id.is_empty() => {
                Ok(format!("{}/{}@{}", self.request.id, self.target.repository, self.target.digest))
            }
            _ if self.id.is_empty() => Err(Error::invalid("id", "is missing; repeats are recognised by it")),
            _ => Ok(self.id.clone()),
        }
    }
}
