//! The body of a request, whole.

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpRequest};
use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

/// Within the size and time limits; or why not.
pub(super) struct Body(pub(super) Result<Bytes, Unread>);

pub(super) enum Unread {
    TooLarge,
    TooSlow,
    Broken,
}

/// A body that takes longer is not meant to arrive.
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
    /// None: it cannot be had, for whatever reason.
    pub(super) fn bytes(self) -> Option<Bytes> {
        self.0.ok()
    }
}

/// Whether the request declares its body to be of this media type, in UTF-8.
pub(super) fn is_declared(request: &HttpRequest, media_type: &str) -> bool {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let Some(value) = value else { return false };
    let mut parts = value.split(';').map(str::trim);
    let is_type = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(media_type));
    let mut is_utf8 = |part: &str| match part.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    };
    is_type && parts.all(&mut is_utf8)
}
