use super::mask::{self, MASK};
use super::{HarborTarget, Policy, Target};
use crate::error::{Error, Result};

/// Which stored target each one that comes back follows: `None` follows none.
///
/// Equal addresses come first, then equal masked ones, then places among those of one type. Where several stored targets could
/// be meant, and differ in what the JSON does not show, a mask is certain only if as many come back as are stored. They are
/// then taken in their order, as clients read, edit and send back. Not if two that changed look as if they had changed
/// places: nobody can tell whether they did, or were edited. What is not certain is refused, as a secret would be kept for
/// the wrong target, or dropped. Those that cannot be told apart, and come back as they were shown, stay in their order.
///
/// Where nothing is masked nothing is refused: a target then takes over at most the options of another one at the same address,
/// or in the same place.
pub(super) fn follow<'p>(sent: &[HarborTarget], old: &'p Policy) -> Result<Vec<Option<&'p Target>>> {
    let free = old.targets.iter().map(|target| &target.target).collect();
    let mut following = Following { sent, free, found: vec![None; sent.len()] };
    for by in [By::Address, By::Mask, By::Place] {
        (0..sent.len()).try_for_each(|n| following.find(n, by))?;
    }
    Ok(following.found)
}

struct Following<'s, 'p> {
    sent: &'s [HarborTarget],
    /// Stored ones that nobody follows yet.
    free: Vec<&'p Target>,
    found: Vec<Option<&'p Target>>,
}

impl Following<'_, '_> {
    /// Pairs one that was sent, and all those that are known by the same.
    fn find(&mut self, n: usize, by: By) -> Result<()> {
        if self.found[n].is_some() {
            return Ok(());
        }
        let is_alike = |m: &usize| self.found[*m].is_none() && by.joins(&self.sent[*m], &self.sent[n]);
        let places: Vec<usize> = (n..self.sent.len()).filter(is_alike).collect();
        let meant: Vec<_> = self.free.iter().copied().filter(|stored| by.fits(stored, &self.sent[n])).collect();
        let alike: Vec<_> = places.iter().map(|m| &self.sent[*m]).collect();
        if let Some(masked) = alike.iter().position(|sent| by.keeps_secret(sent))
            && !by.is_one(&meant)
            && !is_certain(&meant, &alike)
        {
            return Err(by.uncertain(places[masked]));
        }
        for (m, stored) in places.into_iter().zip(meant) {
            self.found[m] = Some(stored);
            self.free.retain(|free| !std::ptr::eq(*free, stored));
        }
        Ok(())
    }
}

/// What a stored target is known by.
#[derive(Clone, Copy, Eq, PartialEq)]
enum By {
    Address,
    Mask,
    Place,
}

impl By {
    fn fits(self, stored: &Target, sent: &HarborTarget) -> bool {
        let address = || match self {
            Self::Address => sent.address == stored.address.expose() && !sent.address.contains(MASK),
            Self::Mask => sent.address == mask::address(stored),
            Self::Place => true,
        };
        stored.target_type.as_str() == sent.target_type && address()
    }

    fn joins(self, one: &HarborTarget, other: &HarborTarget) -> bool {
        one.target_type == other.target_type && (self == Self::Place || one.address == other.address)
    }

    fn keeps_secret(self, sent: &HarborTarget) -> bool {
        self == Self::Mask || sent.auth_header == MASK
    }

    /// Whether it is the same which of them is meant.
    fn is_one(self, stored: &[&Target]) -> bool {
        let same = |a: &Target, b: &Target| {
            (self != Self::Mask || a.address == b.address) && a.auth_header == b.auth_header && a.options == b.options
        };
        stored.windows(2).all(|pair| same(pair[0], pair[1]))
    }

    fn uncertain(self, n: usize) -> Error {
        let (field, what, all) = match self {
            Self::Mask => ("address", "address", "addresses"),
            Self::Address | Self::Place => ("auth_header", "value", "values"),
        };
        let problem = format_args!("{MASK} stands for more than one stored {what}; give the {all} anew");
        Error::invalid(format_args!("targets[{n}].{field}"), problem)
    }
}

/// Whether each is the one in its place.
fn is_certain(stored: &[&Target], sent: &[&HarborTarget]) -> bool {
    let changed = || stored.iter().zip(sent).filter(|(stored, sent)| !looks_like(sent, stored));
    let has_moved = |sent| changed().any(|(stored, _)| looks_like(sent, stored));
    stored.len() == sent.len() && !changed().any(|(_, sent)| has_moved(sent))
}

/// Whether it says what is shown of the stored one, besides the address.
fn looks_like(sent: &HarborTarget, stored: &Target) -> bool {
    let auth = stored.auth_header.as_ref().map_or("", |auth| auth.expose());
    let is_auth = sent.auth_header == auth || (!auth.is_empty() && sent.auth_header == MASK);
    let is_format = sent.payload_format == stored.format_name() || sent.payload_format.is_empty() && is_default(stored);
    is_auth && is_format && sent.skip_cert_verify == stored.skip_cert_verify
}

/// Whether its format is shown as none, or can be.
fn is_default(stored: &Target) -> bool {
    matches!(stored.format_name(), "Default" | "Slack")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventType;
    use crate::id::{PolicyId, ProjectId, TargetId};
    use crate::policy::{HarborPolicy, PolicyDraft};

    fn stored(targets: impl IntoIterator<Item = Target>) -> Policy {
        let draft = PolicyDraft::new("ci").on(EventType::PushArtifact);
        let draft = targets.into_iter().fold(draft, PolicyDraft::target);
        Policy::new(PolicyId(1), ProjectId(2), draft, (1..).map(TargetId), chrono::Utc::now())
    }

    fn slack(token: &str) -> Target {
        Target::slack(&format!("https://hooks.slack.com/services/{token}")).unwrap()
    }

    fn http(address: &str, auth: &str) -> Target {
        Target::http(address).unwrap().auth_header(auth).unwrap().payload_format("Default")
    }

    /// The addresses and values of what replaces it, when its targets were sent like this.
    fn replaced(old: &Policy, change: impl FnOnce(&mut Vec<HarborTarget>)) -> Result<Vec<(String, String)>> {
        let mut sent = HarborPolicy::masked(old);
        change(&mut sent.targets);
        let targets = sent.replacing(old)?.targets;
        let auth = |target: &Target| target.auth_header.as_ref().map_or("", |auth| auth.expose()).to_owned();
        Ok(targets.iter().map(|target| (target.address.expose().to_owned(), auth(target))).collect())
    }

    fn refused(old: &Policy, field: &str, change: impl FnOnce(&mut Vec<HarborTarget>)) {
        let error = replaced(old, change).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field}: ******** stands for more than one")), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }

    fn alike() -> [Policy; 4] {
        let slack = stored([slack("s3cret-1"), slack("s3cret-2")]);
        let query = stored([http("https://x/?s3cret=1", "a"), http("https://x/?s3cret=2", "a")]);
        let token = stored(
            ["s3cret-of-20-characters1", "s3cret-of-20-characters2"]
                .map(|token| http(&format!("https://x/{token}/y"), "s3cret")),
        );
        let user = stored([http("https://s3cret:1@x/", "a"), http("https://s3cret:2@x/", "b")]);
        [slack, query, token, user]
    }

    #[test]
    fn a_mask_that_could_be_anothers_is_refused() {
        for old in alike() {
            refused(&old, "targets[0].address", |sent| drop(sent.remove(0)));
            refused(&old, "targets[0].address", |sent| drop(sent.remove(1)));
            refused(&old, "targets[0].address", |sent| sent.push(sent[0].clone()));
            refused(&old, "targets[1].address", |sent| {
                sent[0].address = "https://x/new".to_owned();
                sent[0].auth_header.clear();
            });
        }
    }

    #[test]
    fn all_of_them_keep_what_is_theirs() {
        for old in alike() {
            let all = replaced(&old, |sent| sent[0].skip_cert_verify = false).unwrap();
            let addresses: Vec<_> = old.targets.iter().map(|target| target.target.address.expose()).collect();
            assert_eq!(all.iter().map(|(address, _)| &**address).collect::<Vec<_>>(), addresses);
            // An address that is given says which one it is, and so which ones the masks stand for.
            let second = replaced(&old, |sent| {
                drop(sent.remove(0));
                addresses[1].clone_into(&mut sent[0].address);
            });
            assert_eq!(second.unwrap(), all[1..]);
            let given = replaced(&old, |sent| addresses[0].clone_into(&mut sent[1].address)).unwrap();
            assert_eq!(given, [all[1].clone(), all[0].clone()]);
        }
        let one = stored([slack("s3cret"), slack("s3cret")]);
        assert_eq!(replaced(&one, |sent| drop(sent.remove(0))).unwrap().len(), 1);
    }

    #[test]
    fn what_may_have_changed_places_is_refused() {
        let formats = stored([http("https://x/?1", "a"), http("https://x/?2", "b").payload_format("CloudEvents")]);
        refused(&formats, "targets[0].address", |sent| sent.reverse());
        refused(&formats, "targets[0].address", |sent| {
            sent.reverse();
            sent[1].skip_cert_verify = true;
            sent[1].address = sent[0].address.clone();
            sent[1].auth_header = "new".to_owned();
        });
        let edited = replaced(&formats, |sent| sent[0].payload_format = "CloudEvents".to_owned()).unwrap();
        assert_eq!(edited, [("https://x/?1".to_owned(), "a".to_owned()), ("https://x/?2".to_owned(), "b".to_owned())]);
        let given = replaced(&formats, |sent| sent[1].auth_header = "c".to_owned()).unwrap();
        assert_eq!((&*given[0].1, &*given[1].1), ("a", "c"));
    }

    #[test]
    fn a_masked_value_is_no_others() {
        let same = stored([http("https://x/", "s3cret-1"), http("https://x/", "s3cret-2")]);
        refused(&same, "targets[0].auth_header", |sent| drop(sent.remove(0)));
        let given = replaced(&same, |sent| {
            drop(sent.remove(0));
            sent[0].auth_header = "s3cret-2".to_owned();
        });
        assert_eq!(given.unwrap()[0].1, "s3cret-2");
        let paths = stored([http("https://x/1", "s3cret-1"), http("https://x/2", "s3cret-2")]);
        refused(&paths, "targets[0].auth_header", |sent| {
            drop(sent.remove(0));
            sent[0].address = "https://x/3".to_owned();
        });
        let moved = replaced(&paths, |sent| sent[0].address = "https://x/3".to_owned()).unwrap();
        assert_eq!((&*moved[0].1, &*moved[1].1), ("s3cret-1", "s3cret-2"));
    }
}
