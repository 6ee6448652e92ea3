//! The versions of role templates. Of a version only its state ever changes.
//!
//! The boundary proof speaks of all published templates at once. So whatever it rests on (templates, the
//! vocabulary, what roles may do) changes under one lock, whose position tells whether anything has changed
//! since somebody looked.

use crate::database::connection::DbConnection;
use crate::database::log::{head, raise_head};
use crate::database::schema::{roles, template_versions};
use crate::database::{DatabaseError, from_millis, from_position, to_millis, to_position};
use crate::domain::Time;
use crate::domain::ids::{Role, TenantId};
use crate::domain::template::version::{Conflict, TemplateName, VersionRecord, VersionState};
use diesel::dsl::{count_star, max};
use diesel::prelude::*;

const PUBLISHED: &str = "published";
const SUPERSEDED: &str = "superseded";
const LOCK: &str = "templates";

/// How a base template stands in column `tenant`.
const BASE: &str = "";

pub(super) fn tenant_of(name: &TemplateName) -> &str {
    name.tenant.as_ref().map_or(BASE, TenantId::as_str)
}

pub(super) fn name_of(role: &str, tenant: &str) -> Result<TemplateName, DatabaseError> {
    let role = role.parse().map_err(|_| DatabaseError::Corrupt("role"))?;
    let tenant = match tenant {
        BASE => None,
        tenant => Some(tenant.parse().map_err(|_| DatabaseError::Corrupt("tenant id"))?),
    };
    Ok(TemplateName { role, tenant })
}

/// The right to change what the boundary proof rests on, until the transaction ends.
#[derive(Debug)]
pub struct TemplatesLock {
    /// What [`position`] said before.
    pub before: u64,
}

/// Goes up with every change of what the boundary proof rests on. To be read before all that.
pub fn position(c: &mut DbConnection) -> Result<u64, DatabaseError> {
    head(c, LOCK)
}

pub fn lock(c: &mut DbConnection) -> Result<TemplatesLock, DatabaseError> {
    let position = from_position(raise_head(c, LOCK)?);
    Ok(TemplatesLock { before: position.saturating_sub(1) })
}

type Row = (String, String, i64, String, String, i64, String, i64, String, String, Option<i64>);

fn record(row: Row) -> Result<VersionRecord, DatabaseError> {
    let (role, tenant, version, state, source, ..) = row;
    let (.., created_at, created_by, published_at, published_by, reason, superseded_at) = row;
    Ok(VersionRecord {
        name: name_of(&role, &tenant)?,
        version: from_position(version),
        state: match state.as_str() {
            PUBLISHED => VersionState::Published,
            SUPERSEDED => VersionState::Superseded,
            _ => return Err(DatabaseError::Corrupt("template version")),
        },
        source,
        created_at: from_millis(created_at)?,
        created_by,
        published_at: from_millis(published_at)?,
        published_by,
        reason,
        superseded_at: superseded_at.map(from_millis).transpose()?,
    })
}

fn records(rows: Vec<Row>) -> Result<Vec<VersionRecord>, DatabaseError> {
    rows.into_iter().map(record).collect()
}

pub fn find_published(
    c: &mut DbConnection,
    name: &TemplateName,
) -> Result<Option<VersionRecord>, DatabaseError> {
    let row: Option<Row> = template_versions::table
        .filter(template_versions::role.eq(name.role.as_str()))
        .filter(template_versions::tenant.eq(tenant_of(name)))
        .filter(template_versions::state.eq(PUBLISHED))
        .first(c)
        .optional()?;
    row.map(record).transpose()
}

pub fn find(
    c: &mut DbConnection,
    name: &TemplateName,
    version: u64,
) -> Result<Option<VersionRecord>, DatabaseError> {
    let key = (name.role.as_str(), tenant_of(name), to_position(version));
    let row: Option<Row> = template_versions::table.find(key).first(c).optional()?;
    row.map(record).transpose()
}

/// All that count, the tenants' own included.
pub fn list_published(c: &mut DbConnection) -> Result<Vec<VersionRecord>, DatabaseError> {
    let published = template_versions::table
        .filter(template_versions::state.eq(PUBLISHED))
        .order((template_versions::role, template_versions::tenant));
    records(published.load(c)?)
}

/// The base templates that count.
pub fn list_bases(c: &mut DbConnection) -> Result<Vec<VersionRecord>, DatabaseError> {
    let published = template_versions::table
        .filter(template_versions::tenant.eq(BASE))
        .filter(template_versions::state.eq(PUBLISHED))
        .order(template_versions::role);
    records(published.load(c)?)
}

/// Versions before this one (None: from the last), the newest first.
pub fn history(
    c: &mut DbConnection,
    name: &TemplateName,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<VersionRecord>, DatabaseError> {
    let before = before.map_or(i64::MAX, to_position);
    let page = template_versions::table
        .filter(template_versions::role.eq(name.role.as_str()))
        .filter(template_versions::tenant.eq(tenant_of(name)))
        .filter(template_versions::version.lt(before))
        .order(template_versions::version.desc())
        .limit(i64::from(limit));
    records(page.load(c)?)
}

/// The tenants' own published versions of a role, after this tenant, in the order of the tenants.
pub fn list_overrides(
    c: &mut DbConnection,
    role: &Role,
    after: Option<&TenantId>,
    limit: u32,
) -> Result<Vec<VersionRecord>, DatabaseError> {
    let page = template_versions::table
        .filter(template_versions::role.eq(role.as_str()))
        .filter(template_versions::tenant.gt(after.map_or(BASE, TenantId::as_str)))
        .filter(template_versions::state.eq(PUBLISHED))
        .order(template_versions::tenant)
        .limit(i64::from(limit));
    records(page.load(c)?)
}

/// The tenants that have their own published version of a role, so many at most.
pub fn overriding_tenants(
    c: &mut DbConnection,
    role: &Role,
    limit: u32,
) -> Result<Vec<TenantId>, DatabaseError> {
    let tenants: Vec<String> = template_versions::table
        .filter(template_versions::role.eq(role.as_str()))
        .filter(template_versions::tenant.ne(BASE))
        .filter(template_versions::state.eq(PUBLISHED))
        .select(template_versions::tenant)
        .limit(i64::from(limit))
        .load(c)?;
    let parse = |tenant: String| tenant.parse().map_err(|_| DatabaseError::Corrupt("tenant id"));
    tenants.into_iter().map(parse).collect()
}

/// When each version of each tenant's own began to count and ceased to, by tenant and version.
pub fn override_times(
    c: &mut DbConnection,
    role: &Role,
) -> Result<Vec<(TenantId, Time, Option<Time>)>, DatabaseError> {
    let rows: Vec<(String, i64, Option<i64>)> = template_versions::table
        .filter(template_versions::role.eq(role.as_str()))
        .filter(template_versions::tenant.ne(BASE))
        .order((template_versions::tenant, template_versions::version))
        .select((
            template_versions::tenant,
            template_versions::published_at,
            template_versions::superseded_at,
        ))
        .load(c)?;
    let parse = |(tenant, from, until): (String, i64, Option<i64>)| {
        let tenant = tenant.parse().map_err(|_| DatabaseError::Corrupt("tenant id"))?;
        Ok((tenant, from_millis(from)?, until.map(from_millis).transpose()?))
    };
    rows.into_iter().map(parse).collect()
}

/// For each role that has any, how many tenants have their own version.
pub fn count_overrides(c: &mut DbConnection) -> Result<Vec<(Role, u64)>, DatabaseError> {
    let rows: Vec<(String, i64)> = roles::table
        .inner_join(template_versions::table)
        .filter(template_versions::tenant.ne(BASE))
        .filter(template_versions::state.eq(PUBLISHED))
        .group_by(roles::role)
        .select((roles::role, count_star()))
        .load(c)?;
    let parse = |(role, count): (String, i64)| {
        Ok((role.parse().map_err(|_| DatabaseError::Corrupt("role"))?, from_position(count)))
    };
    rows.into_iter().map(parse).collect()
}

/// A version to be.
#[derive(Clone, Copy, Debug)]
pub struct NewVersion<'a> {
    pub source: &'a str,
    pub created_at: Time,
    pub created_by: &'a str,
    pub at: Time,
    pub by: &'a str,
    pub reason: &'a str,
}

/// The published version becomes a former one, if it is the expected one.
fn supersede(
    c: &mut DbConnection,
    name: &TemplateName,
    expected: Option<u64>,
    at: Time,
) -> Result<Result<(), Conflict>, DatabaseError> {
    let superseded = match expected {
        Some(expected) => diesel::update(
            template_versions::table
                .find((name.role.as_str(), tenant_of(name), to_position(expected)))
                .filter(template_versions::state.eq(PUBLISHED)),
        )
        .set((
            template_versions::state.eq(SUPERSEDED),
            template_versions::superseded_at.eq(to_millis(at)),
        ))
        .execute(c)?,
        None => 0,
    };
    let now = find_published(c, name)?.map(|published| published.version);
    let done = superseded == usize::from(expected.is_some()) && now.is_none();
    Ok(if done { Ok(()) } else { Err(Conflict::Published(now)) })
}

/// Writes the next version and makes it the one that counts, unless another one than the expected counts
/// now. The transaction is to be taken back at a conflict.
pub fn publish(
    c: &mut DbConnection,
    _lock: &TemplatesLock,
    name: &TemplateName,
    expected: Option<u64>,
    new: &NewVersion<'_>,
) -> Result<Result<u64, Conflict>, DatabaseError> {
    if let Err(conflict) = supersede(c, name, expected, new.at)? {
        return Ok(Err(conflict));
    }
    let last: Option<i64> = template_versions::table
        .filter(template_versions::role.eq(name.role.as_str()))
        .filter(template_versions::tenant.eq(tenant_of(name)))
        .select(max(template_versions::version))
        .first(c)?;
    let version = last.unwrap_or(0).saturating_add(1);
    diesel::insert_into(template_versions::table)
        .values((
            template_versions::role.eq(name.role.as_str()),
            template_versions::tenant.eq(tenant_of(name)),
            template_versions::version.eq(version),
            template_versions::state.eq(PUBLISHED),
            template_versions::source.eq(new.source),
            template_versions::created_at.eq(to_millis(new.created_at)),
            template_versions::created_by.eq(new.created_by),
            template_versions::published_at.eq(to_millis(new.at)),
            template_versions::published_by.eq(new.by),
            template_versions::reason.eq(new.reason),
        ))
        .execute(c)?;
    Ok(Ok(from_position(version)))
}

/// From now on none of these versions counts. As above for conflicts.
pub fn withdraw(
    c: &mut DbConnection,
    _lock: &TemplatesLock,
    name: &TemplateName,
    expected: u64,
    at: Time,
) -> Result<Result<(), Conflict>, DatabaseError> {
    supersede(c, name, Some(expected), at)
}

/// The roles of which a tenant has, or had, its own version or a draft of one, when these are deleted.
pub fn delete_of_tenant(
    c: &mut DbConnection,
    _lock: &TemplatesLock,
    tenant: &TenantId,
) -> Result<Vec<TemplateName>, DatabaseError> {
    let own = || template_versions::table.filter(template_versions::tenant.eq(tenant.as_str()));
    let found: Vec<String> = own().select(template_versions::role).distinct().load(c)?;
    diesel::delete(own()).execute(c)?;
    found.iter().map(|role| name_of(role, tenant.as_str())).collect()
}
