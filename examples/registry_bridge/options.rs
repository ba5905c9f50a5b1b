//! The command line.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use harbor_webhook::delivery::Rate;
use harbor_webhook::delivery::breaker::Breaker;
use harbor_webhook::delivery::retry::Schedule;
use harbor_webhook::signing::{SigningKey, SigningKeys};
use harbor_webhook::transport::{DestinationPolicy, ReqwestTransport};
use harbor_webhook::{ProjectId, Registry, Settings};

use crate::access::Access;

/// Harbor's webhooks for a plain CNCF Distribution registry.
///
/// Point the registry's notifications at POST /distribution: each push, pull and deletion of a manifest goes to the
/// targets of the policies that want it, in Harbor's formats, with retries. Other programs report events in Harbor's
/// Default format to POST /projects/ID/events. GET /healthz says what waits and what is stuck, GET /metrics the same and more
/// in Prometheus' text format.
///
/// Policies, history and the switch are there in Harbor's own REST API under /api/v2.0, and more under /api/webhooks/v1. With
/// --admin-token everything but the status at /healthz and the console's own files needs the token: as password of the user
/// `admin` (Basic), or as Bearer. Built with the feature `console`, there is a page for all of it at /.
#[derive(Debug, Parser)]
#[command(name = "registry_bridge")]
pub(crate) struct Options {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,

    /// What everything but the status at /healthz asks for: `Authorization: Bearer TOKEN`, or Basic with the user `admin`. Without
    /// it, whoever reaches the address may do everything, so it must be a loopback address then, and called so or `localhost`.
    ///
    /// Other users of this machine may see it in the list of processes.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) admin_token: Option<Secret>,

    /// Where policies, events and deliveries are kept: `memory` (lost when this program ends), `sqlite:PATH`, or
    /// `postgres://USER@HOST/DATABASE`, which several of these programs may share.
    #[arg(long, value_name = "STORE", default_value = "sqlite:webhooks.db")]
    store: Secret,

    /// The schema of a PostgreSQL store; made when it is not there.
    #[arg(long, value_name = "NAME", default_value = "harbor_webhook")]
    pub(crate) schema: String,

    /// A JSON array of Harbor's webhook policy objects, each with its project_id.
    ///
    /// A policy replaces the stored one of the same name in its project. Policies that are stored but not in the file
    /// stay as they are.
    #[arg(long, value_name = "FILE")]
    pub(crate) policies: Option<PathBuf>,

    /// The number of the project that owns the repositories under NAME/; repeatable.
    ///
    /// Events of other repositories are ignored, logged, and counted in /healthz.
    #[arg(long = "project", value_name = "NAME=ID")]
    pub(crate) projects: Vec<Project>,

    /// How patient: `harbor` as Harbor is, three retries within minutes; `extended` for receivers across the internet, ten
    /// retries over almost three days. The file and the flags below win over it.
    #[arg(long, value_name = "MANNER", default_value = "harbor")]
    pub(crate) retry: Retry,

    /// Harbor's harbor.yml, of which the `notification` block is read. The flags below win over it.
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,

    /// How often a failed delivery is tried again; 0 for never.
    #[arg(long, value_name = "N")]
    pub(crate) max_retry: Option<u32>,

    /// How long to wait before each retry, for example `100ms,2s,5m,1h`; the last one repeats.
    ///
    /// A target that fails again and again is left alone for no longer than the longest of them either, but for 5 seconds.
    #[arg(long, value_name = "DURATIONS", value_delimiter = ',', value_parser = duration)]
    pub(crate) retry_schedule: Vec<Duration>,

    /// How long one attempt may take in all, for example `3s`.
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    pub(crate) timeout: Option<Duration>,

    /// How many requests may be under way at once to one HTTP target; 4 when not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) per_target: Option<u32>,

    /// How many requests may be made in a second to one HTTP target; without a limit when not given. Slack targets get one.
    #[arg(long, value_name = "N/s", value_parser = rate)]
    pub(crate) target_rate: Option<Rate>,

    /// Where webhooks may be sent: `public` addresses only, or `private` networks too (10/8, 172.16/12, 192.168/16, 100.64/10,
    /// fc00::/7). Neither means this machine, its link, or a cloud's metadata service.
    #[arg(long, value_name = "WHERE", default_value = "public")]
    pub(crate) destinations: Destinations,

    /// A network that webhooks may be sent to besides, for example 127.0.0.0/8; repeatable.
    #[arg(long = "allow-network", value_name = "CIDR")]
    pub(crate) allow_networks: Vec<String>,

    /// A secret that signs every webhook, by Standard Webhooks; repeatable, the newest first: each of them signs.
    ///
    /// Other users of this machine may see it in the list of processes.
    #[arg(long = "signing-secret", value_name = "whsec_…")]
    pub(crate) signing_secrets: Vec<Secret>,

    /// Certificates in PEM that servers of targets may descend from, beside those that the machine trusts.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,

    /// The registry's public host, with its port if it has one: the start of every resource_url. Without it: the host
    /// that the registry's client asked for.
    #[arg(long, value_name = "HOST", value_parser = Registry::new)]
    pub(crate) public_endpoint: Option<Registry>,

    /// Written once requests are accepted: {"listen":"http://ADDR:PORT"}, with the real port.
    #[arg(long, value_name = "PATH")]
    pub(crate) ready_file: Option<PathBuf>,
}

impl Options {
    /// What `--store` says. It is read here and not with the others, whose values are shown when they are wrong: it may hold a password.
    pub(crate) fn store(&self) -> Result<StoreAt, String> {
        let text = &self.store.0;
        text.parse().map_err(|e| match text.split_once(':') {
            Some((kind, _)) => format!("--store {kind}:…: {e}"),
            None => format!("--store {text}: {e}"),
        })
    }

    /// The settings of `--retry`, then those of `--settings`, with the flags on top.
    pub(crate) fn settings(&self) -> Result<Settings, String> {
        let mut settings = match self.retry {
            Retry::Harbor => Settings::harbor(),
            Retry::Extended => Settings::extended(),
        };
        if let Some(path) = &self.settings {
            let named = |e: &dyn std::fmt::Display| format!("--settings {}: {e}", path.display());
            let text = std::fs::read_to_string(path).map_err(|e| named(&e))?;
            settings = settings.read_harbor_yml(&text).map_err(|e| named(&e))?;
        }
        if let Some(times) = self.max_retry {
            settings.retry.max_retries = times;
        }
        if !self.retry_schedule.is_empty() {
            settings.retry.schedule = Schedule::Delays { delays: self.retry_schedule.clone(), jitter: 0.0 };
            shorten(&mut settings.breaker, self.retry_schedule.iter().max().copied().unwrap_or_default());
        }
        if let Some(timeout) = self.timeout {
            settings.timeout = timeout;
        }
        if let Some(at_once) = self.per_target {
            settings.lane.max_in_flight = at_once;
        }
        if let Some(rate) = self.target_rate {
            settings.lane.rate = rate;
        }
        Ok(settings)
    }

    /// The keys that sign every request, if there are any.
    pub(crate) fn signing_keys(&self) -> Result<Option<SigningKeys>, String> {
        let mut keys: Option<SigningKeys> = None;
        for (n, secret) in (1..).zip(&self.signing_secrets) {
            let named = |e: harbor_webhook::Error| format!("--signing-secret, number {n}: {e}");
            let key: SigningKey = secret.0.parse().map_err(named)?;
            keys = Some(match keys {
                None => key.into(),
                Some(newer) => newer.and(key, None).map_err(named)?,
            });
        }
        Ok(keys)
    }

    /// What opens the bridge. An open one must not be reached from elsewhere.
    pub(crate) fn access(&self) -> Result<Access, String> {
        match &self.admin_token {
            Some(Secret(token)) if token.is_empty() || token.chars().any(|c| c.is_whitespace() || c.is_control()) => {
                Err("--admin-token: is empty or contains a space; take a long random one".to_owned())
            }
            Some(Secret(token)) => Ok(Access::new(Some(token))),
            None if self.listen.ip().is_loopback() => {
                eprintln!(
                    "registry_bridge: WARNING: without --admin-token everybody on this machine may read and change all \
                     webhooks"
                );
                Ok(Access::new(None))
            }
            None => Err(format!(
                "--listen {}: is no loopback address, so whoever reaches it could do everything; give an --admin-token",
                self.listen
            )),
        }
    }

    /// What `--destinations` and `--allow-network` let through.
    pub(crate) fn destination(&self) -> Result<DestinationPolicy, String> {
        let mut destination = match self.destinations {
            Destinations::Public => DestinationPolicy::public_addresses(),
            Destinations::Private => DestinationPolicy::private_networks(),
        };
        for network in &self.allow_networks {
            destination = destination.allow_network(network).map_err(|e| format!("--allow-network {network}: {e}"))?;
        }
        Ok(destination)
    }

    /// What sends, with the certificates of `--ca`.
    pub(crate) fn transport(&self) -> Result<ReqwestTransport, String> {
        let Some(path) = &self.ca else { return Ok(ReqwestTransport::new()) };
        let pem = std::fs::read_to_string(path).map_err(|e| format!("--ca {}: {e}", path.display()))?;
        let roots = pem.parse().map_err(|e| format!("--ca {}: {e}", path.display()))?;
        Ok(ReqwestTransport::new().trust(roots))
    }

    /// The project of each first path component.
    pub(crate) fn projects(&self) -> Result<HashMap<String, ProjectId>, String> {
        let mut projects = HashMap::new();
        for Project { name, id } in &self.projects {
            if let Some(other) = projects.insert(name.clone(), *id).filter(|other| other != id) {
                return Err(format!("--project {name}={id}: {name} has the number {other} already"));
            }
        }
        Ok(projects)
    }
}

/// How failed deliveries are tried again.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Retry {
    Harbor,
    Extended,
}

/// Read later, as clap would show what is wrong with it.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// `public` or `private`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Destinations {
    Public,
    Private,
}

impl FromStr for Destinations {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "public" => Ok(Self::Public),
            "private" => Ok(Self::Private),
            _ => Err("is neither `public` nor `private`"),
        }
    }
}

/// `memory`, `sqlite:PATH` or `postgres://…`.
pub(crate) enum StoreAt {
    Memory,
    Sqlite(PathBuf),
    /// May hold a password.
    Postgres(String),
}

impl FromStr for StoreAt {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("postgres" | "postgresql", _)) if cfg!(feature = "postgres") => Ok(Self::Postgres(text.to_owned())),
            Some(("postgres" | "postgresql", _)) => Err("needs a build with `--features postgres`"),
            _ => Err("is neither `memory` nor `sqlite:PATH` nor `postgres://…`"),
        }
    }
}

/// `NAME=ID`.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    pub(crate) name: String,
    pub(crate) id: ProjectId,
}

impl FromStr for Project {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, id) = text.split_once('=').ok_or("is not NAME=ID, for example library=1")?;
        if name.is_empty() || name.contains('/') {
            return Err("NAME must be the first path component of the repositories, without a slash");
        }
        let id = id.parse().ok().filter(|id| *id > 0).ok_or("ID must be a whole number from 1")?;
        Ok(Self { name: name.to_owned(), id: ProjectId(id) })
    }
}

/// Whoever says how long to wait does not want to wait for much longer because the circuit is open.
fn shorten(breaker: &mut Breaker, longest: Duration) {
    let longest = longest.max(Duration::from_secs(5));
    breaker.pause = breaker.pause.min(longest);
    breaker.longest_pause = breaker.longest_pause.min(longest);
}

/// `20/s`.
fn rate(text: &str) -> Result<Rate, &'static str> {
    const WRONG: &str = "is not a rate from 1/s to 1000/s, such as 20/s";
    let number = text.strip_suffix("/s").unwrap_or(text);
    let number = number.parse().ok().filter(|n| (1..=1000).contains(n)).ok_or(WRONG)?;
    Ok(Rate::per_second(number))
}

fn timeout(text: &str) -> Result<Duration, &'static str> {
    let timeout = duration(text)?;
    if timeout.is_zero() { Err("must be longer than nothing") } else { Ok(timeout) }
}

/// A whole number with its unit: `100ms`, `3s`, `5m`, `1h`.
fn duration(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "is not a duration such as 100ms, 3s, 5m or 1h";
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or(WRONG)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| WRONG)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(WRONG),
    };
    let longest = Duration::from_secs(366 * 24 * 3600);
    let duration = number.checked_mul(millis).map(Duration::from_millis).ok_or(WRONG)?;
    if duration > longest { Err("is longer than a year") } else { Ok(duration) }
}
