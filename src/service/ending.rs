//! The end of a session: in the log first, then everywhere.

use crate::database::{self, DatabaseError, DbConnection, log};
use crate::domain::audit::{AuditEvent, EndReason, EndedSession};
use crate::domain::ids::SessionId;
use crate::domain::revocation::{NewRevocation, RevocationTarget};
use crate::service::{Inner, Unavailable};

impl Inner {
    /// Durable in the log before this returns, and applied on this node. The token store follows: if it
    /// is away, the log and the store's markers see to it later.
    ///
    /// `audience`: of all its tokens; none: it is not known.
    pub(super) async fn end_session(
        &self,
        ended: EndedSession,
        audience: Vec<String>,
        event: AuditEvent,
    ) -> Result<(), Unavailable> {
        let session = ended.session;
        let write = self.database.write(move |c| {
            let position = write_ending(c, &ended, audience)?;
            database::audit::insert(c, &event)?;
            Ok(position)
        });
        let position = write.await?;
        self.counters.count_revocation();
        self.catalog.catch_up().await?;
        self.delete_ended(&session, position).await;
        Ok(())
    }

    /// From the token store, what the log has ended at `position`.
    pub(super) async fn delete_ended(&self, session: &SessionId, position: u64) {
        if let Err(error) = self.tokens.end(session, position).await {
            tracing::warn!(%error, %session, "an ended session is still in the token store; the log counts");
        }
    }

    /// As above, for anything but a session.
    pub(super) async fn revoke(
        &self,
        revocation: NewRevocation,
        event: AuditEvent,
    ) -> Result<(), Unavailable> {
        let at = event.at;
        let write = self.database.write(move |c| {
            log::append_revocation(c, &revocation, at)?;
            database::audit::insert(c, &event)
        });
        write.await?;
        self.counters.count_revocation();
        Ok(self.catalog.catch_up().await?)
    }
}

/// What is written of a session's end, but for the audit event, in the transaction that ends it; the position of
/// its entry.
pub(super) fn write_ending(
    c: &mut DbConnection,
    ended: &EndedSession,
    audience: Vec<String>,
) -> Result<u64, DatabaseError> {
    let (by, reason) = match &ended.reason {
        EndReason::RevokedByAdministrator { by, why } => (Some(by.clone()), why.clone()),
        other => (None, other.to_string()),
    };
    let revocation = NewRevocation {
        target: RevocationTarget::Session(ended.session),
        tenant: Some(ended.tenant.clone()),
        audience,
        expires_at: ended.would_have_ended_at,
        by,
        reason,
    };
    let entry = log::append_revocation(c, &revocation, ended.at)?;
    database::subjects::insert_ended(c, ended)?;
    Ok(entry.position)
}
