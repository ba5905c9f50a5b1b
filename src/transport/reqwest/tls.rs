use reqwest::ClientBuilder;

#[cfg(feature = "rustls")]
use super::failure::chain;
use crate::policy::{CaBundle, ClientIdentity};

/// What a client does about TLS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Tls {
    None,
    SkipVerify(Option<ClientIdentity>),
    Verify(Option<ClientIdentity>, Option<CaBundle>),
}

/// `roots` are trusted beside the platform's, by targets that have none of their own.
#[cfg(feature = "rustls")]
pub(super) fn set_up(builder: ClientBuilder, tls: &Tls, roots: Option<&CaBundle>) -> Result<ClientBuilder, String> {
    let (builder, identity) = match tls {
        // Without this, a machine without certificates could not even send plain HTTP.
        Tls::None => (builder.tls_certs_only([]), &None),
        Tls::SkipVerify(identity) => (builder.tls_danger_accept_invalid_certs(true), identity),
        Tls::Verify(identity, Some(own)) => (builder.tls_certs_only(certificates(own)?), identity),
        Tls::Verify(identity, None) => match roots {
            Some(roots) => (builder.tls_certs_merge(certificates(roots)?), identity),
            None => (builder, identity),
        },
    };
    let Some(identity) = identity else { return Ok(builder) };
    let identity = reqwest::Identity::from_pem(identity.expose().as_bytes());
    let identity = identity.map_err(|e| format!("the client's certificate cannot be used: {}", chain(&e)))?;
    Ok(builder.identity(identity))
}

#[cfg(feature = "rustls")]
fn certificates(bundle: &CaBundle) -> Result<Vec<reqwest::Certificate>, String> {
    let read = reqwest::Certificate::from_pem_bundle(bundle.as_pem().as_bytes());
    read.map_err(|e| format!("the CA bundle cannot be used: {}", chain(&e)))
}

#[cfg(not(feature = "rustls"))]
pub(super) fn set_up(builder: ClientBuilder, tls: &Tls, _roots: Option<&CaBundle>) -> Result<ClientBuilder, String> {
    match tls {
        Tls::None => Ok(builder),
        Tls::SkipVerify(..) | Tls::Verify(..) => Err("https needs the feature rustls, which is not enabled".to_owned()),
    }
}
