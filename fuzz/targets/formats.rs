//! Rendering: every accepted event has a valid body in every format, and Slack's limits hold.
#![no_main]

use harbor_webhook::event::{EventData, Payload};
use harbor_webhook::format::{CloudEventsFormat, DefaultFormat, SlackFormat};
use harbor_webhook::{Event, ProjectId};
use harbor_webhook_fuzz::render;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let Ok(payload) = serde_json::from_slice::<Payload>(body) else { return };
    let operator = payload.operator.clone();
    let Ok(event) = Event::from_payload(ProjectId(2), payload) else { return };
    // The data is repeated in the operator, so that long and strange names are met.
    for event in [event.clone(), event.operator(operator.repeat(200)).request_id(operator)] {
        let default: Value = serde_json::from_slice(&render(&DefaultFormat, &event)).expect("Default is JSON");
        let cloud: Value = serde_json::from_slice(&render(&CloudEventsFormat, &event)).expect("CloudEvents is JSON");
        assert_eq!(default["event_data"], cloud["data"]);
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
    let fenced = |text: &&str| text.strip_prefix("```").and_then(|text| text.strip_suffix("```")).map(str::to_owned);
    let data: Option<String> = texts[5..].iter().map(fenced).collect();
    let data = data.expect("all data is fenced");
    assert!(!data.contains('`'));
    if !data.ends_with("\n… shortened") {
        assert_eq!(serde_json::from_str::<EventData>(&data).expect("the data is whole"), event.data);
    }
}
