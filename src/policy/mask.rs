use url::Position;

use super::following::follow;
use super::{HarborTarget, Policy, Target, TargetType};
use crate::error::{Error, Result};

/// What readers see in place of a secret. Sent back, it keeps the secret.
pub(super) const MASK: &str = "********";
/// From so many characters on, a segment of a path is taken for a token: those of Slack, Discord, Teams and Mattermost are
/// longer, and what people write themselves is mostly shorter.
const TOKEN: usize = 20;

/// The address as it is shown: without user and password, query, fragment, and what looks like a token in its path. Of a
/// Slack target only the origin is shown.
pub(crate) fn address(target: &Target) -> String {
    let url = target.address.url();
    if target.target_type == TargetType::Slack {
        return format!("{}/{MASK}", target.address.origin());
    }
    let path: Vec<_> =
        url.path().split('/').map(|segment| if segment.len() < TOKEN { segment } else { MASK }).collect();
    let path = path.join("/");
    let user = !url.username().is_empty() || url.password().is_some();
    if !user && path == url.path() && url.query().is_none() && url.fragment().is_none() {
        return target.address.expose().to_owned();
    }
    let mask =
        |there: bool, before: &str, behind: &str| if there { format!("{before}{MASK}{behind}") } else { String::new() };
    let (user, query) = (mask(user, "", "@"), mask(url.query().is_some(), "?", ""));
    let fragment = mask(url.fragment().is_some(), "#", "");
    let host = &url[Position::BeforeHost..Position::AfterPort];
    format!("{}://{user}{host}{path}{query}{fragment}", url.scheme())
}

/// Puts the stored secrets in place of the masks, and says for each target which stored one it follows.
pub(super) fn remove<'p>(targets: &mut [HarborTarget], old: &'p Policy) -> Result<Vec<Option<&'p Target>>> {
    let followed = follow(targets, old)?;
    for (target, stored) in targets.iter_mut().zip(&followed) {
        if let Some(stored) = stored {
            keep(target, stored)?;
        }
    }
    Ok(followed)
}

fn keep(target: &mut HarborTarget, stored: &Target) -> Result<()> {
    let is_masked = target.address == address(stored) && target.address.contains(MASK);
    let unverified = target.skip_cert_verify && !stored.skip_cert_verify && stored.address.url().scheme() == "https";
    // Whoever stands in between, and may change the policy, must not get a secret that they cannot see.
    if unverified && (is_masked || target.auth_header == MASK) {
        let message = format_args!("is switched on, and {MASK} keeps a stored secret; give the secret anew");
        return Err(Error::invalid("skip_cert_verify", message));
    }
    if target.address == address(stored) {
        stored.address.expose().clone_into(&mut target.address);
    }
    if target.auth_header == MASK {
        let new: super::Address = target.address.parse()?;
        // Whoever may change the address, but not see the secret, must not get it sent to them.
        if new.origin() != stored.address.origin() {
            return Err(Error::invalid(
                "auth_header",
                format_args!(
                    "is {MASK}, which keeps the stored value, but the address has another host; give the value anew"
                ),
            ));
        }
        target.auth_header = stored.auth_header.as_ref().map(|auth| auth.expose().to_owned()).unwrap_or_default();
    }
    Ok(())
}

/// Refuses masks that stand for nothing.
pub(super) fn refuse(target: &HarborTarget) -> Result<()> {
    let masked = [("address", target.address.contains(MASK)), ("auth_header", target.auth_header == MASK)];
    match masked.into_iter().find(|(_, masked)| *masked) {
        Some((field, _)) => Err(Error::invalid(
            field,
            format_args!("{MASK} stands for a stored secret, and there is none; give the value"),
        )),
        None => Ok(()),
    }
}
