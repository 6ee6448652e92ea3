//! What anybody may know: metadata (RFC 8414, OpenID Connect Discovery) and public keys (RFC 7517).

use crate::service::Service;
use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;

/// A verifier may keep the keys for so long; a new key is published longer than that before it signs.
const MAX_AGE: &str = "public, max-age=300";

pub(in crate::http) async fn show_metadata(service: Data<Service>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, MAX_AGE))
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .json(service.metadata())
}

pub(in crate::http) async fn show_jwks(service: Data<Service>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, MAX_AGE))
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .content_type("application/jwk-set+json")
        .body(service.jwks().to_owned())
}
