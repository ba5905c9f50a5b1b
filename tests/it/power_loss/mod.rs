//! The power fails under the SQLite store: what was promised is there when it is back.
//!
//! A process works on a store while all that it does to the files is recorded. From the record many disks are made, each with the
//! power cut at another moment, and with whatever was not flushed by then kept, lost or torn at random. `POWER_LOSSES` says
//! how many: 250 by default, more in `.ci/long`. The folder of a disk that breaks a promise is kept and named.

mod disk;
mod record;
mod workload;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use harbor_webhook::delivery::{Delivery, State};
use harbor_webhook::store::{Appended, DeliveryStore, Filter, Page, SqliteStore};
use rusqlite::Connection;
use uuid::Uuid;

use crate::simulation::random::Random;
use crate::stores::LEASE;
use crate::support::events::push;
use disk::{Disk, Lies};
use record::{Op, record};
use workload::{PROMISES, TARGETS};

/// Disks made from one record, before another one is made.
const DISKS: usize = 250;

/// What the process was promised before the power was cut.
#[derive(Default)]
struct Promised {
    /// Events that may be there, as the process had begun to append them.
    begun: HashSet<Uuid>,
    appended: HashSet<Uuid>,
    fanned_out: HashSet<Uuid>,
    delivered: HashSet<i64>,
}

impl Promised {
    fn note(&mut self, line: &str) {
        let (what, id) = line.trim_end().split_once(' ').unwrap();
        let id: Uuid = id.parse().unwrap();
        match what {
            "begun" => drop(self.begun.insert(id)),
            "appended" => drop(self.appended.insert(id)),
            "fanned" => drop(self.fanned_out.insert(id)),
            "delivered" => drop(self.delivered.insert(id.as_u128() as i64)),
            "dropped" => assert!(!self.begun.contains(&id)),
            other => panic!("a promise to have {other}"),
        }
    }
}

/// The process that is recorded. Without a recorder it is only a process that works.
#[test]
fn a_process_that_works() {
    match std::env::var_os("POWER_LOSS_FOLDER") {
        Some(folder) => workload::run(Path::new(&folder)),
        None => workload::run(tempfile::tempdir().unwrap().path()),
    }
}

fn recorded() -> Vec<Op> {
    let folder = tempfile::tempdir().unwrap();
    let ops = record("power_loss::a_process_that_works", folder.path());
    assert_all_was_recorded(&ops, folder.path());
    ops
}

/// The recorder has seen every change: the disk without any loss is the folder as it is.
fn assert_all_was_recorded(ops: &[Op], folder: &Path) {
    let mut disk = Disk::new(Lies::None);
    ops.iter().for_each(|op| disk.apply(op));
    let files = disk.without_loss();
    let names = |name: std::io::Result<std::fs::DirEntry>| name.unwrap().file_name().into_string().unwrap();
    let found: HashSet<String> = std::fs::read_dir(folder).unwrap().map(names).collect();
    assert_eq!(files.keys().map(|name| (*name).to_owned()).collect::<HashSet<_>>(), found);
    for (name, bytes) in files {
        assert!(std::fs::read(folder.join(name)).unwrap() == bytes, "{name} was changed unseen");
    }
}

/// Cuts the power `count` times and gives what was broken by it.
fn cut(ops: &[Op], lies: Lies, count: usize) -> Vec<String> {
    let random = Random::new(count as u64);
    let mut cuts: Vec<usize> = (0..count).map(|_| random.below(ops.len() as u64) as usize + 1).collect();
    cuts.sort_unstable();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut disk, mut promised, mut done, mut broken) = (Disk::new(lies), Promised::default(), 0, Vec::new());
    for cut in cuts {
        for op in &ops[done..cut] {
            match op {
                Op::Write { name, data, .. } if name == PROMISES => promised.note(std::str::from_utf8(data).unwrap()),
                op => disk.apply(op),
            }
        }
        done = cut;
        let folder = write(&disk.after_loss(&random));
        if let Err(why) = runtime.block_on(check(folder.path(), &promised)) {
            let place = if lies == Lies::None { folder.keep() } else { folder.path().to_owned() };
            broken.push(format!("cut at {cut} of {}: {why} ({})", ops.len(), place.display()));
        }
    }
    broken
}

fn write(files: &BTreeMap<&str, Vec<u8>>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files.iter().filter(|(name, _)| **name != PROMISES) {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// Opens what is left, as the process does that comes after.
async fn check(folder: &Path, promised: &Promised) -> Result<(), String> {
    let path = folder.join("webhooks.db");
    let store = SqliteStore::open(&path).await.map_err(|e| e.to_string())?;
    store.migrate().await.map_err(|e| e.to_string())?;
    let waiting = store.claim_events(100_000, LEASE).await.map_err(|e| e.to_string())?;
    let waiting =
        waiting.into_iter().map(|claimed| Ok(claimed.event?.id)).collect::<Result<HashSet<Uuid>, String>>()?;
    let deliveries = store.list(&Filter::all(), Page::first(100_000)).await.map_err(|e| e.to_string())?;
    kept(promised, &waiting, &deliveries)?;
    // It goes on.
    let appended = store.append(&[push()]).await.map_err(|e| e.to_string())?;
    let sound: String = Connection::open(&path)
        .and_then(|conn| conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)))
        .map_err(|e| e.to_string())?;
    expect(appended == [Appended::Inserted] && sound == "ok", || sound)
}

fn kept(promised: &Promised, waiting: &HashSet<Uuid>, deliveries: &[Delivery]) -> Result<(), String> {
    let mut made: HashMap<Uuid, usize> = HashMap::new();
    deliveries.iter().for_each(|delivery| *made.entry(delivery.event_id).or_default() += 1);
    for event in &promised.appended {
        let whole = waiting.contains(event) != (made.get(event) == Some(&TARGETS));
        expect(whole, || format!("the event {event} is lost, or there in part"))?;
    }
    for event in &promised.fanned_out {
        expect(!waiting.contains(event), || format!("the event {event} is to be fanned out again"))?;
    }
    let delivered =
        deliveries.iter().filter(|delivery| delivery.state == State::Delivered).map(|delivery| delivery.id.0);
    let delivered: HashSet<i64> = delivered.collect();
    for id in &promised.delivered {
        expect(delivered.contains(id), || format!("it is forgotten that {id} was delivered"))?;
    }
    let foreign = waiting.iter().chain(made.keys()).find(|event| !promised.begun.contains(event));
    expect(foreign.is_none(), || format!("nobody committed the event {foreign:?}"))
}

fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

#[test]
fn whenever_the_power_fails_every_promise_is_kept() {
    let losses = std::env::var("POWER_LOSSES").ok().and_then(|losses| losses.parse().ok()).unwrap_or(DISKS);
    for part in (0..losses).step_by(DISKS) {
        let broken = cut(&recorded(), Lies::None, DISKS.min(losses - part));
        assert!(broken.is_empty(), "{} promises are broken:\n{}", broken.len(), broken.join("\n"));
    }
}

/// The tests above prove something only if they fail when the store asks for too little.
#[test]
fn a_disk_that_ignores_wishes_breaks_promises() {
    let ops = recorded();
    for lies in [Lies::All, Lies::Log, Lies::Folder] {
        let broken = cut(&ops, lies, 40);
        println!("{lies:?}: {} of 40, {:?}", broken.len(), broken.first());
        assert!(!broken.is_empty(), "{lies:?} went unnoticed");
    }
}
