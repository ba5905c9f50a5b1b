//! Executions, their tasks, and logs.
//!
//! Source: Harbor 2.16, `server/v2.0/handler/webhook.go:60-101,241-380`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse;

use super::Api;
use super::access::Action;
use super::answer::{Answer, json_as};
use super::ask::Ask;
use super::paging::Paging;
use super::records::{Execution, Task};
use super::refusal::Refusal;
use super::selection::Selection;
use crate::delivery::{Delivery, job_log};
use crate::id::DeliveryId;
use crate::store::{Detail, Filter};

/// The end of a log that is shown, in bytes: Harbor's `max_retrieve_size_mb`.
const LOG: usize = 10 * 1024 * 1024;
/// The bytes that an attempt has in the log, besides the body: what is kept of an answer, in round figures.
const ANSWER: usize = 4 * 1024;
/// The bytes of all payloads in one answer; the payloads behind stay empty, and can be read one by one.
const PAYLOADS: usize = 16 * 1024 * 1024;

pub(super) async fn executions(api: &Api, ask: Ask) -> Answer {
    let (_, policy) = api.policy(&ask, Action::Read).await?;
    let paging = Paging::of(&ask.query)?;
    let which = Selection::of(Filter::policy(policy.id), &ask.query)?;
    let (page, total) = api.select(&which, paging).await?;
    let records = api.with_payloads(&page, Execution::of).await?;
    json_as(StatusCode::OK, paging.headers(total, &ask.path, &ask.query), &records)
}

pub(super) async fn tasks(api: &Api, ask: Ask) -> Answer {
    let execution = api.execution(&ask).await?;
    let paging = Paging::of(&ask.query)?;
    let terms = super::q::parse(ask.query.get("q").unwrap_or_default()).map_err(Refusal::bad_request)?;
    let selected = terms.iter().all(|term| term.selects(&execution.delivery));
    let tasks: Vec<_> = selected.then(|| Task::of(&execution.delivery, &execution.attempts)).into_iter().collect();
    let headers = paging.headers(tasks.len() as u64, &ask.path, &ask.query);
    json_as(StatusCode::OK, headers, &paging.cut(tasks))
}

pub(super) async fn log(api: &Api, ask: Ask) -> Answer {
    let execution = api.execution(&ask).await?;
    let (id, task) = (execution.delivery.id, ask.id("task_id")?);
    if task != id.0 {
        return Err(Refusal::not_found(format!("resource not found: task {task} not found in execution {id}")));
    }
    let log = log_of(&execution);
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, text)], end_of(&log, LOG).to_owned()).into_response())
}

/// The log, of no more attempts than can be shown: each of them has the body in its lines.
fn log_of(execution: &Detail) -> String {
    let body = execution.body.as_ref().map(|body| &*body.bytes);
    let most = LOG / (body.map_or(0, <[u8]>::len) + ANSWER) + 1;
    let from = execution.attempts.len().saturating_sub(most);
    job_log(&execution.delivery, body, &execution.attempts[from..])
}

/// The last lines, of no more bytes than this.
fn end_of(log: &str, most: usize) -> &str {
    if log.len() <= most {
        return log;
    }
    let from = log.len() - most;
    let end = (from..log.len()).find(|at| log.is_char_boundary(*at)).map_or("", |at| &log[at..]);
    // A line without its beginning would say something else.
    end.split_once('\n').map_or(end, |(_, whole)| whole)
}

impl Api {
    /// The execution that the path names, in the policy that it names.
    async fn execution(&self, ask: &Ask) -> Result<Detail, Refusal> {
        let (_, policy) = self.policy(ask, Action::Read).await?;
        let id = ask.id("execution_id")?;
        let found = self.hooks.delivery(DeliveryId(id)).await?;
        found.filter(|detail| detail.delivery.policy_id == policy.id).ok_or_else(|| {
            let policy = policy.id;
            Refusal::not_found(format!("resource not found: execution {id} not found in policy {policy}"))
        })
    }

    /// Records of deliveries with what they send.
    pub(super) async fn with_payloads<R>(
        &self,
        deliveries: &[Delivery],
        record: impl Fn(&Delivery, String) -> R,
    ) -> Result<Vec<R>, Refusal> {
        let mut room = PAYLOADS;
        let mut records = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let payload = if room > 0 { self.payload(delivery.id).await? } else { String::new() };
            let payload = if payload.len() <= room { payload } else { String::new() };
            room = if payload.is_empty() { room } else { room - payload.len() };
            records.push(record(delivery, payload));
        }
        Ok(records)
    }

    /// What is sent; nothing if the format failed, or the delivery was swept meanwhile.
    async fn payload(&self, id: DeliveryId) -> Result<String, Refusal> {
        let body = self.hooks.delivery(id).await?.and_then(|detail| detail.body);
        Ok(body.map(|body| String::from_utf8_lossy(&body.bytes).into_owned()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::end_of;

    #[test]
    fn long_logs_are_cut_before_a_line() {
        assert_eq!(end_of("one\ntwo\n", 8), "one\ntwo\n");
        assert_eq!(end_of("one\ntwo\n", 7), "two\n");
        assert_eq!(end_of("é\ntwo\n", 6), "two\n");
        assert_eq!(end_of("", 0), "");
    }
}
