use serde::Serialize;

use super::{Format, FormatError, RenderContext, Scope, json};
use crate::event::Event;

/// The most characters of one section, as Slack counts them.
const MAX_TEXT: usize = 3000;
/// The most blocks of a message.
const MAX_BLOCKS: usize = 50;
/// The most characters of event data in one message: with the header lines, the message stays within about 13,000.
const MAX_DATA: usize = 12_000;
/// The most characters of an operator's name.
const MAX_OPERATOR: usize = 500;
/// What stands at the end of data that did not fit.
const SHORTENED: &str = "\n… shortened";
const FENCE: &str = "```";

/// The message that Harbor sends to Slack: five header lines and the event data as a code block.
///
/// Source: Harbor 2.16, `pkg/notifier/handler/notification/slack_handler.go:32-76`. The texts are Harbor's; unlike
/// Harbor's, the body is always valid JSON, no section is longer than Slack takes, the operator cannot mention anybody,
/// nothing in the data can end the code block, and the fallback date is the event's.
#[derive(Clone, Copy, Debug)]
pub struct SlackFormat {
    indent: &'static str,
}

impl Default for SlackFormat {
    fn default() -> Self {
        Self { indent: "\t" }
    }
}

impl SlackFormat {
    /// Indents the data with four spaces instead of Harbor's tab. Slack shows both alike.
    #[must_use]
    pub fn with_spaces() -> Self {
        Self { indent: "    " }
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
        let mut data = Vec::with_capacity(2048);
        json::write_pretty(&mut data, &event.data, self.indent.as_bytes())?;
        let data = String::from_utf8(data).map_err(|e| FormatError::new(e.to_string()))?;
        let mut texts = header(event);
        texts.extend(sections(&data));
        serde_json::to_writer(out, &Message { blocks: texts.into_iter().map(Block::new).collect() })
            .map_err(|e| FormatError::new(e.to_string()))
    }
}

#[derive(Serialize)]
struct Message {
    blocks: Vec<Block>,
}

#[derive(Serialize)]
struct Block {
    #[serde(rename = "type")]
    kind: &'static str,
    text: Text,
}

#[derive(Serialize)]
struct Text {
    #[serde(rename = "type")]
    kind: &'static str,
    text: String,
}

impl Block {
    fn new(text: String) -> Self {
        Self { kind: "section", text: Text { kind: "mrkdwn", text } }
    }
}

fn header(event: &Event) -> Vec<String> {
    let time = event.occur_at;
    vec![
        "*Harbor webhook events*".to_owned(),
        format!("*event_type:* {}", event.event_type),
        format!(
            "*occur_at:* <!date^{}^{{date}} at {{time}}|{}>",
            time.timestamp(),
            time.format("%Y-%m-%d %H:%M:%S UTC")
        ),
        format!("*operator:* {}", operator(&event.operator)),
        "*event_data:*".to_owned(),
    ]
}

/// Slack's three entities, and a visible end for a name that is too long.
fn operator(name: &str) -> String {
    let mut shown = String::with_capacity(name.len().min(MAX_OPERATOR));
    for (n, c) in name.chars().enumerate() {
        if n == MAX_OPERATOR {
            shown.push_str("… shortened");
            break;
        }
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            // A line break could make a name look like another header line.
            _ if c.is_control() => shown.push(' '),
            _ => shown.push(c),
        }
    }
    shown
}

/// The data as fenced sections, none longer than Slack takes.
fn sections(data: &str) -> Vec<String> {
    let (shown, rest) = cut(data, MAX_DATA);
    let shortened = if rest.is_empty() { "" } else { SHORTENED };
    let room = MAX_TEXT - 2 * FENCE.len() - SHORTENED.chars().count();
    let most = MAX_BLOCKS - 5;
    let mut sections: Vec<String> = Vec::new();
    let mut left = shown;
    loop {
        let (part, rest) = cut(left, room);
        let last = rest.is_empty() || sections.len() + 1 == most;
        let end = if last { shortened } else { "" };
        sections.push(format!("{FENCE}{part}{end}{FENCE}"));
        if last {
            return sections;
        }
        left = rest;
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
        assert_eq!(operator("<!channel> & co\n*x*"), "&lt;!channel&gt; &amp; co *x*");
        assert!(operator(&"<".repeat(10_000)).chars().count() < MAX_TEXT);
    }
}
