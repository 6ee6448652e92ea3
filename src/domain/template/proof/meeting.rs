//! What is told when the proof fails: two tenants, and what both would reach.

use crate::domain::ids::TenantId;
use crate::domain::permission::is_delimiter;
use crate::domain::template::outline::Outline;
use crate::domain::template::outline::Piece;
use crate::domain::template::outline::Sketch;
use crate::domain::template::proof::shape::MAX_VALUE;
use crate::domain::template::proof::shape::TENANT;
use crate::domain::template::proof::shape::is_value_byte;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// Why it is not proved that tenants stay apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Unproved {
    /// They do not: here is an example.
    #[error("{0}")]
    Meeting(Box<Meeting>),
    /// These two may or may not meet.
    #[error("{0}")]
    Undecided(Box<Undecided>),
    /// More different forms than are compared with each other.
    #[error(
        "the published templates hold {forms} different forms of permissions, and no more than {most} \
         are compared: write the selectors that keep tenants apart in the same form everywhere"
    )]
    TooManyForms { forms: usize, most: usize },
    /// One of the two is another tenant's own, which is told to nobody else.
    #[error("{}", concealed(.side.as_ref()))]
    Concealed {
        /// The other one, if that is not another tenant's too.
        #[serde(skip_serializing_if = "Option::is_none")]
        side: Option<Side>,
    },
}

impl Unproved {
    /// The permissions that it is about.
    pub fn sides(&self) -> &[Side] {
        match self {
            Self::Meeting(meeting) => &meeting.sides,
            Self::Undecided(undecided) => &undecided.sides,
            Self::Concealed { side } => side.as_slice(),
            Self::TooManyForms { .. } => &[],
        }
    }

    /// SECURITY: for the administrators of this tenant: without what is in another tenant's own template,
    /// whose it is, and that there is such a tenant.
    #[must_use]
    pub fn concealed_from(self, tenant: &TenantId) -> Self {
        let sides = self.sides();
        let counts_others = matches!(self, Self::TooManyForms { .. });
        if !counts_others && sides.iter().all(|side| side.may_be_known_to(tenant)) {
            return self;
        }
        let known = sides.iter().find(|side| side.may_be_known_to(tenant));
        Self::Concealed { side: known.cloned() }
    }
}

fn concealed(side: Option<&Side>) -> String {
    match side {
        Some(side) => format!(
            "{side} could match what another tenant's own version of a role gives there; put a delimiter \
             (: / | #) right after `{{{{tenant.id}}}}`, or ask the platform's administrators"
        ),
        None => {
            "two other tenants' own versions are not proved to stay apart; tell the platform's \
                 administrators"
                .to_owned()
        }
    }
}

/// Two tenants and a resource that both would reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Meeting {
    /// The first is the tenant of the first side.
    pub tenants: [TenantId; 2],
    pub resource_type: String,
    /// A text for each selector key, from the widest level to the one that is acted on.
    pub resource: Vec<(String, String)>,
    pub sides: [Side; 2],
    /// A sentence that says what to write instead.
    pub fix: String,
}

/// A permission that meets another one, and its selector that should keep tenants apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Its template: `data-entry@3`.
    pub template: String,
    /// Its place in the document: `$.permissions[0]`.
    pub at: String,
    pub key: String,
    pub prefix: bool,
    /// The selector as it is written.
    pub shown: String,
}

/// Two permissions with so many values in one stretch of text that not all their lengths were tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Undecided {
    pub resource_type: String,
    pub sides: [Side; 2],
    pub fix: String,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { template, at, key, shown, .. } = self;
        let prefix = if self.prefix { " prefix" } else { "" };
        write!(f, "the `{key}`{prefix} `{shown}` of `{template}` ({at})")
    }
}

impl Side {
    pub(super) fn new(template: &str, outline: &Outline, level: usize) -> Self {
        let sketch = outline.selectors.get(level);
        Self {
            template: template.to_owned(),
            at: outline.at.to_string(),
            key: outline.resource.selectors().nth(level).unwrap_or_default().to_owned(),
            prefix: matches!(sketch, Some(Sketch::Text { prefix: true, .. })),
            shown: sketch.map(Sketch::shown).unwrap_or_default(),
        }
    }
    /// A base, or the tenant's own.
    fn may_be_known_to(&self, tenant: &TenantId) -> bool {
        // `data-entry@3/acme`, or `data-entry/acme` of what is not published yet.
        self.template.split_once('/').is_none_or(|(_, of)| of == tenant.as_str())
    }
    /// Why it does not keep a tenant apart from others in the same place.
    fn fault(&self) -> &'static str {
        match self.shown.split_once("{{tenant.id}}") {
            None => "does not name the tenant",
            Some((_, after))
                if !after.split("{{").next().unwrap_or(after).contains(is_delimiter) =>
            {
                "has no delimiter (: / | #) right after the tenant"
            }
            Some(_) => "does not keep the tenant apart from other values",
        }
    }
}

impl fmt::Display for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, other] = &self.tenants;
        write!(f, "tenants `{one}` and `{other}`: ")?;
        for (index, (key, text)) in self.resource.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{key} `{text}`")?;
        }
        f.write_str(" is reachable by both, because ")?;
        let [left, right] = &self.sides;
        if left == right {
            write!(f, "{left} {}", left.fault())?;
        } else {
            write!(f, "{left} matches it for `{one}`, and {right} for `{other}`")?;
        }
        write!(f, "; {}", self.fix)
    }
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [left, right] = &self.sides;
        write!(
            f,
            "whether {left} and {right} can match the same is too much to decide; {}",
            self.fix
        )
    }
}

/// Whether a selector, rendered for the tenant with whatever values, matches the text. It stands apart
/// from the proof, so that no example is given that was not checked in another way.
pub(super) fn can_match(sketch: &Sketch, tenant: &TenantId, text: &str) -> bool {
    let Sketch::Text { prefix, pieces } = sketch else { return true };
    let mut reached = BTreeSet::from([0]);
    for piece in pieces {
        let after = |from: usize, literal: &str| {
            let matches = text.get(from..).is_some_and(|rest| rest.starts_with(literal));
            matches.then_some(from + literal.len())
        };
        reached = match piece {
            Piece::Literal(literal) => {
                reached.iter().filter_map(|at| after(*at, literal)).collect()
            }
            Piece::Value(path) if **path == *TENANT => {
                reached.iter().filter_map(|at| after(*at, tenant.as_str())).collect()
            }
            Piece::Value(_) => {
                let ends = reached.iter().flat_map(|at| {
                    let rest = text.bytes().skip(*at).take(MAX_VALUE);
                    let length = rest.take_while(|byte| is_value_byte(*byte)).count();
                    at + 1..=at + length
                });
                ends.collect()
            }
        };
    }
    if *prefix { !reached.is_empty() } else { reached.contains(&text.len()) }
}

/// The level that should keep the tenants apart: the narrowest that names one.
pub(super) fn level_to_mend(sides: [&[Sketch]; 2]) -> usize {
    let names = |sketch: &&Sketch| pieces(sketch).iter().any(is_tenant);
    let [left, right] = sides;
    let levels = left.iter().zip(right).rposition(|(left, right)| names(&left) || names(&right));
    levels.unwrap_or_else(|| left.len().min(right.len()).saturating_sub(1))
}

fn pieces(sketch: &Sketch) -> &[Piece] {
    match sketch {
        Sketch::All => &[],
        Sketch::Text { pieces, .. } => pieces,
    }
}

fn is_tenant(piece: &Piece) -> bool {
    matches!(piece, Piece::Value(path) if **path == *TENANT)
}

/// What could be written instead: the tenant once, with a delimiter before whatever follows; where it
/// stands, or in front of all.
pub(super) fn mended(sketch: &Sketch, in_front: bool) -> Sketch {
    let loose = |c: char| is_delimiter(c) || matches!(c, '-' | '_' | '.');
    let (prefix, all) = match sketch {
        Sketch::All => (true, &[][..]),
        Sketch::Text { prefix, pieces } => (*prefix, &**pieces),
    };
    let mut halves = all.splitn(2, is_tenant);
    let mut half = || {
        let pieces = halves.next().unwrap_or_default().iter();
        pieces.filter(|piece| !is_tenant(piece)).cloned().collect::<Vec<_>>()
    };
    let (mut before, mut after) = (half(), half());
    if let Some(first) = after.first_mut() {
        trim(first, |text| text.trim_start_matches(loose));
    }
    if in_front && all.iter().any(is_tenant) {
        if let Some(last) = before.last_mut() {
            trim(last, |text| text.trim_end_matches(loose));
        }
        after = [before.as_slice(), &after].join(&delimiter());
        before.clear();
    }
    after.retain(|piece| !matches!(piece, Piece::Literal(text) if text.is_empty()));
    before.push(Piece::Value(TENANT.into()));
    if prefix || !after.is_empty() {
        before.push(delimiter());
    }
    before.append(&mut after);
    Sketch::Text { prefix, pieces: before }
}

fn delimiter() -> Piece {
    Piece::Literal(":".into())
}

/// Cuts off, at one end of a literal, what no id needs.
fn trim(piece: &mut Piece, trimmed: impl Fn(&str) -> &str) {
    if let Piece::Literal(text) = piece {
        *text = trimmed(text).into();
    }
}
