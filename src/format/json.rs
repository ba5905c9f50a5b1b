use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter};

use super::FormatError;

/// Appends `value` as Go's `encoding/json` writes it: compact, with `<`, `>`, `&`, U+2028 and U+2029 escaped.
pub(super) fn write(out: &mut Vec<u8>, value: &impl Serialize) -> Result<(), FormatError> {
    let mut serializer = serde_json::Serializer::with_formatter(out, Go);
    value.serialize(&mut serializer).map_err(|e| FormatError::new(e.to_string()))
}

/// Appends `value` over several lines, each level indented by `indent`, with Go's escapes and backticks as `\u0060`.
pub(super) fn write_pretty(out: &mut Vec<u8>, value: &impl Serialize, indent: &[u8]) -> Result<(), FormatError> {
    let formatter = GoPretty(PrettyFormatter::with_indent(indent));
    let mut serializer = serde_json::Serializer::with_formatter(out, formatter);
    value.serialize(&mut serializer).map_err(|e| FormatError::new(e.to_string()))
}

struct Go;

impl Formatter for Go {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        write_escaped(writer, fragment, &GO)
    }
}

struct GoPretty<'a>(PrettyFormatter<'a>);

/// Everything but string fragments as the pretty formatter does it.
impl Formatter for GoPretty<'_> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        write_escaped(writer, fragment, &GO_AND_BACKTICK)
    }
    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        self.0.write_char_escape(writer, escape)
    }
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }
    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }
    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }
    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }
    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }
    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }
    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }
    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

/// Bytes that may begin something to escape. 0xe2 begins U+2028 and U+2029, and much else.
type Suspects<const N: usize> = [u8; N];

const GO: Suspects<4> = *b"<>&\xe2";
const GO_AND_BACKTICK: Suspects<5> = *b"<>&\xe2`";

/// Where the first suspect is. Most texts hold none, so eight bytes are looked at together.
fn position<const N: usize>(bytes: &[u8], suspects: &Suspects<N>) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    let word = words.iter().position(|word| holds_any(u64::from_ne_bytes(*word), suspects));
    let from = word.map_or(bytes.len() - rest.len(), |word| word * 8);
    let at = bytes[from..].iter().position(|b| suspects.contains(b))?;
    Some(from + at)
}

/// Whether one of the word's bytes is a suspect: a byte that is zero after the suspect is taken out of all of them borrows
/// from its highest bit.
fn holds_any<const N: usize>(word: u64, suspects: &Suspects<N>) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    suspects.iter().any(|suspect| {
        let zeroed = word ^ (ONES * u64::from(*suspect));
        zeroed.wrapping_sub(ONES) & !zeroed & HIGHS != 0
    })
}

/// Writes a text that JSON itself has nothing to escape in.
fn write_escaped<const N: usize, W: ?Sized + Write>(
    writer: &mut W,
    text: &str,
    suspects: &Suspects<N>,
) -> io::Result<()> {
    let bytes = text.as_bytes();
    let mut written = 0;
    let mut at = 0;
    while let Some(next) = position(&bytes[at..], suspects) {
        at += next;
        match escape(&bytes[at..]) {
            Some((escaped, length)) => {
                writer.write_all(&bytes[written..at])?;
                writer.write_all(escaped)?;
                at += length;
                written = at;
            }
            None => at += 1,
        }
    }
    writer.write_all(&bytes[written..])
}

/// The escape for what these bytes begin with, and how many of them it stands for.
fn escape(bytes: &[u8]) -> Option<(&'static [u8], usize)> {
    match bytes {
        [b'<', ..] => Some((b"\\u003c", 1)),
        [b'>', ..] => Some((b"\\u003e", 1)),
        [b'&', ..] => Some((b"\\u0026", 1)),
        [b'`', ..] => Some((b"\\u0060", 1)),
        [0xe2, 0x80, 0xa8, ..] => Some((b"\\u2028", 3)),
        [0xe2, 0x80, 0xa9, ..] => Some((b"\\u2029", 3)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_escapes_them() {
        let mut out = Vec::new();
        write(&mut out, &"a<b>&\u{2028}\u{2029}\"\\\n\r\t\u{8}\u{c}\u{1}\u{7f}é/`€").unwrap();
        let expected = r#""a\u003cb\u003e\u0026\u2028\u2029\"\\\n\r\t\b\f\u0001"#.to_owned() + "\u{7f}é/`€\"";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn pretty_text_holds_no_backtick() {
        let mut out = Vec::new();
        write_pretty(&mut out, &std::collections::BTreeMap::from([("a", "`<")]), b"\t").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "{\n\t\"a\": \"\\u0060\\u003c\"\n}");
    }
}
