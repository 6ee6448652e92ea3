//! Browser pages of declared origins may read the answers of token, userinfo and revoke; never of authorize.

use crate::http::oauth::caller::claimed_client;
use crate::http::parameters::Parameters;
use crate::service::Service;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

fn origin(request: &HttpRequest) -> Option<&HeaderValue> {
    request.headers().get(header::ORIGIN)
}

fn allow(response: &mut HttpResponse, origin: &HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

/// For the answer to a client that is known by name.
pub(super) async fn answer_client(
    service: &Service,
    request: &HttpRequest,
    client: &str,
    response: &mut HttpResponse,
) {
    let Some(origin) = origin(request) else { return };
    let Ok(text) = origin.to_str() else { return };
    // An error here leaves the answer unreadable for the page: closed, and no other harm.
    if service.allows_origin(client, text).await.unwrap_or(false) {
        allow(response, origin);
    }
}

/// For the answer to a form.
pub(super) async fn answer_form(
    service: &Service,
    request: &HttpRequest,
    parameters: &Parameters,
    response: &mut HttpResponse,
) {
    if let Some(client) = claimed_client(request, parameters) {
        answer_client(service, request, &client, response).await;
    }
}

/// `OPTIONS`: may a page of this origin ask at all? Which client it is cannot be known yet.
pub(in crate::http) async fn answer_preflight(
    request: HttpRequest,
    service: Data<Service>,
) -> HttpResponse {
    let mut response = HttpResponse::NoContent().finish();
    let Some(origin) = origin(&request) else { return response };
    let Ok(text) = origin.to_str() else { return response };
    if service.knows_origin(text).await.unwrap_or(false) {
        allow(&mut response, origin);
        let headers = response.headers_mut();
        let fixed = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
            (header::ACCESS_CONTROL_MAX_AGE, "600"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}
