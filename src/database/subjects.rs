//! The people who have signed in, with the claims of their last sign-in, and the sessions that ended.

use crate::database::connection::{DbConnection, on_each};
use crate::database::schema::{ended_sessions, subjects};
use crate::database::{DatabaseError, from_json, to_json, to_millis, upstream_tokens};
use crate::domain::Time;
use crate::domain::audit::EndedSession;
use crate::domain::ids::{SessionId, SubjectId, TenantId};
use crate::domain::subject::Subject;
use diesel::prelude::*;
use serde_json::{Map, Value};

/// Inserts or replaces: what counts is the last sign-in.
pub fn put(
    c: &mut DbConnection,
    subject: &Subject,
    upstream_subject: &str,
    tenant: &TenantId,
    at: Time,
) -> Result<(), DatabaseError> {
    let row = (
        subjects::provider_id.eq(subject.provider.as_str()),
        subjects::upstream_subject.eq(upstream_subject),
        subjects::tenant_id.eq(tenant.as_str()),
        subjects::claims.eq(to_json(&subject.claims)?),
        subjects::last_sign_in.eq(to_millis(at)),
    );
    on_each!(c, c => diesel::insert_into(subjects::table)
        .values((subjects::id.eq(subject.id.as_str()), row.clone()))
        .on_conflict(subjects::id)
        .do_update()
        .set(row)
        .execute(c))?;
    Ok(())
}

/// What is known of somebody since their last sign-in.
pub fn put_claims(
    c: &mut DbConnection,
    id: &SubjectId,
    claims: &Map<String, Value>,
) -> Result<(), DatabaseError> {
    diesel::update(subjects::table.find(id.as_str()))
        .set(subjects::claims.eq(to_json(claims)?))
        .execute(c)?;
    Ok(())
}

/// Somebody as of their last sign-in, and the tenant that they signed in to.
pub fn find(
    c: &mut DbConnection,
    id: &SubjectId,
) -> Result<Option<(Subject, TenantId)>, DatabaseError> {
    let row: Option<(String, String, String)> = subjects::table
        .find(id.as_str())
        .select((subjects::provider_id, subjects::tenant_id, subjects::claims))
        .first(c)
        .optional()?;
    let Some((provider, tenant, claims)) = row else { return Ok(None) };
    let provider = provider.parse().map_err(|_| DatabaseError::Corrupt("provider id"))?;
    let tenant = tenant.parse().map_err(|_| DatabaseError::Corrupt("tenant id"))?;
    let claims = from_json("subject", &claims)?;
    Ok(Some((Subject { id: id.clone(), provider, claims }, tenant)))
}

/// Why a session ended; a second reason does not replace the first. Its provider is not asked again.
pub fn insert_ended(c: &mut DbConnection, ended: &EndedSession) -> Result<(), DatabaseError> {
    upstream_tokens::delete(c, &ended.session)?;
    on_each!(c, c => diesel::insert_into(ended_sessions::table)
        .values((
            ended_sessions::session_id.eq(ended.session.to_string()),
            ended_sessions::subject_id.eq(ended.subject.as_str()),
            ended_sessions::tenant_id.eq(ended.tenant.as_str()),
            ended_sessions::client_id.eq(ended.client.as_str()),
            ended_sessions::at.eq(to_millis(ended.at)),
            ended_sessions::reason.eq(ended.reason.to_string()),
            ended_sessions::would_have_ended_at.eq(to_millis(ended.would_have_ended_at)),
            ended_sessions::cause.eq(to_json(&ended.reason)?),
            ended_sessions::address.eq(ended.address.map(|address| address.to_string())),
        ))
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(())
}

/// Why a session ended, in words for a person.
pub fn find_ended_reason(
    c: &mut DbConnection,
    session: &SessionId,
) -> Result<Option<String>, DatabaseError> {
    let row = ended_sessions::table.find(session.to_string()).select(ended_sessions::reason);
    Ok(row.first(c).optional()?)
}

/// Those after this one in the order of their ids, with the tenant that they last signed in to; of one
/// tenant, if one is named.
pub fn list(
    c: &mut DbConnection,
    tenant: Option<&TenantId>,
    after: Option<&SubjectId>,
    limit: u32,
) -> Result<Vec<(Subject, TenantId)>, DatabaseError> {
    let mut page = subjects::table
        .filter(subjects::id.gt(after.map_or("", SubjectId::as_str)))
        .order(subjects::id)
        .limit(i64::from(limit))
        .select((subjects::id, subjects::provider_id, subjects::tenant_id, subjects::claims))
        .into_boxed();
    if let Some(tenant) = tenant {
        page = page.filter(subjects::tenant_id.eq(tenant.as_str()));
    }
    let rows: Vec<(String, String, String, String)> = page.load(c)?;
    let parse = |(id, provider, tenant, claims): (String, String, String, String)| {
        let subject = Subject {
            id: id.parse().map_err(|_| DatabaseError::Corrupt("subject"))?,
            provider: provider.parse().map_err(|_| DatabaseError::Corrupt("provider id"))?,
            claims: from_json("subject", &claims)?,
        };
        Ok((subject, tenant.parse().map_err(|_| DatabaseError::Corrupt("tenant id"))?))
    };
    rows.into_iter().map(parse).collect()
}

/// How many there are; of one tenant, if one is named.
pub fn count(c: &mut DbConnection, tenant: Option<&TenantId>) -> Result<u64, DatabaseError> {
    let count: i64 = match tenant {
        None => subjects::table.count().get_result(c)?,
        Some(tenant) => {
            subjects::table.filter(subjects::tenant_id.eq(tenant.as_str())).count().get_result(c)?
        }
    };
    Ok(u64::try_from(count).unwrap_or(0))
}
