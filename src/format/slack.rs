use super::json::Indent;
use super::time::rfc3339;
use super::{Format, FormatError, RenderContext, Scope, json};
use crate::event::Event;

/// The most characters of one section, as Slack counts them.
const MAX_TEXT: usize = 3000;
/// The most blocks of a message.
const MAX_BLOCKS: usize = 50;
/// The most characters of event data in one message: with the header lines, the message stays within about 13,000.
const MAX_DATA: usize = 12_000;
/// The most characters of an operator's name, as they are sent.
const MAX_OPERATOR: usize = 500;
/// Stands behind what did not fit.
const SHORTENED: &str = "… shortened";
const FENCE: &str = "```";

/// The message that Harbor sends to Slack: five header lines and the event data as a code block.
///
/// Source: Harbor 2.16, `pkg/notifier/handler/notification/slack_handler.go:32-76`. The texts are Harbor's; unlike
/// Harbor's, the body is always valid JSON, no section is longer than Slack takes, the operator cannot mention anybody,
/// nothing in the data can end the code block, and the fallback date is the event's.
#[derive(Clone, Copy, Debug)]
pub struct SlackFormat {
    indent: Indent,
}

impl Default for SlackFormat {
    fn default() -> Self {
        Self { indent: Indent::Tab }
    }
}

impl SlackFormat {
    /// Indents the data with four spaces instead of Harbor's tab. Slack shows both alike.
    #[must_use]
    pub fn with_spaces() -> Self {
        Self { indent: Indent::FourSpaces }
    }

    /// The data as one section, if it is sure to fit: no text has more characters than bytes.
    fn section(self, event: &Event, out: &mut Vec<u8>) -> Result<bool, FormatError> {
        out.extend_from_slice(SECTION);
        let from = out.len();
        out.extend_from_slice(FENCE.as_bytes());
        json::write_quoted(out, &event.data, self.indent)?;
        out.extend_from_slice(FENCE.as_bytes());
        let fits = out.len() - from <= MAX_TEXT;
        out.extend_from_slice(SECTION_END);
        Ok(fits)
    }
}

impl Format for SlackFormat {
    fn name(&self) -> &'static str {
        "Slack"
    }

    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn scope(&self) -> Scope {
        Scope::Event
    }

    fn render(&self, event: &Event, _cx: &RenderContext, out: &mut Vec<u8>) -> Result<(), FormatError> {
        out.extend_from_slice(br#"{"blocks":["#);
        header(event, out)?;
        let from = out.len();
        if !self.section(event, out)? {
            out.truncate(from);
            let mut data = Vec::with_capacity(2 * MAX_DATA);
            json::write_pretty(&mut data, &event.data, self.indent)?;
            let data = String::from_utf8(data).map_err(|e| FormatError::new(e.to_string()))?;
            sections(&data, out);
        }
        // Behind the last block there is no comma.
        out.pop();
        out.extend_from_slice(b"]}");
        Ok(())
    }
}

const SECTION: &[u8] = br#"{"type":"section","text":{"type":"mrkdwn","text":""#;
const SECTION_END: &[u8] = br#""}},"#;

fn header(event: &Event, out: &mut Vec<u8>) -> Result<(), FormatError> {
    out.extend_from_slice(SECTION);
    out.extend_from_slice(b"*Harbor webhook events*");
    out.extend_from_slice(SECTION_END);

    out.extend_from_slice(SECTION);
    out.extend_from_slice(b"*event_type:* ");
    out.extend_from_slice(event.event_type.as_str().as_bytes());
    out.extend_from_slice(SECTION_END);

    let time = rfc3339(event.occur_at)?;
    out.extend_from_slice(SECTION);
    out.extend_from_slice(b"*occur_at:* <!date^");
    json::integer(out, event.occur_at.timestamp());
    out.extend_from_slice(b"^{date} at {time}|");
    out.extend_from_slice(&time[..10]);
    out.push(b' ');
    out.extend_from_slice(&time[11..19]);
    out.extend_from_slice(b" UTC>");
    out.extend_from_slice(SECTION_END);

    out.extend_from_slice(SECTION);
    out.extend_from_slice(b"*operator:* ");
    operator(&event.operator, out);
    out.extend_from_slice(SECTION_END);

    out.extend_from_slice(SECTION);
    out.extend_from_slice(b"*event_data:*");
    out.extend_from_slice(SECTION_END);
    Ok(())
}

/// With Slack's three entities, and a visible end for a name that is too long.
fn operator(name: &str, out: &mut Vec<u8>) {
    let mut room = MAX_OPERATOR;
    let mut buffer = [0; 4];
    for c in name.chars() {
        let (shown, length) = match c {
            '&' => ("&amp;", 5),
            '<' => ("&lt;", 4),
            '>' => ("&gt;", 4),
            // A line break could make a name look like another header line.
            _ if c.is_control() => (" ", 1),
            _ => (&*c.encode_utf8(&mut buffer), 1),
        };
        if length > room {
            return json::text(out, SHORTENED);
        }
        room -= length;
        json::text(out, shown);
    }
}

/// The data as fenced sections, none longer than Slack takes.
fn sections(data: &str, out: &mut Vec<u8>) {
    let room = MAX_TEXT - 2 * FENCE.len() - "\n".len() - SHORTENED.chars().count();
    let most = MAX_BLOCKS - 5;
    let (mut left, rest) = cut(data, MAX_DATA);
    for n in 1.. {
        let (part, more) = cut(left, room);
        let last = more.is_empty() || n == most;
        out.extend_from_slice(SECTION);
        out.extend_from_slice(FENCE.as_bytes());
        json::text(out, part);
        out.extend_from_slice(FENCE.as_bytes());
        if last && !(more.is_empty() && rest.is_empty()) {
            out.extend_from_slice(b"\\n");
            out.extend_from_slice(SHORTENED.as_bytes());
        }
        out.extend_from_slice(SECTION_END);
        if last {
            return;
        }
        left = more;
    }
}

/// Cuts off at most `room` characters: behind a line break if there is one in the second half, and never inside an escape.
fn cut(text: &str, room: usize) -> (&str, &str) {
    let Some((end, _)) = text.char_indices().nth(room) else { return (text, "") };
    let head = &text[..end];
    let line = head.rfind('\n').map(|at| at + 1).filter(|at| *at > end / 2);
    text.split_at(line.unwrap_or_else(|| before_escape(head)))
}

/// Where to cut so that no escape is cut: an escape is a backslash and one to five more characters, and a backslash that
/// is itself escaped begins none.
fn before_escape(head: &str) -> usize {
    let bytes = head.as_bytes();
    // Far enough back that an escape which reaches over the end cannot begin before, then forward over whole tokens.
    let Some(first) =
        bytes.len().checked_sub(6).and_then(|from| bytes[from..].iter().position(|b| *b == b'\\').map(|at| from + at))
    else {
        return bytes.len();
    };
    let run = bytes[..first].iter().rev().take_while(|b| **b == b'\\').count();
    // An odd run in front means that this backslash is the second half of an escaped one.
    let mut at = if run % 2 == 1 { first + 1 } else { first };
    while at < bytes.len() {
        let length = match (bytes[at], bytes.get(at + 1)) {
            (b'\\', Some(b'u')) => 6,
            (b'\\', _) => 2,
            _ => 1,
        };
        if at + length > bytes.len() {
            return at;
        }
        at += length;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_cut_inside_an_escape() {
        for (text, kept) in [
            (r"abc\u003cdef", r"abc"),
            (r"abcdefg\\\nx", r"abcdefg"),
            (r#"abcdefgh\"xx"#, "abcdefgh"),
            (r"\\\\\\\\xx", r"\\\\\\\\"),
        ] {
            let room = if text.starts_with("abcdefgh") { 9 } else { 8 };
            assert_eq!(cut(text, room).0, kept, "{text}");
        }
    }

    #[test]
    fn lines_are_kept_whole_where_they_can_be() {
        let text = format!("{}\n{}", "a".repeat(8), "b".repeat(8));
        assert_eq!(cut(&text, 12), ("aaaaaaaa\n", "bbbbbbbb"));
    }

    #[test]
    fn an_operator_cannot_mention_anybody() {
        let shown = |name: &str| {
            let mut out = vec![b'"'];
            operator(name, &mut out);
            out.push(b'"');
            serde_json::from_slice::<String>(&out).unwrap()
        };
        assert_eq!(shown("<!channel> & co\n*x*"), "&lt;!channel&gt; &amp; co *x*");
        let long = shown(&"<".repeat(10_000));
        assert_eq!(long.strip_suffix(SHORTENED), Some(&*"&lt;".repeat(MAX_OPERATOR / 4)));
    }
}
