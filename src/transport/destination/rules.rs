use std::borrow::Cow;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use ipnet::IpNet;

use super::ranges::{forbidden, nat64};
use super::{Blocked, DestinationRule, HostPattern};

/// What was allowed and denied, on what ground. All addresses are canonical.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Rules {
    pub(super) ground: Ground,
    pub(super) networks: Vec<IpNet>,
    pub(super) hosts: Vec<HostPattern>,
    pub(super) ports: Vec<u16>,
    pub(super) denied: Vec<IpNet>,
    pub(super) listeners: Vec<SocketAddr>,
}

/// What holds where nothing else is said.
#[derive(Clone, Debug)]
pub(super) enum Ground {
    Public,
    Private,
    Nothing,
    Custom(Arc<dyn DestinationRule>),
}

impl Eq for Ground {}

impl PartialEq for Ground {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Custom(a), Self::Custom(b)) => Arc::ptr_eq(a, b),
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }
}

impl Rules {
    pub(super) fn judge(&self, host: Option<&str>, port: Option<u16>, addr: IpAddr) -> Result<(), Blocked> {
        self.check_denied(port, addr)?;
        if self.networks.iter().any(|network| network.contains(&addr)) {
            return Ok(());
        }
        match self.forbidden(host, addr) {
            None => port.map_or(Ok(()), |port| self.check_port(port)),
            Some(rule) => Err(Blocked::allow_with(addr, rule, &format!("allow_network(\"{}\")", IpNet::from(addr)))),
        }
    }

    fn check_denied(&self, port: Option<u16>, addr: IpAddr) -> Result<(), Blocked> {
        // A NAT64 address leads to the one in it, and the unspecified one to this machine.
        let inside = match addr {
            IpAddr::V4(addr) => addr.is_unspecified().then_some(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(addr) if addr.is_unspecified() => Some(Ipv6Addr::LOCALHOST.into()),
            IpAddr::V6(addr) => nat64(addr).map(IpAddr::V4),
        };
        let leads = |to: &dyn Fn(IpAddr) -> bool| to(addr) || inside.is_some_and(to);
        if let Some(network) = self.denied.iter().find(|network| leads(&|addr| network.contains(&addr))) {
            let call = format!("deny_network(\"{network}\")");
            return Err(Blocked::denied_with(addr, "is in a denied network", &call));
        }
        for listener in self.listeners.iter().filter(|listener| port == Some(listener.port())) {
            for addr in [Some(addr), inside].into_iter().flatten() {
                let is_it = if listener.ip().is_unspecified() { is_own(addr) } else { Some(listener.ip() == addr) };
                match is_it {
                    Some(false) => {}
                    Some(true) => {
                        let call = format!("deny_listener({listener})");
                        return Err(Blocked::denied_with(addr, "is a listener of the host", &call));
                    }
                    None => return Err(Blocked::for_now(addr, "may be a listener of the host")),
                }
            }
        }
        Ok(())
    }

    /// The rule that forbids an address, if one does.
    fn forbidden(&self, host: Option<&str>, addr: IpAddr) -> Option<Cow<'static, str>> {
        let named = host.is_some_and(|host| self.names(host));
        let known = match &self.ground {
            _ if named => forbidden(addr, true),
            Ground::Public => forbidden(addr, false),
            Ground::Private => forbidden(addr, true),
            Ground::Nothing => Some("is not on the list of allowed networks"),
            Ground::Custom(rule) => {
                let host = host.map_or_else(|| addr.to_string(), normal);
                return rule.check(&host, addr).err().map(Cow::Owned);
            }
        };
        known.map(Cow::Borrowed)
    }

    fn names(&self, host: &str) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    pub(super) fn check_port(&self, port: u16) -> Result<(), Blocked> {
        if matches!(port, 80 | 443 | 1024..) || self.ports.contains(&port) {
            return Ok(());
        }
        let rule = "is not a port for webhooks (80, 443, 1024 to 65535)";
        Err(Blocked::allow_with(format_args!("{port}"), rule, &format!("allow_port({port})")))
    }

    /// A name that can only mean this machine or an inner network, or that is on no list. Where a network is allowed, what
    /// the name resolves to decides.
    pub(super) fn check_name(&self, name: &str) -> Result<(), Blocked> {
        if !self.networks.is_empty() || self.names(name) {
            return Ok(());
        }
        let name = normal(name);
        let rule = match self.ground {
            Ground::Public if is_inner(&name) => "is a name of an inner network",
            Ground::Nothing => "is not on the list of allowed hosts",
            _ => return Ok(()),
        };
        let call = format!("allow_host(\"{name}\")");
        Err(Blocked::allow_with(name, rule, &call))
    }
}

fn is_inner(name: &str) -> bool {
    name == "localhost" || [".localhost", ".internal", ".local"].iter().any(|end| name.ends_with(end))
}

/// In lower case, without the final dot.
fn normal(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// Whether the address is one of this machine's, which is when a socket can be bound to it. `None`: that cannot be told now.
fn is_own(addr: IpAddr) -> Option<bool> {
    if addr.is_unspecified() { Some(true) } else { tells(UdpSocket::bind((addr, 0)).map(drop)) }
}

/// What the attempt to bind a socket says. Whatever else prevents it says nothing, so the address is taken for ours.
fn tells(bound: io::Result<()>) -> Option<bool> {
    /// No file is free, in this process or on this machine: the same numbers on all Unixes.
    const NO_FILE: [i32; 2] = [24, 23];
    /// Linux without IPv6: no address of it is ours, and none can be connected to.
    const NO_FAMILY: i32 = 97;
    match bound {
        Ok(()) => Some(true),
        Err(e) if e.kind() == ErrorKind::AddrNotAvailable => Some(false),
        Err(e) if cfg!(target_os = "linux") && e.raw_os_error() == Some(NO_FAMILY) => Some(false),
        Err(e) if e.kind() == ErrorKind::OutOfMemory => None,
        Err(e) if cfg!(unix) && e.raw_os_error().is_some_and(|code| NO_FILE.contains(&code)) => None,
        Err(_) => Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_socket_it_is_not_said_that_an_address_is_ours() {
        assert_eq!(is_own([127, 0, 0, 1].into()), Some(true));
        assert_eq!(is_own([8, 8, 8, 8].into()), Some(false));
        assert_eq!(tells(Err(ErrorKind::PermissionDenied.into())), Some(true));
        if cfg!(target_os = "linux") {
            let fails = |code| tells(Err(io::Error::from_raw_os_error(code)));
            assert_eq!((fails(24), fails(23), fails(12)), (None, None, None));
            assert_eq!(fails(97), Some(false));
        }
    }
}
