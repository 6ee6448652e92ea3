//! Where permissions come from: claim → mapping rule → role → template version → place in it → values.

use crate::domain::ids::Role;
use crate::domain::permission::Permission;
use crate::domain::permission::PermissionSet;
use crate::domain::permission::Vocabulary;
use crate::domain::role_mapping::TraceEntry;
use crate::domain::template::Origin;
use crate::domain::template::Traced;
use crate::domain::template::ValueUsed;
use serde::Serialize;
use std::collections::HashMap;

/// What one of somebody's roles rendered to.
#[derive(Clone, Copy, Debug)]
pub struct TracedRole<'a> {
    pub role: &'a Role,
    /// As in a token's `tpl`: `data-entry@17`.
    pub version: &'a str,
    pub traced: &'a Traced,
}

/// What several roles give together, in the order of a `PermissionSet`, each with all that led to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Provenance(Vec<Granted>);

/// One permission of the union.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Granted {
    pub permission: Permission,
    /// The places that rendered just this; at least one.
    pub origins: Vec<Lineage>,
    /// What was rendered too and is not in the union, because this permission covers it. Each stands
    /// under one permission, the first that covers it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub folded: Vec<Folded>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Folded {
    pub permission: Permission,
    pub origin: Lineage,
}

/// The way from claims to a permission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lineage {
    /// The rules that yielded the role; none where it did not come from claims.
    pub rules: Vec<Rule>,
    pub role: Role,
    pub version: Box<str>,
    /// The place in the template.
    pub at: Box<str>,
    pub values: Vec<ValueUsed>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Box<str>>,
}

/// A mapping rule that matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Its place in the provider's entry, from 0.
    pub rule: usize,
    /// A JSON pointer.
    pub claim: String,
    /// The value on which it matched.
    pub matched: String,
}

impl Lineage {
    fn new(role: TracedRole<'_>, rules: &[Rule], origin: &Origin) -> Self {
        Self {
            rules: rules.to_vec(),
            role: role.role.clone(),
            version: role.version.into(),
            at: origin.at.clone(),
            values: origin.values.clone(),
            conditions: origin.conditions.clone(),
        }
    }
}

impl Provenance {
    /// `mapping` says how each rule of the provider's entry fared.
    pub fn of(roles: &[TracedRole<'_>], mapping: &[TraceEntry], v: &Vocabulary) -> Self {
        let union = roles.iter().fold(PermissionSet::default(), |union, role| {
            union.union(&role.traced.rendered.permissions, v)
        });
        let places: HashMap<&Permission, usize> =
            union.iter().enumerate().map(|(place, permission)| (permission, place)).collect();
        let granted = |permission: &Permission| Granted {
            permission: permission.clone(),
            origins: Vec::new(),
            folded: Vec::new(),
        };
        let mut found: Vec<Granted> = union.iter().map(granted).collect();
        for role in roles {
            let matching = matching(role.role, mapping);
            for origin in &role.traced.origins {
                let permission = &origin.permission;
                let lineage = Lineage::new(*role, &matching, origin);
                if let Some(granted) = places.get(permission).and_then(|at| found.get_mut(*at)) {
                    granted.origins.push(lineage);
                } else if let Some(granted) =
                    found.iter_mut().find(|granted| granted.permission.absorbs(permission, v))
                {
                    let permission = permission.clone();
                    granted.folded.push(Folded { permission, origin: lineage });
                }
            }
        }
        Self(found)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Granted> {
        self.0.iter()
    }

    /// What a token's permission comes from, which ceilings and requests may have narrowed since: all
    /// that cover it. None if the roles no longer give it, or if it allows nothing under this vocabulary.
    pub fn behind<'a>(
        &'a self,
        permission: &'a Permission,
        v: &'a Vocabulary,
    ) -> impl Iterator<Item = &'a Granted> {
        let nothing = permission.listed_actions(v).is_empty();
        self.0.iter().filter(move |granted| !nothing && granted.permission.absorbs(permission, v))
    }
}

fn matching(role: &Role, mapping: &[TraceEntry]) -> Vec<Rule> {
    let matched = |entry: &TraceEntry| {
        let matched = entry.matched.clone().filter(|_| entry.role == *role)?;
        Some(Rule { rule: entry.rule, claim: entry.claim.clone(), matched })
    };
    mapping.iter().filter_map(matched).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permission::tests::vocabulary;
    use crate::domain::role_mapping::RoleMapping;
    use crate::domain::role_mapping::map;
    use crate::domain::template::RenderInput;
    use crate::domain::template::RoleTemplate;
    use crate::domain::template::User;
    use crate::domain::tenant::Tenant;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn traced(permissions: &Value, claims: &Value) -> Traced {
        let v = vocabulary();
        let template = json!({"permissions": permissions}).to_string();
        let template = RoleTemplate::compile(&template, &v, true).unwrap();
        let tenant: Tenant =
            serde_json::from_value(json!({"id": "acme", "name": "Acme", "attributes": {}}))
                .unwrap();
        let user =
            Some(User { id: &"u_dana".parse().unwrap(), claims: claims.as_object().unwrap() });
        let input = RenderInput { tenant: &tenant, user, client: &"demo".parse().unwrap() };
        template.trace(&input, &v).unwrap()
    }

    fn item(role: &str, item: &Value) -> Value {
        json!({"role": role, "cache": "c", "item": item})
    }

    fn of(traced: &[(&str, &str, Traced)], mapping: &[TraceEntry]) -> Provenance {
        let roles: Vec<Role> = traced.iter().map(|(role, ..)| role.parse().unwrap()).collect();
        let traced = traced.iter().zip(&roles);
        let traced =
            traced.map(|((_, version, traced), role)| TracedRole { role, version, traced });
        Provenance::of(&traced.collect::<Vec<_>>(), mapping, &vocabulary())
    }

    #[test]
    fn each_permission_leads_back_to_claims() {
        let claims = json!({"roles": ["entry", "staff", "boss"], "regions": ["eu", "us"]});
        let mapping =
            [("entry", "data-entry"), ("boss", "admin"), ("none", "admin"), ("staff", "admin")];
        let mapping = mapping.map(|(value, role)| {
            let declared = json!({"claim": "/roles", "contains": value, "role": role});
            RoleMapping::parse(&serde_json::from_value(declared).unwrap(), &["roles".into()])
                .unwrap()
        });
        let mapped = map(&mapping, claims.as_object().unwrap(), &"acme".parse().unwrap());
        let entry = json!([
            item("readonly", &json!({"keyPrefix": "{{tenant.id}}:"})),
            {"$each": "user.claims.regions", "$as": "region",
             "role": "publishonly", "cache": "c", "topic": "{{tenant.id}}:{{region}}"},
        ]);
        let admin = json!([
            {"$if": "eq tenant.name 'Acme'", "permissions": [
                item("readwrite", &json!({"keyPrefix": "{{tenant.id}}:"})),
            ]},
            {"role": "publishonly", "cache": "c", "topic": "{{tenant.id}}:eu"},
        ]);
        let roles = [
            ("admin", "admin@2", traced(&admin, &claims)),
            ("data-entry", "data-entry@17", traced(&entry, &claims)),
        ];
        let acme = json!({"path": "tenant.id", "text": "acme"});
        let of_admin = json!([
            {"rule": 1, "claim": "/roles", "matched": "boss"},
            {"rule": 3, "claim": "/roles", "matched": "staff"},
        ]);
        let of_entry = json!([{"rule": 0, "claim": "/roles", "matched": "entry"}]);
        let region = |n: usize, text: &str| {
            json!({"rules": of_entry, "role": "data-entry", "version": "data-entry@17", "at": "$.permissions[1]",
                   "values": [acme, {"path": format!("user.claims.regions[{n}]"), "text": text}]})
        };
        let provenance = of(&roles, &mapped.trace);
        assert_eq!(
            serde_json::to_value(&provenance).unwrap(),
            json!([
                {
                    "permission": {"type": "cache", "role": "readwrite", "cache": "c", "item": {"keyPrefix": "acme:"}},
                    "origins": [{
                        "rules": of_admin, "role": "admin", "version": "admin@2",
                        "at": "$.permissions[0].permissions[0]", "values": [acme],
                        "conditions": ["eq tenant.name 'Acme'"],
                    }],
                    "folded": [{
                        "permission": {"type": "cache", "role": "readonly", "cache": "c", "item": {"keyPrefix": "acme:"}},
                        "origin": {"rules": of_entry, "role": "data-entry", "version": "data-entry@17",
                                   "at": "$.permissions[0]", "values": [acme]},
                    }],
                },
                {
                    "permission": {"type": "topic", "role": "publishonly", "cache": "c", "topic": "acme:eu"},
                    "origins": [
                        {"rules": of_admin, "role": "admin", "version": "admin@2", "at": "$.permissions[1]", "values": [acme]},
                        region(0, "eu"),
                    ],
                },
                {
                    "permission": {"type": "topic", "role": "publishonly", "cache": "c", "topic": "acme:us"},
                    "origins": [region(1, "us")],
                },
            ])
        );
    }

    #[test]
    fn a_narrowed_permission_leads_back_to_all_that_cover_it() {
        let v = vocabulary();
        let template = json!([
            item("readwrite", &json!({"keyPrefix": "acme:"})),
            item("readonly", &json!({"keyPrefix": "a"})),
            item("writeonly", &json!({"all": true})),
        ]);
        let provenance = of(&[("a", "a@1", traced(&template, &json!({})))], &[]);
        let behind = |role: &str, text: &str| {
            let narrowed = Permission::parse(&item(role, &json!(text)), &v).unwrap();
            let found = provenance.behind(&narrowed, &v);
            found.map(|granted| granted.origins[0].at.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(behind("readwrite", "acme:1"), ["$.permissions[0]"]);
        assert_eq!(behind("readonly", "acme:1"), ["$.permissions[1]", "$.permissions[0]"]);
        assert_eq!(behind("readonly", "b"), [""; 0]);
        let poorer = toml::from_str(
            "[types.cache]\nselectors = ['cache', 'item']\nkind = 'tenant'\nactions = { get = 'item' }\nroles = { readonly = ['get'] }",
        );
        let unknown = Permission::parse(&item("readwrite", &json!("acme:1")), &v).unwrap();
        assert_eq!(provenance.behind(&unknown, &poorer.unwrap()).count(), 0);
        assert!(provenance.iter().all(|granted| granted.origins[0].rules.is_empty()));
    }

    fn permissions() -> impl Strategy<Value = Value> {
        let text = proptest::sample::select(&["a", "ab", "{{tenant.id}}", "acme", "acm"][..]);
        let selector = prop_oneof![
            text.clone().prop_map(|text| json!(text)),
            text.prop_map(|text| json!({ "keyPrefix": text })),
            Just(json!({"all": true})),
        ];
        let role =
            proptest::sample::select(&["readonly", "writeonly", "readwrite", "maintain"][..]);
        let one = (role, selector).prop_map(|(role, selector)| item(role, &selector));
        proptest::collection::vec(one, 1..6).prop_map(Value::Array)
    }

    proptest! {
        #[test]
        fn nothing_is_lost(templates in proptest::collection::vec(permissions(), 1..4)) {
            let v = vocabulary();
            let traced: Vec<_> =
                templates.iter().map(|one| ("a", "a@1", traced(one, &json!({})))).collect();
            let provenance = of(&traced, &[]);
            let origins = || traced.iter().flat_map(|(.., traced)| &traced.origins);
            let union = PermissionSet::from_permissions(origins().map(|one| one.permission.clone()), &v);
            prop_assert!(provenance.iter().map(|granted| &granted.permission).eq(union.iter()));
            let mut told = 0;
            for granted in provenance.iter() {
                prop_assert!(!granted.origins.is_empty());
                told += granted.origins.len() + granted.folded.len();
                for folded in &granted.folded {
                    prop_assert!(folded.permission != granted.permission);
                    let alone = PermissionSet::from_permissions([granted.permission.clone()], &v);
                    prop_assert!(alone.covers(&folded.permission, &v));
                }
            }
            prop_assert_eq!(told, origins().count());
        }
    }
}
