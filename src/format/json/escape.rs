use super::Indent;

/// How the same JSON is put down.
pub(super) trait Style: Copy {
    /// Begins and ends a string.
    const QUOTE: &'static [u8];
    /// Ends a key's string and stands before its value.
    const KEY_END: &'static [u8];
    /// Whether a backtick is escaped.
    const NO_BACKTICK: bool;

    /// An escape begins with a backslash.
    fn escape(out: &mut Vec<u8>, escape: &[u8]);

    /// Begins a line at this level.
    fn line(self, out: &mut Vec<u8>, level: usize);
}

/// No white space at all.
#[derive(Clone, Copy)]
pub(super) struct Compact;

impl Style for Compact {
    const QUOTE: &'static [u8] = b"\"";
    const KEY_END: &'static [u8] = b"\":";
    const NO_BACKTICK: bool = false;

    #[inline]
    fn escape(out: &mut Vec<u8>, escape: &[u8]) {
        out.extend_from_slice(escape);
    }

    #[inline]
    fn line(self, _out: &mut Vec<u8>, _level: usize) {}
}

/// Over several lines.
#[derive(Clone, Copy)]
pub(super) struct Pretty(pub(super) Indent);

impl Style for Pretty {
    const QUOTE: &'static [u8] = b"\"";
    const KEY_END: &'static [u8] = b"\": ";
    const NO_BACKTICK: bool = true;

    fn escape(out: &mut Vec<u8>, escape: &[u8]) {
        out.extend_from_slice(escape);
    }

    fn line(self, out: &mut Vec<u8>, level: usize) {
        out.push(b'\n');
        for _ in 0..level {
            out.extend_from_slice(match self.0 {
                Indent::Tab => b"\t",
                Indent::FourSpaces => b"    ",
            });
        }
    }
}

/// [`Pretty`], escaped once more to stand within a JSON string.
#[derive(Clone, Copy)]
pub(super) struct Quoted(pub(super) Indent);

impl Style for Quoted {
    const QUOTE: &'static [u8] = b"\\\"";
    const KEY_END: &'static [u8] = b"\\\": ";
    const NO_BACKTICK: bool = true;

    fn escape(out: &mut Vec<u8>, escape: &[u8]) {
        for byte in escape {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
    }

    #[inline]
    fn line(self, out: &mut Vec<u8>, level: usize) {
        out.extend_from_slice(b"\\n");
        for _ in 0..level {
            out.extend_from_slice(match self.0 {
                Indent::Tab => b"\\t",
                Indent::FourSpaces => b"    ",
            });
        }
    }
}

/// Appends a text without its quotes.
#[inline]
pub(super) fn text<S: Style>(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let plain = plain::<S>(bytes);
    out.extend_from_slice(&bytes[..plain]);
    if plain < bytes.len() {
        escaped::<S>(out, &bytes[plain..]);
    }
}

/// Appends the rest of a text, from its first suspect on.
#[cold]
fn escaped<S: Style>(out: &mut Vec<u8>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let taken = match of::<S>(bytes) {
            Some((escape, length)) => {
                S::escape(out, escape);
                length
            }
            // A suspect that was none, and what is plain behind it.
            None => {
                let length = 1 + plain::<S>(&bytes[1..]);
                out.extend_from_slice(&bytes[..length]);
                length
            }
        };
        bytes = &bytes[taken..];
    }
}

/// How many bytes at the beginning hold no suspect. Most texts hold none, so sixteen bytes are looked at together.
#[inline]
fn plain<S: Style>(bytes: &[u8]) -> usize {
    let mut at = 0;
    for chunk in bytes.as_chunks::<16>().0 {
        if chunk.iter().fold(false, |any, b| any | is_suspect::<S>(*b)) {
            break;
        }
        at += chunk.len();
    }
    bytes[at..].iter().position(|b| is_suspect::<S>(*b)).map_or(bytes.len(), |more| at + more)
}

/// Whether the byte is escaped, or may begin U+2028 or U+2029.
#[inline]
fn is_suspect<S: Style>(b: u8) -> bool {
    (b < 0x20)
        | (b == b'"')
        | (b == b'\\')
        | (b == b'<')
        | (b == b'>')
        | (b == b'&')
        | (b == 0xe2)
        | (S::NO_BACKTICK & (b == b'`'))
}

/// The escape for what these bytes begin with, and how many of them it stands for.
fn of<S: Style>(bytes: &[u8]) -> Option<(&'static [u8], usize)> {
    let escape: &[u8] = match bytes {
        [b'"', ..] => b"\\\"",
        [b'\\', ..] => b"\\\\",
        [b'\n', ..] => b"\\n",
        [b'\r', ..] => b"\\r",
        [b'\t', ..] => b"\\t",
        [0x08, ..] => b"\\b",
        [0x0c, ..] => b"\\f",
        [control @ ..0x20, ..] => &CONTROLS[usize::from(*control)],
        [b'<', ..] => b"\\u003c",
        [b'>', ..] => b"\\u003e",
        [b'&', ..] => b"\\u0026",
        [b'`', ..] if S::NO_BACKTICK => b"\\u0060",
        [0xe2, 0x80, 0xa8, ..] => return Some((b"\\u2028", 3)),
        [0xe2, 0x80, 0xa9, ..] => return Some((b"\\u2029", 3)),
        _ => return None,
    };
    Some((escape, 1))
}

/// `\u0000` to `\u001f`.
static CONTROLS: [[u8; 6]; 32] = {
    let mut all = [*b"\\u0000"; 32];
    let mut n = 0;
    while n < 32 {
        all[n][4] = b'0' + (n as u8 >> 4);
        all[n][5] = b"0123456789abcdef"[n & 15];
        n += 1;
    }
    all
};

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str =
        "a<b>&\u{2028}\u{2029}\"\\\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{7f}é/`€ and some plain words behind it";

    #[test]
    fn texts_are_escaped_as_go_escapes_them() {
        let mut out = Vec::new();
        text::<Compact>(&mut out, HOSTILE);
        let escapes = r#"a\u003cb\u003e\u0026\u2028\u2029\"\\\n\r\t\b\f\u0001\u001f"#.to_owned();
        assert_eq!(String::from_utf8(out).unwrap(), escapes + "\u{7f}é/`€ and some plain words behind it");
    }

    #[test]
    fn a_quoted_text_is_the_escaped_one_escaped_again() {
        let mut once = Vec::new();
        text::<Compact>(&mut once, HOSTILE);
        let once = String::from_utf8(once).unwrap().replace('`', "\\u0060");
        let mut twice = Vec::new();
        text::<Quoted>(&mut twice, HOSTILE);
        assert_eq!(format!("\"{}\"", String::from_utf8(twice).unwrap()), serde_json::to_string(&once).unwrap());
    }

    #[test]
    fn a_quoted_value_is_the_pretty_one_as_a_string() {
        use super::super::{write_pretty, write_quoted};
        let value = serde_json::json!({"a`<": [HOSTILE, {}, []], "b": {"c": [1, -2, 0.5, true, null]}});
        for indent in [Indent::Tab, Indent::FourSpaces] {
            let (mut pretty, mut quoted) = (Vec::new(), Vec::new());
            write_pretty(&mut pretty, &value, indent).unwrap();
            write_quoted(&mut quoted, &value, indent).unwrap();
            let pretty = String::from_utf8(pretty).unwrap();
            assert_eq!(serde_json::from_str::<serde_json::Value>(&pretty).unwrap(), value);
            assert!(!pretty.contains('`'));
            assert_eq!(format!("\"{}\"", String::from_utf8(quoted).unwrap()), serde_json::to_string(&pretty).unwrap());
        }
    }

    #[test]
    fn a_suspect_is_found_wherever_it_stands() {
        for length in 1..50 {
            for at in 0..length {
                let mut bytes = vec![b'x'; length];
                bytes[at] = b'&';
                assert_eq!(plain::<Compact>(&bytes), at);
            }
        }
    }
}
