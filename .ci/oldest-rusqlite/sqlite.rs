//! The SQLite store is held to the contract, and to what it promises beyond that, as in the crate's own tests.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use harbor_webhook::store::SqliteStore;
use harbor_webhook::store::conformance::Factory;
use harbor_webhook::store_conformance;

#[path = "../../tests/it/stores.rs"]
mod stores;
mod support;

struct Sqlite(tempfile::TempDir, std::sync::atomic::AtomicU32);

impl Sqlite {
    fn last(&self) -> std::path::PathBuf {
        self.0.path().join(self.1.load(std::sync::atomic::Ordering::Relaxed).to_string())
    }
}

impl Factory for Sqlite {
    type Store = SqliteStore;

    async fn fresh(&self) -> SqliteStore {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let store = SqliteStore::open(self.last()).await.unwrap();
        store.migrate().await.unwrap();
        store
    }

    async fn reopen(&self, store: SqliteStore) -> Option<SqliteStore> {
        drop(store);
        Some(SqliteStore::open(self.last()).await.unwrap())
    }
}

store_conformance!(sqlite, Sqlite(tempfile::tempdir().unwrap(), 0.into()));

#[test]
fn this_is_the_oldest_version() {
    // SQLite as rusqlite 0.32 bundles it.
    assert_eq!(rusqlite::version(), "3.46.0");
}
