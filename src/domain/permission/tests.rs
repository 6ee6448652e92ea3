use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fmt::Write as _;

pub(crate) fn vocabulary() -> Vocabulary {
    toml::from_str(include_str!("../../../templates/resources.toml")).unwrap()
}

fn set(value: &Value) -> PermissionSet {
    PermissionSet::parse(value, &vocabulary()).unwrap()
}

#[test]
fn a_permission_has_one_types_selectors_and_nothing_else() {
    let v = vocabulary();
    let cases = [
        (json!([]), "a JSON object"),
        (json!({}), "exactly one resource type"),
        (json!({"role": "readonly"}), "exactly one resource type"),
        (json!({"role": "readonly", "cache": "c"}), "exactly one resource type"),
        (json!({"role": "readonly", "item": "i"}), "exactly one resource type"),
        (json!({"role": "readonly", "cache": "c", "item": "i", "topic": "t"}), "exactly one"),
        (json!({"role": "readonly", "cache": "c", "items": "i"}), "nothing is called \"items\""),
        (json!({"role": "readonly", "cache": "c", "item": "i", "extra": 1}), "nothing is called"),
        (json!({"role": "readonly", "cache": "c", "item": "i", "description": "d"}), "nothing is"),
        (json!({"type": "topic", "role": "readonly", "cache": "c", "item": "i"}), "$.type"),
        (json!({"type": null, "role": "readonly", "cache": "c", "item": "i"}), "$.type"),
        (json!({"cache": "c", "item": "i"}), "$.role"),
        (json!({"role": "subscribeonly", "cache": "c", "item": "i"}), "$.role"),
        (json!({"role": "Readonly", "cache": "c", "item": "i"}), "$.role"),
        (json!({"role": ["readonly"], "cache": "c", "item": "i"}), "$.role"),
        (json!({"role": "readonly", "cache": null, "item": "i"}), "$.cache"),
        (json!({"role": "readonly", "cache": "c", "item": 7}), "$.item"),
        (json!({"role": "readonly", "cache": "c", "item": ""}), "$.item"),
        (json!({"role": "readonly", "cache": "c", "item": ["i"]}), "$.item"),
        (json!({"role": "readonly", "cache": "c", "item": {}}), "$.item"),
        (json!({"role": "readonly", "cache": "c", "item": {"prefix": "i"}}), "$.item"),
        (json!({"role": "readonly", "cache": "c", "item": {"keyPrefix": ""}}), "$.item"),
        (json!({"role": "readonly", "cache": "c", "item": {"keyPrefix": 1}}), "$.item"),
        (json!({"role": "readonly", "cache": "c", "item": {"all": false}}), "$.item"),
        (json!({"role": "readonly", "cache": "c", "item": {"all": "true"}}), "$.item"),
        (json!({"role": "readonly", "cache": "c", "item": {"all": true, "key": "i"}}), "$.item"),
        (json!({"role": "readonly", "cache": "c", "item": "a\nb"}), "$.item"),
        (json!({"role": "readonly", "cache": "c", "item": "a\u{202e}b"}), "$.item"),
        (json!({"role": "readonly", "cache": "c", "item": "i".repeat(1025)}), "$.item"),
    ];
    for (value, expected) in cases {
        let error = Permission::parse(&value, &v).expect_err(&value.to_string()).to_string();
        assert!(error.contains(expected), "{value}: {error}");
        let error = PermissionSet::parse(&json!([value]), &v).unwrap_err();
        assert!(error.at.starts_with("$[0]"), "{error}");
    }
    let many: Vec<_> = (0..=MAX_PARSED)
        .map(|n| json!({"role": "readonly", "cache": "c", "item": n.to_string()}))
        .collect();
    assert!(PermissionSet::parse(&json!(many), &v).is_err());
    assert!(PermissionSet::parse(&json!({}), &v).is_err());
}

#[test]
fn spellings_of_one_selector_are_one_permission() {
    let v = vocabulary();
    let found = set(&json!([
        {"role": "readonly", "cache": "c", "item": {"keyPrefix": "acme:"}},
        {"role": "readonly", "cache": {"name": "c"}, "item": {"namePrefix": "acme:"}},
        {"type": "cache", "role": "readonly", "cache": {"key": "c"}, "item": {"keyPrefix": "acme:"}},
    ]));
    let text = serde_json::to_string(&found).unwrap();
    let wanted = r#"[{"type":"cache","role":"readonly","cache":"c","item":{"keyPrefix":"acme:"}}]"#;
    assert_eq!(text, wanted);
    let again: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(again, json!(found.iter().map(Permission::to_json).collect::<Vec<_>>()));
    assert_eq!(PermissionSet::parse(&again, &v).unwrap(), found);
    let topic = set(&json!([
        {"role": "publishonly", "cache": {"all": true}, "topic": {"namePrefix": "acme:"}}
    ]));
    let wanted = r#"[{"type":"topic","role":"publishonly","cache":{"all":true},"topic":{"namePrefix":"acme:"}}]"#;
    assert_eq!(serde_json::to_string(&topic).unwrap(), wanted);
}

#[test]
fn a_set_folds_what_is_covered_and_keeps_one_order() {
    let one = json!({"role": "readonly", "cache": "c", "item": "acme:1"});
    let prefix = json!({"role": "readwrite", "cache": "c", "item": {"keyPrefix": "acme:"}});
    let other = json!({"role": "readonly", "cache": "c", "item": "acme"});
    let a = set(&json!([one, prefix, other, one]));
    assert_eq!(a, set(&json!([other, prefix])));
    assert_eq!(a.len(), 2);
    assert_eq!(set(&json!([])), PermissionSet::default());
}

#[test]
fn an_intersection_speaks_in_declared_roles() {
    let v = vocabulary();
    let of = |role: &str, item: Value| set(&json!([{"role": role, "cache": "c", "item": item}]));
    let meet = |a: &PermissionSet, b: &PermissionSet| {
        let met = a.intersection(b, &v);
        assert_eq!(met, b.intersection(a, &v));
        met
    };
    let all = || json!({"all": true});
    let prefix = || json!({"keyPrefix": "acme:"});
    assert_eq!(meet(&of("readwrite", prefix()), &of("readonly", all())), of("readonly", prefix()));
    assert_eq!(
        meet(&of("readwrite", prefix()), &of("writeonly", json!("acme:1"))),
        of("writeonly", json!("acme:1"))
    );
    assert!(meet(&of("readonly", all()), &of("writeonly", all())).is_empty());
    assert!(meet(&of("readonly", prefix()), &of("readonly", json!("acme"))).is_empty());
    let both = of("readonly", all()).union(&of("writeonly", all()), &v);
    assert_eq!(meet(&both, &of("readwrite", prefix())).len(), 2);
    // No single one allows it all, but both together do.
    let whole = of("readwrite", prefix());
    assert!(both.covers_all(&whole, &v));
    assert!(!of("readonly", all()).covers_all(&whole, &v));

    let roles = r#"
        [types.lamp]
        selectors = ["lamp"]
        kind = "tenant"
        actions = { on = "lamp", off = "lamp", dim = "lamp" }
        roles = { evening = ["on", "dim"], night = ["off", "dim"], switch = ["on", "off"], dimmer = ["dim"] }
    "#;
    let v: Vocabulary = toml::from_str(roles).unwrap();
    let of = |role: &str| PermissionSet::parse(&json!([{"role": role, "lamp": "1"}]), &v).unwrap();
    assert_eq!(of("evening").intersection(&of("night"), &v), of("dimmer"));
    // Both may switch on, but no role means just that.
    assert!(of("evening").intersection(&of("switch"), &v).is_empty());
}

#[test]
fn an_action_on_a_level_needs_all_below_it() {
    let v = vocabulary();
    let cache = Resource::parse(&json!({"cache": "c"}), "flush", &v).unwrap();
    let of = |item: Value| set(&json!([{"role": "maintain", "cache": "c", "item": item}]));
    assert!(of(json!({"all": true})).allows(&cache, "flush", &v).is_some());
    assert!(of(json!({"keyPrefix": "acme:"})).allows(&cache, "flush", &v).is_none());
    assert!(of(json!({"all": true})).allows(&cache, "get", &v).is_none());
    let read = set(&json!([{"role": "readonly", "cache": "c", "item": {"all": true}}]));
    assert!(read.allows(&cache, "get", &v).is_none(), "an item is needed");
    assert!(read.allows(&cache, "no-such-action", &v).is_none());
}

#[test]
fn a_resource_names_what_its_action_acts_on() {
    let v = vocabulary();
    let good = [
        (json!({"cache": "c", "item": "i"}), "get", "cache"),
        (json!({"type": "topic", "cache": "c", "topic": "t"}), "publish", "topic"),
        (json!({"cache": "c"}), "flush", "cache"),
        (json!({"area": "audit", "tenant": "acme"}), "view", "rolemint"),
    ];
    for (value, action, resource_type) in good {
        let resource = Resource::parse(&value, action, &v).unwrap();
        assert_eq!(resource.resource_type(), resource_type);
    }
    let bad = [
        (json!({"cache": "c"}), "get"),
        (json!({"item": "i"}), "flush"),
        (json!({"cache": "c", "item": "i"}), "publish"),
        (json!({"cache": "c", "item": "i", "topic": "t"}), "get"),
        (json!({"cache": "c", "item": 7}), "get"),
        (json!({"cache": "c", "item": {"all": true}}), "get"),
        (json!({"cache": "c", "item": ""}), "get"),
        (json!({"type": "topic", "cache": "c", "item": "i"}), "get"),
        (json!("c"), "get"),
    ];
    for (value, action) in bad {
        assert!(Resource::parse(&value, action, &v).is_err(), "{value}");
    }
    assert!(Resource::new("cache", [("cache", "c"), ("cache", "d")], &v).is_err());
    assert!(Resource::new("cache", [("topic", "c")], &v).is_err());
    assert!(Resource::new("cash", [("cache", "c")], &v).is_err());
}

#[test]
fn a_permission_of_another_vocabulary_allows_nothing() {
    let v = vocabulary();
    let other: Vocabulary = toml::from_str(
        r#"
        [types.cache]
        selectors = ["item", "cache"]
        kind = "tenant"
        actions = { get = "cache" }
        roles = { readonly = ["get"] }
    "#,
    )
    .unwrap();
    let found = set(&json!([{"role": "readonly", "cache": "c", "item": "i"}]));
    let resource = Resource::new("cache", [("cache", "c"), ("item", "i")], &other).unwrap();
    assert!(found.allows(&resource, "get", &other).is_none());
    assert!(found.allows(&resource, "get", &v).is_none());
    assert!(!found.covers_all(&found, &other));
    assert!(found.intersection(&found, &other).is_empty());
}

#[test]
fn a_vocabulary_must_hold_together() {
    let cases = [
        ("selectors = []", "1 to 8 selectors"),
        ("selectors = ['role']", "cannot be the name of a selector"),
        ("selectors = ['$if']", "cannot be the name of a selector"),
        ("selectors = ['A']", "cannot be the name of a selector"),
        ("selectors = ['a', 'a']", "declared twice"),
        ("selectors = ['a']\nkeyed = ['b']", "`keyed` names `b`"),
        ("selectors = ['a']\nkind = 'other'", "unknown variant"),
        ("selectors = ['a']\nsafe = ['get']", "`safe` is for shared types"),
        ("selectors = ['a']\nstaff = ['put']", "no action `put`"),
        ("selectors = ['a']\nactions = { get = 'b' }", "acts on no selector"),
        ("selectors = ['a']\nactions = {}", "1 to 64 actions"),
        ("selectors = ['a']\nroles = {}", "at least one role"),
        ("selectors = ['a']\nroles = { r = [] }", "at least one action"),
        ("selectors = ['a']\nroles = { r = ['put'] }", "no action `put`"),
        ("selectors = ['a']\nwild = true", "unknown field"),
        ("selectors = ['cache']", "overlap wholly"),
        ("selectors = ['item', 'cache']", "overlap wholly"),
        ("selectors = ['cache', 'item', 'field']", "overlap wholly"),
    ];
    for (lines, expected) in cases {
        let mut text = format!("[types.wrong]\n{lines}\n");
        if !lines.contains("kind") {
            text.push_str("kind = 'tenant'\n");
        }
        if !lines.contains("actions") {
            let first = lines.split('\'').nth(1).unwrap_or("a");
            writeln!(text, "actions = {{ get = '{first}' }}").unwrap();
        }
        if !lines.contains("roles") {
            text.push_str("roles = { r = ['get'] }\n");
        }
        text.push_str(include_str!("../../../templates/resources.toml"));
        let error = toml::from_str::<Vocabulary>(&text).expect_err(&text).to_string();
        assert!(error.contains(expected), "{lines}: {error}");
    }
}

#[test]
fn a_vocabulary_survives_its_text() {
    let v = vocabulary();
    let text = toml::to_string(&v).unwrap();
    let again: Vocabulary = toml::from_str(&text).unwrap();
    assert_eq!(toml::to_string(&again).unwrap(), text);
    assert_eq!(again.find("cache").unwrap().staff(), v.find("cache").unwrap().staff());
}

const TEXTS: [&str; 6] = ["a", "ab", "b", "a:", "a:1", "b:1"];
const ACTIONS: [&str; 5] = ["get", "set", "delete", "flush", "delete-cache"];

fn pattern() -> impl Strategy<Value = Value> {
    let text = || proptest::sample::select(&TEXTS[..]);
    prop_oneof![
        text().prop_map(|text| json!(text)),
        text().prop_map(|text| json!({ "keyPrefix": text })),
        Just(json!({"all": true})),
    ]
}

fn permissions() -> impl Strategy<Value = Vec<Value>> {
    let role = proptest::sample::select(&["readonly", "writeonly", "readwrite", "maintain"][..]);
    let one = (role, pattern(), pattern())
        .prop_map(|(role, cache, item)| json!({"role": role, "cache": cache, "item": item}));
    proptest::collection::vec(one, 0..5)
}

/// Every request of a small world, and whether the set allows it.
fn allowed(set: &PermissionSet, v: &Vocabulary) -> Vec<bool> {
    let mut found = Vec::new();
    for cache in TEXTS {
        for action in ACTIONS {
            let whole = Resource::new("cache", [("cache", cache)], v).unwrap();
            found.push(set.allows(&whole, action, v).is_some());
            for item in TEXTS {
                let one = Resource::new("cache", [("cache", cache), ("item", item)], v).unwrap();
                found.push(set.allows(&one, action, v).is_some());
            }
        }
    }
    found
}

proptest! {
    #[test]
    fn sets_mean_what_they_allow(a in permissions(), b in permissions()) {
        let v = vocabulary();
        let (left, right) = (set(&json!(a)), set(&json!(b)));
        let (in_left, in_right) = (allowed(&left, &v), allowed(&right, &v));

        let one_by_one = a.iter().map(|one| allowed(&set(&json!([one])), &v));
        let folded = one_by_one.fold(vec![false; in_left.len()], |all, one| {
            all.iter().zip(one).map(|(a, b)| *a || b).collect()
        });
        prop_assert_eq!(&folded, &in_left, "folding changes nothing");

        let union: Vec<bool> = in_left.iter().zip(&in_right).map(|(a, b)| *a || *b).collect();
        prop_assert_eq!(allowed(&left.union(&right, &v), &v), union);

        // These roles can express every intersection, so it is exact.
        let met = left.intersection(&right, &v);
        let both: Vec<bool> = in_left.iter().zip(&in_right).map(|(a, b)| *a && *b).collect();
        prop_assert_eq!(allowed(&met, &v), both);
        prop_assert!(left.covers_all(&met, &v) && right.covers_all(&met, &v));
        prop_assert_eq!(&met, &right.intersection(&left, &v));
        prop_assert_eq!(&left.intersection(&left, &v), &left);

        for permission in right.iter() {
            if left.covers(permission, &v) {
                let alone = PermissionSet::from_permissions([permission.clone()], &v);
                let within = allowed(&alone, &v).iter().zip(&in_left).all(|(one, all)| !one || *all);
                prop_assert!(within, "{:?}", permission);
            }
        }
        let json = serde_json::to_value(&left).unwrap();
        prop_assert_eq!(&PermissionSet::parse(&json, &v).unwrap(), &left);
    }
}
