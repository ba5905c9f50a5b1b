use super::message::KeptFor;
use super::row::Row;

/// What a delivery weighs beside its body and its attempts: about what the store's own tables take for it.
const DELIVERY: usize = 256;

/// How many bytes the deliveries take, those that wait apart from history. A body that several of them send counts once,
/// and as waiting if one of them waits.
#[derive(Debug, Default)]
pub(super) struct Weights {
    pub(super) waiting: usize,
    pub(super) history: usize,
}

/// What a delivery adds to its lane.
pub(super) fn in_lane(row: &Row) -> usize {
    DELIVERY + row.message.len() + row.story_bytes()
}

impl Weights {
    /// Counts a delivery as it stands, or takes it out; it must not change in between.
    pub(super) fn count(&mut self, row: &Row, more: bool) {
        let before = row.message.kept_for();
        row.message.count(row.waits(), more);
        self.add(before, row.message.len(), false);
        self.add(row.message.kept_for(), row.message.len(), true);
        let kept_for = if row.waits() { KeptFor::Waiting } else { KeptFor::History };
        self.add(kept_for, DELIVERY + row.story_bytes(), more);
    }

    fn add(&mut self, kept_for: KeptFor, bytes: usize, more: bool) {
        let weight = match kept_for {
            KeptFor::Nobody => return,
            KeptFor::Waiting => &mut self.waiting,
            KeptFor::History => &mut self.history,
        };
        *weight = if more { weight.saturating_add(bytes) } else { weight.saturating_sub(bytes) };
    }
}
