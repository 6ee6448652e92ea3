//! Permissions that add nothing to another one of the same template.

use crate::domain::template::outline::Guard;
use crate::domain::template::outline::Outline;
use crate::domain::template::outline::Piece;
use crate::domain::template::outline::Sketch;

/// Tells `found` the place, code and message of each permission that could be left out.
pub(super) fn find(outline: &[Outline], mut found: impl FnMut(&str, &'static str, String)) {
    for (index, one) in outline.iter().enumerate() {
        let others = outline.iter().enumerate().filter(|(other, _)| *other != index);
        let mut covering = others.filter(|(_, other)| covers(other, one));
        // Of two that cover each other, the second is the one too many.
        let Some((_, other)) = covering.find(|(at, other)| *at < index || !covers(one, other))
        else {
            continue;
        };
        if covers(one, other) {
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
fn covers(outer: &Outline, inner: &Outline) -> bool {
    let actions = |of: &Outline| of.resource.role(&of.role).map(|role| role.actions);
    let (Some(wide), Some(narrow)) = (actions(outer), actions(inner)) else { return false };
    outer.resource.name() == inner.resource.name()
        && narrow.is_subset(wide)
        && inner.guards.starts_with(&outer.guards)
        && says_what_it_means(&outer.guards)
        && outer.selectors.iter().zip(&inner.selectors).all(|(a, b)| sketch_covers(a, b))
}

/// Guards that are written alike hang on the same values, save where several lists are around: then
/// the names of their elements may be exchanged.
fn says_what_it_means(guards: &[Guard]) -> bool {
    guards.iter().filter(|guard| matches!(guard, Guard::Each(_))).count() < 2
}

/// Whether the texts of `outer` are all that `inner` can be, whatever the values.
fn sketch_covers(outer: &Sketch, inner: &Sketch) -> bool {
    match (outer, inner) {
        (Sketch::All, _) => true,
        (Sketch::Text { prefix: false, .. }, _) => outer == inner,
        (Sketch::Text { .. }, Sketch::All) => false,
        (Sketch::Text { prefix: true, pieces: outer }, Sketch::Text { pieces: inner, .. }) => {
            begins_with(inner, outer)
        }
    }
}

fn begins_with(pieces: &[Piece], start: &[Piece]) -> bool {
    let Some((last, before)) = start.split_last() else { return true };
    let Some((same, rest)) = pieces.split_at_checked(before.len()) else { return false };
    same == before
        && rest.first().is_some_and(|piece| match (piece, last) {
            (Piece::Literal(text), Piece::Literal(start)) => text.starts_with(&**start),
            (piece, last) => piece == last,
        })
}
