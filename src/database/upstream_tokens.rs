//! What providers are asked with about people whose sessions go on, and what they last said.

use crate::database::connection::DbConnection;
use crate::database::schema::upstream_tokens;
use crate::database::{DatabaseError, from_json, from_millis, to_json, to_millis};
use crate::domain::Time;
use crate::domain::ids::SessionId;
use crate::domain::recheck::Standing;
use diesel::prelude::*;
use serde_json::{Map, Value};

/// Of one session.
#[derive(Clone, Debug)]
pub struct UpstreamToken {
    /// The provider's refresh token, sealed; None: it gave none.
    pub sealed: Option<String>,
    /// The claims to keep, of the last answer; None: those that the session began with.
    pub claims: Option<Map<String, Value>>,
    pub vouched_at: Time,
    pub asking_until: Time,
}

impl UpstreamToken {
    /// Of a session that began before its provider was to be asked.
    pub const fn absent(begun_at: Time) -> Self {
        Self { sealed: None, claims: None, vouched_at: begun_at, asking_until: begun_at }
    }

    pub const fn standing(&self) -> Standing {
        let Self { sealed, vouched_at, asking_until, .. } = self;
        Standing { vouched_at: *vouched_at, can_ask: sealed.is_some(), asking_until: *asking_until }
    }
}

/// Of a session that begins.
pub fn insert(
    c: &mut DbConnection,
    session: &SessionId,
    sealed: Option<&str>,
    vouched_at: Time,
    ends_at: Time,
) -> Result<(), DatabaseError> {
    diesel::insert_into(upstream_tokens::table)
        .values((
            upstream_tokens::session_id.eq(session.to_string()),
            upstream_tokens::sealed.eq(sealed),
            upstream_tokens::vouched_at.eq(to_millis(vouched_at)),
            upstream_tokens::asking_until.eq(to_millis(vouched_at)),
            upstream_tokens::ends_at.eq(to_millis(ends_at)),
        ))
        .execute(c)?;
    Ok(())
}

pub fn find(
    c: &mut DbConnection,
    session: &SessionId,
) -> Result<Option<UpstreamToken>, DatabaseError> {
    let row: Option<(Option<String>, Option<String>, i64, i64)> = upstream_tokens::table
        .find(session.to_string())
        .select((
            upstream_tokens::sealed,
            upstream_tokens::claims,
            upstream_tokens::vouched_at,
            upstream_tokens::asking_until,
        ))
        .first(c)
        .optional()?;
    let Some((sealed, claims, vouched_at, asking_until)) = row else { return Ok(None) };
    Ok(Some(UpstreamToken {
        sealed,
        claims: claims.map(|claims| from_json("claims", &claims)).transpose()?,
        vouched_at: from_millis(vouched_at)?,
        asking_until: from_millis(asking_until)?,
    }))
}

/// Takes the turn to ask, from whoever had it until `seen`. False: somebody else has taken it.
pub fn take_turn(
    c: &mut DbConnection,
    session: &SessionId,
    seen: Time,
    until: Time,
) -> Result<bool, DatabaseError> {
    let row = upstream_tokens::table
        .filter(upstream_tokens::session_id.eq(session.to_string()))
        .filter(upstream_tokens::asking_until.eq(to_millis(seen)));
    let taken =
        diesel::update(row).set(upstream_tokens::asking_until.eq(to_millis(until))).execute(c)?;
    Ok(taken == 1)
}

/// What the provider answered to whoever has the turn until `turn`, which ends with it. False: it has ended
/// already, and somebody else may have asked.
pub fn put_answer(
    c: &mut DbConnection,
    session: &SessionId,
    turn: Time,
    sealed: &str,
    claims: &Map<String, Value>,
    at: Time,
) -> Result<bool, DatabaseError> {
    let row = upstream_tokens::table
        .filter(upstream_tokens::session_id.eq(session.to_string()))
        .filter(upstream_tokens::asking_until.eq(to_millis(turn)));
    let put = diesel::update(row)
        .set((
            upstream_tokens::sealed.eq(sealed),
            upstream_tokens::claims.eq(to_json(claims)?),
            upstream_tokens::vouched_at.eq(to_millis(at)),
            upstream_tokens::asking_until.eq(to_millis(at)),
        ))
        .execute(c)?;
    Ok(put == 1)
}

/// Of a session that is over.
pub fn delete(c: &mut DbConnection, session: &SessionId) -> Result<(), DatabaseError> {
    diesel::delete(upstream_tokens::table.find(session.to_string())).execute(c)?;
    Ok(())
}

/// Of sessions that are over by their time. Bounded, so that no one pays for many.
pub fn forget_expired(c: &mut DbConnection, now: Time) -> Result<(), DatabaseError> {
    let expired: Vec<String> = upstream_tokens::table
        .filter(upstream_tokens::ends_at.le(to_millis(now)))
        .limit(1000)
        .select(upstream_tokens::session_id)
        .load(c)?;
    diesel::delete(upstream_tokens::table.filter(upstream_tokens::session_id.eq_any(expired)))
        .execute(c)?;
    Ok(())
}
