//! The tenants, as documents.

use crate::database::connection::{DbConnection, on_each};
use crate::database::schema::tenants;
use crate::database::{DatabaseError, from_json, to_json};
use crate::domain::ids::TenantId;
use crate::domain::tenant::Tenant;
use diesel::prelude::*;

pub fn find(c: &mut DbConnection, id: &TenantId) -> Result<Option<Tenant>, DatabaseError> {
    let row = tenants::table.find(id.as_str()).select(tenants::document);
    let document: Option<String> = row.first(c).optional()?;
    document.map(|document| from_json("tenant", &document)).transpose()
}

pub fn list(c: &mut DbConnection) -> Result<Vec<Tenant>, DatabaseError> {
    let documents: Vec<String> =
        tenants::table.order(tenants::id).select(tenants::document).load(c)?;
    documents.iter().map(|document| from_json("tenant", document)).collect()
}

/// Inserts or replaces.
pub fn put(c: &mut DbConnection, tenant: &Tenant) -> Result<(), DatabaseError> {
    let document = to_json(tenant)?;
    on_each!(c, c => diesel::insert_into(tenants::table)
        .values((tenants::id.eq(tenant.id.as_str()), tenants::document.eq(&document)))
        .on_conflict(tenants::id)
        .do_update()
        .set(tenants::document.eq(&document))
        .execute(c))?;
    Ok(())
}

pub fn delete(c: &mut DbConnection, id: &TenantId) -> Result<(), DatabaseError> {
    diesel::delete(tenants::table.find(id.as_str())).execute(c)?;
    Ok(())
}
