//! The headers of a signed request, a line each, and its body: what nobody signed is refused, and what we sign is taken.
#![no_main]

use chrono::DateTime;
use harbor_webhook::signing::{SigningKey, Verifier};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "whsec_a2VwdCBmcm9tIHRoZSBmdXp6ZXIgYXMgYSBzZWNyZXQ=";

fuzz_target!(|data: &[u8]| {
    let key: SigningKey = SECRET.parse().expect("a key");
    let verifier = Verifier::new([key.verifying_key()]);
    let now = DateTime::from_timestamp(1_614_265_330, 0).expect("a time");
    let mut parts = data.splitn(4, |byte| *byte == b'\n');
    let [id, timestamp, signatures, body] = [(); 4].map(|()| parts.next());
    let body = body.unwrap_or_default();
    let header = |name: &str| match name {
        "webhook-id" => id,
        "webhook-timestamp" => timestamp,
        _ => signatures,
    };
    let reason = verifier.verify_at(now, header, body).expect_err("nobody signed it").to_string();
    assert!(reason.len() < 120, "{reason}");

    let Some(Ok(id)) = id.map(str::from_utf8) else { return };
    let headers = key.headers(id, now, body);
    let header = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_bytes());
    let good = !id.is_empty() && id.len() <= 256 && id.bytes().all(|b| b.is_ascii_graphic() && b != b'.');
    assert_eq!(verifier.verify_at(now, header, body).is_ok(), good);
    // Keys are read from configuration: whatever stands there is refused or comes back as it was.
    if let Ok(key) = id.parse::<SigningKey>() {
        assert_eq!(key.expose(), id);
    }
});
