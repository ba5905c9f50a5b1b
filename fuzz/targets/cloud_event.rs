//! A CloudEvents body: what is read and accepted renders to a body that tells of the same event.
#![no_main]

use harbor_webhook::event::CloudEvent;
use harbor_webhook::format::CloudEventsFormat;
use harbor_webhook_fuzz::render;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(read) = serde_json::from_slice::<CloudEvent>(body) else { return };
    let Ok(event) = read.into_event() else { return };
    let rendered = render(&CloudEventsFormat, &event);
    let again: CloudEvent = serde_json::from_slice(&rendered).expect("our own body is read");
    let again = again.into_event().expect("our own body is accepted").id(event.id);
    assert_eq!(render(&CloudEventsFormat, &again), rendered);
});
