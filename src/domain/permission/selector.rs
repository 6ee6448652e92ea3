//! One selector of a permission: exactly one text, all texts with a prefix, or all.

use crate::domain::ids::TenantId;
use crate::domain::permission::form::Form;
use crate::domain::permission::form::is_delimiter;
use serde::Serialize;
use serde::Serializer;
use serde_json::Value;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

const MAX_TEXT: usize = 1024;

/// What a selector matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    Exact(Arc<str>),
    Prefix(Arc<str>),
    All,
}

impl Pattern {
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(own) => **own == *text,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::All => true,
        }
    }
    /// Whether everything that `other` matches is matched here.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (_, Self::All) | (Self::Exact(_), Self::Prefix(_)) => false,
            (Self::Exact(own), Self::Exact(text)) => own == text,
            (Self::Prefix(own), Self::Exact(text) | Self::Prefix(text)) => text.starts_with(&**own),
        }
    }
    /// As in a permission, a prefix under this word.
    pub(in crate::domain) fn serializable(&self, prefix_word: &'static str) -> impl Serialize {
        Spelled { pattern: self, prefix_word }
    }
}

/// A pattern, and how a template wrote it if one did. The form is evidence for the boundary check
/// only: it is not compared and not serialised.
#[derive(Clone, Debug)]
pub struct Selector {
    pattern: Pattern,
    form: Option<Arc<Form>>,
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern
    }
}
impl Eq for Selector {}
impl PartialOrd for Selector {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Selector {
    fn cmp(&self, other: &Self) -> Ordering {
        self.pattern.cmp(&other.pattern)
    }
}
impl Hash for Selector {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pattern.hash(state);
    }
}

/// The texts that a selector may hold: nothing that hides from whoever reads it.
pub fn check_text(text: &str) -> Result<(), &'static str> {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if text.is_empty() {
        Err("is empty; a selector for everything is `{\"all\": true}`")
    } else if text.len() > MAX_TEXT {
        Err("is longer than 1024 bytes")
    } else if text.contains(hidden) {
        Err("holds control or invisible characters")
    } else {
        Ok(())
    }
}

impl Selector {
    pub const fn new(pattern: Pattern) -> Self {
        Self { pattern, form: None }
    }
    pub(in crate::domain) const fn rendered(pattern: Pattern, form: Option<Arc<Form>>) -> Self {
        Self { pattern, form }
    }
    pub const fn pattern(&self) -> &Pattern {
        &self.pattern
    }
    pub fn parse(value: &Value) -> Result<Self, &'static str> {
        let Some((text, prefix)) = text_of(value)? else {
            return Ok(Self::new(Pattern::All));
        };
        check_text(text)?;
        Ok(Self::new(if prefix {
            Pattern::Prefix(text.into())
        } else {
            Pattern::Exact(text.into())
        }))
    }
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.pattern.covers(&other.pattern)
    }
    /// What both match. One of two patterns that meet always covers the other. The evidence of
    /// either side holds for whatever lies within both.
    pub(super) fn intersection(&self, other: &Self) -> Option<Self> {
        let pattern = if self.covers(other) {
            &other.pattern
        } else if other.covers(self) {
            &self.pattern
        } else {
            return None;
        };
        let separating = |selector: &Self| selector.form.clone().filter(|form| form.separates());
        let form = separating(self).or_else(|| separating(other));
        Some(Self { pattern: pattern.clone(), form })
    }
    /// Whether everything that this matches is `tenant`'s alone. By its form where a template wrote
    /// it. Otherwise by its text, which must begin with the tenant and a delimiter or be the tenant:
    /// a delimiter further on proves nothing (`globex:acme:` belongs to `globex`).
    pub(in crate::domain) fn is_within(&self, tenant: &TenantId) -> bool {
        let (text, exact) = match &self.pattern {
            Pattern::Exact(text) => (text, true),
            Pattern::Prefix(text) => (text, false),
            Pattern::All => return false,
        };
        if let Some(form) = &self.form {
            return form.places(tenant, text);
        }
        let rest = text.strip_prefix(tenant.as_str());
        rest.is_some_and(|rest| rest.starts_with(is_delimiter) || (exact && rest.is_empty()))
    }
}

/// The text of a selector and whether it is a prefix; `None` for all. The grammar of permissions
/// and templates alike.
pub(in crate::domain) fn text_of(value: &Value) -> Result<Option<(&str, bool)>, &'static str> {
    const WRONG: &str = "is not a selector; write a string, {\"key\": …}, {\"name\": …}, \
                         {\"keyPrefix\": …}, {\"namePrefix\": …} or {\"all\": true}";
    let object = match value {
        Value::String(text) => return Ok(Some((text, false))),
        Value::Object(object) if object.len() == 1 => object,
        _ => return Err(WRONG),
    };
    match object.iter().next().map(|(key, value)| (key.as_str(), value)) {
        Some(("key" | "name", Value::String(text))) => Ok(Some((text, false))),
        Some(("keyPrefix" | "namePrefix", Value::String(text))) => Ok(Some((text, true))),
        Some(("all", Value::Bool(true))) => Ok(None),
        _ => Err(WRONG),
    }
}

struct Spelled<'a> {
    pattern: &'a Pattern,
    prefix_word: &'static str,
}

impl Serialize for Spelled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        match &self.pattern {
            Pattern::Exact(text) => serializer.serialize_str(text),
            Pattern::Prefix(text) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(self.prefix_word, &**text)?;
                map.end()
            }
            Pattern::All => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("all", &true)?;
                map.end()
            }
        }
    }
}
