use std::cmp::Ordering;

use super::row::{Row, normal};

/// A key to sort by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Key {
    /// [Normalised](normal).
    pub(super) key: String,
    pub(super) descending: bool,
}

/// Harbor's `sort`: keys behind commas, `-` before those that descend.
pub(super) fn parse(text: &str) -> Vec<Key> {
    let keys = text.split(',').map(str::trim).filter(|key| !key.is_empty());
    // More keys than rows have fields make nothing different.
    keys.take(16)
        .map(|key| Key { key: normal(key.trim_start_matches('-')), descending: key.starts_with('-') })
        .collect()
}

/// Sorts by these keys; unknown ones change nothing, and what is equal stays in its order.
pub(super) fn apply<R: Row>(rows: &mut [R], keys: &[Key]) {
    rows.sort_by(|a, b| {
        let orders = keys.iter().map(|key| {
            let order = a.field(&key.key).cmp(&b.field(&key.key));
            if key.descending { order.reverse() } else { order }
        });
        orders.fold(Ordering::Equal, Ordering::then)
    });
}
