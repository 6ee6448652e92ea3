//! The names things have. Each is checked once, where it enters, and is right from then on.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// A name that does not have the form its kind asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a {1}: expected {2}")]
pub struct InvalidName(pub String, pub &'static str, pub &'static str);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $form:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    let shown = text.chars().take(80).collect();
                    Err(InvalidName(shown, $what, $form))
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn is_label(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.first().is_some_and(|b| plain(*b))
        && bytes.last().is_some_and(|b| plain(*b))
        && bytes.iter().all(|b| plain(*b) || *b == b'-')
}

name!(
    /// A customer space.
    TenantId,
    "tenant id",
    "1 to 63 of a-z, 0-9 and -, neither beginning nor ending with -",
    is_label
);
name!(
    /// An external provider's entry. It never changes: subjects are derived from it.
    ProviderId,
    "provider id",
    "1 to 63 of a-z, 0-9 and -, neither beginning nor ending with -",
    is_label
);
name!(
    /// The name that role mapping yields and that a role template bears.
    Role,
    "role",
    "1 to 63 of a-z, 0-9 and -, neither beginning nor ending with -",
    is_label
);
name!(
    /// A registered application.
    ClientId,
    "client id",
    "1 to 128 printable ASCII characters",
    |text| (1..=128).contains(&text.len()) && text.bytes().all(|b| (0x20..=0x7e).contains(&b))
);
name!(
    /// Claim `sub`: `u_…` people, `c_…` clients, `k_…` keys.
    SubjectId,
    "subject",
    "u_, c_ or k_, then 1 to 128 printable ASCII characters",
    |text| {
        let rest = ["u_", "c_", "k_"].iter().find_map(|kind| text.strip_prefix(kind));
        rest.is_some_and(|rest| {
            (1..=128).contains(&rest.len()) && rest.bytes().all(|b| (0x21..=0x7e).contains(&b))
        })
    }
);

name!(
    /// What an instance of a resource server calls itself.
    ReaderName,
    "reader",
    "1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'",
    |text| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    }
);

impl TenantId {
    /// The reserved tenant of those who run the installation.
    pub const PLATFORM: &'static str = "platform";

    pub fn is_platform(&self) -> bool {
        self.as_str() == Self::PLATFORM
    }
}

impl SubjectId {
    /// A person: derived, so that no look-up is needed and no two providers can ever meet.
    /// 130 bits of SHA-256(provider ‖ 0x00 ‖ upstream `sub`) in lower-case base32.
    pub fn person(provider: &ProviderId, upstream_subject: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(provider.as_str())
            .chain_update([0])
            .chain_update(upstream_subject)
            .finalize();
        let mut text = BASE32_NOPAD.encode(&digest).to_ascii_lowercase();
        text.truncate(26);
        Self(format!("u_{text}").into())
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 16]);

        impl $name {
            /// From 16 random bytes.
            pub const fn new(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
                bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or_else(|| {
                    let shown = text.chars().take(80).collect();
                    InvalidName(shown, $what, "22 characters of base64url")
                })
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                BASE64URL_NOPAD.encode(&id.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&BASE64URL_NOPAD.encode(&self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

random_id!(
    /// One login and all tokens that descend from it (claim `sid`).
    SessionId,
    "session id"
);
random_id!(
    /// One access token (claim `jti`).
    TokenId,
    "token id"
);

impl SessionId {
    /// Which of the 256 buckets of the token store the session lives in.
    pub const fn bucket(&self) -> u8 {
        let [first, ..] = self.0;
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_ids_have_no_delimiter_and_no_edge_hyphen() {
        for good in ["a", "acme", "acme-corp", "9lives", &"a".repeat(63)] {
            assert!(good.parse::<TenantId>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a:b", "a.b", "ä", "a b", &"a".repeat(64)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_person_is_the_provider_and_its_subject_and_nothing_else() {
        let (one, two) = ("one".parse().unwrap(), "two".parse().unwrap());
        let subject = SubjectId::person(&one, "1");
        assert_eq!(subject, SubjectId::person(&one, "1"));
        assert_ne!(subject, SubjectId::person(&two, "1"));
        assert_ne!(subject, SubjectId::person(&one, "2"));
        assert_eq!(subject.as_str().len(), 28);
        assert!(subject.as_str().parse::<SubjectId>().is_ok());
    }

    #[test]
    fn random_ids_survive_their_text() {
        let id = SessionId::new([7; 16]);
        assert_eq!(id.to_string().parse::<SessionId>().unwrap(), id);
        assert!("AAAA".parse::<SessionId>().is_err());
        assert_eq!(id.bucket(), 7);
    }
}
