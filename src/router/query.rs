use chrono::{DateTime, Datelike as _, NaiveDateTime, Utc};
use url::form_urlencoded;

use super::refusal::Refusal;

/// The query of a request, read leniently: a name may come several times, what cannot be decoded becomes a replacement character.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(pub(super) Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: Option<&str>) -> Self {
        Self(form_urlencoded::parse(text.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// The first value of this name; an empty one counts as none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| &**value)
    }

    /// All values of this name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, value)| key == name && !value.is_empty()).map(|(_, value)| &**value)
    }

    /// A number.
    pub(super) fn int(&self, name: &str) -> Result<Option<i64>, Refusal> {
        self.read(name, "of type int64", |text| text.parse().ok())
    }

    /// A time.
    pub(super) fn time(&self, name: &str) -> Result<Option<DateTime<Utc>>, Refusal> {
        self.read(name, "a time such as 2026-11-26T22:00:00Z", time)
    }

    /// A value that is read by a function.
    pub(super) fn read<T>(
        &self,
        name: &str,
        what: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let refuse = || Refusal::unprocessable(format!("{name} in query must be {what}: {text:?}"));
        read(text).map(Some).ok_or_else(refuse)
    }
}

/// `true` and `false` as programs in Go, JavaScript and Python write them.
pub(super) fn truth(text: &str) -> Option<bool> {
    let is = |name: &str| text.eq_ignore_ascii_case(name);
    if is("true") || text == "1" {
        Some(true)
    } else if is("false") || text == "0" {
        Some(false)
    } else {
        None
    }
}

/// A time as clients of Harbor write it: RFC 3339, or without a zone, with `T` as Harbor reads it or with a space as Harbor
/// documents it. Other years than stores can keep are none.
pub(super) fn time(text: &str) -> Option<DateTime<Utc>> {
    let naive = |form| NaiveDateTime::parse_from_str(text, form).ok().map(|time| time.and_utc());
    let zoned = DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
    let time = zoned.or_else(|| naive("%Y-%m-%dT%H:%M:%S%.f")).or_else(|| naive("%Y-%m-%d %H:%M:%S%.f"));
    time.filter(|time| (1..=9999).contains(&time.year()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_leniently_and_within_what_can_be_kept() {
        let expected = Some("2020-04-09T02:36:00Z".parse().unwrap());
        for text in
            ["2020-04-09T02:36:00", "2020-04-09 02:36:00", "2020-04-09T02:36:00Z", "2020-04-09T04:36:00.0+02:00"]
        {
            assert_eq!(time(text), expected, "{text}");
        }
        for text in
            ["", "yesterday", "2020-04-09", "0000-01-01T00:00:00", "+12020-04-09T02:36:00", "-0001-04-09T02:36:00"]
        {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn truth_is_told_in_three_languages() {
        assert_eq!(["true", "True", "1", "TRUE"].map(truth), [Some(true); 4]);
        assert_eq!(["false", "False", "0"].map(truth), [Some(false); 3]);
        assert_eq!(truth("yes"), None);
    }
}
