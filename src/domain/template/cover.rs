//! Whether what one template writes covers what another one writes, whatever the values are. Symbolic and on the
//! safe side: what is called covered is covered in every rendering, and not the other way round.
//!
//! - A permission covers another one of the same type if it hangs on nothing that the other does not hang on, and
//!   each of its selectors covers the other's. Equal texts mean equal values: an element of a list has its list's
//!   name, and whoever is repeated over a list is covered for each element.
//! - A prefix covers what goes on from it: `{{tenant.id}}:` covers `{{tenant.id}}:a`. Nothing is made of what a
//!   value can be, so `{{tenant.id}}` and an id that happens to be the same have nothing in common.
//! - Roles count by the actions that the vocabulary gives them. Several permissions may cover one together, each a
//!   part of its actions.

use crate::domain::permission::Actions;
use crate::domain::permission::Vocabulary;
use crate::domain::template::outline::Guard;
use crate::domain::template::outline::Outline;
use crate::domain::template::outline::Piece;
use crate::domain::template::outline::Sketch;

/// Whether all that `other` may grant is granted by some of `by`, alone or together.
pub(super) fn is_covered<'a>(
    by: impl IntoIterator<Item = &'a Outline>,
    other: &Outline,
    v: &Vocabulary,
) -> bool {
    missing(by, other, v).is_some_and(Actions::is_empty)
}

/// The actions of `other` that none of `by` covers; None where it has none at all, and nothing can be said.
pub(super) fn missing<'a>(
    by: impl IntoIterator<Item = &'a Outline>,
    other: &Outline,
    v: &Vocabulary,
) -> Option<Actions> {
    // SECURITY: what the vocabulary does not know lists nothing, and that is not covered.
    let listed = Some(listed(other, v)).filter(|listed| !listed.is_empty())?;
    let selecting = by.into_iter().filter(|one| selects_all_of(one, other));
    Some(selecting.fold(listed, |missing, one| missing.without(self::listed(one, v))))
}

/// What the role lists in this vocabulary.
pub(super) fn listed(outline: &Outline, v: &Vocabulary) -> Actions {
    let known = v.find(outline.resource.name());
    let known = known.filter(|known| known.selectors().eq(outline.resource.selectors()));
    known.and_then(|known| known.role(&outline.role)).map_or(Actions::NONE, |role| role.actions)
}

/// Whether, wherever `other` holds, this holds too and selects all that it selects.
pub(super) fn selects_all_of(one: &Outline, other: &Outline) -> bool {
    one.resource.name() == other.resource.name()
        && one.selectors.len() == other.selectors.len()
        && hangs_on_no_more(&one.guards, &other.guards)
        && one.selectors.iter().zip(&other.selectors).all(|(one, other)| covers(one, other))
}

/// Whether all of these guards are among the others.
pub(super) fn hangs_on_no_more(guards: &[Guard], than: &[Guard]) -> bool {
    guards.iter().all(|guard| than.contains(guard))
}

fn covers(one: &Sketch, other: &Sketch) -> bool {
    match (one, other) {
        (Sketch::All, _) => true,
        (Sketch::Text { prefix: true, pieces }, Sketch::Text { pieces: others, .. }) => {
            goes_on_from(pieces, others)
        }
        (
            Sketch::Text { prefix: false, pieces },
            Sketch::Text { prefix: false, pieces: others },
        ) => pieces == others,
        _ => false,
    }
}

/// Whether every text of `others` begins with the text of `pieces`.
fn goes_on_from(pieces: &[Piece], others: &[Piece]) -> bool {
    let Some((last, before)) = pieces.split_last() else { return true };
    let Some((same, rest)) = others.split_at_checked(before.len()) else { return false };
    if before != same {
        return false;
    }
    match (last, rest.first()) {
        (Piece::Literal(text), Some(Piece::Literal(longer))) => longer.starts_with(&**text),
        (Piece::Value(path), Some(Piece::Value(other))) => path == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(prefix: bool, text: &str) -> Sketch {
        let pieces = text.split('|').filter(|piece| !piece.is_empty());
        let piece = |piece: &str| match piece.strip_prefix('$') {
            Some(path) => Piece::Value(path.into()),
            None => Piece::Literal(piece.into()),
        };
        Sketch::Text { prefix, pieces: pieces.map(piece).collect() }
    }

    #[test]
    fn a_selector_covers_what_it_matches_whatever_the_values_are() {
        let (exact, prefix) = (|it| text(false, it), |it| text(true, it));
        for (one, other) in [
            (Sketch::All, Sketch::All),
            (Sketch::All, prefix("a")),
            (Sketch::All, exact("a")),
            (exact("$t|:a"), exact("$t|:a")),
            (prefix("$t|:"), prefix("$t|:")),
            (prefix("$t|:"), exact("$t|:")),
            (prefix("$t|:"), exact("$t|:a")),
            (prefix("$t|:"), prefix("$t|:a|$r|:")),
            (prefix("a"), exact("ab")),
            (prefix("a"), exact("ab|$t")),
            (prefix("$t"), exact("$t|:")),
            (prefix("$t|:|$r"), prefix("$t|:|$r|:b")),
        ] {
            assert!(covers(&one, &other), "{one:?} {other:?}");
        }
        for (one, other) in [
            (prefix("$t|:"), Sketch::All),
            (exact("a"), Sketch::All),
            (exact("$t|:"), prefix("$t|:")),
            (exact("$t|:"), exact("$t|:a")),
            (prefix("$t|:a"), prefix("$t|:")),
            (prefix("$t|:"), prefix("$t")),
            (prefix("$t|:"), prefix("$u|:")),
            (prefix("$t|:"), prefix("$t|/")),
            (prefix("$t|:b"), exact("$t|:a")),
            (prefix("ab"), exact("a|$t")),
            (prefix("a|$t"), exact("ab|$t")),
            (prefix("$t"), exact("t")),
            (exact("t"), exact("$t")),
        ] {
            assert!(!covers(&one, &other), "{one:?} {other:?}");
        }
    }
}
