//! The OAuth 2.0 part that both kinds of provider share: a code for an access token, an access token for
//! what it says about its person.

use crate::domain::provider::{Provider, UpstreamAuthentication};
use crate::domain::secret::Secret;
use crate::upstream::error::Misconfiguration;
use crate::upstream::error::Outage;
use crate::upstream::error::Refusal;
use crate::upstream::error::UpstreamError;
use crate::upstream::http::{Http, Reach};
use crate::upstream::json;
use oauth2::basic::{
    BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse,
    BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::http::HeaderValue;
use oauth2::http::header::{ACCEPT, AUTHORIZATION};
use oauth2::{
    AccessToken, AuthType, AuthorizationCode, Client, ClientId, ClientSecret, EndpointNotSet,
    EndpointSet, ExtraTokenFields, HttpRequest, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, StandardRevocableToken, StandardTokenResponse, TokenResponse as _, TokenUrl,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;
use url::Url;

/// The ID token as the text that it is: it is looked at before a library parses it.
#[derive(Deserialize, Serialize)]
struct IdTokenText {
    id_token: Option<String>,
}
impl ExtraTokenFields for IdTokenText {}
impl fmt::Debug for IdTokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<id token>")
    }
}

type TokenResponse = StandardTokenResponse<IdTokenText, BasicTokenType>;
type TokenClient = Client<
    BasicErrorResponse,
    TokenResponse,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// What an authorization code or a refresh token was good for.
#[expect(clippy::struct_field_names, reason = "named as the protocol names them")]
pub(super) struct Tokens {
    pub(super) access_token: AccessToken,
    pub(super) id_token: Option<String>,
    pub(super) refresh_token: Option<Secret<String>>,
}

/// One code, at one token endpoint.
pub(super) struct Exchange<'a> {
    pub(super) token_endpoint: TokenUrl,
    pub(super) callback: &'a Url,
    pub(super) code: &'a Secret<String>,
    pub(super) pkce_verifier: &'a str,
    pub(super) client_secret: Option<&'a Secret<String>>,
}

/// One refresh token, at one token endpoint.
#[expect(clippy::struct_field_names, reason = "named as the protocol names them")]
pub(super) struct Refresh<'a> {
    pub(super) token_endpoint: TokenUrl,
    pub(super) refresh_token: &'a Secret<String>,
    pub(super) client_secret: Option<&'a Secret<String>>,
}

fn client(
    provider: &Provider,
    token_endpoint: TokenUrl,
    client_secret: Option<&Secret<String>>,
) -> TokenClient {
    let client = Client::new(ClientId::new(provider.client_id.clone()))
        .set_auth_type(match provider.authentication {
            UpstreamAuthentication::ClientSecretBasic => AuthType::BasicAuth,
            UpstreamAuthentication::ClientSecretPost => AuthType::RequestBody,
        })
        .set_token_uri(token_endpoint);
    match client_secret {
        Some(secret) => client.set_client_secret(ClientSecret::new(secret.reveal().clone())),
        None => client,
    }
}

fn tokens(response: &TokenResponse) -> Result<Tokens, Refusal> {
    // RFC 6749 §7.1: a token of a type that we do not know must not be used.
    if !matches!(response.token_type(), BasicTokenType::Bearer) {
        return Err(Refusal::TokenType);
    }
    let refresh_token = response.refresh_token().map(RefreshToken::secret);
    Ok(Tokens {
        access_token: response.access_token().clone(),
        id_token: response.extra_fields().id_token.clone(),
        refresh_token: refresh_token.cloned().map(Secret::new),
    })
}

/// RFC 6749 §4.1.3 with RFC 7636 §4.5.
pub(super) async fn exchange(
    http: &Http,
    reach: Reach,
    provider: &Provider,
    exchange: Exchange<'_>,
) -> Result<Tokens, UpstreamError> {
    let client = client(provider, exchange.token_endpoint, exchange.client_secret)
        .set_redirect_uri(RedirectUrl::from_url(exchange.callback.clone()));
    let send = http.sender(reach);
    let response = client
        .exchange_code(AuthorizationCode::new(exchange.code.reveal().clone()))
        .set_pkce_verifier(PkceCodeVerifier::new(exchange.pkce_verifier.to_owned()))
        .request_async(&send)
        .await
        .map_err(|error| refused(error, |_| Refusal::Code))?;
    Ok(tokens(&response)?)
}

/// RFC 6749 §6.
pub(super) async fn refresh(
    http: &Http,
    reach: Reach,
    provider: &Provider,
    refresh: Refresh<'_>,
) -> Result<Tokens, UpstreamError> {
    let client = client(provider, refresh.token_endpoint, refresh.client_secret);
    let send = http.sender(reach);
    let token = RefreshToken::new(refresh.refresh_token.reveal().clone());
    let response = client
        .exchange_refresh_token(&token)
        .request_async(&send)
        .await
        .map_err(|error| refused(error, refused_refresh))?;
    Ok(tokens(&response)?)
}

/// Only what says that the grant is over says so.
fn refused_refresh(error: &BasicErrorResponseType) -> Refusal {
    match error {
        BasicErrorResponseType::InvalidGrant => Refusal::Grant,
        // GitHub's word for it.
        BasicErrorResponseType::Extension(name) if name == "bad_refresh_token" => Refusal::Grant,
        _ => Refusal::RefreshToken,
    }
}

/// SECURITY: the library's errors hold the answer's body, which may hold tokens. Only the kind is kept.
fn refused(
    error: RequestTokenError<UpstreamError, BasicErrorResponse>,
    otherwise: impl Fn(&BasicErrorResponseType) -> Refusal,
) -> UpstreamError {
    let known = match error {
        RequestTokenError::Request(error) => return error,
        RequestTokenError::ServerResponse(answer) => answer.error().clone(),
        // GitHub says `{"error": …}` with status 200.
        RequestTokenError::Parse(_, body) => match serde_json::from_slice(&body) {
            Ok(BasicError { error }) => error,
            Err(_) => return Outage::Garbage.into(),
        },
        RequestTokenError::Other(_) => return Outage::Garbage.into(),
    };
    match known {
        BasicErrorResponseType::InvalidClient
        | BasicErrorResponseType::UnauthorizedClient
        | BasicErrorResponseType::UnsupportedGrantType => Misconfiguration::Client.into(),
        BasicErrorResponseType::Extension(name)
            if name == "incorrect_client_credentials" || name == "redirect_uri_mismatch" =>
        {
            Misconfiguration::Client.into()
        }
        BasicErrorResponseType::Extension(name)
            if name == "temporarily_unavailable" || name == "server_error" =>
        {
            Outage::Garbage.into()
        }
        other => otherwise(&other).into(),
    }
}

#[derive(Deserialize)]
struct BasicError {
    error: BasicErrorResponseType,
}

/// What the provider says about the person behind an access token (RFC 6750 §2.1).
pub(super) async fn user_info(
    http: &Http,
    reach: Reach,
    endpoint: &Url,
    access_token: &AccessToken,
) -> Result<Map<String, Value>, UpstreamError> {
    let mut request = HttpRequest::new(Vec::new());
    *request.uri_mut() = endpoint.as_str().parse().map_err(|_| Misconfiguration::Endpoint)?;
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", access_token.secret()))
        .map_err(|_| Refusal::UserInfo)?;
    bearer.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, bearer);
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    let response = http.send(reach, request).await?;
    match response.status().as_u16() {
        200 => Ok(json::parse_object(response.body()).ok_or(Outage::Garbage)?),
        401 | 403 => Err(Refusal::UserInfo.into()),
        status => Err(Misconfiguration::Status(status).into()),
    }
}
