//! A policy in Harbor's JSON: errors hold no value from the text, and what is accepted reads the same again.
#![no_main]

use harbor_webhook::policy::{HarborPolicy, PolicyDraft};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    let policy = match HarborPolicy::from_json(json) {
        Ok(policy) => policy,
        Err(e) => return assert!(e.to_string().len() < 100, "{e}"),
    };
    let written = serde_json::to_vec(&policy).expect("a policy is written");
    assert!(HarborPolicy::from_json(&written).expect("our own policy is read") == policy);
    let secrets: Vec<String> = policy.targets.iter().map(|target| target.auth_header.clone()).collect();
    let Ok(draft) = PolicyDraft::try_from(policy) else { return };
    let shown = format!("{draft:?} {:?}", draft.check(|name| name == "Default"));
    // Short ones stand in the text anyway.
    assert!(!secrets.iter().any(|secret| secret.len() > 40 && shown.contains(secret)), "{shown}");
});
