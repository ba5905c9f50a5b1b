use std::borrow::Cow;

use chrono::{DateTime, Utc};

/// Something in a list that can be filtered and sorted.
pub(super) trait Row {
    /// What it has under this key; `None` if the key is not known. Keys come [normalised](normal).
    fn field(&self, key: &str) -> Option<Field<'_>>;
}

/// A value of a row. Under one key, all rows have the same kind.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Field<'a> {
    Int(i64),
    Bool(bool),
    Time(DateTime<Utc>),
    Text(Cow<'a, str>),
}

impl<'a> From<&'a str> for Field<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

/// A key as rows know it. Clients may write the column's name or that of the field in Go: `creation_time` or `CreationTime`.
pub(super) fn normal(key: &str) -> String {
    key.trim().chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect()
}
