//! What the administration answers: JSON that is not stored, with the entity tag of what it shows.

use crate::http::api::precondition::etag;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;

fn begin(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    response
}

pub(super) fn shown(body: impl Serialize) -> HttpResponse {
    begin(StatusCode::OK).json(body)
}

/// With the entity tag that a change of it has to name.
pub(super) fn tagged(number: u64, body: impl Serialize) -> HttpResponse {
    begin(StatusCode::OK).insert_header((header::ETAG, etag(number))).json(body)
}

/// Something that was not there before, at `location`.
pub(super) fn created(number: u64, location: String, body: impl Serialize) -> HttpResponse {
    begin(StatusCode::CREATED)
        .insert_header((header::ETAG, etag(number)))
        .insert_header((header::LOCATION, location))
        .json(body)
}

/// An entry that was written, and that no address names.
pub(super) fn recorded(body: impl Serialize) -> HttpResponse {
    begin(StatusCode::CREATED).json(body)
}

pub(super) fn nothing() -> HttpResponse {
    begin(StatusCode::NO_CONTENT).finish()
}
