use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::SecretSealer;
use crate::error::{Error, ErrorKind, Result};

/// Starts what is sealed: the form, then the key's id, then the nonce and what was encrypted, with dots between them.
const FORM: &str = "x1";
/// The length of a nonce, in bytes: long enough to be random.
const NONCE: usize = 24;

/// A key that seals: 32 random bytes, as text in base64 (`openssl rand -base64 32` makes one).
///
/// `Debug` does not show it, and its memory is wiped on drop.
#[derive(Clone, Eq, PartialEq)]
pub struct SealingKey(Zeroizing<[u8; 32]>);

/// Seals with XChaCha20-Poly1305. Several keys, each with an id: the newest seals, all open.
///
/// ```
/// use harbor_webhook::sealing::{SealingKey, SealingKeys};
///
/// # let (of_this_year, of_last_year) = (SealingKey::generate()?, SealingKey::generate()?);
/// let keys = SealingKeys::new("2026", of_this_year)?.and("2025", of_last_year)?;
/// # Ok::<(), harbor_webhook::Error>(())
/// ```
///
/// To change keys: put the new one in front, call [`reseal`](crate::store::Sealed::reseal), then take the old one out. If nodes
/// share a store, all of them know the new key, behind the old one, before the first of them seals with it.
#[derive(Clone)]
pub struct SealingKeys(Vec<(String, SealingKey)>);

impl SealingKey {
    /// A new key.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) if the system gives no random numbers.
    pub fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        random(&mut *bytes)?;
        Ok(Self(bytes))
    }

    /// The key as text, for the one place that keeps it: not beside the store that it seals.
    pub fn expose(&self) -> String {
        STANDARD.encode(*self.0)
    }
}

impl FromStr for SealingKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = STANDARD.decode(text.trim()).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| Error::invalid("sealing key", "is not base64 with its padding"))?;
        let exact = bytes.as_slice().try_into().map(|bytes| Self(Zeroizing::new(bytes)));
        exact.map_err(|_| Error::invalid("sealing key", format_args!("is {} bytes long; 32 are needed", bytes.len())))
    }
}

impl SealingKeys {
    /// One key, which seals and opens.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) unless the id is 1 to 64 letters, digits, `-` and `_`.
    pub fn new(id: &str, key: SealingKey) -> Result<Self> {
        Self(Vec::new()).and(id, key)
    }

    /// Adds an older key, which only opens.
    ///
    /// # Errors
    ///
    /// As for [`SealingKeys::new`], and if there is a key of that id.
    pub fn and(mut self, id: &str, older: SealingKey) -> Result<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !(1..=64).contains(&id.len()) || !id.bytes().all(plain) {
            return Err(Error::invalid("id of a sealing key", "is not 1 to 64 letters, digits, - and _"));
        }
        if self.find(id).is_some() {
            return Err(Error::invalid("id of a sealing key", format_args!("there are two keys of the id {id}")));
        }
        self.0.push((id.to_owned(), older));
        Ok(self)
    }

    fn find(&self, id: &str) -> Option<&SealingKey> {
        self.0.iter().find(|(known, _)| known == id).map(|(_, key)| key)
    }
}

impl SecretSealer for SealingKeys {
    fn seal(&self, secret: &str, context: &str) -> Result<String> {
        let (id, key) = self.0.first().ok_or_else(|| Error::invalid("sealing keys", "there are none"))?;
        let mut nonce = [0; NONCE];
        random(&mut nonce)?;
        let head = format!("{FORM}.{id}.");
        let bound = bound(&head, context);
        let payload = Payload { msg: secret.as_bytes(), aad: bound.as_bytes() };
        let failed = |_| Error::invalid("secret", "is too long to be sealed");
        let sealed = cipher(key).encrypt(&XNonce::from(nonce), payload).map_err(failed)?;
        Ok(head + &URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    fn open(&self, sealed: &str, context: &str) -> Result<String> {
        let (id, body) = parts(sealed).ok_or_else(|| damaged("is of another form"))?;
        let key = self.find(id).ok_or_else(|| {
            let message =
                format!("a secret is sealed with the key {id}, which is not there; add it to the sealing keys");
            Error::new(ErrorKind::Store, message)
        })?;
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| damaged("is of another form"))?;
        let (nonce, encrypted) = bytes.split_first_chunk::<NONCE>().ok_or_else(|| damaged("is cut short"))?;
        let bound = bound(&sealed[..sealed.len() - body.len()], context);
        let payload = Payload { msg: encrypted, aad: bound.as_bytes() };
        let wrong = || damaged(&format!("was changed, moved, or sealed with another key of the id {id}"));
        let secret = cipher(key).decrypt(&XNonce::from(*nonce), payload).map_err(|_| wrong())?;
        String::from_utf8(secret).map_err(|_| wrong())
    }

    fn is_newest(&self, sealed: &str) -> bool {
        let newest = self.0.first().map(|(id, _)| &**id);
        newest.is_some() && parts(sealed).map(|(id, _)| id) == newest
    }
}

/// The key's id and what comes behind it.
fn parts(sealed: &str) -> Option<(&str, &str)> {
    sealed.strip_prefix(FORM)?.strip_prefix('.')?.split_once('.')
}

/// What is bound to the sealed text, and not kept with it.
fn bound(head: &str, context: &str) -> String {
    format!("{head}{context}")
}

fn cipher(key: &SealingKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new((&*key.0).into())
}

fn random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|_| Error::new(ErrorKind::Unavailable, "the system gives no random numbers"))
}

fn damaged(how: &str) -> Error {
    Error::new(ErrorKind::Store, format!("a sealed secret {how}; nothing was changed"))
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey([redacted])")
    }
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(id, _)| id)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> SealingKey {
        STANDARD.encode([n; 32]).parse().unwrap()
    }

    #[test]
    fn what_is_sealed_opens_where_it_belongs_only() {
        let keys = SealingKeys::new("a", key(1)).unwrap();
        let sealed = keys.seal("s3cret", "here").unwrap();
        assert!(sealed.starts_with("x1.a.") && !sealed.contains("s3cret"), "{sealed}");
        assert_ne!(sealed, keys.seal("s3cret", "here").unwrap());
        assert_eq!(keys.open(&sealed, "here").unwrap(), "s3cret");
        let mut changed = sealed.clone().into_bytes();
        *changed.last_mut().unwrap() ^= 1;
        let changed = String::from_utf8(changed).unwrap();
        let other = SealingKeys::new("a", key(2)).unwrap();
        let moved = [keys.open(&sealed, "there"), keys.open(&changed, "here"), other.open(&sealed, "here")];
        let broken = ["", "x1.a.", "x1.a.AAAA", "x2.a.AAAA", "x1.a", &sealed[..sealed.len() - 8]];
        for refused in moved.into_iter().chain(broken.map(|sealed| keys.open(sealed, "here"))) {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Store);
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn old_keys_open_and_the_newest_seals() {
        let old = SealingKeys::new("old", key(1)).unwrap();
        let sealed = old.seal("s3cret", "here").unwrap();
        let both = SealingKeys::new("new", key(2)).unwrap().and("old", key(1)).unwrap();
        assert_eq!(both.open(&sealed, "here").unwrap(), "s3cret");
        assert!(old.is_newest(&sealed) && !both.is_newest(&sealed));
        let anew = both.seal("s3cret", "here").unwrap();
        assert!(both.is_newest(&anew));
        let error = old.open(&anew, "here").unwrap_err();
        assert!(error.to_string().contains("the key new, which is not there"), "{error}");
    }

    #[test]
    fn keys_and_ids_of_a_wrong_form_are_refused_and_not_shown() {
        for text in ["s3cret!", &STANDARD.encode([7; 31]), &STANDARD.encode([7; 33])] {
            let error = text.parse::<SealingKey>().unwrap_err();
            assert!(!error.to_string().contains(text), "{error}");
        }
        for id in ["", "a.b", "a b", &"x".repeat(65)] {
            assert_eq!(SealingKeys::new(id, key(1)).unwrap_err().kind(), ErrorKind::Invalid);
        }
        let keys = SealingKeys::new("a", key(1)).unwrap();
        assert!(keys.clone().and("a", key(2)).is_err());
        assert_eq!(format!("{keys:?} {:?}", key(1)), r#"["a"] SealingKey([redacted])"#);
        assert_eq!(key(9).expose().parse::<SealingKey>().unwrap(), key(9));
    }
}
