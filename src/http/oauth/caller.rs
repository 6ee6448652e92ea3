//! Which client calls, and with what form (RFC 6749 §2.3.1).

use crate::domain::authorization::ErrorCode;
use crate::domain::secret::Secret;
use crate::http::oauth::error::OAuthError;
use crate::http::parameters::Parameters;
use crate::service::Service;
use crate::service::authenticate::{AuthenticatedClient, Credentials};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::{StatusCode, header};
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest};
use data_encoding::BASE64;
use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

/// The body of a request, whole, within the size and time limits; or why not.
pub(in crate::http) struct Body(Result<Bytes, Unread>);

enum Unread {
    TooLarge,
    TooSlow,
    Broken,
}

/// A body of at most 64 KiB that takes longer is not meant to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

impl FromRequest for Body {
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Infallible>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = Bytes::from_request(request, payload);
        Box::pin(async {
            Ok(Self(match tokio::time::timeout(BODY_TIMEOUT, body).await {
                Ok(Ok(bytes)) => Ok(bytes),
                Ok(Err(error)) => Err(match error.as_error::<PayloadError>() {
                    Some(PayloadError::Overflow) => Unread::TooLarge,
                    _ => Unread::Broken,
                }),
                Err(_) => Err(Unread::TooSlow),
            }))
        })
    }
}

impl Body {
    pub(in crate::http) fn parameters(self) -> Option<Parameters> {
        self.0.ok().and_then(|bytes| Parameters::parse(&bytes).ok())
    }
}

/// A form from a client, before either is known to be good.
pub(super) fn read_form(request: &HttpRequest, body: Body) -> Result<Parameters, OAuthError> {
    let body = body.0.map_err(|unread| match unread {
        Unread::TooLarge => OAuthError::bad_request("the request body is too large")
            .with_status(StatusCode::PAYLOAD_TOO_LARGE),
        Unread::TooSlow => OAuthError::bad_request("the request body takes too long")
            .with_status(StatusCode::REQUEST_TIMEOUT),
        Unread::Broken => OAuthError::bad_request("the request body cannot be read"),
    })?;
    if !is_form(request) {
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

fn is_form(request: &HttpRequest) -> bool {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let Some(value) = value else { return false };
    let mut parts = value.split(';').map(str::trim);
    let is_form = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-www-form-urlencoded"));
    let mut is_utf8 = |part: &str| match part.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    };
    is_form && parts.all(&mut is_utf8)
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
    let credentials = if let Some((id, in_header)) = basic(request)? {
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

/// The halves of a Basic header; None: there is no such header.
fn basic(request: &HttpRequest) -> Result<Option<(String, Secret<String>)>, OAuthError> {
    let invalid =
        || OAuthError::new(ErrorCode::InvalidClient, "the Authorization header is malformed");
    let mut headers = request.headers().get_all(header::AUTHORIZATION);
    let Some(value) = headers.next() else { return Ok(None) };
    if headers.next().is_some() {
        return Err(invalid());
    }
    let text = value.to_str().map_err(|_| invalid())?;
    let (scheme, encoded) = text.split_once(' ').ok_or_else(invalid)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(invalid());
    }
    let bytes = BASE64.decode(encoded.trim().as_bytes()).map_err(|_| invalid())?;
    let pair = String::from_utf8(bytes).map_err(|_| invalid())?;
    let (id, secret) = pair.split_once(':').ok_or_else(invalid)?;
    let decode = |half| Parameters::decode_half(half).map_err(|_| invalid());
    Ok(Some((decode(id)?, Secret::new(decode(secret)?))))
}
