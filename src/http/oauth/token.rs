//! `/oauth2/token` (RFC 6749 §3.2, RFC 8693).

use crate::domain::authorization::{ErrorCode, Wanted, parse_wanted};
use crate::domain::client::GrantType;
use crate::domain::secret::Secret;
use crate::http::address::caller_of;
use crate::http::body::Body;
use crate::http::oauth::caller::{authenticate, read_form};
use crate::http::oauth::cors;
use crate::http::oauth::error::OAuthError;
use crate::http::parameters::Parameters;
use crate::service::Service;
use crate::service::authenticate::AuthenticatedClient;
use crate::service::code::CodeRequest;
use crate::service::exchange::{ExchangeRequest, SubjectTokenType};
use crate::service::issue::Issued;
use crate::service::refresh::RefreshRequest;
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use serde::Serialize;
use serde_json::value::RawValue;
use std::net::IpAddr;

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

pub(in crate::http) async fn issue_token(
    request: HttpRequest,
    body: Body,
    service: Data<Service>,
) -> HttpResponse {
    let parameters = match read_form(&request, body) {
        Ok(parameters) => parameters,
        Err(error) => return error.error_response(),
    };
    let answered = issue(&service, &request, &parameters).await;
    let mut response = answered.unwrap_or_else(|error| error.error_response());
    cors::answer_form(&service, &request, &parameters, &mut response).await;
    response
}

async fn issue(
    service: &Service,
    request: &HttpRequest,
    parameters: &Parameters,
) -> Result<HttpResponse, OAuthError> {
    let client = authenticate(service, request, parameters).await?;
    let grant =
        parameters.get("grant_type").ok_or(OAuthError::bad_request("grant_type is missing"))?;
    let grant = GrantType::parse(grant);
    if grant.is_some_and(|grant| !client.known().client.may_use(grant)) {
        let what = "the client may not use this grant";
        return Err(OAuthError::new(ErrorCode::UnauthorizedClient, what));
    }
    match grant {
        Some(GrantType::AuthorizationCode) => {
            redeem_code(service, &client, parameters, caller_of(request)).await
        }
        Some(GrantType::RefreshToken) => {
            refresh(service, &client, parameters, caller_of(request)).await
        }
        Some(GrantType::TokenExchange) => exchange(service, &client, parameters).await,
        None => Err(OAuthError::new(
            ErrorCode::UnsupportedGrantType,
            "grant_type must be authorization_code, refresh_token or token exchange",
        )),
    }
}

fn secret(
    parameters: &Parameters,
    name: &str,
    missing: &'static str,
) -> Result<Secret<String>, OAuthError> {
    parameters.owned(name).map(Secret::new).ok_or(OAuthError::bad_request(missing))
}

fn wanted(parameters: &Parameters) -> Result<Wanted, OAuthError> {
    let details = parameters.get("authorization_details");
    Ok(parse_wanted(parameters.get("scope"), details, &parameters.audiences())?)
}

async fn redeem_code(
    service: &Service,
    client: &AuthenticatedClient,
    parameters: &Parameters,
    address: Option<IpAddr>,
) -> Result<HttpResponse, OAuthError> {
    let request = CodeRequest {
        code: secret(parameters, "code", "code is missing")?,
        redirect_uri: parameters.owned("redirect_uri"),
        verifier: parameters.owned("code_verifier").map(Secret::new),
        address,
    };
    Ok(respond(&service.redeem_code(client, &request).await?, None))
}

async fn refresh(
    service: &Service,
    client: &AuthenticatedClient,
    parameters: &Parameters,
    address: Option<IpAddr>,
) -> Result<HttpResponse, OAuthError> {
    let request = RefreshRequest {
        refresh_token: secret(parameters, "refresh_token", "refresh_token is missing")?,
        wanted: wanted(parameters)?,
        address,
    };
    Ok(respond(&service.refresh(client, &request).await?, None))
}

async fn exchange(
    service: &Service,
    client: &AuthenticatedClient,
    parameters: &Parameters,
) -> Result<HttpResponse, OAuthError> {
    if parameters.get("actor_token").is_some() || parameters.get("actor_token_type").is_some() {
        return Err(OAuthError::bad_request("actor_token is not supported"));
    }
    let subject_token = secret(parameters, "subject_token", "subject_token is missing")?;
    let subject_token_type = match parameters.get("subject_token_type") {
        Some(ID_TOKEN) => SubjectTokenType::IdToken,
        Some(ACCESS_TOKEN) => SubjectTokenType::AccessToken,
        Some(_) => return Err(OAuthError::bad_request("subject_token_type is not supported")),
        None => return Err(OAuthError::bad_request("subject_token_type is missing")),
    };
    match parameters.get("requested_token_type") {
        None | Some(ACCESS_TOKEN | JWT) => {}
        Some(_) => return Err(OAuthError::bad_request("requested_token_type is not supported")),
    }
    let request =
        ExchangeRequest { subject_token, subject_token_type, wanted: wanted(parameters)? };
    Ok(respond(&service.exchange(client, &request).await?, Some(ACCESS_TOKEN)))
}

#[derive(Serialize)]
struct Answer<'a> {
    access_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'a str>,
    token_type: &'a str,
    /// Seconds.
    expires_in: u32,
    /// Seconds since 1970.
    expires_at: i64,
    scope: &'a str,
    authorization_details: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<&'a str>,
}

fn respond(issued: &Issued, issued_token_type: Option<&str>) -> HttpResponse {
    let answer = Answer {
        access_token: issued.access_token.reveal(),
        issued_token_type,
        token_type: "Bearer",
        expires_in: issued.expires_in,
        expires_at: issued.expires_at.timestamp(),
        scope: &issued.scope,
        authorization_details: &issued.authorization_details,
        refresh_token: issued.refresh_token.as_ref().map(|token| token.reveal().as_str()),
        id_token: issued.id_token.as_ref().map(|token| token.reveal().as_str()),
    };
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::PRAGMA, "no-cache"))
        .json(answer)
}
