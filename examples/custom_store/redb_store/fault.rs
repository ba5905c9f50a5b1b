//! What can go wrong inside, and what the crate is told of it.

use harbor_webhook::{Error, ErrorKind};

pub(super) enum Fault {
    /// An answer of the contract, for example `Conflict`.
    Told(Error),
    Redb(redb::Error),
    Unreadable(serde_json::Error),
}

impl Fault {
    pub(super) fn told(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Told(Error::new(kind, message))
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Told(error) => error,
            Fault::Unreadable(e) => Self::new(ErrorKind::Store, "a row cannot be read").with_source(e),
            Fault::Redb(e) => {
                // What an operator must mend, and what passes.
                let kind = match e {
                    redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) => ErrorKind::Store,
                    redb::Error::DatabaseAlreadyOpen | redb::Error::TableTypeMismatch { .. } => ErrorKind::Store,
                    _ => ErrorKind::Unavailable,
                };
                Self::new(kind, format!("the redb file: {e}")).with_source(e)
            }
        }
    }
}

impl From<Error> for Fault {
    fn from(e: Error) -> Self {
        Self::Told(e)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(e: serde_json::Error) -> Self {
        Self::Unreadable(e)
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for Fault {
            fn from(e: redb::$error) -> Self {
                Self::Redb(e.into())
            }
        })*
    };
}
from_redb!(CommitError, DatabaseError, StorageError, TableError, TransactionError);
