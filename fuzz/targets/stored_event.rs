//! An event as the outbox holds it: what is read comes back from what is written.
#![no_main]

use harbor_webhook::Event;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|row: &[u8]| {
    let Ok(event) = serde_json::from_slice::<Event>(row) else { return };
    event.check().expect("what is read was checked");
    let written = serde_json::to_string(&event).expect("an event is written");
    assert_eq!(serde_json::from_str::<Event>(&written).expect("our own row is read"), event);
});
