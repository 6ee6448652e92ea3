//! A signed token of a provider, before anything that it says is believed: RFC 7515, RFC 8725.

use crate::domain::provider::UpstreamAlgorithm;
use crate::upstream::claim;
use crate::upstream::discovery::Keys;
use crate::upstream::error::Refusal;
use crate::upstream::json;
use data_encoding::BASE64URL_NOPAD;
use openidconnect::core::{CoreJsonWebKey, CoreJwsSigningAlgorithm};
use openidconnect::{
    JsonWebKey as _, JsonWebKeyAlgorithm, JsonWebKeyUse, JwsSigningAlgorithm as _,
};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

const LONGEST: usize = 16 * 1024;
/// A token without `kid` is tried with this many keys at most.
const MOST_KEYS: usize = 8;

/// A token whose header is one that the provider's entry allows.
pub(super) struct Jws<'a> {
    text: &'a str,
    signed: &'a str,
    signature: Vec<u8>,
    algorithm: CoreJwsSigningAlgorithm,
    kid: Option<String>,
}

impl<'a> Jws<'a> {
    /// The token and what it claims. Where the header names a type, it must be one of these.
    pub(super) fn parse(
        text: &'a str,
        allowed: &BTreeSet<UpstreamAlgorithm>,
        types: &[&str],
    ) -> Result<(Self, Map<String, Value>), Refusal> {
        if text.len() > LONGEST {
            return Err(Refusal::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Refusal::Malformed)?;
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap_or_default();
        if signature.is_empty() {
            return Err(Refusal::Malformed);
        }
        let (algorithm, kid) = check_header(&decode(header)?, allowed, types)?;
        let claims = decode(payload)?;
        Ok((Self { text, signed, signature, algorithm, kid }, claims))
    }

    pub(super) const fn text(&self) -> &'a str {
        self.text
    }

    pub(super) const fn algorithm(&self) -> &CoreJwsSigningAlgorithm {
        &self.algorithm
    }

    /// Whether a failure may only mean that the provider has new keys since.
    pub(super) fn may_have_newer_key(&self, refusal: Refusal) -> bool {
        match refusal {
            Refusal::UnknownKey => true,
            Refusal::Signature => self.kid.is_none(),
            _ => false,
        }
    }

    /// What comes of the first key that may have signed it; of the next one where the signature is not
    /// that key's.
    pub(super) fn try_keys(
        &self,
        keys: &Keys,
        verify: impl Fn(&CoreJsonWebKey) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let fitting = keys.keys.iter().filter(|key| self.fits(key)).take(MOST_KEYS);
        let mut outcome = Err(Refusal::UnknownKey);
        for key in fitting {
            outcome = verify(key);
            if outcome != Err(Refusal::Signature) {
                break;
            }
        }
        outcome
    }

    /// The signature alone.
    pub(super) fn is_signed_by(&self, key: &CoreJsonWebKey) -> Result<(), Refusal> {
        key.verify_signature(&self.algorithm, self.signed.as_bytes(), &self.signature)
            .map_err(|_| Refusal::Signature)
    }

    /// A `kid` names its key; without one every key for this algorithm is tried (OpenID Connect Core §10.1).
    /// SECURITY: a key in the token's own header (`jwk`, `jku`, `x5c`, `x5u`) is never looked at.
    fn fits(&self, key: &CoreJsonWebKey) -> bool {
        let named = match &self.kid {
            Some(kid) => key.key_id().is_some_and(|id| id.as_str() == kid),
            None => true,
        };
        let signs = key.key_use().is_none_or(JsonWebKeyUse::allows_signature);
        let algorithm = match key.signing_alg() {
            JsonWebKeyAlgorithm::Algorithm(algorithm) => *algorithm == self.algorithm,
            JsonWebKeyAlgorithm::Unspecified => true,
            JsonWebKeyAlgorithm::Unsupported => false,
        };
        named && signs && algorithm && self.algorithm.key_type().as_ref() == Some(key.key_type())
    }
}

fn decode(part: &str) -> Result<Map<String, Value>, Refusal> {
    let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| Refusal::Malformed)?;
    json::parse_object(&bytes).ok_or(Refusal::Malformed)
}

/// SECURITY: the header is the attacker's. It may only pick among what the provider's entry allows.
fn check_header(
    header: &Map<String, Value>,
    allowed: &BTreeSet<UpstreamAlgorithm>,
    types: &[&str],
) -> Result<(CoreJwsSigningAlgorithm, Option<String>), Refusal> {
    // RFC 7515 §4.1.11: nothing critical is understood here, and RFC 7797 `b64` changes what is signed.
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(Refusal::Critical);
    }
    let is_one = |named: &str| types.iter().any(|known| named.eq_ignore_ascii_case(known));
    if claim::text(header, "typ")?.is_some_and(|named| !is_one(named)) {
        return Err(Refusal::TokenType);
    }
    let named = header.get("alg").and_then(Value::as_str).ok_or(Refusal::Malformed)?;
    let algorithm = allowed.iter().copied().map(signing_algorithm).find(|(name, _)| *name == named);
    let (_, algorithm) = algorithm.ok_or(Refusal::Algorithm)?;
    Ok((algorithm, claim::text(header, "kid")?.map(str::to_owned)))
}

/// RFC 7518 §3.1, RFC 8037 §3.1.
const fn signing_algorithm(
    algorithm: UpstreamAlgorithm,
) -> (&'static str, CoreJwsSigningAlgorithm) {
    match algorithm {
        UpstreamAlgorithm::RS256 => ("RS256", CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256),
        UpstreamAlgorithm::RS384 => ("RS384", CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384),
        UpstreamAlgorithm::RS512 => ("RS512", CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512),
        UpstreamAlgorithm::PS256 => ("PS256", CoreJwsSigningAlgorithm::RsaSsaPssSha256),
        UpstreamAlgorithm::PS384 => ("PS384", CoreJwsSigningAlgorithm::RsaSsaPssSha384),
        UpstreamAlgorithm::PS512 => ("PS512", CoreJwsSigningAlgorithm::RsaSsaPssSha512),
        UpstreamAlgorithm::ES256 => ("ES256", CoreJwsSigningAlgorithm::EcdsaP256Sha256),
        UpstreamAlgorithm::ES384 => ("ES384", CoreJwsSigningAlgorithm::EcdsaP384Sha384),
        UpstreamAlgorithm::EdDSA => ("EdDSA", CoreJwsSigningAlgorithm::EdDsa),
    }
}
