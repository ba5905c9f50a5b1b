use std::time::Duration;

use chrono::{DateTime, Utc};

use super::SigningKey;
use crate::error::{Error, Result};

/// As many keys as may sign one request.
const MOST: usize = 10;

/// The keys that sign requests, newest first, at most ten. Each may have an end, so that receivers can change over from one
/// to the next in their own time.
#[derive(Clone, Debug, PartialEq)]
pub struct SigningKeys(Vec<Entry>);

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    key: SigningKey,
    until: Option<DateTime<Utc>>,
}

impl SigningKeys {
    /// One key, without an end.
    pub fn new(key: SigningKey) -> Self {
        Self(vec![Entry { key, until: None }])
    }

    /// Adds a key behind the others: the oldest. It signs until that time, or for ever.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if there are ten already.
    pub fn and(mut self, key: SigningKey, until: Option<DateTime<Utc>>) -> Result<Self> {
        self.0.push(Entry { key, until });
        self.bounded()
    }

    /// Puts a new key in front. The others sign for the grace yet, as far as they do not end before; those that have
    /// ended by `now` are left out.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if ten others have not ended.
    pub fn rotate(self, new: SigningKey, now: DateTime<Utc>, grace: Duration) -> Result<Self> {
        let end = now.checked_add_signed(chrono::TimeDelta::from_std(grace).unwrap_or(chrono::TimeDelta::MAX));
        let end = end.unwrap_or(DateTime::<Utc>::MAX_UTC);
        let ending = |entry: Entry| Entry { until: Some(entry.until.map_or(end, |until| until.min(end))), ..entry };
        let older = self.0.into_iter().map(ending).filter(|entry| entry.signs_at(now) && entry.key != new);
        let newest = Entry { key: new.clone(), until: None };
        Self(std::iter::once(newest).chain(older).collect()).bounded()
    }

    /// Each key with its end, newest first.
    pub fn iter(&self) -> impl Iterator<Item = (&SigningKey, Option<DateTime<Utc>>)> {
        self.0.iter().map(|entry| (&entry.key, entry.until))
    }

    /// What a store has kept: none if there are none.
    pub(crate) fn from_entries(entries: Vec<(SigningKey, Option<DateTime<Utc>>)>) -> Result<Option<Self>> {
        let keys = Self(entries.into_iter().map(|(key, until)| Entry { key, until }).collect()).bounded()?;
        Ok((!keys.0.is_empty()).then_some(keys))
    }

    fn bounded(self) -> Result<Self> {
        if self.0.len() > MOST {
            return Err(Error::invalid(
                "signing keys",
                format_args!("there are more than {MOST}; leave the oldest out"),
            ));
        }
        Ok(self)
    }
}

impl Entry {
    fn signs_at(&self, now: DateTime<Utc>) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl From<SigningKey> for SigningKeys {
    fn from(key: SigningKey) -> Self {
        Self::new(key)
    }
}
