//! What was published of a template, by whom, why, and what it changed.

use crate::domain::administration::Act;
use crate::http::api::admin::Admin;
use crate::http::api::answer;
use crate::http::api::page::{Page, parameter, query};
use crate::http::api::problem::Problem;
use crate::http::api::view::VersionView;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

/// The version that counts. Its entity tag is what publishing has to name.
pub(in crate::http) async fn show_published(admin: Admin) -> Result<HttpResponse, Problem> {
    let name = admin.template(Act::View)?;
    let found = admin.service.show_template(&name, None).await?;
    Ok(answer::tagged(found.version, VersionView::from(&found)))
}

pub(in crate::http) async fn show_version(admin: Admin) -> Result<HttpResponse, Problem> {
    let name = admin.template(Act::View)?;
    let found = admin.service.show_template(&name, Some(admin.number("version")?)).await?;
    Ok(answer::shown(VersionView::from(&found)))
}

/// The newest first.
pub(in crate::http) async fn list_versions(
    admin: Admin,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let name = admin.template(Act::View)?;
    let page: Page<u64> = Page::of(&request, "before", "the number of a version")?;
    let found = admin.service.template_history(&name, page.from, page.limit).await?;
    let versions = found.iter().map(|entry| {
        let mut shown = json!(VersionView::from(&entry.version));
        if let Value::Object(shown) = &mut shown {
            shown.insert("diff".to_owned(), json!(entry.diff));
        }
        shown
    });
    let versions: Vec<Value> = versions.collect();
    let next = page.next(&found, found.last().map(|last| last.version.version.version));
    Ok(answer::shown(json!({ "versions": versions, "next": next })))
}

/// What changes from one version to another.
pub(in crate::http) async fn show_diff(
    admin: Admin,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let name = admin.template(Act::View)?;
    let parameters = query(&request)?;
    let number = |parameter_name: &str| {
        let missing = || {
            let detail = format!("give the parameter `{parameter_name}`, the number of a version");
            Problem::invalid(detail)
        };
        let found: Option<u64> = parameter(&parameters, parameter_name, "the number of a version")?;
        found.ok_or_else(missing)
    };
    let (from, to) = (name.at(number("from")?), name.at(number("to")?));
    let diff = admin.service.template_diff(&from, &to).await?;
    Ok(answer::shown(json!({ "from": from, "to": to, "widens": diff.widens(), "diff": diff })))
}
