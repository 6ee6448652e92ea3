//! The vocabulary in force, for resource servers that decide by themselves what a permission allows.

use crate::http::api::precondition::is_current;
use crate::http::api::problem::Problem;
use crate::http::api::resource_server::Reader;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest as _, Sha256};

/// To be asked about again and again, and to be kept by nobody on the way.
const CACHE_CONTROL: &str = "private, no-cache";

pub(in crate::http) async fn show_resource_types(
    reader: Reader,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let text = reader.service.resource_types(&reader.server);
    let etag = format!("\"{}\"", BASE64URL_NOPAD.encode(&Sha256::digest(&text)));
    let unchanged = is_current(&request, &etag);
    let mut response = if unchanged { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::CACHE_CONTROL, CACHE_CONTROL))
        .insert_header((header::ETAG, etag));
    if unchanged {
        return Ok(response.finish());
    }
    Ok(response.content_type(header::ContentType::json()).body(text))
}
