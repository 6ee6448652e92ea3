//! `/oauth2/introspect` (RFC 7662).

use crate::domain::session::Session;
use crate::domain::token::AccessClaims;
use crate::http::body::Body;
use crate::http::oauth::caller::{authenticate, read_form};
use crate::http::oauth::error::OAuthError;
use crate::service::Service;
use crate::service::introspection::Introspection;
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::json;

#[derive(Serialize)]
struct ActiveAccessToken<'a> {
    active: bool,
    token_type: &'a str,
    #[serde(flatten)]
    claims: &'a AccessClaims,
}

pub(in crate::http) async fn introspect_token(
    request: HttpRequest,
    body: Body,
    service: Data<Service>,
) -> Result<HttpResponse, OAuthError> {
    let parameters = read_form(&request, body)?;
    let client = authenticate(&service, &request, &parameters).await?;
    let token = parameters.get("token").ok_or(OAuthError::bad_request("token is missing"))?;
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    Ok(match service.introspect(&client, token).await? {
        Introspection::Inactive => response.json(json!({ "active": false })),
        Introspection::AccessToken(claims) => {
            response.json(ActiveAccessToken { active: true, token_type: "Bearer", claims: &claims })
        }
        Introspection::RefreshToken(session) => response.json(refresh_token(&session, &service)),
    })
}

fn refresh_token(session: &Session, service: &Service) -> serde_json::Value {
    json!({
        "active": true,
        "iss": service.issuer(),
        "sub": session.subject,
        "client_id": session.client,
        "sid": session.id,
        "tenant": session.tenant,
        "iat": session.begun_at.timestamp(),
        "exp": session.ends_at.timestamp(),
    })
}
