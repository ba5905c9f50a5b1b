use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(transparent)]
        #[allow(clippy::exhaustive_structs)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A project of the host's registry. The host chooses the number.
    ProjectId
}
id! {
    /// A webhook policy, numbered by the policy store.
    PolicyId
}
id! {
    /// A target of a policy, numbered by the policy store and kept across updates of the policy.
    TargetId
}
id! {
    /// One event for one target, numbered by the delivery store in increasing order.
    ///
    /// It is both Harbor's execution id and its task id.
    DeliveryId
}
