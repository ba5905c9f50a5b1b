//! Arbitrary events with hostile text, in every format.

use harbor_webhook::event::{Artifact, ArtifactInfo, CloudEvent, EventData, Payload, References, Retention};
use harbor_webhook::format::{CloudEventsFormat, DefaultFormat, Format, RenderContext, SlackFormat};
use harbor_webhook::{Event, PolicyId, ProjectId, Registry};
use proptest::prelude::*;
use serde_json::Value;

use crate::support::events::DIGEST;

/// Text that has broken somebody's sender.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "\"",
        "\\",
        "\\\\\"",
        "\n",
        "\r\t",
        "<b>",
        "&amp;",
        "```",
        "<!channel>",
        "\u{2028}",
        "\u{2029}",
        "\0",
        "é",
        "🦀",
        "a",
        "\u{7f}",
        "\u{fffd}",
        "{}",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ]);
    prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat())
}

fn events() -> impl Strategy<Value = Event> {
    let retention = (prop::collection::vec((hostile(), hostile()), 0..120), any::<i64>(), any::<bool>());
    let text = (hostile(), hostile(), 0i64..4_000_000_000);
    (text, retention, any::<bool>()).prop_map(|((operator, free, time), (deleted, total, null), push)| {
        let registry = Registry::new("hub.example.com").unwrap();
        let event = if push {
            let artifact = Artifact::tagged("3.20", DIGEST).unwrap();
            registry.quota_exceed(ProjectId(2), "library/alpine", Some(artifact), free)
        } else {
            let references = if null { References::Null } else { References::List(vec![free]) };
            let info = |(name, status): (String, String)| {
                ArtifactInfo::new("image", status, name).references(references.clone())
            };
            let deleted = deleted.into_iter().map(info).collect();
            registry.tag_retention(ProjectId(2), Retention::new(total, 0, deleted))
        };
        let time = chrono::DateTime::from_timestamp(time, 0).unwrap();
        event.operator(operator.clone()).request_id(operator + "r").occurred_at(time)
    })
}

fn render(format: &dyn Format, event: &Event) -> Vec<u8> {
    let mut out = Vec::new();
    format.render(event, &RenderContext::new(event, format, PolicyId(15)), &mut out).unwrap();
    out
}

/// A few in every run; `.ci/long` asks for many.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

/// The code block's parts without their fences, joined.
fn data(texts: &[String]) -> String {
    let whole = |text: &str| text.strip_suffix(SHORTENED).unwrap_or(text).to_owned();
    texts.iter().map(|text| whole(text).strip_prefix("```").unwrap().strip_suffix("```").unwrap().to_owned()).collect()
}

/// Stands behind the code block of data that was too long.
const SHORTENED: &str = "\n… shortened";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn default_round_trips(event in events()) {
        let body = render(&DefaultFormat, &event);
        prop_assert!(!body.iter().any(|b| *b < 0x20 || b"<>&".contains(b)));
        let payload: Payload = serde_json::from_slice(&body).unwrap();
        let back = Event::from_payload(event.project_id, payload).unwrap().id(event.id);
        prop_assert_eq!(render(&DefaultFormat, &back), body);
        prop_assert_eq!(back.data, event.data);
        prop_assert_eq!(back.operator, event.operator);
    }

    #[test]
    fn cloudevents_round_trip(event in events()) {
        let read: CloudEvent = serde_json::from_slice(&render(&CloudEventsFormat, &event)).unwrap();
        prop_assert_eq!(read.into_event().unwrap().id(event.id), event);
    }

    #[test]
    fn a_further_policy_gets_what_rendering_anew_gives(event in events(), policies in any::<(i64, i64)>()) {
        for format in [&DefaultFormat as &dyn Format, &CloudEventsFormat, &SlackFormat::default()] {
            let cx = |policy| RenderContext::new(&event, format, PolicyId(policy));
            let (mut known, mut anew, mut again) = (Vec::new(), Vec::new(), Vec::new());
            format.render(&event, &cx(policies.0), &mut known).unwrap();
            format.render(&event, &cx(policies.1), &mut anew).unwrap();
            format.render_again(&event, &cx(policies.1), &known, &mut again).unwrap();
            prop_assert_eq!(again, anew);
        }
    }

    #[test]
    fn the_outbox_form_round_trips(event in events()) {
        let json = serde_json::to_string(&event).unwrap();
        prop_assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }

    #[test]
    fn slack_keeps_its_limits_and_its_data(event in events()) {
        let message: Value = serde_json::from_slice(&render(&SlackFormat::default(), &event)).unwrap();
        let blocks = message["blocks"].as_array().unwrap();
        let texts: Vec<String> = blocks.iter().map(|b| b["text"]["text"].as_str().unwrap().to_owned()).collect();
        prop_assert!(texts.len() <= 50);
        prop_assert!(texts.iter().all(|text| text.chars().count() <= 3000));
        prop_assert!(texts.iter().map(|text| text.chars().count()).sum::<usize>() <= 13_000);
        prop_assert!(!texts[3]["*operator:* ".len()..].contains(['<', '>']));
        let data = data(&texts[5..]);
        prop_assert!(!data.contains('`'));
        match texts[texts.len() - 1].ends_with(SHORTENED) {
            // What is left of the data is the beginning of it, and no escape is cut.
            true => prop_assert!(data.ends_with('\n') || unescaped(&data)),
            false => prop_assert_eq!(serde_json::from_str::<EventData>(&data).unwrap(), event.data),
        }
    }
}

/// Whether no escape is cut off at the end: the text can be closed to a valid string.
fn unescaped(text: &str) -> bool {
    let line = text.rsplit('\n').next().unwrap_or(text);
    let tail: Vec<char> = line.chars().rev().take(6).collect();
    let run = tail.iter().take_while(|c| **c == '\\').count();
    let unicode = tail
        .iter()
        .position(|c| *c == 'u')
        .is_some_and(|at| at < 4 && tail.get(at + 1) == Some(&'\\') && tail.get(at + 2) != Some(&'\\'));
    (run % 2 == 0 || line.len() < 2) && !unicode
}
