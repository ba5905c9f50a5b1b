use std::fmt;
use std::str::FromStr;

use url::Url;
use zeroize::Zeroize as _;

use super::TargetOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;
#[cfg(feature = "signing")]
use crate::signing::SigningKeys;

/// The longest address that is accepted, in bytes.
const MAX_ADDRESS: usize = 8 * 1024;
/// The longest `Authorization` value that is accepted, in bytes.
const MAX_AUTH_HEADER: usize = 8 * 1024;

/// One endpoint of a policy.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Target {
    /// What kind of endpoint it is.
    pub target_type: TargetType,
    /// Where requests go.
    pub address: Address,
    /// The value of the `Authorization` header, byte for byte. Slack targets have none.
    pub auth_header: Option<AuthHeader>,
    /// Whether an invalid TLS certificate is accepted.
    pub skip_cert_verify: bool,
    /// The name of the format, for HTTP targets; `None` means `Default`. Slack targets have none.
    pub payload_format: Option<String>,
    /// What it has besides. Harbor's JSON has no place for it; [`HarborPolicy::replacing`](super::HarborPolicy::replacing)
    /// keeps it.
    pub options: TargetOptions,
}

impl Target {
    /// An HTTP endpoint that gets the Default format.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] unless the address is an absolute `http` or `https` URL with a host.
    pub fn http(address: &str) -> Result<Self> {
        Self::new(TargetType::Http, address)
    }

    /// A Slack incoming webhook. Its address is a secret.
    ///
    /// # Errors
    ///
    /// As for [`Target::http`].
    pub fn slack(address: &str) -> Result<Self> {
        Self::new(TargetType::Slack, address)
    }

    /// An endpoint of this kind, for stores and others that read the kind from somewhere.
    ///
    /// # Errors
    ///
    /// As for [`Target::http`].
    pub fn new(target_type: TargetType, address: &str) -> Result<Self> {
        let address = address.parse()?;
        Ok(Self {
            target_type,
            address,
            auth_header: None,
            skip_cert_verify: false,
            payload_format: None,
            options: TargetOptions::default(),
        })
    }

    /// Sends this value as `Authorization`, exactly as it is: no scheme is added.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if the value cannot stand in a header (line breaks, control characters, over 8 KiB).
    pub fn auth_header(mut self, value: &str) -> Result<Self> {
        self.auth_header = Some(value.parse()?);
        Ok(self)
    }

    /// Accepts any TLS certificate of this endpoint, as Harbor's switch of that name.
    #[must_use]
    pub fn skip_cert_verify(mut self, skip: bool) -> Self {
        self.skip_cert_verify = skip;
        self
    }

    /// Selects the format by name. Creating the policy fails if no format of that name is registered.
    #[must_use]
    pub fn payload_format(mut self, name: impl Into<String>) -> Self {
        self.payload_format = Some(name.into());
        self
    }

    /// Trusts a server that descends from one of these certificates (PEM), and no other, instead of the platform's roots.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] unless it is PEM with at least one certificate and no private key.
    pub fn ca_bundle(mut self, pem: &str) -> Result<Self> {
        self.options.ca_bundle = Some(pem.parse()?);
        Ok(self)
    }

    /// Shows this certificate to a server that asks for one: its chain and its private key, together in PEM.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] unless it is PEM with a certificate and one private key that is not encrypted.
    pub fn client_identity(mut self, pem: &str) -> Result<Self> {
        self.options.client_identity = Some(pem.parse()?);
        Ok(self)
    }

    /// Signs requests with these keys, by Standard Webhooks 1.0, beside the `Authorization` header if there is one.
    #[cfg(feature = "signing")]
    #[must_use]
    pub fn signing_keys(mut self, keys: impl Into<SigningKeys>) -> Self {
        self.options.signing_keys = Some(keys.into());
        self
    }

    /// The name of the format that writes this target's bodies.
    pub fn format_name(&self) -> &str {
        match self.target_type {
            TargetType::Slack => "Slack",
            TargetType::Http => self.payload_format.as_deref().unwrap_or("Default"),
        }
    }
}

/// The kinds of endpoint: Harbor's notify types.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TargetType {
    /// Any HTTP or HTTPS endpoint.
    Http,
    /// A Slack incoming webhook.
    Slack,
}

impl TargetType {
    /// Harbor's name: `http` or `slack`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Slack => "slack",
        }
    }
}

impl fmt::Display for TargetType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for TargetType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "http" => Ok(Self::Http),
            "slack" => Ok(Self::Slack),
            _ => Err(Error::new(ErrorKind::Invalid, format!("unsupported target type {}", name.escape_debug()))),
        }
    }
}

/// Where requests of a target go: an absolute `http` or `https` URL.
///
/// It keeps the text it was read from. Its path and query may hold tokens, so `Debug` shows the origin only.
#[derive(Clone, Eq, PartialEq)]
pub struct Address {
    text: Secret,
    url: Url,
}

impl Address {
    /// The address as it was written. It may hold a token: never log it.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    /// Scheme, host and port: safe to show.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }
}

/// The parsed form is wiped as the text is.
impl Drop for Address {
    fn drop(&mut self) {
        if let Ok(nothing) = Url::parse("data:") {
            String::from(std::mem::replace(&mut self.url, nothing)).zeroize();
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/[redacted]", self.origin())
    }
}

/// Surrounding spaces are cut. Unlike Harbor, which accepts an address without a scheme and then fails every delivery
/// to it, this refuses one; the messages for an empty address and a wrong scheme are Harbor's.
impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "empty URL"));
        }
        if text.len() > MAX_ADDRESS {
            return Err(Error::invalid("address", format_args!("longer than {MAX_ADDRESS} bytes")));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(Error::invalid("address", "contains a space or a control character; percent-encode it"));
        }
        // What stands in front may be anything, if the scheme was forgotten and a URL stands in the query.
        let is_scheme = |text: &&str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        let Some(scheme) = text.split_once("://").map(|(scheme, _)| scheme).filter(is_scheme) else {
            return Err(Error::invalid("address", "has no scheme; start it with http:// or https://"));
        };
        if scheme != "http" && scheme != "https" {
            let scheme: String = scheme.chars().take(32).collect();
            return Err(Error::new(ErrorKind::Invalid, format!("invalid scheme: {scheme}")));
        }
        let url = Url::parse(text).map_err(|e| Error::invalid("address", e))?;
        if url.host().is_none() {
            return Err(Error::invalid("address", "has no host"));
        }
        Ok(Self { text: Secret::new(text), url })
    }
}

/// The value of a target's `Authorization` header: sent byte for byte, shown to nobody.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthHeader(Secret);

impl AuthHeader {
    /// The value itself, for the one place that sends or stores it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl FromStr for AuthHeader {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self> {
        if value.len() > MAX_AUTH_HEADER {
            return Err(Error::invalid("auth_header", format_args!("longer than {MAX_AUTH_HEADER} bytes")));
        }
        if value.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
            return Err(Error::invalid("auth_header", "contains a line break or control character; remove it"));
        }
        if value.is_empty() {
            return Err(Error::invalid("auth_header", "is empty; leave it out instead"));
        }
        Ok(Self(Secret::new(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_once() {
        let kept: Address = " https://ci.example.com:8443/hook?token=t ".parse().unwrap();
        assert_eq!(kept.expose(), "https://ci.example.com:8443/hook?token=t");
        assert_eq!(format!("{kept:?}"), "https://ci.example.com:8443/[redacted]");
    }

    #[test]
    fn bad_addresses_say_what_is_wrong() {
        let message = |text: &str| text.parse::<Address>().unwrap_err().to_string();
        assert_eq!(message("  "), "empty URL");
        assert_eq!(message("ftp://example.com"), "invalid scheme: ftp");
        for no_scheme in ["example.com/hook", "ci/?token=s3cret&to=http://x/", "u:s3cret@ci://x"] {
            assert_eq!(message(no_scheme), "address: has no scheme; start it with http:// or https://");
        }
        assert!(message("http://").starts_with("address: "));
        assert!(message("http://a b/").contains("space"));
        assert!(message("http://a/\r\nX: y").contains("control character"));
    }

    #[test]
    fn auth_headers_cannot_break_out_of_their_line() {
        assert!("Bearer a\r\nX: y".parse::<AuthHeader>().is_err());
        assert!("\0".parse::<AuthHeader>().is_err());
        assert_eq!("Bearer a b ".parse::<AuthHeader>().unwrap().expose(), "Bearer a b ");
    }
}
