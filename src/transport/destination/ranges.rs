//! Which addresses are not of the public internet, and why. Sources: the IANA registries of special-purpose addresses, RFC 4291
//! (embedded IPv4), RFC 6052 (NAT64), RFC 5214 (ISATAP), and the documented addresses of clouds' metadata services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The rule that forbids an address, if one does.
pub(super) fn forbidden(addr: IpAddr, private_networks: bool) -> Option<&'static str> {
    match addr {
        IpAddr::V4(addr) => forbidden_v4(addr, private_networks),
        IpAddr::V6(addr) => forbidden_v6(addr, private_networks),
    }
}

/// A network and what is wrong with it.
type Rule<A> = (A, u8, &'static str);

const V4: [Rule<Ipv4Addr>; 13] = [
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
    (Ipv4Addr::new(100, 100, 100, 200), 32, "is a cloud's metadata service (100.100.100.200)"),
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

/// Metadata services within fc00::/7, and what else gives credentials to machines there: those of AWS (which has all of its
/// services for machines in that network), Google, Oracle and Scaleway.
const V6_METADATA: [Rule<Ipv6Addr>; 4] = [
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32, "is a cloud's metadata service (fd00:ec2::/32)"),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, "is a cloud's metadata service (fd20:ce::254)"),
    (
        Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
        128,
        "is a cloud's metadata service (fd00:c1::a9fe:a9fe)",
    ),
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128, "is a cloud's metadata service (fd00:42::42)"),
];

fn forbidden_v4(addr: Ipv4Addr, private_networks: bool) -> Option<&'static str> {
    let within = |rules: &[Rule<Ipv4Addr>]| {
        let holds =
            |(net, bits, _): &&Rule<Ipv4Addr>| same_prefix(net.to_bits().into(), addr.to_bits().into(), 32 - bits);
        rules.iter().find(holds).map(|(_, _, rule)| *rule)
    };
    within(&V4).or_else(|| if private_networks { None } else { within(&V4_PRIVATE) })
}

fn forbidden_v6(addr: Ipv6Addr, private_networks: bool) -> Option<&'static str> {
    if let Some(inside) = nat64(addr) {
        return forbidden_v4(inside, private_networks);
    }
    let within = |rules: &[Rule<Ipv6Addr>]| {
        let holds = |(net, bits, _): &&Rule<Ipv6Addr>| same_prefix(net.to_bits(), addr.to_bits(), 128 - bits);
        rules.iter().find(holds).map(|(_, _, rule)| *rule)
    };
    if let Some(rule) = within(&V6_METADATA) {
        return Some(rule);
    }
    let segments = addr.segments();
    // A tunnel to the IPv4 address at the end, within whatever network.
    if segments[4] & 0xfdff == 0 && segments[5] == 0x5efe {
        return Some("is an ISATAP address");
    }
    if segments[0] & 0xfe00 == 0xfc00 {
        return if private_networks { None } else { Some("is a private address (fc00::/7)") };
    }
    if segments[0] & 0xe000 != 0x2000 {
        return Some("is not a public IPv6 address (2000::/3)");
    }
    within(&V6)
}

/// The IPv4 address within a NAT64 address (64:ff9b::/96), which is where the packets go.
pub(super) fn nat64(addr: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = addr.to_bits();
    (bits >> 32 == 0x0064_ff9b_u128 << 64).then_some(Ipv4Addr::from_bits(bits as u32))
}

/// Whether two addresses agree in all but their last `host` bits.
fn same_prefix(a: u128, b: u128, host: u8) -> bool {
    (a ^ b).checked_shr(host.into()).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refused whatever the policy; then those that a policy for private networks lets through; then public ones.
    const NEVER: [&str; 59] = [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.0.0",
        "169.254.169.254",
        "169.254.255.255",
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
        "100.100.100.200",
        "::",
        "::1",
        // IPv4-mapped, IPv4-compatible, translated (SIIT).
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:0:127.0.0.1",
        "::ffff:0:8.8.8.8",
        // NAT64, and its prefix for local use.
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::a83f:8110",
        "64:ff9b::100.100.100.200",
        "64:ff9b:1::1",
        "64:ff9b:1::a00:1",
        "64:ff9b:0:0:0:1::1",
        "100::1",
        // Teredo, benchmarks, ORCHID, 6to4.
        "2001::1",
        "2001:0:a00:1::1",
        "2001:2::1",
        "2001:10::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::1",
        "3fff::1",
        "5f00::1",
        // ISATAP, with both forms of its marker.
        "2606:4700::5efe:a00:1",
        "2606:4700::200:5efe:7f00:1",
        "fd12:3456::5efe:7f00:1",
        "fd12:3456::200:5efe:a9fe:a9fe",
        "fe80::1",
        "fe80::5efe:a00:1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        // Credentials of pods, and the metadata services of two more clouds.
        "fd00:ec2::23",
        "fd00:c1::a9fe:a9fe",
        "fd00:42::42",
    ];
    const PRIVATE: [&str; 10] = [
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
    ];
    const PUBLIC: [&str; 17] = [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "172.15.0.1",
        "172.32.0.1",
        "168.63.129.17",
        "223.255.255.255",
        "2001:200::1",
        "2606:4700::1111",
        "2606:4700::5eff:a00:1",
        "2a00::1",
        "64:ff9b::101:101",
        "::ffff:8.8.8.8",
    ];

    fn refused(addr: &str, private_networks: bool) -> bool {
        forbidden(addr.parse::<IpAddr>().unwrap().to_canonical(), private_networks).is_some()
    }

    #[test]
    fn every_range_is_refused() {
        for addr in NEVER {
            assert!(refused(addr, false) && refused(addr, true), "{addr}");
        }
        for addr in PRIVATE {
            assert!(refused(addr, false) && !refused(addr, true), "{addr}");
        }
        for addr in PUBLIC {
            assert!(!refused(addr, false) && !refused(addr, true), "{addr}");
        }
    }
}
