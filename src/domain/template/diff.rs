//! What a new version of a template changes in what people get, whatever the values are: permissions, scopes,
//! lifetime, claims and what a rendering needs. Not text: the order of things, other names for `$as`, other
//! spellings, descriptions and tests change nothing.

use crate::domain::permission::Vocabulary;
use crate::domain::scope::ScopeSet;
use crate::domain::template::cover;
use crate::domain::template::expression::Segment;
use crate::domain::template::outline::Need;
use crate::domain::template::outline::Needed;
use crate::domain::template::outline::Outline;
use crate::domain::template::outline::Sketch;
use crate::domain::template::render::ClaimTemplate;
use crate::domain::template::render::RoleTemplate;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt;

/// Between two versions, or from nothing to the first.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TemplateDiff {
    pub changes: Vec<PermissionChange>,
    pub scope_gained: ScopeSet,
    pub scope_lost: ScopeSet,
    /// Absent: as before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<LifetimeChange>,
    pub claims: Vec<ClaimChange>,
    pub needs: Vec<NeedChange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Nothing before covered it, nor had a part of it.
    Gained,
    /// Nothing covers it now, nor has a part of it.
    Lost,
    /// `after` covers `before`, and more.
    Widened,
    /// `before` covers `after`, and more.
    Narrowed,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PermissionChange {
    pub kind: ChangeKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Written>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Written>,
}

/// A permission as a template writes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Written {
    /// `$.permissions[0]`
    pub at: Box<str>,
    #[serde(rename = "type")]
    pub resource_type: String,
    pub role: String,
    /// Each in the form that it has in a document.
    pub selectors: Map<String, Value>,
    /// What it hangs on, from the outermost: `$each user.claims.regions`.
    pub guards: Vec<String>,
    /// One line for people.
    #[serde(skip)]
    shown: String,
}

/// Seconds; None: as long as the client's tokens live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LifetimeChange {
    pub before: Option<u32>,
    pub after: Option<u32>,
}

/// The values are as a template writes them. None: the claim is not set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClaimChange {
    pub name: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

/// A rendering hangs on something more, or on something less. Who lacks it gets no token at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NeedChange {
    /// False: it is no longer needed.
    pub added: bool,
    pub at: Box<str>,
    pub needed: String,
}

impl TemplateDiff {
    pub fn between(old: Option<&RoleTemplate>, new: &RoleTemplate, v: &Vocabulary) -> Self {
        let before = old.map(RoleTemplate::outline).unwrap_or_default();
        let after = new.outline();
        let none = ScopeSet::default();
        let old_scope = old.map_or(&none, |old| &old.scope);
        let lifetime =
            LifetimeChange { before: old.and_then(|old| old.expires_in), after: new.expires_in };
        Self {
            changes: changes(&before, &after, v),
            scope_gained: new.scope.without(old_scope),
            scope_lost: old_scope.without(&new.scope),
            expires_in: (lifetime.before != lifetime.after).then_some(lifetime),
            claims: claim_changes(old, new),
            needs: old.map(|old| need_changes(old, new)).unwrap_or_default(),
        }
    }

    /// Whether anybody might get more, or more than nothing. On the safe side: where this is false, nobody does.
    /// A claim can mean anything to who reads it, so any change of one counts, and a need that is dropped counts
    /// because a rendering that failed for somebody may succeed now.
    pub fn widens(&self) -> bool {
        let more = |change: &PermissionChange| {
            matches!(change.kind, ChangeKind::Gained | ChangeKind::Widened)
        };
        self.changes.iter().any(more)
            || !self.scope_gained.is_empty()
            || self.expires_in.is_some_and(LifetimeChange::is_longer)
            || !self.claims.is_empty()
            || self.needs.iter().any(|need| !need.added)
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl LifetimeChange {
    const fn is_longer(self) -> bool {
        match (self.before, self.after) {
            (Some(before), Some(after)) => before < after,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

/// First what is more, then what is less, each in the document's order.
fn changes(before: &[Outline], after: &[Outline], v: &Vocabulary) -> Vec<PermissionChange> {
    let uncovered = |those: &[Outline], by: &[Outline]| {
        let mut seen = BTreeSet::new();
        let mut found: Vec<Outline> = Vec::new();
        for one in those.iter().filter(|one| !cover::is_covered(by, one, v)) {
            if seen.insert(identity(one)) {
                found.push(one.clone());
            }
        }
        found
    };
    let mut changes = Vec::new();
    for one in uncovered(after, before) {
        let smaller = largest_within(&one, before, v);
        changes.push(PermissionChange {
            kind: if smaller.is_some() { ChangeKind::Widened } else { ChangeKind::Gained },
            before: smaller.map(Written::of),
            after: Some(Written::of(&one)),
        });
    }
    for one in uncovered(before, after) {
        let smaller = largest_within(&one, after, v);
        changes.push(PermissionChange {
            kind: if smaller.is_some() { ChangeKind::Narrowed } else { ChangeKind::Lost },
            before: Some(Written::of(&one)),
            after: smaller.map(Written::of),
        });
    }
    changes
}

type Identity = (String, String, Vec<Sketch>, BTreeSet<String>);

/// What tells two permissions of a document apart, save their place.
fn identity(one: &Outline) -> Identity {
    let guards = one.guards.iter().map(ToString::to_string).collect();
    (one.resource.name().to_owned(), one.role.to_string(), one.selectors.clone(), guards)
}

/// Of those that `one` covers, the first that none of the others covers.
fn largest_within<'a>(one: &Outline, of: &'a [Outline], v: &Vocabulary) -> Option<&'a Outline> {
    let within = || of.iter().filter(|other| cover::is_covered([one], other, v));
    let largest = within().find(|candidate| {
        !within().any(|other| {
            cover::is_covered([other], candidate, v) && !cover::is_covered([*candidate], other, v)
        })
    });
    largest.or_else(|| within().next())
}

fn claim_changes(old: Option<&RoleTemplate>, new: &RoleTemplate) -> Vec<ClaimChange> {
    let before = old.map(written_claims).unwrap_or_default();
    let after = written_claims(new);
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changes = names.into_iter().map(|name| ClaimChange {
        name: name.clone(),
        before: before.get(name).cloned(),
        after: after.get(name).cloned(),
    });
    changes.filter(|change| change.before != change.after).collect()
}

/// Each claim as a template writes it.
pub(super) fn written_claims(template: &RoleTemplate) -> Map<String, Value> {
    template.claims.iter().map(|(name, claim)| (name.clone(), written_claim(claim))).collect()
}

fn written_claim(claim: &ClaimTemplate) -> Value {
    match claim {
        ClaimTemplate::Fixed(value) => value.clone(),
        ClaimTemplate::Text { segments, .. } => {
            let text = segments.iter().map(|segment| match segment {
                Segment::Literal(text) => text.to_string(),
                Segment::Value(reference) => format!("{{{{{}}}}}", reference.shown),
            });
            Value::String(text.collect())
        }
        ClaimTemplate::List(parts) => Value::Array(parts.iter().map(written_claim).collect()),
    }
}

/// What is needed of claims is not among them: where they are the same, so is what they need.
fn need_changes(old: &RoleTemplate, new: &RoleTemplate) -> Vec<NeedChange> {
    let (before, after) = (old.needs(), new.needs());
    let mut changes = Vec::new();
    for (added, those, others) in [(false, &before, &after), (true, &after, &before)] {
        let mut seen = BTreeSet::new();
        for need in those.iter().filter(|need| !is_needed(need, others)) {
            if seen.insert(&need.needed) {
                let needed = need.needed.to_string();
                changes.push(NeedChange { added, at: need.at.clone(), needed });
            }
        }
    }
    let (before, after) = (old.extent(), new.extent());
    if before != after && (before.may_be_too_much() || after.may_be_too_much()) {
        // Whom the limits refused may be let through now.
        let change = |added| NeedChange {
            added,
            at: "$.permissions".into(),
            needed: "as many repetitions within the limits of a rendering".into(),
        };
        changes.extend(before.may_be_too_much().then(|| change(false)));
        changes.extend(after.may_be_too_much().then(|| change(true)));
    }
    changes
}

/// Whether a rendering fails there, too, where it lacks what is needed here.
fn is_needed(need: &Need, by: &[Need]) -> bool {
    // Every tenant has an id that fits.
    need.needed == Needed::Value("tenant.id".into())
        || by.iter().any(|other| {
            other.needed == need.needed && cover::hangs_on_no_more(&other.guards, &need.guards)
        })
}

impl Written {
    pub(super) fn of(outline: &Outline) -> Self {
        let mut selectors = Map::new();
        let mut shown = format!("{} {}", outline.resource.name(), outline.role);
        for (key, sketch) in outline.resource.selectors().zip(&outline.selectors) {
            let text = sketch.shown();
            let value = match sketch {
                Sketch::All => serde_json::json!({ "all": true }),
                Sketch::Text { prefix: false, .. } => Value::String(text.clone()),
                Sketch::Text { prefix: true, .. } => {
                    let word = outline.resource.prefix_word(key);
                    Value::Object(Map::from_iter([(word.to_owned(), Value::from(text.clone()))]))
                }
            };
            selectors.insert(key.to_owned(), value);
            shown.push(' ');
            match sketch {
                Sketch::All => shown.push_str("(all)"),
                Sketch::Text { prefix, .. } => {
                    shown.push_str(&text);
                    shown.push_str(if *prefix { "…" } else { "" });
                }
            }
        }
        let guards: Vec<String> = outline.guards.iter().map(ToString::to_string).collect();
        shown = format!("{shown} ({})", outline.at);
        if !guards.is_empty() {
            shown = format!("{shown} [{}]", guards.join("; "));
        }
        Self {
            at: outline.at.clone(),
            resource_type: outline.resource.name().to_owned(),
            role: outline.role.to_string(),
            selectors,
            guards,
            shown,
        }
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Display for PermissionChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sides = self.before.iter().chain(&self.after).map(ToString::to_string);
        let sides = sides.collect::<Vec<_>>().join(" → ");
        match self.kind {
            ChangeKind::Gained => write!(f, "+ {sides}"),
            ChangeKind::Lost => write!(f, "- {sides}"),
            ChangeKind::Widened => write!(f, "~ widened: {sides}"),
            ChangeKind::Narrowed => write!(f, "~ narrowed: {sides}"),
        }
    }
}

/// A line for each change.
impl fmt::Display for TemplateDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        for (sign, scopes) in [('+', &self.scope_gained), ('-', &self.scope_lost)] {
            for scope in scopes.iter() {
                writeln!(f, "{sign} scope {scope}")?;
            }
        }
        if let Some(change) = self.expires_in {
            let shown = |seconds: Option<u32>| {
                seconds.map_or("as the client's".to_owned(), |seconds| format!("{seconds} s"))
            };
            writeln!(f, "~ expires_in: {} → {}", shown(change.before), shown(change.after))?;
        }
        for ClaimChange { name, before, after } in &self.claims {
            match (before, after) {
                (None, Some(after)) => writeln!(f, "+ claim {name}: {after}")?,
                (Some(before), None) => writeln!(f, "- claim {name}: {before}")?,
                (before, after) => {
                    let shown = |value: &Option<Value>| {
                        value.as_ref().map(ToString::to_string).unwrap_or_default()
                    };
                    writeln!(f, "~ claim {name}: {} → {}", shown(before), shown(after))?;
                }
            }
        }
        for NeedChange { added, at, needed } in &self.needs {
            let word = if *added { "now needs" } else { "no longer needs" };
            writeln!(f, "! {word} {needed} ({at}): who lacks it gets no token")?;
        }
        Ok(())
    }
}
