//! The integration tests: one binary, one module for each subject.
#![allow(clippy::expect_used, clippy::unwrap_used)] // a test may fail that way

// `testing` is on wherever the crate is tested from its repository: it depends on itself for that.
#[cfg(target_os = "linux")]
mod bad_answers;
mod bad_input;
mod bounds;
mod bridge;
#[cfg(feature = "router")]
mod bridge_rest;
mod bridge_ways;
#[cfg(feature = "testing")]
mod broken_stores;
mod clock;
mod comebacks;
#[cfg(feature = "testing")]
mod conformance;
#[cfg(feature = "console")]
mod console;
mod crash;
mod damage;
mod delivery;
mod distribution;
#[cfg(target_os = "linux")]
mod egress;
mod examples;
mod explain;
#[cfg(feature = "postgres")]
mod fail_over;
mod failing_targets;
mod fair_intake;
#[cfg(target_os = "linux")]
mod file_locks;
mod flapping;
mod format_props;
mod formats;
mod full_disk;
#[cfg(feature = "postgres")]
mod full_server;
mod header_injection;
mod health;
mod host_transactions;
mod hours;
mod hung;
mod job_log;
mod kept_connections;
mod large_bodies;
mod large_fan_out;
#[cfg(feature = "signing")]
mod leaks;
mod many_dead;
mod memory;
mod metrics;
mod operating;
mod others_faults;
mod outbox;
mod overview;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(target_os = "linux")]
mod power_loss;
mod receivers;
#[cfg(feature = "router")]
mod rest_ext;
#[cfg(feature = "router")]
mod rest_history;
#[cfg(feature = "router")]
mod rest_hostile;
#[cfg(feature = "router")]
mod rest_policies;
mod retry_after;
mod running_bridge;
#[cfg(feature = "sealing")]
mod sealed;
mod sent_tests;
#[cfg(feature = "signing")]
mod signing;
#[cfg(feature = "signing")]
mod signing_interop;
mod simulation;
mod soak;
mod store_model;
mod stores;
mod support;
mod tls;
mod tls_of_targets;
mod transport;
mod troubled;
#[cfg(feature = "postgres")]
mod troubled_server;
mod watching;
mod wide_projects;
#[cfg(target_os = "linux")]
mod wiped;
mod zero_bytes;
