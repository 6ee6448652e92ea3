//! No work of anybody is lost: who changes something says which state of it they have seen
//! (RFC 9110 §13, RFC 6585 §3).

use crate::http::api::problem::{Kind, Problem};
use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName};

/// The entity tag of a version, or of a draft's revision.
pub(super) fn etag(number: u64) -> String {
    format!("\"{number}\"")
}

/// Whether the caller has what there is (`If-None-Match`, RFC 9110 §13.1.2): then it need not be sent again.
pub(super) fn is_current(request: &HttpRequest, etag: &str) -> bool {
    let values = request.headers().get_all(header::IF_NONE_MATCH);
    let texts = values.filter_map(|value| value.to_str().ok());
    let mut tags = texts.flat_map(|text| text.split(',')).map(str::trim);
    // Compared weakly, as it says there: a proxy that compresses makes an entity tag weak.
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// What the caller has seen: `If-Match` with one entity tag, or None for `If-None-Match: *`.
pub(super) fn expected(request: &HttpRequest) -> Result<Option<u64>, Problem> {
    match (only(request, &header::IF_MATCH)?, only(request, &header::IF_NONE_MATCH)?) {
        (Some(tag), None) => number(tag).map(Some),
        (None, Some("*")) => Ok(None),
        (None, None) => Err(Problem::new(
            Kind::PreconditionRequired,
            "send `If-Match` with the entity tag that you have seen, or `If-None-Match: *` if there was nothing",
        )),
        _ => Err(Problem::invalid(
            "send either `If-Match` with one entity tag or `If-None-Match: *`, and not both",
        )),
    }
}

/// As above, of what is there.
pub(super) fn expected_number(request: &HttpRequest) -> Result<u64, Problem> {
    expected(request)?.ok_or_else(|| {
        Problem::new(
            Kind::PreconditionRequired,
            "send `If-Match` with the entity tag that you have seen",
        )
    })
}

/// Whether the caller has this already: any of the tags of `If-None-Match` (RFC 9110 §13.1.2).
pub(super) fn has_seen(request: &HttpRequest, tag: &str) -> bool {
    let headers = request.headers().get_all(header::IF_NONE_MATCH);
    let mut seen = headers.filter_map(|value| value.to_str().ok()).flat_map(|tags| tags.split(','));
    seen.any(|seen| {
        let seen = seen.trim();
        seen == "*"
            || seen.strip_prefix("W/").unwrap_or(seen) == tag.strip_prefix("W/").unwrap_or(tag)
    })
}

fn only<'a>(request: &'a HttpRequest, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = request.headers().get_all(name);
    let unclear =
        || Problem::invalid(format!("send the header `{name}` once, with one entity tag"));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(|text| Some(text.trim())).map_err(|_| unclear()),
        (Some(_), Some(_)) => Err(unclear()),
    }
}

/// A tag that is not ours, or a weak one, matches nothing (RFC 9110 §13.1.1). `*` and a list would let a
/// change through that its author has not seen.
fn number(tag: &str) -> Result<u64, Problem> {
    if tag == "*" || tag.contains(',') {
        return Err(Problem::invalid("send `If-Match` with the one entity tag that you have seen"));
    }
    let inner = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let number = inner.and_then(|inner| inner.parse().ok());
    // One way to write it.
    number.filter(|number| etag(*number) == tag).ok_or_else(|| {
        Problem::new(
            Kind::PreconditionFailed,
            "the entity tag is none of this server's; look again",
        )
    })
}
