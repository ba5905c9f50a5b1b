//! A job log in which nobody can forge a line: not who pushes, not who answers, not what fails.

use harbor_webhook::delivery::FailureKind;
use harbor_webhook::format::{Format, FormatError, RenderContext};
use harbor_webhook::policy::{PolicyDraft, Target};
use harbor_webhook::store::{Filter, MemoryStore, Page};
use harbor_webhook::transport::{Request, Response, Transport, TransportError};
use harbor_webhook::{Event, EventType, Webhooks};

use crate::support::events::{PROJECT, push};
use crate::support::sending::{Running, end_state, impatient, loopback};

/// Ends the line in every way that some viewer knows, forges one, and colours and turns what follows.
const HOSTILE: &str = "x\n2026-01-02T03:04:05Z [INFO] [webhook_job:9]: forged\r\nforged\rforged\u{b}forged\u{c}forged\u{1c}\
                       forged\u{85}forged\u{2028}forged\u{2029}forged\0\u{1b}[2K\u{1b}[1A\u{9b}31m\u{202e}degrof\u{2066}";

/// Writes the operator as it is, or says it as the error.
#[derive(Debug)]
struct Raw;

impl Format for Raw {
    fn name(&self) -> &'static str {
        "Raw"
    }
    fn content_type(&self) -> &'static str {
        "text/plain"
    }
    fn render(&self, event: &Event, _: &RenderContext, out: &mut Vec<u8>) -> Result<(), FormatError> {
        if event.request_id.is_some() {
            return Err(FormatError::new(&event.operator));
        }
        out.extend_from_slice(event.operator.as_bytes());
        Ok(())
    }
}

/// Refuses with a hostile body, and then fails with a hostile message.
#[derive(Debug, Default)]
struct Hostile(std::sync::atomic::AtomicUsize);

#[async_trait::async_trait]
impl Transport for Hostile {
    async fn send(&self, _: Request<'_>) -> Result<Response, TransportError> {
        if self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 {
            return Err(TransportError::new(FailureKind::Other, HOSTILE));
        }
        let mut answer = Response::new(500);
        answer.body = HOSTILE.into();
        Ok(answer)
    }
}

async fn log_of(event: Event) -> String {
    let hooks = Webhooks::builder(MemoryStore::new(), loopback()).settings(impatient()).format(Raw);
    let hooks = hooks.transport(Hostile::default()).build().unwrap();
    let target = Target::http("http://127.0.0.1:9/").unwrap().payload_format("Raw");
    hooks.policies().create(PROJECT, PolicyDraft::new("ci").on(EventType::PushArtifact).target(target)).await.unwrap();
    let running = Running::start(&hooks);
    hooks.notify(&event).await.unwrap();
    end_state(&hooks).await;
    running.stop().await;
    let delivery = hooks.deliveries(&Filter::all(), Page::first(1)).await.unwrap().remove(0);
    hooks.job_log(delivery.id).await.unwrap()
}

fn assert_lines(log: &str, expected: usize) {
    let lines: Vec<&str> = log.trim_end_matches('\n').split(|c: char| c != '\t' && !is_plain(c)).collect();
    assert_eq!(lines.len(), expected, "{log}");
    for line in lines {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.parse::<chrono::DateTime<chrono::Utc>>().is_ok(), "{line}");
        assert!(rest.starts_with("[INFO] [webhook_job:") || rest.starts_with("[ERROR] [webhook_job:"), "{line}");
    }
}

/// Neither ends a line, nor moves the cursor, nor turns the order of the text.
fn is_plain(c: char) -> bool {
    !c.is_control() && !"\u{2028}\u{2029}\u{202e}\u{2066}".contains(c)
}

#[tokio::test]
async fn bodies_answers_and_errors_stay_on_their_lines() {
    // Four attempts of three lines each, and the end.
    let log = log_of(push().operator(HOSTILE)).await;
    assert_lines(&log, 13);
    assert_eq!(log.matches("webhook_job:9").count(), 8, "{log}");
}

#[tokio::test]
async fn why_a_format_failed_stays_on_its_line() {
    assert_lines(&log_of(push().operator(HOSTILE).request_id("r-1")).await, 1);
}
