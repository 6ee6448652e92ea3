//! `/oauth2/authorize` (RFC 6749 §3.1, OpenID Connect Core §3.1.2.1).

use crate::domain::authorization::RawAuthorization;
use crate::http::Edge;
use crate::http::body::Body;
use crate::http::login::{give_up, go_on};
use crate::http::oauth::caller::read_form;
use crate::http::pages::Pages;
use crate::http::parameters::Parameters;
use crate::service::Service;
use crate::service::authorize::{NotAuthorized, Unanswerable};
use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

/// A longer query is no authorization request.
const QUERY_LIMIT: usize = 32 * 1024;

pub(in crate::http) async fn begin_by_get(
    request: HttpRequest,
    service: Data<Service>,
    pages: Data<Pages>,
    edge: Data<Edge>,
) -> HttpResponse {
    let query = request.query_string();
    match Parameters::parse(query.as_bytes()) {
        Ok(parameters) if query.len() <= QUERY_LIMIT => {
            begin(&service, &pages, **edge, &parameters).await
        }
        _ => malformed(&pages),
    }
}

pub(in crate::http) async fn begin_by_post(
    request: HttpRequest,
    body: Body,
    service: Data<Service>,
    pages: Data<Pages>,
    edge: Data<Edge>,
) -> HttpResponse {
    match read_form(&request, body) {
        Ok(parameters) => begin(&service, &pages, **edge, &parameters).await,
        Err(_) => malformed(&pages),
    }
}

fn malformed(pages: &Pages) -> HttpResponse {
    pages.error(
        StatusCode::BAD_REQUEST,
        "This application is not set up correctly",
        "Its request to sign you in is malformed. Tell the people who run it.",
    )
}

async fn begin(
    service: &Service,
    pages: &Pages,
    edge: Edge,
    parameters: &Parameters,
) -> HttpResponse {
    // SECURITY: which of two redirect URIs was meant is nobody's guess.
    let unclear = |name: &str| parameters.all(name).len() > 1;
    if unclear("client_id") || unclear("redirect_uri") {
        let which =
            if unclear("client_id") { Unanswerable::Client } else { Unanswerable::RedirectUri };
        return give_up(service, pages, &NotAuthorized::Unanswerable(which));
    }
    let raw = RawAuthorization {
        response_type: parameters.owned("response_type"),
        response_mode: parameters.owned("response_mode"),
        scope: parameters.owned("scope"),
        state: if unclear("state") { None } else { parameters.owned("state") },
        nonce: parameters.owned("nonce"),
        code_challenge: parameters.owned("code_challenge"),
        code_challenge_method: parameters.owned("code_challenge_method"),
        audience: parameters.audiences(),
        authorization_details: parameters.owned("authorization_details"),
        tenant: parameters.owned("tenant"),
        login_hint: parameters.owned("login_hint"),
        prompt: parameters.owned("prompt"),
        max_age: parameters.owned("max_age"),
        repeated: parameters.repeated().is_some(),
        request: parameters.get("request").is_some(),
        request_uri: parameters.get("request_uri").is_some(),
        registration: parameters.get("registration").is_some(),
    };
    let (client, redirect_uri) = (parameters.get("client_id"), parameters.get("redirect_uri"));
    match service.authorize(client, redirect_uri, &raw).await {
        Ok(begun) => go_on(edge, pages, &begun),
        Err(error) => give_up(service, pages, &error),
    }
}
