//! Signed requests, from the sender to the receiver.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use chrono::{DateTime, Utc};
use harbor_webhook::delivery::State;
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::signing::{SigningKey, SigningKeys, Verifier, VerifyError};
use harbor_webhook::store::{Filter, MemoryStore, Page};
use harbor_webhook::{Clock, EventType, Webhooks};

use crate::support::events::{PROJECT, push};
use crate::support::receiver::{Receiver, Seen};
use crate::support::sending::{Running, end_state, impatient, loopback};

const ID: &str = "6d878914-d158-532c-89c6-18310966294a";
const NOW: i64 = 1_800_000_000;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn draft(target: Target) -> PolicyDraft {
    PolicyDraft::new("ci").on(EventType::PushArtifact).target(target)
}

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

/// A clock that tests set.
#[derive(Clone, Debug)]
struct Hands(Arc<AtomicI64>);

impl Clock for Hands {
    fn now(&self) -> DateTime<Utc> {
        at(self.0.load(Ordering::SeqCst))
    }
}

fn verified(seen: &Seen, key: &SigningKey, now: DateTime<Utc>) -> Result<(), VerifyError> {
    let header = |name: &str| seen.headers.get(name).map(|value| &value[..]);
    Verifier::new([key.verifying_key()]).verify_at(now, header, &seen.body).map(|_| ())
}

#[tokio::test]
async fn each_attempt_is_signed_anew_over_the_same_bytes() {
    let hands = Hands(Arc::new(AtomicI64::new(NOW)));
    let turn = hands.clone();
    let receiver = Receiver::start(move |n| {
        turn.0.fetch_add(600, Ordering::SeqCst);
        if n == 0 { 503 } else { 200 }
    });
    let receiver = receiver.await;
    let mut settings = impatient();
    settings.webhook_id_header = false; // a signature needs it all the same
    let builder = Webhooks::builder(MemoryStore::new(), loopback()).settings(settings).clock(hands);
    let (own, all) = (key(), key());
    let hooks = builder.signing_keys(all.clone()).build().unwrap();
    let signed = Target::http(&receiver.url).unwrap().auth_header("Bearer s3cret").unwrap().signing_keys(own.clone());
    hooks.policies().create(PROJECT, draft(signed)).await.unwrap();
    hooks.notify(&push()).await.unwrap();
    let running = Running::start(&hooks);
    assert_eq!(end_state(&hooks).await, State::Delivered);
    running.stop().await;
    let seen = receiver.seen();
    let [first, second] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((&first.body, first.header("webhook-id")), (&second.body, second.header("webhook-id")));
    assert_eq!(first.header("webhook-timestamp"), Some(&*NOW.to_string()));
    assert_eq!(second.header("webhook-timestamp"), Some(&*(NOW + 600).to_string()));
    for (seen, time) in [(first, at(NOW)), (second, at(NOW + 600))] {
        assert_eq!(seen.header("authorization"), Some("Bearer s3cret"));
        assert_eq!(seen.header("webhook-signature").unwrap().split(' ').count(), 2);
        assert_eq!((verified(seen, &own, time), verified(seen, &all, time)), (Ok(()), Ok(())));
        assert_eq!(verified(seen, &key(), time), Err(VerifyError::Wrong));
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_signed() {
    let receiver = Receiver::start(|_| 200).await;
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).build().unwrap();
    hooks.policies().create(PROJECT, draft(Target::http(&receiver.url).unwrap())).await.unwrap();
    hooks.notify(&push()).await.unwrap();
    let running = Running::start(&hooks);
    let seen = receiver.wait_for(1).await;
    running.stop().await;
    assert_eq!((seen[0].header("webhook-timestamp"), seen[0].header("webhook-signature")), (None, None));
    assert!(seen[0].header("webhook-id").is_some());
}

/// A receiver that verifies each request as it comes, and remembers what it found.
#[derive(Clone)]
struct Gate {
    url: String,
    verifier: Arc<RwLock<Verifier>>,
    found: Arc<Mutex<Vec<Result<String, VerifyError>>>>,
}

impl Gate {
    async fn start(key: &SigningKey) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let verifier = Arc::new(RwLock::new(Verifier::new([key.verifying_key()])));
        let gate = Self { url, verifier, found: Arc::default() };
        let router = Router::new().fallback(enter).with_state(gate.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        gate
    }

    fn takes_only(&self, key: &SigningKey) {
        *self.verifier.write().unwrap() = Verifier::new([key.verifying_key()]);
    }

    fn found(&self) -> Vec<Result<String, VerifyError>> {
        self.found.lock().unwrap().clone()
    }

    /// Waits until so many requests have come.
    async fn wait_for(&self, count: usize) {
        let wait = async {
            while self.found().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the requests come");
    }
}

async fn enter(Shared(gate): Shared<Gate>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name| headers.get(name).map(HeaderValue::as_bytes);
    let found = gate.verifier.read().unwrap().verify(header, &body).map(|signed| signed.id.to_owned());
    let status = if found.is_ok() { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED };
    gate.found.lock().unwrap().push(found);
    status
}

/// Keys change while requests are on their way all the time, and the receiver changes over in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_under_load_loses_no_signature() {
    const WAVE: usize = 60;
    let (old, new) = (key(), key());
    let gate = Gate::start(&old).await;
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).settings(impatient()).build().unwrap();
    let target = || Target::http(&gate.url).unwrap();
    let policy = hooks.policies().create(PROJECT, draft(target().signing_keys(old.clone()))).await.unwrap();
    let running = Running::start(&hooks);
    let wave = || async {
        for _ in 0..WAVE {
            hooks.notify(&push()).await.unwrap();
        }
    };
    let replace = |keys: SigningKeys| {
        let draft = draft(target().signing_keys(keys));
        let (hooks, id) = (&hooks, policy.id);
        async move { hooks.policies().replace(id, draft).await.unwrap() }
    };

    wave().await;
    gate.wait_for(WAVE / 2).await; // the rest is under way
    let both = SigningKeys::new(old).rotate(new.clone(), Utc::now(), Duration::from_secs(3600)).unwrap();
    replace(both).await;
    wave().await;
    // What was notified before the rotation may be signed with the old key alone. Behind it, both sign.
    gate.wait_for(WAVE + WAVE / 2).await;
    gate.takes_only(&new);
    wave().await;
    gate.wait_for(2 * WAVE + WAVE / 2).await;
    replace(new.into()).await;
    wave().await;
    gate.wait_for(4 * WAVE).await;
    running.stop().await;

    let found = gate.found();
    let ids: HashMap<_, _> = found.iter().map(|found| (found.clone().expect("each signature is right"), ())).collect();
    assert_eq!((found.len(), ids.len()), (4 * WAVE, 4 * WAVE));
}

#[tokio::test]
async fn clocks_may_differ_by_five_minutes() {
    let receiver = Receiver::start(|_| 200).await;
    let key = key();
    let clock = Hands(Arc::new(AtomicI64::new(NOW)));
    let builder = Webhooks::builder(MemoryStore::new(), loopback()).clock(clock).signing_keys(key.clone());
    let hooks = builder.build().unwrap();
    hooks.policies().create(PROJECT, draft(Target::http(&receiver.url).unwrap())).await.unwrap();
    hooks.notify(&push()).await.unwrap();
    let running = Running::start(&hooks);
    let seen = receiver.wait_for(1).await.remove(0);
    running.stop().await;
    let skewed = |seconds: i64| verified(&seen, &key, at(NOW + seconds));
    assert_eq!([-300, -299, 0, 299, 300].map(skewed), [Ok(()); 5]);
    assert_eq!(skewed(301), Err(VerifyError::TooOld(Duration::from_secs(1))));
    assert_eq!(skewed(-301), Err(VerifyError::TooNew(Duration::from_secs(1))));
    assert!(matches!(skewed(i64::from(i32::MAX)), Err(VerifyError::TooOld(_))));
}

#[test]
fn what_is_wrong_with_a_request_is_told_apart() {
    let key = key();
    let good = key.headers(ID, at(NOW), b"{}").map(|(name, value)| (name, value.into_bytes()));
    let verifier = Verifier::new([key.verifying_key()]);
    let verify = |name: &str, value: Option<&str>, body: &[u8]| {
        let mut headers: HashMap<_, _> = good.iter().cloned().collect();
        match value {
            Some(value) => drop(headers.insert(good.iter().find(|(n, _)| *n == name).unwrap().0, value.into())),
            None => drop(headers.remove(name)),
        }
        let found = verifier.verify_at(at(NOW), |name| headers.get(name).map(|value| &value[..]), body);
        found.map(|signed| signed.id.to_owned())
    };
    assert_eq!(verify("", None, b"{}").unwrap(), ID);
    assert_eq!(verify("", None, b"{ }"), Err(VerifyError::Wrong));
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        assert_eq!(verify(name, None, b"{}"), Err(VerifyError::Missing(name)));
        assert_eq!(verify(name, Some(&"1".repeat(10_000)), b"{}"), Err(VerifyError::TooLong(name)));
        assert_eq!(verify(name, Some(""), b"{}"), Err(VerifyError::Malformed(name)));
    }
    let seconds = NOW.to_string();
    for wrong in [&*format!("+{seconds}"), &format!("0{seconds}"), "-1", "1.8e9", "9223372036854775807", " 1"] {
        assert_eq!(verify("webhook-timestamp", Some(wrong), b"{}"), Err(VerifyError::Malformed("webhook-timestamp")));
    }
    assert_eq!(verify("webhook-id", Some("other"), b"{}"), Err(VerifyError::Wrong));
    // What belongs to the id, the time and the body must be clear.
    assert_eq!(verify("webhook-id", Some("a.b"), b"{}"), Err(VerifyError::Malformed("webhook-id")));
    let right = std::str::from_utf8(&good[2].1).unwrap();
    let others = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= v2,AAAA v1,not-base64 nonsense";
    assert!(verify("webhook-signature", Some(&format!("{others} {right} v3,AAAA")), b"{}").is_ok());
    assert_eq!(verify("webhook-signature", Some(others), b"{}"), Err(VerifyError::Wrong));
    for wrong in [right.replace("v1,", "v2,"), right.replace("v1,", "v1a,"), right[..right.len() - 4].to_owned()] {
        assert_eq!(verify("webhook-signature", Some(&wrong), b"{}"), Err(VerifyError::Wrong));
    }
    let nobody =
        Verifier::new([]).verify_at(at(NOW), |name| good.iter().find(|h| h.0 == name).map(|h| &h.1[..]), b"{}");
    assert_eq!(nobody, Err(VerifyError::Wrong));
}

#[test]
fn bytes_of_any_kind_are_signed() {
    let body = [0xFF, 0x00, 0xC3, b'.', b'\n'];
    let mut keys = vec![key()];
    #[cfg(feature = "signing-ed25519")]
    keys.push(SigningKey::generate_ed25519().unwrap());
    let all = Verifier::new(keys.iter().map(SigningKey::verifying_key));
    for key in &keys {
        let headers = key.headers(ID, at(NOW), &body);
        let header = |name: &str| headers.iter().find(|h| h.0 == name).map(|h| h.1.as_bytes());
        assert!(all.verify_at(at(NOW), header, &body).is_ok(), "{key:?}");
        assert_eq!(all.verify_at(at(NOW), header, &body[1..]), Err(VerifyError::Wrong));
        assert!(all.clone().tolerance(Duration::MAX).verify_at(at(0), header, &body).is_ok());
        assert!(all.clone().tolerance(Duration::ZERO).verify_at(at(NOW - 1), header, &body).is_err());
    }
}

/// The program to copy from; killed when dropped.
struct Example(std::process::Child);

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until there are so many deliveries and each has come to its end, and gives the newest one's state.
async fn end_of(hooks: &Webhooks, count: usize) -> State {
    let wait = async {
        while hooks.deliveries(&Filter::all(), Page::first(100)).await.unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        end_state(hooks).await
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the deliveries are made")
}

/// As a process it takes what our sender has signed, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_takes_signed_webhooks_only() {
    let (old, new) = (key(), key());
    let test = std::env::current_exe().unwrap();
    let example = test.parent().and_then(Path::parent).unwrap().join("examples/verify_signature");
    let mut example = Command::new(example);
    example.env("WEBHOOK_SECRETS", format!("{} {}", new.expose(), old.expose())).arg("127.0.0.1:0");
    let example = example.stdout(Stdio::piped()).spawn().expect("cargo build --example verify_signature");
    let mut example = Example(example);
    let mut lines = BufReader::new(example.0.stdout.take().unwrap()).lines();
    let url = lines.next().unwrap().unwrap().strip_prefix("listening on ").unwrap().to_owned();

    let mut settings = impatient();
    settings.retry.max_retries = 0;
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).settings(settings).build().unwrap();
    let running = Running::start(&hooks);
    let keys = [(Some(old), true), (Some(new), true), (Some(key()), false), (None, false)];
    for (count, (key, taken)) in (1..).zip(keys) {
        let target = Target::http(&url).unwrap();
        let target = if let Some(key) = key { target.signing_keys(key) } else { target };
        hooks.policies().upsert(PROJECT, draft(target)).await.unwrap();
        hooks.notify(&push()).await.unwrap();
        let state = end_of(&hooks, count).await;
        assert_eq!(state == State::Delivered, taken, "number {count} is {state:?}");
        if taken {
            let line = lines.next().unwrap().unwrap();
            assert!(line.contains(r#""type":"PUSH_ARTIFACT""#), "{line}");
        }
    }
    running.stop().await;
    drop(example);
    assert_eq!(lines.count(), 0, "what is not signed is not worked on");
}
