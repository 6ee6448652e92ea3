//! URLs and pointers that a deployment file holds.

use crate::domain::transport;
use crate::toml_reader::{Node, shown};
use url::Url;

/// A URL that secrets may be sent to, and how it was written.
pub(super) fn endpoint<'a>(node: &Node<'a>) -> Option<(Url, &'a str)> {
    let text = node.string()?;
    let Ok(url) = Url::parse(text) else {
        node.note(format_args!("{} is not a URL", shown(text)));
        return None;
    };
    let problem = if !transport::is_protected(&url) {
        "must be an https URL (http only on 127.0.0.1, [::1] and localhost)"
    } else if !url.username().is_empty() || url.password().is_some() {
        "must not hold a user or a password"
    } else if url.fragment().is_some() {
        "must not have a fragment"
    } else {
        return Some((url, text));
    };
    node.note(problem);
    None
}

pub(super) fn issuer(node: &Node<'_>) -> Option<String> {
    let (url, text) = endpoint(node)?;
    if url.query().is_some() {
        node.note("an issuer has no query");
        return None;
    }
    // As written: it is compared with claim `iss` as a string.
    Some(text.to_owned())
}

/// A browser's origin, exactly as it stands in the header `Origin`.
pub(super) fn origin(node: &Node<'_>) -> Option<String> {
    let (url, text) = endpoint(node)?;
    let origin = url.origin().ascii_serialization();
    if origin != text {
        node.note(format_args!("is not exactly an origin: write {}", shown(&origin)));
        return None;
    }
    Some(origin)
}

/// An absolute URI, or a simple name.
pub(super) fn audience(node: &Node<'_>) -> Option<String> {
    let text = node.string()?;
    let plain = (1..=255).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'));
    if plain && (!text.contains([':', '/', '#', '?']) || is_absolute_uri(text)) {
        return Some(text.to_owned());
    }
    node.note(format_args!(
        "{} is not an audience: write an absolute URI without a fragment, or a name without spaces",
        shown(text)
    ));
    None
}

fn is_absolute_uri(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| url.fragment().is_none())
}

/// A JSON pointer to something below the top.
pub(super) fn pointer(node: &Node<'_>) -> Option<String> {
    let text = node.string()?;
    if text.len() > 1 && text.starts_with('/') {
        return Some(text.to_owned());
    }
    node.note(format_args!("must be a JSON pointer such as \"/sub\", not {}", shown(text)));
    None
}
