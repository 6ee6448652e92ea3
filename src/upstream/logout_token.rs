//! Whether a logout token is what it says: OpenID Connect Back-Channel Logout 1.0 §2.6.

use crate::domain::Time;
use crate::domain::provider::UpstreamAlgorithm;
use crate::upstream::claim::{self, LEEWAY};
use crate::upstream::discovery::Keys;
use crate::upstream::error::Refusal;
use crate::upstream::jws::Jws;
use chrono::TimeDelta;
use openidconnect::IssuerUrl;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A provider tells at once, or tries again for a while.
const OLDEST: TimeDelta = TimeDelta::minutes(5);
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// §2.4 recommends the first. Providers that are older than it say `JWT`, or nothing.
const TYPES: [&str; 2] = ["logout+jwt", "JWT"];

/// Who is no longer signed in at the provider, as it has signed. Whether it was told before is for the
/// caller to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedLogout {
    /// Claim `jti`.
    pub id: String,
    pub signed_out: SignedOut,
    /// From then on the token is refused.
    pub expires_at: Time,
}

/// What has ended at the provider, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedOut {
    /// One session (`sid`); where it says whose, that person's alone.
    Session { session: String, subject: Option<String> },
    /// All sessions of a person (`sub`).
    Person { subject: String },
}

/// What the token has to be like.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a IssuerUrl,
    pub(super) algorithms: &'a BTreeSet<UpstreamAlgorithm>,
    pub(super) client_id: &'a str,
    pub(super) now: Time,
}

/// A token that has passed every check but its signature.
pub(super) struct Unverified<'a> {
    jws: Jws<'a>,
    logout: VerifiedLogout,
}

impl<'a> Unverified<'a> {
    pub(super) fn parse(text: &'a str, expected: &Expected<'_>) -> Result<Self, Refusal> {
        let (jws, claims) = Jws::parse(text, expected.algorithms, &TYPES)?;
        check_kind(&claims)?;
        claim::check_issuer(&claims, expected.issuer)?;
        claim::check_audience(&claims, &[expected.client_id].into())?;
        let (issued_at, expires_at) = claim::check_validity(&claims, expected.now)?;
        let oldest = issued_at + OLDEST + LEEWAY;
        if oldest < expected.now {
            return Err(Refusal::TooOld);
        }
        let id = claim::identifier(&claims, "jti", Refusal::MissingTokenId)?;
        let id = id.ok_or(Refusal::MissingTokenId)?.to_owned();
        let signed_out = signed_out(&claims)?;
        let expires_at = oldest.min(expires_at + LEEWAY);
        Ok(Self { jws, logout: VerifiedLogout { id, signed_out, expires_at } })
    }

    pub(super) const fn jws(&self) -> &Jws<'a> {
        &self.jws
    }

    /// What it says, if one of the provider's keys made the signature.
    pub(super) fn verify(&self, keys: &Keys) -> Result<VerifiedLogout, Refusal> {
        self.jws.try_keys(keys, |key| self.jws.is_signed_by(key))?;
        Ok(self.logout.clone())
    }
}

/// SECURITY: what makes it a logout token, and what would make it another one. No ID token has the event, and
/// §2.4 forbids the nonce so that none can be made to pass for one.
fn check_kind(claims: &Map<String, Value>) -> Result<(), Refusal> {
    let events = claims.get("events").and_then(Value::as_object);
    let event = events.and_then(|events| events.get(EVENT));
    // Keycloak names the kind in a claim too.
    let kind = claims.get("typ").and_then(Value::as_str);
    let another = claims.contains_key("nonce") || kind.is_some_and(|kind| kind != "Logout");
    if event.is_some_and(Value::is_object) && !another { Ok(()) } else { Err(Refusal::TokenType) }
}

fn signed_out(claims: &Map<String, Value>) -> Result<SignedOut, Refusal> {
    let subject = claim::identifier(claims, "sub", Refusal::Subject)?.map(str::to_owned);
    let session = claim::identifier(claims, "sid", Refusal::Subject)?.map(str::to_owned);
    match (session, subject) {
        (Some(session), subject) => Ok(SignedOut::Session { session, subject }),
        (None, Some(subject)) => Ok(SignedOut::Person { subject }),
        (None, None) => Err(Refusal::Subject),
    }
}
