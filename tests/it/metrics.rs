//! The metrics: what the bridge serves at `/metrics`, and that their documentation is true.

use std::collections::BTreeSet;

use harbor_webhook::metrics::MetricsObserver;

use crate::bridge::{policies, push};
use crate::running_bridge::{Bridge, Catcher, wait_for};

const DOCS: &str = include_str!("../../docs/metrics.md");
const PREFIX: &str = "harbor_webhook_";

/// Every name in a text that begins as ours do.
fn names(text: &str) -> BTreeSet<&str> {
    let starts = text.match_indices(PREFIX).map(|(at, _)| &text[at..]);
    starts
        .map(|rest| rest.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next().unwrap())
        .filter(|name| *name != PREFIX)
        .collect()
}

/// What an exporter makes of a histogram.
fn base(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

#[test]
fn the_table_lists_the_metrics_and_no_others() {
    let listed: BTreeSet<String> = DOCS
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(|name| format!("{PREFIX}{name}"))
        .collect();
    assert_eq!(listed, MetricsObserver::names().map(ToOwned::to_owned).collect());
}

#[test]
fn the_rules_name_metrics_that_exist() {
    let known: BTreeSet<&str> = MetricsObserver::names().collect();
    let rules = DOCS.split("```yaml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let used = names(rules);
    assert!(used.len() >= 8, "{used:?}");
    let unknown: Vec<_> = used.iter().filter(|name| !known.contains(base(name))).collect();
    assert_eq!(unknown, [&""; 0]);
    let alerts = rules.matches("- alert: ").count();
    assert_eq!((rules.matches("expr: ").count(), rules.matches("do: ").count()), (alerts, alerts));
}

#[test]
fn prometheus_can_scrape_the_bridge() {
    let (dir, catcher) = (tempfile::tempdir().unwrap(), Catcher::answering(&[500]));
    let policies = policies(dir.path(), &catcher.url(), "Default");
    let args =
        ["--store", "memory", "--policies", &policies, "--retry-schedule", "50ms", "--allow-network", "127.0.0.0/8"];
    let bridge = Bridge::start(dir.path(), &args);
    assert_eq!(bridge.post("/projects/2/events", "", &push("3.20")).0, 202);
    assert_eq!(bridge.post("/projects/7/events", "", &push("nobody-wants-it")).0, 202);
    let (first, _) = (catcher.next(), catcher.next());
    let delivered = format!("{PREFIX}deliveries_ended_total{{state=\"delivered\",reason=\"\"}} 1");
    let text = wait_for("the delivery to be counted", || {
        let text = bridge.get("/metrics");
        text.contains(&delivered).then_some(text)
    });
    for line in [
        r#"events_total{outcome="queued"} 1"#,
        r#"events_total{outcome="no_subscriber"} 1"#,
        r#"events_fanned_out_total 1"#,
        r#"deliveries_made_total 1"#,
        r#"attempts_total{outcome="failure",class="5xx",target_type="http"} 1"#,
        r#"attempts_total{outcome="success",class="2xx",target_type="http"} 1"#,
        r#"attempt_duration_seconds_count{outcome="success",target_type="http"} 1"#,
        r#"attempt_duration_seconds_bucket{outcome="success",target_type="http",le="+Inf"} 1"#,
        r#"retries_total 1"#,
        r#"deliveries_ended_total{state="dead",reason="exhausted"} 0"#,
        r#"bounds_reached_total{bound="lane"} 0"#,
        r#"oldest_event_age_seconds "#,
        r#"oldest_delivery_age_seconds "#,
        r#"samples_total "#,
    ] {
        assert!(text.lines().any(|l| l.starts_with(&format!("{PREFIX}{line}"))), "{line} is missing: {text}");
    }
    let known: BTreeSet<&str> = MetricsObserver::names().collect();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        assert!(known.contains(base(line.split(['{', ' ']).next().unwrap())), "{line}");
    }
    assert!(text.contains(&format!("# TYPE {PREFIX}attempt_duration_seconds histogram")), "{text}");
    // No label tells who the receiver is.
    for secret in ["127.0.0.1", "/hook", "s3cret", "alpine", first.header("webhook-id").unwrap()] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}
