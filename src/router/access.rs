use std::fmt;

use async_trait::async_trait;
use axum::http::request::Parts;

use super::Api;
use super::ask::Ask;
use super::refusal::Refusal;
use crate::caught::caught;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ProjectId;

/// Who is calling, and what they may do: the host's answer.
///
/// An error, or a panic, refuses the request with status 500.
#[async_trait]
pub trait Authorizer: fmt::Debug + Send + Sync + 'static {
    /// Who sends a request with this head, or `None` if nobody known does. What the host's own middleware has found out is in the
    /// head's `extensions`.
    async fn caller(&self, head: &Parts) -> Result<Option<Caller>>;

    /// Whether the caller may do this to the webhooks of a project. It is asked of system administrators too.
    async fn may(&self, caller: &Caller, project: ProjectId, action: Action) -> Result<bool>;
}

/// The host's projects.
#[async_trait]
pub trait ProjectDirectory: fmt::Debug + Send + Sync + 'static {
    /// The project with this number.
    async fn by_id(&self, id: ProjectId) -> Result<Option<Project>>;

    /// The project of this name, which is what a client has sent and may be any text.
    async fn by_name(&self, name: &str) -> Result<Option<Project>>;

    /// All projects, in the order in which people shall see them.
    async fn all(&self) -> Result<Vec<Project>>;
}

/// Somebody who is signed in.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Caller {
    /// The name that stands as creator in the policies that they make.
    pub name: String,
    /// Whether they may read the health of all, and switch webhooks on and off. What they may do in projects
    /// [`Authorizer::may`] says.
    pub system_admin: bool,
}

impl Caller {
    /// Somebody who is no system administrator.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), system_admin: false }
    }

    /// A system administrator.
    pub fn admin(name: impl Into<String>) -> Self {
        Self { name: name.into(), system_admin: true }
    }
}

/// A project of the host's registry.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Project {
    /// Its number.
    pub id: ProjectId,
    /// Its name: the first component of its repositories' names.
    pub name: String,
}

impl Project {
    /// A project.
    pub fn new(id: ProjectId, name: impl Into<String>) -> Self {
        Self { id, name: name.into() }
    }
}

/// What can be done to the webhooks of a project: Harbor's five actions on `notification-policy`.
///
/// In Harbor, project administrators may do all five, and maintainers may list and read.
///
/// Source: Harbor 2.16, `common/rbac/project/rbac_role.go:80-84`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// List policies, and see the project at all.
    List,
    /// Read a policy and the history of its deliveries.
    Read,
    /// Create a policy.
    Create,
    /// Change a policy; redeliver, cancel and test.
    Update,
    /// Delete a policy.
    Delete,
}

impl Action {
    /// All five.
    pub const ALL: [Self; 5] = [Self::List, Self::Read, Self::Create, Self::Update, Self::Delete];

    /// Harbor's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Read => "read",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl Api {
    pub(super) async fn caller(&self, head: &Parts) -> Result<Option<Caller>, Refusal> {
        asked(caught(self.authorizer.caller(head)).await)
    }

    pub(super) async fn may(&self, caller: &Caller, project: ProjectId, action: Action) -> Result<bool, Refusal> {
        asked(caught(self.authorizer.may(caller, project, action)).await)
    }

    /// The project that the path names, if the caller may do this in it.
    ///
    /// Whoever may not learns nothing: it is forbidden whether there is such a project or not. Only system administrators, who
    /// may know all projects, are told that there is none.
    pub(super) async fn project(&self, ask: &Ask, action: Action) -> Result<Project, Refusal> {
        let caller = ask.caller()?;
        let named = ask.param("project");
        match self.find(named, ask.is_resource_name()).await? {
            Some(project) if self.may(caller, project.id, action).await? => Ok(project),
            None if caller.system_admin => Err(Refusal::not_found(format!("project {named} not found"))),
            _ => Err(Refusal::forbidden()),
        }
    }

    /// As Harbor has it: a number is an id unless a header says that it is a name.
    async fn find(&self, named: &str, is_name: bool) -> Result<Option<Project>, Refusal> {
        match named.parse().ok().filter(|_| !is_name) {
            Some(id) => asked(caught(self.projects.by_id(ProjectId(id))).await),
            None => asked(caught(self.projects.by_name(named)).await),
        }
    }

    pub(super) async fn all_projects(&self) -> Result<Vec<Project>, Refusal> {
        asked(caught(self.projects.all()).await)
    }
}

/// Whatever the host's code fails with, it is not the caller's fault.
fn asked<T, P>(answer: Result<Result<T>, P>) -> Result<T, Refusal> {
    match answer {
        Ok(answer) => answer.map_err(|error| Refusal::internal(&error)),
        Err(_) => Err(Refusal::internal(&Error::new(ErrorKind::Unavailable, "the host's code panicked"))),
    }
}

#[cfg(test)]
fn _dyn_safe(_: Box<dyn Authorizer>, _: Box<dyn ProjectDirectory>) {}
