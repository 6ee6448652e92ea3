//! Whether an ID token is what it says: OpenID Connect Core 1.0 §3.1.3.7, RFC 8725.
//!
//! The library verifies signature, issuer, audiences, expiry and nonce. Everything that it leaves out, and
//! everything that is cheaper to refuse before keys are looked for, is checked here first, so a token that
//! is no good anyhow never makes us call the provider.

use crate::domain::Time;
use crate::domain::provider::UpstreamAlgorithm;
use crate::upstream::claim::{self, LEEWAY};
use crate::upstream::discovery::Keys;
use crate::upstream::error::Refusal;
use crate::upstream::jws::Jws;
use openidconnect::core::{CoreIdToken, CoreJsonWebKey, CoreJsonWebKeySet};
use openidconnect::{
    AccessToken, AccessTokenHash, Audience, ClaimsVerificationError, ClientId, IdTokenVerifier,
    IssuerUrl, Nonce, SignatureVerificationError,
};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

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
    jws: Jws<'a>,
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

/// RFC 8725 §3.11: `at+jwt`, `logout+jwt`, `dpop+jwt` and the rest are not ID tokens.
const TYPES: [&str; 1] = ["JWT"];

impl<'a> Unverified<'a> {
    pub(super) fn parse(text: &'a str, expected: &Expected<'_>) -> Result<Self, Refusal> {
        let (jws, claims) = Jws::parse(text, expected.algorithms, &TYPES)?;
        let audience = check_parties(&claims, expected)?;
        let claims = check_times(claims, expected.now)?;
        Ok(Self { jws, audience, claims })
    }

    pub(super) const fn jws(&self) -> &Jws<'a> {
        &self.jws
    }

    /// The claims, if one of the provider's keys made the signature.
    pub(super) fn verify(&self, keys: &Keys, expected: &Expected<'_>) -> Result<Claims, Refusal> {
        let token: CoreIdToken = self.jws.text().parse().map_err(|_| Refusal::Malformed)?;
        self.jws.try_keys(keys, |key| self.verify_with(&token, key, expected))?;
        Ok(self.claims.clone())
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
        .set_allowed_algs([self.jws.algorithm().clone()])
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
            let real = AccessTokenHash::from_token(access_token, self.jws.algorithm(), key);
            if real.ok().as_ref() != Some(hash) {
                return Err(Refusal::AccessTokenHash);
            }
        }
        Ok(())
    }
}

/// Who made it, for whom. Answers the audience to name to the library.
fn check_parties(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<String, Refusal> {
    // §3.1.3.7 step 2.
    claim::check_issuer(claims, expected.issuer)?;
    // Logout tokens (Back-Channel Logout §2.4) have `events`; Keycloak's access tokens say `typ: Bearer`.
    let kind = claims.get("typ").and_then(Value::as_str);
    if claims.contains_key("events") || kind.is_some_and(|kind| kind != "ID") {
        return Err(Refusal::TokenType);
    }
    // Step 3: ours, and no audience beside it that we do not trust.
    let audience = claim::check_audience(claims, &expected.audiences)?;
    // Steps 4 and 5, which the library leaves out.
    if claim::text(claims, "azp")?.is_some_and(|party| !expected.audiences.contains(party)) {
        return Err(Refusal::AuthorizedParty);
    }
    Ok(audience.to_owned())
}

/// Steps 9 and 10, and `nbf` (RFC 7519 §4.1.5).
fn check_times(all: Map<String, Value>, now: Time) -> Result<Claims, Refusal> {
    let (issued_at, expires_at) = claim::check_validity(&all, now)?;
    let authenticated_at = claim::time(&all, "auth_time")?;
    if authenticated_at.is_some_and(|at| at > now + LEEWAY) {
        return Err(Refusal::AuthTime);
    }
    let subject = claim::identifier(&all, "sub", Refusal::Subject)?;
    let subject = subject.ok_or(Refusal::Malformed)?.to_owned();
    let session = session(&all);
    Ok(Claims { all, subject, issued_at, expires_at, authenticated_at, session })
}

/// Front-Channel Logout §3, Back-Channel Logout §2.1: the provider's own name for the session. It is of use
/// only to end sessions by, so one that we could not keep is none, and nobody is turned away for it.
fn session(claims: &Map<String, Value>) -> Option<String> {
    let session = claim::identifier(claims, "sid", Refusal::Malformed);
    session.ok().flatten().map(str::to_owned)
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
