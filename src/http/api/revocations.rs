//! What is revoked by hand, and the log of all that was revoked.

use crate::domain::Time;
use crate::domain::administration::{Act, Area, Reach};
use crate::domain::ids::TenantId;
use crate::domain::revocation::{RecordedRevocation, RevocationTarget};
use crate::http::api::admin::Admin;
use crate::http::api::answer;
use crate::http::api::json::read_json;
use crate::http::api::page::{Page, parameter, query};
use crate::http::api::problem::Problem;
use crate::http::body::Body;
use crate::service::revocations::Order;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    target: String,
    value: String,
    tenant: Option<TenantId>,
    reason: String,
}

pub(in crate::http) async fn revoke(
    admin: Admin,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let scope = admin.scope(Area::Sessions, Act::Manage, None)?;
    let Wanted { target, value, tenant, reason } = read_json(&request, body)?;
    let tenant = match tenant {
        // SECURITY: a tenant's administrator ends what is her tenant's, whatever she names.
        Some(tenant) => admin.scope(Area::Sessions, Act::Manage, Some(tenant))?,
        None => scope,
    };
    let target = RevocationTarget::parse(&target, &value, admin.service.now())?;
    if let RevocationTarget::Tenant(named) = &target {
        admin.permit_in(Area::Sessions, Act::Manage, Reach::Tenant(named))?;
    }
    let order = Order { target, tenant, author: admin.author(reason) };
    let position = admin.service.revoke(&order).await?;
    Ok(answer::recorded(json!({
        "position": position,
        "target": order.target.kind(),
        "value": order.target.value(),
        "tenant": order.tenant,
    })))
}

/// An entry of the log, as people read it.
#[derive(Serialize)]
pub(super) struct RevocationView<'a> {
    position: u64,
    target: &'static str,
    value: String,
    tenant: Option<&'a TenantId>,
    at: Time,
    /// From then on it can hit nothing.
    expires_at: Time,
    by: Option<&'a str>,
    reason: &'a str,
}

impl<'a> From<&'a RecordedRevocation> for RevocationView<'a> {
    fn from(entry: &'a RecordedRevocation) -> Self {
        Self {
            position: entry.position,
            target: entry.target.kind(),
            value: entry.target.value(),
            tenant: entry.tenant.as_ref(),
            at: entry.at,
            expires_at: entry.expires_at,
            by: entry.by.as_deref(),
            reason: &entry.reason,
        }
    }
}

pub(in crate::http) async fn list_revocations(
    admin: Admin,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    admin.scope(Area::Sessions, Act::View, None)?;
    let page: Page<u64> = Page::of(&request, "before", "a position of the log")?;
    let wanted = parameter(&query(&request)?, "tenant", "a tenant's id")?;
    let tenant = admin.scope(Area::Sessions, Act::View, wanted)?;
    let found = admin.service.list_revocations(tenant.as_ref(), page.from, page.limit).await?;
    let next = page.next(&found, found.last().map(|last| last.position));
    let revocations: Vec<RevocationView<'_>> = found.iter().map(RevocationView::from).collect();
    Ok(answer::shown(json!({ "revocations": revocations, "next": next })))
}
