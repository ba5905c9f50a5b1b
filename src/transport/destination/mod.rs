mod blocked;
mod hosts;
mod ranges;
mod rules;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use url::Host;

pub use blocked::Blocked;
use hosts::HostPattern;
use rules::{Ground, Rules};

use crate::error::{Error, Result};
use crate::policy::Address;

/// Where webhooks may go.
///
/// Whoever edits a policy chooses an address, and the sender stands inside the host's network: without a rule, a webhook is a
/// way to reach what is not meant to be reached. The rule is checked when a policy is saved, which is advice, and at every
/// connection on the resolved addresses, which is what counts. Ports other than 80, 443 and 1024 to 65535 are refused too.
///
/// ```
/// use harbor_webhook::transport::DestinationPolicy;
///
/// let destination = DestinationPolicy::public_addresses()
///     .allow_network("10.20.0.0/16")?
///     .allow_host("*.ci.example.com")?
///     .deny_listener("10.20.0.1:5432".parse().unwrap());
/// assert!(destination.check_addr("10.20.1.2".parse().unwrap()).is_ok());
/// let blocked = destination.check_addr("169.254.169.254".parse().unwrap()).unwrap_err();
/// assert!(blocked.to_string().contains(r#".allow_network("169.254.169.254/32")"#));
/// # Ok::<(), harbor_webhook::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DestinationPolicy(Arc<Rules>);

/// A host's own rule for where webhooks may go: see [`DestinationPolicy::custom`].
pub trait DestinationRule: fmt::Debug + Send + Sync + 'static {
    /// Whether a request to `host` may connect to `addr`.
    ///
    /// It is asked at every connection, for every address that the name has: one refusal refuses the request. `host` is in
    /// lower case and has no final dot; an address is its own host. IPv4-mapped addresses come as IPv4. It must not block.
    ///
    /// # Errors
    ///
    /// Why not, as a sentence that begins with the address: `is not one of ours`.
    fn check(&self, host: &str, addr: IpAddr) -> Result<(), String>;
}

impl DestinationPolicy {
    /// Only addresses of the public internet.
    pub fn public_addresses() -> Self {
        Self::on(Ground::Public)
    }

    /// Also the private networks 10/8, 172.16/12, 192.168/16, 100.64/10 and fc00::/7; never this machine, its link, or
    /// a cloud's metadata service.
    pub fn private_networks() -> Self {
        Self::on(Ground::Private)
    }

    /// Nothing but the networks and hosts that are allowed one by one.
    ///
    /// ```
    /// use harbor_webhook::transport::DestinationPolicy;
    ///
    /// let destination = DestinationPolicy::allow_list().allow_host("hooks.slack.com")?.allow_network("10.0.0.7")?;
    /// assert!(destination.check_address(&"https://hooks.slack.com/services/T0/B0/x".parse()?).is_ok());
    /// assert!(destination.check_addr("8.8.8.8".parse().unwrap()).is_err());
    /// # Ok::<(), harbor_webhook::Error>(())
    /// ```
    pub fn allow_list() -> Self {
        Self::on(Ground::Nothing)
    }

    /// What the host's own rule allows; nothing else is looked at but the ports, and what is denied or allowed besides.
    ///
    /// The rule may change its mind, so no connection is used for a second request. Two policies are equal if they share
    /// the rule.
    ///
    /// ```
    /// use std::net::IpAddr;
    /// use harbor_webhook::transport::{DestinationPolicy, DestinationRule};
    ///
    /// /// Public addresses, and what our own networks of today are.
    /// #[derive(Debug)]
    /// struct Ours(DestinationPolicy);
    ///
    /// impl DestinationRule for Ours {
    ///     fn check(&self, _host: &str, addr: IpAddr) -> Result<(), String> {
    ///         self.0.check_addr(addr).map_err(|_| "is neither public nor ours".to_owned())
    ///     }
    /// }
    ///
    /// let destination = DestinationPolicy::custom(Ours(DestinationPolicy::public_addresses()));
    /// assert!(destination.check_addr("10.0.0.1".parse().unwrap()).is_err());
    /// ```
    pub fn custom(rule: impl DestinationRule) -> Self {
        Self::on(Ground::Custom(Arc::new(rule)))
    }

    fn on(ground: Ground) -> Self {
        let (networks, hosts, ports, denied, listeners) = Default::default();
        Self(Arc::new(Rules { ground, networks, hosts, ports, denied, listeners }))
    }

    /// Also this network, or single address. It relaxes nothing else.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) unless it is an address or a network such as `10.0.0.0/8` or `fd12::/16`.
    pub fn allow_network(mut self, network: &str) -> Result<Self> {
        let network = parse_network("allow_network", network)?;
        self.rules().networks.push(network);
        Ok(self)
    }

    /// Requests to this host, or to all hosts below it (`*.example.com`), may also go to private networks.
    ///
    /// It relaxes nothing for other hosts, and does not open this machine, its link or a metadata service to anybody: a name
    /// means what its resolver says. Allow the address too where that is wanted.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) unless it is a name, or `*.` and a name.
    pub fn allow_host(mut self, host: &str) -> Result<Self> {
        let host = HostPattern::parse(host)?;
        self.rules().hosts.push(host);
        Ok(self)
    }

    /// Also this port. Without it: 80, 443, and those from 1024; and any in the networks that are [allowed](Self::allow_network).
    #[must_use]
    pub fn allow_port(mut self, port: u16) -> Self {
        self.rules().ports.push(port);
        self
    }

    /// Never this network, whatever else allows it.
    ///
    /// # Errors
    ///
    /// As for [`DestinationPolicy::allow_network`].
    pub fn deny_network(mut self, network: &str) -> Result<Self> {
        let network = parse_network("deny_network", network)?;
        self.rules().denied.push(network);
        Ok(self)
    }

    /// Never this address and port, whatever else allows it: the host's own listeners, so that no webhook reaches them from within.
    ///
    /// An unspecified address (`0.0.0.0`, `[::]`) stands for every address of this machine, of both families. Those are told
    /// by binding a socket to them; where the kernel allows foreign ones (`net.ipv4.ip_nonlocal_bind`), name the addresses.
    #[must_use]
    pub fn deny_listener(mut self, listener: SocketAddr) -> Self {
        let listener = SocketAddr::new(listener.ip().to_canonical(), listener.port());
        self.rules().listeners.push(listener);
        self
    }

    fn rules(&mut self) -> &mut Rules {
        Arc::make_mut(&mut self.0)
    }

    /// Whether a connection may go to this address, on whichever port, for a request that names no host.
    ///
    /// # Errors
    ///
    /// [`Blocked`], with the rule.
    pub fn check_addr(&self, addr: IpAddr) -> Result<(), Blocked> {
        self.judge(None, None, addr)
    }

    /// Whether an address may be used, as far as can be said without resolving its name.
    ///
    /// # Errors
    ///
    /// [`Blocked`], with the rule.
    pub fn check_address(&self, address: &Address) -> Result<(), Blocked> {
        let port = address.url().port_or_known_default();
        match address.url().host() {
            Some(Host::Ipv4(addr)) => self.judge(None, port, addr.into()),
            Some(Host::Ipv6(addr)) => self.judge(None, port, addr.into()),
            // Where a network is allowed, what the name resolves to decides.
            Some(Host::Domain(name)) if self.0.networks.is_empty() => {
                self.0.check_port(port.unwrap_or_default())?;
                self.0.check_name(name)
            }
            Some(Host::Domain(name)) => self.0.check_name(name),
            None => Ok(()),
        }
    }

    /// Whether a request to this address may connect to what its host was resolved to. A transport asks for every address
    /// that a name has, after [`DestinationPolicy::check_address`], and connects to none if one is refused.
    ///
    /// # Errors
    ///
    /// [`Blocked`], with the rule.
    pub fn check_resolved(&self, address: &Address, addr: IpAddr) -> Result<(), Blocked> {
        self.judge(address.url().domain(), address.url().port_or_known_default(), addr)
    }

    /// The same by name, and by port where it is known.
    pub(super) fn judge(&self, host: Option<&str>, port: Option<u16>, addr: IpAddr) -> Result<(), Blocked> {
        self.0.judge(host, port, addr.to_canonical())
    }

    /// Whether a connection that was made for one request may be used for another one.
    #[cfg(feature = "reqwest")]
    pub(super) fn is_fixed(&self) -> bool {
        !matches!(self.0.ground, Ground::Custom(_))
    }

    /// The port, if it makes a difference to whether an address is allowed.
    #[cfg(feature = "reqwest")]
    pub(super) fn port_that_matters(&self, port: u16) -> Option<u16> {
        let listens = self.0.listeners.iter().any(|listener| listener.port() == port);
        (listens || self.0.check_port(port).is_err()).then_some(port)
    }
}

fn parse_network(field: &str, text: &str) -> Result<IpNet> {
    let wrong = || Error::invalid(field, format_args!("{text:?} is not an address or a network such as 10.0.0.0/8"));
    let text = text.trim();
    let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = parsed.map_err(|_| wrong())?.trunc();
    // Addresses are judged as IPv4 where that is what they mean.
    match (network.addr().to_canonical(), network.prefix_len().checked_sub(96)) {
        (IpAddr::V4(addr), Some(bits)) if network.addr().is_ipv6() => {
            IpNet::new(addr.into(), bits).map_err(|_| wrong())
        }
        _ => Ok(network),
    }
}

#[cfg(test)]
mod tests;
