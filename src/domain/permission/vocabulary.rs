//! The declared resource types: their selectors, roles and actions (`templates/resources.toml`).

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Actions of one type fit the bits of a word.
const MAX_ACTIONS: usize = 64;
const MAX_SELECTORS: usize = 8;
const MAX_TYPES: usize = 64;
/// Members of a permission that are not selectors.
const TAKEN_KEYS: [&str; 5] = ["role", "type", "description", "permissions", "action"];

/// A set of actions of one resource type: bit `n` is its `n`th action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions(u64);

impl Actions {
    pub const NONE: Self = Self(0);

    fn only(index: usize) -> Self {
        Self(u32::try_from(index).ok().and_then(|index| 1_u64.checked_shl(index)).unwrap_or(0))
    }
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    pub const fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

/// Whether tenants' permissions of a type must be kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Every permission needs a separating selector.
    Tenant,
    /// All tenants see the same; their templates may hold only the safe actions.
    Shared,
}

/// A role inside a permission, such as `readonly`, and what it may do.
#[derive(Clone, Debug)]
pub struct AccessRole {
    pub name: Arc<str>,
    pub actions: Actions,
}

#[derive(Clone, Debug)]
struct Action {
    name: Box<str>,
    /// Index of the selector that it acts on.
    level: usize,
}

#[derive(Debug)]
pub struct ResourceType {
    name: Box<str>,
    selectors: Vec<Box<str>>,
    keyed: BTreeSet<String>,
    kind: Kind,
    safe: Actions,
    staff: Actions,
    actions: Vec<Action>,
    roles: Vec<AccessRole>,
}

impl ResourceType {
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The selector keys, from the widest level to the narrowest.
    pub fn selectors(&self) -> impl ExactSizeIterator<Item = &str> {
        self.selectors.iter().map(AsRef::as_ref)
    }
    pub const fn kind(&self) -> Kind {
        self.kind
    }
    /// What a tenant's template may hold although the type is shared.
    pub const fn safe(&self) -> Actions {
        self.safe
    }
    /// What only a template that may cross tenants can grant.
    pub const fn staff(&self) -> Actions {
        self.staff
    }
    pub fn roles(&self) -> &[AccessRole] {
        &self.roles
    }
    pub fn role(&self, name: &str) -> Option<&AccessRole> {
        self.roles.iter().find(|role| &*role.name == name)
    }
    /// The action's bit and the index of the selector level that it acts on.
    pub fn action(&self, name: &str) -> Option<(Actions, usize)> {
        let index = self.actions.iter().position(|action| &*action.name == name)?;
        Some((Actions::only(index), self.actions.get(index)?.level))
    }
    pub(in crate::domain) fn actions_acting_at(&self, level: usize) -> Actions {
        let bits = self.actions.iter().enumerate().filter(|(_, action)| action.level == level);
        bits.fold(Actions::NONE, |all, (index, _)| all.or(Actions::only(index)))
    }
    /// For people: the names of some of the type's actions.
    pub fn action_names(&self, actions: Actions) -> Vec<&str> {
        let named = self.actions.iter().enumerate();
        let named = named.filter(|(index, _)| Actions::only(*index).is_subset(actions));
        named.map(|(_, action)| &*action.name).collect()
    }
    /// How a prefix of this selector is written.
    pub(in crate::domain) fn prefix_word(&self, selector: &str) -> &'static str {
        if self.keyed.contains(selector) { "keyPrefix" } else { "namePrefix" }
    }
}

/// All resource types of an installation. Cheap to clone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct Vocabulary {
    /// In the order of their names.
    types: Arc<[Arc<ResourceType>]>,
}

impl Vocabulary {
    pub fn types(&self) -> &[Arc<ResourceType>] {
        &self.types
    }
    pub fn find(&self, name: &str) -> Option<&Arc<ResourceType>> {
        self.types.iter().find(|resource| &*resource.name == name)
    }
    /// The one type whose selectors are exactly these keys.
    pub fn with_selectors<'a>(
        &self,
        keys: &(impl Iterator<Item = &'a str> + Clone),
    ) -> Option<&Arc<ResourceType>> {
        let count = keys.clone().count();
        self.types.iter().find(|resource| {
            resource.selectors.len() == count
                && resource.selectors.iter().all(|own| keys.clone().any(|key| key == &**own))
        })
    }
    /// For people: each type with its selectors.
    pub fn summary(&self) -> String {
        let one = |resource: &Arc<ResourceType>| {
            format!("{} ({})", resource.name, resource.selectors.join(", "))
        };
        self.types.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// A vocabulary that does not hold together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("resource type `{resource}`: {problem}")]
pub struct VocabularyError {
    pub resource: String,
    pub problem: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    types: BTreeMap<String, Declared>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    selectors: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    keyed: BTreeSet<String>,
    kind: Kind,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    safe: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    staff: Vec<String>,
    actions: BTreeMap<String, String>,
    roles: BTreeMap<String, Vec<String>>,
}

fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

impl TryFrom<Declared> for ResourceType {
    type Error = String;

    fn try_from(declared: Declared) -> Result<Self, String> {
        let Declared { selectors, keyed, kind, safe, staff, actions, roles } = declared;
        if selectors.is_empty() || selectors.len() > MAX_SELECTORS {
            return Err(format!("a type has 1 to {MAX_SELECTORS} selectors"));
        }
        for (index, key) in selectors.iter().enumerate() {
            if !is_word(key) || TAKEN_KEYS.contains(&key.as_str()) {
                return Err(format!("`{key}` cannot be the name of a selector"));
            }
            if selectors.iter().take(index).any(|other| other == key) {
                return Err(format!("selector `{key}` is declared twice"));
            }
        }
        if let Some(key) = keyed.iter().find(|key| !selectors.contains(key)) {
            return Err(format!("`keyed` names `{key}`, which is no selector of the type"));
        }
        if actions.is_empty() || actions.len() > MAX_ACTIONS || roles.is_empty() {
            return Err(format!("a type has 1 to {MAX_ACTIONS} actions and at least one role"));
        }
        if kind == Kind::Tenant && !safe.is_empty() {
            return Err("`safe` is for shared types only".into());
        }
        let mut known = Vec::with_capacity(actions.len());
        for (name, level) in actions {
            let level = selectors.iter().position(|key| *key == level);
            let level = level.ok_or_else(|| format!("action `{name}` acts on no selector"))?;
            if !is_word(&name) {
                return Err(format!("`{name}` cannot be the name of an action"));
            }
            known.push(Action { name: name.into(), level });
        }
        let collect = |names: &[String]| {
            names.iter().try_fold(Actions::NONE, |all, name| {
                let index = known.iter().position(|action| *action.name == **name);
                let index = index.ok_or_else(|| format!("there is no action `{name}`"))?;
                Ok::<_, String>(all.or(Actions::only(index)))
            })
        };
        let (safe, staff) = (collect(&safe)?, collect(&staff)?);
        let mut access = Vec::with_capacity(roles.len());
        for (name, names) in roles {
            let actions = collect(&names)?;
            if !is_word(&name) || actions.is_empty() {
                return Err(format!("role `{name}` needs a plain name and at least one action"));
            }
            access.push(AccessRole { name: name.into(), actions });
        }
        Ok(Self {
            name: "".into(),
            selectors: selectors.into_iter().map(Into::into).collect(),
            keyed,
            kind,
            safe,
            staff,
            actions: known,
            roles: access,
        })
    }
}

impl TryFrom<Document> for Vocabulary {
    type Error = VocabularyError;

    fn try_from(document: Document) -> Result<Self, VocabularyError> {
        let mut types: Vec<Arc<ResourceType>> = Vec::with_capacity(document.types.len());
        for (name, declared) in document.types {
            let wrong = |problem| VocabularyError { resource: name.clone(), problem };
            if !is_word(&name) || types.len() == MAX_TYPES {
                return Err(wrong(format!("at most {MAX_TYPES} types, with plain names")));
            }
            let mut resource = ResourceType::try_from(declared).map_err(wrong)?;
            resource.name = name.as_str().into();
            // SECURITY: were one type's selectors part of another's, a permission that loses a
            // selector on its way would turn into a wider one of the other type, without an error.
            let within = |a: &ResourceType, b: &ResourceType| {
                a.selectors.iter().all(|key| b.selectors.contains(key))
            };
            if let Some(other) =
                types.iter().find(|other| within(other, &resource) || within(&resource, other))
            {
                let problem = format!("its selectors and those of `{}` overlap wholly", other.name);
                return Err(wrong(problem));
            }
            types.push(Arc::new(resource));
        }
        Ok(Self { types: types.into() })
    }
}

impl From<Vocabulary> for Document {
    fn from(vocabulary: Vocabulary) -> Self {
        let one = |resource: &Arc<ResourceType>| {
            let names =
                |actions| resource.action_names(actions).into_iter().map(str::to_owned).collect();
            let level = |action: &Action| resource.selectors.get(action.level);
            let declared = Declared {
                selectors: resource.selectors().map(str::to_owned).collect(),
                keyed: resource.keyed.clone(),
                kind: resource.kind,
                safe: names(resource.safe),
                staff: names(resource.staff),
                actions: (resource.actions.iter())
                    .filter_map(|action| {
                        Some((action.name.to_string(), level(action)?.to_string()))
                    })
                    .collect(),
                roles: (resource.roles.iter())
                    .map(|role| (role.name.to_string(), names(role.actions)))
                    .collect(),
            };
            (resource.name.to_string(), declared)
        };
        Self { types: vocabulary.types.iter().map(one).collect() }
    }
}
