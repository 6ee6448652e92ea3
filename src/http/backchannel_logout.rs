//! `POST /login/backchannel-logout/{provider}`: a provider tells that somebody has signed out there.

use crate::domain::secret::Secret;
use crate::http::body::Body;
use crate::http::oauth::caller::read_form;
use crate::http::oauth::error::OAuthError;
use crate::service::Service;
use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};

/// Bytes of a body: a logout token is no longer.
pub(super) const LIMIT: usize = 16 * 1024;

pub(super) async fn hear_of_logout(
    request: HttpRequest,
    provider: Path<String>,
    body: Body,
    service: Data<Service>,
) -> HttpResponse {
    match hear(&request, &provider, body, &service).await {
        // §2.8: 200, and nothing that could be kept.
        Ok(()) => HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).finish(),
        Err(error) => error.error_response(),
    }
}

async fn hear(
    request: &HttpRequest,
    provider: &str,
    body: Body,
    service: &Service,
) -> Result<(), OAuthError> {
    let parameters = read_form(request, body)?;
    let token = parameters.owned("logout_token").map(Secret::new);
    let token = token.ok_or(OAuthError::bad_request("logout_token is missing"))?;
    Ok(service.hear_of_logout(provider, &token).await?)
}
