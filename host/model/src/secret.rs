//! Values that must not be seen, and how they are sealed at rest.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::Rng as _;
use serde::{Deserialize, Deserializer};

/// A text that is never printed. It has no `Serialize`, so that an answer can't carry it by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// Why something can't be sealed or opened. It never says what was inside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key is not 32 bytes in Base64.
    #[error("the sealing key must be 32 bytes in Base64; make one with `openssl rand -base64 32`")]
    BadKey,
    /// It was sealed with another key, for another place, or was changed.
    #[error(
        "a sealed value can't be opened: it was sealed with another key or was changed; set the key that it was sealed with"
    )]
    CantOpen,
    /// There is no key to seal or open with.
    #[error("this needs the sealing key, and was given none")]
    NoKey,
    /// The cipher refused; only a value of many gigabytes makes it.
    #[error("a value can't be sealed")]
    CantSeal,
}

/// The length of a key and of a nonce of XChaCha20-Poly1305, in bytes.
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Seals values with XChaCha20-Poly1305. A sealed value is bound to its place, so that one tenant's row can't be copied into
/// another's.
#[derive(Clone)]
pub struct Sealer {
    key: [u8; KEY_BYTES],
}

impl Sealer {
    /// Takes a key of 32 bytes.
    #[must_use]
    pub fn new(key: [u8; KEY_BYTES]) -> Self {
        Self { key }
    }

    /// Takes a key in Base64.
    ///
    /// # Errors
    /// If it is not 32 bytes.
    pub fn from_base64(text: &str) -> Result<Self, Error> {
        let bytes = BASE64.decode(text.trim()).map_err(|_| Error::BadKey)?;
        bytes.try_into().map(Self::new).map_err(|_| Error::BadKey)
    }

    /// Makes a new random key, in Base64.
    #[must_use]
    pub fn generate_base64() -> String {
        let mut key = [0; KEY_BYTES];
        rand::rng().fill_bytes(&mut key);
        BASE64.encode(key)
    }

    /// A key for another purpose, derived from this one; the purposes can't be mixed up.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let mac = Hmac::<sha2::Sha256>::new_from_slice(&self.key);
        mac.map(|mut mac| {
            mac.update(purpose.as_bytes());
            mac.finalize().into_bytes().into()
        })
        .unwrap_or(self.key)
    }

    /// Seals `plain` for `place`, for example `device/dev_1`.
    ///
    /// # Errors
    /// If the cipher refuses.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let payload = Payload {
            msg: plain,
            aad: place.as_bytes(),
        };
        let sealed = self
            .cipher()
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| Error::CantSeal)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what `seal` made for the same place.
    ///
    /// # Errors
    /// If it was sealed with another key, for another place, or was changed.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let (nonce, body) = sealed
            .split_at_checked(NONCE_BYTES)
            .ok_or(Error::CantOpen)?;
        let payload = Payload {
            msg: body,
            aad: place.as_bytes(),
        };
        self.cipher()
            .decrypt(XNonce::from_slice(nonce), payload)
            .map_err(|_| Error::CantOpen)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.key.into())
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer([secret])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_with_its_key_and_at_its_place() {
        let sealer = Sealer::new([7; 32]);
        let sealed = sealer.seal("device/a", b"token").unwrap();
        assert!(!sealed.windows(5).any(|w| w == b"token"));
        assert_eq!(sealer.open("device/a", &sealed).unwrap(), b"token");
        assert_eq!(sealer.open("device/b", &sealed), Err(Error::CantOpen));
        assert_eq!(
            Sealer::new([8; 32]).open("device/a", &sealed),
            Err(Error::CantOpen)
        );
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(sealer.open("device/a", &changed), Err(Error::CantOpen));
        assert_eq!(sealer.open("device/a", b"short"), Err(Error::CantOpen));
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[secret]");
    }

    #[test]
    fn keys_for_two_purposes_differ() {
        let sealer = Sealer::from_base64(&Sealer::generate_base64()).unwrap();
        assert_ne!(sealer.derive("cache"), sealer.derive("nonce"));
        assert!(Sealer::from_base64("c2hvcnQ=").is_err());
    }
}
