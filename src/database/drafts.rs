//! The drafts of templates: one at most for each role, and for each tenant's own version of it.

use crate::database::connection::{DbConnection, on_each};
use crate::database::log::raise_head;
use crate::database::schema::template_drafts;
use crate::database::templates::{name_of, tenant_of};
use crate::database::{DatabaseError, from_millis, from_position, to_millis, to_position};
use crate::domain::Time;
use crate::domain::ids::TenantId;
use crate::domain::template::version::{Conflict, Draft, TemplateName};
use diesel::prelude::*;

type Row = (String, String, i64, String, i64, String);

fn draft(
    (role, tenant, revision, source, saved_at, saved_by): Row,
) -> Result<Draft, DatabaseError> {
    Ok(Draft {
        name: name_of(&role, &tenant)?,
        revision: from_position(revision),
        source,
        saved_at: from_millis(saved_at)?,
        saved_by,
    })
}

pub fn find(c: &mut DbConnection, name: &TemplateName) -> Result<Option<Draft>, DatabaseError> {
    let key = (name.role.as_str(), tenant_of(name));
    let row: Option<Row> = template_drafts::table.find(key).first(c).optional()?;
    row.map(draft).transpose()
}

/// The drafts of base templates.
pub fn list_of_bases(c: &mut DbConnection) -> Result<Vec<Draft>, DatabaseError> {
    let bases = template_drafts::table.filter(template_drafts::tenant.eq(""));
    let rows: Vec<Row> = bases.load(c)?;
    rows.into_iter().map(draft).collect()
}

fn refused(c: &mut DbConnection, name: &TemplateName) -> Result<Conflict, DatabaseError> {
    Ok(Conflict::Draft(find(c, name)?.map(|draft| draft.revision)))
}

/// Writes a draft where there is none (`expected` None) or over that revision; its new revision.
pub fn save(
    c: &mut DbConnection,
    name: &TemplateName,
    source: &str,
    expected: Option<u64>,
    by: &str,
    at: Time,
) -> Result<Result<u64, Conflict>, DatabaseError> {
    let revision = raise_head(c, "drafts")?;
    let (role, tenant) = (name.role.as_str(), tenant_of(name));
    let content = (
        template_drafts::revision.eq(revision),
        template_drafts::source.eq(source),
        template_drafts::saved_at.eq(to_millis(at)),
        template_drafts::saved_by.eq(by),
    );
    let written = match expected {
        None => on_each!(c, c => diesel::insert_into(template_drafts::table)
            .values((template_drafts::role.eq(role), template_drafts::tenant.eq(tenant), content))
            .on_conflict_do_nothing()
            .execute(c))?,
        Some(expected) => {
            let former = template_drafts::table
                .find((role, tenant))
                .filter(template_drafts::revision.eq(to_position(expected)));
            diesel::update(former).set(content).execute(c)?
        }
    };
    Ok(if written == 1 { Ok(from_position(revision)) } else { Err(refused(c, name)?) })
}

/// Deletes this revision; another one stays.
pub fn delete(
    c: &mut DbConnection,
    name: &TemplateName,
    revision: u64,
) -> Result<Result<(), Conflict>, DatabaseError> {
    let this = template_drafts::table
        .find((name.role.as_str(), tenant_of(name)))
        .filter(template_drafts::revision.eq(to_position(revision)));
    let deleted = diesel::delete(this).execute(c)?;
    Ok(if deleted == 1 { Ok(()) } else { Err(refused(c, name)?) })
}

pub fn delete_of_tenant(c: &mut DbConnection, tenant: &TenantId) -> Result<(), DatabaseError> {
    let own = template_drafts::table.filter(template_drafts::tenant.eq(tenant.as_str()));
    diesel::delete(own).execute(c)?;
    Ok(())
}
