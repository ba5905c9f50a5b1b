use chrono::{DateTime, NaiveDateTime, Utc};
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
/// documents it.
pub(super) fn time(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    let naive = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"].into_iter();
    naive.filter_map(|form| NaiveDateTime::parse_from_str(text, form).ok()).next().map(|time| time.and_utc())
}
