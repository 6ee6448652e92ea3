//! The revocation log and the change log. Each entry's position comes from a one-row head that is
//! raised in the same transaction: a reader who has seen the head has seen everything before it.

use crate::database::connection::{DbConnection, on_each};
use crate::database::schema::{changes, heads, revocations};
use crate::database::{
    DatabaseError, SessionEndings, from_json, from_millis, from_position, to_json, to_millis,
    to_position,
};
use crate::domain::Time;
use crate::domain::ids::{SessionId, TenantId};
use crate::domain::revocation::{NewRevocation, RecordedRevocation, Revocation, RevocationTarget};
use crate::domain::session::RegisteredSession;
use chrono::TimeDelta;
use diesel::dsl::{max, min};
use diesel::prelude::*;

/// Which part of the catalog is no longer what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: ChangeKind,
    pub key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Tenant,
    Provider,
    Client,
    Role,
    Vocabulary,
    /// The limits on templates.
    Limits,
}

impl ChangeKind {
    const ALL: [Self; 6] =
        [Self::Tenant, Self::Provider, Self::Client, Self::Role, Self::Vocabulary, Self::Limits];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Provider => "provider",
            Self::Client => "client",
            Self::Role => "role",
            Self::Vocabulary => "vocabulary",
            Self::Limits => "limits",
        }
    }
}

/// What both logs hold after a reader's positions.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub revocations: Vec<Revocation>,
    pub revocation_head: u64,
    /// None: the reader is so far behind that entries are gone. Nothing it remembers is to be trusted.
    pub changes: Option<Vec<Change>>,
    pub change_head: u64,
}

/// Changes are kept for readers who are this late; whoever is later forgets everything they know.
const CHANGES_KEPT: TimeDelta = TimeDelta::hours(1);

pub(super) fn head(c: &mut DbConnection, name: &str) -> Result<u64, DatabaseError> {
    let position: i64 = heads::table.find(name).select(heads::position).first(c)?;
    Ok(from_position(position))
}

/// The row lock is held until the transaction ends, so that positions are in the order of commits.
pub(super) fn raise_head(c: &mut DbConnection, name: &str) -> Result<i64, DatabaseError> {
    let raise = diesel::update(heads::table.find(name))
        .set(heads::position.eq(heads::position + 1))
        .returning(heads::position);
    Ok(on_each!(c, c => raise.get_result(c))?)
}

/// Takes the row lock that first starts of several nodes meet at.
pub fn lock_keys(c: &mut DbConnection) -> Result<(), DatabaseError> {
    raise_head(c, "keys").map(|_| ())
}

/// Appends an entry; it counts when the transaction commits.
pub fn append_revocation(
    c: &mut DbConnection,
    revocation: &NewRevocation,
    at: Time,
) -> Result<Revocation, DatabaseError> {
    let position = raise_head(c, "revocations")?;
    let session = match &revocation.target {
        RevocationTarget::Session(session) => Some(session),
        _ => None,
    };
    let held_until = revocation.target.held_until(at, revocation.expires_at);
    let kept_until = revocation.expires_at.max(held_until);
    diesel::insert_into(revocations::table)
        .values((
            revocations::position.eq(position),
            revocations::target.eq(to_json(&revocation.target)?),
            revocations::tenant_id.eq(revocation.tenant.as_ref().map(TenantId::as_str)),
            revocations::audience.eq(written(&revocation.audience)?),
            revocations::session_id.eq(session.map(ToString::to_string)),
            revocations::bucket.eq(session.map(|session| i32::from(session.bucket()))),
            revocations::at.eq(to_millis(at)),
            revocations::held_until.eq(to_millis(held_until)),
            revocations::expires_at.eq(to_millis(kept_until)),
            revocations::reason.eq(&revocation.reason),
            revocations::kind.eq(revocation.target.kind()),
            revocations::named.eq(named(&revocation.target)),
            revocations::revoked_by.eq(&revocation.by),
        ))
        .execute(c)?;
    Ok(Revocation {
        position: from_position(position),
        target: revocation.target.clone(),
        tenant: revocation.tenant.clone(),
        audience: revocation.audience.clone(),
        at,
        expires_at: held_until,
    })
}

/// Whom an entry is found by that ends sessions of many.
fn named(target: &RevocationTarget) -> Option<String> {
    match target {
        RevocationTarget::Subject(_)
        | RevocationTarget::Tenant(_)
        | RevocationTarget::Client(_)
        | RevocationTarget::Provider(_) => Some(target.value()),
        _ => None,
    }
}

pub fn append_change(c: &mut DbConnection, change: &Change, at: Time) -> Result<(), DatabaseError> {
    let position = raise_head(c, "changes")?;
    diesel::insert_into(changes::table)
        .values((
            changes::position.eq(position),
            changes::kind.eq(change.kind.as_str()),
            changes::key.eq(&change.key),
            changes::at.eq(to_millis(at)),
        ))
        .execute(c)?;
    let old = changes::table.filter(changes::at.lt(to_millis(at - CHANGES_KEPT)));
    diesel::delete(old).execute(c)?;
    Ok(())
}

/// None: for all audiences.
fn written(audience: &[String]) -> Result<Option<String>, DatabaseError> {
    if audience.is_empty() { Ok(None) } else { to_json(&audience).map(Some) }
}

type RevocationRow = (i64, String, Option<String>, Option<String>, i64, i64);

fn revocation(
    (position, target, tenant, audience, at, held): RevocationRow,
) -> Result<Revocation, DatabaseError> {
    Ok(Revocation {
        position: from_position(position),
        target: from_json("revocation", &target)?,
        tenant: tenant
            .map(|tenant| tenant.parse())
            .transpose()
            .map_err(|_| DatabaseError::Corrupt("tenant id"))?,
        audience: audience
            .map(|audience| from_json("audience", &audience))
            .transpose()?
            .unwrap_or_default(),
        at: from_millis(at)?,
        expires_at: from_millis(held)?,
    })
}

/// Everything after these positions that a node has to hold in memory now.
pub fn read_after(
    c: &mut DbConnection,
    revocations_after: u64,
    changes_after: u64,
    now: Time,
) -> Result<Batch, DatabaseError> {
    // The heads first: what they count is committed, so the reads below see it.
    let revocation_head = head(c, "revocations")?;
    let change_head = head(c, "changes")?;
    let mut batch = Batch { revocation_head, change_head, ..Batch::default() };
    if revocation_head > revocations_after {
        batch.revocations = list_live(c, revocations_after, revocation_head, None, now)?;
    }
    let mut entries = Vec::new();
    if change_head > changes_after {
        let rows: Vec<(String, String)> = changes::table
            .filter(changes::position.gt(to_position(changes_after)))
            .filter(changes::position.le(to_position(change_head)))
            .order(changes::position)
            .select((changes::kind, changes::key))
            .load(c)?;
        let expected = usize::try_from(change_head.saturating_sub(changes_after));
        if expected != Ok(rows.len()) {
            return Ok(batch);
        }
        for (kind, key) in rows {
            let kind = ChangeKind::ALL.into_iter().find(|known| known.as_str() == kind);
            entries.push(Change { kind: kind.ok_or(DatabaseError::Corrupt("change"))?, key });
        }
    }
    batch.changes = Some(entries);
    Ok(batch)
}

/// What can still hit a token, after one position and up to another, in the order of the log.
pub fn list_live(
    c: &mut DbConnection,
    after: u64,
    upto: u64,
    limit: Option<u32>,
    now: Time,
) -> Result<Vec<Revocation>, DatabaseError> {
    // What is kept for long after it was alive stands before what is: it is not walked through.
    let alive = revocations::held_until.gt(to_millis(now));
    let first: Option<i64> =
        revocations::table.filter(alive).select(min(revocations::position)).first(c)?;
    let Some(first) = first else { return Ok(Vec::new()) };
    let rows: Vec<RevocationRow> = revocations::table
        .filter(revocations::position.ge(first.max(to_position(after.saturating_add(1)))))
        .filter(revocations::position.le(to_position(upto)))
        .filter(alive)
        .order(revocations::position)
        .limit(limit.map_or(i64::MAX, i64::from))
        .select((
            revocations::position,
            revocations::target,
            revocations::tenant_id,
            revocations::audience,
            revocations::at,
            revocations::held_until,
        ))
        .load(c)?;
    rows.into_iter().map(revocation).collect()
}

/// When the first entry after a position was written that is still there.
pub fn first_after(c: &mut DbConnection, position: u64) -> Result<Option<Time>, DatabaseError> {
    let at: Option<i64> = revocations::table
        .filter(revocations::position.gt(to_position(position)))
        .order(revocations::position)
        .select(revocations::at)
        .first(c)
        .optional()?;
    at.map(from_millis).transpose()
}

/// For each bucket of the token store, the last position that ended a session which could still live.
pub fn last_endings(c: &mut DbConnection, now: Time) -> Result<Vec<(u8, u64)>, DatabaseError> {
    let rows: Vec<(Option<i32>, Option<i64>)> = revocations::table
        .filter(revocations::bucket.is_not_null())
        .filter(revocations::expires_at.gt(to_millis(now)))
        .group_by(revocations::bucket)
        .select((revocations::bucket, max(revocations::position)))
        .load(c)?;
    let known = rows.into_iter().filter_map(|(bucket, position)| {
        Some((u8::try_from(bucket?).ok()?, from_position(position?)))
    });
    Ok(known.collect())
}

pub(super) fn session_endings(
    c: &mut DbConnection,
    bucket: u8,
    after: u64,
) -> Result<SessionEndings, DatabaseError> {
    let head = head(c, "revocations")?;
    let ids: Vec<Option<String>> = revocations::table
        .filter(revocations::bucket.eq(i32::from(bucket)))
        .filter(revocations::position.gt(to_position(after)))
        .filter(revocations::position.le(to_position(head)))
        .select(revocations::session_id)
        .load(c)?;
    let sessions = ids.into_iter().flatten().map(|id| id.parse::<SessionId>());
    let sessions = sessions.collect::<Result<_, _>>();
    Ok(SessionEndings {
        sessions: sessions.map_err(|_| DatabaseError::Corrupt("session id"))?,
        head,
    })
}

/// So many entries are forgotten in one transaction, so that nobody waits for more.
pub const FORGOTTEN_AT_ONCE: usize = 1000;

/// Kinds of entries that explain why sessions ended.
const EXPLAINING: [&str; 6] =
    ["subject", "tenant", "client", "provider", "before", "template_version_and_sessions"];

/// Entries that can hit nothing any more, some of them; how many. Those that explain the end of sessions go only
/// when those sessions are forgotten, too.
pub fn forget_expired(
    c: &mut DbConnection,
    keep_ended: TimeDelta,
    now: Time,
) -> Result<usize, DatabaseError> {
    let expired: Vec<i64> = revocations::table
        .filter(revocations::expires_at.le(to_millis(now)))
        .filter(
            revocations::kind
                .ne_all(EXPLAINING)
                .or(revocations::expires_at.le(to_millis(now - keep_ended))),
        )
        .limit(i64::try_from(FORGOTTEN_AT_ONCE).unwrap_or(i64::MAX))
        .select(revocations::position)
        .load(c)?;
    Ok(diesel::delete(revocations::table.filter(revocations::position.eq_any(expired)))
        .execute(c)?)
}

type RecordedRow = (i64, String, Option<String>, i64, i64, Option<String>, String);

const RECORDED: (
    revocations::position,
    revocations::target,
    revocations::tenant_id,
    revocations::at,
    revocations::expires_at,
    revocations::revoked_by,
    revocations::reason,
) = (
    revocations::position,
    revocations::target,
    revocations::tenant_id,
    revocations::at,
    revocations::expires_at,
    revocations::revoked_by,
    revocations::reason,
);

fn recorded(row: RecordedRow) -> Result<RecordedRevocation, DatabaseError> {
    let (position, target, tenant, at, expires_at, by, reason) = row;
    Ok(RecordedRevocation {
        position: from_position(position),
        target: from_json("revocation", &target)?,
        tenant: tenant
            .map(|tenant| tenant.parse())
            .transpose()
            .map_err(|_| DatabaseError::Corrupt("tenant id"))?,
        at: from_millis(at)?,
        expires_at: from_millis(expires_at)?,
        by,
        reason,
    })
}

/// Those that may have ended a session, in their order.
pub fn list_about(
    c: &mut DbConnection,
    session: &RegisteredSession,
) -> Result<Vec<RecordedRevocation>, DatabaseError> {
    let names = |kind: &'static str, named: &str| {
        revocations::kind.eq(kind).and(revocations::named.eq(Some(named.to_owned())))
    };
    let about = names("subject", session.subject.as_str())
        .or(names("tenant", session.tenant.as_str()))
        .or(names("client", session.client.as_str()))
        .or(names("provider", session.provider.as_str()))
        .or(revocations::kind.eq_any(["before", "template_version_and_sessions"]));
    let own = revocations::session_id.eq(Some(session.id.to_string()));
    let rows: Vec<RecordedRow> = revocations::table
        .filter(about.or(own))
        .filter(
            revocations::position
                .gt(to_position(session.begun))
                .or(revocations::kind.eq("session")),
        )
        .order(revocations::position)
        .select(RECORDED)
        .load(c)?;
    rows.into_iter().map(recorded).collect()
}

/// The newest first, before a position if one is given; those of one tenant alone, if one is named.
pub fn list_recorded(
    c: &mut DbConnection,
    tenant: Option<&TenantId>,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<RecordedRevocation>, DatabaseError> {
    let mut page = revocations::table
        .order(revocations::position.desc())
        .limit(i64::from(limit))
        .select(RECORDED)
        .into_boxed();
    if let Some(tenant) = tenant {
        page = page.filter(revocations::tenant_id.eq(tenant.as_str()));
    }
    if let Some(before) = before {
        page = page.filter(revocations::position.lt(to_position(before)));
    }
    let rows: Vec<RecordedRow> = page.load(c)?;
    rows.into_iter().map(recorded).collect()
}
