//! The draft of a template's next version.

use crate::domain::administration::Act;
use crate::http::api::admin::Admin;
use crate::http::api::answer;
use crate::http::api::json::read_text;
use crate::http::api::precondition::{expected, expected_number};
use crate::http::api::problem::Problem;
use crate::http::api::view::DraftView;
use crate::http::body::Body;
use crate::service::templates::NotDone;
use actix_web::{HttpRequest, HttpResponse};

pub(in crate::http) async fn show_draft(admin: Admin) -> Result<HttpResponse, Problem> {
    let name = admin.template(Act::View)?;
    let found = admin.service.find_draft(&name).await?;
    let draft = found.ok_or_else(|| NotDone::NoDraft(name))?;
    Ok(answer::tagged(draft.revision, DraftView::from(&draft)))
}

/// The body is the document, which may still have mistakes, of JSON too.
pub(in crate::http) async fn save_draft(
    admin: Admin,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let name = admin.template(Act::Manage)?;
    let expected = expected(&request)?;
    let source = read_text(&request, body)?;
    let author = admin.author(String::new());
    let draft = admin.service.save_draft(&name, &source, expected, &author).await?;
    let view = DraftView::from(&draft);
    Ok(match expected {
        Some(_) => answer::tagged(draft.revision, view),
        None => answer::created(draft.revision, request.path().to_owned(), view),
    })
}

pub(in crate::http) async fn delete_draft(
    admin: Admin,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let name = admin.template(Act::Manage)?;
    let revision = expected_number(&request)?;
    let author = admin.author(String::new());
    admin.service.delete_draft(&name, revision, &author).await?;
    Ok(answer::nothing())
}
