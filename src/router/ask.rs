use axum::body::Body;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::access::Caller;
use super::query::{Query, truth};
use super::refusal::Refusal;
use super::{Api, body};

/// A request, as endpoints see it.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) head: Parts,
    /// The path as the client sent it.
    pub(super) path: String,
    /// What stands in the path in place of names.
    pub(super) params: Vec<(String, String)>,
    pub(super) caller: Option<Caller>,
    pub(super) query: Query,
}

impl Ask {
    /// Who is calling; nobody is refused.
    pub(super) fn caller(&self) -> Result<&Caller, Refusal> {
        self.caller.as_ref().ok_or_else(Refusal::unauthorized)
    }

    /// Who is calling, if it is a system administrator.
    pub(super) fn admin(&self) -> Result<&Caller, Refusal> {
        let caller = self.caller()?;
        if caller.system_admin { Ok(caller) } else { Err(Refusal::forbidden()) }
    }

    /// A part of the path. Of two of one name, the last one is ours: a host may have nested the router.
    pub(super) fn param(&self, name: &str) -> &str {
        self.params.iter().rev().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// A number in the path.
    pub(super) fn id(&self, name: &str) -> Result<i64, Refusal> {
        let text = self.param(name);
        let number = text.parse();
        number.map_err(|_| Refusal::unprocessable(format!("{name} in path must be of type int64: {text:?}")))
    }

    /// Whether the project is named by its name, even if that looks like a number.
    pub(super) fn is_resource_name(&self) -> bool {
        let header = self.head.headers.get("x-is-resource-name").and_then(|value| value.to_str().ok());
        header.and_then(truth).unwrap_or(false)
    }

    /// The body.
    pub(super) async fn read(&self, api: &Api, body: Body) -> Result<Vec<u8>, Refusal> {
        body::read(&self.head.headers, body, &api.options).await
    }

    /// The body as JSON; what stands for none, if there is none.
    pub(super) async fn json<T: DeserializeOwned + Default>(&self, api: &Api, body: Body) -> Result<T, Refusal> {
        let body = self.read(api, body).await?;
        if body.trim_ascii().is_empty() {
            return Ok(T::default());
        }
        // serde would take an array for an object, member by member.
        if body.trim_ascii_start().first() == Some(&b'[') {
            return Err(Refusal::unprocessable("body: is not a JSON object"));
        }
        // serde's own message may quote a value, and that may be a credential in the wrong place.
        serde_json::from_slice(&body).map_err(|e| {
            let problem = if e.is_data() { "a member is of the wrong type" } else { "is not JSON" };
            Refusal::unprocessable(format!("body: {problem}, at line {} column {}", e.line(), e.column()))
        })
    }
}
