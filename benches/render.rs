//! What rendering costs, as a ratio to serde_json writing the same typed structs into a reused buffer in the same process.
//!
//! `cargo bench --bench render`. Rounds of the two sides are interleaved and medians compared, so that a machine that
//! changes its speed changes both.

use std::hint::black_box;
use std::time::{Duration, Instant};

use harbor_webhook::event::{Artifact, EventData, ScanReport, Scanned, Scanner, Vulnerabilities};
use harbor_webhook::format::{CloudEventsFormat, DefaultFormat, Format, RenderContext, SlackFormat};
use harbor_webhook::{Event, PolicyId, ProjectId, Registry};
use serde::Serialize;

const ROUNDS: usize = 31;
const RENDERS: usize = 2000;
const DIGEST: &str = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";

#[derive(Serialize)]
struct Default<'a> {
    r#type: &'a str,
    occur_at: i64,
    operator: &'a str,
    event_data: &'a EventData,
}

#[derive(Serialize)]
struct CloudEvents<'a> {
    specversion: &'a str,
    id: &'a str,
    requestid: &'a str,
    source: &'a str,
    r#type: &'a str,
    datacontenttype: &'a str,
    time: &'a str,
    data: &'a EventData,
    operator: &'a str,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (name, event) in [("push", push()?), ("scan", scan()?)] {
        let default = |out: &mut Vec<u8>| {
            let occur_at = event.occur_at.timestamp();
            let body = Default {
                r#type: event.event_type.as_str(),
                occur_at,
                operator: &event.operator,
                event_data: &event.data,
            };
            serde_json::to_writer(out, &body).is_ok()
        };
        let cloudevents = |out: &mut Vec<u8>| {
            let body = CloudEvents {
                specversion: "1.0",
                id: "66e18103-09c1-41f6-982f-37df223f3eeb",
                requestid: "51c0b694-0168-4f3c-b0db-282565455d7b",
                source: "/projects/2/webhook/policies/15",
                r#type: event.event_type.cloudevents_type(),
                datacontenttype: "application/json",
                time: "2023-04-03T06:04:46Z",
                data: &event.data,
                operator: &event.operator,
            };
            serde_json::to_writer(out, &body).is_ok()
        };
        let mut scratch = Vec::new();
        let mut slack = |out: &mut Vec<u8>| {
            scratch.clear();
            let pretty = serde_json::to_writer_pretty(&mut scratch, &event.data).is_ok();
            pretty && std::str::from_utf8(&scratch).is_ok_and(|text| serde_json::to_writer(out, text).is_ok())
        };
        let given = |format: &dyn Format| RenderContext::new(&event, format, PolicyId(15));
        compare(&format!("default/{name}"), &event, &DefaultFormat, || given(&DefaultFormat), default);
        let id = given(&CloudEventsFormat);
        compare(&format!("cloudevents/{name}, id given"), &event, &CloudEventsFormat, || id, cloudevents);
        let fresh = || given(&CloudEventsFormat);
        compare(&format!("cloudevents/{name}, fresh id"), &event, &CloudEventsFormat, fresh, cloudevents);
        let format = SlackFormat::default();
        compare(&format!("slack/{name} (two passes)"), &event, &format, || given(&format), &mut slack);
    }
    Ok(())
}

fn compare(
    name: &str,
    event: &Event,
    format: &dyn Format,
    cx: impl Fn() -> RenderContext,
    mut limit: impl FnMut(&mut Vec<u8>) -> bool,
) {
    let mut out = Vec::with_capacity(16 * 1024);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(time(|| {
            out.clear();
            black_box(format.render(event, &cx(), &mut out)).is_ok()
        }));
        theirs.push(time(|| {
            out.clear();
            black_box(limit(&mut out))
        }));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let each = |total: Duration| total.as_nanos() / RENDERS as u128;
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("{name:<32} {:>6} ns   serde_json {:>6} ns   ratio {ratio:.2}", each(ours), each(theirs));
}

fn time(mut once: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    let all = (0..RENDERS).all(|_| once());
    assert!(all, "rendering failed");
    begun.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn push() -> harbor_webhook::Result<Event> {
    let registry = Registry::new("localhost")?;
    let event = registry.push(ProjectId(2), "harbor/alpine", Artifact::untagged(DIGEST)?);
    Ok(event.operator("harbor-jobservice").request_id("51c0b694-0168-4f3c-b0db-282565455d7b"))
}

fn scan() -> harbor_webhook::Result<Event> {
    let registry = Registry::new("localhost")?;
    let found = Vulnerabilities::new(3, [("Critical", 1), ("High", 4), ("Low", 2)]);
    let start = chrono::DateTime::from_timestamp(1_680_502_367, 0).unwrap_or_default();
    let report = ScanReport::success("af0546c1-67dc-4e9d-927e-372900ead0df", "Critical", found)
        .between(start, start + chrono::TimeDelta::seconds(8))
        .scanner(Scanner::new("Trivy", "Aqua Security", "v0.37.2"));
    let artifact = Artifact::tagged("latest", DIGEST)?;
    let event = registry.scan_completed(ProjectId(2), "harbor/alpine", artifact, Scanned::vulnerability(report));
    Ok(event.operator("auto").request_id("98ecbced-4169-443b-8e19-459a8c81675d"))
}
