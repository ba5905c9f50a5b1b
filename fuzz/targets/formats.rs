//! Rendering: every accepted event has a valid body in every format, and Slack's limits hold.
#![no_main]

use harbor_webhook::event::{EventData, Payload};
use harbor_webhook::format::{CloudEventsFormat, DefaultFormat, Format, RenderContext, SlackFormat};
use harbor_webhook::{Event, PolicyId, ProjectId};
use harbor_webhook_fuzz::render;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let Ok(payload) = serde_json::from_slice::<Payload>(body) else { return };
    let operator = payload.operator.clone();
    let Ok(event) = Event::from_payload(ProjectId(2), payload) else { return };
    // The data is repeated in the operator, so that long and strange names are met.
    for event in [event.clone(), event.operator(operator.repeat(200)).request_id(operator)] {
        let data = numbers(serde_json::to_value(&event.data).expect("data is written"));
        for (format, member) in [(&DefaultFormat as &dyn Format, "event_data"), (&CloudEventsFormat, "data")] {
            let first = render(format, &event);
            let mut body: Value = serde_json::from_slice(&first).expect("the body is JSON");
            assert_eq!(numbers(body[member].take()), data);
            let cx = RenderContext::new(&event, format, PolicyId(15));
            let mut again = Vec::new();
            format.render_again(&event, &cx, &first, &mut again).expect("a further policy has a body");
            assert_eq!(again, first);
        }
        slack(&event, &SlackFormat::default());
        slack(&event, &SlackFormat::with_spaces());
    }
});

fn slack(event: &Event, format: &SlackFormat) {
    let message: Value = serde_json::from_slice(&render(format, event)).expect("Slack is JSON");
    let blocks = message["blocks"].as_array().expect("blocks");
    let texts: Vec<&str> = blocks.iter().map(|block| block["text"]["text"].as_str().expect("a text")).collect();
    assert!(texts.len() <= 50);
    assert!(texts.iter().all(|text| text.chars().count() <= 3000));
    assert!(!texts[3]["*operator:* ".len()..].contains(['<', '>', '\n']));
    let shortened = texts[texts.len() - 1].ends_with(SHORTENED);
    let data: Option<String> = texts[5..].iter().map(fenced).collect();
    let data = data.expect("all data is fenced");
    assert!(!data.contains('`'));
    if !shortened {
        let read: EventData = serde_json::from_str(&data).expect("the data is whole");
        let values = |data| numbers(serde_json::to_value(data).expect("data is written"));
        assert_eq!(values(&read), values(&event.data));
    }
}

/// Stands behind the code block of data that was too long.
const SHORTENED: &str = "\n… shortened";

fn fenced(text: &&str) -> Option<String> {
    let text = text.strip_suffix(SHORTENED).unwrap_or(text);
    Some(text.strip_prefix("```")?.strip_suffix("```")?.to_owned())
}

/// All numbers as fractions: Go writes 0.0 as 0, and both are the same.
fn numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(list) => list.into_iter().map(numbers).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, numbers(value))).collect(),
        other => other,
    }
}
