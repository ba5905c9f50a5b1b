use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls_pki_types::pem::{PemObject, SectionKind};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::secret::Secret;

/// The longest PEM text that is accepted, in bytes: more than all roots of a browser take.
const MAX_PEM: usize = 512 * 1024;

/// The certificates that a target's server may descend from, and no others: a text in PEM.
///
/// What is not PEM is refused when it is read; what is no certificate, when the policy is saved.
#[derive(Clone, Eq, PartialEq)]
pub struct CaBundle(Arc<str>);

impl CaBundle {
    /// The text.
    pub fn as_pem(&self) -> &str {
        &self.0
    }
}

impl FromStr for CaBundle {
    type Err = Error;

    fn from_str(pem: &str) -> Result<Self> {
        let sections = sections("ca_bundle", pem)?;
        if sections.iter().any(is_key) {
            return Err(Error::invalid("ca_bundle", "holds a private key; give the certificates only"));
        }
        if !sections.iter().any(is_certificate) {
            return Err(Error::invalid("ca_bundle", "holds no certificate (-----BEGIN CERTIFICATE-----)"));
        }
        Ok(Self(pem.into()))
    }
}

/// Shows the size only, as it is long.
impl fmt::Debug for CaBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaBundle({} bytes)", self.0.len())
    }
}

/// What the sender shows to a target's server that asks who it is: a certificate with its chain, and its private key, as one text in
/// PEM. It is a secret.
///
/// What is not PEM is refused when it is read; a key that does not belong to the certificate, when the policy is saved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientIdentity(Arc<Secret>);

impl ClientIdentity {
    /// The text, for the one place that sends or stores it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl FromStr for ClientIdentity {
    type Err = Error;

    fn from_str(pem: &str) -> Result<Self> {
        let wrong = |problem: &str| Err(Error::invalid("client_identity", problem));
        if pem.contains("ENCRYPTED") {
            return wrong("has an encrypted key; give it without a passphrase");
        }
        let sections = sections("client_identity", pem)?;
        if !sections.iter().any(is_certificate) {
            return wrong("holds no certificate (-----BEGIN CERTIFICATE-----)");
        }
        if sections.iter().filter(|section| is_key(section)).count() != 1 {
            return wrong("must hold one private key (-----BEGIN PRIVATE KEY-----)");
        }
        if sections.iter().any(|section| !is_certificate(section) && !is_key(section)) {
            return wrong("holds more than certificates and a private key; remove the rest");
        }
        Ok(Self(Arc::new(Secret::new(pem))))
    }
}

type Section = (SectionKind, Zeroizing<Vec<u8>>);

fn sections(field: &str, pem: &str) -> Result<Vec<Section>> {
    if pem.len() > MAX_PEM {
        return Err(Error::invalid(field, format_args!("is longer than {MAX_PEM} bytes")));
    }
    let read = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes());
    let read = read.map(|section| section.map(|(kind, der)| (kind, Zeroizing::new(der))));
    // The reader's own words may quote a line.
    read.collect::<Result<_, _>>()
        .map_err(|_| Error::invalid(field, "is not PEM: a section is damaged, or does not end"))
}

fn is_certificate((kind, _): &Section) -> bool {
    matches!(kind, SectionKind::Certificate)
}

fn is_key((kind, _): &Section) -> bool {
    matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERT: &str = "-----BEGIN CERTIFICATE-----\nczNjcjN0\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nczNjcjN0\n-----END PRIVATE KEY-----\n";
    const CRL: &str = "-----BEGIN X509 CRL-----\nczNjcjN0\n-----END X509 CRL-----\n";

    #[test]
    fn a_bundle_is_certificates_and_an_identity_has_a_key_too() {
        let bundle: CaBundle = format!("# ours\n{CERT}{CERT}").parse().unwrap();
        assert!(bundle.as_pem().starts_with("# ours\n"));
        let identity: ClientIdentity = format!("{CERT}{KEY}").parse().unwrap();
        assert!(identity.expose().ends_with(KEY));
        assert!(!format!("{bundle:?}{identity:?}").contains("czNj"));
    }

    #[test]
    fn what_is_wrong_is_said_and_not_shown() {
        let bundle = |pem: &str| pem.parse::<CaBundle>().unwrap_err().to_string();
        let identity = |pem: &str| pem.parse::<ClientIdentity>().unwrap_err().to_string();
        assert!(bundle("").contains("holds no certificate"));
        assert!(bundle("/etc/ssl/ca.pem").contains("holds no certificate"));
        assert!(bundle(&format!("{CERT}{KEY}")).contains("private key"));
        assert!(bundle(&CERT[..40]).contains("is not PEM"));
        assert!(bundle(&CERT.replace("czNj", "cz!j")).contains("is not PEM"));
        assert!(bundle(&CERT.repeat(10_000)).contains("is longer than"));
        assert!(identity(CERT).contains("one private key"));
        assert!(identity(KEY).contains("holds no certificate"));
        assert!(identity(&format!("{CERT}{KEY}{KEY}")).contains("one private key"));
        assert!(identity(&format!("{CERT}{KEY}{CRL}")).contains("remove the rest"));
        let encrypted = KEY.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert!(identity(&format!("{CERT}{encrypted}")).contains("passphrase"));
        for message in [bundle(&KEY.replace("czNj", "cz!j")), identity(&KEY.replace("czNj", "cz!j"))] {
            assert!(!message.contains("cz!j"), "{message}");
        }
    }
}
