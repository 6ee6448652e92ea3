//! How a page leaves the server: the headers that every page carries, and the template engine.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header;
use data_encoding::BASE64;
use handlebars::Handlebars;
use sha2::{Digest as _, Sha256};

/// A template engine for pages: HTML escaping on, and a missing value is an error.
pub(crate) fn engine() -> Handlebars<'static> {
    let mut engine = Handlebars::new();
    engine.register_escape_fn(handlebars::html_escape);
    engine.set_strict_mode(true);
    engine
}

/// The `style-src` source that allows this inline stylesheet and no other.
pub(crate) fn style_source(style: &str) -> String {
    format!("'sha256-{}'", BASE64.encode(&Sha256::digest(style)))
}

/// A page. `sources` is what the content security policy allows beside nothing at all.
///
/// SECURITY: `no-referrer` keeps codes and states in an address out of other sites' logs. It also
/// makes browsers send `Origin: null` with a form, so a form's handler cannot ask for our origin.
pub(crate) fn page(status: StatusCode, sources: &str, html: String) -> HttpResponse {
    let policy = format!("default-src 'none'; {sources}; frame-ancestors 'none'; base-uri 'none'");
    HttpResponse::build(status)
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((header::CONTENT_SECURITY_POLICY, policy))
        .insert_header((header::X_FRAME_OPTIONS, "DENY"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(html)
}

/// What is left to say when a page cannot be rendered.
pub(crate) fn unrendered(error: &handlebars::RenderError) -> HttpResponse {
    tracing::error!(%error, "a page could not be rendered");
    let body = "This page could not be shown. Go back and try again.".to_owned();
    page(StatusCode::INTERNAL_SERVER_ERROR, "form-action 'none'", body)
}
