use harbor_webhook::store::{DeliveryStore, PolicyStore};

/// A store of any kind, with what must outlive it.
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

#[cfg(feature = "postgres")]
impl Fresh for harbor_webhook::store::PostgresStore {
    async fn fresh() -> (Self, Option<tempfile::TempDir>) {
        let store = Self::connect(super::postgres::url(), &super::postgres::schema()).unwrap();
        store.migrate().await.unwrap();
        (store, None)
    }
}

/// Runs each of these tests, which are generic over [`Fresh`], on all stores.
macro_rules! on_every_store {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test::<harbor_webhook::store::MemoryStore>().await;
            })*
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test::<harbor_webhook::store::SqliteStore>().await;
            })*
        }
        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test::<harbor_webhook::store::PostgresStore>().await;
            })*
        }
    };
}
pub(crate) use on_every_store;
