//! Text that looks as if it were meant to be more than text.

/// Paths as somebody writes them who forgets the braces; a dot at the end stands for any name.
const PATHS: [&str; 9] = [
    "tenant.id",
    "tenant.name",
    "tenant.attributes.",
    "user.id",
    "user.email",
    "user.name",
    "user.groups",
    "user.claims.",
    "client.id",
];

/// A code and a message on a literal in a selector, if there is something to say.
pub(super) fn in_selector(text: &str) -> Option<(&'static str, String)> {
    if let Some(found) = path(text).or_else(|| braces(text)) {
        return Some(found);
    }
    text.contains('*').then(|| {
        let message = "holds `*`, which is a character like any other here; write {\"keyPrefix\": …} \
                       or {\"namePrefix\": …} for what begins so, {\"all\": true} for everything";
        ("literal-wildcard", message.to_owned())
    })
}

pub(super) fn in_scope(text: &str) -> Option<(&'static str, String)> {
    text.contains(['{', '}']).then(|| {
        let message = "holds a brace, and nothing is put into a scope; write the scope as it stands \
                       in the token";
        ("looks-like-value", message.to_owned())
    })
}

pub(super) fn in_claim(text: &str) -> Option<(&'static str, String)> {
    path(text)
}

fn braces(text: &str) -> Option<(&'static str, String)> {
    text.contains(['{', '}']).then(|| {
        let message = "holds a brace outside of `{{…}}`, which stays as it is; a value is written \
                       `{{tenant.id}}`, with two";
        ("looks-like-value", message.to_owned())
    })
}

fn path(text: &str) -> Option<(&'static str, String)> {
    let path = PATHS.into_iter().find(|path| stands_alone(text, path))?;
    let shown = if path.ends_with('.') { format!("{path}…") } else { path.to_owned() };
    let message = format!(
        "holds `{shown}` as text, which stays as it is; a value is written `{{{{{shown}}}}}`"
    );
    Some(("looks-like-value", message))
}

/// Whether the path is there and no part of a longer name.
fn stands_alone(text: &str, path: &str) -> bool {
    let of_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    text.match_indices(path).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let after = text.get(at + path.len()..).and_then(|after| after.chars().next());
        let begins = before.is_none_or(|c| !of_name(c) && c != '.');
        begins && (after.is_some_and(of_name) == path.ends_with('.'))
    })
}
