//! The record of what a process did to the files of a folder: made by `recorder.c`, read here.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// One change of a file or of the folder, or a wish to have such changes made durable.
#[derive(Debug)]
pub(super) enum Op {
    Create { name: String, inode: u64 },
    Unlink { name: String },
    Write { name: String, inode: u64, offset: usize, data: Vec<u8> },
    Truncate { inode: u64, length: usize },
    Sync { name: String, inode: u64 },
}

/// Runs a test of this very program under the recorder, and reads what it did to the files of `folder`.
pub(super) fn record(test: &str, folder: &Path) -> Vec<Op> {
    let place = tempfile::tempdir().unwrap();
    let (recorder, record) = (place.path().join("recorder.so"), place.path().join("record"));
    compile(&recorder);
    let mut process = Command::new(std::env::current_exe().unwrap());
    process.args([test, "--exact", "--nocapture"]).env("LD_PRELOAD", &recorder);
    process.env("POWER_LOSS_FOLDER", folder).env("POWER_LOSS_RECORD", &record);
    let ran = process.output().unwrap();
    let words = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && words.contains("1 passed"), "{words}{}", String::from_utf8_lossy(&ran.stderr));
    read(&std::fs::read(record).unwrap())
}

fn compile(to: &Path) {
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread", "-o"])
        .arg(to)
        .args(["-x", "c", "-"]);
    let started = cc.stdin(Stdio::piped()).spawn();
    let mut started = started.unwrap_or_else(|e| panic!("cc: {e}; this test needs a C compiler: apt-get install gcc"));
    started.stdin.take().unwrap().write_all(include_bytes!("recorder.c")).unwrap();
    let ended = started.wait().unwrap();
    assert!(
        ended.success(),
        "cc ended with {ended}; this test needs the C library's headers: apt-get install libc6-dev"
    );
}

fn read(mut bytes: &[u8]) -> Vec<Op> {
    let mut ops = Vec::new();
    while !bytes.is_empty() {
        let mut number = || u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap());
        let [kind, inode, offset, data, name] = std::array::from_fn(|_| number());
        let name = String::from_utf8(take(&mut bytes, name as usize).to_vec()).unwrap();
        let data = take(&mut bytes, data as usize).to_vec();
        ops.push(match kind as u8 {
            b'C' => Op::Create { name, inode },
            b'U' => Op::Unlink { name },
            b'W' => Op::Write { name, inode, offset: offset as usize, data },
            b'T' => Op::Truncate { inode, length: offset as usize },
            b'S' => Op::Sync { name, inode },
            other => panic!("an entry of kind {other}"),
        });
    }
    ops
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}
