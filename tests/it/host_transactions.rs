//! Thousands of the host's transactions that end in any way, also with the host: the outbox holds what was committed, and no more.
//!
//! The host writes a row of its own in each of them, so that the database itself says which were committed.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use harbor_webhook::store::{DeliveryStore, OutboxRow, SqliteStore};
use rusqlite::Connection;
use uuid::Uuid;

use crate::simulation::random::Random;
use crate::stores::LEASE;
use crate::support::events::push;

const TRANSACTIONS: usize = 10_000;
/// What the host says beside the database, in a line each: what it meant to do before it ends a transaction, and "done" behind it.
const SAID: &str = "said";

/// The host. A test kills it; without that test it makes a few transactions and ends.
#[test]
fn a_host_that_writes() {
    match std::env::var("HOST_TRANSACTIONS_FOLDER") {
        Ok(folder) => host(Path::new(&folder), u64::from(std::process::id()), usize::MAX),
        Err(_) => {
            let folder = tempfile::tempdir().unwrap();
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let store = runtime.block_on(prepare(folder.path()));
            host(folder.path(), 1, 300);
            runtime.block_on(check(&store, folder.path()));
        }
    }
}

fn connect(folder: &Path) -> Connection {
    let conn = Connection::open(folder.join("registry.db")).unwrap();
    conn.busy_timeout(Duration::from_secs(5)).unwrap();
    // Killing a process takes nothing from the kernel, so there is no need to wait for the disk here.
    conn.execute_batch("PRAGMA synchronous = OFF").unwrap();
    conn
}

async fn prepare(folder: &Path) -> SqliteStore {
    let store = SqliteStore::open(folder.join("registry.db")).await.unwrap();
    store.migrate().await.unwrap();
    connect(folder).execute_batch("CREATE TABLE manifests (event_id BLOB PRIMARY KEY)").unwrap();
    store
}

fn host(folder: &Path, seed: u64, transactions: usize) {
    let said = File::options().create(true).append(true).open(folder.join(SAID)).unwrap();
    let say = |what: &str, id: Uuid| (&said).write_all(format!("{what} {id}\n").as_bytes()).unwrap();
    let random = Random::new(seed);
    let mut conn = connect(folder);
    for _ in 0..transactions {
        let event = push();
        let row = OutboxRow::new(&event).unwrap();
        let transaction = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
        transaction.execute("INSERT INTO manifests VALUES (?1)", [row.event_id.as_bytes()]).unwrap();
        transaction.execute(SqliteStore::OUTBOX_INSERT, (row.event_id.as_bytes(), &row.event)).unwrap();
        match random.below(8) {
            0 | 1 => {
                say("rollback", event.id);
                transaction.rollback().unwrap();
            }
            2 => {
                say("rollback", event.id);
                drop(transaction);
                conn = connect(folder);
            }
            _ => {
                say("commit", event.id);
                transaction.commit().unwrap();
                say("done", event.id);
            }
        }
    }
}

/// What the host has said. The last line of one that was killed may be cut off, before the next one's first.
fn said(folder: &Path, what: &str) -> HashSet<Uuid> {
    let said = std::fs::read_to_string(folder.join(SAID)).unwrap_or_default();
    let said = said.lines().filter_map(|line| line.split_once(' '));
    said.filter(|(said, _)| *said == what).filter_map(|(_, id)| id.parse().ok()).collect()
}

async fn in_outbox(store: &impl DeliveryStore) -> HashSet<Uuid> {
    let claimed = store.claim_events(1_000_000, LEASE).await.unwrap();
    let ids: HashSet<Uuid> = claimed.iter().map(|claimed| claimed.event.as_ref().unwrap().id).collect();
    assert_eq!(ids.len(), claimed.len());
    ids
}

async fn check(store: &SqliteStore, folder: &Path) {
    let conn = connect(folder);
    let mut rows = conn.prepare("SELECT event_id FROM manifests").unwrap();
    let rows = rows.query_map([], |row| row.get(0).map(Uuid::from_bytes)).unwrap();
    let committed: HashSet<Uuid> = rows.map(Result::unwrap).collect();
    let found = in_outbox(store).await;
    assert_eq!(found, committed);
    let (done, meant, dropped) = (said(folder, "done"), said(folder, "commit"), said(folder, "rollback"));
    assert!(done.is_subset(&found) && found.is_subset(&meant) && found.is_disjoint(&dropped));
    println!("{} committed, {} rolled back, {} unknown", done.len(), dropped.len(), meant.len() - done.len());
    assert!(!done.is_empty() && !dropped.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outbox_is_what_a_host_that_is_killed_has_committed() {
    let folder = tempfile::tempdir().unwrap();
    let store = prepare(folder.path()).await;
    let random = Random::new(19);
    let mut kills = 0;
    while said(folder.path(), "commit").len() + said(folder.path(), "rollback").len() < TRANSACTIONS {
        let mut host = Command::new(std::env::current_exe().unwrap());
        host.args(["host_transactions::a_host_that_writes", "--exact"]).stdout(Stdio::null());
        let mut host = host.env("HOST_TRANSACTIONS_FOLDER", folder.path()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(100) + random.up_to(Duration::from_millis(500))).await;
        host.kill().unwrap();
        let ended = host.wait().unwrap();
        assert!(ended.code().is_none(), "the host ended by itself: {ended}");
        kills += 1;
        assert!(kills < 500, "the host gets nowhere");
    }
    check(&store, folder.path()).await;
}

#[cfg(feature = "postgres")]
mod postgres {
    use harbor_webhook::store::PostgresStore;
    use harbor_webhook::store::postgres::tokio_postgres::{self, NoTls};

    use super::*;
    use crate::postgres::{client, quoted};
    use crate::support::postgres::{schema, url};

    const TRANSACTIONS: usize = 2_000;
    const CLIENTS: u64 = 4;

    /// One transaction. Gives whether it was committed; the connection is gone after some that were not.
    async fn transaction(
        client: &mut tokio_postgres::Client,
        connection: &tokio::task::AbortHandle,
        store: &PostgresStore,
        sql: &str,
        how: u64,
    ) -> Option<Uuid> {
        let event = push();
        let transaction = client.transaction().await.unwrap();
        transaction.execute(sql, &[&event.id]).await.unwrap();
        store.append_in(&transaction, std::slice::from_ref(&event)).await.unwrap();
        match how {
            0 | 1 => transaction.rollback().await.unwrap(),
            2 => drop(transaction),
            3 => connection.abort(),
            _ => {
                transaction.commit().await.unwrap();
                if how < 6 {
                    store.wake().await;
                }
                return Some(event.id);
            }
        }
        None
    }

    async fn host(store: PostgresStore, sql: String, seed: u64) -> Vec<Uuid> {
        let random = Random::new(seed);
        let mut committed = Vec::new();
        let mut done = 0;
        while done < TRANSACTIONS / CLIENTS as usize {
            let (mut client, connection) = tokio_postgres::connect(url(), NoTls).await.unwrap();
            let connection = tokio::spawn(connection).abort_handle();
            while done < TRANSACTIONS / CLIENTS as usize && !client.is_closed() {
                let how = random.below(12);
                committed.extend(transaction(&mut client, &connection, &store, &sql, how).await);
                done += 1;
                if how == 3 {
                    break;
                }
            }
        }
        committed
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_outbox_is_what_hosts_have_committed() {
        let schema = schema();
        let store = PostgresStore::connect(url(), &schema).unwrap();
        store.migrate().await.unwrap();
        let manifests = format!("{}.manifests", quoted(&schema));
        let client = client(url()).await;
        client.batch_execute(&format!("CREATE TABLE {manifests} (event_id uuid PRIMARY KEY)")).await.unwrap();
        let insert = format!("INSERT INTO {manifests} VALUES ($1)");
        let hosts: Vec<_> = (0..CLIENTS).map(|n| tokio::spawn(host(store.clone(), insert.clone(), n))).collect();
        let mut committed = HashSet::new();
        for host in hosts {
            committed.extend(host.await.unwrap());
        }
        let rows = client.query(&format!("SELECT event_id FROM {manifests}"), &[]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get(0)).collect::<HashSet<Uuid>>(), committed);
        assert_eq!(in_outbox(&store).await, committed);
        assert!((TRANSACTIONS / 2..TRANSACTIONS).contains(&committed.len()), "{}", committed.len());
    }
}
