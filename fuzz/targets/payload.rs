//! A Default body: what is read and accepted renders to a body that reads and renders as the same again.
#![no_main]

use harbor_webhook::event::Payload;
use harbor_webhook::format::DefaultFormat;
use harbor_webhook::{Event, ProjectId};
use harbor_webhook_fuzz::render;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(payload) = serde_json::from_slice::<Payload>(body) else { return };
    let Ok(event) = Event::from_payload(ProjectId(2), payload) else { return };
    let rendered = render(&DefaultFormat, &event);
    let again: Payload = serde_json::from_slice(&rendered).expect("our own body is read");
    let again = Event::from_payload(ProjectId(2), again).expect("our own body is accepted").id(event.id);
    // Not the same values: Go writes 0.0 as 0.
    assert_eq!(render(&DefaultFormat, &again), rendered);
});
