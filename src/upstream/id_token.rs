//! Whether an ID token is what it says: OpenID Connect Core 1.0 §3.1.3.7, RFC 8725.
//!
//! The library verifies signature, issuer, audiences, expiry and nonce. Everything that it leaves out, and
//! everything that is cheaper to refuse before keys are looked for, is checked here first, so a token that
//! is no good anyhow never makes us call the provider.

use crate::domain::Time;
use crate::domain::provider::UpstreamAlgorithm;
use crate::upstream::discovery::Keys;
use crate::upstream::error::Refusal;
use crate::upstream::json;
use chrono::{DateTime, TimeDelta};
use data_encoding::BASE64URL_NOPAD;
use openidconnect::core::{
    CoreIdToken, CoreJsonWebKey, CoreJsonWebKeySet, CoreJwsSigningAlgorithm,
};
use openidconnect::{
    AccessToken, AccessTokenHash, Audience, ClaimsVerificationError, ClientId, IdTokenVerifier,
    IssuerUrl, JsonWebKey as _, JsonWebKeyAlgorithm, JsonWebKeyUse, JwsSigningAlgorithm as _,
    Nonce, SignatureVerificationError,
};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// How far the provider's clock may be from ours.
pub(super) const LEEWAY: TimeDelta = TimeDelta::seconds(60);
const LONGEST: usize = 16 * 1024;
/// Bytes of a provider's name for a session.
const LONGEST_SESSION_NAME: usize = 255;
/// A token without `kid` is tried with this many keys at most.
const MOST_KEYS: usize = 8;

/// What the token has to be like.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a IssuerUrl,
    pub(super) algorithms: &'a BTreeSet<UpstreamAlgorithm>,
    /// Every audience of the token, and its authorized party, must be among these.
    pub(super) audiences: BTreeSet<&'a str>,
    /// None for a token that was not asked for by us.
    pub(super) nonce: Option<&'a str>,
    /// The access token that came along.
    pub(super) access_token: Option<&'a AccessToken>,
    pub(super) now: Time,
}

/// A token that has passed every check but its signature.
pub(super) struct Unverified<'a> {
    text: &'a str,
    algorithm: CoreJwsSigningAlgorithm,
    kid: Option<String>,
    audience: String,
    claims: Claims,
}

#[derive(Clone, Debug)]
pub(super) struct Claims {
    pub(super) all: Map<String, Value>,
    pub(super) subject: String,
    pub(super) issued_at: Time,
    pub(super) expires_at: Time,
    pub(super) authenticated_at: Option<Time>,
    pub(super) session: Option<String>,
}

impl<'a> Unverified<'a> {
    pub(super) fn parse(text: &'a str, expected: &Expected<'_>) -> Result<Self, Refusal> {
        if text.len() > LONGEST {
            return Err(Refusal::TooLong);
        }
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Malformed);
        };
        if BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap_or_default().is_empty() {
            return Err(Refusal::Malformed);
        }
        let (algorithm, kid) = check_header(&decode(header)?, expected.algorithms)?;
        let claims = decode(payload)?;
        let audience = check_parties(&claims, expected)?;
        let claims = check_times(claims, expected.now)?;
        Ok(Self { text, algorithm, kid, audience, claims })
    }

    /// Whether a failure may only mean that the provider has new keys since.
    pub(super) fn may_have_newer_key(&self, refusal: Refusal) -> bool {
        match refusal {
            Refusal::UnknownKey => true,
            Refusal::Signature => self.kid.is_none(),
            _ => false,
        }
    }

    /// The claims, if one of the provider's keys made the signature.
    pub(super) fn verify(&self, keys: &Keys, expected: &Expected<'_>) -> Result<Claims, Refusal> {
        let token: CoreIdToken = self.text.parse().map_err(|_| Refusal::Malformed)?;
        let fitting = keys.keys.iter().filter(|key| self.fits(key)).take(MOST_KEYS);
        let mut outcome = Err(Refusal::UnknownKey);
        for key in fitting {
            outcome = self.verify_with(&token, key, expected);
            if outcome != Err(Refusal::Signature) {
                break;
            }
        }
        outcome.map(|()| self.claims.clone())
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

    fn verify_with(
        &self,
        token: &CoreIdToken,
        key: &CoreJsonWebKey,
        expected: &Expected<'_>,
    ) -> Result<(), Refusal> {
        let patient = expected.now - LEEWAY;
        let trusted = |other: &Audience| expected.audiences.contains(other.as_str());
        let verifier = IdTokenVerifier::new_public_client(
            ClientId::new(self.audience.clone()),
            expected.issuer.clone(),
            CoreJsonWebKeySet::new(vec![key.clone()]),
        )
        .set_allowed_algs([self.algorithm.clone()])
        .set_other_audience_verifier_fn(trusted)
        .set_time_fn(move || patient);
        let nonce = expected.nonce.map(|nonce| Nonce::new(nonce.to_owned()));
        let check_nonce = |found: Option<&Nonce>| match &nonce {
            Some(nonce) => openidconnect::NonceVerifier::verify(nonce, found),
            None => Ok(()),
        };
        let claims = token.claims(&verifier, check_nonce).map_err(|error| refusal(&error))?;
        // OpenID Connect Core §3.1.3.8: optional for the provider, binding when it is there.
        if let (Some(hash), Some(access_token)) =
            (claims.access_token_hash(), expected.access_token)
        {
            let real = AccessTokenHash::from_token(access_token, &self.algorithm, key);
            if real.ok().as_ref() != Some(hash) {
                return Err(Refusal::AccessTokenHash);
            }
        }
        Ok(())
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
) -> Result<(CoreJwsSigningAlgorithm, Option<String>), Refusal> {
    // RFC 7515 §4.1.11: nothing critical is understood here, and RFC 7797 `b64` changes what is signed.
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(Refusal::Critical);
    }
    // RFC 8725 §3.11: `at+jwt`, `logout+jwt`, `dpop+jwt` and the rest are not ID tokens.
    if optional_text(header, "typ")?.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
        return Err(Refusal::TokenType);
    }
    let named = header.get("alg").and_then(Value::as_str).ok_or(Refusal::Malformed)?;
    let algorithm = allowed.iter().copied().map(signing_algorithm).find(|(name, _)| *name == named);
    let (_, algorithm) = algorithm.ok_or(Refusal::Algorithm)?;
    Ok((algorithm, optional_text(header, "kid")?.map(str::to_owned)))
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

/// Who made it, for whom. Answers the audience to name to the library.
fn check_parties(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<String, Refusal> {
    // §3.1.3.7 step 2; an array that holds the issuer is not the issuer.
    let issuer = claims.get("iss").and_then(Value::as_str).ok_or(Refusal::Malformed)?;
    if issuer != expected.issuer.as_str() {
        return Err(Refusal::WrongIssuer);
    }
    // Logout tokens (Back-Channel Logout §2.4) have `events`; Keycloak's access tokens say `typ: Bearer`.
    let kind = claims.get("typ").and_then(Value::as_str);
    if claims.contains_key("events") || kind.is_some_and(|kind| kind != "ID") {
        return Err(Refusal::TokenType);
    }
    // Step 3: ours, and no audience beside it that we do not trust.
    let audiences = match claims.get("aud") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several
            .iter()
            .map(|audience| audience.as_str().ok_or(Refusal::Malformed))
            .collect::<Result<_, _>>()?,
        _ => return Err(Refusal::Malformed),
    };
    let ours = |audience: &&str| expected.audiences.contains(audience);
    let first =
        audiences.first().filter(|_| audiences.iter().all(ours)).ok_or(Refusal::Audience)?;
    // Steps 4 and 5, which the library leaves out.
    if optional_text(claims, "azp")?.is_some_and(|party| !expected.audiences.contains(party)) {
        return Err(Refusal::AuthorizedParty);
    }
    Ok((*first).to_owned())
}

/// Steps 9 and 10, and `nbf` (RFC 7519 §4.1.5).
fn check_times(all: Map<String, Value>, now: Time) -> Result<Claims, Refusal> {
    let expires_at = optional_time(&all, "exp")?.ok_or(Refusal::Malformed)?;
    if expires_at <= now - LEEWAY {
        return Err(Refusal::Expired);
    }
    let issued_at = optional_time(&all, "iat")?.ok_or(Refusal::Malformed)?;
    if issued_at > now + LEEWAY {
        return Err(Refusal::IssuedInFuture);
    }
    if optional_time(&all, "nbf")?.is_some_and(|start| start > now + LEEWAY) {
        return Err(Refusal::NotYetValid);
    }
    let authenticated_at = optional_time(&all, "auth_time")?;
    if authenticated_at.is_some_and(|at| at > now + LEEWAY) {
        return Err(Refusal::AuthTime);
    }
    // §2: `sub` has at most 255 characters.
    let subject = all.get("sub").and_then(Value::as_str).ok_or(Refusal::Malformed)?.to_owned();
    if subject.is_empty() || subject.len() > 255 {
        return Err(Refusal::Subject);
    }
    let session = session(&all);
    Ok(Claims { all, subject, issued_at, expires_at, authenticated_at, session })
}

/// Front-Channel Logout §3, Back-Channel Logout §2.1: the provider's own name for the session. It is of use
/// only to end sessions by, so one that we could not keep is none, and nobody is turned away for it.
fn session(claims: &Map<String, Value>) -> Option<String> {
    let session = claims.get("sid").and_then(Value::as_str);
    session.filter(|sid| !sid.is_empty() && sid.len() <= LONGEST_SESSION_NAME).map(str::to_owned)
}

/// SECURITY: a claim of the wrong type is an error and never an absent claim.
pub(super) fn optional_text<'a>(
    object: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a str>, Refusal> {
    match object.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::Malformed),
    }
}

/// A `NumericDate` (RFC 7519 §2), which may have a fraction.
fn optional_time(object: &Map<String, Value>, name: &str) -> Result<Option<Time>, Refusal> {
    let Some(value) = object.get(name) else { return Ok(None) };
    let seconds = value.as_i64().or_else(|| {
        let span = std::time::Duration::try_from_secs_f64(value.as_f64()?).ok()?;
        i64::try_from(span.as_secs()).ok()
    });
    let time = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    // Far enough from the ends of the calendar that a leeway cannot leave it.
    let (first, last) = (DateTime::UNIX_EPOCH, DateTime::from_timestamp(253_402_300_799, 0));
    time.filter(|time| *time >= first && last.is_none_or(|last| *time <= last))
        .map(Some)
        .ok_or(Refusal::Malformed)
}

fn refusal(error: &ClaimsVerificationError) -> Refusal {
    match error {
        ClaimsVerificationError::Expired(_) => Refusal::Expired,
        ClaimsVerificationError::InvalidAudience(_) => Refusal::Audience,
        ClaimsVerificationError::InvalidIssuer(_) => Refusal::WrongIssuer,
        ClaimsVerificationError::InvalidNonce(_) => Refusal::Nonce,
        ClaimsVerificationError::SignatureVerification(
            SignatureVerificationError::CryptoError(_) | SignatureVerificationError::InvalidKey(_),
        ) => Refusal::Signature,
        ClaimsVerificationError::SignatureVerification(
            SignatureVerificationError::NoMatchingKey,
        ) => Refusal::UnknownKey,
        ClaimsVerificationError::SignatureVerification(_) => Refusal::Algorithm,
        _ => Refusal::Malformed,
    }
}
