//! `/oauth2/revoke` (RFC 7009).

use crate::http::address::caller_of;
use crate::http::body::Body;
use crate::http::oauth::caller::{authenticate, read_form};
use crate::http::oauth::cors;
use crate::http::oauth::error::OAuthError;
use crate::http::parameters::Parameters;
use crate::service::Service;
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};

pub(in crate::http) async fn revoke_token(
    request: HttpRequest,
    body: Body,
    service: Data<Service>,
) -> HttpResponse {
    let parameters = match read_form(&request, body) {
        Ok(parameters) => parameters,
        Err(error) => return error.error_response(),
    };
    let mut response = match revoke(&service, &request, &parameters).await {
        Ok(()) => HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).finish(),
        Err(error) => error.error_response(),
    };
    cors::answer_form(&service, &request, &parameters, &mut response).await;
    response
}

async fn revoke(
    service: &Service,
    request: &HttpRequest,
    parameters: &Parameters,
) -> Result<(), OAuthError> {
    let client = authenticate(service, request, parameters).await?;
    let token = parameters.get("token").ok_or(OAuthError::bad_request("token is missing"))?;
    Ok(service.revoke_token(&client, token, caller_of(request)).await?)
}
