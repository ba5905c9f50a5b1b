use serde::{Deserialize, Serialize};

use super::{CaBundle, ClientIdentity};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;
#[cfg(feature = "signing")]
use crate::signing::SigningKeys;

/// What a target may have besides, and most do not.
///
/// Stores keep it as one text, which may hold secrets: [`to_text`](Self::to_text) and [`from_text`](Self::from_text). So an
/// option that a later version adds needs no change of a store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetOptions {
    /// The keys that sign its requests.
    #[cfg(feature = "signing")]
    pub(crate) signing_keys: Option<SigningKeys>,
    /// Whom its server may descend from.
    pub(crate) ca_bundle: Option<CaBundle>,
    /// What is shown to its server.
    pub(crate) client_identity: Option<ClientIdentity>,
    /// All secrets of the target, sealed. Then its address is no address.
    pub(crate) sealed: Option<Secret>,
}

/// The text, which is JSON.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[cfg(feature = "signing")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    signing_keys: Vec<keys::Key>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_bundle: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_identity: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

impl TargetOptions {
    /// Those of a target whose secrets are sealed, and so the options that it has besides.
    pub(crate) fn sealed(text: String) -> Self {
        Self {
            #[cfg(feature = "signing")]
            signing_keys: None,
            ca_bundle: None,
            client_identity: None,
            sealed: Some(Secret::new(text)),
        }
    }

    /// For stores: the options as one text, `None` if there are none.
    pub fn to_text(&self) -> Option<String> {
        if *self == Self::default() {
            return None;
        }
        let text = Text {
            #[cfg(feature = "signing")]
            signing_keys: keys::written(self.signing_keys.as_ref()),
            ca_bundle: self.ca_bundle.as_ref().map(|bundle| bundle.as_pem().to_owned()),
            client_identity: self.client_identity.as_ref().map(|identity| identity.expose().to_owned()),
            sealed: self.sealed.as_ref().map(|sealed| sealed.expose().to_owned()),
        };
        // Writing strings and times cannot fail.
        serde_json::to_string(&text).ok()
    }

    /// For stores: reads what [`to_text`](Self::to_text) has written. `None` and an empty text are no options.
    ///
    /// # Errors
    ///
    /// [`Store`](ErrorKind::Store) if this build does not know an option, so that none is dropped silently: it is older than
    /// what wrote the text, or lacks a feature, such as `signing`.
    pub fn from_text(text: Option<&str>) -> Result<Self> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(Self::default()) };
        // serde would take an array too. Its own message may quote a secret.
        let object = Some(text).filter(|text| text.starts_with('{'));
        let text: Text = object.and_then(|text| serde_json::from_str(text).ok()).ok_or_else(unreadable)?;
        Ok(Self {
            #[cfg(feature = "signing")]
            signing_keys: keys::read(&text.signing_keys)?,
            ca_bundle: text.ca_bundle.as_deref().map(|pem| pem.parse().map_err(|_| unreadable())).transpose()?,
            client_identity: text
                .client_identity
                .as_deref()
                .map(|pem| pem.parse().map_err(|_| unreadable()))
                .transpose()?,
            sealed: text.sealed.map(Secret::new),
        })
    }
}

fn unreadable() -> Error {
    Error::new(
        ErrorKind::Store,
        "a target has options that this build cannot read; use a newer release, or enable the feature they need (signing)",
    )
}

#[cfg(feature = "signing")]
mod keys {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Serialize};
    use zeroize::ZeroizeOnDrop;

    use super::unreadable;
    use crate::error::Result;
    use crate::signing::{SigningKey, SigningKeys};

    #[derive(Deserialize, Serialize, ZeroizeOnDrop)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Key {
        key: String,
        #[zeroize(skip)]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<DateTime<Utc>>,
    }

    pub(super) fn written(keys: Option<&SigningKeys>) -> Vec<Key> {
        let keys = keys.into_iter().flat_map(SigningKeys::iter);
        keys.map(|(key, until)| Key { key: key.expose().to_owned(), until }).collect()
    }

    pub(super) fn read(keys: &[Key]) -> Result<Option<SigningKeys>> {
        let read =
            |key: &Key| -> Result<(SigningKey, _)> { Ok((key.key.parse().map_err(|_| unreadable())?, key.until)) };
        let read = keys.iter().map(read).collect::<Result<Vec<_>>>()?;
        SigningKeys::from_entries(read).map_err(|_| unreadable())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_no_text() {
        assert_eq!(TargetOptions::default().to_text(), None);
        for nothing in [None, Some(""), Some("{}")] {
            assert_eq!(TargetOptions::from_text(nothing).unwrap(), TargetOptions::default());
        }
    }

    #[test]
    fn what_is_not_known_is_refused_and_not_shown() {
        for text in ["s3cret", "[]", r#"{"later":"s3cret"}"#, r#"{"signing_keys":[{"key":"s3cret"}]}"#] {
            let error = TargetOptions::from_text(Some(text)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Store);
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn certificates_come_back_as_they_were() {
        let cert = "-----BEGIN CERTIFICATE-----\nczNj\n-----END CERTIFICATE-----\n";
        let identity = format!("{cert}-----BEGIN PRIVATE KEY-----\nczNjcjN0\n-----END PRIVATE KEY-----\n");
        let options = TargetOptions {
            ca_bundle: Some(cert.parse().unwrap()),
            client_identity: Some(identity.parse().unwrap()),
            ..TargetOptions::default()
        };
        let text = options.to_text().unwrap();
        assert_eq!(TargetOptions::from_text(Some(&text)).unwrap(), options);
        assert!(!format!("{options:?}").contains("czNj"));
        let damaged = text.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED");
        assert!(!format!("{:?}", TargetOptions::from_text(Some(&damaged)).unwrap_err()).contains("czNj"));
    }

    #[cfg(feature = "signing")]
    #[test]
    fn keys_come_back_as_they_were() {
        let key = |n: u8| format!("whsec_{}", "abcd".repeat(usize::from(n))).parse().unwrap();
        let until = Some("2026-11-25T12:00:00.123456789Z".parse().unwrap());
        let keys = SigningKeys::new(key(8)).and(key(9), until).unwrap();
        let options = TargetOptions { signing_keys: Some(keys), ..TargetOptions::default() };
        let text = options.to_text().unwrap();
        assert_eq!(TargetOptions::from_text(Some(&text)).unwrap(), options);
        assert!(text.contains("whsec_") && !format!("{options:?}").contains("abcd"));
    }
}
