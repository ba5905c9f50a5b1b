//! A target with its secrets sealed: its address is a tag, and all that is secret stands in one sealed text among its options.
//! The tag stays as long as the target's id, so that the store can pair targets without knowing their addresses.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::error::{Error, ErrorKind, Result};
use crate::id::{PolicyId, TargetId};
use crate::policy::{Target, TargetOptions};
use crate::sealing::SecretSealer;

/// What the address of a sealed target begins with. Names under `.invalid` lead nowhere, by RFC 2606.
const PLACE: &str = "https://sealed.invalid/";

/// What is sealed.
#[derive(Deserialize, Serialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct Secrets {
    address: String,
    auth_header: Option<String>,
    options: Option<String>,
}

/// The target's tag; `None` if it lies in clear.
pub(super) fn tag(target: &Target) -> Option<String> {
    target.options.sealed.as_ref()?;
    target.address.expose().strip_prefix(PLACE).map(ToOwned::to_owned)
}

pub(super) fn is_sealed_newly(sealer: &dyn SecretSealer, target: &Target) -> bool {
    target.options.sealed.as_ref().is_some_and(|sealed| sealer.is_newest(sealed.expose()))
}

/// Seals it, under the tag if it is given one.
pub(super) fn seal(sealer: &dyn SecretSealer, target: &Target, tag: Option<String>) -> Result<Target> {
    if target.options.sealed.is_some() {
        return Err(Error::invalid("target", "is sealed already; give it as it is read through the sealed store"));
    }
    let secrets = Secrets {
        address: target.address.expose().to_owned(),
        auth_header: target.auth_header.as_ref().map(|auth| auth.expose().to_owned()),
        options: target.options.to_text(),
    };
    let secrets = serde_json::to_string(&secrets).map(Zeroizing::new);
    let secrets = secrets.map_err(|_| Error::invalid("target", "cannot be written as JSON"))?;
    let tag = tag.unwrap_or_else(|| Uuid::now_v7().simple().to_string());
    let mut sealed = Target::new(target.target_type, &format!("{PLACE}{tag}"))?;
    sealed.skip_cert_verify = target.skip_cert_verify;
    sealed.payload_format.clone_from(&target.payload_format);
    sealed.options = TargetOptions::sealed(sealer.seal(&secrets, &context(&sealed, &tag))?);
    Ok(sealed)
}

/// Opens it. One that lies in clear is as it is.
pub(super) fn open(sealer: &dyn SecretSealer, sealed: &Target) -> Result<Target> {
    let Some(text) = &sealed.options.sealed else { return Ok(sealed.clone()) };
    let tag = tag(sealed).unwrap_or_default();
    let secrets = Zeroizing::new(sealer.open(text.expose(), &context(sealed, &tag))?);
    // No message of serde's or of a parser's: it might quote a secret.
    let wrong = || Error::new(ErrorKind::Store, "what was sealed is of another version of this crate");
    let secrets: Secrets = serde_json::from_str(&secrets).map_err(|_| wrong())?;
    let mut target = Target::new(sealed.target_type, &secrets.address).map_err(|_| wrong())?;
    target.auth_header = secrets.auth_header.as_deref().map(str::parse).transpose().map_err(|_| wrong())?;
    target.skip_cert_verify = sealed.skip_cert_verify;
    target.payload_format.clone_from(&sealed.payload_format);
    target.options = TargetOptions::from_text(secrets.options.as_deref())?;
    Ok(target)
}

/// Bound to the sealed text: it opens in this target only, and only while nobody has told it to skip verification.
fn context(target: &Target, tag: &str) -> String {
    let verify = if target.skip_cert_verify { "skip" } else { "verify" };
    format!("harbor-webhook target {tag} {} {verify}", target.target_type)
}

/// Says which target an error is about.
pub(super) fn of(policy: PolicyId, target: TargetId, error: &Error) -> Error {
    Error::new(error.kind(), format!("policy {policy}, target {target}: {error}"))
}
