//! What there is: roles, versions, who changed what and why.

use crate::catalog::{STANDARD_VOCABULARY, parse_vocabulary};
use crate::database::{self, Database, DatabaseError, DbConnection};
use crate::domain::Time;
use crate::domain::ids::{Role, TenantId};
use crate::domain::permission::Vocabulary;
use crate::domain::template::diff::TemplateDiff;
use crate::domain::template::version::{
    TemplateName, TemplateVersion, VersionRecord, VersionState,
};
use crate::domain::template::{RoleTemplate, TemplateErrors};
use crate::service::templates::gate::aside;
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
    /// None: one of the two does not fit today's vocabulary.
    pub diff: Option<TemplateDiff>,
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
        // One more, for the last one to be compared with.
        let found = database::templates::history(c, &name, before, limit.saturating_add(1))?;
        Ok(Ok((found, Compiler::read(c, &name)?)))
    };
    let (found, compiler): (Vec<VersionRecord>, Compiler) = database.read(read).await??;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let compare = move || {
        let templates: Vec<_> = found.iter().map(|record| compiler.compile(record).ok()).collect();
        let entry = |(index, record): (usize, &VersionRecord)| {
            let new = templates.get(index).and_then(Option::as_ref);
            let diff = match (new, templates.get(index.saturating_add(1))) {
                (Some(new), Some(Some(old))) => Some(compiler.diff(Some(old), new)),
                (Some(new), None) => Some(compiler.diff(None, new)),
                _ => None,
            };
            HistoryEntry { version: record.into(), diff }
        };
        Ok(found.iter().enumerate().take(limit).map(entry).collect())
    };
    Ok(aside(compare).await?)
}

/// From the first to the second, in today's vocabulary. Both may be anybody's of the same role.
pub async fn diff(
    database: &Database,
    from: &TemplateVersion,
    to: &TemplateVersion,
) -> Result<TemplateDiff, NotDone> {
    let (old, new) = (from.clone(), to.clone());
    let read = move |c: &mut DbConnection| {
        let compiler = Compiler::read(c, &new.name)?;
        let old = match find(c, &old.name, Some(old.version))? {
            Ok(old) => old,
            Err(missing) => return Ok(Err(missing)),
        };
        Ok(find(c, &new.name, Some(new.version))?.map(|new| (old, new, compiler)))
    };
    let (old, new, compiler): (VersionRecord, VersionRecord, Compiler) =
        database.read(read).await??;
    let compile = |record: &VersionRecord| {
        let version = record.name.at(record.version);
        compiler.compile(record).map_err(|errors| NotDone::OutOfDate { version, errors })
    };
    Ok(compiler.diff(Some(&compile(&old)?), &compile(&new)?))
}

/// What it takes to compile versions of a role.
struct Compiler {
    vocabulary: Vocabulary,
    crosses_tenants: bool,
}

impl Compiler {
    fn read(c: &mut DbConnection, name: &TemplateName) -> Result<Self, DatabaseError> {
        let vocabulary = database::documents::find_vocabulary(c)?;
        let role = database::roles::find(c, &name.role)?;
        Ok(Self {
            vocabulary: parse_vocabulary(vocabulary.as_deref().unwrap_or(STANDARD_VOCABULARY))?,
            crosses_tenants: role.is_some_and(|role| role.crosses_tenants),
        })
    }

    fn compile(&self, record: &VersionRecord) -> Result<RoleTemplate, TemplateErrors> {
        let crosses_tenants = self.crosses_tenants && record.name.tenant.is_none();
        RoleTemplate::compile(&record.source, &self.vocabulary, crosses_tenants)
    }

    fn diff(&self, old: Option<&RoleTemplate>, new: &RoleTemplate) -> TemplateDiff {
        TemplateDiff::between(old, new, &self.vocabulary)
    }
}
