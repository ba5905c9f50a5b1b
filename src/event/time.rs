use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// A time within a payload: RFC 3339, kept as it was written.
///
/// Scanners write whole seconds or nanoseconds, with `Z` or an offset; a body that is read and rendered again must not
/// differ.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct TimeText(Box<str>);

impl TimeText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The time.
    pub fn time(&self) -> DateTime<FixedOffset> {
        // Parsed when it was made, so it parses; the fallback keeps this free of panics.
        DateTime::parse_from_rfc3339(&self.0).unwrap_or_default()
    }
}

/// Go's zero time.
impl Default for TimeText {
    fn default() -> Self {
        Self("0001-01-01T00:00:00Z".into())
    }
}

/// As Go writes it: no fraction where there is none. RFC 3339 knows the years 0 to 9999; a time outside of them becomes the
/// nearest second within.
impl From<DateTime<Utc>> for TimeText {
    fn from(time: DateTime<Utc>) -> Self {
        const FIRST: i64 = -62_167_219_200;
        const LAST: i64 = 253_402_300_799;
        if !(FIRST..=LAST).contains(&time.timestamp()) {
            let nearest = if time.timestamp() < FIRST { "0000-01-01T00:00:00Z" } else { "9999-12-31T23:59:59Z" };
            return Self(nearest.into());
        }
        let text = time.to_rfc3339_opts(SecondsFormat::Nanos, true);
        let digits = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
        // A time on a full second loses `.000000000`; the dot stops the cut before the seconds' own zeros.
        Self(format!("{digits}Z").into())
    }
}

impl FromStr for TimeText {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match DateTime::parse_from_rfc3339(text) {
            Ok(_) => Ok(Self(text.into())),
            Err(e) => Err(Error::invalid("time", format_args!("not RFC 3339 ({e}): {:?}", cut(text)))),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

impl fmt::Debug for TimeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TimeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for TimeText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TimeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        let written = |text: &str| TimeText::from(text.parse::<DateTime<Utc>>().unwrap()).to_string();
        assert_eq!(written("2023-04-03T06:12:50Z"), "2023-04-03T06:12:50Z");
        assert_eq!(written("2023-04-03T06:12:00.500Z"), "2023-04-03T06:12:00.5Z");
        assert_eq!(written("2023-04-03T06:12:00.123456789Z"), "2023-04-03T06:12:00.123456789Z");
    }

    #[test]
    fn texts_stay_as_they_are() {
        let text = "2023-04-03T14:12:55.120+08:00";
        assert_eq!(text.parse::<TimeText>().unwrap().as_str(), text);
        assert!("yesterday".parse::<TimeText>().is_err());
    }
}
