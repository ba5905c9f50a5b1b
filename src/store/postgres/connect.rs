use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::Connect;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, LoadBalanceHosts};
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{Client, Config, Connection, Error, NoTls, Socket};

/// The longest time for all hosts but the last, which must have some left of the time that there is for a connection.
const OTHERS: Duration = Duration::from_secs(3);
/// The longest time for one of them.
const EACH: Duration = Duration::from_secs(2);
/// The longest time for the network's part of a connection.
const NETWORK: Duration = Duration::from_secs(4);
/// How long a connection is silent before the system asks whether the other side is still there.
const SILENCE: Duration = Duration::from_secs(15);

/// How a store that was made from a URL connects: to one host after the other, none of which may take all the time. The driver
/// has a limit for the network's part only, and would wait for ever for the greeting of a server that is frozen.
#[derive(Clone, Debug)]
pub(super) struct EachHost {
    others: Vec<Config>,
    last: Config,
    limit: Duration,
}

impl EachHost {
    pub(super) fn new(mut config: Config) -> Self {
        bound(&mut config);
        let mut others = one_by_one(&config);
        let last = others.pop().unwrap_or_else(|| config.clone());
        let count = u32::try_from(others.len()).unwrap_or(u32::MAX).max(1);
        let one = config.get_connect_timeout().map_or(EACH, |given| EACH.min(*given));
        Self { others, last, limit: one.min(OTHERS / count) }
    }

    pub(super) async fn connect(&self) -> Result<(Client, Connection<Socket, NoTlsStream>), Error> {
        for host in &self.others {
            if let Ok(Ok(connected)) = tokio::time::timeout(self.limit, host.connect(NoTls)).await {
                return Ok(connected);
            }
        }
        self.last.connect(NoTls).await
    }
}

impl Connect for EachHost {
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        Box::pin(async {
            let (client, connection) = EachHost::connect(self).await?;
            let run = async {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to PostgreSQL broke");
                }
            };
            Ok((client, tokio::spawn(run)))
        })
    }
}

/// Bounds what the URL does not.
fn bound(config: &mut Config) {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(NETWORK);
    }
    if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
        config.keepalives_idle(SILENCE).keepalives_interval(SILENCE / 3).keepalives_retries(3);
    }
}

/// Each host of several as a configuration of its own. None if the driver chooses between them, or has something to say
/// about them.
fn one_by_one(config: &Config) -> Vec<Config> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = hosts.len().max(addresses.len());
    let fits = |list: usize| list <= 1 || list == count;
    let random = config.get_load_balance_hosts() == LoadBalanceHosts::Random;
    if count < 2 || random || !(fits(hosts.len()) && fits(addresses.len()) && fits(ports.len())) {
        return Vec::new();
    }
    let one = |n: usize| {
        let mut one = without_hosts(config);
        let _ = hosts.get(n).map(|host| match host {
            Host::Tcp(name) => one.host(name),
            #[cfg(unix)]
            Host::Unix(path) => one.host_path(path),
        });
        let _ = addresses.get(n).map(|address| one.hostaddr(*address));
        let _ = ports.get(n).or(ports.first()).map(|port| one.port(*port));
        one
    };
    (0..count).map(one).collect()
}

fn without_hosts(from: &Config) -> Config {
    let mut to = Config::new();
    let _ = from.get_user().map(|user| to.user(user));
    let _ = from.get_password().map(|password| to.password(password));
    let _ = from.get_dbname().map(|name| to.dbname(name));
    let _ = from.get_options().map(|options| to.options(options));
    let _ = from.get_application_name().map(|name| to.application_name(name));
    let _ = from.get_connect_timeout().map(|limit| to.connect_timeout(*limit));
    let _ = from.get_tcp_user_timeout().map(|limit| to.tcp_user_timeout(*limit));
    let _ = from.get_keepalives_interval().map(|pause| to.keepalives_interval(pause));
    let _ = from.get_keepalives_retries().map(|count| to.keepalives_retries(count));
    to.ssl_mode(from.get_ssl_mode()).channel_binding(from.get_channel_binding());
    to.keepalives(from.get_keepalives()).keepalives_idle(from.get_keepalives_idle());
    to.target_session_attrs(from.get_target_session_attrs());
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_is_tried_with_all_that_the_url_says() {
        let url = "host=a,b,/run/c port=1,2,3 user=u password=p dbname=d application_name=n options=-cx \
                   target_session_attrs=read-write tcp_user_timeout=5 keepalives_idle=7";
        let hosts = EachHost::new(url.parse().unwrap());
        assert_eq!((hosts.others.len(), hosts.limit), (2, Duration::from_millis(1500)));
        for (n, (host, port)) in [("a", 1), ("b", 2), ("/run/c", 3)].into_iter().enumerate() {
            let one = url.replace("a,b,/run/c", host).replace("1,2,3", &port.to_string());
            let mut one: Config = one.parse().unwrap();
            bound(&mut one);
            assert_eq!(*hosts.others.get(n).unwrap_or(&hosts.last), one);
        }
    }

    #[test]
    fn one_host_and_a_choice_are_the_drivers() {
        for url in ["postgres://u@a/d", "host=a,b load_balance_hosts=random", "host=a,b,c port=1,2"] {
            let hosts = EachHost::new(url.parse().unwrap());
            assert!(hosts.others.is_empty(), "{url}");
            assert_eq!(hosts.last.get_hosts(), url.parse::<Config>().unwrap().get_hosts());
        }
    }
}
