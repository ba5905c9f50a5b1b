//! Harbor's configuration in its three forms: errors name a key or the text, and what is read is within its range.
#![no_main]

use std::time::Duration;

use harbor_webhook::{Result, Settings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    check(Settings::harbor().read_harbor_yml(text));
    check(Settings::harbor().read_helm_values(text));
    check(Settings::harbor().read_env(|_| Some(text.to_owned())));
});

fn check(read: Result<Settings>) {
    match read {
        Ok(settings) => {
            assert!(settings.retry.max_retries <= 100);
            assert!(settings.timeout >= Duration::from_secs(1) && settings.timeout <= Duration::from_secs(3600));
        }
        Err(e) => assert!(e.to_string().contains(": "), "{e}"),
    }
}
