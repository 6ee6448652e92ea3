use super::*;
use crate::domain::permission::tests::vocabulary;
use serde_json::json;

const SEEDS: [(&str, bool); 3] = [
    (include_str!("../../../../templates/roles/data-entry.json"), false),
    (include_str!("../../../../templates/roles/admin.json"), false),
    (include_str!("../../../../templates/roles/platform-admin.json"), true),
];

/// A template with which there is nothing to find, save in these permissions and members.
fn source(permissions: &str, members: &str) -> String {
    format!(
        r#"{{"description": "d", "expires_in": 900,
"permissions": [{permissions}],
"tests": [{{"name": "t", "given": {{"tenant": {{"id": "a"}}}},
"deny": [{{"cache": "c", "item": "i", "action": "set"}}]}}]{members}}}"#
    )
}

fn findings(source: &str, v: &Vocabulary, crosses: bool) -> Vec<Finding> {
    let template = RoleTemplate::compile(source, v, crosses);
    lint(&template.unwrap_or_else(|errors| panic!("{errors}")), v)
}

/// The codes and places that are found in these permissions.
fn of(permissions: &str) -> Vec<(&'static str, String)> {
    let found = findings(&source(permissions, ""), &vocabulary(), false);
    found.into_iter().map(|finding| (finding.code, finding.path)).collect()
}

#[track_caller]
fn assert_found(permissions: &str, wanted: &[(&str, &str)]) {
    let found = of(permissions);
    let found: Vec<_> = found.iter().map(|(code, path)| (*code, path.as_str())).collect();
    assert_eq!(found, wanted, "{permissions}");
}

const ITEM: &str = r#"{"role": "readonly", "cache": "c", "item": "{{tenant.id}}"}"#;

#[test]
fn the_seeds_are_clean() {
    for (source, crosses) in SEEDS {
        assert_eq!(findings(source, &vocabulary(), crosses), []);
    }
    assert_eq!(of(ITEM), []);
}

#[test]
fn what_is_missing_is_found() {
    let v = vocabulary();
    let codes = |source: &str| -> Vec<&str> {
        findings(source, &v, false).iter().map(|finding| finding.code).collect()
    };
    assert_eq!(codes(r#"{"scope": ["a"]}"#), ["no-description", "no-expires-in", "no-tests"]);
    assert_eq!(
        codes(r#"{"description": " ", "expires_in": 3601, "scope": ["a"], "tests": []}"#),
        ["no-description", "no-tests", "long-expires-in"]
    );
    let allowing = r#"{"description": "d", "expires_in": 3600, "scope": ["a"],
        "tests": [{"name": "t", "given": {"tenant": {"id": "a"}}, "error": true}]}"#;
    let found = findings(allowing, &v, false);
    assert_eq!(
        found[0].to_string(),
        "2:18: $.tests: have no `deny`; a test that only allows still passes when the role is given \
         too much (no-deny-test)"
    );
    assert_eq!(found.len(), 1);
    assert_eq!(
        serde_json::to_value(&found[0]).unwrap(),
        json!({"path": "$.tests", "line": 2, "column": 18, "code": "no-deny-test",
               "message": "have no `deny`; a test that only allows still passes when the role is given too much"})
    );
}

#[test]
fn permissions_that_add_nothing_are_found() {
    let covered = [("covered-permission", "$.permissions[1]")];
    let duplicate = [("duplicate-permission", "$.permissions[1]")];
    assert_found(&format!("{ITEM}, {ITEM}"), &duplicate);
    let item = |text: &str| format!(r#"{{"role": "readonly", "cache": "c", "item": {text}}}"#);
    let prefix = item(r#"{"keyPrefix": "{{tenant.id}}:"}"#);
    for narrower in [
        item(r#""{{tenant.id}}:1""#),
        item(r#""{{tenant.id}}:{{user.id}}""#),
        item(r#"{"keyPrefix": "{{tenant.id}}:x"}"#),
        r#"{"$if": "user.claims.x", "role": "readonly", "cache": "c", "item": "{{tenant.id}}:1"}"#
            .into(),
        r#"{"$each": "user.groups", "$as": "g",
            "role": "readonly", "cache": "c", "item": "{{tenant.id}}:{{g}}"}"#
            .into(),
    ] {
        assert_found(&format!("{prefix}, {narrower}"), &covered);
        // The narrower one is the one too many, wherever it stands.
        assert_found(
            &format!("{narrower}, {prefix}"),
            &[("covered-permission", "$.permissions[0]")],
        );
    }
    let wide = r#"{"role": "readwrite", "cache": "c", "item": {"keyPrefix": "{{tenant.id}}:"}}"#;
    assert_found(&format!("{wide}, {prefix}"), &covered);
    for other in [
        wide.to_owned(),
        item(r#"{"keyPrefix": "{{tenant.id}}/"}"#),
        item(r#"{"keyPrefix": "t{{tenant.id}}:"}"#),
        item(r#""{{tenant.id}}""#),
        r#"{"role": "readonly", "cache": "d", "item": "{{tenant.id}}:1"}"#.into(),
        r#"{"role": "subscribeonly", "cache": "c", "topic": "{{tenant.id}}:1"}"#.into(),
    ] {
        let found = of(&format!("{prefix}, {other}"));
        let wider = [("covered-permission", "$.permissions[0]".to_owned())];
        assert_eq!(found, if other == wide { &wider[..] } else { &[] }, "{other}");
    }
    // What is itself given only at times covers nothing else.
    for guarded in
        [r#""$if": "user.claims.x","#, r#""$each": "user.groups", "$as": "g", "$if": "ne g 'x'","#]
    {
        let guarded = prefix.replacen('{', &format!("{{{guarded}"), 1);
        let found = of(&format!("{guarded}, {}", item(r#""{{tenant.id}}:1""#)));
        assert!(found.iter().all(|(code, _)| *code != "covered-permission"), "{found:?}");
    }
    // Under the same condition it does.
    let group = format!(r#"{{"$if": "user.claims.x", "permissions": [{prefix}, {ITEM}, {ITEM}]}}"#);
    assert_found(&group, &[("duplicate-permission", "$.permissions[0].permissions[2]")]);
    // The names of two lists may be exchanged: nothing is said.
    let lists = |text: &str| {
        format!(
            r#"{{"$each": "user.groups", "$as": "a", "permissions": [
                {{"$each": "user.groups", "$as": "b", "role": "readonly", "cache": "c",
                  "item": "{{{{tenant.id}}}}:{{{{{text}}}}}/{{{{a}}}}{{{{tenant.id}}}}"}}]}}"#
        )
    };
    let template = source(&format!("{}, {}", lists("a"), lists("b")), "");
    let found = findings(&template, &vocabulary(), true);
    assert!(found.iter().all(|finding| finding.code == "unused-variable"), "{found:?}");
}

#[test]
fn conditions_and_lists_without_use_are_found() {
    let guarded = |guard: &str| ITEM.replacen('{', &format!("{{{guard}, "), 1);
    for (condition, says) in [
        ("eq 1 1", "is always true; take it out"),
        ("ne 'a' 'a'", "is always false; take the object out"),
        ("not (and (eq 1 1) (in 'a' [\"a\", \"b\"]))", "is always false"),
        ("or (eq (lower 'A') 'a') (eq 1 2)", "is always true"),
        ("eq 1 'a'", "compares values of different kinds"),
    ] {
        let source = source(&guarded(&format!(r#""$if": {}"#, json!(condition))), "");
        let found = findings(&source, &vocabulary(), false);
        assert_eq!((found.len(), found[0].code), (1, "constant-condition"), "{condition}");
        assert_eq!(found[0].path, "$.permissions[0].$if");
        assert!(found[0].message.contains(says), "{}", found[0].message);
    }
    for condition in ["tenant.attributes.beta", "eq 'a' tenant.id", "in 'a' user.groups"] {
        assert_found(&guarded(&format!(r#""$if": "{condition}""#)), &[]);
    }
    let each = guarded(r#""$each": "user.groups", "$as": "g""#);
    assert_found(&each, &[("unused-variable", "$.permissions[0].$each")]);
    assert_found(&guarded(r#""$each": "user.groups", "$as": "g", "$if": "eq g 'a'""#), &[]);
    // Only the inner list's element is used.
    let nested = r#"{"$each": "user.claims.a", "$as": "a", "permissions": [
        {"$each": "user.claims.b", "$as": "b",
         "role": "readonly", "cache": "c", "item": "{{tenant.id}}:{{b}}"},
        {"$each": "user.claims.c", "$as": "c",
         "role": "readonly", "cache": "d", "item": "{{tenant.id}}:{{c}}"}]}"#;
    assert_found(nested, &[("unused-variable", "$.permissions[0].$each")]);
    assert_found(&nested.replace("{{c}}", "{{a}}/{{c}}"), &[]);
}

#[test]
fn text_that_looks_like_more_is_found() {
    let item = |text: &str| {
        format!(r#"{{"role": "readonly", "cache": "{{{{tenant.id}}}}", "item": {text}}}"#)
    };
    let value = |at| [("looks-like-value", at)];
    assert_found(&item("\"tenant.id:1\""), &value("$.permissions[0].item"));
    assert_found(
        &item("{\"keyPrefix\": \"user.claims.region:\"}"),
        &value("$.permissions[0].item.keyPrefix"),
    );
    for text in ["{tenant.id}", "${id}", "x}", "<tenant.name>", "user.email/1", "%client.id%"] {
        assert_found(&item(&json!(text).to_string()), &value("$.permissions[0].item"));
    }
    for text in ["acme:*", "*", "reports/*/2026"] {
        assert_found(
            &item(&json!(text).to_string()),
            &[("literal-wildcard", "$.permissions[0].item")],
        );
    }
    for text in [
        "tenant",
        "tenant.ids",
        "my-tenant.id",
        "tenant.id-map",
        "other.tenant.id",
        "user.claims.",
        "superuser.id",
        "tenant.identity",
        "{{user.id}}",
    ] {
        assert_found(&item(&json!(text).to_string()), &[]);
    }
    let members = r#", "scope": ["a", "{tenant}:a", "a", "user.id"],
        "claims": {"a": "tenant.id", "b": ["x", "user.claims.plan"], "c": "{\"x\": 1}", "d": "{{tenant.id}}"}"#;
    let found = findings(&source(ITEM, members), &vocabulary(), false);
    let found: Vec<_> = found.iter().map(|finding| (finding.code, &*finding.path)).collect();
    assert_eq!(
        found,
        [
            ("looks-like-value", "$.scope[1]"),
            ("duplicate-scope", "$.scope[2]"),
            ("looks-like-value", "$.claims.a"),
            ("looks-like-value", "$.claims.b[1]"),
        ]
    );
}

#[test]
fn what_is_selected_whole_is_found_unless_it_must_be() {
    let all = r#"{"role": "readonly", "cache": {"all": true}, "item": "{{tenant.id}}"},
                 {"role": "readonly", "cache": "{{tenant.id}}", "item": {"all": true}}"#;
    assert_found(
        all,
        &[("selects-all", "$.permissions[0].cache"), ("selects-all", "$.permissions[1].item")],
    );
    assert!(findings(&source(all, ""), &vocabulary(), true).is_empty(), "staff may");
    let v: Vocabulary = toml::from_str(
        r#"
        [types.cache]
        selectors = ["cache", "item"]
        kind = "tenant"
        actions = { take = "item", set = "item", empty = "cache" }
        roles = { mover = ["take", "empty"], emptier = ["empty"] }
    "#,
    )
    .unwrap();
    let codes = |role: &str, item: &str| -> Vec<String> {
        let permission =
            format!(r#"{{"role": "{role}", "cache": "{{{{tenant.id}}}}", "item": {item}}}"#);
        findings(&source(&permission, ""), &v, false).iter().map(ToString::to_string).collect()
    };
    let none: [&str; 0] = [];
    assert_eq!(codes("mover", r#"{"all": true}"#), none);
    assert_eq!(
        codes("mover", "\"i\""),
        [concat!(
            "2:17: $.permissions[0]: never allows empty, which act on a whole `cache`; write ",
            "{\"all\": true} for `item`, or give a role without them (idle-action)"
        )]
    );
}

#[test]
fn every_finding_is_explained() {
    let sources =
        [include_str!("../lint.rs"), include_str!("redundant.rs"), include_str!("text.rs")];
    let code = regex::Regex::new(r#""([a-z]+(?:-[a-z]+)+)""#).unwrap();
    let codes = sources.iter().flat_map(|source| code.captures_iter(source));
    let codes: std::collections::BTreeSet<&str> =
        codes.map(|found| found.get(1).unwrap().as_str()).collect();
    let text = include_str!("../../../../docs/templates.md");
    let (_, section) = text.split_once("## Findings").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let rows: std::collections::BTreeSet<&str> = rows.take_while(|row| row.contains('-')).collect();
    assert_eq!(rows, codes);
}
