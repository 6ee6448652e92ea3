//! The roles there are, and the tenants that have their own versions.

use crate::domain::administration::Act;
use crate::domain::ids::TenantId;
use crate::domain::template::diff::TemplateDiff;
use crate::domain::template::version::{TemplateName, VersionRecord};
use crate::http::api::admin::Admin;
use crate::http::api::answer;
use crate::http::api::page::Page;
use crate::http::api::problem::Problem;
use crate::http::api::view::VersionView;
use crate::service::templates::{NotDone, RoleSummary, VersionSummary};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

pub(in crate::http) async fn list_roles(admin: Admin) -> Result<HttpResponse, Problem> {
    admin.permit_all(Act::View)?;
    let roles = admin.service.list_roles().await?;
    let roles: Vec<Value> = roles.iter().map(summary).collect();
    Ok(answer::shown(json!({ "roles": roles })))
}

fn summary(role: &RoleSummary) -> Value {
    json!({
        "role": role.role,
        "crosses_tenants": role.crosses_tenants,
        "overridable": role.overridable,
        "published": role.published.as_ref().map(VersionView::from),
        "draft": role.draft,
        "overrides": role.overrides,
    })
}

pub(in crate::http) async fn show_role(admin: Admin) -> Result<HttpResponse, Problem> {
    let role = admin.role(Act::View)?;
    let detail = admin.service.show_role(&role).await?;
    let all = admin.service.list_roles().await?;
    let mut shown = all.iter().find(|other| other.role == role).map_or(Value::Null, summary);
    if let Value::Object(shown) = &mut shown {
        shown.insert("ceiling".to_owned(), json!(detail.ceiling));
    }
    Ok(answer::shown(shown))
}

/// The tenants with their own version of a role, and how each differs from the base.
pub(in crate::http) async fn list_overrides(
    admin: Admin,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let role = admin.role(Act::View)?;
    let page: Page<TenantId> = Page::of(&request, "after", "a tenant's id")?;
    let found = admin.service.list_overrides(&role, page.from.as_ref(), page.limit).await?;
    let base = published(&admin, &TemplateName::base(role)).await?;
    let mut overrides = Vec::with_capacity(found.len());
    for own in &found {
        let diff = from_base(&admin, base.as_ref(), Some(&own.published)).await?;
        overrides.push(json!({
            "tenant": own.tenant,
            "published": VersionView::from(&own.published),
            "diff": diff,
        }));
    }
    let next = page.next(&found, found.last().map(|last| &last.tenant));
    Ok(answer::shown(json!({ "overrides": overrides, "next": next })))
}

/// What the roles are for one tenant.
pub(in crate::http) async fn list_roles_of_tenant(admin: Admin) -> Result<HttpResponse, Problem> {
    let tenant = admin.tenant(Act::View)?;
    let mut roles = Vec::new();
    // SECURITY: what crosses tenants is the platform's.
    for role in admin.service.list_roles().await?.into_iter().filter(|role| !role.crosses_tenants) {
        let name = TemplateName { role: role.role.clone(), tenant: Some(tenant.clone()) };
        let own = published(&admin, &name).await?;
        roles.push(json!({
            "role": role.role,
            "overridable": role.overridable,
            "published": own.as_ref().map(without_source),
        }));
    }
    Ok(answer::shown(json!({ "tenant": tenant, "roles": roles })))
}

/// What a tenant needs to know of a role to have its own version: the base and the ceiling, too.
pub(in crate::http) async fn show_role_of_tenant(admin: Admin) -> Result<HttpResponse, Problem> {
    let name = admin.template(Act::View)?;
    let own = published(&admin, &name).await?;
    let draft = admin.service.find_draft(&name).await?;
    let detail = admin.service.show_role(&name.role).await?;
    let overridable = detail.ceiling.is_some() && !detail.crosses_tenants;
    // SECURITY: the base of a role that is none of the tenant's to change is the platform's.
    let base = if overridable {
        published(&admin, &TemplateName::base(name.role.clone())).await?
    } else {
        None
    };
    let summary = own.as_ref().map(VersionSummary::from);
    let diff = from_base(&admin, base.as_ref(), summary.as_ref()).await?;
    Ok(answer::shown(json!({
        "role": name.role,
        "tenant": name.tenant,
        "overridable": overridable,
        "ceiling": detail.ceiling.filter(|_| overridable),
        "base": base.as_ref().map(VersionView::from),
        "published": own.as_ref().map(without_source),
        "draft": draft.map(|draft| draft.revision),
        "diff": diff,
    })))
}

fn without_source(record: &VersionRecord) -> Value {
    json!(VersionView::from(&VersionSummary::from(record)))
}

/// None: there is none.
async fn published(admin: &Admin, name: &TemplateName) -> Result<Option<VersionRecord>, Problem> {
    match admin.service.show_template(name, None).await {
        Ok(found) => Ok(Some(found)),
        Err(NotDone::NotPublished(_)) => Ok(None),
        Err(not) => Err(not.into()),
    }
}

/// From the base to the tenant's own. None: one of them is not there, or does not fit today's vocabulary.
async fn from_base(
    admin: &Admin,
    base: Option<&VersionRecord>,
    own: Option<&VersionSummary>,
) -> Result<Option<TemplateDiff>, Problem> {
    let (Some(base), Some(own)) = (base, own) else { return Ok(None) };
    let base = base.name.at(base.version);
    match admin.service.template_diff(&base, &own.version).await {
        Ok(diff) => Ok(Some(diff)),
        Err(NotDone::OutOfDate { .. }) => Ok(None),
        Err(not) => Err(not.into()),
    }
}
