use super::*;

fn check(policy: &DestinationPolicy, addr: &str) -> Option<String> {
    policy.check_addr(addr.parse().unwrap()).err().map(|blocked| blocked.to_string())
}

fn save(policy: &DestinationPolicy, url: &str) -> Option<String> {
    policy.check_address(&url.parse().unwrap()).err().map(|blocked| blocked.to_string())
}

fn connect(policy: &DestinationPolicy, url: &str, addr: &str) -> Option<String> {
    policy.check_resolved(&url.parse().unwrap(), addr.parse().unwrap()).err().map(|blocked| blocked.to_string())
}

#[test]
fn one_allowed_network_relaxes_nothing_else() {
    let policy = DestinationPolicy::public_addresses().allow_network("127.0.0.5").unwrap();
    assert!(check(&policy, "127.0.0.5").is_none());
    assert!(check(&policy, "::ffff:127.0.0.5").is_none());
    for addr in ["127.0.0.6", "10.0.0.1", "64:ff9b::7f00:5", "::127.0.0.5"] {
        assert!(check(&policy, addr).is_some(), "{addr}");
    }
    assert!(DestinationPolicy::public_addresses().allow_network("10.0.0.0/40").is_err());
    // All of IPv6 is not IPv4 in another spelling.
    let six = DestinationPolicy::public_addresses().allow_network("::/0").unwrap();
    assert!(check(&six, "fe80::1").is_none());
    assert!(check(&six, "::ffff:127.0.0.1").is_some());
    let mapped = DestinationPolicy::public_addresses().allow_network("::ffff:10.0.0.0/104").unwrap();
    assert!(check(&mapped, "10.9.9.9").is_none());
    assert!(check(&mapped, "::ffff:10.9.9.9").is_none());
}

#[test]
fn an_allowed_host_is_relaxed_for_itself_only_and_to_private_networks_only() {
    let policy = DestinationPolicy::public_addresses().allow_host("ci.corp.internal").unwrap();
    for addr in ["10.0.0.1", "fd12::1", "8.8.8.8"] {
        assert_eq!(connect(&policy, "http://ci.corp.internal:8080/", addr), None);
    }
    for addr in ["127.0.0.1", "169.254.169.254", "fd00:ec2::254", "::1", "fe80::1"] {
        assert!(connect(&policy, "http://ci.corp.internal/", addr).is_some(), "{addr}");
    }
    for url in ["http://other.corp.internal/", "http://a.ci.corp.internal/", "http://10.0.0.1/", "http://example.com/"]
    {
        assert!(connect(&policy, url, "10.0.0.1").is_some(), "{url}");
    }
    assert_eq!(save(&policy, "http://CI.corp.internal./"), None);
    let blocked = save(&policy, "http://metadata.google.internal/").unwrap();
    assert!(blocked.ends_with(r#"allow it with .allow_host("metadata.google.internal")"#), "{blocked}");
}

#[test]
fn an_allow_list_lets_nothing_else_through() {
    let policy = DestinationPolicy::allow_list().allow_host("*.example.com").unwrap();
    assert_eq!(save(&policy, "https://a.example.com/"), None);
    assert_eq!(connect(&policy, "https://a.example.com/", "8.8.8.8"), None);
    assert!(connect(&policy, "https://a.example.com/", "127.0.0.1").is_some());
    assert!(connect(&policy, "https://example.org/", "8.8.8.8").is_some());
    assert!(save(&policy, "https://8.8.8.8/").unwrap().contains(r#"allow_network("8.8.8.8/32")"#));
    assert!(save(&policy, "https://example.com/").unwrap().contains(r#"allow_host("example.com")"#));
    let policy = policy.allow_network("8.8.8.0/24").unwrap();
    // What it resolves to decides.
    assert_eq!(save(&policy, "https://example.org/"), None);
    assert_eq!(connect(&policy, "https://example.org/", "8.8.8.8"), None);
    assert!(connect(&policy, "https://example.org/", "8.8.4.4").is_some());
}

#[derive(Debug)]
struct OnlyCi;

impl DestinationRule for OnlyCi {
    fn check(&self, host: &str, addr: IpAddr) -> Result<(), String> {
        let ours = host == "ci" && addr == IpAddr::from([127, 0, 0, 9]);
        if ours { Ok(()) } else { Err("is not our CI".to_owned()) }
    }
}

#[test]
fn a_hosts_own_rule_decides_but_for_what_is_denied_or_allowed() {
    let policy = DestinationPolicy::custom(OnlyCi);
    assert_eq!(connect(&policy, "http://CI./", "::ffff:127.0.0.9"), None);
    assert!(connect(&policy, "http://other/", "127.0.0.9").unwrap().starts_with("127.0.0.9 is not our CI; allow it"));
    assert!(save(&policy, "http://8.8.8.8/").is_some());
    let wider = policy.clone().allow_network("8.8.8.8").unwrap();
    assert_eq!(save(&wider, "http://8.8.8.8/"), None);
    let narrower = policy.clone().deny_network("127.0.0.0/8").unwrap();
    assert!(connect(&narrower, "http://ci/", "127.0.0.9").is_some());
    // Clients are kept by policy: the same rule is the same policy, another one is not.
    assert_eq!(policy, policy.clone());
    assert_ne!(policy, DestinationPolicy::custom(OnlyCi));
    assert_ne!(policy, wider);
    assert_ne!(DestinationPolicy::public_addresses(), DestinationPolicy::allow_list());
}

#[test]
fn what_is_denied_stays_denied() {
    let policy = DestinationPolicy::private_networks().allow_network("0.0.0.0/0").unwrap();
    let policy = policy.allow_host("ci.example.com").unwrap().deny_network("10.1.0.0/16").unwrap();
    let blocked = check(&policy, "10.1.2.3").unwrap();
    let words =
        r#"10.1.2.3 is in a denied network; denied with .deny_network("10.1.0.0/16"), which wins over the rest"#;
    assert_eq!(blocked, words);
    for addr in ["::ffff:10.1.2.3", "64:ff9b::a01:203"] {
        assert!(check(&policy, addr).is_some(), "{addr}");
        assert!(connect(&policy, "http://ci.example.com/", addr).is_some(), "{addr}");
    }
    assert_eq!(check(&policy, "10.2.0.0"), None);
}

#[test]
fn the_hosts_own_listeners_can_be_denied() {
    let policy = DestinationPolicy::private_networks().allow_network("127.0.0.0/8").unwrap();
    let one = policy.clone().deny_listener("10.0.0.1:8080".parse().unwrap());
    assert!(
        save(&one, "http://10.0.0.1:8080/").unwrap().starts_with("10.0.0.1 is a listener of the host; denied with")
    );
    assert!(save(&one, "http://[::ffff:10.0.0.1]:8080/").is_some());
    assert!(connect(&one, "http://ci.example.com:8080/", "10.0.0.1").is_some());
    assert_eq!(connect(&one, "http://ci.example.com:8081/", "10.0.0.1"), None);
    assert_eq!(save(&one, "http://10.0.0.2:8080/"), None);
    // A NAT64 address leads there too.
    assert!(save(&one, "http://[64:ff9b::10.0.0.1]:8080/").unwrap().contains("is a listener of the host"));
    assert!(connect(&one, "http://ci.example.com:8080/", "64:ff9b::a00:1").is_some());
    assert_eq!(save(&one, "http://[64:ff9b::10.0.0.2]:8080/"), None);
    for unspecified in ["0.0.0.0:8080", "[::]:8080"] {
        let any = policy.clone().deny_listener(unspecified.parse().unwrap());
        assert!(save(&any, "http://127.0.0.1:8080/").is_some());
        assert!(save(&any, "http://127.9.9.9:8080/").is_some());
        assert_eq!(save(&any, "http://127.0.0.1:8081/"), None);
        // Not an address of any machine.
        assert_eq!(connect(&any, "http://ci.example.com:8080/", "8.8.8.8"), None);
    }
}

#[test]
fn low_ports_are_other_protocols() {
    let public = DestinationPolicy::public_addresses();
    for port in [0, 1, 22, 25, 79, 81, 442, 444, 587, 1023] {
        let blocked = save(&public, &format!("http://ci.example.com:{port}/")).unwrap();
        assert!(blocked.ends_with(&format!("allow it with .allow_port({port})")), "{blocked}");
    }
    for rest in ["", ":80", ":443", ":1024", ":65535"] {
        assert_eq!(save(&public, &format!("http://ci.example.com{rest}/")), None);
    }
    assert_eq!(save(&public.clone().allow_port(81), "http://ci.example.com:81/"), None);
    // Whoever names a network knows what listens there.
    let ours = public.allow_network("10.0.0.0/8").unwrap();
    assert_eq!(save(&ours, "http://10.1.2.3:81/"), None);
    assert!(save(&ours, "http://8.8.8.8:81/").unwrap().contains("allow_port(81)"));
    let named: Address = "http://ci.example.com:81/".parse().unwrap();
    assert!(ours.check_address(&named).is_ok());
    assert!(ours.check_resolved(&named, "10.1.2.3".parse().unwrap()).is_ok());
    assert!(ours.check_resolved(&named, "8.8.8.8".parse().unwrap()).is_err());
}

#[test]
fn the_error_says_what_would_allow_it() {
    let blocked = check(&DestinationPolicy::public_addresses(), "::ffff:10.1.2.3").unwrap();
    assert_eq!(blocked, "10.1.2.3 is a private address (10.0.0.0/8); allow it with .allow_network(\"10.1.2.3/32\")");
}

#[test]
fn hosts_are_judged_after_parsing() {
    let public = DestinationPolicy::public_addresses();
    for host in [
        "127.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "127.0.0.0x1",
        "%31%32%37.0.0.1",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "0",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "ⓛocalhost",
        "a.localhost",
        "metadata.google.internal",
        "printer.local",
        "user@127.0.0.1",
        "example.com@127.0.0.1",
        "example.com%40@127.0.0.1",
    ] {
        assert!(save(&public, &format!("http://{host}/")).is_some(), "{host}");
    }
    assert_eq!(save(&public, "https://ci.example.com/"), None);
    // Zones are of this machine's links; and what is no host is no address.
    for host in ["[fe80::1%25eth0]", "[fe80::1%eth0]", "[::1", "256.0.0.1", "0x100000000", "127.0.0.1.1", "1.2.3.4.5"] {
        assert!(format!("http://{host}/").parse::<Address>().is_err(), "{host}");
    }
}

/// The kernel connects the unspecified address to this machine.
#[test]
fn what_is_denied_of_this_machine_is_denied_by_its_other_name() {
    let all = DestinationPolicy::public_addresses().allow_network("0.0.0.0/0").unwrap().allow_network("::/0").unwrap();
    let denied = all.clone().deny_network("127.0.0.0/8").unwrap().deny_network("::1").unwrap();
    let listener = all.clone().deny_listener("127.0.0.1:8080".parse().unwrap());
    for host in ["127.0.0.1", "0.0.0.0", "[::ffff:0.0.0.0]"] {
        let address = format!("http://{host}:8080/").parse().unwrap();
        assert!(all.check_address(&address).is_ok(), "{host}");
        assert!(denied.check_address(&address).is_err() && listener.check_address(&address).is_err(), "{host}");
    }
    assert!(denied.check_address(&"http://[::]:8080/".parse().unwrap()).is_err());
}
