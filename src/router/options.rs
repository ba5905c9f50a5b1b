use std::time::Duration;

/// What a host chooses about the [router](super::webhook_router).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RouterOptions {
    /// What Harbor's own paths begin with, as it stands in URLs: `/api/v2.0`.
    pub base_path: String,
    /// What the paths begin with that Harbor does not have: `/api/webhooks/v1`.
    pub ext_path: String,
    /// Shows secrets to everybody who may read policies, as Harbor does. Off: they are masked.
    pub show_secrets: bool,
    /// Refuses with status 412 to delete a policy while deliveries of it wait, as Harbor does. Off: they are cancelled.
    pub refuse_delete_while_waiting: bool,
    /// Policies that a project may have: 2000. Beyond it none can be created here.
    pub max_policies: usize,
    /// Targets that a policy may have: 100.
    pub max_targets: usize,
    /// Targets that all policies of a project may have together: 2000. What shows a project, and each event in it, costs more with each.
    pub max_project_targets: usize,
    /// The largest body of a request, in bytes: 1 MiB. A larger one is refused with status 413.
    pub max_body: usize,
    /// How long a client may take to send the body of a request: 30 seconds. A slower one is refused with status 408.
    pub body_timeout: Duration,
}

impl Default for RouterOptions {
    fn default() -> Self {
        Self {
            base_path: "/api/v2.0".into(),
            ext_path: "/api/webhooks/v1".into(),
            show_secrets: false,
            refuse_delete_while_waiting: false,
            max_policies: 2000,
            max_targets: 100,
            max_project_targets: 2000,
            max_body: 1024 * 1024,
            body_timeout: Duration::from_secs(30),
        }
    }
}

impl RouterOptions {
    /// Sets what Harbor's own paths begin with.
    #[must_use]
    pub fn base_path(mut self, path: impl Into<String>) -> Self {
        self.base_path = path.into();
        self
    }

    /// Sets what the other paths begin with.
    #[must_use]
    pub fn ext_path(mut self, path: impl Into<String>) -> Self {
        self.ext_path = path.into();
        self
    }

    /// Sets whether secrets are shown to readers.
    #[must_use]
    pub fn show_secrets(mut self, show: bool) -> Self {
        self.show_secrets = show;
        self
    }

    /// Sets whether a policy can be deleted only when nothing of it waits.
    #[must_use]
    pub fn refuse_delete_while_waiting(mut self, refuse: bool) -> Self {
        self.refuse_delete_while_waiting = refuse;
        self
    }
}
