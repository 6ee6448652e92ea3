//! Plaintext that must not be shown, and the form in which it may be stored.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A value that never shows itself: not in `Debug`, not in a log, not in an error.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }
    /// The plaintext. Every call is a place to look at in a review.
    pub const fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// SHA-256 of a high-entropy secret: what is stored instead of it.
#[derive(Clone, Copy, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(plaintext: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(plaintext).into())
    }
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// SECURITY: looks at every byte whatever differs, so time tells nothing about the stored value.
impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(&other.0).fold(0, |acc, (a, b)| acc | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<digest>")
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        bytes.and_then(|b| b.try_into().ok()).map(Self).ok_or("not a SHA-256 digest in base64url")
    }
}
impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        data_encoding::BASE64URL_NOPAD.encode(&digest.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "<secret>");
        assert_eq!(format!("{:?}", Digest::of("hunter2")), "<digest>");
    }

    #[test]
    fn digests_are_equal_only_for_equal_plaintext() {
        assert_eq!(Digest::of("a"), Digest::of("a"));
        assert_ne!(Digest::of("a"), Digest::of("b"));
    }
}
