use super::*;
use crate::domain::permission::tests::vocabulary;
use proptest::prelude::*;
use serde_json::{Value, json};

fn set(value: &Value) -> PermissionSet {
    PermissionSet::parse(value, &vocabulary()).unwrap()
}

fn ask(
    set: &PermissionSet,
    resource_type: &str,
    selectors: &[(&str, &str)],
    action: &str,
) -> Result<Evaluation, Unanswerable> {
    evaluate(set, &Question { resource_type, selectors, action }, &vocabulary())
}

/// The nearest permission, and the sentence.
#[track_caller]
fn refused(evaluation: Result<Evaluation, Unanswerable>) -> Option<(Value, String)> {
    match evaluation.unwrap() {
        Evaluation::Refused { nearest } => {
            nearest.map(|nearest| (nearest.permission.to_json(), nearest.to_string()))
        }
        Evaluation::Allowed { by } => panic!("allowed by {by:?}"),
    }
}

fn cache(role: &str, item: &Value) -> Value {
    json!({"type": "cache", "role": role, "cache": "c", "item": item})
}

#[test]
fn what_is_allowed_says_by_which_permission() {
    let prefix = cache("readonly", &json!({"keyPrefix": "acme:"}));
    let set = set(&json!([prefix, cache("readwrite", &json!("other"))]));
    let evaluation = ask(&set, "cache", &[("item", "acme:1"), ("cache", "c")], "get").unwrap();
    assert_eq!(
        serde_json::to_value(evaluation).unwrap(),
        json!({"decision": "allowed", "by": prefix})
    );
}

#[test]
fn a_refusal_says_what_the_nearest_lacks() {
    let prefix = || json!({"keyPrefix": "acme:"});
    let read = cache("readonly", &prefix());
    let of = |item| [("cache", "c"), ("item", item)];
    let near = |set_: Value, selectors: &[(&str, &str)], action| {
        refused(ask(&set(&set_), "cache", selectors, action))
    };
    let cases = [
        (
            of("globex:1"),
            "get",
            "`item` is `globex:1`; the permission reaches only keys that begin with `acme:`",
        ),
        (of("acme:1"), "set", "the role `readonly` allows get, and not `set`"),
        (
            [("cache", "d"), ("item", "acme:1")],
            "get",
            "`cache` is `d`; the permission reaches only `c`",
        ),
        (
            [("cache", "d"), ("item", "x")],
            "set",
            "`cache` is `d`; the permission reaches only `c`; and `item` is `x`; the permission \
             reaches only keys that begin with `acme:`; and the role `readonly` allows get, and not `set`",
        ),
    ];
    for (selectors, action, sentence) in cases {
        assert_eq!(near(json!([read]), &selectors, action), Some((read.clone(), sentence.into())));
    }
    let topics = json!([{"type": "topic", "role": "publishsubscribe", "cache": {"namePrefix": "a"}, "topic": "t"}]);
    let sentence = "`cache` is `b`; the permission reaches only names that begin with `a`";
    let found = refused(ask(&set(&topics), "topic", &[("cache", "b"), ("topic", "t")], "publish"));
    assert_eq!(found, Some((topics[0].clone(), sentence.into())));
    assert_eq!(refused(ask(&set(&topics), "cache", &of("acme:1"), "get")), None);
    assert_eq!(refused(ask(&PermissionSet::default(), "cache", &of("acme:1"), "get")), None);
}

#[test]
fn an_action_on_a_level_lacks_what_is_below() {
    let narrow = cache("maintain", &json!({"keyPrefix": "acme:"}));
    let sentence = "`flush` acts on the whole `cache`; the permission reaches of its `item` only keys \
                    that begin with `acme:`";
    for selectors in [&[("cache", "c")][..], &[("cache", "c"), ("item", "acme:1")]] {
        let found = refused(ask(&set(&json!([narrow])), "cache", selectors, "flush"));
        assert_eq!(found, Some((narrow.clone(), sentence.into())));
    }
    let whole = set(&json!([cache("maintain", &json!({"all": true}))]));
    let evaluation = ask(&whole, "cache", &[("cache", "c")], "flush").unwrap();
    assert!(matches!(evaluation, Evaluation::Allowed { .. }));
    let refusal = ask(&set(&json!([narrow])), "cache", &[("cache", "d")], "flush").unwrap();
    assert_eq!(
        serde_json::to_value(refusal).unwrap(),
        json!({"decision": "refused", "nearest": {"permission": narrow, "lacks": [
            {"lack": "selector", "key": "cache", "asked": "d", "reaches": "c"},
            {"lack": "whole", "action": "flush", "level": "cache", "key": "item", "reaches": {"keyPrefix": "acme:"}},
        ]}})
    );
}

#[test]
fn nearest_is_who_matches_most_then_who_may_then_who_comes_first() {
    let nearest = |permissions: &[&Value]| {
        let question = [("cache", "c"), ("item", "acme:1")];
        refused(ask(&set(&json!(permissions)), "cache", &question, "set")).unwrap().0
    };
    let item = |role: &str, cache: &str, item: &str| json!({"type": "cache", "role": role, "cache": cache, "item": item});
    let all_match = item("readonly", "c", "acme:1");
    let one_matches = item("readwrite", "c", "x");
    let one_matches_in_vain = item("readonly", "c", "a");
    let none_matches = item("readwrite", "a", "a");
    assert_eq!(nearest(&[&none_matches, &one_matches, &all_match]), all_match);
    assert_eq!(nearest(&[&none_matches, &one_matches_in_vain, &one_matches]), one_matches);
    assert_eq!(nearest(&[&none_matches, &one_matches_in_vain]), one_matches_in_vain);
    let also_one = item("readwrite", "c", "y");
    assert_eq!(nearest(&[&also_one, &one_matches]), one_matches, "the first in the set's order");
}

#[test]
fn what_cannot_be_asked_names_what_can() {
    let v = vocabulary();
    let whole = set(&json!([cache("readwrite", &json!({"all": true}))]));
    let item = &[("cache", "c"), ("item", "i")][..];
    let cases = [
        (
            "cash",
            item,
            "get",
            "there is no resource type \"cash\"; the types are cache, function, rolemint, topic",
        ),
        (
            "cache",
            item,
            "read",
            "`cache` has no action \"read\"; its actions are delete, delete-cache, flush, get, set",
        ),
        (
            "cache",
            &[("cache", "c"), ("key", "i")],
            "get",
            "`cache` has no selector \"key\"; its selectors are cache, item",
        ),
        (
            "cache",
            &[("cache", "c")],
            "get",
            "`get` acts on item, so the resource has to say which `item`",
        ),
        (
            "cache",
            &[("item", "i")],
            "flush",
            "`flush` acts on cache, so the resource has to say which `cache`",
        ),
        ("cache", &[("cache", "c"), ("item", "i"), ("item", "j")], "get", "$.item: is given twice"),
        ("cache", &[("cache", "c"), ("item", "")], "get", "$.item: is empty"),
        (
            "cache",
            &[("cache", "c"), ("item", "a\u{202e}b")],
            "get",
            "$.item: holds control or invisible",
        ),
    ];
    for (resource_type, selectors, action, message) in cases {
        let error = ask(&whole, resource_type, selectors, action).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    let long = "x".repeat(10_000);
    let error = ask(&whole, &long, item, "get").unwrap_err().to_string();
    assert!(error.len() < 200, "{error}");
    // A permission of another vocabulary allows nothing here, and is not near either.
    let other: Vocabulary = toml::from_str(
        "[types.cache]\nselectors = ['item', 'cache']\nkind = 'tenant'\nactions = { get = 'cache' }\nroles = { readonly = ['get'] }",
    )
    .unwrap();
    let question = Question { resource_type: "cache", selectors: item, action: "get" };
    assert_eq!(
        evaluate(&whole, &question, &v).unwrap(),
        Evaluation::Allowed { by: whole.iter().next().unwrap().clone() }
    );
    assert_eq!(evaluate(&whole, &question, &other).unwrap(), Evaluation::Refused { nearest: None });
    // Nor does a role that is no longer declared.
    let poorer: Vocabulary = toml::from_str(
        "[types.cache]\nselectors = ['cache', 'item']\nkind = 'tenant'\nactions = { get = 'item' }\nroles = { readonly = ['get'] }",
    )
    .unwrap();
    let Evaluation::Refused { nearest: Some(nearest) } =
        evaluate(&whole, &question, &poorer).unwrap()
    else {
        panic!("allowed by a role that is not declared");
    };
    assert_eq!(
        nearest.to_string(),
        "no role is called `readwrite` any more, so it does not allow `get`"
    );
}

const TEXTS: [&str; 6] = ["a", "ab", "b", "a:", "a:1", "b:1"];

fn pattern() -> impl Strategy<Value = Value> {
    let text = || proptest::sample::select(&TEXTS[..]);
    prop_oneof![
        text().prop_map(|text| json!(text)),
        text().prop_map(|text| json!({ "keyPrefix": text })),
        Just(json!({"all": true})),
    ]
}

fn permissions() -> impl Strategy<Value = Vec<Value>> {
    let of = |roles: &'static [&str], key: &'static str| {
        (proptest::sample::select(roles), pattern(), pattern())
            .prop_map(move |(role, cache, own)| json!({"role": role, "cache": cache, key: own}))
    };
    let one = prop_oneof![
        3 => of(&["readonly", "writeonly", "readwrite", "maintain"], "item"),
        1 => of(&["subscribeonly", "publishsubscribe"], "topic"),
    ];
    proptest::collection::vec(one, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn it_decides_as_the_set_does(permissions in permissions()) {
        let v = vocabulary();
        let set = set(&json!(permissions));
        for (resource_type, key, actions) in [
            ("cache", "item", &["get", "set", "delete", "flush", "delete-cache", "publish"][..]),
            ("topic", "topic", &["publish", "subscribe"]),
        ] {
            let of_the_type = set.iter().any(|one| one.resource_type() == resource_type);
            for action in actions {
                for cache in TEXTS {
                    for own in [None].into_iter().chain(TEXTS.map(Some)) {
                        let mut selectors = vec![("cache", cache)];
                        selectors.extend(own.map(|own| (key, own)));
                        let resource = Resource::new(resource_type, selectors.iter().copied(), &v).unwrap();
                        let by = set.allows(&resource, action, &v);
                        let question = Question { resource_type, selectors: &selectors, action };
                        match evaluate(&set, &question, &v) {
                            Ok(Evaluation::Allowed { by: found }) => prop_assert_eq!(Some(&found), by),
                            Ok(Evaluation::Refused { nearest }) => {
                                prop_assert_eq!(by, None);
                                prop_assert_eq!(nearest.is_some(), of_the_type);
                                prop_assert!(nearest.is_none_or(|nearest| !nearest.lacks.is_empty()));
                            }
                            Err(_) => prop_assert_eq!(by, None),
                        }
                        // What nothing is lacking to, allows; and the other way round.
                        for permission in set.iter() {
                            let Some(lacks) = lacks(permission, &resource, action, &v) else { continue };
                            let alone = PermissionSet::from_permissions([permission.clone()], &v);
                            prop_assert_eq!(lacks.is_empty(), alone.allows(&resource, action, &v).is_some());
                        }
                    }
                }
            }
        }
    }
}
