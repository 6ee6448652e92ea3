//! Which client calls, and with what form (RFC 6749 §2.3.1).

use crate::domain::authorization::ErrorCode;
use crate::domain::secret::Secret;
use crate::http::body::{Body, Unread, is_declared};
use crate::http::oauth::error::OAuthError;
use crate::http::parameters::Parameters;
use crate::service::Service;
use crate::service::authenticate::{AuthenticatedClient, Credentials};
use actix_web::HttpRequest;
use actix_web::http::{StatusCode, header};
use data_encoding::BASE64;

/// A form from a client, before either is known to be good.
pub(in crate::http) fn read_form(
    request: &HttpRequest,
    body: Body,
) -> Result<Parameters, OAuthError> {
    let body = body.0.map_err(|unread| match unread {
        Unread::TooLarge => OAuthError::bad_request("the request body is too large")
            .with_status(StatusCode::PAYLOAD_TOO_LARGE),
        Unread::TooSlow => OAuthError::bad_request("the request body takes too long")
            .with_status(StatusCode::REQUEST_TIMEOUT),
        Unread::Broken => OAuthError::bad_request("the request body cannot be read"),
    })?;
    if !is_declared(request, "application/x-www-form-urlencoded") {
        let what = "the body must be application/x-www-form-urlencoded in UTF-8";
        return Err(OAuthError::bad_request(what));
    }
    let malformed = |_| OAuthError::bad_request("the body is not a form in UTF-8");
    let parameters = Parameters::parse(&body).map_err(malformed)?;
    if parameters.repeated().is_some() {
        return Err(OAuthError::bad_request("a parameter is repeated"));
    }
    Ok(parameters)
}

/// The client id that a request claims, whoever sent it.
pub(super) fn claimed_client(request: &HttpRequest, parameters: &Parameters) -> Option<String> {
    let basic = basic(request).ok().flatten().map(|(id, _)| id);
    basic.or_else(|| parameters.owned("client_id"))
}

/// Header or body, never both.
pub(super) async fn authenticate(
    service: &Service,
    request: &HttpRequest,
    parameters: &Parameters,
) -> Result<AuthenticatedClient, OAuthError> {
    let (in_body, secret) = (parameters.owned("client_id"), parameters.owned("client_secret"));
    let malformed =
        |_| OAuthError::new(ErrorCode::InvalidClient, "the Authorization header is malformed");
    let credentials = if let Some((id, in_header)) = basic(request).map_err(malformed)? {
        if secret.is_some() || in_body.is_some_and(|other| other != id) {
            let what = "the client authenticates in more than one way";
            return Err(OAuthError::bad_request(what));
        }
        Credentials { id, secret: Some(in_header) }
    } else {
        let missing = OAuthError::new(ErrorCode::InvalidClient, "the client does not authenticate");
        Credentials { id: in_body.ok_or(missing)?, secret: secret.map(Secret::new) }
    };
    Ok(service.authenticate_client(&credentials).await?)
}

/// An Authorization header that is not what its scheme says, or one of several.
pub(in crate::http) struct Malformed;

/// The halves of a Basic header; None: there is no such header.
pub(in crate::http) fn basic(
    request: &HttpRequest,
) -> Result<Option<(String, Secret<String>)>, Malformed> {
    let mut headers = request.headers().get_all(header::AUTHORIZATION);
    let Some(value) = headers.next() else { return Ok(None) };
    if headers.next().is_some() {
        return Err(Malformed);
    }
    let text = value.to_str().map_err(|_| Malformed)?;
    let (scheme, encoded) = text.split_once(' ').ok_or(Malformed)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Malformed);
    }
    let bytes = BASE64.decode(encoded.trim().as_bytes()).map_err(|_| Malformed)?;
    let pair = String::from_utf8(bytes).map_err(|_| Malformed)?;
    let (id, secret) = pair.split_once(':').ok_or(Malformed)?;
    let decode = |half| Parameters::decode_half(half).map_err(|_| Malformed);
    Ok(Some((decode(id)?, Secret::new(decode(secret)?))))
}
