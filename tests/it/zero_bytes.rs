//! An answer with a zero byte, which text columns of some databases refuse: it is kept like any other, and nothing is sent again for it.

use harbor_webhook::delivery::{DeadReason, Outcome, State};
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{Filter, Page};
use harbor_webhook::{EventType, Webhooks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::events::{PROJECT, push};
use crate::support::sending::{Running, end_state, impatient, loopback};
use crate::support::stores::Fresh;

async fn an_answer_with_a_zero_byte_is_kept<S: Fresh>() {
    let (store, _folder) = S::fresh().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (asked, mut requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            asked.send(()).unwrap();
            let _ = stream.write_all(b"HTTP/1.1 500 No\r\ncontent-length: 7\r\n\r\na\0b\xff\0\x80c").await;
        }
    });
    let mut settings = impatient();
    settings.retry.max_retries = 1;
    let hooks = Webhooks::builder(store, loopback()).settings(settings).build().unwrap();
    let draft = PolicyDraft::new("ci").on(EventType::PushArtifact).target(Target::http(&url).unwrap());
    hooks.policies().create(PROJECT, draft).await.unwrap();
    hooks.notify(&push()).await.unwrap();
    let running = Running::start(&hooks);
    assert_eq!(end_state(&hooks).await, State::Dead(DeadReason::Exhausted));
    running.stop().await;
    let delivery = hooks.deliveries(&Filter::all(), Page::first(1)).await.unwrap().remove(0);
    let attempts = hooks.delivery(delivery.id).await.unwrap().unwrap().attempts;
    for attempt in &attempts {
        let Outcome::Answered { status: 500, body, truncated: false } = &attempt.outcome else { panic!("{attempt:?}") };
        // Some stores keep it as it is, others the sign for what cannot be shown.
        let shown = body.replace('\0', "\u{fffd}");
        assert_eq!(shown, "a\u{fffd}b\u{fffd}\u{fffd}\u{fffd}c");
    }
    assert_eq!(attempts.len(), 2);
    let mut seen = 0;
    while requests.try_recv().is_ok() {
        seen += 1;
    }
    assert_eq!(seen, 2);
}

crate::support::stores::on_every_store!(an_answer_with_a_zero_byte_is_kept);
