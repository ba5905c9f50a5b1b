//! Short texts: addresses, `Authorization` values, networks, times, names, `Retry-After`.
#![no_main]

use std::time::Duration;

use harbor_webhook::delivery::retry::parse_retry_after;
use harbor_webhook::event::{Artifact, EventName, TimeText};
use harbor_webhook::policy::{Address, AuthHeader, TargetType};
use harbor_webhook::transport::DestinationPolicy;
use harbor_webhook::{EventType, Registry};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    addresses(text);
    if let Ok(value) = text.parse::<AuthHeader>() {
        assert!(!value.expose().contains(['\r', '\n', '\0']));
    }
    if let Ok(time) = text.parse::<TimeText>() {
        assert_eq!(time.as_str(), text);
        let utc = TimeText::from(time.time().to_utc());
        assert_eq!(utc.time(), time.time());
    }
    if let Ok(kind) = text.parse::<EventType>() {
        assert_eq!(kind.as_str(), text);
    }
    assert_eq!(EventName::from(text.to_owned()).as_str(), text);
    let _ = (text.parse::<TargetType>(), Registry::new(text), Artifact::tagged(text, text), Artifact::untagged(text));
    let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).expect("a time");
    if let Some(pause) = parse_retry_after(text, now) {
        assert!(pause > Duration::ZERO && pause <= Duration::from_secs(7 * 24 * 3600));
    }
});

fn addresses(text: &str) {
    let public = DestinationPolicy::public_addresses();
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.expose(), text.trim());
        assert_eq!(address.expose().parse::<Address>().expect("its own text is read"), address);
        // The origin is all that people see.
        assert!(format!("{address:?}").starts_with(&address.origin()));
        let _ = public.check_address(&address);
    }
    if let Ok(policy) = public.clone().allow_network(text) {
        // A network that is allowed relaxes nothing for the others.
        let metadata = "169.254.169.254".parse().expect("an address");
        let wide = policy.check_addr(metadata).is_ok();
        assert!(!wide || text.contains(['/', '.', ':']), "{text}");
    }
}
