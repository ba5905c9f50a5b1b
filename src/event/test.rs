//! Events that are tests: for one policy, and known by their id wherever they are.

use uuid::Uuid;

use super::Event;
use crate::error::{Error, Result};
use crate::id::PolicyId;

/// The version 8 and the variant, with what only tests have: an id reads `xxxxxxxx-xxxx-87e5-9e57-xxxxxxxxxxxx`.
const MARK: u128 = 0x87e5_9e57 << 48;
const MASK: u128 = 0xffff_ffff << 48;

/// Whether an event of this id is a test.
pub(crate) fn is_test(id: Uuid) -> bool {
    id.as_u128() & MASK == MARK
}

impl Event {
    /// Makes a test of it: it gets an id of its own, and goes to the targets of this policy only, if the policy wants it.
    ///
    /// A test takes the way of every event. Its bodies are those that any event of this content would have; its requests
    /// carry the header `webhook-test: true`. The mark lies in the id, a UUID of version 8 that reads
    /// `xxxxxxxx-xxxx-87e5-9e57-xxxxxxxxxxxx`, so that stores and histories keep it without knowing of it.
    ///
    /// [`Webhooks::send_test`](crate::Webhooks::send_test) does it with a sample.
    ///
    /// ```
    /// # use harbor_webhook::{PolicyId, ProjectId, Registry, event::Artifact};
    /// # let digest = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";
    /// # let registry = Registry::new("hub.example.com")?;
    /// let push = registry.push(ProjectId(2), "library/alpine", Artifact::tagged("3.20", digest)?);
    /// let test = push.as_test(PolicyId(15));
    /// assert!(test.is_test());
    /// assert_eq!(&test.id.to_string()[14..23], "87e5-9e57");
    /// # Ok::<(), harbor_webhook::Error>(())
    /// ```
    #[must_use]
    pub fn as_test(mut self, policy: PolicyId) -> Self {
        // The time in front and what is random behind stay.
        self.id = Uuid::from_u128(Uuid::now_v7().as_u128() & !MASK | MARK);
        self.policy_id = Some(policy);
        self
    }

    /// Whether it is a [test](Self::as_test).
    pub fn is_test(&self) -> bool {
        is_test(self.id)
    }

    /// Whether it may go to this policy.
    pub(crate) fn is_for(&self, policy: PolicyId) -> bool {
        self.policy_id.is_none_or(|only| only == policy)
    }

    /// A test names its policy, and nothing else does: or tests would go to everybody, and events would look like tests.
    pub(super) fn check_test(&self) -> Result<()> {
        match (self.is_test(), self.policy_id) {
            (true, None) => {
                Err(Error::invalid("id", "is that of a test, which needs a policy_id; give it another one"))
            }
            (false, Some(_)) => Err(Error::invalid("policy_id", "stands in tests only; make one with Event::as_test")),
            (true, Some(_)) | (false, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventType;
    use crate::id::ProjectId;

    fn sample() -> Event {
        Event::sample(ProjectId(2), EventType::PushArtifact, chrono::Utc::now()).unwrap()
    }

    #[test]
    fn ids_of_tests_are_uuids_of_version_8_and_differ() {
        let ids: std::collections::HashSet<Uuid> = (0..1000).map(|_| sample().as_test(PolicyId(1)).id).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert_eq!((id.get_version_num(), id.get_variant()), (8, uuid::Variant::RFC4122));
            assert!(is_test(id) && !is_test(Uuid::now_v7()) && !is_test(Uuid::new_v5(&id, b"x")));
        }
    }

    #[test]
    fn a_test_and_its_policy_come_together() {
        let test = sample().as_test(PolicyId(7));
        test.check().unwrap();
        let json = serde_json::to_string(&test).unwrap();
        assert!(json.contains(r#""policy_id":7,"event_data""#), "{json}");
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), test);
        assert!(!serde_json::to_string(&sample()).unwrap().contains("policy_id"));

        let mut nameless = test.clone();
        nameless.policy_id = None;
        assert!(nameless.check().unwrap_err().to_string().starts_with("id: "));
        let renamed = test.id(Uuid::now_v7());
        assert!(renamed.check().unwrap_err().to_string().starts_with("policy_id: "));
    }
}
