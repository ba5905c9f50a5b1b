//! What a disk promises, and no more: what was flushed is there after a loss of power. All else may be there, or not, or in part.

use std::collections::{BTreeMap, HashMap};

use super::record::Op;
use crate::simulation::random::Random;

/// Disks may break bits of a file that lie within one of these.
const SECTOR: usize = 512;

/// Wishes for durability that the disk ignores, to see whether the tests notice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lies {
    None,
    /// About every file.
    All,
    /// About SQLite's log, as if it had been written with `synchronous = NORMAL`.
    Log,
    /// About the names of files.
    Folder,
}

/// The files of one folder: what is durable of them, and what has happened since.
#[derive(Debug)]
pub(super) struct Disk<'o> {
    lies: Lies,
    files: Vec<File<'o>>,
    /// Which of the files an inode is now. A number is used again when its file is gone.
    inodes: HashMap<u64, usize>,
    names: HashMap<&'o str, usize>,
    /// Changes of the names, oldest first.
    renamed: Vec<(&'o str, Option<usize>)>,
}

#[derive(Debug, Default)]
struct File<'o> {
    durable: Vec<u8>,
    since: Vec<&'o Op>,
}

impl<'o> Disk<'o> {
    pub(super) fn new(lies: Lies) -> Self {
        Self { lies, files: vec![], inodes: HashMap::new(), names: HashMap::new(), renamed: vec![] }
    }

    pub(super) fn apply(&mut self, op: &'o Op) {
        match op {
            Op::Create { name, inode } => {
                self.files.push(File::default());
                self.inodes.insert(*inode, self.files.len() - 1);
                self.renamed.push((name, Some(self.files.len() - 1)));
            }
            Op::Unlink { name } => self.renamed.push((name, None)),
            Op::Write { inode, .. } | Op::Truncate { inode, .. } => self.file(*inode).since.push(op),
            Op::Sync { name, inode } => self.sync(name, *inode),
        }
    }

    fn file(&mut self, inode: u64) -> &mut File<'o> {
        let file = self.inodes.get(&inode).expect("a file that was made while it was recorded");
        &mut self.files[*file]
    }

    fn sync(&mut self, name: &str, inode: u64) {
        let lie = match self.lies {
            Lies::None => false,
            Lies::All => true,
            Lies::Log => name.ends_with("-wal"),
            Lies::Folder => name.is_empty(),
        };
        match name {
            _ if lie => {}
            // As POSIX has it: a file's name is durable when its folder is, not when the file is.
            "" => {
                for (name, file) in std::mem::take(&mut self.renamed) {
                    set(&mut self.names, name, file);
                }
            }
            _ => self.file(inode).sync(),
        }
    }

    /// What is found when the power was never gone.
    pub(super) fn without_loss(&self) -> BTreeMap<&'o str, Vec<u8>> {
        let mut names = self.names.clone();
        self.renamed.iter().for_each(|(name, file)| set(&mut names, name, *file));
        names.into_iter().map(|(name, file)| (name, self.files[file].without_loss())).collect()
    }

    /// What is found when the power is back.
    pub(super) fn after_loss(&self, random: &Random) -> BTreeMap<&'o str, Vec<u8>> {
        // From nothing at all, the worst, to everything, as when only the process ends.
        let kept_of_8 = [0, 1, 4, 7, 8][random.below(5) as usize];
        let mut names = self.names.clone();
        let mut stopped = Vec::new();
        for (name, file) in &self.renamed {
            // Changes of one name are made in their order; those of different names have none.
            if stopped.contains(name) || random.below(8) >= kept_of_8 {
                stopped.push(name);
            } else {
                set(&mut names, name, *file);
            }
        }
        let mut found: BTreeMap<_, _> =
            names.into_iter().map(|(name, file)| (name, self.files[file].after_loss(kept_of_8, random))).collect();
        // Memory that SQLite's connections share: changed unseen, and never flushed.
        for (_, bytes) in found.iter_mut().filter(|(name, _)| name.ends_with("-shm")) {
            nonsense(bytes, random);
        }
        found
    }
}

fn set<'o>(names: &mut HashMap<&'o str, usize>, name: &'o str, file: Option<usize>) {
    match file {
        Some(file) => names.insert(name, file),
        None => names.remove(name),
    };
}

impl File<'_> {
    fn sync(&mut self) {
        for op in self.since.drain(..) {
            change(&mut self.durable, op, |_| true);
        }
    }

    fn without_loss(&self) -> Vec<u8> {
        let mut found = self.durable.clone();
        self.since.iter().for_each(|op| change(&mut found, op, |_| true));
        found
    }

    fn after_loss(&self, kept_of_8: u64, random: &Random) -> Vec<u8> {
        let mut found = self.durable.clone();
        for op in &self.since {
            // What a write that did not happen should have put behind the end of the file may be there as nonsense.
            if let Op::Write { offset, data, .. } = op
                && random.one_in(8)
            {
                let old = found.len();
                resize(&mut found, old.max(offset + data.len()));
                nonsense(&mut found[old..], random);
            }
            if random.below(8) < kept_of_8 {
                change(&mut found, op, |_| true);
            } else if kept_of_8 > 0 && random.one_in(3) {
                change(&mut found, op, |_sector| random.one_in(2));
            }
        }
        found
    }
}

/// Makes a change, or those sectors of it that are `kept`.
fn change(bytes: &mut Vec<u8>, op: &Op, kept: impl Fn(usize) -> bool) {
    match op {
        Op::Truncate { length, .. } => resize(bytes, *length),
        Op::Write { offset, data, .. } => {
            let (mut at, end) = (*offset, offset + data.len());
            while at < end {
                let next = end.min((at / SECTOR + 1) * SECTOR);
                if kept(at / SECTOR) {
                    resize(bytes, bytes.len().max(next));
                    bytes[at..next].copy_from_slice(&data[at - offset..next - offset]);
                }
                at = next;
            }
        }
        _ => unreachable!("no change of a file's content"),
    }
}

fn nonsense(bytes: &mut [u8], random: &Random) {
    bytes.iter_mut().for_each(|byte| *byte = random.below(256) as u8);
}

fn resize(bytes: &mut Vec<u8>, length: usize) {
    bytes.resize(length, 0);
}
