use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::SigningKey;
use super::message::Message;
use crate::error::{Error, Result};

/// As many keys as may be kept for one target.
const MOST: usize = 10;

/// The keys that sign requests: the newest, which has no end, and up to nine older ones, each with an end or without, so that
/// receivers can change over in their own time. All that have not ended sign.
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

    /// Adds a key that is older than the others. It signs until that time, or for ever.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if there are ten already.
    pub fn and(mut self, older: SigningKey, until: Option<DateTime<Utc>>) -> Result<Self> {
        self.0.push(Entry { key: older, until });
        self.bounded()
    }

    /// Puts a new key in front. The others sign for the grace yet, as far as they do not end before; those that have
    /// ended by `now` are left out. A day's grace is usual.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if ten others have not ended.
    pub fn rotate(self, new: SigningKey, now: DateTime<Utc>, grace: Duration) -> Result<Self> {
        let end = TimeDelta::from_std(grace).ok().and_then(|grace| now.checked_add_signed(grace));
        let end = end.unwrap_or(DateTime::<Utc>::MAX_UTC);
        let ending = |entry: Entry| Entry { until: Some(entry.until.map_or(end, |until| until.min(end))), ..entry };
        let mut keys: Vec<_> = self.0.into_iter().map(ending).collect();
        keys.retain(|entry| entry.signs_at(now) && entry.key != new);
        keys.insert(0, Entry { key: new, until: None });
        Self(keys).bounded()
    }

    /// Each key with its end, newest first.
    pub fn iter(&self) -> impl Iterator<Item = (&SigningKey, Option<DateTime<Utc>>)> {
        self.0.iter().map(|entry| (&entry.key, entry.until))
    }

    /// What a store has kept: none if there are none.
    pub(crate) fn from_entries(entries: Vec<(SigningKey, Option<DateTime<Utc>>)>) -> Result<Option<Self>> {
        if entries.first().is_some_and(|(_, until)| until.is_some()) {
            return Err(Error::invalid("signing keys", "the newest has an end; nothing would sign behind it"));
        }
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

/// The value of the signature header: what each key signs that has not ended, those of the target before those of all.
pub(crate) fn signatures(sets: [Option<&SigningKeys>; 2], id: &str, at: DateTime<Utc>, body: &[u8]) -> Option<String> {
    let message = Message { id, timestamp: at.timestamp(), body };
    let mut signing: Vec<&SigningKey> = Vec::new();
    for entry in sets.into_iter().flatten().flat_map(|keys| &keys.0) {
        if entry.signs_at(at) && !signing.contains(&&entry.key) {
            signing.push(&entry.key);
        }
    }
    let signatures: Vec<_> = signing.into_iter().map(|key| key.sign(&message)).collect();
    (!signatures.is_empty()).then(|| signatures.join(" "))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> SigningKey {
        format!("whsec_{}", "abcd".repeat(8 + usize::from(n))).parse().unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn old_keys_sign_for_the_grace_and_no_longer() {
        let day = Duration::from_secs(86_400);
        let keys = SigningKeys::new(key(1)).rotate(key(2), at(1_000), day).unwrap();
        let keys = keys.rotate(key(3), at(2_000), day).unwrap();
        let ends: Vec<_> = keys.iter().map(|(key, until)| (key.clone(), until)).collect();
        assert_eq!(ends, [(key(3), None), (key(2), Some(at(88_400))), (key(1), Some(at(87_400)))]);
        let count = |seconds| signatures([Some(&keys), None], "id", at(seconds), b"{}").unwrap().split(' ').count();
        assert_eq!([count(2_000), count(87_399), count(87_400), count(88_400)], [3, 3, 2, 1]);
        let later = keys.rotate(key(4), at(90_000), Duration::ZERO).unwrap();
        assert_eq!(later.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [key(4)]);
    }

    #[test]
    fn ten_keys_are_the_most() {
        let mut keys = SigningKeys::new(key(0));
        for n in 1..10 {
            keys = keys.and(key(n), None).unwrap();
        }
        assert!(keys.clone().and(key(10), None).is_err());
        assert!(keys.clone().rotate(key(10), at(0), Duration::from_secs(1)).is_err());
        assert!(keys.rotate(key(10), at(0), Duration::ZERO).is_ok());
    }

    #[test]
    fn a_key_of_both_sets_signs_once() {
        let (one, both) = (SigningKeys::new(key(1)), SigningKeys::new(key(2)).and(key(1), None).unwrap());
        let signed = |sets| signatures(sets, "id", at(0), b"{}");
        assert_eq!(signed([Some(&one), Some(&both)]).unwrap().split(' ').count(), 2);
        assert_eq!(signed([None, Some(&one)]), signed([Some(&one), None]));
        assert_eq!(signed([None, None]), None);
    }
}
