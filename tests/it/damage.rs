//! Files that are foreign, damaged, too new or out of reach: each is an error that says what it is and what to do.

use std::path::Path;
use std::time::Duration;

use harbor_webhook::delivery::State;
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{DeliveryStore, LaneLimits, Page, PolicyFilter, SqliteStore};
use harbor_webhook::{Error, ErrorKind, EventType, Notified, Webhooks};
use rusqlite::Connection;
use serde_json::json;

use crate::running_bridge::{Bridge, refused_start, wait_for};
use crate::support::events::{PROJECT, push};
use crate::support::receiver::Receiver;
use crate::support::sending::{Running, end_state, impatient, loopback};

const LEASE: Duration = Duration::from_secs(60);

async fn store(path: &Path) -> SqliteStore {
    let store = SqliteStore::open(path).await.unwrap();
    store.migrate().await.unwrap();
    store
}

/// Lets go of the store, and waits until all is in the one file.
async fn close(store: SqliteStore, path: &Path) {
    drop(store);
    let log = path.with_extension("db-wal");
    // The last connection empties the log. Of two that close at once neither is the last.
    wait_for("the end of the writer", || {
        drop(Connection::open(path).unwrap().execute_batch("SELECT count(*) FROM sqlite_master"));
        (!log.exists()).then_some(())
    });
}

async fn subscribe(hooks: &Webhooks, url: &str) {
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http(url).unwrap());
    hooks.policies().create(PROJECT, draft).await.unwrap();
}

fn assert_error(error: &Error, kind: ErrorKind, words: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

/// Writes nonsense over the first page of a table.
fn overwrite(path: &Path, table: &str) {
    let conn = Connection::open(path).unwrap();
    let size: u32 = conn.query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap();
    let sql = "SELECT rootpage FROM sqlite_master WHERE name = ?1";
    let page: u32 = conn.query_row(sql, [table], |row| row.get(0)).unwrap();
    drop(conn);
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let nonsense = vec![0xa5; size as usize];
    std::os::unix::fs::FileExt::write_all_at(&file, &nonsense, u64::from(page - 1) * u64::from(size)).unwrap();
}

#[tokio::test]
async fn a_damaged_file_says_so_and_ends_the_sending() {
    let damaged = "damaged; restore it from a backup";
    for table in ["harbor_webhook_outbox", "harbor_webhook_lanes", "harbor_webhook_policies"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("webhooks.db");
        let before = store(&path).await;
        before.append(&[push()]).await.unwrap();
        close(before, &path).await;
        overwrite(&path, table);

        let store = SqliteStore::open(&path).await.unwrap();
        let hooks = Webhooks::builder(store.clone(), loopback()).build().unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), hooks.run(std::future::pending::<()>())).await;
        assert_error(&ended.expect("it does not go on").unwrap_err(), ErrorKind::Store, damaged);
        let refused = match table {
            "harbor_webhook_outbox" => store.append(&[push()]).await.unwrap_err(),
            "harbor_webhook_lanes" => store.claim_events(1, LEASE).await.unwrap_err(),
            _ => hooks.policies().list(PolicyFilter::All, Page::first(10)).await.unwrap_err(),
        };
        assert_error(&refused, ErrorKind::Store, damaged);
    }
}

/// Changes rows behind the back of an index, which goes on to say what it said before.
fn change_unseen(path: &Path, index: &str, change: &str) {
    let conn = Connection::open(path).unwrap();
    let kept = format!("CREATE TABLE kept AS SELECT * FROM sqlite_master WHERE name = '{index}'");
    let hide = format!("{kept}; PRAGMA writable_schema = ON; DELETE FROM sqlite_master WHERE name = '{index}'");
    conn.execute_batch(&hide).unwrap();
    drop(conn);
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(change).unwrap();
    let show = "PRAGMA writable_schema = ON; INSERT INTO sqlite_master SELECT * FROM kept";
    conn.execute_batch(show).unwrap();
    drop(conn);
    Connection::open(path).unwrap().execute_batch("DROP TABLE kept").unwrap();
}

/// What such an index names would be found, and sent, again and again.
#[tokio::test]
async fn an_index_that_contradicts_its_table_ends_the_sending() {
    let delivered = "UPDATE harbor_webhook_deliveries SET state = 3, lease_until = 0";
    for (index, state) in [("due", 0), ("leased", 1)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("webhooks.db");
        let receiver = Receiver::start(|_| 200).await;
        let before = store(&path).await;
        let hooks = Webhooks::builder(before.clone(), loopback()).build().unwrap();
        subscribe(&hooks, &receiver.url).await;
        let policy = hooks.policies().list(PolicyFilter::All, Page::first(1)).await.unwrap().remove(0);
        drop(hooks);
        crate::stores::deliver(&before, &[&policy], LaneLimits::new(10, 1)).await;
        if state == 1 {
            assert_eq!(before.claim(1, LEASE).await.unwrap().len(), 1);
        }
        close(before, &path).await;
        change_unseen(&path, &format!("harbor_webhook_deliveries_{index}"), delivered);

        let hooks = Webhooks::builder(SqliteStore::open(&path).await.unwrap(), loopback()).build().unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), hooks.run(std::future::pending::<()>())).await;
        assert_error(&ended.expect("it does not go on").unwrap_err(), ErrorKind::Store, "damaged; restore it");
        assert!(receiver.seen().is_empty());
    }
}

#[tokio::test]
async fn results_that_can_never_be_written_end_the_sending() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("webhooks.db");
    let receiver = Receiver::start(|_| 200).await;
    let before = store(&path).await;
    let hooks = Webhooks::builder(before.clone(), loopback()).build().unwrap();
    subscribe(&hooks, &receiver.url).await;
    hooks.notify(&push()).await.unwrap();
    drop(hooks);
    close(before, &path).await;
    overwrite(&path, "harbor_webhook_attempts");
    let hooks = Webhooks::builder(SqliteStore::open(&path).await.unwrap(), loopback()).build().unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), hooks.run(std::future::pending::<()>())).await;
    assert_error(&ended.expect("it does not go on").unwrap_err(), ErrorKind::Store, "damaged");
    assert_eq!(receiver.seen().len(), 1);
}

#[tokio::test]
async fn a_file_that_is_nonsense_behind_its_head_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("webhooks.db");
    close(store(&path).await, &path).await;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert_error(&error, ErrorKind::Store, "damaged; restore it from a backup");
    assert!(error.to_string().contains("webhooks.db"), "{error}");
}

#[tokio::test]
async fn tables_of_a_newer_release_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("webhooks.db");
    close(store(&path).await, &path).await;
    Connection::open(&path).unwrap().execute("INSERT INTO harbor_webhook_migrations VALUES (99)", []).unwrap();
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert_error(&error, ErrorKind::Store, "of version 99");
    assert_error(&error, ErrorKind::Store, "use a newer release");
}

#[tokio::test]
async fn the_hosts_own_file_keeps_the_hosts_tables() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    let host = Connection::open(&path).unwrap();
    host.execute_batch("CREATE TABLE blobs (digest TEXT); INSERT INTO blobs VALUES ('sha256:1')").unwrap();
    store(&path).await.append(&[push()]).await.unwrap();
    let kept: String = host.query_row("SELECT digest FROM blobs", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, "sha256:1");
}

/// Permissions do not bind root, so these are places that nobody can write to: a folder, a path through a file, and
/// the kernel's own file system.
#[tokio::test]
async fn places_that_cannot_be_written_are_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let places = [folder.path().to_path_buf(), folder.path().join("file/webhooks.db"), "/proc/webhooks.db".into()];
    for place in places {
        let error = SqliteStore::open(&place).await.unwrap_err();
        assert_error(&error, ErrorKind::Unavailable, "cannot be opened");
        assert!(error.to_string().contains(place.to_str().unwrap()), "{error}");
    }
    // The lock beside the file cannot be made.
    let path = folder.path().join("webhooks.db");
    let store = store(&path).await;
    std::fs::create_dir(folder.path().join("webhooks.db-sender")).unwrap();
    let error = store.claim(1, LEASE).await.unwrap_err();
    assert_error(&error, ErrorKind::Unavailable, "webhooks.db-sender cannot be opened");
}

#[tokio::test]
async fn without_tables_every_call_says_to_make_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("webhooks.db")).await.unwrap();
    let hooks = Webhooks::builder(store.clone(), loopback()).build().unwrap();
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http("http://127.0.0.1:9/").unwrap());
    let errors = [
        hooks.notify(&push()).await.unwrap_err(),
        hooks.policies().create(PROJECT, draft).await.unwrap_err(),
        hooks.status().await.unwrap_err(),
        hooks.run(std::future::pending::<()>()).await.unwrap_err(),
    ];
    for error in errors {
        assert_error(&error, ErrorKind::Store, "call migrate() first");
    }
    store.migrate().await.unwrap();
    assert_eq!(hooks.notify(&push()).await.unwrap(), Notified::NoSubscriber);
}

#[test]
fn a_second_process_does_not_send_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let first = Bridge::start(folder.path(), &["--store", "sqlite:webhooks.db"]);
    assert_eq!(first.healthz()["status"], "ok");
    // The lock is taken by the first claim.
    wait_for("the lock", || folder.path().join("webhooks.db-sender").exists().then_some(()));
    let (code, words) = refused_start(folder.path(), &["--store", "sqlite:webhooks.db"]);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("is already used for sending"), "{words}");
    assert_eq!(first.healthz()["status"], "ok");
}

/// What stands in the row of an event that somebody else wrote, or that a fault of the disk changed.
fn damage(path: &Path) -> usize {
    let conn = Connection::open(path).unwrap();
    let other = serde_json::to_string(&push()).unwrap();
    let later = json!({ "id": "0190c42e-f8a4-7cc0-9a5b-000000000001", "type": "NEW_THING" }).to_string();
    let rows: [&dyn rusqlite::ToSql; 6] = [&"no event", &"", &"\0\n\u{1b}[2J", &other, &later, &rusqlite::types::Null];
    for (id, event) in (0u8..).zip(rows) {
        let sql = "INSERT INTO harbor_webhook_outbox (event_id, event, since) VALUES (?1, ?2, 0)";
        conn.execute(sql, rusqlite::params![[id; 16], event]).unwrap();
    }
    // Text that is not UTF-8, and an id of another length.
    conn.execute_batch(
        "INSERT INTO harbor_webhook_outbox (event_id, event, since) VALUES (zeroblob(15), CAST(x'7bff' AS TEXT), 0);
         INSERT INTO harbor_webhook_outbox (event_id, event, since) VALUES (x'', '{}', 0);",
    )
    .unwrap();
    rows.len() + 2
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_set_aside_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("webhooks.db");
    let hooks = Webhooks::builder(store(&path).await, loopback()).settings(impatient()).build().unwrap();
    let receiver = Receiver::start(|_| 200).await;
    subscribe(&hooks, &receiver.url).await;
    let damaged = damage(&path);
    hooks.notify(&push()).await.unwrap();
    let running = Running::start(&hooks);
    receiver.wait_for(1).await;
    assert_eq!(end_state(&hooks).await, State::Delivered);
    running.stop().await;
    let status = hooks.status().await.unwrap();
    assert_eq!((status.set_aside.len(), status.outbox), (damaged, 0), "{status:?}");
    assert!(status.set_aside.iter().all(|row| !row.reason.is_empty()), "{status:?}");
    assert_eq!(receiver.seen().len(), 1);
}
