//! May these permissions do this, and if not, what is missing? The decision behind an evaluation in the shape of `AuthZEN`.

use crate::domain::permission::Actions;
use crate::domain::permission::Pattern;
use crate::domain::permission::Permission;
use crate::domain::permission::PermissionError;
use crate::domain::permission::PermissionSet;
use crate::domain::permission::Resource;
use crate::domain::permission::Vocabulary;
use serde::{Serialize, Serializer};
use std::cmp::Reverse;
use std::fmt;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub resource_type: &'a str,
    /// Each selector's key and text. Those below the level that the action acts on can be left out.
    pub selectors: &'a [(&'a str, &'a str)],
    pub action: &'a str,
}

/// A question that has no answer, neither yes nor no. It names what there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    #[error("there is no resource type {name:?}; the types are {}", known.join(", "))]
    ResourceType { name: String, known: Vec<String> },
    #[error("`{resource_type}` has no action {name:?}; its actions are {}", known.join(", "))]
    Action { resource_type: String, name: String, known: Vec<String> },
    #[error("`{resource_type}` has no selector {name:?}; its selectors are {}", known.join(", "))]
    Selector { resource_type: String, name: String, known: Vec<String> },
    #[error("`{action}` acts on {key}, so the resource has to say which `{key}`")]
    Missing { action: String, key: String },
    /// A text that no selector can match, or one given twice.
    #[error("{0}")]
    Resource(PermissionError),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Evaluation {
    Allowed {
        by: Permission,
    },
    /// Without a nearest: no permission is about this resource type.
    Refused {
        #[serde(skip_serializing_if = "Option::is_none")]
        nearest: Option<Nearest>,
    },
}

/// The permission that comes closest, and all that it lacks; never nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nearest {
    pub permission: Permission,
    pub lacks: Vec<Lack>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "lack", rename_all = "snake_case")]
pub enum Lack {
    /// The role does not list the action.
    Action { action: String, role: String, lists: Vec<String> },
    /// The selector `key` does not match what was asked for.
    Selector { key: String, asked: String, reaches: Reach },
    /// The action acts on all that is below the selector `level`, and the selector `key` there is narrower.
    Whole { action: String, level: String, key: String, reaches: Reach },
}

/// What a selector matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    pattern: Pattern,
    /// `keyPrefix` or `namePrefix`.
    prefix_word: &'static str,
}

/// What came from outside goes into a message only so far.
fn shortened(name: &str) -> String {
    name.chars().take(80).collect()
}

fn owned<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// `Allowed` exactly when `PermissionSet::allows` finds a permission.
pub fn evaluate(
    set: &PermissionSet,
    question: &Question<'_>,
    v: &Vocabulary,
) -> Result<Evaluation, Unanswerable> {
    let Question { resource_type, selectors, action } = *question;
    let name = shortened;
    let Some(declared) = v.find(resource_type) else {
        let known = owned(v.types().iter().map(|known| known.name()));
        return Err(Unanswerable::ResourceType { name: name(resource_type), known });
    };
    let resource_type = declared.name().to_owned();
    let Some((_, acts_at)) = declared.action(action) else {
        let levels = 0..declared.selectors().len();
        let all = levels.fold(Actions::NONE, |all, at| all.or(declared.actions_acting_at(at)));
        let known = owned(declared.action_names(all));
        return Err(Unanswerable::Action { resource_type, name: name(action), known });
    };
    let unknown = |key: &str| declared.selectors().all(|own| own != key);
    if let Some((key, _)) = selectors.iter().find(|(key, _)| unknown(key)) {
        let known = owned(declared.selectors());
        return Err(Unanswerable::Selector { resource_type, name: name(key), known });
    }
    let absent = |key: &&str| selectors.iter().all(|(given, _)| given != key);
    if let Some(key) = declared.selectors().take(acts_at + 1).find(absent) {
        return Err(Unanswerable::Missing { action: action.to_owned(), key: key.to_owned() });
    }
    let resource = Resource::new(&resource_type, selectors.iter().copied(), v)
        .map_err(Unanswerable::Resource)?;
    if let Some(permission) = set.allows(&resource, action, v) {
        return Ok(Evaluation::Allowed { by: permission.clone() });
    }
    let candidates = set.iter().filter_map(|permission| {
        let lacks = lacks(permission, &resource, action, v)?;
        let listed = !lacks.iter().any(|lack| matches!(lack, Lack::Action { .. }));
        let unmatched = lacks.len() - usize::from(!listed);
        Some(((unmatched, Reverse(listed)), Nearest { permission: permission.clone(), lacks }))
    });
    // The first of those that are equally near.
    let nearest = candidates.min_by_key(|(distance, _)| *distance).map(|(_, nearest)| nearest);
    Ok(Evaluation::Refused { nearest })
}

/// `None` if the permission is about something else altogether.
fn lacks(
    permission: &Permission,
    asked: &Resource,
    action: &str,
    v: &Vocabulary,
) -> Option<Vec<Lack>> {
    let resource =
        permission.resource(v).filter(|resource| resource.name() == asked.resource_type())?;
    let (bit, acts_at) = resource.action(action)?;
    let level = resource.selectors().nth(acts_at)?;
    let mut lacks = Vec::new();
    let selectors = permission.selectors().zip(asked.values()).enumerate();
    for (index, ((key, pattern), value)) in selectors {
        let reaches =
            || Reach { pattern: pattern.clone(), prefix_word: permission.prefix_word(key) };
        let key = || key.to_owned();
        if index > acts_at {
            if *pattern != Pattern::All {
                let (action, level) = (action.to_owned(), level.to_owned());
                lacks.push(Lack::Whole { action, level, key: key(), reaches: reaches() });
            }
        } else if !value.is_some_and(|text| pattern.matches(text)) {
            let asked = value.unwrap_or_default().to_owned();
            lacks.push(Lack::Selector { key: key(), asked, reaches: reaches() });
        }
    }
    let listed = permission.listed_actions(v);
    if !bit.is_subset(listed) {
        lacks.push(Lack::Action {
            action: action.to_owned(),
            role: permission.role().to_owned(),
            lists: owned(resource.action_names(listed)),
        });
    }
    Some(lacks)
}

/// `only …`, of what the permission reaches.
impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pattern {
            Pattern::Exact(text) => write!(f, "only `{text}`"),
            Pattern::Prefix(text) => {
                let word = self.prefix_word.trim_end_matches("Prefix");
                write!(f, "only {word}s that begin with `{text}`")
            }
            Pattern::All => write!(f, "all"),
        }
    }
}

/// As in a permission: a string, an object of one prefix, or `{"all": true}`.
impl Serialize for Reach {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.pattern.serializable(self.prefix_word).serialize(serializer)
    }
}

/// A sentence for people, without a full stop.
impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action { action, role, lists } if lists.is_empty() => {
                write!(f, "no role is called `{role}` any more, so it does not allow `{action}`")
            }
            Self::Action { action, role, lists } => {
                write!(f, "the role `{role}` allows {}, and not `{action}`", lists.join(", "))
            }
            Self::Selector { key, asked, reaches } => {
                write!(f, "`{key}` is `{asked}`; the permission reaches {reaches}")
            }
            Self::Whole { action, level, key, reaches } => {
                write!(
                    f,
                    "`{action}` acts on the whole `{level}`; the permission reaches of its `{key}` {reaches}"
                )
            }
        }
    }
}

/// All that it lacks, parted by `; and `.
impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, lack) in self.lacks.iter().enumerate() {
            write!(f, "{}{lack}", if index > 0 { "; and " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
