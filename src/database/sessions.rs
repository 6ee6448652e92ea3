//! The register of sessions: whose, from where, and until when.

use crate::database::connection::DbConnection;
use crate::database::schema::{ended_sessions, sessions};
use crate::database::{
    DatabaseError, from_json, from_millis, from_position, logouts, to_millis, to_position,
};
use crate::domain::Time;
use crate::domain::explanation::RecordedEnd;
use crate::domain::ids::{ProviderId, SessionId, SubjectId, TenantId};
use crate::domain::session::RegisteredSession;
use diesel::dsl::{exists, not};
use diesel::prelude::*;

/// False: the session at its provider that it came from is over, so it does not begin.
pub fn begin(c: &mut DbConnection, session: &RegisteredSession) -> Result<bool, DatabaseError> {
    if let Some(there) = &session.upstream_session
        && logouts::is_over(c, &session.provider, there, session.begun_at)?
    {
        return Ok(false);
    }
    insert(c, session)?;
    Ok(true)
}

pub fn insert(c: &mut DbConnection, session: &RegisteredSession) -> Result<(), DatabaseError> {
    diesel::insert_into(sessions::table)
        .values((
            sessions::session_id.eq(session.id.to_string()),
            sessions::subject_id.eq(session.subject.as_str()),
            sessions::tenant_id.eq(session.tenant.as_str()),
            sessions::client_id.eq(session.client.as_str()),
            sessions::provider_id.eq(session.provider.as_str()),
            sessions::upstream_session.eq(&session.upstream_session),
            sessions::begun_at.eq(to_millis(session.begun_at)),
            sessions::begun.eq(to_position(session.begun)),
            sessions::ends_at.eq(to_millis(session.ends_at)),
        ))
        .execute(c)?;
    Ok(())
}

pub fn find(
    c: &mut DbConnection,
    id: &SessionId,
) -> Result<Option<RegisteredSession>, DatabaseError> {
    let row: Option<Row> = sessions::table.find(id.to_string()).first(c).optional()?;
    row.map(parse).transpose()
}

/// A place in a list: the session before it, and when that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub ends_at: Time,
    pub session: SessionId,
}

/// Whose sessions are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    pub tenant: Option<TenantId>,
    pub subject: Option<SubjectId>,
}

/// Those whose time is not over, the one that ends last first. Which of them live is not known here.
pub fn list(
    c: &mut DbConnection,
    whose: &Whose,
    after: Option<Place>,
    limit: u32,
    now: Time,
) -> Result<Vec<RegisteredSession>, DatabaseError> {
    let mut page = sessions::table
        .filter(sessions::ends_at.gt(to_millis(now)))
        .order((sessions::ends_at.desc(), sessions::session_id.desc()))
        .limit(i64::from(limit))
        .into_boxed();
    if let Some(tenant) = &whose.tenant {
        page = page.filter(sessions::tenant_id.eq(tenant.as_str().to_owned()));
    }
    if let Some(subject) = &whose.subject {
        page = page.filter(sessions::subject_id.eq(subject.as_str().to_owned()));
    }
    if let Some(Place { ends_at, session }) = after {
        let ends_at = to_millis(ends_at);
        let same = sessions::ends_at.eq(ends_at);
        let further = sessions::session_id.lt(session.to_string());
        page = page.filter(sessions::ends_at.lt(ends_at).or(same.and(further)));
    }
    let rows: Vec<Row> = page.load(c)?;
    rows.into_iter().map(parse).collect()
}

type EndedRow = (String, i64, String, Option<String>, Option<String>);

/// That a session ended, if that was recorded.
pub fn find_end(
    c: &mut DbConnection,
    id: &SessionId,
) -> Result<Option<RecordedEnd>, DatabaseError> {
    let row: Option<EndedRow> = ended_sessions::table
        .find(id.to_string())
        .select((
            ended_sessions::tenant_id,
            ended_sessions::at,
            ended_sessions::reason,
            ended_sessions::cause,
            ended_sessions::address,
        ))
        .first(c)
        .optional()?;
    let Some((tenant, at, words, cause, address)) = row else { return Ok(None) };
    Ok(Some(RecordedEnd {
        tenant: tenant.parse().map_err(|_| DatabaseError::Corrupt("tenant id"))?,
        at: from_millis(at)?,
        reason: cause.map(|cause| from_json("reason", &cause)).transpose()?,
        words,
        address: address
            .map(|address| address.parse())
            .transpose()
            .map_err(|_| DatabaseError::Corrupt("address"))?,
    }))
}

/// Sessions that were over before this moment. Bounded, so that no one pays for many.
pub fn forget_ended(c: &mut DbConnection, before: Time) -> Result<usize, DatabaseError> {
    let registered: Vec<String> = sessions::table
        .filter(sessions::ends_at.le(to_millis(before)))
        .limit(1000)
        .select(sessions::session_id)
        .load(c)?;
    let ended: Vec<String> = ended_sessions::table
        .filter(ended_sessions::would_have_ended_at.le(to_millis(before)))
        .limit(1000)
        .select(ended_sessions::session_id)
        .load(c)?;
    let registered =
        diesel::delete(sessions::table.filter(sessions::session_id.eq_any(registered)))
            .execute(c)?;
    let ended =
        diesel::delete(ended_sessions::table.filter(ended_sessions::session_id.eq_any(ended)))
            .execute(c)?;
    Ok(registered.saturating_add(ended))
}

/// Those that came from a session at their provider and are not known to be over; of one person, if one is
/// named. At most `limit`.
pub fn list_of_upstream(
    c: &mut DbConnection,
    (provider, upstream_session): (&ProviderId, &str),
    subject: Option<&SubjectId>,
    now: Time,
    limit: u32,
) -> Result<Vec<RegisteredSession>, DatabaseError> {
    let ended = ended_sessions::table.filter(ended_sessions::session_id.eq(sessions::session_id));
    let mut found = sessions::table
        .filter(sessions::provider_id.eq(provider.as_str()))
        .filter(sessions::upstream_session.eq(upstream_session))
        .filter(sessions::ends_at.gt(to_millis(now)))
        .filter(not(exists(ended)))
        .limit(i64::from(limit))
        .into_boxed();
    if let Some(subject) = subject {
        found = found.filter(sessions::subject_id.eq(subject.as_str()));
    }
    let rows: Vec<Row> = found.load(c)?;
    rows.into_iter().map(parse).collect()
}

/// Whose sessions came from a session at their provider.
pub fn people_of_upstream(
    c: &mut DbConnection,
    (provider, upstream_session): (&ProviderId, &str),
    now: Time,
) -> Result<Vec<SubjectId>, DatabaseError> {
    let people: Vec<String> = sessions::table
        .filter(sessions::provider_id.eq(provider.as_str()))
        .filter(sessions::upstream_session.eq(upstream_session))
        .filter(sessions::ends_at.gt(to_millis(now)))
        .select(sessions::subject_id)
        .distinct()
        .load(c)?;
    people.iter().map(|id| id.parse().map_err(|_| DatabaseError::Corrupt("subject"))).collect()
}

type Row = (String, String, String, String, String, Option<String>, i64, i64, i64);

fn parse(row: Row) -> Result<RegisteredSession, DatabaseError> {
    let (id, subject, tenant, client, provider, upstream_session, begun_at, begun, ends_at) = row;
    Ok(RegisteredSession {
        id: id.parse().map_err(|_| DatabaseError::Corrupt("session id"))?,
        subject: subject.parse().map_err(|_| DatabaseError::Corrupt("subject"))?,
        tenant: tenant.parse().map_err(|_| DatabaseError::Corrupt("tenant id"))?,
        client: client.parse().map_err(|_| DatabaseError::Corrupt("client id"))?,
        provider: provider.parse().map_err(|_| DatabaseError::Corrupt("provider id"))?,
        upstream_session,
        begun_at: from_millis(begun_at)?,
        begun: from_position(begun),
        ends_at: from_millis(ends_at)?,
    })
}
