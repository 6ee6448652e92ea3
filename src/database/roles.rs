//! Roles and the versions of their templates. A version never changes once it is written.

use crate::database::connection::{DbConnection, on_each};
use crate::database::schema::{roles, template_versions};
use crate::database::{DatabaseError, from_position, to_millis};
use crate::domain::Time;
use crate::domain::ids::Role;
use diesel::dsl::max;
use diesel::prelude::*;

const PUBLISHED: &str = "published";
const SUPERSEDED: &str = "superseded";

/// A role with the version of its template that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedRole {
    pub role: Role,
    pub crosses_tenants: bool,
    pub version: u64,
    pub source: String,
}

type Row = (String, bool, i64, String);

fn published(
    (role, crosses_tenants, version, source): Row,
) -> Result<PublishedRole, DatabaseError> {
    let role = role.parse().map_err(|_| DatabaseError::Corrupt("role"))?;
    Ok(PublishedRole { role, crosses_tenants, version: from_position(version), source })
}

pub fn find_published(
    c: &mut DbConnection,
    role: &Role,
) -> Result<Option<PublishedRole>, DatabaseError> {
    let row: Option<Row> = roles::table
        .inner_join(template_versions::table)
        .filter(roles::role.eq(role.as_str()))
        .filter(template_versions::state.eq(PUBLISHED))
        .select((
            roles::role,
            roles::crosses_tenants,
            template_versions::version,
            template_versions::source,
        ))
        .first(c)
        .optional()?;
    row.map(published).transpose()
}

pub fn list_published(c: &mut DbConnection) -> Result<Vec<PublishedRole>, DatabaseError> {
    let rows: Vec<Row> = roles::table
        .inner_join(template_versions::table)
        .filter(template_versions::state.eq(PUBLISHED))
        .order(roles::role)
        .select((
            roles::role,
            roles::crosses_tenants,
            template_versions::version,
            template_versions::source,
        ))
        .load(c)?;
    rows.into_iter().map(published).collect()
}

/// Who publishes, and why.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    pub by: &'a str,
    pub reason: &'a str,
    pub at: Time,
}

/// Writes the next version and makes it the one that counts.
pub fn publish(
    c: &mut DbConnection,
    role: &Role,
    crosses_tenants: bool,
    source: &str,
    publication: &Publication<'_>,
) -> Result<u64, DatabaseError> {
    let name = role.as_str();
    on_each!(c, c => diesel::insert_into(roles::table)
        .values((roles::role.eq(name), roles::crosses_tenants.eq(crosses_tenants)))
        .on_conflict(roles::role)
        .do_update()
        .set(roles::crosses_tenants.eq(crosses_tenants))
        .execute(c))?;
    let last: Option<i64> = template_versions::table
        .filter(template_versions::role.eq(name))
        .select(max(template_versions::version))
        .first(c)?;
    let version = last.unwrap_or(0).saturating_add(1);
    diesel::update(
        template_versions::table
            .filter(template_versions::role.eq(name))
            .filter(template_versions::state.eq(PUBLISHED)),
    )
    .set(template_versions::state.eq(SUPERSEDED))
    .execute(c)?;
    diesel::insert_into(template_versions::table)
        .values((
            template_versions::role.eq(name),
            template_versions::version.eq(version),
            template_versions::state.eq(PUBLISHED),
            template_versions::source.eq(source),
            template_versions::created_at.eq(to_millis(publication.at)),
            template_versions::created_by.eq(publication.by),
            template_versions::reason.eq(publication.reason),
        ))
        .execute(c)?;
    Ok(from_position(version))
}

pub fn delete(c: &mut DbConnection, role: &Role) -> Result<(), DatabaseError> {
    diesel::delete(roles::table.find(role.as_str())).execute(c)?;
    Ok(())
}
