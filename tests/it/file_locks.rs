//! The SQLite file's locks, which keep other processes from taking the write-ahead log away when they close the file.

use std::os::unix::fs::MetadataExt;

use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{Page, PolicyFilter, SqliteStore};
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{EventType, ProjectId, Webhooks};
use tokio::task::JoinSet;

/// The locks of this process on that file, as Linux lists them.
fn locks(inode: u64) -> usize {
    let (process, file) = (format!(" {} ", std::process::id()), format!(":{inode} "));
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    locks.lines().filter(|lock| lock.contains(&process) && lock.contains(&file)).count()
}

#[tokio::test]
async fn opening_further_connections_gives_no_lock_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("webhooks.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.migrate().await.unwrap();
    let hooks = Webhooks::builder(store, DestinationPolicy::private_networks()).build().unwrap();
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http("http://ci").unwrap());
    hooks.policies().create(ProjectId(2), draft).await.unwrap();
    let inode = std::fs::metadata(&path).unwrap().ino();
    assert!(locks(inode) > 0);
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
        assert!(locks(inode) > 0, "a reader gave them up");
    }
    let second = SqliteStore::open(&path).await.unwrap();
    assert!(locks(inode) > 0, "a second handle gave them up");
    drop(second);
    assert!(locks(inode) > 0, "closing the second handle gave them up");
}
