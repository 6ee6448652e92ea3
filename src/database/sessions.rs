//! The register of the sessions that began with a sign-in: whose, from where, and until when.

use crate::database::connection::DbConnection;
use crate::database::schema::sessions;
use crate::database::{DatabaseError, from_millis, from_position, to_millis, to_position};
use crate::domain::ids::SessionId;
use crate::domain::session::RegisteredSession;
use diesel::prelude::*;

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
