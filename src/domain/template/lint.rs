//! What is allowed in a template and is yet likely not what its author wants.
//!
//! A finding is never a guess about taste: each says something true of this very template, and how
//! to mend it.

mod redundant;
mod text;

use crate::domain::permission::Vocabulary;
use crate::domain::template::cases::Case;
use crate::domain::template::document;
use crate::domain::template::document::Path;
use crate::domain::template::expression;
use crate::domain::template::expression::Condition;
use crate::domain::template::expression::Segment;
use crate::domain::template::given;
use crate::domain::template::given::DEFAULT_CLIENT;
use crate::domain::template::given::Given;
use crate::domain::template::outline::Outline;
use crate::domain::template::outline::Piece;
use crate::domain::template::outline::Sketch;
use crate::domain::template::reads;
use crate::domain::template::render::Body;
use crate::domain::template::render::Item;
use crate::domain::template::render::RoleTemplate;
use crate::domain::template::values::Source;
use crate::domain::template::values::Values;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;

/// Longer than this, and a token keeps for long what was taken from its role.
const LONG_LIFETIME: u32 = 3600;

/// Something to look at. It keeps nobody from using the template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Such as `$.permissions[0]`.
    pub path: String,
    /// Both from 1; the column counts characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What kind of finding; it stays the same from version to version.
    pub code: &'static str,
    /// A sentence that says how to mend it.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{line}:{column}: ")?;
        }
        write!(f, "{}: {} ({})", self.path, self.message, self.code)
    }
}

/// All findings, in the order of the document.
pub fn lint(template: &RoleTemplate, v: &Vocabulary) -> Vec<Finding> {
    let source = &template.source;
    let document = document::parse(source).unwrap_or_default();
    let mut places = HashMap::new();
    find_places(&document, &Path::default(), &mut places);
    let mut linter = Linter { template, document: &document, places, findings: Vec::new() };
    linter.members();
    linter.items(&template.items, &mut 0);
    linter.outline(v);
    let mut findings = linter.findings;
    findings.sort_by_key(|finding| (finding.line, finding.column));
    findings
}

/// Every value of the document by its path.
fn find_places(value: &Value, at: &Path, places: &mut HashMap<String, Path>) {
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(key, value)| find_places(value, &at.key(key), places));
        }
        Value::Array(list) => {
            let list = list.iter().enumerate();
            list.for_each(|(index, value)| find_places(value, &at.index(index), places));
        }
        _ => {}
    }
    places.insert(at.to_string(), at.clone());
}

struct Linter<'a> {
    template: &'a RoleTemplate,
    document: &'a Value,
    places: HashMap<String, Path>,
    findings: Vec<Finding>,
}

impl Linter<'_> {
    fn find(&mut self, at: &str, code: &'static str, message: impl Into<String>) {
        let place = self.places.get(at).and_then(|path| path.place(&self.template.source));
        let (line, column) = place.unzip();
        self.findings.push(Finding {
            path: at.into(),
            line,
            column,
            code,
            message: message.into(),
        });
    }

    /// What stands, or does not, at the top of the document.
    fn members(&mut self) {
        if self.template.description.as_deref().is_none_or(|text| text.trim().is_empty()) {
            let message = "has no `description`; say in one for whom this role is";
            self.find("$", "no-description", message);
        }
        match self.template.expires_in {
            None => {
                let message = "has no `expires_in`, so its tokens live as long as the client or \
                               another role says; write `\"expires_in\": 900`";
                self.find("$", "no-expires-in", message);
            }
            Some(seconds) if seconds > LONG_LIFETIME => {
                let message = "is more than an hour, for which a token keeps what was taken from \
                               this role; write 3600 or less, since tokens are refreshed";
                self.find("$.expires_in", "long-expires-in", message);
            }
            Some(_) => {}
        }
        let cases = &self.template.cases;
        if cases.is_empty() {
            let message = "has no `tests`; write one that allows what this role is for, and one \
                           that denies what it must never reach";
            self.find("$", "no-tests", message);
        } else if !cases.iter().any(Case::denies) {
            let message = "have no `deny`; a test that only allows still passes when the role is \
                           given too much";
            self.find("$.tests", "no-deny-test", message);
        }
        let scopes = self.document.get("scope").and_then(Value::as_array);
        for (index, scope) in scopes.into_iter().flatten().enumerate() {
            if scopes.into_iter().flatten().take(index).any(|before| before == scope) {
                let message = "stands in the list already; take it out";
                self.find(&format!("$.scope[{index}]"), "duplicate-scope", message);
            }
            if let Some((code, message)) = scope.as_str().and_then(text::in_scope) {
                self.find(&format!("$.scope[{index}]"), code, message);
            }
        }
        let claims = self.document.get("claims").and_then(Value::as_object);
        for (name, value) in claims.into_iter().flatten() {
            self.claim_texts(value, &format!("$.claims.{name}"));
        }
    }

    /// Conditions and lists. `depth` counts the lists around.
    fn items(&mut self, items: &[Item], depth: &mut usize) {
        for item in items {
            if let Some(each) = &item.each {
                let mut used = false;
                reads::inside(item, &mut |reference, _| {
                    used |= reference.source == Source::Variable(*depth);
                });
                if !used {
                    let message = "repeats an object that does not use its element, so that all \
                                   repetitions are the same; use what `$as` names, or take \
                                   `$each` and `$as` out";
                    self.find(&each.at, "unused-variable", message);
                }
                *depth += 1;
            }
            if let Some(when) = &item.condition
                && let Some(message) = explain_constant(&when.condition)
            {
                self.find(&when.at, "constant-condition", message);
            }
            if let Body::Group(inner) = &item.body {
                self.items(inner, depth);
            }
            if item.each.is_some() {
                *depth -= 1;
            }
        }
    }

    /// Each permission by itself, and against the others.
    fn outline(&mut self, v: &Vocabulary) {
        let outline = self.template.outline();
        for one in &outline {
            self.selects_all(one);
            self.idle_actions(one);
            self.selector_texts(one);
        }
        redundant::find(&outline, v, |at, code, message| self.find(at, code, message));
    }

    fn selects_all(&mut self, one: &Outline) {
        if self.template.crosses_tenants {
            return;
        }
        let Some(role) = one.resource.role(&one.role) else { return };
        for (level, (key, selector)) in one.resource.selectors().zip(&one.selectors).enumerate() {
            // Whoever acts on a level must be given all below it: there it has to be so.
            let needed = (0..level)
                .any(|above| !one.resource.actions_acting_at(above).and(role.actions).is_empty());
            if *selector == Sketch::All && !needed {
                let message = format!(
                    "gives every `{key}`, also those that come to be later; if that is not meant, \
                     name them or write a prefix"
                );
                self.find(&format!("{}.{key}", one.at), "selects-all", message);
            }
        }
    }

    /// Actions of the role that reach further than the selectors, and are therefore never allowed.
    fn idle_actions(&mut self, one: &Outline) {
        let Some(role) = one.resource.role(&one.role) else { return };
        let narrow = one.selectors.iter().rposition(|selector| *selector != Sketch::All);
        for above in 0..narrow.unwrap_or_default() {
            let idle = one.resource.actions_acting_at(above).and(role.actions);
            let below = one.resource.selectors().skip(above + 1).collect::<Vec<_>>().join("`, `");
            let Some(level) = one.resource.selectors().nth(above) else { continue };
            if !idle.is_empty() {
                let names = one.resource.action_names(idle).join(", ");
                let message = format!(
                    "never allows {names}, which act on a whole `{level}`; write {{\"all\": true}} \
                     for `{below}`, or give a role without them"
                );
                self.find(&one.at, "idle-action", message);
            }
        }
    }

    /// The text between the values of a selector.
    fn selector_texts(&mut self, one: &Outline) {
        for (key, selector) in one.resource.selectors().zip(&one.selectors) {
            let Sketch::Text { pieces, .. } = selector else { continue };
            let literals = pieces.iter().filter_map(|piece| match piece {
                Piece::Literal(text) => text::in_selector(text),
                Piece::Value(_) => None,
            });
            if let Some((code, message)) = literals.into_iter().next() {
                let at = format!("{}.{key}", one.at);
                let inner =
                    ["key", "name", "keyPrefix", "namePrefix"].map(|key| format!("{at}.{key}"));
                let at = inner.into_iter().find(|at| self.places.contains_key(at)).unwrap_or(at);
                self.find(&at, code, message);
            }
        }
    }

    /// The text between the values of a claim.
    fn claim_texts(&mut self, value: &Value, at: &str) {
        match value {
            Value::String(text) => {
                let segments = expression::parse_text(text, &[]).unwrap_or_default();
                let found = segments.iter().find_map(|segment| match segment {
                    Segment::Literal(text) => text::in_claim(text),
                    Segment::Value(_) => None,
                });
                if let Some((code, message)) = found {
                    self.find(at, code, message);
                }
            }
            Value::Array(list) => {
                for (index, value) in list.iter().enumerate() {
                    self.claim_texts(value, &format!("{at}[{index}]"));
                }
            }
            _ => {}
        }
    }
}

/// What to say of a condition that hangs on no value.
fn explain_constant(condition: &Condition) -> Option<String> {
    let mut reads = false;
    reads::condition(condition, &mut |_, _| reads = true);
    if reads {
        return None;
    }
    let given = Given {
        tenant: given::tenant("acme".parse().ok()?),
        user: None,
        client: DEFAULT_CLIENT.parse().ok()?,
    };
    let fix = match condition.evaluate(&Values::new(given.input())) {
        Ok(true) => "is always true; take it out",
        Ok(false) => "is always false; take the object out that it governs",
        Err(_) => "compares values of different kinds, which is always an error; mend it",
    };
    Some(format!("names no value and {fix}"))
}

#[cfg(test)]
mod tests;
