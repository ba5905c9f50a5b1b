use harbor_webhook::store::{DeliveryStore, PolicyStore};

/// A store of either kind, with what must outlive it.
pub(crate) trait Fresh: PolicyStore + DeliveryStore + Clone {
    fn fresh() -> impl Future<Output = (Self, Option<tempfile::TempDir>)> + Send;
}

impl Fresh for harbor_webhook::store::MemoryStore {
    async fn fresh() -> (Self, Option<tempfile::TempDir>) {
        (Self::new(), None)
    }
}

impl Fresh for harbor_webhook::store::SqliteStore {
    async fn fresh() -> (Self, Option<tempfile::TempDir>) {
        let folder = tempfile::tempdir().unwrap();
        let store = Self::open(folder.path().join("webhooks.db")).await.unwrap();
        store.migrate().await.unwrap();
        (store, Some(folder))
    }
}
