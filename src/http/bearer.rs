//! The access token of a request (RFC 6750 §2.1).

use actix_web::HttpRequest;
use actix_web::http::header;

/// The token of the Authorization header, which is the only place for it.
pub(super) fn bearer(request: &HttpRequest) -> Option<&str> {
    let mut headers = request.headers().get_all(header::AUTHORIZATION);
    let (value, None) = (headers.next()?, headers.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
