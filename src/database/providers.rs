//! The external providers, and the two ways that lead a person to one.

use crate::database::connection::{DbConnection, on_each};
use crate::database::schema::{provider_domains, provider_tenants, providers};
use crate::database::{DatabaseError, from_json, to_json};
use crate::domain::ids::{ProviderId, TenantId};
use crate::domain::provider::Provider;
use diesel::prelude::*;

pub fn find(c: &mut DbConnection, id: &ProviderId) -> Result<Option<Provider>, DatabaseError> {
    let row = providers::table.find(id.as_str()).select(providers::document);
    let document: Option<String> = row.first(c).optional()?;
    document.map(|document| from_json("provider", &document)).transpose()
}

pub fn list(c: &mut DbConnection) -> Result<Vec<Provider>, DatabaseError> {
    let documents: Vec<String> =
        providers::table.order(providers::id).select(providers::document).load(c)?;
    documents.iter().map(|document| from_json("provider", document)).collect()
}

/// The providers that may yield a tenant, in a stable order.
pub fn find_by_tenant(
    c: &mut DbConnection,
    tenant: &TenantId,
) -> Result<Vec<ProviderId>, DatabaseError> {
    let ids: Vec<String> = provider_tenants::table
        .filter(provider_tenants::tenant_id.eq(tenant.as_str()))
        .order(provider_tenants::provider_id)
        .select(provider_tenants::provider_id)
        .load(c)?;
    ids.iter().map(|id| id.parse().map_err(|_| DatabaseError::Corrupt("provider id"))).collect()
}

/// The one provider that an e-mail domain belongs to.
pub fn find_by_domain(
    c: &mut DbConnection,
    domain: &str,
) -> Result<Option<ProviderId>, DatabaseError> {
    let row = provider_domains::table.find(domain).select(provider_domains::provider_id);
    let id: Option<String> = row.first(c).optional()?;
    id.map(|id| id.parse().map_err(|_| DatabaseError::Corrupt("provider id"))).transpose()
}

/// Inserts or replaces. A domain that belongs to another entry is a unique violation.
pub fn put(c: &mut DbConnection, provider: &Provider) -> Result<(), DatabaseError> {
    let id = provider.id.as_str();
    let document = to_json(provider)?;
    on_each!(c, c => diesel::insert_into(providers::table)
        .values((providers::id.eq(id), providers::document.eq(&document)))
        .on_conflict(providers::id)
        .do_update()
        .set(providers::document.eq(&document))
        .execute(c))?;
    diesel::delete(provider_tenants::table.filter(provider_tenants::provider_id.eq(id)))
        .execute(c)?;
    for tenant in provider.tenants() {
        let row =
            (provider_tenants::provider_id.eq(id), provider_tenants::tenant_id.eq(tenant.as_str()));
        diesel::insert_into(provider_tenants::table).values(row).execute(c)?;
    }
    diesel::delete(provider_domains::table.filter(provider_domains::provider_id.eq(id)))
        .execute(c)?;
    for domain in provider.domains() {
        let row = (provider_domains::domain.eq(domain), provider_domains::provider_id.eq(id));
        diesel::insert_into(provider_domains::table).values(row).execute(c)?;
    }
    Ok(())
}

pub fn delete(c: &mut DbConnection, id: &ProviderId) -> Result<(), DatabaseError> {
    diesel::delete(providers::table.find(id.as_str())).execute(c)?;
    Ok(())
}
