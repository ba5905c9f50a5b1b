use url::Host;

use crate::error::{Error, Result};

/// A name, or all names below one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct HostPattern {
    /// In the form that URLs have: lower case, punycode, no final dot.
    name: String,
    below: bool,
}

impl HostPattern {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| Err(Error::invalid("allow_host", format_args!("{text:?} {why}")));
        let (name, below) = match text.trim().strip_prefix("*.") {
            Some(suffix) => (suffix, true),
            None => (text.trim(), false),
        };
        match Host::parse(name) {
            Ok(Host::Domain(name)) if !name.contains('*') => {
                Ok(Self { name: name.trim_end_matches('.').to_owned(), below })
            }
            Ok(Host::Domain(_)) => wrong("has a star elsewhere than at its start, as in *.example.com"),
            Ok(Host::Ipv4(_) | Host::Ipv6(_)) => wrong("is an address: give it to allow_network"),
            Err(_) => wrong("is not a name such as ci.example.com or *.example.com, without scheme and port"),
        }
    }

    pub(super) fn matches(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match host.len().checked_sub(self.name.len()).and_then(|at| host.split_at_checked(at)) {
            Some((before, end)) if end.eq_ignore_ascii_case(&self.name) => {
                if self.below {
                    before.len() > 1 && before.ends_with('.')
                } else {
                    before.is_empty()
                }
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_name_and_a_star_is_what_lies_below() {
        let exact = HostPattern::parse(" CI.example.com. ").unwrap();
        let below = HostPattern::parse("*.bücher.example").unwrap();
        for host in ["ci.example.com", "CI.Example.com", "ci.example.com."] {
            assert!(exact.matches(host), "{host}");
        }
        for host in ["a.ci.example.com", "xci.example.com", "example.com", "ci.example.com.evil.org", ""] {
            assert!(!exact.matches(host), "{host}");
        }
        for host in ["a.xn--bcher-kva.example", "a.b.xn--bcher-kva.example."] {
            assert!(below.matches(host), "{host}");
        }
        for host in ["xn--bcher-kva.example", ".xn--bcher-kva.example", "axn--bcher-kva.example", "é"] {
            assert!(!below.matches(host), "{host}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_what_to_do() {
        let wrong = |text: &str| HostPattern::parse(text).unwrap_err().to_string();
        assert!(wrong("10.0.0.1").ends_with("give it to allow_network"));
        assert!(wrong("[::1]").ends_with("give it to allow_network"));
        assert!(wrong("0x7f.1").ends_with("give it to allow_network"));
        assert!(wrong("*").contains("star"));
        assert!(wrong("a.*.example.com").contains("star"));
        for text in ["", "*.", "https://ci.example.com", "ci.example.com:443", "a b"] {
            assert!(wrong(text).contains("ci.example.com or"), "{text}");
        }
    }
}
