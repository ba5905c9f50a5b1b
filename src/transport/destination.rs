use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use url::Host;

use crate::error::{Error, Result};
use crate::policy::Address;

/// Where webhooks may go.
///
/// Whoever edits a policy chooses an address, and the sender stands inside the host's network: without a rule, a webhook is a
/// way to reach what is not meant to be reached. The rule is checked when a policy is saved, which is advice, and at every
/// connection on the resolved addresses, which is what counts.
///
/// ```
/// use harbor_webhook::transport::DestinationPolicy;
///
/// let destination = DestinationPolicy::public_addresses().allow_network("10.20.0.0/16")?;
/// assert!(destination.check_addr("10.20.1.2".parse().unwrap()).is_ok());
/// let blocked = destination.check_addr("169.254.169.254".parse().unwrap()).unwrap_err();
/// assert!(blocked.to_string().contains(r#".allow_network("169.254.169.254/32")"#));
/// # Ok::<(), harbor_webhook::Error>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DestinationPolicy {
    private_networks: bool,
    allowed: Arc<[IpNet]>,
}

/// An address that a [`DestinationPolicy`] forbids, with the rule and what would allow it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{what} {rule}; allow it with .allow_network(\"{allow}\")")]
pub struct Blocked {
    what: String,
    rule: &'static str,
    allow: String,
}

impl DestinationPolicy {
    /// Only addresses of the public internet.
    pub fn public_addresses() -> Self {
        Self { private_networks: false, allowed: Arc::new([]) }
    }

    /// Also the private networks 10/8, 172.16/12, 192.168/16, 100.64/10 and fc00::/7; never this machine, its link, or
    /// a cloud's metadata service.
    pub fn private_networks() -> Self {
        Self { private_networks: true, ..Self::public_addresses() }
    }

    /// Also this network, or single address. It relaxes nothing else.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) unless it is an address or a network such as `10.0.0.0/8` or `fd12::/16`.
    pub fn allow_network(mut self, network: &str) -> Result<Self> {
        let network = network.trim();
        let parsed = network.parse::<IpNet>().or_else(|_| network.parse::<IpAddr>().map(IpNet::from));
        let parsed = parsed.map_err(|_| {
            Error::invalid(
                "allow_network",
                format_args!("{network:?} is not an address or a network such as 10.0.0.0/8"),
            )
        })?;
        self.allowed = self.allowed.iter().copied().chain([parsed.trunc()]).collect();
        Ok(self)
    }

    /// Whether a connection may go to this address.
    ///
    /// # Errors
    ///
    /// [`Blocked`], with the rule.
    pub fn check_addr(&self, addr: IpAddr) -> Result<(), Blocked> {
        let canonical = addr.to_canonical();
        if self.allowed.iter().any(|network| network.contains(&canonical) || network.contains(&addr)) {
            return Ok(());
        }
        match forbidden(canonical, self.private_networks) {
            None => Ok(()),
            Some(rule) => {
                let allow = IpNet::from(canonical).to_string();
                Err(Blocked { what: canonical.to_string(), rule, allow })
            }
        }
    }

    /// Whether an address may be used, as far as can be said without resolving its name.
    ///
    /// # Errors
    ///
    /// [`Blocked`], with the rule.
    pub fn check_address(&self, address: &Address) -> Result<(), Blocked> {
        match address.url().host() {
            Some(Host::Ipv4(addr)) => self.check_addr(addr.into()),
            Some(Host::Ipv6(addr)) => self.check_addr(addr.into()),
            Some(Host::Domain(name)) => self.check_name(name),
            None => Ok(()),
        }
    }

    /// A name that can only mean this machine or an inner network. With an allowed network, what it resolves to decides.
    fn check_name(&self, name: &str) -> Result<(), Blocked> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let inner = name == "localhost" || [".localhost", ".internal", ".local"].iter().any(|end| name.ends_with(end));
        if !inner || self.private_networks || !self.allowed.is_empty() {
            return Ok(());
        }
        Err(Blocked { what: name, rule: "is a name of an inner network", allow: "ADDRESS".to_owned() })
    }
}

/// The rule that forbids an address, if one does.
fn forbidden(addr: IpAddr, private_networks: bool) -> Option<&'static str> {
    match addr {
        IpAddr::V4(addr) => forbidden_v4(addr, private_networks),
        IpAddr::V6(addr) => forbidden_v6(addr, private_networks),
    }
}

/// A network and what is wrong with it.
type Rule<A> = (A, u8, &'static str);

const V4: [Rule<Ipv4Addr>; 12] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "is this network (0.0.0.0/8)"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "is this machine (127.0.0.0/8)"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "is link-local (169.254.0.0/16)"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "is for protocol assignments (192.0.0.0/24)"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "is for documentation (192.0.2.0/24)"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "is a 6to4 relay (192.88.99.0/24)"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "is for benchmarks (198.18.0.0/15)"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "is for documentation (198.51.100.0/24)"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "is for documentation (203.0.113.0/24)"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "is multicast (224.0.0.0/4)"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "is reserved (240.0.0.0/4)"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "is a cloud's host agent (168.63.129.16)"),
];

const V4_PRIVATE: [Rule<Ipv4Addr>; 4] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8, "is a private address (10.0.0.0/8)"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "is a carrier's private address (100.64.0.0/10)"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "is a private address (172.16.0.0/12)"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "is a private address (192.168.0.0/16)"),
];

/// Within 2000::/3, the only part of the IPv6 space that is routed.
const V6: [Rule<Ipv6Addr>; 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "is for protocol assignments (2001::/23)"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "is for documentation (2001:db8::/32)"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "is a 6to4 address (2002::/16)"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "is for documentation (3fff::/20)"),
];

/// Metadata services within fc00::/7.
const V6_METADATA: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

fn forbidden_v4(addr: Ipv4Addr, private_networks: bool) -> Option<&'static str> {
    let within = |rules: &[Rule<Ipv4Addr>]| {
        let holds =
            |(net, bits, _): &&Rule<Ipv4Addr>| same_prefix(net.to_bits().into(), addr.to_bits().into(), 32 - bits);
        rules.iter().find(holds).map(|(_, _, rule)| *rule)
    };
    within(&V4).or_else(|| if private_networks { None } else { within(&V4_PRIVATE) })
}

fn forbidden_v6(addr: Ipv6Addr, private_networks: bool) -> Option<&'static str> {
    let segments = addr.segments();
    // NAT64: the IPv4 address inside is where the packets go.
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let bits = (u32::from(segments[6]) << 16) | u32::from(segments[7]);
        return forbidden_v4(Ipv4Addr::from_bits(bits), private_networks);
    }
    if V6_METADATA.contains(&addr) {
        return Some("is a cloud's metadata service");
    }
    if segments[0] & 0xfe00 == 0xfc00 {
        return if private_networks { None } else { Some("is a private address (fc00::/7)") };
    }
    if segments[0] & 0xe000 != 0x2000 {
        return Some("is not a public IPv6 address (2000::/3)");
    }
    let holds = |(net, bits, _): &&Rule<Ipv6Addr>| same_prefix(net.to_bits(), addr.to_bits(), 128 - bits);
    V6.iter().find(holds).map(|(_, _, rule)| *rule)
}

/// Whether two addresses agree in all but their last `host` bits.
fn same_prefix(a: u128, b: u128, host: u8) -> bool {
    (a ^ b).checked_shr(host.into()).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &DestinationPolicy, addr: &str) -> Option<String> {
        policy.check_addr(addr.parse().unwrap()).err().map(|blocked| blocked.to_string())
    }

    #[test]
    fn every_range_is_refused() {
        let public = DestinationPolicy::public_addresses();
        let private = DestinationPolicy::private_networks();
        for addr in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
        ] {
            assert!(check(&public, addr).is_some(), "{addr}");
            assert!(check(&private, addr).is_some(), "{addr}");
        }
        for addr in [
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "fc00::1",
            "fd12::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
        ] {
            assert!(check(&public, addr).is_some(), "{addr}");
            assert!(check(&private, addr).is_none(), "{addr}");
        }
        for addr in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "168.63.129.17",
            "2606:4700::1111",
            "2a00::1",
            "64:ff9b::101:101",
            "::ffff:8.8.8.8",
        ] {
            assert!(check(&public, addr).is_none(), "{addr}");
        }
    }

    #[test]
    fn one_allowed_network_relaxes_nothing_else() {
        let policy = DestinationPolicy::public_addresses().allow_network("127.0.0.5").unwrap();
        assert!(check(&policy, "127.0.0.5").is_none());
        assert!(check(&policy, "::ffff:127.0.0.5").is_none());
        assert!(check(&policy, "127.0.0.6").is_some());
        assert!(check(&policy, "10.0.0.1").is_some());
        assert!(DestinationPolicy::public_addresses().allow_network("10.0.0.0/40").is_err());
    }

    #[test]
    fn the_error_says_what_would_allow_it() {
        let blocked = check(&DestinationPolicy::public_addresses(), "::ffff:10.1.2.3").unwrap();
        assert_eq!(
            blocked,
            "10.1.2.3 is a private address (10.0.0.0/8); allow it with .allow_network(\"10.1.2.3/32\")"
        );
    }

    #[test]
    fn hosts_are_judged_after_parsing() {
        let public = DestinationPolicy::public_addresses();
        for host in [
            "127.0.0.1",
            "[::ffff:127.0.0.1]",
            "2130706433",
            "0x7f.1",
            "127.1",
            "0177.0.0.1",
            "127.0.0.1.",
            "localhost",
            "localhost.",
            "LOCALHOST",
            "a.localhost",
            "metadata.google.internal",
            "printer.local",
        ] {
            let address: Address = format!("http://{host}/").parse().unwrap();
            assert!(public.check_address(&address).is_err(), "{host}");
        }
        let address: Address = "https://ci.example.com/".parse().unwrap();
        assert!(public.check_address(&address).is_ok());
    }
}
