//! The kit for stores, on every store: the bundled ones, and the one that an example brings.

#[path = "../../examples/custom_store/redb_store/mod.rs"]
pub(crate) mod redb_store;

use std::path::PathBuf;
use std::sync::Mutex;

use harbor_webhook::store::conformance::{Factory, replay};
use harbor_webhook::store::{MemoryStore, SqliteStore};
use harbor_webhook::store_conformance;
use tempfile::TempDir;

#[cfg(feature = "postgres")]
use crate::support;
use redb_store::RedbStore;

struct Memory;

impl Factory for Memory {
    type Store = MemoryStore;

    async fn fresh(&self) -> MemoryStore {
        MemoryStore::new()
    }
}

/// A folder for stores that are a file each.
struct Folder(TempDir, Mutex<u32>);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap(), Mutex::new(0))
    }

    fn next(&self) -> PathBuf {
        *self.1.lock().unwrap() += 1;
        self.last()
    }

    fn last(&self) -> PathBuf {
        self.0.path().join(self.1.lock().unwrap().to_string())
    }
}

struct Sqlite(Folder);

impl Factory for Sqlite {
    type Store = SqliteStore;

    async fn fresh(&self) -> SqliteStore {
        let store = SqliteStore::open(self.0.next()).await.unwrap();
        store.migrate().await.unwrap();
        store
    }

    async fn reopen(&self, store: SqliteStore) -> Option<SqliteStore> {
        drop(store);
        Some(SqliteStore::open(self.0.last()).await.unwrap())
    }
}

/// SQLite behind a sealer.
#[cfg(feature = "sealing")]
struct Sealed(Sqlite);

#[cfg(feature = "sealing")]
impl Sealed {
    fn over(store: SqliteStore) -> harbor_webhook::store::Sealed<SqliteStore> {
        let key = "a2VwdCBmcm9tIHRoZSBzdG9yZSBieSB0aGUgaG9zdCE=".parse().unwrap();
        harbor_webhook::store::Sealed::new(store, harbor_webhook::sealing::SealingKeys::new("1", key).unwrap())
    }
}

#[cfg(feature = "sealing")]
impl Factory for Sealed {
    type Store = harbor_webhook::store::Sealed<SqliteStore>;

    async fn fresh(&self) -> Self::Store {
        Self::over(self.0.fresh().await)
    }

    async fn reopen(&self, store: Self::Store) -> Option<Self::Store> {
        drop(store);
        Some(Self::over(SqliteStore::open(self.0.0.last()).await.unwrap()))
    }
}

struct Redb(Folder);

impl Factory for Redb {
    type Store = RedbStore;

    async fn fresh(&self) -> RedbStore {
        RedbStore::open(self.0.next()).unwrap()
    }

    async fn reopen(&self, store: RedbStore) -> Option<RedbStore> {
        drop(store);
        Some(RedbStore::open(self.0.last()).unwrap())
    }
}

/// The schema that was made last.
#[cfg(feature = "postgres")]
struct Postgres(Mutex<String>);

#[cfg(feature = "postgres")]
impl Postgres {
    fn new() -> Self {
        Self(Mutex::default())
    }

    fn connect(&self) -> harbor_webhook::store::PostgresStore {
        harbor_webhook::store::PostgresStore::connect(support::postgres::url(), &self.0.lock().unwrap()).unwrap()
    }
}

#[cfg(feature = "postgres")]
impl Factory for Postgres {
    type Store = harbor_webhook::store::PostgresStore;

    async fn fresh(&self) -> Self::Store {
        *self.0.lock().unwrap() = support::postgres::schema();
        let store = self.connect();
        store.migrate().await.unwrap();
        store
    }

    async fn reopen(&self, store: Self::Store) -> Option<Self::Store> {
        drop(store);
        Some(self.connect())
    }
}

/// Random operations of other seeds than every run has; `.ci/long` asks for very many.
async fn more_seeds<F: Factory>(factory: &F, seeds: u64) {
    let seeds = std::env::var("STORE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(seeds);
    for seed in 1000..1000 + seeds {
        if let Err(broken) = replay(factory, seed).await {
            panic!("{broken}");
        }
    }
}

/// Where time goes by itself.
#[tokio::test(start_paused = true)]
async fn more_seeds_on_the_memory_store() {
    more_seeds(&Memory, 100).await;
}

#[tokio::test]
async fn more_seeds_on_sqlite() {
    more_seeds(&Sqlite(Folder::new()), 5).await;
}

#[tokio::test]
async fn more_seeds_on_redb() {
    more_seeds(&Redb(Folder::new()), 5).await;
}

store_conformance!(memory, Memory);
store_conformance!(sqlite, Sqlite(Folder::new()));
#[cfg(feature = "sealing")]
store_conformance!(sealed, Sealed(Sqlite(Folder::new())));
store_conformance!(redb, Redb(Folder::new()));
#[cfg(feature = "postgres")]
store_conformance!(postgres, Postgres::new());
