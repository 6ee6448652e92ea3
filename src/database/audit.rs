//! The audit log.

use crate::database::connection::DbConnection;
use crate::database::schema::audit_events;
use crate::database::{DatabaseError, to_millis};
use crate::domain::audit::{AuditEvent, EventKind};
use crate::domain::ids::{ClientId, SubjectId, TenantId};
use diesel::prelude::*;

pub fn insert(c: &mut DbConnection, event: &AuditEvent) -> Result<(), DatabaseError> {
    diesel::insert_into(audit_events::table)
        .values((
            audit_events::kind.eq(event.kind.as_str()),
            audit_events::at.eq(to_millis(event.at)),
            audit_events::tenant_id.eq(event.tenant.as_ref().map(TenantId::as_str)),
            audit_events::subject_id.eq(event.subject.as_ref().map(SubjectId::as_str)),
            audit_events::client_id.eq(event.client.as_ref().map(ClientId::as_str)),
            audit_events::session_id.eq(event.session.map(|id| id.to_string())),
            audit_events::detail.eq(event.detail.to_string()),
        ))
        .execute(c)?;
    Ok(())
}

/// How often something happened. For tests and reports.
pub fn count(c: &mut DbConnection, kind: EventKind) -> Result<i64, DatabaseError> {
    Ok(audit_events::table.filter(audit_events::kind.eq(kind.as_str())).count().get_result(c)?)
}
