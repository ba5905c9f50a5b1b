//! Harbor's `q`: a filter in one text.
//!
//! Source: Harbor 2.16, `lib/q/builder.go:28-213`.

use chrono::{DateTime, Utc};
use url::form_urlencoded;

use super::query::{time, truth};
use super::row::{Field, Row, normal};

/// Conditions, and values in a list, that are taken at most: each is held against each row.
const CONDITIONS: usize = 16;
const VALUES: usize = 100;

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    /// [Normalised](normal).
    pub(super) key: String,
    pub(super) test: Test,
}

/// What must hold of a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// `k=v`.
    Is(String),
    /// `k=~v`, whatever the case.
    Contains(String),
    /// `k=[min~max]`, both included.
    Between(Option<Value>, Option<Value>),
    /// `k={a b c}`.
    OneOf(Vec<Value>),
}

/// A value in a range or a list.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Time(DateTime<Utc>),
    Int(i64),
    Text(String),
}

/// Reads the conditions, all of which must hold. The error is Harbor's message.
pub(super) fn parse(text: &str) -> Result<Vec<Term>, String> {
    let text = unescape(text);
    let mut terms = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let wrong = || format!("the query string must contain \"=\": {part}");
        let (key, value) = part.split_once('=').ok_or_else(wrong)?;
        if let Some(test) = test(value)? {
            terms.push(Term { key: normal(key), test });
        }
        if terms.len() > CONDITIONS {
            return Err(format!("the query string has more than {CONDITIONS} conditions"));
        }
    }
    Ok(terms)
}

/// Harbor unescapes the text once more.
fn unescape(text: &str) -> String {
    // As a query without separators. `=` and `&` must stay what they are.
    let protected = text.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(protected.as_bytes()).map(|(text, _)| text.into_owned()).next().unwrap_or_default()
}

/// `None` is a list of values that all must be there, which nothing here has: Harbor ignores it.
fn test(value: &str) -> Result<Option<Test>, String> {
    let inner = |close: char| {
        let inner = value[1..].strip_suffix(close);
        inner.ok_or_else(|| format!("invalid query string value: {value}"))
    };
    Ok(Some(match value.as_bytes().first() {
        Some(b'~') => Test::Contains(value[1..].to_lowercase()),
        Some(b'[') => {
            let range = inner(']')?.split_once('~').filter(|(_, max)| !max.contains('~'));
            let (min, max) = range.ok_or_else(|| format!("invalid query string value: {value}"))?;
            Test::Between(bound(min), bound(max))
        }
        Some(b'{') => {
            let values: Vec<_> = inner('}')?.split_ascii_whitespace().take(VALUES + 1).map(read).collect();
            if values.len() > VALUES {
                return Err(format!("the query string has a list of more than {VALUES} values"));
            }
            Test::OneOf(values)
        }
        Some(b'(') => return inner(')').map(|_| None),
        Some(b'\\') => Test::Is(value[1..].to_owned()),
        _ => Test::Is(value.to_owned()),
    }))
}

fn bound(text: &str) -> Option<Value> {
    Some(text.trim()).filter(|text| !text.is_empty()).map(read)
}

fn read(text: &str) -> Value {
    if let Some(time) = time(text) {
        Value::Time(time)
    } else if let Ok(number) = text.parse() {
        Value::Int(number)
    } else {
        Value::Text(text.trim_matches('"').to_owned())
    }
}

impl Term {
    /// Whether a row is selected. Unknown keys select all, as in Harbor.
    pub(super) fn selects(&self, row: &impl Row) -> bool {
        row.field(&self.key).is_none_or(|field| self.test.holds(&field))
    }
}

impl Test {
    fn holds(&self, field: &Field<'_>) -> bool {
        match self {
            Self::Is(text) => is(field, text),
            Self::Contains(text) => matches!(field, Field::Text(field) if field.to_lowercase().contains(text)),
            Self::Between(min, max) => {
                min.as_ref().is_none_or(|min| value(field, min).is_some_and(|min| *field >= min))
                    && max.as_ref().is_none_or(|max| value(field, max).is_some_and(|max| *field <= max))
            }
            Self::OneOf(values) => values.iter().any(|one| value(field, one).is_some_and(|one| *field == one)),
        }
    }
}

fn is(field: &Field<'_>, text: &str) -> bool {
    match field {
        Field::Int(number) => text.parse() == Ok(*number),
        Field::Bool(flag) => truth(text) == Some(*flag),
        Field::Time(at) => time(text) == Some(*at),
        Field::Text(field) => field == text,
    }
}

/// The value as one of the field's kind.
fn value<'a>(field: &Field<'_>, value: &'a Value) -> Option<Field<'a>> {
    Some(match (field, value) {
        (Field::Int(_), Value::Int(number)) => Field::Int(*number),
        (Field::Time(_), Value::Time(time)) => Field::Time(*time),
        (Field::Bool(_), Value::Text(text)) => Field::Bool(truth(text)?),
        (Field::Text(_), Value::Text(text)) => (&**text).into(),
        (Field::Text(_), Value::Int(number)) => Field::Text(number.to_string().into()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sample;

    impl Row for Sample {
        fn field(&self, key: &str) -> Option<Field<'_>> {
            Some(match key {
                "name" => "ci-cd".into(),
                "id" => Field::Int(15),
                "enabled" => Field::Bool(true),
                "creationtime" => Field::Time("2023-04-03T06:00:00Z".parse().unwrap()),
                "extraattrs.eventtype" => "PUSH_ARTIFACT".into(),
                _ => return None,
            })
        }
    }

    #[test]
    fn rows_are_selected_as_harbor_does() {
        let selects = |q: &str| parse(q).unwrap().iter().all(|term| term.selects(&Sample));
        for q in [
            "",
            "id=15",
            "ID=15",
            "name=~CI",
            "enabled=True",
            "enabled={true}",
            "id=[10~20]",
            "id=[~15]",
            "id=[15~]",
            "id={1 15}",
            "id=(1 2)",
            "unknown=1",
            "creation_time=[2023-04-03T05:00:00~2023-04-03 06:00:00]",
            "CreationTime=[2023-04-01 00:00:00~]",
            "extra_attrs.event_type=PUSH_ARTIFACT",
            "id=15,enabled=true",
        ] {
            assert!(selects(q), "{q}");
        }
        for q in [
            "id=16",
            "name=ci",
            "name=~x",
            "enabled=false",
            "id=[16~]",
            "id={1 2}",
            "id=x",
            "id=15,id=16",
            "creation_time=[2023-04-03T07:00:00~]",
            "extra_attrs.event_type=PULL_ARTIFACT",
            "id=[a~b]",
        ] {
            assert!(!selects(q), "{q}");
        }
    }

    #[test]
    fn bad_syntax_is_refused() {
        for q in ["id", "id=[1", "id=[1]", "id=[1~2~3]", "id={1", "id=(1", "=[", "id=1,x"] {
            assert!(parse(q).is_err(), "{q}");
        }
        assert!(parse(&"id=1,".repeat(16)).is_ok() && parse(&"id=1,".repeat(17)).is_err());
        let list = |length: usize| parse(&format!("id={{{}}}", "1 ".repeat(length)));
        assert!(list(100).is_ok() && list(101).is_err());
    }

    #[test]
    fn a_backslash_makes_a_value_literal() {
        assert_eq!(parse(r"name=\~x").unwrap()[0].test, Test::Is("~x".into()));
        assert_eq!(parse("name%3D~a%26b").unwrap()[0].test, Test::Contains("a&b".into()));
    }
}
