//! Permissions that add nothing to another one of the same template.

use crate::domain::permission::Vocabulary;
use crate::domain::template::cover;
use crate::domain::template::outline::Outline;

/// Tells `found` the place, code and message of each permission that could be left out.
pub(super) fn find(
    outline: &[Outline],
    v: &Vocabulary,
    mut found: impl FnMut(&str, &'static str, String),
) {
    for (index, one) in outline.iter().enumerate() {
        let others = outline.iter().enumerate().filter(|(other, _)| *other != index);
        let mut covering = others.filter(|(_, other)| covers(other, one, v));
        // Of two that cover each other, the second is the one too many.
        let Some((_, other)) = covering.find(|(at, other)| *at < index || !covers(one, other, v))
        else {
            continue;
        };
        if covers(one, other, v) {
            let message = format!("gives the same as {}; take one of them out", other.at);
            found(&one.at, "duplicate-permission", message);
        } else {
            let why =
                if one.guards.len() > other.guards.len() { ", whatever it hangs on" } else { "" };
            let message = format!(
                "gives nothing that {} does not give{why}; take it out, or make the other narrower",
                other.at
            );
            found(&one.at, "covered-permission", message);
        }
    }
}

/// Whether wherever `inner` is given, `outer` is given too and allows all of it.
fn covers(outer: &Outline, inner: &Outline, v: &Vocabulary) -> bool {
    cover::is_covered([outer], inner, v)
}
