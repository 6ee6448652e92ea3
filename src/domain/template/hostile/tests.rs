use super::*;
use crate::domain::permission::tests::vocabulary;

const SEEDS: [(&str, bool); 3] = [
    (include_str!("../../../../templates/roles/data-entry.json"), false),
    (include_str!("../../../../templates/roles/admin.json"), false),
    (include_str!("../../../../templates/roles/platform-admin.json"), true),
];

const WHOLE_LANGUAGE: &str = r#"{
    "permissions": [
        {"$if": "and (eq tenant.attributes.plan 'pro') (in 'editors' user.groups)", "permissions": [
            {"role": "readwrite", "cache": "reports", "item": {"keyPrefix": "{{tenant.id}}:"}},
            {"$each": "user.claims.regions", "$as": "region", "$if": "ne region 'eu'",
             "role": "publishonly", "cache": "news", "topic": "{{tenant.id}}:{{region}}"}]},
        {"$if": "user.claims.org.beta",
         "role": "invoke", "cache": "{{user.email}}", "func": {"namePrefix": "t{{tenant.id}}/{{user.id}}"}},
        {"role": "readonly", "cache": "{{tenant.name}}", "item": "{{tenant.id}}|{{client.id}}/{{user.claims.org.unit}}"}],
    "claims": {"plan": "{{tenant.attributes.plan}}", "who": ["{{user.claims.who}}"]}}"#;

/// Compiled as if it could cross tenants, so that the compiler lets it through.
fn of(permissions: &str) -> RoleTemplate {
    let source = format!(r#"{{"permissions": [{permissions}]}}"#);
    RoleTemplate::compile(&source, &vocabulary(), true).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn the_seeds_and_the_whole_language_hold() {
    let v = vocabulary();
    for (source, crosses) in SEEDS.into_iter().chain([(WHOLE_LANGUAGE, false)]) {
        let report = RoleTemplate::compile(source, &v, crosses).unwrap().run_hostile(&v, crosses);
        assert_eq!(report.failures, [""; 0]);
        assert!(report.rendered > 0, "{report:?}");
    }
    let template = RoleTemplate::compile(WHOLE_LANGUAGE, &v, false).unwrap();
    let report = template.run_hostile(&v, false);
    assert!(report.rendered > 100 && report.refused > 1000, "{report:?}");
    assert_eq!(report, template.run_hostile(&v, false), "nothing is random");
    let seed = RoleTemplate::compile(SEEDS[0].0, &v, false).unwrap().run_hostile(&v, false);
    // It reads nothing but the tenant: the whole of it and its two permissions, for each tenant.
    assert_eq!((seed.rendered, seed.refused), (3 * TENANTS.len(), 0));
}

#[test]
fn what_does_not_separate_is_found() {
    let v = vocabulary();
    for item in [
        r#"{"keyPrefix": "{{tenant.id}}"}"#,
        r#"{"keyPrefix": "{{tenant.id}}-"}"#,
        r#""{{tenant.id}}{{user.claims.a}}""#,
        r#""{{user.claims.a}}:{{tenant.id}}""#,
        r#""{{user.claims.a}}""#,
        r#""{{tenant.name}}""#,
        r#""fixed""#,
        r#"{"all": true}"#,
    ] {
        let template = of(&format!(r#"{{"role": "readonly", "cache": "c", "item": {item}}}"#));
        let report = template.run_hostile(&v, false);
        assert!(!report.failures.is_empty() && report.failures.len() <= 16, "{item}: {report:?}");
        assert!(report.failures[0].contains("is not provably inside tenant"), "{report:?}");
        // One that may cross tenants has nobody to keep it from, if it was compiled as such.
        assert_eq!(template.run_hostile(&v, true).failures, [""; 0]);
    }
    let within =
        r#"{"permissions": [{"role": "readonly", "cache": "c", "item": "{{tenant.id}}"}]}"#;
    let mut template = RoleTemplate::compile(within, &v, false).unwrap();
    template.items = of(r#"{"role": "readonly", "cache": "c", "item": "x"}"#).items;
    assert!(!template.run_hostile(&v, true).failures.is_empty(), "it was not compiled as such");
}

#[test]
fn what_hides_behind_a_condition_or_a_refused_value_is_found() {
    let v = vocabulary();
    for around in [
        r#""$if": "eq 1 2","#,
        r#""$if": "user.claims.never","#,
        r#""$each": "user.claims.list", "$as": "x", "$if": "eq x 'never'","#,
    ] {
        let report = of(&format!(
            r#"{{"role": "readonly", "cache": "{{{{user.claims.a}}}}", "item": "{{{{tenant.id}}}}"}},
               {{{around} "permissions": [{{"role": "readonly", "cache": "c", "item": "fixed"}}]}}"#
        ));
        let report = report.run_hostile(&v, false);
        assert!(!report.failures.is_empty(), "{around}");
    }
}

#[test]
fn forms_of_one_template_that_meet_are_found() {
    let v = vocabulary();
    let source = |other: &str| {
        format!(
            r#"{{"permissions": [
            {{"role": "subscribeonly", "cache": "c", "topic": "{{{{tenant.id}}}}-events"}},
            {{"role": "publishonly", "cache": "c", "topic": "{{{{tenant.id}}}}{other}"}}]}}"#
        )
    };
    // Each form separates, so it is compiled; that one may read what the other writes is found.
    let template = RoleTemplate::compile(&source("-b-events"), &v, false).unwrap();
    let report = template.run_hostile(&v, false);
    assert_eq!(
        report.failures,
        [
            "tenant `acme` reaches cache `c`, topic `acme-b-events` of tenant `acme-b`",
            "tenant `acme-b` reaches cache `c`, topic `acme-b-events` of tenant `acme`",
        ]
    );
    for apart in [":b-events", "-b-other", "-events2", "/-events"] {
        let template = RoleTemplate::compile(&source(apart), &v, false).unwrap();
        assert_eq!(template.run_hostile(&v, false).failures, [""; 0], "{apart}");
    }
}

#[test]
fn what_all_tenants_share_is_nobodys_own() {
    let v: Vocabulary = toml::from_str(
        r#"
        [types.catalog]
        selectors = ["shelf"]
        kind = "shared"
        safe = ["read"]
        actions = { read = "shelf", burn = "shelf" }
        roles = { reader = ["read"], fireman = ["burn"] }
    "#,
    )
    .unwrap();
    let compile = |role: &str| {
        let source = format!(r#"{{"permissions": [{{"role": "{role}", "shelf": "s"}}]}}"#);
        RoleTemplate::compile(&source, &v, true).unwrap()
    };
    assert_eq!(compile("reader").run_hostile(&v, false).failures, [""; 0]);
    assert!(!compile("fireman").run_hostile(&v, false).failures.is_empty());
}

#[test]
fn a_failure_names_the_values_and_does_not_repeat_them_whole() {
    let report =
        of(r#"{"role": "readonly", "cache": "c", "item": "{{user.claims.a}}{{user.claims.b}}"}"#);
    let report = report.run_hostile(&vocabulary(), false);
    let named =
        report.failures.iter().find(|failure| failure.starts_with("with user.claims.a set"));
    assert!(named.is_some(), "{report:?}");
    assert!(with(&["a", "b"], &json!("x".repeat(4096))).len() < 80);
    assert_eq!(with(&["a"], &json!("\u{202e}")), "with a set to \\\"\\u{202e}\\\": ");
}

#[test]
fn the_work_is_bounded() {
    let v = vocabulary();
    let permissions: Vec<String> = (0..256)
        .map(|n| {
            format!(
                r#"{{"role":"readonly","cache":"{{{{user.claims.c{n}}}}}","item":"{{{{tenant.id}}}}:{{{{user.claims.d{n}}}}}"}}"#
            )
        })
        .collect();
    let source = format!(r#"{{"permissions": [{}]}}"#, permissions.join(","));
    let report = RoleTemplate::compile(&source, &v, false).unwrap().run_hostile(&v, false);
    assert_eq!(report.failures, [""; 0]);
    // The whole for each value at once, and each permission with its two values one by one or at once.
    let tries = TENANTS.len() * (hostile_values(&tenants(&[])).len() + 1);
    let done = report.rendered + report.refused;
    assert!(done <= tries + 256 * tries * 3, "{report:?}");
}
