//! What the semantic diff and the ceiling say of two templates holds for what they render.

use crate::domain::permission::PermissionSet;
use crate::domain::permission::Vocabulary;
use crate::domain::permission::tests;
use crate::domain::template::RenderInput;
use crate::domain::template::Rendered;
use crate::domain::template::RoleTemplate;
use crate::domain::template::User;
use crate::domain::template::ceiling::exceeds;
use crate::domain::template::diff::ChangeKind;
use crate::domain::template::diff::TemplateDiff;
use crate::domain::tenant::Tenant;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::Config;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::cell::Cell;
use std::slice;
use std::sync::LazyLock;

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(tests::vocabulary);

fn compile(document: &Value) -> RoleTemplate {
    let compiled = RoleTemplate::compile(&document.to_string(), &VOCABULARY, true);
    compiled.unwrap_or_else(|errors| panic!("{document:#}: {errors}"))
}

fn diff(old: &Value, new: &Value) -> TemplateDiff {
    TemplateDiff::between(Some(&compile(old)), &compile(new), &VOCABULARY)
}

/// One permission on items of the cache `c`.
fn item(role: &str, item: &Value) -> Value {
    json!({"role": role, "cache": "c", "item": item})
}
fn prefix(text: &str) -> Value {
    json!({ "keyPrefix": text })
}
fn with(mut object: Value, members: &Value) -> Value {
    object.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    object
}
fn of(permissions: &[Value]) -> Value {
    json!({ "permissions": permissions })
}
fn kinds(diff: &TemplateDiff) -> Vec<ChangeKind> {
    diff.changes.iter().map(|change| change.kind).collect()
}

#[test]
fn what_means_the_same_is_no_difference() {
    let own = item("readonly", &prefix("{{tenant.id}}:"));
    let regional = |name: &str| {
        with(
            item("readonly", &prefix(&format!("{{{{tenant.id}}}}:{{{{{name}}}}}:"))),
            &json!({"$each": "user.claims.regions", "$as": name, "$if": format!("and (ne {name} 'eu') tenant.attributes.beta")}),
        )
    };
    let old = json!({
        "permissions": [own, regional("region"), item("readwrite", &json!("{{tenant.id}}:1"))],
        "scope": ["a", "b"], "expires_in": 900, "claims": {"plan": "{{tenant.attributes.plan}}"},
    });
    let described = with(own, &json!({"description": "their own"}));
    let group = json!({
        "$if": "(tenant.attributes.beta)",
        "permissions": [with(
            item("readonly", &prefix("{{tenant.id}}:{{r}}:")),
            &json!({"$each": "user.claims.regions", "$as": "r", "$if": "ne r 'eu'"}),
        )],
    });
    let new = json!({
        "description": "another text",
        "permissions": [
            json!({"role": "readwrite", "cache": {"name": "c"}, "item": {"key": "{{ tenant.id }}:1"}}),
            regional("r"), described.clone(), described,
        ],
        "scope": ["b", "a", "a"], "expires_in": 900, "claims": {"plan": "{{ tenant.attributes.plan }}"},
    });
    let same = diff(&old, &new);
    assert!(same.is_empty() && !same.widens() && same.to_string().is_empty(), "{same}");
    // Folded into what covers it.
    let wide = of(&[item("readwrite", &prefix("{{tenant.id}}:"))]);
    let folded = of(&[
        item("readonly", &prefix("{{tenant.id}}:")),
        item("writeonly", &prefix("{{tenant.id}}:")),
        item("readonly", &json!("{{tenant.id}}:7")),
    ]);
    assert!(diff(&wide, &folded).is_empty() && diff(&folded, &wide).is_empty());
    // The list is needed only where the condition holds.
    let narrower = diff(&of(&[regional("r")]), &of(&[group]));
    assert!(narrower.changes.is_empty() && narrower.widens(), "{narrower}");
}

#[test]
fn each_change_has_its_kind() {
    let (read, write) = ("readonly", "readwrite");
    let all = json!({"all": true});
    let tenants = prefix("{{tenant.id}}:");
    let guarded = |guard: &str| with(item(read, &tenants), &json!({ "$if": guard }));
    let (gained, lost) = (ChangeKind::Gained, ChangeKind::Lost);
    let (widened, narrowed) = (ChangeKind::Widened, ChangeKind::Narrowed);
    let regions = |list: &str, name: &str| {
        with(
            item(read, &prefix(&format!("{{{{tenant.id}}}}:{{{{{name}}}}}:"))),
            &json!({"$each": list, "$as": name}),
        )
    };
    for (old, new, expected) in [
        (item(read, &tenants), item(write, &tenants), vec![widened]),
        (item(write, &tenants), item(read, &tenants), vec![narrowed]),
        (item(read, &tenants), item("writeonly", &tenants), vec![gained, lost]),
        (item(read, &tenants), item(read, &all), vec![widened]),
        (item(read, &tenants), item(read, &prefix("{{tenant.id}}:a")), vec![narrowed]),
        (item(read, &json!("{{tenant.id}}:")), item(read, &tenants), vec![widened]),
        (item(read, &tenants), item(read, &prefix("{{tenant.id}}")), vec![widened]),
        (item(read, &tenants), item(read, &prefix("{{tenant.id}}/")), vec![gained, lost]),
        (item(read, &tenants), item(read, &prefix("{{client.id}}:")), vec![gained, lost]),
        (item(read, &tenants), guarded("tenant.attributes.beta"), vec![narrowed]),
        (guarded("tenant.attributes.beta"), item(read, &tenants), vec![widened]),
        (
            guarded("tenant.attributes.beta"),
            guarded("and tenant.attributes.beta user.claims.yes"),
            vec![narrowed],
        ),
        (
            guarded("tenant.attributes.beta"),
            guarded("not tenant.attributes.beta"),
            vec![gained, lost],
        ),
        (item(read, &tenants), regions("user.claims.regions", "r"), vec![narrowed]),
        (
            regions("user.claims.regions", "r"),
            regions("user.claims.sites", "r"),
            vec![gained, lost],
        ),
    ] {
        let found = diff(&of(slice::from_ref(&old)), &of(slice::from_ref(&new)));
        assert_eq!(kinds(&found), expected, "{old} {new}: {found}");
        let more = expected.contains(&gained) || expected.contains(&widened);
        assert!(!more || found.widens());
    }
    let both = diff(
        &of(&[item(read, &tenants)]),
        &of(&[item(read, &tenants), with(item(read, &all), &json!({"cache": "d"}))]),
    );
    assert_eq!(kinds(&both), [gained]);
    assert!(both.widens());
    let less =
        diff(&of(&[item(read, &tenants), item(write, &json!("a"))]), &of(&[item(read, &tenants)]));
    assert_eq!(kinds(&less), [lost]);
    assert!(!less.widens());
}

/// Conditions that read alike and mean something else are not taken for each other.
#[test]
fn a_condition_is_known_by_what_it_looks_at() {
    let over = |list: &str, name: &str, inner: &Value| json!({"$each": list, "$as": name, "permissions": [inner]});
    let guarded = with(item("readonly", &json!("x")), &json!({"$if": "ne region 'eu'"}));
    let old = of(&[over("user.claims.regions", "region", &guarded)]);
    let new =
        of(&[over("user.claims.regions", "r", &over("user.claims.sites", "region", &guarded))]);
    assert!(diff(&old, &new).widens());
    // Two elements of one list are two values.
    let pair = |a: &str, b: &str| {
        item("readonly", &json!(format!("{{{{tenant.id}}}}:{{{{{a}}}}}:{{{{{b}}}}}")))
    };
    let list = "user.claims.regions";
    let same = of(&[over(list, "a", &over(list, "b", &pair("a", "a")))]);
    let each = of(&[over(list, "a", &over(list, "b", &pair("a", "b")))]);
    assert!(diff(&same, &each).widens() && diff(&each, &same).widens());
}

#[test]
fn what_is_not_a_permission_is_compared_too() {
    let base = item("readonly", &prefix("{{tenant.id}}:"));
    let document = |members: Value| with(of(slice::from_ref(&base)), &members);
    for (old, new, widens, shown) in [
        (json!({"scope": ["a"]}), json!({"scope": ["a", "b"]}), true, "+ scope b\n"),
        (json!({"scope": ["a", "b"]}), json!({"scope": ["a"]}), false, "- scope b\n"),
        (
            json!({"expires_in": 900}),
            json!({"expires_in": 901}),
            true,
            "~ expires_in: 900 s → 901 s\n",
        ),
        (
            json!({"expires_in": 900}),
            json!({"expires_in": 60}),
            false,
            "~ expires_in: 900 s → 60 s\n",
        ),
        (json!({"expires_in": 900}), json!({}), true, "~ expires_in: 900 s → as the client's\n"),
        (json!({}), json!({"expires_in": 900}), false, "~ expires_in: as the client's → 900 s\n"),
        (json!({}), json!({"claims": {"a": 1}}), true, "+ claim a: 1\n"),
        (json!({"claims": {"a": 1}}), json!({}), true, "- claim a: 1\n"),
        (
            json!({"claims": {"a": ["x", "{{user.id}}"]}}),
            json!({"claims": {"a": ["x", "{{user.email}}"]}}),
            true,
            "~ claim a: [\"x\",\"{{user.id}}\"] → [\"x\",\"{{user.email}}\"]\n",
        ),
    ] {
        let found = diff(&document(old), &document(new));
        assert_eq!((found.widens(), found.to_string().as_str()), (widens, shown));
        assert!(!found.is_empty());
    }
    let found = diff(
        &of(&[base.clone(), item("readonly", &prefix("{{tenant.id}}:{{user.claims.region}}:"))]),
        &of(slice::from_ref(&base)),
    );
    assert_eq!(
        found.to_string(),
        "! no longer needs a value for {{user.claims.region}} ($.permissions[1].item.keyPrefix): who \
         lacks it gets no token\n"
    );
    assert!(found.widens(), "who had no region got nothing before");
    let first =
        TemplateDiff::between(None, &compile(&document(json!({"scope": ["a"]}))), &VOCABULARY);
    assert_eq!(
        first.to_string(),
        "+ cache readonly c {{tenant.id}}:… ($.permissions[0])\n+ scope a\n"
    );
    assert!(first.widens());
    let json = serde_json::to_value(&first).unwrap();
    assert_eq!(
        json["changes"],
        json!([{"kind": "gained", "after": {
            "at": "$.permissions[0]", "type": "cache", "role": "readonly", "guards": [],
            "selectors": {"cache": "c", "item": {"keyPrefix": "{{tenant.id}}:"}},
        }}])
    );
}

/// Whom only the limits of a rendering refused may get everything when the template becomes smaller.
#[test]
fn who_met_a_limit_may_get_more_from_less() {
    let each = |n: usize| {
        with(
            item("readonly", &json!(format!("{{{{tenant.id}}}}:{n}:{{{{r}}}}"))),
            &json!({"$each": "user.claims.regions", "$as": "r"}),
        )
    };
    let many: Vec<Value> = (0..5).map(each).collect();
    let found = diff(&of(&many), &of(&many[..4]));
    assert_eq!(kinds(&found), [ChangeKind::Lost]);
    assert!(found.widens(), "{found}");
    let found = diff(&of(&many[..3]), &of(&many[..2]));
    assert!(!found.widens(), "{found}");
    let long =
        |values: usize| of(&[item("readonly", &json!("{{user.claims.region}}:".repeat(values)))]);
    let less = with(long(1), &json!({"scope": ["a"]}));
    let both = json!({"permissions": [long(1)["permissions"][0], long(8)["permissions"][0]], "scope": ["a"]});
    assert!(diff(&both, &less).widens());
}

#[test]
fn what_is_above_the_ceiling_is_told_with_what_to_write() {
    let v = &*VOCABULARY;
    let tenants = prefix("{{tenant.id}}:");
    let guarded = with(
        item("readonly", &prefix("{{tenant.id}}/")),
        &json!({"$if": "tenant.attributes.beta"}),
    );
    let ceiling = compile(&json!({
        "permissions": [item("readonly", &tenants), guarded.clone()],
        "scope": ["a", "b"], "expires_in": 600, "claims": {"plan": "{{tenant.attributes.plan}}"},
    }));
    let lasts = |permission: &Value| json!({"permissions": [permission], "expires_in": 600});
    let inside = [
        lasts(&item("readonly", &tenants)),
        lasts(&item("readonly", &prefix("{{tenant.id}}:{{user.id}}:"))),
        lasts(&guarded),
        json!({"scope": ["b"], "expires_in": 1, "claims": {"plan": "{{tenant.attributes.plan}}"}}),
    ];
    for document in inside {
        assert_eq!(exceeds(&compile(&document), &ceiling, v), [], "{document}");
    }
    let topic = json!({"role": "publishonly", "cache": "c", "topic": "{{tenant.id}}"});
    let outside = [
        (
            lasts(&item("readwrite", &tenants)),
            "$.permissions[0]",
            "delete, set is above the ceiling: write the role `readonly`, or take the permission out",
        ),
        (
            lasts(&item("readonly", &prefix("{{tenant.id}}/"))),
            "$.permissions[0]",
            "the ceiling allows it under `$if tenant.attributes.beta` only: put it under that, too",
        ),
        (
            lasts(&item("readonly", &prefix("{{tenant.id}}#"))),
            "$.permissions[0]",
            "is above the ceiling: stay within `cache readonly c {{tenant.id}}:… ($.permissions[0])`, \
             `cache readonly c {{tenant.id}}/… ($.permissions[1]) [$if tenant.attributes.beta]`, or \
             take the permission out",
        ),
        (
            lasts(&topic),
            "$.permissions[0]",
            "the ceiling allows nothing of the type `topic`: take the permission out",
        ),
        (
            json!({"scope": ["c"], "expires_in": 600}),
            "$.scope",
            "the scope `c` is above the ceiling: take it out, or write one of a b",
        ),
        (
            json!({"scope": ["a"], "expires_in": 601}),
            "$.expires_in",
            "tokens live longer than the ceiling's 600 seconds: write 600 or less",
        ),
        (
            json!({"scope": ["a"]}),
            "$.expires_in",
            "tokens live longer than the ceiling's 600 seconds: write 600 or less",
        ),
        (
            json!({"scope": ["a"], "expires_in": 1, "claims": {"plan": "pro"}}),
            "$.claims.plan",
            "the claim is not the ceiling's: write \"{{tenant.attributes.plan}}\", or take it out",
        ),
        (
            json!({"scope": ["a"], "expires_in": 1, "claims": {"other": 1}}),
            "$.claims.other",
            "the ceiling has no such claim: take it out",
        ),
    ];
    for (document, at, message) in outside {
        let found = exceeds(&compile(&document), &ceiling, v);
        let found: Vec<_> =
            found.iter().map(|one| (one.at.as_str(), one.message.as_str())).collect();
        assert_eq!(found, [(at, message)]);
    }
}

#[test]
fn a_ceiling_without_scope_allows_none() {
    let bare = compile(&of(&[item("readonly", &prefix("{{tenant.id}}:"))]));
    let found = exceeds(&compile(&json!({"scope": ["a"]})), &bare, &VOCABULARY);
    assert_eq!(
        found[0].to_string(),
        "$.scope: the scope `a` is above the ceiling, which has none: take it out"
    );
}

const LISTS: [&str; 3] = ["user.claims.regions", "tenant.attributes.sites", "user.groups"];

/// A permission: role, cache, item, whether it is a prefix.
fn permission(variables: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let values = ["tenant.id", "user.claims.region", "client.id"]
        .into_iter()
        .chain(variables.iter().copied());
    let value = select(values.map(|path| format!("{{{{{path}}}}}")).collect::<Vec<_>>());
    let literal = select(vec![":", ":a", ":ab", "a", "/"]).prop_map(str::to_owned);
    let pieces = prop::collection::vec(prop_oneof![value, literal], 1..4);
    let selector = (pieces, any::<bool>()).prop_map(|(pieces, is_prefix)| {
        if is_prefix { prefix(&pieces.concat()) } else { json!(pieces.concat()) }
    });
    let selector = prop_oneof![8 => selector, 1 => Just(json!({"all": true}))];
    let role = select(vec!["readonly", "writeonly", "readwrite", "maintain"]);
    (role, selector).prop_map(|(role, selector)| item(role, &selector))
}

fn condition(variables: &'static [&'static str]) -> impl Strategy<Value = String> {
    let of_variables = variables.iter().map(|name| format!("ne {name} 'eu'"));
    let fixed = [
        "tenant.attributes.beta",
        "not tenant.attributes.beta",
        "user.claims.yes",
        "eq user.claims.region 'eu'",
        "in user.claims.region user.claims.regions",
        "and tenant.attributes.beta user.claims.yes",
        "or tenant.attributes.beta user.claims.yes",
    ];
    select(fixed.into_iter().map(str::to_owned).chain(of_variables).collect::<Vec<_>>())
}

/// A permission or a group, with up to two levels of lists around it.
fn object(
    variables: &'static [&'static str],
    inner: &'static [&'static [&'static str]],
) -> BoxedStrategy<Value> {
    let guarded = |object: BoxedStrategy<Value>, variables| {
        (object, prop::option::weighted(0.3, condition(variables))).prop_map(|(object, guard)| {
            match guard {
                Some(guard) => with(object, &json!({ "$if": guard })),
                None => object,
            }
        })
    };
    let plain = guarded(permission(variables).boxed(), variables).boxed();
    let Some((inside, deeper)) = inner.split_first() else { return plain };
    let name = *inside.last().unwrap();
    let group = prop::collection::vec(object(inside, deeper), 1..3)
        .prop_map(|permissions| json!({ "permissions": permissions }));
    let list = (select(LISTS.to_vec()), guarded(group.boxed(), inside))
        .prop_map(move |(list, group)| with(group, &json!({"$each": list, "$as": name})));
    let group = prop::collection::vec(object(variables, &[]), 1..3)
        .prop_map(|permissions| json!({ "permissions": permissions }));
    prop_oneof![4 => plain, 2 => list, 1 => guarded(group.boxed(), variables)].boxed()
}

fn document() -> impl Strategy<Value = Value> {
    let objects = prop::collection::vec(object(&[], &[&["a"], &["a", "b"]]), 1..5);
    let scope = prop::sample::subsequence(vec!["x", "y"], 0..=2);
    let lifetime = prop::option::of(select(vec![60, 600]));
    (objects, scope, lifetime).prop_map(|(permissions, scope, lifetime)| {
        let mut document = json!({"permissions": permissions, "scope": scope});
        if let Some(seconds) = lifetime {
            document["expires_in"] = json!(seconds);
        }
        document
    })
}

/// What an editor may do to it. Much of it takes something away, so that many pairs do not widen.
#[derive(Clone, Debug)]
enum Edit {
    Drop(prop::sample::Index),
    Guard(prop::sample::Index, String),
    Unguard(prop::sample::Index),
    Role(prop::sample::Index, &'static str),
    Longer(prop::sample::Index, &'static str),
    Swap(prop::sample::Index),
    Duplicate(prop::sample::Index),
    Add(Value),
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        index().prop_map(Edit::Drop),
        (index(), condition(&[])).prop_map(|(at, guard)| Edit::Guard(at, guard)),
        index().prop_map(Edit::Unguard),
        (index(), select(vec!["readonly", "readwrite"]))
            .prop_map(|(at, role)| Edit::Role(at, role)),
        (index(), select(vec![":", "a", ":{{tenant.id}}", ":{{user.claims.region}}"]))
            .prop_map(|(at, text)| Edit::Longer(at, text)),
        index().prop_map(Edit::Swap),
        index().prop_map(Edit::Duplicate),
        object(&[], &[&["a"]]).prop_map(Edit::Add),
    ]
}

fn apply(document: &mut Value, edit: &Edit) {
    let list = document["permissions"].as_array_mut().unwrap();
    let length = list.len();
    match edit {
        Edit::Drop(at) if length > 1 => drop(list.remove(at.index(length))),
        Edit::Drop(_) => {}
        Edit::Guard(at, guard) => list[at.index(length)]["$if"] = json!(guard),
        Edit::Unguard(at) => {
            list[at.index(length)].as_object_mut().unwrap().remove("$if");
        }
        Edit::Role(at, role) => {
            change(&mut list[at.index(length)], &|one| one["role"] = json!(role));
        }
        Edit::Longer(at, text) => change(&mut list[at.index(length)], &|one| {
            let longer = |old: &Value| json!(format!("{}{text}", old.as_str().unwrap()));
            match &one["item"] {
                Value::String(_) => one["item"] = longer(&one["item"]),
                Value::Object(object) if object.contains_key("keyPrefix") => {
                    one["item"]["keyPrefix"] = longer(&one["item"]["keyPrefix"]);
                }
                _ => {}
            }
        }),
        Edit::Swap(at) => list.swap(0, at.index(length)),
        Edit::Duplicate(at) => list.push(list[at.index(length)].clone()),
        Edit::Add(object) => list.push(object.clone()),
    }
}

/// Every permission below.
fn change(object: &mut Value, how: &dyn Fn(&mut Value)) {
    match object.get_mut("permissions") {
        Some(list) => list.as_array_mut().unwrap().iter_mut().for_each(|one| change(one, how)),
        None => how(object),
    }
}

fn pair() -> impl Strategy<Value = (Value, Value)> {
    let edited = (document(), prop::collection::vec(edit(), 0..4)).prop_map(|(old, edits)| {
        let mut new = old.clone();
        for edit in &edits {
            apply(&mut new, edit);
        }
        (old, new)
    });
    prop_oneof![4 => edited, 1 => (document(), document())]
}

#[derive(Clone, Debug)]
struct Person {
    tenant: Value,
    claims: Value,
}

fn person() -> impl Strategy<Value = Person> {
    let list = || {
        prop::option::weighted(
            0.9,
            prop::collection::vec(select(vec!["eu", "us", "a", "a/b"]), 0..3),
        )
    };
    let truth = || prop::option::weighted(0.9, any::<bool>());
    let region = prop::option::weighted(0.9, select(vec!["eu", "us", "a", "ab", "a:b"]));
    let tenant = select(vec!["acme", "acme-corp", "a", "eu"]);
    (tenant, list(), truth(), list(), list(), truth(), region).prop_map(
        |(id, sites, beta, regions, groups, yes, region)| {
            let attributes = without_null(&json!({"sites": sites, "beta": beta}));
            Person {
                tenant: json!({"id": id, "name": "T", "attributes": attributes}),
                claims: without_null(
                    &json!({"regions": regions, "groups": groups, "yes": yes, "region": region}),
                ),
            }
        },
    )
}

fn without_null(object: &Value) -> Value {
    let members = object.as_object().unwrap().clone().into_iter();
    Value::Object(members.filter(|(_, value)| !value.is_null()).collect())
}

fn render(template: &RoleTemplate, person: &Person) -> Option<Rendered> {
    let tenant: Tenant = serde_json::from_value(person.tenant.clone()).unwrap();
    let user = User { id: &"u_dana".parse().unwrap(), claims: person.claims.as_object().unwrap() };
    let input = RenderInput { tenant: &tenant, user: Some(user), client: &"app".parse().unwrap() };
    template.render(&input, &VOCABULARY).ok()
}

/// Runs cases until their number is reached and says for how many the closure had something to hold against.
fn run<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value) -> bool) -> u32 {
    let (config, held) = (Config { cases, ..Config::default() }, Cell::new(0));
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(strategy, |value| {
        held.set(held.get() + u32::from(test(value)));
        Ok(())
    });
    outcome.unwrap_or_else(|failed| panic!("{failed}"));
    held.get()
}

/// If nothing widens, nobody gets more; if nothing changes, everybody gets the same.
#[test]
fn a_diff_that_does_not_widen_gives_nobody_more() {
    let v = &*VOCABULARY;
    let people = prop::collection::vec(person(), 8);
    let held = run(1000, &(pair(), people), |((old, new), people)| {
        let (old, new) = (compile(&old), compile(&new));
        let found = TemplateDiff::between(Some(&old), &new, v);
        for person in &people {
            let (before, after) = (render(&old, person), render(&new, person));
            if found.is_empty() {
                let same = match (&before, &after) {
                    (None, None) => true,
                    (Some(before), Some(after)) => {
                        before.permissions.covers_all(&after.permissions, v)
                            && after.permissions.covers_all(&before.permissions, v)
                            && before.scope == after.scope
                    }
                    _ => false,
                };
                assert!(same, "{person:?}: {before:?} {after:?}");
            }
            let Some(after) = after.filter(|_| !found.widens()) else { continue };
            let before = before.unwrap_or_else(|| panic!("got nothing before: {person:?} {found}"));
            assert!(
                before.permissions.covers_all(&after.permissions, v)
                    && after.scope.is_subset(&before.scope)
                    && after.expires_in.unwrap_or(u32::MAX)
                        <= before.expires_in.unwrap_or(u32::MAX),
                "{person:?}: {found}"
            );
        }
        !found.widens()
    });
    assert!(held > 150, "only {held} pairs did not widen");
}

/// Each permission of the ceiling stands by itself, so it is rendered by itself.
#[test]
fn a_template_below_its_ceiling_gives_nobody_more_than_that() {
    let v = &*VOCABULARY;
    let people = prop::collection::vec(person(), 8);
    let held = run(1000, &(pair(), people), |((ceiling, document), people)| {
        let template = compile(&document);
        let whole = compile(&ceiling);
        if !exceeds(&template, &whole, v).is_empty() {
            return false;
        }
        let mut alone = Vec::new();
        each_alone(&ceiling["permissions"], &|one| one, &mut alone);
        let alone: Vec<RoleTemplate> = alone.into_iter().map(|one| compile(&of(&[one]))).collect();
        for person in &people {
            let Some(given) = render(&template, person) else { continue };
            let allowed = alone.iter().filter_map(|one| render(one, person));
            let allowed =
                allowed.fold(PermissionSet::default(), |all, one| all.union(&one.permissions, v));
            assert!(allowed.covers_all(&given.permissions, v), "{person:?}");
            assert!(given.scope.is_subset(&whole.scope));
            assert!(whole.expires_in.is_none_or(|most| given.expires_in.unwrap() <= most));
        }
        true
    });
    assert!(held > 150, "only {held} templates were below their ceiling");
}

/// Every permission of a document, each with the groups around it.
fn each_alone(list: &Value, around: &dyn Fn(Value) -> Value, found: &mut Vec<Value>) {
    for object in list.as_array().unwrap() {
        match object.get("permissions") {
            None => found.push(around(object.clone())),
            Some(inner) => {
                let own = |one: Value| {
                    let mut group = object.clone();
                    group["permissions"] = json!([one]);
                    around(group)
                };
                each_alone(inner, &own, found);
            }
        }
    }
}
