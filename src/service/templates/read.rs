//! What there is: roles, versions, who changed what and why.

use crate::database::{self, Database, DatabaseError, DbConnection};
use crate::domain::Time;
use crate::domain::ids::{Role, TenantId};
use crate::domain::template::version::{
    TemplateName, TemplateVersion, VersionRecord, VersionState,
};
use crate::service::templates::{NotDone, check_exists};
use serde::Serialize;
use std::collections::BTreeMap;

/// A version without its document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionSummary {
    pub version: TemplateVersion,
    pub state: VersionState,
    pub created_at: Time,
    pub created_by: String,
    pub published_at: Time,
    pub published_by: String,
    pub reason: String,
    pub superseded_at: Option<Time>,
}

impl From<&VersionRecord> for VersionSummary {
    fn from(record: &VersionRecord) -> Self {
        Self {
            version: record.name.at(record.version),
            state: record.state,
            created_at: record.created_at,
            created_by: record.created_by.clone(),
            published_at: record.published_at,
            published_by: record.published_by.clone(),
            reason: record.reason.clone(),
            superseded_at: record.superseded_at,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoleSummary {
    pub role: Role,
    pub crosses_tenants: bool,
    /// Whether tenants may have their own versions.
    pub overridable: bool,
    pub published: Option<VersionSummary>,
    /// The draft's revision.
    pub draft: Option<u64>,
    /// How many tenants have their own version.
    pub overrides: u64,
}

/// A role with the documents that stand beside its template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoleDetail {
    pub role: Role,
    pub crosses_tenants: bool,
    /// The document.
    pub ceiling: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OverrideSummary {
    pub tenant: TenantId,
    pub published: VersionSummary,
}

/// A version, and how it differs from the one before.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryEntry {
    pub version: VersionSummary,
}

/// All roles, in the order of their names.
pub async fn list_roles(database: &Database) -> Result<Vec<RoleSummary>, NotDone> {
    let read = |c: &mut DbConnection| -> Result<Vec<RoleSummary>, DatabaseError> {
        let roles = database::roles::list(c)?;
        let mut published: BTreeMap<Role, VersionSummary> = database::templates::list_bases(c)?
            .iter()
            .map(|record| (record.name.role.clone(), record.into()))
            .collect();
        let mut drafts: BTreeMap<Role, u64> = database::drafts::list_of_bases(c)?
            .into_iter()
            .map(|draft| (draft.name.role, draft.revision))
            .collect();
        let mut overrides: BTreeMap<Role, u64> =
            database::templates::count_overrides(c)?.into_iter().collect();
        let summary = |role: database::roles::StoredRole| RoleSummary {
            published: published.remove(&role.role),
            draft: drafts.remove(&role.role),
            overrides: overrides.remove(&role.role).unwrap_or(0),
            crosses_tenants: role.crosses_tenants,
            overridable: role.ceiling.is_some() && !role.crosses_tenants,
            role: role.role,
        };
        Ok(roles.into_iter().map(summary).collect())
    };
    Ok(database.read(read).await?)
}

pub async fn show_role(database: &Database, role: &Role) -> Result<RoleDetail, NotDone> {
    let wanted = role.clone();
    let found = database.read(move |c| database::roles::find(c, &wanted)).await?;
    let found = found.ok_or_else(|| NotDone::NoRole(role.clone()))?;
    let database::roles::StoredRole { role, crosses_tenants, ceiling, .. } = found;
    Ok(RoleDetail { role, crosses_tenants, ceiling })
}

/// A version with its document; None: the published one.
pub async fn show(
    database: &Database,
    name: &TemplateName,
    version: Option<u64>,
) -> Result<VersionRecord, NotDone> {
    let name = name.clone();
    let read = move |c: &mut DbConnection| find(c, &name, version);
    database.read(read).await?
}

fn find(
    c: &mut DbConnection,
    name: &TemplateName,
    version: Option<u64>,
) -> Result<Result<VersionRecord, NotDone>, DatabaseError> {
    if let Err(missing) = check_exists(c, name)? {
        return Ok(Err(missing));
    }
    let found = match version {
        None => database::templates::find_published(c, name)?,
        Some(version) => database::templates::find(c, name, version)?,
    };
    let missing = || match version {
        None => NotDone::NotPublished(name.clone()),
        Some(version) => NotDone::NoVersion(name.at(version)),
    };
    Ok(found.ok_or_else(missing))
}

/// The tenants with their own version of a role, after this one, in the order of their ids.
pub async fn list_overrides(
    database: &Database,
    role: &Role,
    after: Option<&TenantId>,
    limit: u32,
) -> Result<Vec<OverrideSummary>, NotDone> {
    let (role, after) = (role.clone(), after.cloned());
    let read = move |c: &mut DbConnection| {
        if let Err(missing) = check_exists(c, &TemplateName::base(role.clone()))? {
            return Ok(Err(missing));
        }
        database::templates::list_overrides(c, &role, after.as_ref(), limit).map(Ok)
    };
    let found: Vec<VersionRecord> = database.read(read).await??;
    let summary = |record: &VersionRecord| {
        let tenant = record.name.tenant.clone()?;
        Some(OverrideSummary { tenant, published: record.into() })
    };
    Ok(found.iter().filter_map(summary).collect())
}

/// The versions before this one (None: all), the newest first.
pub async fn history(
    database: &Database,
    name: &TemplateName,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<HistoryEntry>, NotDone> {
    let name = name.clone();
    let read = move |c: &mut DbConnection| {
        if let Err(missing) = check_exists(c, &name)? {
            return Ok(Err(missing));
        }
        database::templates::history(c, &name, before, limit).map(Ok)
    };
    let found: Vec<VersionRecord> = database.read(read).await??;
    Ok(found.iter().map(|record| HistoryEntry { version: record.into() }).collect())
}
