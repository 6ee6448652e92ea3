//! Single claims of what a provider has signed: of the right type, from the right provider, at the right time.

use crate::domain::Time;
use crate::upstream::error::Refusal;
use chrono::{DateTime, TimeDelta};
use openidconnect::IssuerUrl;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// How far the provider's clock may be from ours.
pub const LEEWAY: TimeDelta = TimeDelta::seconds(60);

/// SECURITY: a claim of the wrong type is an error and never an absent claim.
pub(super) fn text<'a>(
    object: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a str>, Refusal> {
    match object.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::Malformed),
    }
}

/// A text that identifies something: 1 to 255 characters (OpenID Connect Core §2, of `sub`), all of which a
/// database can hold.
pub(super) fn identifier<'a>(
    object: &'a Map<String, Value>,
    name: &str,
    otherwise: Refusal,
) -> Result<Option<&'a str>, Refusal> {
    let found = text(object, name)?;
    let identifies = |text: &str| !text.is_empty() && text.len() <= 255 && !text.contains('\0');
    if found.is_some_and(|text| !identifies(text)) {
        return Err(otherwise);
    }
    Ok(found)
}

/// A `NumericDate` (RFC 7519 §2), which may have a fraction.
pub(super) fn time(object: &Map<String, Value>, name: &str) -> Result<Option<Time>, Refusal> {
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

/// Exactly this issuer, as a string: an array that holds it is not it.
pub(super) fn check_issuer(
    claims: &Map<String, Value>,
    expected: &IssuerUrl,
) -> Result<(), Refusal> {
    let issuer = claims.get("iss").and_then(Value::as_str).ok_or(Refusal::Malformed)?;
    if issuer == expected.as_str() { Ok(()) } else { Err(Refusal::WrongIssuer) }
}

/// Every audience is among these, and there is one; the first.
pub(super) fn check_audience<'a>(
    claims: &'a Map<String, Value>,
    expected: &BTreeSet<&str>,
) -> Result<&'a str, Refusal> {
    let audiences = match claims.get("aud") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several
            .iter()
            .map(|audience| audience.as_str().ok_or(Refusal::Malformed))
            .collect::<Result<_, _>>()?,
        _ => return Err(Refusal::Malformed),
    };
    let ours = |audience: &&str| expected.contains(audience);
    audiences.first().copied().filter(|_| audiences.iter().all(ours)).ok_or(Refusal::Audience)
}

/// `iat` and `exp`, which must be there, and `nbf` (RFC 7519 §4.1.5): issued at, expires at.
pub(super) fn check_validity(
    claims: &Map<String, Value>,
    now: Time,
) -> Result<(Time, Time), Refusal> {
    let expires_at = time(claims, "exp")?.ok_or(Refusal::Malformed)?;
    if expires_at <= now - LEEWAY {
        return Err(Refusal::Expired);
    }
    let issued_at = time(claims, "iat")?.ok_or(Refusal::Malformed)?;
    if issued_at > now + LEEWAY {
        return Err(Refusal::IssuedInFuture);
    }
    if time(claims, "nbf")?.is_some_and(|start| start > now + LEEWAY) {
        return Err(Refusal::NotYetValid);
    }
    Ok((issued_at, expires_at))
}
