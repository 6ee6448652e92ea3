//! What providers tell of the end of sessions there: which of their logout tokens were heeded, and which
//! sessions of theirs are over.

use crate::database::connection::{DbConnection, on_each};
use crate::database::schema::{logout_tokens, upstream_sessions};
use crate::database::{DatabaseError, to_millis};
use crate::domain::Time;
use crate::domain::ids::ProviderId;
use crate::domain::secret::Digest;
use chrono::TimeDelta;
use diesel::prelude::*;

/// A sign-in that is under way has ended by then, whatever it waits for.
pub const LONGEST_SIGN_IN: TimeDelta = TimeDelta::minutes(10);

/// Takes note of a logout token, until it would be refused anyhow. False: it was heeded before.
pub fn heed(
    c: &mut DbConnection,
    provider: &ProviderId,
    id: &str,
    expires_at: Time,
) -> Result<bool, DatabaseError> {
    let id: String = Digest::of(format!("{provider}\0{id}")).into();
    let inserted = on_each!(c, c => diesel::insert_into(logout_tokens::table)
        .values((logout_tokens::id.eq(id), logout_tokens::expires_at.eq(to_millis(expires_at))))
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(inserted == 1)
}

/// Whether a session at the provider is known to be over; asked where one of ours begins that came from it.
///
/// Holds its row until the transaction ends. Whoever tells of its end meanwhile waits, and then finds what
/// this transaction has registered; or was first, and is found here.
pub fn is_over(
    c: &mut DbConnection,
    provider: &ProviderId,
    session: &str,
    now: Time,
) -> Result<bool, DatabaseError> {
    hold(c, provider, session, now + LONGEST_SIGN_IN)?;
    let row = upstream_sessions::table.find((provider.as_str(), session));
    let (ended, until): (bool, i64) =
        row.select((upstream_sessions::ended, upstream_sessions::expires_at)).first(c)?;
    Ok(ended && until > to_millis(now))
}

/// From now on [`is_over`], until `until`.
pub fn note_end(
    c: &mut DbConnection,
    provider: &ProviderId,
    session: &str,
    until: Time,
) -> Result<(), DatabaseError> {
    hold(c, provider, session, until)?;
    diesel::update(upstream_sessions::table.find((provider.as_str(), session)))
        .set((
            upstream_sessions::ended.eq(true),
            upstream_sessions::expires_at.eq(to_millis(until)),
        ))
        .execute(c)?;
    Ok(())
}

fn hold(
    c: &mut DbConnection,
    provider: &ProviderId,
    session: &str,
    until: Time,
) -> Result<(), DatabaseError> {
    on_each!(c, c => diesel::insert_into(upstream_sessions::table)
        .values((
            upstream_sessions::provider_id.eq(provider.as_str()),
            upstream_sessions::upstream_session.eq(session),
            upstream_sessions::ended.eq(false),
            upstream_sessions::expires_at.eq(to_millis(until)),
        ))
        .on_conflict((upstream_sessions::provider_id, upstream_sessions::upstream_session))
        .do_update()
        // Nothing changes but who holds the row.
        .set(upstream_sessions::provider_id.eq(provider.as_str()))
        .execute(c))?;
    Ok(())
}

/// What can no longer matter.
pub fn forget_expired(c: &mut DbConnection, now: Time) -> Result<(), DatabaseError> {
    let now = to_millis(now);
    diesel::delete(logout_tokens::table.filter(logout_tokens::expires_at.le(now))).execute(c)?;
    diesel::delete(upstream_sessions::table.filter(upstream_sessions::expires_at.le(now)))
        .execute(c)?;
    Ok(())
}
