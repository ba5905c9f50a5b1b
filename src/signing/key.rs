use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

#[cfg(feature = "signing-ed25519")]
use super::ed25519;
use super::message::{Message, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, written};
use super::text::{decoded, encoded, wrong};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// Starts a secret that sender and receiver share.
const SHARED: &str = "whsec_";
/// The shortest such secret, in bytes. The longest is one block of HMAC.
const SHORTEST: usize = 24;

/// A key that signs requests.
///
/// As text: `whsec_` and 24 to 64 bytes in base64, for HMAC-SHA256 (`v1`), which the receiver must know too. With the
/// feature `signing-ed25519` also `whsk_` and the 32 bytes of an Ed25519 key (`v1a`), of which the receiver needs to know
/// only the public half.
///
/// `Debug` shows its kind only, and its memory is wiped on drop.
#[derive(Clone, Eq, PartialEq)]
pub struct SigningKey {
    text: Secret,
    kind: Signing,
}

#[derive(Clone, Eq, PartialEq)]
enum Signing {
    Shared(Shared),
    #[cfg(feature = "signing-ed25519")]
    Ed25519(ed25519::Private),
}

/// A key that tells whether a request was signed: of a receiver.
///
/// As text: the same `whsec_` secret that the sender has; with the feature `signing-ed25519` also `whpk_` and the 32 bytes of
/// an Ed25519 public key.
#[derive(Clone, Eq, PartialEq)]
pub struct VerifyingKey(Verifying);

#[derive(Clone, Eq, PartialEq)]
enum Verifying {
    Shared(Shared),
    #[cfg(feature = "signing-ed25519")]
    Ed25519(ed25519::Public),
}

impl SigningKey {
    /// A new secret of 32 random bytes, for HMAC-SHA256.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) if the system gives no random numbers.
    pub fn generate() -> Result<Self> {
        let bytes = random()?;
        Self::read(&Zeroizing::new(format!("{SHARED}{}", &*encoded(&*bytes))))
    }

    /// A new Ed25519 key.
    ///
    /// # Errors
    ///
    /// As for [`SigningKey::generate`].
    #[cfg(feature = "signing-ed25519")]
    pub fn generate_ed25519() -> Result<Self> {
        let bytes = random()?;
        Self::read(&Zeroizing::new(format!("{}{}", ed25519::PRIVATE, &*encoded(&*bytes))))
    }

    /// The key as text, for the one place that stores it. The receiver needs
    /// [`verifying_key`](Self::verifying_key).
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    /// The receiver's side of this key.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(match &self.kind {
            Signing::Shared(secret) => Verifying::Shared(secret.clone()),
            #[cfg(feature = "signing-ed25519")]
            Signing::Ed25519(key) => Verifying::Ed25519(key.public()),
        })
    }

    /// The three headers of a request with this body, made at this time. `id` names the message; it has no dot.
    ///
    /// The sender does this by itself. This is for tests of receivers, and for requests of a host's own.
    pub fn headers(&self, id: &str, at: DateTime<Utc>, body: &[u8]) -> [(&'static str, String); 3] {
        let message = Message { id, timestamp: at.timestamp(), body };
        let timestamp = message.timestamp.to_string();
        [(WEBHOOK_ID, id.to_owned()), (WEBHOOK_TIMESTAMP, timestamp), (WEBHOOK_SIGNATURE, self.sign(&message))]
    }

    pub(super) fn sign(&self, message: &Message<'_>) -> String {
        match &self.kind {
            Signing::Shared(secret) => written("v1", &secret.mac(message).finalize().into_bytes()),
            #[cfg(feature = "signing-ed25519")]
            Signing::Ed25519(key) => written("v1a", &key.sign(message)),
        }
    }

    fn read(text: &str) -> Result<Self> {
        let kind = match text {
            #[cfg(feature = "signing-ed25519")]
            text if text.starts_with(ed25519::PRIVATE) => Signing::Ed25519(ed25519::Private::read(text)?),
            text => Signing::Shared(Shared::read(text)?),
        };
        Ok(Self { text: Secret::new(text), kind })
    }
}

impl VerifyingKey {
    /// The key as text. That of a `whsec_` key is as secret as the key.
    pub fn expose(&self) -> String {
        match &self.0 {
            Verifying::Shared(secret) => format!("{SHARED}{}", &*encoded(secret.bytes())),
            #[cfg(feature = "signing-ed25519")]
            Verifying::Ed25519(key) => key.to_text(),
        }
    }

    /// Whether the signature, of this version, is one of this key. Takes equally long for every wrong one.
    pub(super) fn verifies(&self, message: &Message<'_>, version: &str, signature: &[u8]) -> bool {
        match &self.0 {
            Verifying::Shared(secret) => version == "v1" && secret.mac(message).verify_slice(signature).is_ok(),
            #[cfg(feature = "signing-ed25519")]
            Verifying::Ed25519(key) => version == "v1a" && key.verifies(message, signature),
        }
    }
}

impl FromStr for SigningKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::read(text)
    }
}

impl FromStr for VerifyingKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(Self(match text {
            #[cfg(feature = "signing-ed25519")]
            text if text.starts_with(ed25519::PUBLIC) => Verifying::Ed25519(ed25519::Public::read(text)?),
            text => Verifying::Shared(Shared::read(text)?),
        }))
    }
}

/// A secret that both sides know: HMAC's block, of which the secret is the beginning and the rest is zero.
#[derive(Clone, Eq, PartialEq)]
struct Shared {
    block: Zeroizing<[u8; 64]>,
    length: usize,
}

impl Shared {
    fn read(text: &str) -> Result<Self> {
        let bytes = decoded(text, SHARED)?;
        let mut block = Zeroizing::new([0; 64]);
        match block.get_mut(..bytes.len()).filter(|_| bytes.len() >= SHORTEST) {
            Some(beginning) => beginning.copy_from_slice(&bytes),
            None => return Err(wrong(format_args!("is {} bytes long; the standard wants 24 to 64", bytes.len()))),
        }
        Ok(Self { block, length: bytes.len() })
    }

    fn bytes(&self) -> &[u8] {
        &self.block[..self.length]
    }

    fn mac(&self, message: &Message<'_>) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new((&*self.block).into());
        mac.update(message.head().as_bytes());
        mac.update(message.body);
        mac
    }
}

fn random() -> Result<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    let failed = |_| Error::new(ErrorKind::Unavailable, "the system gives no random numbers");
    getrandom::fill(&mut *bytes).map_err(failed)?;
    Ok(bytes)
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            Signing::Shared(_) => "SigningKey(HMAC-SHA256, [redacted])",
            #[cfg(feature = "signing-ed25519")]
            Signing::Ed25519(_) => "SigningKey(Ed25519, [redacted])",
        })
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Verifying::Shared(_) => "VerifyingKey(HMAC-SHA256, [redacted])",
            #[cfg(feature = "signing-ed25519")]
            Verifying::Ed25519(_) => "VerifyingKey(Ed25519, [redacted])",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // From the tests of the standard's own libraries.
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn signed(key: &str) -> String {
        let at = DateTime::from_timestamp(1_614_265_330, 0).unwrap();
        let [_, _, (name, signature)] = key.parse::<SigningKey>().unwrap().headers(ID, at, BODY);
        assert_eq!(name, "webhook-signature");
        signature
    }

    #[test]
    fn the_published_vectors_come_out() {
        let signature = signed("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        #[cfg(feature = "signing-ed25519")]
        assert_eq!(
            signed("whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk="),
            "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag=="
        );
    }

    #[test]
    fn keys_of_a_wrong_form_say_so_and_are_not_shown() {
        let key = |bytes: usize| format!("whsec_{}", &*encoded(&vec![0xA5; bytes]));
        for good in [24, 25, 32, 64] {
            assert_eq!(key(good).parse::<SigningKey>().unwrap().expose(), key(good));
            assert_eq!(key(good).parse::<VerifyingKey>().unwrap().expose(), key(good));
        }
        let wrong = [(key(23), "is 23 bytes"), (key(65), "is 65 bytes"), ("paWl".repeat(8), "must start with whsec_")];
        for (text, problem) in wrong.into_iter().chain([(format!("{}!", key(24)), "not base64")]) {
            let error = text.parse::<SigningKey>().unwrap_err();
            assert!(error.to_string().contains(problem), "{error}");
            assert!(!format!("{error:?}").contains("paWl"), "{error:?}");
        }
        let good: SigningKey = key(24).parse().unwrap();
        assert!(!format!("{good:?} {:?}", good.verifying_key()).contains("paWl"));
    }

    #[test]
    fn generated_keys_differ_and_are_read() {
        let (one, two) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        assert!(one != two);
        assert!(one.expose().parse::<SigningKey>().unwrap() == one);
        assert_eq!(one.verifying_key().expose(), one.expose());
    }

    #[cfg(feature = "signing-ed25519")]
    #[test]
    fn ed25519_keys_are_read_in_both_forms() {
        let key = SigningKey::generate_ed25519().unwrap();
        let public = key.verifying_key().expose();
        assert!(public.starts_with("whpk_") && public.parse::<VerifyingKey>().unwrap() == key.verifying_key());
        let halves = [decoded(key.expose(), "whsk_").unwrap(), decoded(&public, "whpk_").unwrap()];
        let both = [&halves[0][..], &halves[1][..]].concat();
        let both: SigningKey = format!("whsk_{}", &*encoded(&both)).parse().unwrap();
        assert!(both.verifying_key() == key.verifying_key());
        for wrong in ["whsk_paWl", "whpk_paWl", &format!("whpk_{}", &*encoded(&[0; 32]))] {
            let refused = wrong.parse::<SigningKey>().is_err() && wrong.parse::<VerifyingKey>().is_err();
            assert!(refused, "{wrong}");
        }
    }
}
