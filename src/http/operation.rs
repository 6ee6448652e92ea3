//! For whoever operates the server.

use crate::service::{Report, Service};
use actix_web::http::header;
use actix_web::{HttpResponse, web::Data};
use serde_json::json;

/// The process answers.
pub(super) async fn show_health() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({ "status": "ok" }))
}

/// The process can do its work: database and token store answer.
pub(super) async fn show_readiness(service: Data<Service>) -> HttpResponse {
    match service.check_ready().await {
        Ok(()) => show_health().await,
        Err(error) => {
            tracing::warn!(error = %Report(&error), "not ready");
            HttpResponse::ServiceUnavailable()
                .insert_header((header::CACHE_CONTROL, "no-store"))
                .insert_header((header::RETRY_AFTER, "1"))
                .json(json!({ "status": "unavailable" }))
        }
    }
}
