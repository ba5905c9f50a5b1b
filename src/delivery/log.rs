use std::fmt::Write;

use chrono::{DateTime, SecondsFormat, Utc};

use super::{Attempt, Delivery, Outcome, State};
use crate::policy::TargetType;

/// The log of a delivery in the lines of Harbor's job log: `<time> [<LEVEL>] [<job>:<attempt>]: <message>`.
///
/// The messages are Harbor's (2.16, `jobservice/job/impl/notification/webhook_job.go`). Where Harbor has a source file and
/// a line, this has the job and the number of the attempt; and while in Harbor each attempt overwrites the log of the one
/// before, here all are kept. What a receiver answered stays on its line and cannot forge another one.
pub fn job_log(delivery: &Delivery, body: Option<&[u8]>, attempts: &[Attempt]) -> String {
    let mut log = Log { job: job(delivery.target_type), text: String::new() };
    let body = body.map(String::from_utf8_lossy).unwrap_or_default();
    let first = (delivery.attempts as usize).saturating_sub(attempts.len()) + 1;
    for (number, attempt) in (first..).zip(attempts) {
        log.attempt(number, attempt, &body);
    }
    log.end(delivery);
    log.text
}

fn job(target_type: TargetType) -> &'static str {
    match target_type {
        TargetType::Http => "webhook",
        TargetType::Slack => "slack",
    }
}

struct Log {
    job: &'static str,
    text: String,
}

impl Log {
    fn attempt(&mut self, number: usize, attempt: &Attempt, body: &str) {
        let job = self.job;
        let start = attempt.started_at;
        let end = chrono::Duration::from_std(attempt.duration).ok().and_then(|d| start.checked_add_signed(d));
        let end = end.unwrap_or(start);
        self.line(start, "INFO", number, &format!("start to run {job} job"));
        self.line(start, "INFO", number, &format!("send request to remote endpoint, body: {body}"));
        match &attempt.outcome {
            outcome if outcome.is_success() => self.line(end, "INFO", number, &format!("success to run {job} job")),
            Outcome::Answered { status, body, .. } => {
                let error = format!("abnormal response code: {status}, body: {body}");
                self.line(end, "ERROR", number, &format!("exit {job} job, error: {error}"));
            }
            Outcome::Failed { message, .. } => {
                self.line(end, "ERROR", number, &format!("exit {job} job, error: error to send request: {message}"));
            }
        }
    }

    fn end(&mut self, delivery: &Delivery) {
        let number = delivery.attempts as usize;
        let (reason, detail) = match delivery.state {
            State::Dead(reason) => (reason.as_str(), delivery.detail.as_deref()),
            State::Cancelled(reason) => (reason.as_str(), None),
            State::Due | State::Leased | State::Parked | State::Delivered => return,
        };
        let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        self.line(delivery.updated_at, "INFO", number, &format!("no further attempt, reason: {reason}{detail}"));
    }

    fn line(&mut self, time: DateTime<Utc>, level: &str, number: usize, message: &str) {
        let time = time.to_rfc3339_opts(SecondsFormat::Secs, true);
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{time} [{level}] [{}_job:{number}]: ", self.job);
        for c in message.chars() {
            if c.is_control() || misleads(c) {
                self.text.extend(c.escape_default());
            } else {
                self.text.push(c);
            }
        }
        self.text.push('\n');
    }
}

/// Characters that some viewer takes for the end of a line, or that turn the order of what follows.
fn misleads(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
