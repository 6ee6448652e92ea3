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
    AccessToken, AuthType, AuthorizationCode, Client, ClientId, ClientSecret, ExtraTokenFields,
    HttpRequest, PkceCodeVerifier, RedirectUrl, RequestTokenError, StandardRevocableToken,
    StandardTokenResponse, TokenResponse as _, TokenUrl,
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
type CodeClient = Client<
    BasicErrorResponse,
    TokenResponse,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

/// What an authorization code was good for.
pub(super) struct Tokens {
    pub(super) access_token: AccessToken,
    pub(super) id_token: Option<String>,
}

/// One code, at one token endpoint.
pub(super) struct Exchange<'a> {
    pub(super) token_endpoint: TokenUrl,
    pub(super) callback: &'a Url,
    pub(super) code: &'a Secret<String>,
    pub(super) pkce_verifier: &'a str,
    pub(super) client_secret: Option<&'a Secret<String>>,
}

/// RFC 6749 §4.1.3 with RFC 7636 §4.5.
pub(super) async fn exchange(
    http: &Http,
    reach: Reach,
    provider: &Provider,
    exchange: Exchange<'_>,
) -> Result<Tokens, UpstreamError> {
    let mut client = CodeClient::new(ClientId::new(provider.client_id.clone()))
        .set_auth_type(match provider.authentication {
            UpstreamAuthentication::ClientSecretBasic => AuthType::BasicAuth,
            UpstreamAuthentication::ClientSecretPost => AuthType::RequestBody,
        })
        .set_redirect_uri(RedirectUrl::from_url(exchange.callback.clone()))
        .set_token_uri(exchange.token_endpoint);
    if let Some(secret) = exchange.client_secret {
        client = client.set_client_secret(ClientSecret::new(secret.reveal().clone()));
    }
    let send = http.sender(reach);
    let response = client
        .exchange_code(AuthorizationCode::new(exchange.code.reveal().clone()))
        .set_pkce_verifier(PkceCodeVerifier::new(exchange.pkce_verifier.to_owned()))
        .request_async(&send)
        .await
        .map_err(refused_code)?;
    // RFC 6749 §7.1: a token of a type that we do not know must not be used.
    if !matches!(response.token_type(), BasicTokenType::Bearer) {
        return Err(Refusal::TokenType.into());
    }
    Ok(Tokens {
        access_token: response.access_token().clone(),
        id_token: response.extra_fields().id_token.clone(),
    })
}

/// SECURITY: the library's errors hold the answer's body, which may hold tokens. Only the kind is kept.
fn refused_code(error: RequestTokenError<UpstreamError, BasicErrorResponse>) -> UpstreamError {
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
        _ => Refusal::Code.into(),
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
