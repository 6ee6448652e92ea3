//! What an administrator revokes by hand: an entry of the log for any target, with who and why. Functions over
//! the database, so that the command line needs no server.

use crate::database::{self, Database, DatabaseError, DbConnection, log};
use crate::domain::Time;
use crate::domain::audit::{AuditEvent, EndReason, EndedSession, EventKind};
use crate::domain::ids::{ClientId, SessionId, SubjectId, TenantId};
use crate::domain::revocation::{NewRevocation, RecordedRevocation, RevocationTarget};
use crate::domain::session::RegisteredSession;
use crate::service::ending::write_ending;
use crate::service::templates::{Author, MAX_REASON, is_reason};
use crate::service::{Inner, Service, Unavailable};
use serde_json::json;

/// What is to be revoked, by whom, and why.
#[derive(Clone, Debug)]
pub struct Order {
    pub target: RevocationTarget,
    /// Where set, only what belongs to this tenant ends.
    pub tenant: Option<TenantId>,
    pub author: Author,
}

#[derive(Debug, thiserror::Error)]
pub enum NotOrdered {
    #[error("a reason has 1 to {MAX_REASON} bytes, none of them a control character")]
    Reason,
    /// Or it is another tenant's.
    #[error("there is no such session in that tenant")]
    NoSession,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<DatabaseError> for NotOrdered {
    fn from(error: DatabaseError) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Whose a session is.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    subject: SubjectId,
    tenant: TenantId,
    client: ClientId,
    ends_at: Time,
}

impl From<&RegisteredSession> for Owner {
    fn from(session: &RegisteredSession) -> Self {
        Self {
            subject: session.subject.clone(),
            tenant: session.tenant.clone(),
            client: session.client.clone(),
            ends_at: session.ends_at,
        }
    }
}

/// Writes the entry, with all that belongs to it, in one transaction; its position. Servers on the same
/// database hear of it as of any other.
pub async fn revoke(database: &Database, order: &Order, now: Time) -> Result<u64, NotOrdered> {
    let owner = match order.target {
        RevocationTarget::Session(id) => registered_owner(database, id).await?,
        _ => None,
    };
    append(database, order, owner, now).await
}

async fn registered_owner(
    database: &Database,
    id: SessionId,
) -> Result<Option<Owner>, DatabaseError> {
    let found = database.read(move |c| database::sessions::find(c, &id)).await?;
    Ok(found.as_ref().map(Owner::from))
}

async fn append(
    database: &Database,
    order: &Order,
    owner: Option<Owner>,
    now: Time,
) -> Result<u64, NotOrdered> {
    let reason = &order.author.reason;
    if !is_reason(reason) {
        return Err(NotOrdered::Reason);
    }
    // SECURITY: what ends a session is applied to the token store whoever wrote it, so a tenant's administrator
    // may name a session of the tenant and no other.
    if let (RevocationTarget::Session(_), Some(tenant)) = (&order.target, &order.tenant)
        && owner.as_ref().is_none_or(|owner| owner.tenant != *tenant)
    {
        return Err(NotOrdered::NoSession);
    }
    let order = order.clone();
    let write = move |c: &mut DbConnection| {
        let position = match (&order.target, &owner) {
            (RevocationTarget::Session(id), Some(owner)) => {
                write_ending(c, &ended(*id, owner, &order.author, now), Vec::new())?
            }
            _ => log::append_revocation(c, &entry(&order, now), now)?.position,
        };
        database::audit::insert(c, &event(&order, owner.as_ref(), position, now))?;
        Ok(position)
    };
    Ok(database.write(write).await?)
}

/// Of anything but a session whose owner is known.
fn entry(order: &Order, now: Time) -> NewRevocation {
    let Order { target, tenant, author } = order;
    NewRevocation {
        target: target.clone(),
        tenant: tenant.clone(),
        audience: Vec::new(),
        expires_at: target.outlived_at(now),
        by: Some(author.name.clone()),
        reason: author.reason.clone(),
    }
}

fn ended(session: SessionId, owner: &Owner, author: &Author, now: Time) -> EndedSession {
    EndedSession {
        session,
        subject: owner.subject.clone(),
        tenant: owner.tenant.clone(),
        client: owner.client.clone(),
        at: now,
        reason: EndReason::RevokedByAdministrator {
            by: author.name.clone(),
            why: author.reason.clone(),
        },
        address: None,
        would_have_ended_at: owner.ends_at,
    }
}

fn event(order: &Order, owner: Option<&Owner>, position: u64, now: Time) -> AuditEvent {
    let Order { target, tenant, author } = order;
    AuditEvent {
        kind: EventKind::Revoked,
        at: now,
        tenant: tenant.clone().or_else(|| owner.map(|owner| owner.tenant.clone())),
        // Who did it, as in all events of administration.
        subject: author.subject.clone(),
        client: None,
        session: match target {
            RevocationTarget::Session(id) => Some(*id),
            _ => None,
        },
        detail: json!({
            "target": target.kind(),
            "value": target.value(),
            "position": position,
            "by": author.name,
            "reason": author.reason,
        }),
    }
}

impl Service {
    /// As [`revoke`], and this node has applied it when this returns.
    pub async fn revoke(&self, order: &Order) -> Result<u64, NotOrdered> {
        let inner = &self.0;
        let now = inner.clock.now();
        let owner = match order.target {
            RevocationTarget::Session(id) => inner.owner_of(id, now).await?,
            _ => None,
        };
        let position = append(&inner.database, order, owner, now).await?;
        inner.catalog.catch_up().await?;
        if let RevocationTarget::Session(session) = order.target {
            inner.delete_ended(&session, position).await;
        }
        Ok(position)
    }

    /// Entries of the log, the newest first; those of one tenant alone, if one is named.
    pub async fn list_revocations(
        &self,
        tenant: Option<&TenantId>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<RecordedRevocation>, Unavailable> {
        let tenant = tenant.cloned();
        let read =
            move |c: &mut DbConnection| log::list_recorded(c, tenant.as_ref(), before, limit);
        Ok(self.0.database.read(read).await?)
    }
}

impl Inner {
    /// A session that an exchange has made is in no register; the token store knows it while it lives.
    pub(super) async fn owner_of(
        &self,
        id: SessionId,
        now: Time,
    ) -> Result<Option<Owner>, Unavailable> {
        if let Some(owner) = registered_owner(&self.database, id).await? {
            return Ok(Some(owner));
        }
        let found = self.tokens.find(&id, self.log_position(&id), now).await?;
        Ok(found.map(|(session, _)| Owner::from(&RegisteredSession::from(&session))))
    }
}
