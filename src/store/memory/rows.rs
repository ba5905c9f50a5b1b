use std::collections::BTreeMap;
use std::ops::Range;

use super::row::Row;

const BLOCK: usize = 16;

/// All deliveries by their ids, which only grow. They lie in blocks of 16 ids in a row: a tree over blocks costs each
/// delivery a third of what a tree over deliveries would.
#[derive(Debug, Default)]
pub(super) struct Rows {
    blocks: BTreeMap<i64, Block>,
    last: i64,
}

#[derive(Debug, Default)]
struct Block {
    /// A bit for each delivery that waits, so that those can be found past any amount of history.
    waiting: u16,
    rows: Box<[Option<Box<Row>>; BLOCK]>,
}

fn place(id: i64) -> (i64, usize) {
    (id >> BLOCK.trailing_zeros(), (id & (BLOCK as i64 - 1)) as usize)
}

fn id(block: i64, at: usize) -> i64 {
    (block << BLOCK.trailing_zeros()) + at as i64
}

impl Rows {
    pub(super) fn insert(&mut self, row: Row) -> i64 {
        self.last += 1;
        let (block, at) = place(self.last);
        self.blocks.entry(block).or_default().rows[at] = Some(Box::new(row));
        self.last
    }

    pub(super) fn get(&self, id: i64) -> Option<&Row> {
        let (block, at) = place(id);
        self.blocks.get(&block)?.rows[at].as_deref()
    }

    pub(super) fn get_mut(&mut self, id: i64) -> Option<&mut Row> {
        let (block, at) = place(id);
        self.blocks.get_mut(&block)?.rows[at].as_deref_mut()
    }

    pub(super) fn remove(&mut self, id: i64) -> Option<Box<Row>> {
        let (number, at) = place(id);
        let block = self.blocks.get_mut(&number)?;
        let row = block.rows[at].take();
        block.waiting &= !(1 << at);
        if block.rows.iter().all(Option::is_none) {
            self.blocks.remove(&number);
        }
        row
    }

    /// Notes whether the delivery waits.
    pub(super) fn mark(&mut self, id: i64, waits: bool) {
        let (block, at) = place(id);
        if let Some(block) = self.blocks.get_mut(&block) {
            block.waiting = block.waiting & !(1 << at) | u16::from(waits) << at;
        }
    }

    /// The deliveries with these ids, oldest first.
    pub(super) fn within(&self, ids: Range<i64>) -> impl DoubleEndedIterator<Item = (i64, &Row)> {
        let blocks = if ids.is_empty() { 0..0 } else { place(ids.start).0..place(ids.end - 1).0 + 1 };
        let all = self.blocks.range(blocks).flat_map(|(block, rows)| {
            let rows = rows.rows.iter().enumerate();
            rows.filter_map(|(at, row)| Some((id(*block, at), row.as_deref()?)))
        });
        all.filter(move |(id, _)| ids.contains(id))
    }

    /// The deliveries that wait, by their ids. The ages fall from one to the next, but for redelivered ones.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (i64, &Row)> {
        self.blocks.iter().filter(|(_, block)| block.waiting != 0).flat_map(|(number, block)| {
            let waits = |at: &usize| block.waiting >> at & 1 == 1;
            (0..BLOCK).filter(waits).filter_map(|at| Some((id(*number, at), block.rows[at].as_deref()?)))
        })
    }
}
