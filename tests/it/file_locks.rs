//! The SQLite file's locks, which keep other processes from taking the write-ahead log away when they close the file.

use std::path::Path;

use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{Page, PolicyFilter, SqliteStore};
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{EventType, ProjectId, Webhooks};
use tokio::task::JoinSet;

/// Whether this process holds a lock on that file, as Linux says for each of its handles.
fn is_locked(path: &Path) -> bool {
    let handles = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
    let of_the_file = handles.filter(|handle| std::fs::read_link(handle.path()).is_ok_and(|at| at == path));
    let mut infos = of_the_file
        .filter_map(|handle| std::fs::read_to_string(Path::new("/proc/self/fdinfo").join(handle.file_name())).ok());
    infos.any(|info| info.contains("lock:"))
}

#[tokio::test]
async fn opening_further_connections_gives_no_lock_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("webhooks.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.migrate().await.unwrap();
    let hooks = Webhooks::builder(store, DestinationPolicy::private_networks()).build().unwrap();
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http("http://ci").unwrap());
    hooks.policies().create(ProjectId(2), draft).await.unwrap();
    assert!(is_locked(&path));
    for _ in 0..3 {
        // Each reads on a connection of its own, and the first ones open it.
        let mut reads = JoinSet::new();
        for _ in 0..8 {
            let hooks = hooks.clone();
            reads.spawn(async move { hooks.policies().list(PolicyFilter::All, Page::first(10)).await });
        }
        for policies in reads.join_all().await {
            assert_eq!(policies.unwrap().len(), 1);
        }
        assert!(is_locked(&path), "a reader gave them up");
    }
    let second = SqliteStore::open(&path).await.unwrap();
    assert!(is_locked(&path), "a second handle gave them up");
    drop(second);
    assert!(is_locked(&path), "closing the second handle gave them up");
}
