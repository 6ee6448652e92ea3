//! The roles, and what stands beside their templates: whether they cross tenants, and their ceiling.

use crate::database::connection::{DbConnection, on_each};
use crate::database::schema::roles;
use crate::database::{DatabaseError, from_millis, to_millis};
use crate::domain::Time;
use crate::domain::ids::Role;
use diesel::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRole {
    pub role: Role,
    pub crosses_tenants: bool,
    /// The template of the most that a tenant's own version may grant. None: there are no overrides.
    pub ceiling: Option<String>,
    /// Since when there has been a ceiling.
    pub ceiling_since: Option<Time>,
}

type Row = (String, bool, Option<String>, Option<i64>);

const COLUMNS: (roles::role, roles::crosses_tenants, roles::ceiling, roles::ceiling_since) =
    (roles::role, roles::crosses_tenants, roles::ceiling, roles::ceiling_since);

fn stored((role, crosses_tenants, ceiling, since): Row) -> Result<StoredRole, DatabaseError> {
    let role = role.parse().map_err(|_| DatabaseError::Corrupt("role"))?;
    let ceiling_since = since.map(from_millis).transpose()?;
    Ok(StoredRole { role, crosses_tenants, ceiling, ceiling_since })
}

pub fn find(c: &mut DbConnection, role: &Role) -> Result<Option<StoredRole>, DatabaseError> {
    let row: Option<Row> = roles::table.find(role.as_str()).select(COLUMNS).first(c).optional()?;
    row.map(stored).transpose()
}

pub fn list(c: &mut DbConnection) -> Result<Vec<StoredRole>, DatabaseError> {
    let rows: Vec<Row> = roles::table.order(roles::role).select(COLUMNS).load(c)?;
    rows.into_iter().map(stored).collect()
}

/// Inserts or replaces.
pub fn put(
    c: &mut DbConnection,
    role: &Role,
    crosses_tenants: bool,
    ceiling: Option<&str>,
    at: Time,
) -> Result<(), DatabaseError> {
    let former = find(c, role)?.and_then(|former| former.ceiling_since);
    let since = ceiling.map(|_| to_millis(former.unwrap_or(at)));
    let content = (
        roles::crosses_tenants.eq(crosses_tenants),
        roles::ceiling.eq(ceiling),
        roles::ceiling_since.eq(since),
    );
    on_each!(c, c => diesel::insert_into(roles::table)
        .values((roles::role.eq(role.as_str()), content))
        .on_conflict(roles::role)
        .do_update()
        .set(content)
        .execute(c))?;
    Ok(())
}

/// With all versions of its template, the tenants' own included.
pub fn delete(c: &mut DbConnection, role: &Role) -> Result<(), DatabaseError> {
    diesel::delete(roles::table.find(role.as_str())).execute(c)?;
    Ok(())
}
