//! What one person gains and loses between two renderings.

use crate::domain::permission::Permission;
use crate::domain::permission::PermissionSet;
use crate::domain::permission::Vocabulary;
use crate::domain::scope::ScopeSet;
use serde::Serialize;

/// What somebody is granted.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    pub permissions: &'a PermissionSet,
    pub scope: &'a ScopeSet,
}

/// Between two such: what of each is not covered by the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SetDiff {
    pub gained: Vec<Permission>,
    pub lost: Vec<Permission>,
    pub scope_gained: ScopeSet,
    pub scope_lost: ScopeSet,
}

impl SetDiff {
    pub fn between(old: Held<'_>, new: Held<'_>, v: &Vocabulary) -> Self {
        // Most people get the same as before, and that is found without a comparison of each with each.
        let (gained, lost) = if old.permissions == new.permissions {
            (Vec::new(), Vec::new())
        } else {
            (
                beyond(new.permissions, old.permissions, v),
                beyond(old.permissions, new.permissions, v),
            )
        };
        Self {
            gained,
            lost,
            scope_gained: new.scope.without(old.scope),
            scope_lost: old.scope.without(new.scope),
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
    pub fn gains(&self) -> usize {
        self.gained.len().saturating_add(self.scope_gained.iter().count())
    }
    pub fn loses(&self) -> usize {
        self.lost.len().saturating_add(self.scope_lost.iter().count())
    }

    /// At most so many of each; how many that leaves out.
    pub(super) fn cut(&mut self, most: usize) -> usize {
        let mut cut = 0_usize;
        for list in [&mut self.gained, &mut self.lost] {
            cut = cut.saturating_add(list.len().saturating_sub(most));
            list.truncate(most);
        }
        cut
    }
}

fn beyond(set: &PermissionSet, other: &PermissionSet, v: &Vocabulary) -> Vec<Permission> {
    set.iter().filter(|permission| !other.covers(permission, v)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permission::tests::vocabulary;
    use serde_json::{Value, json};

    #[test]
    fn what_is_covered_is_neither_gained_nor_lost() {
        let v = vocabulary();
        let set = |value: &Value| PermissionSet::parse(value, &v).unwrap();
        let item = |role: &str, item: Value| json!({"role": role, "cache": "c", "item": item});
        let wide = set(&json!([item("readwrite", json!({"keyPrefix": "acme:"}))]));
        let split = set(&json!([
            item("readonly", json!({"keyPrefix": "acme:"})),
            item("writeonly", json!({"keyPrefix": "acme:"})),
        ]));
        let narrow = set(&json!([item("readonly", json!("acme:1")), item("readonly", json!("x"))]));
        let (one, two): (ScopeSet, ScopeSet) = ("a b".parse().unwrap(), "b c".parse().unwrap());
        let diff = |old, old_scope, new, new_scope| {
            let (old, new) = (
                Held { permissions: old, scope: old_scope },
                Held { permissions: new, scope: new_scope },
            );
            SetDiff::between(old, new, &v)
        };
        assert!(diff(&wide, &one, &split, &one).is_empty());
        assert!(diff(&split, &one, &wide, &one).is_empty());
        let found = diff(&wide, &one, &narrow, &two);
        assert_eq!((found.gains(), found.loses()), (2, 2));
        let gained: Vec<_> = found.gained.iter().map(Permission::to_json).collect();
        assert_eq!(gained[0]["item"], "x");
        assert_eq!(found.lost, wide.iter().cloned().collect::<Vec<_>>());
        assert_eq!(
            (found.scope_gained.to_string(), found.scope_lost.to_string()),
            ("c".into(), "a".into())
        );
    }
}
