//! From a document to a version that counts, and back: review, publish, roll back, withdraw, recall.

use crate::domain::administration::Act;
use crate::domain::template::version::TemplateVersion;
use crate::http::api::admin::Admin;
use crate::http::api::answer;
use crate::http::api::candidate::Named;
use crate::http::api::json::read_json;
use crate::http::api::precondition::{expected, expected_number};
use crate::http::api::problem::Problem;
use crate::http::api::template_problem::shown_review;
use crate::http::body::Body;
use crate::service::templates::{Publication, Published, Recall, Withdrawal};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToReview {
    document: Option<Box<RawValue>>,
    draft: Option<u64>,
    version: Option<u64>,
}

/// What publishing would find. Nothing is saved.
pub(in crate::http) async fn review(
    admin: Admin,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let name = admin.template(Act::View)?;
    let ToReview { document, draft, version } = read_json(&request, body)?;
    let source = admin.source(&name, Named { document, draft, version }.content()?).await?;
    let review = admin.service.review_template(&name, &source).await?;
    Ok(answer::shown(shown_review(&admin.may_see(review))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToPublish {
    document: Option<Box<RawValue>>,
    draft: Option<u64>,
    reason: String,
    #[serde(default)]
    confirm_widening: bool,
}

pub(in crate::http) async fn publish(
    admin: Admin,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let name = admin.template(Act::Manage)?;
    let expected = expected(&request)?;
    let ToPublish { document, draft, reason, confirm_widening } = read_json(&request, body)?;
    let publication = Publication {
        content: Named { document, draft, version: None }.content()?,
        name,
        expected,
        widening_confirmed: confirm_widening,
        author: admin.author(reason),
    };
    let published = admin.service.publish_template(&publication).await;
    let published = published.map_err(|not| admin.not_done(not))?;
    Ok(made(&admin, published))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToRollBack {
    /// Whose document is published again.
    version: u64,
    reason: String,
    #[serde(default)]
    confirm_widening: bool,
}

pub(in crate::http) async fn roll_back(
    admin: Admin,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let name = admin.template(Act::Manage)?;
    let expected = expected(&request)?;
    let ToRollBack { version, reason, confirm_widening } = read_json(&request, body)?;
    let (to, author) = (name.at(version), admin.author(reason));
    let published =
        admin.service.roll_template_back(&to, expected, confirm_widening, &author).await;
    let published = published.map_err(|not| admin.not_done(not))?;
    Ok(made(&admin, published))
}

fn made(admin: &Admin, published: Published) -> HttpResponse {
    let Published { version, review, overrides, differing } = published;
    let body = json!({
        "version": version.version,
        "tpl": version,
        "review": shown_review(&admin.may_see(review)),
        "overrides": overrides,
        "differing": differing,
    });
    answer::created(version.version, location(&version), body)
}

/// Where a version is shown.
fn location(version: &TemplateVersion) -> String {
    let TemplateVersion { name, version } = version;
    let role = &name.role;
    match &name.tenant {
        None => format!("/api/v1/roles/{role}/template/versions/{version}"),
        Some(tenant) => {
            format!("/api/v1/roles/{role}/tenants/{tenant}/template/versions/{version}")
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToWithdraw {
    reason: String,
    #[serde(default)]
    confirm_widening: bool,
}

/// A tenant's own version is given up: the base counts there again.
pub(in crate::http) async fn withdraw(
    admin: Admin,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let name = admin.template(Act::Manage)?;
    let tenant = name.tenant.ok_or_else(Problem::not_found)?;
    let expected = expected_number(&request)?;
    let ToWithdraw { reason, confirm_widening } = read_json(&request, body)?;
    let withdrawal = Withdrawal {
        role: name.role,
        tenant,
        expected,
        widening_confirmed: confirm_widening,
        author: admin.author(reason),
    };
    let done = admin.service.withdraw_override(&withdrawal).await;
    done.map_err(|not| admin.not_done(not))?;
    Ok(answer::nothing())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToRecall {
    how: Recall,
    reason: String,
}

/// Takes back what a version made.
pub(in crate::http) async fn recall(
    admin: Admin,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let name = admin.template(Act::Manage)?;
    let version = name.at(admin.number("version")?);
    let ToRecall { how, reason } = read_json(&request, body)?;
    let author = admin.author(reason);
    let recalled = admin.service.recall_template(&version, how, &author).await?;
    Ok(answer::shown(json!({
        "version": recalled.version.version,
        "tpl": recalled.version,
        "how": how,
        "position": recalled.position,
    })))
}
