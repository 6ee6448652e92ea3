//! `/oauth2/userinfo` (OpenID Connect Core §5.3), guarded as RFC 6750 says.

use crate::http::bearer::bearer;
use crate::http::oauth::cors;
use crate::http::oauth::error::OAuthError;
use crate::service::Service;
use crate::service::userinfo::{NotInformed, UserInfo};
use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use serde::Serialize;
use serde_json::{Map, Value, json};

#[derive(Serialize)]
struct Answer<'a> {
    sub: &'a str,
    tenant: &'a str,
    #[serde(flatten)]
    claims: &'a Map<String, Value>,
}

pub(in crate::http) async fn show_user_info(
    request: HttpRequest,
    service: Data<Service>,
) -> HttpResponse {
    let Some(token) = bearer(&request) else {
        // RFC 6750 §3.1: who shows no token is told no error code.
        return challenge(StatusCode::UNAUTHORIZED, "Bearer realm=\"rolemint\"", None);
    };
    match service.user_info(token).await {
        Ok(info) => {
            let UserInfo { sub, tenant, claims, client } = &info;
            let answer = Answer { sub: sub.as_str(), tenant: tenant.as_str(), claims };
            let mut response =
                HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer);
            cors::answer_client(&service, &request, client.as_str(), &mut response).await;
            response
        }
        Err(NotInformed::InvalidToken) => challenge(
            StatusCode::UNAUTHORIZED,
            "Bearer realm=\"rolemint\", error=\"invalid_token\"",
            Some("invalid_token"),
        ),
        Err(NotInformed::InsufficientScope) => challenge(
            StatusCode::FORBIDDEN,
            "Bearer realm=\"rolemint\", error=\"insufficient_scope\", scope=\"openid\"",
            Some("insufficient_scope"),
        ),
        Err(NotInformed::Unavailable(cause)) => OAuthError::from(cause).error_response(),
    }
}

fn challenge(status: StatusCode, challenge: &'static str, error: Option<&str>) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    response
        .insert_header((header::WWW_AUTHENTICATE, challenge))
        .insert_header((header::CACHE_CONTROL, "no-store"));
    match error {
        Some(error) => response.json(json!({ "error": error })),
        None => response.finish(),
    }
}
