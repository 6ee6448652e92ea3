//! One concrete permission, and the resource that a request names.

use crate::domain::permission::selector::Pattern;
use crate::domain::permission::selector::Selector;
use crate::domain::permission::selector::check_text;
use crate::domain::permission::vocabulary::Actions;
use crate::domain::permission::vocabulary::ResourceType;
use crate::domain::permission::vocabulary::Vocabulary;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Why something is no permission, or no resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {problem}")]
pub struct PermissionError {
    /// Where: a path below the value that was given, `$` for the value itself.
    pub at: String,
    pub problem: String,
}

impl PermissionError {
    pub(super) fn new(at: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { at: at.into(), problem: problem.into() }
    }
    pub(super) fn within(mut self, outer: &str) -> Self {
        let inner = self.at.strip_prefix('$').unwrap_or(&self.at);
        self.at = format!("{outer}{inner}");
        self
    }
}

/// A role on a resource type, and one selector for each of the type's keys.
#[derive(Clone, Debug)]
pub struct Permission {
    resource: Arc<ResourceType>,
    role: Arc<str>,
    /// In the order of the type's selectors, and as many.
    selectors: Box<[Selector]>,
}

impl PartialEq for Permission {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Permission {}
impl PartialOrd for Permission {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Permission {
    fn cmp(&self, other: &Self) -> Ordering {
        let names = if Arc::ptr_eq(&self.resource, &other.resource) {
            Ordering::Equal
        } else {
            self.resource.name().cmp(other.resource.name())
        };
        names
            .then_with(|| self.selectors.cmp(&other.selectors))
            .then_with(|| self.role.cmp(&other.role))
    }
}
impl Hash for Permission {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.resource.name().hash(state);
        self.role.hash(state);
        self.selectors.hash(state);
    }
}

/// How long the texts of a permission's selectors are, and a digest of them, one after the other.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    length: usize,
    texts: u64,
}

impl Extent {
    /// Whoever covers another has for each of its texts a beginning of it, or none for all: its texts
    /// are shorter, or they are the same.
    pub(super) const fn may_cover(self, other: Self) -> bool {
        self.length < other.length || (self.length == other.length && self.texts == other.texts)
    }
}

impl Permission {
    /// `selectors` are those of `resource`, in its order.
    pub(in crate::domain) fn rendered(
        resource: Arc<ResourceType>,
        role: Arc<str>,
        selectors: Vec<Selector>,
    ) -> Self {
        debug_assert_eq!(selectors.len(), resource.selectors().len());
        Self { resource, role, selectors: selectors.into() }
    }

    /// Takes exactly what `to_json` gives; `type` may be left out. Nothing is guessed: a permission
    /// has one type's selectors, all of them, and nothing else.
    pub fn parse(value: &Value, vocabulary: &Vocabulary) -> Result<Self, PermissionError> {
        let Value::Object(object) = value else {
            return Err(PermissionError::new("$", "a permission is a JSON object"));
        };
        let resource = resource_type(object, &["role", "type"], vocabulary)?;
        if let Some(declared) = object.get("type")
            && declared.as_str() != Some(resource.name())
        {
            let problem = format!("its selectors are those of `{}`", resource.name());
            return Err(PermissionError::new("$.type", problem));
        }
        let role = parse_role(object, resource)?;
        let parse = |key: &str| {
            let value = object.get(key).unwrap_or(&Value::Null);
            Selector::parse(value)
                .map_err(|problem| PermissionError::new(format!("$.{key}"), problem))
        };
        let selectors = resource.selectors().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { resource: Arc::clone(resource), role, selectors })
    }

    /// An element of `authorization_details` (RFC 9396), `type` first where the map keeps an order.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
    pub fn resource_type(&self) -> &str {
        self.resource.name()
    }
    /// The access role, such as `readonly`.
    pub fn role(&self) -> &str {
        &self.role
    }
    /// Each selector with its key.
    pub fn selectors(&self) -> impl Iterator<Item = (&str, &Pattern)> {
        self.resource.selectors().zip(self.selectors.iter().map(Selector::pattern))
    }
    pub(in crate::domain) fn selector_list(&self) -> &[Selector] {
        &self.selectors
    }

    /// The type as this vocabulary has it; `None` when it has none with these selectors, so that a
    /// permission made under another vocabulary allows nothing rather than something else.
    pub(in crate::domain) fn resource<'a>(&'a self, v: &'a Vocabulary) -> Option<&'a ResourceType> {
        if v.types().iter().any(|known| Arc::ptr_eq(known, &self.resource)) {
            return Some(&self.resource);
        }
        let known = v.find(self.resource.name())?;
        known.selectors().eq(self.resource.selectors()).then_some(known)
    }
    /// What the role lists.
    pub(in crate::domain) fn listed_actions(&self, v: &Vocabulary) -> Actions {
        let role = self.resource(v).and_then(|resource| resource.role(&self.role));
        role.map_or(Actions::NONE, |role| role.actions)
    }
    /// What the role lists, less the actions that reach further than the selectors: whoever acts on
    /// a level acts on all below it, so everything below must be selected.
    pub(super) fn actions(&self, v: &Vocabulary) -> Actions {
        let mut actions = self.listed_actions(v);
        let Some(resource) = self.resource(v) else { return Actions::NONE };
        for (level, selector) in self.selectors.iter().enumerate().skip(1) {
            if *selector.pattern() != Pattern::All {
                for above in 0..level {
                    actions = actions.without(resource.actions_acting_at(above));
                }
            }
        }
        actions
    }
    pub(super) fn same_type(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.resource, &other.resource)
            || (self.resource.name() == other.resource.name()
                && self.resource.selectors().eq(other.resource.selectors()))
    }
    /// Whether every resource selected by `other` is selected here.
    pub(super) fn selects_all_of(&self, other: &Self) -> bool {
        self.same_type(other)
            && self.selectors.iter().zip(&other.selectors).all(|(own, other)| own.covers(other))
    }
    /// Whether a set that holds this has no need of `other`.
    pub(in crate::domain) fn absorbs(&self, other: &Self, v: &Vocabulary) -> bool {
        other.listed_actions(v).is_subset(self.listed_actions(v)) && self.selects_all_of(other)
    }
    /// How a prefix of this selector is written: `keyPrefix` or `namePrefix`.
    pub(in crate::domain) fn prefix_word(&self, selector: &str) -> &'static str {
        self.resource.prefix_word(selector)
    }
    pub(super) fn extent(&self) -> Extent {
        let mut length = 0;
        let mut texts = DefaultHasher::new();
        for selector in &self.selectors {
            if let Pattern::Exact(text) | Pattern::Prefix(text) = selector.pattern() {
                length += text.len();
                texts.write(text.as_bytes());
            }
        }
        Extent { length, texts: texts.finish() }
    }
    /// The resources that both select, with each of the largest roles for what both may do.
    pub(super) fn intersection(&self, other: &Self, v: &Vocabulary) -> Vec<Self> {
        let selectors = || {
            let pairs = self.selectors.iter().zip(&other.selectors);
            pairs.map(|(own, other)| own.intersection(other)).collect::<Option<Box<[_]>>>()
        };
        let resource = v.find(self.resource.name()).filter(|_| self.resource(v).is_some());
        let Some(resource) = resource.filter(|_| self.same_type(other)) else { return Vec::new() };
        let Some(selectors) = selectors() else { return Vec::new() };
        let make = |role: &Arc<str>| Self {
            resource: Arc::clone(resource),
            role: Arc::clone(role),
            selectors: selectors.clone(),
        };
        let (own, others) = (self.listed_actions(v), other.listed_actions(v));
        let common = own.and(others);
        // A role that one side bears keeps its name, where several roles list the same.
        for permission in [self, other] {
            if !common.is_empty() && permission.listed_actions(v) == common {
                return vec![make(&permission.role)];
            }
        }
        let fitting = || resource.roles().iter().filter(|role| role.actions.is_subset(common));
        let largest = fitting().enumerate().filter(|(index, role)| {
            !fitting().enumerate().any(|(other_index, other)| {
                role.actions.is_subset(other.actions)
                    && (role.actions != other.actions || other_index < *index)
            })
        });
        largest.map(|(_, role)| make(&role.name)).collect()
    }
    pub(super) fn allows(&self, request: &Resource, action: &str, v: &Vocabulary) -> bool {
        let Some(resource) = self.resource(v).filter(|own| own.name() == request.resource.name())
        else {
            return false;
        };
        let Some((bit, level)) = resource.action(action) else { return false };
        resource.selectors().eq(request.resource.selectors())
            && bit.is_subset(self.actions(v))
            && self.selectors.iter().zip(&request.values).enumerate().all(
                |(index, (own, value))| match value {
                    Some(text) => own.pattern().matches(text),
                    None => index > level,
                },
            )
    }
}

impl Serialize for Permission {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2 + self.selectors.len()))?;
        map.serialize_entry("type", self.resource.name())?;
        map.serialize_entry("role", &*self.role)?;
        for (key, selector) in self.resource.selectors().zip(&self.selectors) {
            map.serialize_entry(
                key,
                &selector.pattern().serializable(self.resource.prefix_word(key)),
            )?;
        }
        map.end()
    }
}

/// The type whose selectors the object's members are, apart from those in `others`.
pub(in crate::domain) fn resource_type<'v>(
    object: &Map<String, Value>,
    others: &[&str],
    vocabulary: &'v Vocabulary,
) -> Result<&'v Arc<ResourceType>, PermissionError> {
    let keys = object.keys().map(String::as_str).filter(|key| !others.contains(key));
    vocabulary.with_selectors(&keys).ok_or_else(|| {
        let known = |key: &str| {
            vocabulary.types().iter().any(|resource| resource.selectors().any(|own| own == key))
        };
        if let Some(key) = keys.clone().find(|key| !known(key)) {
            let key: String = key.chars().take(80).collect();
            let types = vocabulary.summary();
            let problem = format!("nothing is called {key:?} here; the types are {types}");
            return PermissionError::new("$", problem);
        }
        let keys: Vec<&str> = keys.collect();
        let problem = format!(
            "the selectors ({}) are not those of exactly one resource type; the types are {}",
            keys.join(", "),
            vocabulary.summary()
        );
        PermissionError::new("$", problem)
    })
}

/// The declared access role.
pub(in crate::domain) fn parse_role(
    object: &Map<String, Value>,
    resource: &ResourceType,
) -> Result<Arc<str>, PermissionError> {
    let role = object.get("role").and_then(Value::as_str);
    let role = role.and_then(|name| resource.role(name));
    role.map(|role| Arc::clone(&role.name)).ok_or_else(|| {
        let names = resource.roles().iter().map(|role| &*role.name).collect::<Vec<_>>();
        let problem = format!("a role of `{}` is one of {}", resource.name(), names.join(", "));
        PermissionError::new("$.role", problem)
    })
}

/// What a request wants to act on: a type and a text for each selector, save those below the level
/// that the action acts on.
#[derive(Clone, Debug)]
pub struct Resource {
    resource: Arc<ResourceType>,
    values: Vec<Option<Box<str>>>,
}

impl Resource {
    pub fn new<'a>(
        resource_type: &str,
        values: impl IntoIterator<Item = (&'a str, &'a str)>,
        vocabulary: &Vocabulary,
    ) -> Result<Self, PermissionError> {
        let Some(resource) = vocabulary.find(resource_type) else {
            return Err(PermissionError::new("$.type", "there is no such resource type"));
        };
        let mut found = vec![None; resource.selectors().len()];
        for (key, text) in values {
            let wrong = |problem: &str| PermissionError::new(format!("$.{key}"), problem);
            check_text(text).map_err(wrong)?;
            let index = resource.selectors().position(|own| own == key);
            let slot = index.and_then(|index| found.get_mut(index));
            let slot = slot.ok_or_else(|| wrong("is no selector of the resource type"))?;
            if slot.replace(text.into()).is_some() {
                return Err(wrong("is given twice"));
            }
        }
        Ok(Self { resource: Arc::clone(resource), values: found })
    }

    /// An object of strings, such as `{"cache": "reports", "item": "acme:1"}`. The type is that whose
    /// selectors these are, at least down to the level that `action` acts on; `type` may name it.
    pub fn parse(
        value: &Value,
        action: &str,
        vocabulary: &Vocabulary,
    ) -> Result<Self, PermissionError> {
        let Value::Object(object) = value else {
            return Err(PermissionError::new("$", "a resource is a JSON object"));
        };
        let keys = || object.keys().map(String::as_str).filter(|key| *key != "type");
        let mut fitting = vocabulary.types().iter().filter(|resource| {
            let named =
                object.get("type").is_none_or(|name| name.as_str() == Some(resource.name()));
            let level = resource.action(action).map(|(_, level)| level);
            let whole = level.is_some_and(|level| {
                resource.selectors().take(level + 1).all(|own| object.contains_key(own))
            });
            named && whole && keys().all(|key| resource.selectors().any(|own| own == key))
        });
        let (Some(resource), None) = (fitting.next(), fitting.next()) else {
            let problem = "these selectors and this action belong to no single resource type";
            return Err(PermissionError::new("$", problem));
        };
        let text = |key: &'_ str| {
            let text = object.get(key).and_then(Value::as_str);
            text.ok_or_else(|| PermissionError::new(format!("$.{key}"), "is not a string"))
        };
        let values = keys().map(|key| Ok((key, text(key)?))).collect::<Result<Vec<_>, _>>()?;
        Self::new(resource.name(), values, vocabulary)
    }

    pub fn resource_type(&self) -> &str {
        self.resource.name()
    }
    /// For each of the type's selectors, the text if there is one.
    pub(in crate::domain) fn values(&self) -> impl Iterator<Item = Option<&str>> {
        self.values.iter().map(Option::as_deref)
    }
}
