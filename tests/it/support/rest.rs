//! The REST API on loopback, and a client of it.

use async_trait::async_trait;
use axum::http::request::Parts;
use harbor_webhook::router::{Action, Authorizer, Caller, Project, ProjectDirectory, RouterOptions, webhook_router};
use harbor_webhook::store::MemoryStore;
use harbor_webhook::{ProjectId, Result, Webhooks};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use super::sending::{impatient, loopback};
use super::stores::Fresh;

/// Who calls stands in a header: `admin`, or `owner` and `reader` of project 2.
#[derive(Debug)]
pub(crate) struct Header;

#[async_trait]
impl Authorizer for Header {
    async fn caller(&self, head: &Parts) -> Result<Option<Caller>> {
        let user = head.headers.get("x-user").and_then(|user| user.to_str().ok());
        Ok(match user {
            Some("admin") => Some(Caller::admin("admin")),
            Some("panic") => panic!("the host's code is wrong"),
            Some(user) => Some(Caller::new(user)),
            None => None,
        })
    }

    async fn may(&self, caller: &Caller, project: ProjectId, action: Action) -> Result<bool> {
        Ok(match (&*caller.name, project) {
            ("admin", _) | ("owner", ProjectId(2)) => true,
            ("reader", ProjectId(2)) => matches!(action, Action::List | Action::Read),
            _ => false,
        })
    }
}

/// Projects 1 `other`, 2 `library`, 3 which is called `7`.
#[derive(Debug)]
pub(crate) struct Three;

fn three() -> Vec<Project> {
    [(1, "other"), (2, "library"), (3, "7")].map(|(id, name)| Project::new(ProjectId(id), name)).to_vec()
}

#[async_trait]
impl ProjectDirectory for Three {
    async fn by_id(&self, id: ProjectId) -> Result<Option<Project>> {
        Ok(three().into_iter().find(|project| project.id == id))
    }

    async fn by_name(&self, name: &str) -> Result<Option<Project>> {
        Ok(three().into_iter().find(|project| project.name == name))
    }

    async fn all(&self) -> Result<Vec<Project>> {
        Ok(three())
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

impl Answered {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Asserts that it is this golden error.
    pub(crate) fn is_golden(&self, name: &str) {
        let status: u16 = name.split('_').nth(1).unwrap().parse().unwrap();
        let mut body = self.json();
        if let Some(error) = body["errors"][0].as_object_mut() {
            error.remove("field"); // Harbor does not have it
        }
        assert_eq!((self.status, body), (status, golden(name)), "{name}");
        assert_eq!(self.header("content-type"), Some("application/json; charset=utf-8"));
    }
}

/// A body of Harbor's REST API.
pub(crate) fn golden(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/golden/rest/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A served API.
pub(crate) struct Api {
    pub(crate) hooks: Webhooks,
    pub(crate) url: String,
    client: reqwest::Client,
    _folder: Option<tempfile::TempDir>,
}

impl Api {
    pub(crate) async fn start() -> Self {
        Self::with(RouterOptions::default()).await
    }

    pub(crate) async fn with(options: RouterOptions) -> Self {
        Self::fresh::<MemoryStore>(options).await
    }

    /// On a new store of this kind.
    pub(crate) async fn fresh<S: Fresh>(options: RouterOptions) -> Self {
        let (store, folder) = S::fresh().await;
        let hooks = Webhooks::builder(store, loopback()).settings(impatient()).build().unwrap();
        let router = webhook_router(hooks.clone(), Header, Three, options);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { hooks, url, client: reqwest::Client::new(), _folder: folder }
    }

    pub(crate) fn request(&self, user: &str, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("{}{path}", self.url));
        if user.is_empty() { request } else { request.header("x-user", user) }
    }

    pub(crate) async fn send(request: RequestBuilder) -> Answered {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answered { status, headers, body: answer.text().await.unwrap() }
    }

    /// Asks as the system administrator.
    pub(crate) async fn get(&self, path: &str) -> Answered {
        Self::send(self.request("admin", "GET", path)).await
    }

    /// What 200 was answered with, as the system administrator.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// Changes something as the system administrator.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> Answered {
        Self::send(self.request("admin", method, path).body(body.to_string())).await
    }
}
