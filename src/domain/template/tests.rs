use super::proof::Subjected;
use super::proof::prove;
use super::*;
use crate::domain::ids::TenantId;
use crate::domain::permission::Permission;
use crate::domain::permission::PermissionSet;
use crate::domain::permission::Resource;
use crate::domain::permission::Vocabulary;
use crate::domain::permission::tests::vocabulary;
use crate::domain::tenant::Tenant;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const DATA_ENTRY: &str = include_str!("../../../templates/roles/data-entry.json");
const ADMIN: &str = include_str!("../../../templates/roles/admin.json");
const PLATFORM_ADMIN: &str = include_str!("../../../templates/roles/platform-admin.json");

fn tenant(id: &str) -> Tenant {
    let attributes = json!({"plan": "pro", "beta": true, "seats": 7, "sites": ["north", "south"]});
    serde_json::from_value(json!({"id": id, "name": "The Tenant", "attributes": attributes}))
        .unwrap()
}

fn claims() -> Map<String, Value> {
    let claims = json!({
        "email": "dana@acme.example", "name": "Dana D.", "groups": ["editors", "staff"],
        "regions": ["eu", "us"], "none": [], "number": 42, "half": 0.5, "yes": true, "no": false,
        "text": "false", "empty": "", "null": null, "org": {"unit": "ops"}, "mixed": ["a", true],
        "https://acme.example/region": "eu", "many": vec!["x"; 257], "some": (0..200).collect::<Vec<_>>(),
    });
    claims.as_object().unwrap().clone()
}

fn compile(source: &str) -> Result<RoleTemplate, TemplateErrors> {
    RoleTemplate::compile(source, &vocabulary(), false)
}

fn render_for(source: &str, id: &str) -> Result<Rendered, RenderError> {
    let v = vocabulary();
    let (tenant, claims) = (tenant(id), claims());
    let user = Some(User { id: &"u_dana".parse().unwrap(), claims: &claims });
    let input = RenderInput { tenant: &tenant, user, client: &"demo-web".parse().unwrap() };
    compile(source).unwrap_or_else(|errors| panic!("{errors}")).render(&input, &v)
}

fn render(source: &str) -> Result<Rendered, RenderError> {
    render_for(source, "acme")
}

fn item_template(selector: &Value) -> String {
    json!({"permissions": [{"role": "readonly", "cache": "c", "item": selector}]}).to_string()
}

fn allows(set: &PermissionSet, resource: &Value, action: &str, v: &Vocabulary) -> bool {
    set.allows(&Resource::parse(resource, action, v).unwrap(), action, v).is_some()
}

#[test]
fn dana_enters_data_for_acme_and_nobody_else() {
    let v = vocabulary();
    let rendered = render(DATA_ENTRY).unwrap();
    let wanted = json!([
        {"type": "cache", "role": "readonly", "cache": "calendar-events", "item": {"keyPrefix": "acme:"}},
        {"type": "topic", "role": "publishsubscribe", "cache": "collaboration", "topic": "acme-events"},
    ]);
    assert_eq!(serde_json::to_value(&rendered.permissions).unwrap(), wanted);
    assert_eq!(rendered.expires_in, Some(900));
    assert!(rendered.scope.is_empty() && rendered.claims.is_empty());
    let item = |item: &str| json!({"cache": "calendar-events", "item": item});
    assert!(allows(&rendered.permissions, &item("acme:1"), "get", &v));
    for other in ["globex:1", "acme-corp:1", "acme-corp:", "acme", "acm", " acme:1", "ACME:1"] {
        assert!(!allows(&rendered.permissions, &item(other), "get", &v), "{other}");
    }
    assert!(!allows(&rendered.permissions, &item("acme:1"), "set", &v));
    assert!(!allows(&rendered.permissions, &json!({"cache": "c", "item": "acme:1"}), "get", &v));
    for action in ["publish", "subscribe"] {
        let topic = |topic: &str| json!({"cache": "collaboration", "topic": topic});
        assert!(allows(&rendered.permissions, &topic("acme-events"), action, &v));
        assert!(!allows(&rendered.permissions, &topic("acme-corp-events"), action, &v));
        assert!(!allows(&rendered.permissions, &topic("acme-events2"), action, &v));
    }
    let id: TenantId = "acme".parse().unwrap();
    assert_eq!(boundary::check(&rendered.permissions, &id, &v), Ok(()));
    for other in ["acme-corp", "acm", "globex", "acme-events"] {
        assert!(boundary::check(&rendered.permissions, &other.parse().unwrap(), &v).is_err());
    }
}

#[test]
fn an_admin_gets_more_of_the_same_tenant() {
    let v = vocabulary();
    let admin = render(ADMIN).unwrap().permissions;
    assert!(admin.covers_all(&render(DATA_ENTRY).unwrap().permissions, &v));
    assert_eq!(boundary::check(&admin, &"acme".parse().unwrap(), &v), Ok(()));
    let area = |tenant: &str| json!({"area": "templates", "tenant": tenant});
    assert!(allows(&admin, &area("acme"), "manage", &v));
    assert!(!allows(&admin, &area("acme-corp"), "manage", &v));
    assert!(!allows(&admin, &json!({"area": "clients", "tenant": "acme"}), "view", &v));
}

#[test]
fn only_marked_templates_cross_tenants() {
    let v = vocabulary();
    assert!(compile(PLATFORM_ADMIN).is_err());
    let template = RoleTemplate::compile(PLATFORM_ADMIN, &v, true).unwrap();
    let platform = tenant("platform");
    let input = RenderInput { tenant: &platform, user: None, client: &"c".parse().unwrap() };
    let permissions = template.render(&input, &v).unwrap().permissions;
    assert!(allows(&permissions, &json!({"area": "keys", "tenant": "globex"}), "manage", &v));
    assert!(boundary::check(&permissions, &platform.id, &v).is_err());
    assert_eq!(template.description(), Some("Administer Rolemint for all tenants"));
    assert_eq!(template.source(), PLATFORM_ADMIN);

    let flush = r#"{"permissions": [{"role": "maintain", "cache": "{{tenant.id}}", "item": {"all": true}}]}"#;
    let error = compile(flush).unwrap_err().to_string();
    assert!(error.contains("allows delete-cache, flush, which reaches other tenants"), "{error}");
    let crossing = RoleTemplate::compile(flush, &v, true).unwrap().render(&input, &v).unwrap();
    assert!(boundary::check(&crossing.permissions, &platform.id, &v).is_err());
}

#[test]
fn selectors_separate_by_their_form() {
    let good = [
        json!("{{tenant.id}}"),
        json!("{{ tenant.id }}-events"),
        json!("x{{tenant.id}}.y"),
        json!("t/{{tenant.id}}"),
        json!("{{tenant.id}}:{{user.id}}"),
        json!("{{tenant.id}}-a:b{{user.id}}c/{{client.id}}!"),
        json!({"keyPrefix": "{{tenant.id}}:"}),
        json!({"keyPrefix": "{{tenant.id}}-events|"}),
        json!({"namePrefix": "a:{{tenant.id}}/{{user.id}}"}),
        json!({"key": "{{tenant.id}}#{{user.claims.org.unit}}"}),
        json!("{{tenant.id}}:{{user.claims.[https://acme.example/region]}}"),
    ];
    for selector in good {
        let rendered = render(&item_template(&selector)).unwrap_or_else(|e| panic!("{e}"));
        let check =
            |id: &str| boundary::check(&rendered.permissions, &id.parse().unwrap(), &vocabulary());
        assert_eq!(check("acme"), Ok(()), "{selector}");
        assert!(check("acm").is_err() && check("globex").is_err(), "{selector}");
    }
    let bad = [
        (
            json!({"keyPrefix": "{{tenant.id}}"}),
            "tenants `acme` and `acme-corp`: item `acme-corp:7`",
        ),
        (json!({"keyPrefix": "{{tenant.id}}-"}), "item `acme-corp-7` would be open to both"),
        (json!({"keyPrefix": "t:{{tenant.id}}"}), "write `t:{{tenant.id}}:`"),
        (json!({"keyPrefix": "{{tenant.id}}."}), "has no delimiter"),
        (json!({"keyPrefix": "{{tenant.id}}{{user.id}}:"}), "item `acme-corpx:7` would be open"),
        (json!("{{tenant.id}}{{user.id}}"), "item `acme-corpx` would be open to both"),
        (json!("{{tenant.id}}-{{user.id}}"), "tenants `acme` and `acme-corp`: item `acme-corp-x`"),
        (json!("{{user.id}}:{{tenant.id}}"), "another value before the tenant"),
        (json!("{{tenant.id}}:{{tenant.id}}"), "more than once"),
        (json!("{{tenant.id}}:{{user.id}}{{client.id}}"), "no delimiter parts"),
        (json!("{{tenant.id}}:{{user.id}}-{{client.id}}"), "no delimiter parts"),
        (json!("{{tenant.name}}"), "does not name the tenant"),
        (json!("acme:1"), "tenants `acme` and `globex`: item `acme:1` would be open to both"),
        (json!({"all": true}), "`globex`: item `7` would be open to both"),
    ];
    for (selector, expected) in bad {
        let error =
            compile(&item_template(&selector)).expect_err(&selector.to_string()).to_string();
        assert!(error.contains(expected), "{selector}: {error}");
    }
}

#[test]
fn one_separating_selector_is_enough_and_counts_where_the_action_acts() {
    let wide = r#"{"permissions": [{"role": "readonly", "cache": "{{tenant.id}}", "item": {"all": true}}]}"#;
    let rendered = render(wide).unwrap();
    let v = vocabulary();
    assert_eq!(boundary::check(&rendered.permissions, &"acme".parse().unwrap(), &v), Ok(()));

    let shared: Vocabulary = toml::from_str(
        r#"
        [types.catalog]
        selectors = ["shelf", "book"]
        kind = "shared"
        safe = ["read"]
        actions = { read = "book", burn = "shelf" }
        roles = { reader = ["read"], fireman = ["read", "burn"] }
        [types.box]
        selectors = ["box", "thing"]
        kind = "tenant"
        actions = { take = "thing", empty = "box" }
        roles = { taker = ["take"], mover = ["take", "empty"] }
    "#,
    )
    .unwrap();
    let cases = [
        (json!({"role": "reader", "shelf": "s", "book": {"all": true}}), None),
        (json!({"role": "fireman", "shelf": "s", "book": "b"}), Some("may hold only: read")),
        (json!({"role": "taker", "box": "b", "thing": "{{tenant.id}}"}), None),
        (json!({"role": "mover", "box": "{{tenant.id}}", "thing": {"all": true}}), None),
        (
            json!({"role": "mover", "box": "b", "thing": "{{tenant.id}}"}),
            Some("box `b` would be open to both"),
        ),
    ];
    for (permission, expected) in cases {
        let source = json!({"permissions": [permission]}).to_string();
        let errors = RoleTemplate::compile(&source, &shared, false).err().map(|e| e.to_string());
        match expected {
            None => assert_eq!(errors, None),
            Some(text) => assert!(errors.as_ref().is_some_and(|e| e.contains(text)), "{errors:?}"),
        }
        let tenant = tenant("acme");
        let input = RenderInput { tenant: &tenant, user: None, client: &"c".parse().unwrap() };
        let rendered = RoleTemplate::compile(&source, &shared, true).unwrap();
        let rendered = rendered.render(&input, &shared).unwrap();
        let checked = boundary::check(&rendered.permissions, &tenant.id, &shared);
        assert_eq!(checked.is_ok(), expected.is_none(), "{source}");
    }
}

#[test]
fn what_comes_from_outside_cannot_claim_a_tenant() {
    let v = vocabulary();
    let id: TenantId = "acme".parse().unwrap();
    let of = |item: Value| {
        let one = json!([{"role": "readonly", "cache": "c", "item": item}]);
        PermissionSet::parse(&one, &v).unwrap()
    };
    for item in [json!("acme"), json!("acme:1"), json!({"keyPrefix": "acme:"}), json!("acme/")] {
        assert_eq!(boundary::check(&of(item.clone()), &id, &v), Ok(()), "{item}");
    }
    for item in [
        json!({"all": true}),
        json!({"keyPrefix": "acme"}),
        json!({"keyPrefix": "acme-"}),
        json!("acme-events"),
        json!("acme-corp:1"),
        json!("acme.x"),
        json!("globex:acme:"),
        json!({"keyPrefix": "globex:acme:"}),
        json!(":acme:"),
        json!("ACME:1"),
        json!("acmе:1"),
    ] {
        assert!(boundary::check(&of(item.clone()), &id, &v).is_err(), "{item}");
    }
    // Narrowed by a request, a rendered permission is still its tenant's.
    let rendered = render(DATA_ENTRY).unwrap().permissions;
    let asked = PermissionSet::parse(
        &json!([
            {"role": "readwrite", "cache": {"all": true}, "item": "acme:1"},
            {"role": "subscribeonly", "cache": "collaboration", "topic": {"all": true}},
        ]),
        &v,
    );
    let granted = rendered.intersection(&asked.unwrap(), &v);
    assert_eq!(granted.len(), 2);
    assert_eq!(boundary::check(&granted, &id, &v), Ok(()));
    assert!(boundary::check(&granted, &"acme-corp".parse().unwrap(), &v).is_err());
}

const PERMISSION: &str = r#"{"role": "readonly", "cache": "c", "item": "{{tenant.id}}"}"#;

/// A template with this member, and one with these permissions.
fn with(member: &str) -> String {
    format!(r#"{{"permissions": [{PERMISSION}], {member}}}"#)
}
/// So many members of an object.
fn members(count: usize) -> String {
    (0..count).map(|n| format!(r#""m{n}": "x""#)).collect::<Vec<_>>().join(",")
}
fn of(list: &str) -> String {
    format!(r#"{{"permissions": [{list}]}}"#)
}

fn assert_refused(cases: &[(String, &str)]) {
    for (source, expected) in cases {
        let shown: String = source.chars().take(200).collect();
        let error = compile(source).expect_err(&shown).to_string();
        assert!(error.contains(expected), "{shown}: {error}");
    }
}

#[test]
fn documents_are_refused_with_their_place() {
    let deep = format!("{}{}", "[".repeat(17), "]".repeat(17));
    assert_refused(&[
        (String::new(), "$: is not the JSON"),
        ("{".into(), "$: is not the JSON"),
        ("{} {}".into(), "trailing characters"),
        ("[]".into(), "is a JSON object"),
        ("{}".into(), "grants nothing"),
        (r#"{"permissions": [], "scope": []}"#.into(), "grants nothing"),
        (r#"{"expires_in": 900, "claims": {"a": "b"}}"#.into(), "grants nothing"),
        (format!("{}{{}}", " ".repeat(65536)), "larger than 64 KiB"),
        (with(&format!(r#""claims": {{"a": {deep}}}"#)), "more than 16 levels"),
        (with(r#""scope": ["a"], "scope": ["b"]"#), "\"scope\" stands twice"),
        (
            of(r#"{"role": "readonly", "role": "readonly", "cache": "c", "item": "i"}"#),
            "stands twice",
        ),
        (with(r#""permission": []"#), "$.permission: is unknown"),
        (with(r#""tests": {}"#), "$.tests: is a list of tests"),
        (with(r#""description": 7"#), "$.description: is a string"),
        (with(r#""expires_in": 0"#), "$.expires_in: is a whole number"),
        (with(r#""expires_in": -1"#), "$.expires_in"),
        (with(r#""expires_in": 1.5"#), "$.expires_in"),
        (with(r#""expires_in": 900.0"#), "$.expires_in"),
        (with(r#""expires_in": 9e2"#), "$.expires_in"),
        (with(r#""expires_in": -0"#), "$.expires_in"),
        (with(r#""expires_in": 18446744073709551616"#), "$.expires_in"),
        (with(r#""expires_in": 86401"#), "$.expires_in"),
        (with(r#""expires_in": "900""#), "$.expires_in"),
        (with(r#""expires_in": null"#), "$.expires_in"),
        (with(r#""scope": "a""#), "$.scope: is a list"),
        (with(r#""scope": ["a b"]"#), "$.scope[0]: is one scope"),
        (with(r#""scope": ["a", "{{tenant.id}}"]"#), "$.scope[1]: is one scope"),
        (with(r#""scope": [7]"#), "$.scope[0]"),
        (with(r#""claims": []"#), "$.claims: is an object"),
        (with(r#""claims": {"a": {"b": "c"}}"#), "$.claims.a"),
        (with(r#""claims": {"a": null}"#), "$.claims.a"),
        (with(r#""claims": {"a": 0.5}"#), "$.claims.a"),
        (with(r#""claims": {"a": [["b"]]}"#), "$.claims.a[0]"),
        (with(r#""claims": {"": "b"}"#), "no name for a claim"),
        (with(r#""claims": {"__proto__": "b"}"#), "no name for a claim"),
        (with(r#""claims": {"\u202ea": "b"}"#), "no name for a claim"),
        (
            with(&format!(r#""claims": {{{}}}"#, members(65))),
            "$.claims: is an object of at most 64",
        ),
        (with(&format!(r#""scope": {:?}"#, vec!["a"; 65])), "$.scope: is a list of at most 64"),
        (with(&format!(r#""description": "{}""#, "x".repeat(1025))), "at most 1024 bytes"),
    ]);
    let reserved = "iss sub aud exp iat nbf jti client_id cnf act may_act scope tenant sid auth_time \
                    acr amr azp typ tpl rev roles authorization_details nonce";
    for claim in reserved.split_whitespace() {
        let error = compile(&with(&format!(r#""claims": {{"{claim}": "x"}}"#))).unwrap_err();
        assert!(error.to_string().contains("a claim of the token itself"), "{error}");
    }
}

#[test]
fn permissions_are_refused_with_their_place() {
    assert_refused(&[
        (r#"{"permissions": {}}"#.into(), "$.permissions: is a list"),
        (of("7"), "$.permissions[0]: a permission is a JSON object"),
        (of("{}"), "exactly one resource type"),
        (of(r#"{"role": "readonly", "cache": "{{tenant.id}}"}"#), "exactly one resource type"),
        (
            of(r#"{"role": "readonly", "cache": "{{tenant.id}}", "item": "i", "topic": "t"}"#),
            "exactly",
        ),
        (
            of(r#"{"role": "readonly", "cache": "c", "items": "{{tenant.id}}"}"#),
            "nothing is called",
        ),
        (
            of(r#"{"role": "{{user.name}}", "cache": "c", "item": "{{tenant.id}}"}"#),
            "[0].role: a role",
        ),
        (of(r#"{"cache": "c", "item": "{{tenant.id}}"}"#), "a role of `cache` is one of"),
        (
            of(r#"{"role": "readonly", "cache": 7, "item": "{{tenant.id}}"}"#),
            "[0].cache: is not a sel",
        ),
        (
            of(r#"{"role": "readonly", "cache": "", "item": "{{tenant.id}}"}"#),
            "[0].cache: is empty",
        ),
        (
            of(r#"{"role": "readonly", "cache": {"all": false}, "item": "{{tenant.id}}"}"#),
            "[0].cache",
        ),
        (
            of(r#"{"role": "readonly", "cache": {"key": "a", "all": true}, "item": "i"}"#),
            "[0].cache",
        ),
        (of(r#"{"role": "readonly", "cache": "a\u202eb", "item": "{{tenant.id}}"}"#), "invisible"),
    ]);
}

#[test]
fn directives_are_refused_with_their_place() {
    let permission = PERMISSION;
    let directive = |text: &str| of(&permission.replacen('{', &format!("{{{text}, "), 1));
    assert_refused(&[
        (directive(r#""$unless": "x""#), "nothing is called \"$unless\""),
        (directive(r#""$if": true"#), "$if: is a condition in a string"),
        (directive(r#""$each": "user.groups""#), "go together"),
        (directive(r#""$as": "group""#), "go together"),
        (directive(r#""$each": "user.groups", "$as": "user""#), "$as: is a new name"),
        (directive(r#""$each": "user.groups", "$as": "a.b""#), "$as: is a new name"),
        (directive(r#""$each": "user.groups", "$as": "__proto__""#), "$as: is a new name"),
        (directive(r#""$each": "tenant.id", "$as": "x""#), "is never a list"),
        (directive(r#""$each": ["a"], "$as": "x""#), "$each: is the path to a list"),
        (directive(r#""$each": "lookup user 'x'", "$as": "x""#), "takes the path to a list"),
        (
            directive(r#""$each": "@root.user.groups", "$as": "x""#),
            "$each: `@root.user.groups` is no path",
        ),
        (directive(r#""$each": "user.claims.__proto__", "$as": "x""#), "$each: `user.claims.__pr"),
        (directive(r#""$each": "user.claims.[__proto__]", "$as": "x""#), "$each: `user.claims.[_"),
        (directive(r#""$each": "{{user.groups}}", "$as": "x""#), "$each: is an expression already"),
        (directive(r#""$each": "> partial", "$as": "x""#), "$each: "),
        (directive(r#""$each": "user.groups as |g|", "$as": "x""#), "$each: "),
        (directive(r#""description": 7"#), "$.permissions[0].description: is a string"),
        (
            of(&format!(r#"{{"description": [], "permissions": [{permission}]}}"#)),
            "$.permissions[0].description: is a string",
        ),
        (of(&format!(r#"{{"permissions": [{permission}], "role": "readonly"}}"#)), "cannot stand"),
        (of(&format!(r#"{{"permissions": [{permission}], "cache": "c"}}"#)), "cannot stand"),
        (of(&vec![permission; 257].join(",")), "at most 256 permissions"),
    ]);
    let nested = (0..4).rev().fold(permission.to_owned(), |inner, n| {
        format!(r#"{{"$each": "user.groups", "$as": "x{n}", "permissions": [{inner}]}}"#)
    });
    let error = compile(&of(&nested)).unwrap_err().to_string();
    assert!(error.contains("at most 3 deep"), "{error}");
}

#[test]
fn all_mistakes_are_told_at_once_with_line_and_column() {
    let source = "{\n  \"expires_in\": 0,\n  \"permissions\": [\n    \
                  { \"role\": \"readonly\", \"cache\": \"c\",\n      \
                  \"item\": {\"key\": \"{{tenant.ident}}\"} }\n  ],\n  \"é\": 1, \"x\": 2 }";
    let errors = compile(source).unwrap_err();
    let place =
        |error: &TemplateError| (error.path.clone(), error.line.unwrap(), error.column.unwrap());
    let places: Vec<_> = errors.0.iter().map(place).collect();
    let wanted = [
        ("$.x".to_owned(), 7, 16),
        ("$.é".to_owned(), 7, 8),
        ("$.expires_in".to_owned(), 2, 17),
        ("$.permissions[0].item.key".to_owned(), 5, 23),
    ];
    assert_eq!(places, wanted, "{errors}");
}

const REFUSED_STRINGS: &[&str] = &[
    "{{{tenant.id}}}",
    "{{&tenant.id}}",
    "{{{{raw}}}}{{{{/raw}}}}",
    "{{#if user.id}}x{{/if}}",
    "{{#each user.groups}}x{{/each}}",
    "{{^x}}y{{/x}}",
    "{{> partial}}",
    "{{#> block}}{{/block}}",
    "{{#*inline \"x\"}}{{/inline}}",
    "{{* decorator}}",
    "{{!comment}}",
    "{{!-- comment --}}",
    "{{lookup user 'id'}}",
    "{{lookup this key}}",
    "{{log user.id}}",
    "{{#with user}}{{id}}{{/with}}",
    "{{#with @root}}x{{/with}}",
    "{{with user}}",
    "{{#unless user.id}}x{{/unless}}",
    "{{#lookup user 'id'}}x{{/lookup}}",
    "{{{{tenant.id}}}}",
    "{{ {tenant.id} }}",
    "{{> (lookup user 'id')}}",
    "{{@partial-block}}",
    "{{@root}}",
    "{{user.claims.[__proto__]}}",
    "{{user.claims.__defineGetter__}}",
    "{{user.__proto__.id}}",
    "{{tenant.attributes.__proto__}}",
    "{{tenant.constructor}}",
    "{{(lower user.id)}}",
    "{{lower user.id}}",
    "{{user.id a=b}}",
    "{{user.id \"x\"}}",
    "{{@root.tenant.id}}",
    "{{@index}}",
    "{{@key}}",
    "{{this}}",
    "{{this.tenant.id}}",
    "{{.}}",
    "{{./tenant.id}}",
    "{{../tenant.id}}",
    "{{tenant/id}}",
    "{{tenant.[id]}}x{{tenant..id}}",
    "{{tenant}}",
    "{{tenant.id.x}}",
    "{{tenant.secret}}",
    "{{tenant.attributes}}",
    "{{tenant.attributes.a.b}}",
    "{{user}}",
    "{{user.claims}}",
    "{{user.claims.a.b.c.d.e.f.g.h.i}}",
    "{{user.claims.0}}",
    "{{user.claims.__proto__}}",
    "{{user.groups}}",
    "{{constructor}}",
    "{{__proto__}}",
    "{{region}}",
    "{{else}}",
    "{{true}}",
    "{{'text'}}",
    "{{7}}",
    "{{}}",
    "{{ }}",
    "{{",
    "{{tenant.id",
    "{{tenant.id}",
    "{{tenant.id}}{{",
    "x{{~tenant.id}}",
    "{{tenant.id~}} x",
    "\\{{tenant.id}}",
    "\\\\{{tenant.id}}",
    "{{tеnant.id}}",
    "{{tenant.id:}}",
    "{{tenant.$id}}",
    "{{user.claims.[]}}",
    "{{user.claims.[this]}}",
    "{{user.claims.[a\nb]}}",
];

#[test]
fn strings_hold_text_and_paths_only() {
    for &text in REFUSED_STRINGS {
        let source = json!({"scope": ["s"], "claims": {"c": text}}).to_string();
        let error = compile(&source).expect_err(text);
        assert_eq!(error.0[0].path, "$.claims.c", "{text}");
    }
    let deep = format!("{{{{{}x{}}}}}", "(".repeat(17), ")".repeat(17));
    for text in [deep, "{{tenant.id}}".repeat(33), format!("{{{{tenant.id}}}}{}", "x".repeat(1024))]
    {
        let source = json!({"scope": ["s"], "claims": {"c": text}}).to_string();
        assert!(compile(&source).is_err());
    }
    let taken = [
        ("", ""),
        ("plain } text {", "plain } text {"),
        ("  {{ tenant.id }}  ", "  acme  "),
        ("{{tenant.id}}\n{{tenant.id}}\n", "acme\nacme\n"),
        ("<{{tenant.name}}> & \"{{user.email}}\"", "<The Tenant> & \"dana@acme.example\""),
        ("{{tenant.[id]}}{{user.id}}{{user.name}}", "acmeu_danaDana D."),
        ("{{tenant.attributes.seats}}/{{user.claims.number}}", "7/42"),
        ("{{user.claims.org.unit}}-{{client.id}}", "ops-demo-web"),
        ("{{user.claims.[https://acme.example/region]}}", "eu"),
    ];
    for (text, wanted) in taken {
        let source = json!({"scope": ["s"], "claims": {"c": text}}).to_string();
        let rendered = render(&source).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(rendered.claims["c"], wanted, "{text}");
    }
}

#[test]
fn what_we_render_is_what_handlebars_renders() {
    let mut handlebars = handlebars::Handlebars::new();
    handlebars.set_strict_mode(true);
    handlebars.register_escape_fn(handlebars::no_escape);
    let data =
        json!({"tenant": {"id": "acme", "name": "The Tenant"}, "user": {"claims": claims()}});
    let pieces = [
        "",
        " ",
        "\n",
        "a",
        "}",
        "{",
        "\\",
        "é",
        "{{tenant.id}}",
        "{{ tenant.name }}",
        "{{user.claims.org.unit}}",
        "{{user.claims.[number]}}",
        "{{~tenant.id}}",
        "{{!x}}",
    ];
    for a in pieces {
        for b in pieces {
            for c in pieces {
                let text = format!("{a}{b}{c}");
                let source = json!({"scope": ["s"], "claims": {"c": text}}).to_string();
                if compile(&source).is_ok() {
                    let theirs = handlebars.render_template(&text, &data).unwrap();
                    assert_eq!(render(&source).unwrap().claims["c"], theirs, "{text:?}");
                }
            }
        }
    }
}

#[test]
fn a_value_that_cannot_be_used_is_an_error_and_never_nothing() {
    let claim = |text: &str| json!({"scope": ["s"], "claims": {"c": text}}).to_string();
    let cases = [
        ("{{user.claims.absent}}", Problem::Absent),
        ("{{user.claims.org.absent}}", Problem::Absent),
        ("{{user.claims.email.x}}", Problem::Absent),
        ("{{user.claims.null}}", Problem::Null),
        ("{{user.claims.yes}}", Problem::NotScalar),
        ("{{user.claims.half}}", Problem::NotScalar),
        ("{{user.claims.org}}", Problem::NotScalar),
        ("{{user.claims.regions}}", Problem::NotScalar),
        ("{{tenant.attributes.absent}}", Problem::Absent),
        ("{{tenant.attributes.beta}}", Problem::NotScalar),
        ("{{tenant.attributes.sites}}", Problem::NotScalar),
    ];
    for (text, problem) in cases {
        let error = render(&claim(text)).expect_err(text);
        assert_eq!((&*error.at, error.problem), ("$.claims.c", problem), "{text}");
        assert_eq!(format!("{{{{{}}}}}", error.value), text);
    }
    let v = vocabulary();
    let tenant = tenant("acme");
    let input = RenderInput { tenant: &tenant, user: None, client: &"c".parse().unwrap() };
    for text in ["{{user.id}}", "{{user.email}}", "{{user.claims.x}}"] {
        let error = compile(&claim(text)).unwrap().render(&input, &v).unwrap_err();
        assert_eq!(error.problem, Problem::NoUser);
    }
    for value in
        ["", " ", "*", "a*", "a:b", "a/b", "a|b", "a#b", "a,b", "\"", "\\", "\n", "{{x}}", "é", "а"]
            .map(str::to_owned)
            .into_iter()
            .chain(["x".repeat(129)])
    {
        let claims = json!({"a": value});
        let user = User { id: &"u_x".parse().unwrap(), claims: claims.as_object().unwrap() };
        let input = RenderInput { tenant: &tenant, user: Some(user), client: input.client };
        let template = compile(&item_template(&json!("{{tenant.id}}:{{user.claims.a}}"))).unwrap();
        let error = template.render(&input, &v).expect_err(&value);
        assert_eq!(error.problem, Problem::NotForSelector);
    }
    let error = render(&item_template(&json!({"keyPrefix": "{{tenant.id}}:{{user.name}}"})));
    let shown = error.unwrap_err().to_string();
    let wanted = "$.permissions[0].item.keyPrefix: `user.name` is not 1 to 128 ASCII letters, digits \
                  and . _ @ + -, which a selector needs";
    assert_eq!(shown, wanted);
}

const REFUSED_CONDITIONS: &[&str] = &[
    "",
    " ",
    "eq",
    "eq a",
    "eq tenant.id",
    "eq tenant.id 'a' 'b'",
    "true",
    "'text'",
    "not true",
    "and user.claims.yes",
    "xor user.claims.yes user.claims.no",
    "lower tenant.id",
    "tenant.id",
    "user.groups",
    "eq user.groups 'a'",
    "in 'a' tenant.id",
    "in user.groups 'a'",
    "in 'a' 'b'",
    "eq tenant.id (lookup user 'x')",
    "eq tenant.id (upper 'x')",
    "lookup user.claims 'yes'",
    "log user.claims.yes",
    "with user",
    "if user.claims.yes",
    "{{{user.claims.yes}}}",
    "*inline 'x'",
    "@root.user.claims.yes",
    "@root",
    "this",
    "user.claims.__proto__",
    "user.claims.[__proto__]",
    "eq user.claims.__proto__ 'x'",
    "in 'a' @root.user.groups",
    "in 'a' user.__proto__",
    "not",
    "and",
    "or user.claims.yes",
    "not user.claims.yes user.claims.no",
    "gt tenant.attributes.seats 7",
    "eq tenant.id 'a' else",
    "eq tenant.id a='b'",
    "eq tenant.id 0.5",
    "eq tenant.id null",
    "{{user.claims.yes}}",
    "user.claims.yes}} {{user.claims.no",
    "{user.claims.yes}",
    "!comment",
    "> partial",
    "#if user.claims.yes",
    "&user.claims.yes",
    "else",
    "^",
    "@root.x",
    "~user.claims.yes",
    "eq tenant.id ../x",
    "eq (eq 1 1) true",
    "unless user.claims.yes",
    "* decorator",
    "eq undeclared 'x'",
    "tenant.id as |x|",
    "not (not (not (not (not (not (not (not (not (not (not (not (not (not (not (not \
         (not user.claims.yes)))))))))))))))))",
];

const FAILING_CONDITIONS: &[(&str, Problem)] = &[
    ("user.claims.text", Problem::NotBool),
    ("user.claims.number", Problem::NotBool),
    ("user.claims.empty", Problem::NotBool),
    ("user.claims.null", Problem::Null),
    ("user.claims.absent", Problem::Absent),
    ("not user.claims.absent", Problem::Absent),
    ("or user.claims.yes user.claims.absent", Problem::Absent),
    ("and user.claims.no (eq user.claims.absent 'x')", Problem::Absent),
    ("ne user.claims.absent 'x'", Problem::Absent),
    ("ne user.claims.null 'x'", Problem::Null),
    ("ne user.claims.regions 'x'", Problem::NotScalar),
    ("eq user.claims.number '42'", Problem::OtherKind),
    ("ne user.claims.yes 'true'", Problem::OtherKind),
    ("in 'a' user.claims.mixed", Problem::NotList),
    ("in 'a' user.claims.text", Problem::NotList),
    ("in 'a' user.claims.some", Problem::OtherKind),
    ("in 'x' user.claims.many", Problem::ListTooLong),
    ("eq (lower user.claims.number) 'x'", Problem::NotText),
];

#[test]
fn conditions_come_out_true_or_false() {
    let with = |condition: &str| {
        let permission =
            json!({"$if": condition, "role": "readonly", "cache": "c", "item": "{{tenant.id}}"});
        json!({"permissions": [permission]}).to_string()
    };
    let cases = [
        ("user.claims.yes", true),
        ("user.claims.no", false),
        ("tenant.attributes.beta", true),
        ("(eq tenant.id 'acme')", true),
        ("eq tenant.attributes.plan 'pro'", true),
        ("eq tenant.attributes.plan \"Pro\"", false),
        ("ne tenant.attributes.plan 'pro'", false),
        ("eq tenant.attributes.seats 7", true),
        ("eq user.claims.yes true", true),
        ("eq (lower 'PRO') tenant.attributes.plan", true),
        ("eq (lower '\u{212a}') 'k'", false),
        ("in 'editors' user.groups", true),
        ("in 'admins' user.groups", false),
        ("in tenant.attributes.plan [\"free\", \"pro\"]", true),
        ("in 'x' user.claims.none", false),
        ("in 'south' tenant.attributes.sites", true),
        ("not user.claims.no", true),
        ("and user.claims.yes (eq 1 1) (not (eq 1 2))", true),
        ("or user.claims.no (in 'us' user.claims.regions)", true),
        ("or user.claims.no user.claims.no", false),
    ];
    for (condition, wanted) in cases {
        let rendered =
            render(&with(condition)).unwrap_or_else(|error| panic!("{condition}: {error}"));
        assert_eq!(!rendered.permissions.is_empty(), wanted, "{condition}");
    }
    for &(condition, problem) in FAILING_CONDITIONS {
        let error = render(&with(condition)).expect_err(condition);
        assert_eq!((&*error.at, error.problem), ("$.permissions[0].$if", problem), "{condition}");
    }
    for &condition in REFUSED_CONDITIONS {
        let errors = compile(&with(condition)).expect_err(condition);
        assert_eq!(errors.0[0].path, "$.permissions[0].$if", "{condition}");
    }
}

#[test]
fn lists_repeat_an_object() {
    let v = vocabulary();
    let source = r#"{"permissions": [
        {"$each": "user.claims.regions", "$as": "region", "permissions": [
            {"$each": "tenant.attributes.sites", "$as": "site", "$if": "ne region 'us'",
             "role": "readonly", "cache": "c", "item": "{{tenant.id}}:{{region}}/{{site}}"}]},
        {"$each": "user.claims.none", "$as": "x",
         "role": "readonly", "cache": "c", "item": "{{tenant.id}}:{{x}}"}]}"#;
    let permissions = render(source).unwrap().permissions;
    let wanted = json!([
        {"role": "readonly", "cache": "c", "item": "acme:eu/north"},
        {"role": "readonly", "cache": "c", "item": "acme:eu/south"},
    ]);
    assert_eq!(permissions, PermissionSet::parse(&wanted, &v).unwrap());
    let each = |list: &str| {
        render(&format!(
            r#"{{"permissions": [{{"$each": "{list}", "$as": "x",
                "role": "readonly", "cache": "c", "item": "{{{{tenant.id}}}}:{{{{x}}}}"}}]}}"#
        ))
    };
    assert_eq!(each("user.claims.some").unwrap().permissions.len(), 200);
    let failing = [
        ("user.claims.absent", Problem::Absent),
        ("user.claims.null", Problem::Null),
        ("user.claims.text", Problem::NotList),
        ("user.claims.mixed", Problem::NotList),
        ("user.claims.many", Problem::ListTooLong),
    ];
    for (list, problem) in failing {
        let error = each(list).expect_err(list);
        assert_eq!((&*error.at, error.problem), ("$.permissions[0].$each", problem));
    }
    // A product of lists ends early, whether or not it yields anything.
    for condition in ["eq 1 1", "eq 1 2"] {
        let source = format!(
            r#"{{"permissions": [
            {{"$each": "user.claims.some", "$as": "a", "permissions": [
            {{"$each": "user.claims.some", "$as": "b", "permissions": [
            {{"$each": "user.claims.some", "$as": "c", "$if": "{condition}",
              "role": "readonly", "cache": "c", "item": "{{{{tenant.id}}}}:{{{{a}}}}:{{{{b}}}}:{{{{c}}}}"}}]}}]}}]}}"#
        );
        assert_eq!(render(&source).unwrap_err().problem, Problem::TooMany);
    }
}

#[test]
fn limits_of_what_is_rendered_are_errors_and_cut_nothing_off() {
    let v = vocabulary();
    let tenant = tenant("acme");
    let rendered = |source: &str, claims: Value| {
        let user = Some(User { id: &"u_x".parse().unwrap(), claims: claims.as_object().unwrap() });
        let input = RenderInput { tenant: &tenant, user, client: &"c".parse().unwrap() };
        compile(source).unwrap_or_else(|errors| panic!("{errors}")).render(&input, &v)
    };
    // A selector of 1 KiB, a claim of 4 KiB.
    let parts: String = (0..8).map(|_| "{{user.claims.a}}:").collect();
    let item = item_template(&json!(format!("{{{{tenant.id}}}}:{parts}")));
    assert!(rendered(&item, json!({"a": "x".repeat(126)})).is_ok(), "5 + 8 * 127 = 1021");
    let error = rendered(&item, json!({"a": "x".repeat(127)})).unwrap_err();
    assert_eq!((&*error.at, error.problem), ("$.permissions[0].item", Problem::TooLong));
    let claim = json!({"scope": ["s"], "claims": {"c": "{{user.claims.a}}"}}).to_string();
    let length = |claims: &Map<String, Value>| claims["c"].as_str().unwrap().len();
    let most = rendered(&claim, json!({"a": "x".repeat(4096)})).unwrap();
    assert_eq!(length(&most.claims), 4096);
    let error = rendered(&claim, json!({"a": "x".repeat(4097)})).unwrap_err();
    assert_eq!(
        (&*error.at, &*error.value, error.problem),
        ("$.claims.c", "user.claims.a", Problem::TooLong)
    );
    // 1024 permissions, 256 elements.
    let list = |name: &str| {
        format!(
            r#"{{"$each": "user.claims.a", "$as": "x", "permissions": [
                {{"$each": "user.claims.b", "$as": "y",
                  "role": "readonly", "cache": "{name}", "item": "{{{{tenant.id}}}}:{{{{x}}}}:{{{{y}}}}"}}]}}"#
        )
    };
    let (one, two) = (of(&list("c")), of(&format!("{}, {PERMISSION}", list("c"))));
    let claims = json!({"a": (0..256).collect::<Vec<_>>(), "b": [1, 2, 3, 4]});
    assert_eq!(rendered(&one, claims.clone()).unwrap().permissions.len(), 1024);
    assert_eq!(rendered(&two, claims).unwrap_err().problem, Problem::TooMany);
    let error = rendered(&one, json!({"a": (0..257).collect::<Vec<_>>(), "b": []})).unwrap_err();
    assert_eq!((&*error.value, error.problem), ("user.claims.a", Problem::ListTooLong));
}

#[test]
fn a_description_may_stand_on_everything() {
    let described = PERMISSION.replacen('{', r#"{"description": "why", "#, 1);
    let group = format!(
        r#"{{"description": "which", "$if": "eq 1 1", "permissions": [{described},
            {{"description": "each", "$each": "user.groups", "$as": "g",
              "role": "readonly", "cache": "c", "item": "{{{{tenant.id}}}}:{{{{g}}}}"}}]}}"#
    );
    let source = format!(r#"{{"description": "what", "permissions": [{group}]}}"#);
    let plain = source.replace(r#""description": "why", "#, "");
    assert_eq!(render(&source).unwrap(), render(&plain).unwrap());
    assert_eq!(render(&source).unwrap().permissions.len(), 3);
}

#[test]
fn mistakes_are_told_to_programs_too() {
    let errors = compile("{\n  \"scope\": 7 }").unwrap_err();
    let message = "is a list of at most 64 scopes, without expressions";
    let wanted = json!([{"path": "$.scope", "line": 2, "column": 12, "message": message}]);
    assert_eq!(serde_json::to_value(&errors).unwrap(), wanted);
    let large = compile(&" ".repeat(65537)).unwrap_err();
    let wanted = json!([{"path": "$", "message": "is larger than 64 KiB"}]);
    assert_eq!(serde_json::to_value(&large).unwrap(), wanted);
}

/// What is said of a template that is an example of something.
#[test]
fn a_hundred_mistakes_are_told_and_that_there_are_more() {
    let keys: Map<String, Value> = (0..150).map(|n| (format!("k{n}"), Value::Null)).collect();
    let errors = compile(&Value::Object(keys).to_string()).unwrap_err().0;
    assert_eq!(errors.len(), 101);
    assert_eq!(errors[100].to_string(), "$: there are more mistakes: mend the others first");
}

fn told(source: &str, kind: &str) -> String {
    let v = vocabulary();
    if kind == "json refused" {
        return compile(source).unwrap_err().to_string();
    }
    let template = compile(source).unwrap();
    if kind == "json meeting" {
        let own = Subjected { name: "reader", tenant: None, template: &template };
        return prove(&[own], &v).unwrap_err().to_string();
    }
    let lines: Vec<String> = match kind {
        "json failing" => template
            .run_cases(&v)
            .into_iter()
            .flat_map(|CaseOutcome { name, failures, .. }| {
                failures.into_iter().map(move |failure| format!("{name}: {failure}"))
            })
            .collect(),
        "json hostile" => template.run_hostile(&v, false).failures,
        "json lint" => lint(&template, &v).iter().map(ToString::to_string).collect(),
        other => panic!("what is a block of {other:?}?"),
    };
    lines.join("\n")
}

#[test]
fn the_documentation_is_true() {
    let text = include_str!("../../../docs/templates.md");
    let mut blocks = text.split("\n```").skip(1).step_by(2);
    let mut seen = BTreeMap::new();
    while let Some(block) = blocks.next() {
        let (kind, body) = block.split_once('\n').unwrap();
        *seen.entry(kind).or_insert(0) += 1;
        if kind == "json template" {
            render(body).unwrap();
            assert_eq!(told(body, "json failing") + &told(body, "json hostile"), "", "{body}");
        } else {
            let (_, message) = blocks.next().unwrap().split_once('\n').unwrap();
            assert_eq!(told(body, kind), message);
        }
    }
    let wanted = [
        ("failing", 1),
        ("hostile", 1),
        ("lint", 1),
        ("meeting", 1),
        ("refused", 2),
        ("template", 2),
    ];
    assert!(
        seen.into_iter().map(|(kind, count)| (kind.trim_start_matches("json "), count)).eq(wanted)
    );
    for resource in vocabulary().types() {
        let row = format!("| `{}` | ", resource.name());
        let row = text.lines().find(|line| line.starts_with(&row)).expect(&row);
        for word in resource.selectors().chain(resource.roles().iter().map(|role| &*role.name)) {
            assert!(row.contains(&format!("`{word}`")), "{row} lacks {word}");
        }
    }
}

/// Everything a hostile upstream might send as a claim.
fn hostile() -> impl Strategy<Value = String> {
    let known = [
        "*",
        "**",
        "+",
        "/../",
        ",admin",
        "\"",
        "\\",
        "\\u0022",
        "\n",
        "{{tenant.id}}",
        "}}",
        "{{x}}",
        "globex",
        "globex:",
        "acme",
        "acme-corp",
        "acme-corp:1",
        ":",
        "a:b",
        "-corp",
        "corp",
        "",
        " ",
        "аcme",
        "ａｃｍｅ",
        "\u{202e}emca",
        "\u{200b}",
        "x\",\"scope\":\"admin",
        "{\"all\": true}",
        "%00",
        "-",
        ".",
        "@",
        "u_dana",
        "0",
        "events",
        "-events",
        "corp-events",
    ];
    prop_oneof![
        4 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
        2 => "[a-z:/|#.-]{0,6}",
        1 => any::<String>(),
        1 => Just("x".repeat(4096)),
        1 => Just("x".repeat(128)),
    ]
}

const HOSTILE_TEMPLATES: [&str; 4] = [
    DATA_ENTRY,
    r#"{"permissions": [{"role": "readwrite", "cache": "c", "item": {"keyPrefix": "{{tenant.id}}:{{user.claims.a}}"}}]}"#,
    r#"{"permissions": [{"role": "readwrite", "cache": "c", "item": "t{{tenant.id}}/{{user.claims.a}}:{{user.claims.b}}"}]}"#,
    r#"{"permissions": [{"role": "readwrite", "cache": "{{user.claims.a}}", "item": {"keyPrefix": "{{tenant.id}}-x|"}}]}"#,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_value_crosses_the_boundary(
        a in hostile(), b in hostile(), which in 0..HOSTILE_TEMPLATES.len(),
        ids in proptest::sample::subsequence(vec!["acme", "acme-corp", "acm", "globex", "acme-x", "acme-events", "corp"], 2),
    ) {
        let v = vocabulary();
        let template = compile(HOSTILE_TEMPLATES[which]).unwrap();
        let rendered = |id: &str, one: &str, other: &str| {
            let tenant = tenant(id);
            let claims = json!({"a": one, "b": other});
            let user = Some(User { id: &"u_x".parse().unwrap(), claims: claims.as_object().unwrap() });
            let input = RenderInput { tenant: &tenant, user, client: &"c".parse().unwrap() };
            let rendered = template.render(&input, &v).ok().map(|rendered| rendered.permissions);
            if let Some(set) = &rendered {
                boundary::check(set, &tenant.id, &v).unwrap();
            }
            rendered
        };
        // Whatever either tenant's user has for claims, they never meet.
        for (one, other) in [((&a, &b), (&b, &a)), ((&a, &b), (&a, &b)), ((&a, &a), (&b, &b))] {
            let (Some(mine), Some(theirs)) =
                (rendered(ids[0], one.0, one.1), rendered(ids[1], other.0, other.1)) else { continue };
            prop_assert!(mine.intersection(&theirs, &v).is_empty());
            prop_assert!(boundary::check(&mine, &ids[1].parse().unwrap(), &v).is_err());
        }
    }

    #[test]
    fn no_string_upsets_the_compiler(text in r#"([{}()\[\]~!&#/^>*.@"'\\ a=|é]|tenant\.id|eq |else|as ){0,40}"#) {
        for source in [
            json!({"scope": ["s"], "claims": {"c": &text}}),
            json!({"permissions": [{"$if": &text, "role": "readonly", "cache": "c", "item": "{{tenant.id}}"}]}),
            json!({"permissions": [{"$each": &text, "$as": "x", "role": "readonly", "cache": "c", "item": &text}]}),
        ] {
            let _ = compile(&source.to_string());
        }
    }
}

#[test]
fn hostile_nesting_is_refused_at_once() {
    let hostile = [
        "{{#a}}".repeat(170),
        "(".repeat(1024),
        "{{(".repeat(300),
        "{{a (".repeat(200),
        format!("{{{{a {}", "[".repeat(1000)),
        "{{{{a}}}}".repeat(100),
        "{{".repeat(512),
        format!("{{{{eq {}", "(a ".repeat(300)),
        "{{!".repeat(300),
        "\\{{".repeat(300),
    ];
    let source = json!({"scope": ["s"], "claims": {"c": hostile}}).to_string();
    assert_eq!(compile(&source).unwrap_err().0.len(), hostile.len());
    let deep = format!("{}1{}", "[".repeat(30_000), "]".repeat(30_000));
    assert!(compile(&deep).is_err());
    assert!(compile(&format!("{}1", "{\"a\":".repeat(10_000))).is_err());
}

#[test]
fn permissions_are_made_of_what_was_rendered() {
    let rendered = render(ADMIN).unwrap().permissions;
    let parse = |permission: &Permission| Permission::parse(&permission.to_json(), &vocabulary());
    assert!(rendered.iter().all(|permission| parse(permission).as_ref() == Ok(permission)));
}
