//! What our tokens say, and the forms in which they are written.

use crate::domain::Time;
use crate::domain::ids::{ClientId, ProviderId, Role, SessionId, SubjectId, TenantId, TokenId};
use crate::domain::revocation::TokenFacts;
use crate::domain::secret::Secret;
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// `typ` of an access token (RFC 9068 §2.1).
pub const ACCESS_TOKEN_TYPE: &str = "at+jwt";
/// `typ` of an ID token.
pub const ID_TOKEN_TYPE: &str = "JWT";

/// `aud` (RFC 7519 §4.1.3): one string, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let list = match self {
            Self::One(audience) => std::slice::from_ref(audience),
            Self::Several(audiences) => audiences.as_slice(),
        };
        list.iter().map(String::as_str)
    }
    pub fn contains(&self, wanted: &str) -> bool {
        self.iter().any(|audience| audience == wanted)
    }
}

impl From<Vec<String>> for Audience {
    fn from(audiences: Vec<String>) -> Self {
        match <[String; 1]>::try_from(audiences) {
            Ok([audience]) => Self::One(audience),
            Err(audiences) => Self::Several(audiences),
        }
    }
}

/// The claims of an access token (RFC 9068 §2.2).
#[derive(Clone, Debug, Serialize)]
pub struct AccessClaims {
    pub iss: String,
    pub sub: SubjectId,
    pub aud: Audience,
    /// Seconds since 1970, as `iat`.
    pub exp: i64,
    pub iat: i64,
    pub jti: TokenId,
    pub client_id: ClientId,
    pub sid: SessionId,
    pub tenant: TenantId,
    /// Where the person signed in.
    pub provider: ProviderId,
    pub roles: Vec<Role>,
    pub scope: String,
    /// The permissions, each with its `type` (RFC 9396 §9.1).
    pub authorization_details: Box<RawValue>,
    /// role@version of each template that made it.
    pub tpl: Vec<String>,
    /// Position of the revocation log that its node had applied.
    pub rev: u64,
    /// The access tokens that this one was exchanged from: it dies with any of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<TokenId>,
    /// The client that the session began for, where another holds this token: what ends the one ends the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_client: Option<ClientId>,
    /// When the session began, where that was before `iat`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_iat: Option<i64>,
    /// Claims that the templates add; none of them has the name of one above.
    #[serde(flatten)]
    pub added: Map<String, Value>,
}

impl AccessClaims {
    /// Strict: a missing claim or one of another kind is no access token of ours.
    pub fn parse(json: &[u8]) -> Option<Self> {
        fn take<T: for<'a> Deserialize<'a>>(
            members: &mut BTreeMap<String, Box<RawValue>>,
            name: &str,
        ) -> Option<T> {
            serde_json::from_str(members.remove(name)?.get()).ok()
        }
        /// Absent is not wrong; of another kind it is.
        fn take_or<T: for<'a> Deserialize<'a>, U>(
            members: &mut BTreeMap<String, Box<RawValue>>,
            name: &str,
            absent: U,
            present: fn(T) -> U,
        ) -> Option<U> {
            if members.contains_key(name) { take(members, name).map(present) } else { Some(absent) }
        }
        let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(json).ok()?;
        let m = &mut members;
        Some(Self {
            iss: take(m, "iss")?,
            sub: take(m, "sub")?,
            aud: take(m, "aud")?,
            exp: take(m, "exp")?,
            iat: take(m, "iat")?,
            jti: take(m, "jti")?,
            client_id: take(m, "client_id")?,
            sid: take(m, "sid")?,
            tenant: take(m, "tenant")?,
            provider: take(m, "provider")?,
            roles: take(m, "roles")?,
            scope: take(m, "scope")?,
            authorization_details: m.remove("authorization_details")?,
            tpl: take(m, "tpl")?,
            rev: take(m, "rev")?,
            ancestors: take_or(m, "ancestors", Vec::new(), |ids| ids)?,
            session_client: take_or(m, "session_client", None, Some)?,
            session_iat: take_or(m, "session_iat", None, Some)?,
            added: members
                .into_iter()
                .map(|(name, value)| Some((name, serde_json::from_str(value.get()).ok()?)))
                .collect::<Option<_>>()?,
        })
    }

    pub fn facts(&self) -> TokenFacts<'_> {
        TokenFacts {
            id: &self.jti,
            ancestors: &self.ancestors,
            session: Some(&self.sid),
            subject: &self.sub,
            tenant: &self.tenant,
            client: &self.client_id,
            session_client: self.session_client.as_ref().unwrap_or(&self.client_id),
            provider: &self.provider,
            roles: &self.roles,
            templates: &self.tpl,
            // A cut before which everything is over hits sessions by their beginning.
            issued_at: Time::from_timestamp(self.session_iat.unwrap_or(self.iat).min(self.iat), 0)
                .unwrap_or_default(),
            revision: self.rev,
        }
    }

    pub const fn is_current(&self, now: Time) -> bool {
        now.timestamp() < self.exp
    }
}

/// The claims of an ID token (OpenID Connect Core §2).
#[derive(Clone, Debug, Serialize)]
pub struct IdClaims<'a> {
    pub iss: &'a str,
    pub sub: &'a SubjectId,
    pub aud: &'a ClientId,
    pub exp: i64,
    pub iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<&'a str>,
    pub sid: SessionId,
    pub tenant: &'a TenantId,
    /// `name`, `email` … as far as the scopes ask for them.
    #[serde(flatten)]
    pub profile: Map<String, Value>,
}

/// The person's claims that the protocol scopes open (OpenID Connect Core §5.4).
pub fn profile_claims(
    claims: &Map<String, Value>,
    scope: &crate::domain::scope::ScopeSet,
) -> Map<String, Value> {
    let open = |name: &str| match name {
        "email" | "email_verified" => scope.contains("email"),
        "name" | "given_name" | "family_name" | "preferred_username" | "picture" | "locale"
        | "zoneinfo" => scope.contains("profile"),
        _ => false,
    };
    claims.iter().filter(|(name, _)| open(name)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// NEVER CHANGE THE PREFIX OF TOKENS THAT WERE ISSUED: what is out there would be dead at once.
const REFRESH_PREFIX: &str = "rmr_";
const OPAQUE_PREFIX: &str = "rma_";
const MAC_LENGTH: usize = 16;
const CHECKSUM_LENGTH: usize = 4;

/// What a refresh token says: prefix ‖ base64url(key id ‖ sid ‖ generation ‖ MAC ‖ checksum).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshClaims {
    pub key: u32,
    pub session: SessionId,
    pub generation: u32,
}

/// A refresh token as presented: well formed, but not yet known to be ours.
#[derive(Clone, Copy)]
pub struct UnverifiedRefreshToken {
    pub claims: RefreshClaims,
    pub mac: [u8; MAC_LENGTH],
}

impl RefreshClaims {
    fn bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        let (key, rest) = bytes.split_at_mut(4);
        let (session, generation) = rest.split_at_mut(16);
        key.copy_from_slice(&self.key.to_be_bytes());
        session.copy_from_slice(self.session.as_bytes());
        generation.copy_from_slice(&self.generation.to_be_bytes());
        bytes
    }

    /// What the MAC is made over. The client is in it, so that nobody else's token is ever theirs.
    pub fn mac_input(&self, client: &ClientId) -> Vec<u8> {
        let mut input = b"rolemint refresh token\0".to_vec();
        input.extend_from_slice(&self.bytes());
        input.extend_from_slice(client.as_str().as_bytes());
        input
    }

    pub fn write(&self, mac: &[u8; MAC_LENGTH]) -> Secret<String> {
        let mut bytes = self.bytes().to_vec();
        bytes.extend_from_slice(mac);
        bytes.extend_from_slice(&checksum(&bytes));
        Secret::new(format!("{REFRESH_PREFIX}{}", BASE64URL_NOPAD.encode(&bytes)))
    }
}

/// Lets a scanner tell a leaked token from a look-alike without asking anybody.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(bytes).into();
    [a, b, c, d]
}

impl UnverifiedRefreshToken {
    /// None: not one of our refresh tokens, whatever it is.
    pub fn parse(text: &str) -> Option<Self> {
        let encoded = text.strip_prefix(REFRESH_PREFIX)?;
        let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?;
        let (signed, found) = bytes.split_last_chunk::<CHECKSUM_LENGTH>().map(|(a, b)| (a, *b))?;
        if signed.len() != 24 + MAC_LENGTH || checksum(signed) != found {
            return None;
        }
        let (key, rest) = signed.split_first_chunk::<4>()?;
        let (session, rest) = rest.split_first_chunk::<16>()?;
        let (generation, mac) = rest.split_first_chunk::<4>()?;
        Some(Self {
            claims: RefreshClaims {
                key: u32::from_be_bytes(*key),
                session: SessionId::new(*session),
                generation: u32::from_be_bytes(*generation),
            },
            mac: mac.try_into().ok()?,
        })
    }
}

/// An opaque access token is the same claims, sealed: prefix ‖ base64url(key id ‖ ciphertext).
pub fn write_opaque(key: u32, sealed: &[u8]) -> String {
    let mut bytes = key.to_be_bytes().to_vec();
    bytes.extend_from_slice(sealed);
    format!("{OPAQUE_PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
}

/// Key id and ciphertext; None: not one of our opaque tokens.
pub fn parse_opaque(text: &str) -> Option<(u32, Vec<u8>)> {
    let bytes = BASE64URL_NOPAD.decode(text.strip_prefix(OPAQUE_PREFIX)?.as_bytes()).ok()?;
    let (key, sealed) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*key), sealed.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_survives_its_text_and_nothing_else_does() {
        let claims = RefreshClaims { key: 7, session: SessionId::new([3; 16]), generation: 9 };
        let text = claims.write(&[5; 16]).reveal().clone();
        let parsed = UnverifiedRefreshToken::parse(&text).unwrap();
        assert_eq!((parsed.claims, parsed.mac), (claims, [5; 16]));
        for i in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[i] = if other[i] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert!(UnverifiedRefreshToken::parse(&other).is_none(), "{i}");
        }
        for other in ["", "rmr_", "rmr_AAAA", &text.replace("rmr_", "rma_"), &format!("{text}AAAA")]
        {
            assert!(UnverifiedRefreshToken::parse(other).is_none());
        }
    }

    #[test]
    fn the_client_is_part_of_what_the_mac_covers() {
        let claims = RefreshClaims { key: 7, session: SessionId::new([3; 16]), generation: 9 };
        let [a, b] = ["a", "b"].map(|id| claims.mac_input(&id.parse().unwrap()));
        assert_ne!(a, b);
    }

    #[test]
    fn an_audience_is_one_string_or_several() {
        let text = |audiences: &[&str]| {
            let list: Vec<String> = audiences.iter().map(|&s| s.to_owned()).collect();
            serde_json::to_string(&Audience::from(list)).unwrap()
        };
        assert_eq!((text(&["a"]), text(&["a", "b"])), ("\"a\"".into(), "[\"a\",\"b\"]".into()));
    }
}
