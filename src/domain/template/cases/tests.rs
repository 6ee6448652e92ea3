use super::*;
use crate::domain::permission::tests::vocabulary;
use crate::domain::template::TemplateErrors;
use serde_json::json;

const SEEDS: [(&str, bool); 3] = [
    (include_str!("../../../../templates/roles/data-entry.json"), false),
    (include_str!("../../../../templates/roles/admin.json"), false),
    (include_str!("../../../../templates/roles/platform-admin.json"), true),
];

/// A template that reads a list and an attribute, with these tests.
fn source(tests: &str) -> String {
    format!(
        r#"{{"permissions": [
            {{"role": "readonly", "cache": "c", "item": {{"keyPrefix": "{{{{tenant.id}}}}:"}}}},
            {{"$each": "user.claims.regions", "$as": "region",
              "$if": "eq tenant.attributes.plan 'pro'",
              "role": "publishonly", "cache": "news", "topic": "{{{{tenant.id}}}}:{{{{region}}}}"}}],
"tests": {tests}}}"#
    )
}

fn compile(tests: &str) -> Result<RoleTemplate, TemplateErrors> {
    RoleTemplate::compile(&source(tests), &vocabulary(), false)
}

/// The failures of a single test, on a user of `acme` with the plan `pro` and the region `eu`.
fn run(wanted: &str) -> Vec<String> {
    let test = format!(
        r#"[{{"name": "it", "given": {{
            "tenant": {{"id": "acme", "name": "Acme", "attributes": {{"plan": "pro", "seats": 7}}}},
            "user": {{"id": "u_dana", "email": "dana@acme.example", "groups": ["a"],
                      "claims": {{"regions": ["eu"]}}}},
            "client": {{"id": "demo"}}}}, {wanted}}}]"#
    );
    let template = compile(&test).unwrap_or_else(|errors| panic!("{errors}"));
    let [outcome] = &*template.run_cases(&vocabulary()) else { panic!("one test") };
    assert_eq!((&*outcome.name, &*outcome.at), ("it", "$.tests[0]"));
    outcome.failures.clone()
}

#[test]
fn the_seeds_pass_their_tests() {
    let v = vocabulary();
    for (source, crosses) in SEEDS {
        let template = RoleTemplate::compile(source, &v, crosses).unwrap();
        let outcomes = template.run_cases(&v);
        assert!(!outcomes.is_empty());
        for outcome in outcomes {
            assert_eq!(outcome.failures, [""; 0], "{}", outcome.name);
        }
    }
}

#[test]
fn a_test_says_what_is_allowed_and_what_is_not() {
    let get = r#"{"cache": "c", "item": "acme:1", "action": "get"}"#;
    let set = r#"{"cache": "c", "item": "acme:1", "action": "set"}"#;
    let other = r#"{"cache": "c", "item": "globex:1", "action": "get"}"#;
    let news = r#"{"cache": "news", "topic": "acme:eu", "action": "publish"}"#;
    let none: [&str; 0] = [];
    assert_eq!(run(&format!(r#""allow": [{get}, {news}], "deny": [{set}, {other}]"#)), none);
    assert_eq!(
        run(&format!(r#""allow": [{get}, {set}, {other}]"#)),
        [
            "$.tests[0].allow[1]: set on cache `c`, item `acme:1` is refused",
            "$.tests[0].allow[2]: get on cache `c`, item `globex:1` is refused",
        ]
    );
    assert_eq!(
        run(&format!(r#""deny": [{set}, {get}]"#)),
        [concat!(
            "$.tests[0].deny[1]: get on cache `c`, item `acme:1` is allowed, by ",
            r#"{"cache":"c","item":{"keyPrefix":"acme:"},"role":"readonly","type":"cache"}"#
        )]
    );
    assert_eq!(run(r#""error": true"#), ["it renders, and the test wants an error"]);
    // An action on a level takes the selectors down to there.
    assert_eq!(run(r#""deny": [{"cache": "c", "action": "flush"}]"#), none);
}

#[test]
fn a_test_can_want_an_error() {
    let run = |given: &str, wanted: &str| {
        let test = format!(r#"[{{"name": "it", "given": {given}, {wanted}}}]"#);
        let template = compile(&test).unwrap_or_else(|errors| panic!("{errors}"));
        let outcomes = template.run_cases(&vocabulary());
        outcomes[0].failures.join("; ")
    };
    let pro = |user: &str| {
        format!(r#"{{"tenant": {{"id": "acme", "attributes": {{"plan": "pro"}}}}{user}}}"#)
    };
    let (nobody, empty) = (pro(""), pro(r#", "user": {}"#));
    for (given, wanted) in [
        (&nobody, "true"),
        (&nobody, "\"user.claims.regions\""),
        (&nobody, "\"because there is no user\""),
        (&empty, "\"user.claims.regions\""),
        (&empty, "\"user.claims.regions` is absent\""),
    ] {
        assert_eq!(run(given, &format!(r#""error": {wanted}"#)), "", "{given} {wanted}");
    }
    for wanted in ["user.claims.region", "user.claims", "regions", "absent", "is too long"] {
        let failure = run(&empty, &format!(r#""error": "{wanted}""#));
        let expected = format!("the error is another one than `{wanted}`: $.permissions[1].$each");
        assert!(failure.starts_with(&expected), "{failure}");
    }
    let deny = r#""deny": [{"cache": "c", "item": "globex:1", "action": "get"}]"#;
    let failure = run(&empty, deny);
    assert!(failure.starts_with("it does not render: $.permissions[1].$each"), "{failure}");
    // Who says nothing of a name gets the id, and a user without an id has one.
    let named = r#"[{"name": "it", "given": {"tenant": {"id": "acme"}, "user": {}}, "deny":
        [{"cache": "c", "item": "acme:x", "action": "get"}]}]"#;
    let template = compile(named).unwrap();
    let given = &template.cases[0].given;
    assert_eq!((&*given.tenant.name, given.client.as_str()), ("acme", "test"));
    assert_eq!(given.user.as_ref().unwrap().0.as_str(), "u_test");
}

#[test]
fn whatever_a_test_asks_nothing_may_leave_the_tenant() {
    let source = r#"{"permissions": [{"role": "readonly", "cache": "c", "item": {"keyPrefix": "{{tenant.id}}"}}],
        "tests": [{"name": "it", "given": {"tenant": {"id": "acme"}},
                   "allow": [{"cache": "c", "item": "acme:1", "action": "get"}]}]}"#;
    let v = vocabulary();
    let mut template = RoleTemplate::compile(source, &v, true).unwrap();
    assert_eq!(template.run_cases(&v)[0].failures, [""; 0]);
    template.crosses_tenants = false;
    let failures = template.run_cases(&v).remove(0).failures;
    assert_eq!(failures.len(), 1);
    assert!(failures[0].contains("not provably inside tenant `acme`"), "{failures:?}");
}

const GIVEN: &str = r#""given": {"tenant": {"id": "acme"}}"#;
const REQUEST: &str = r#"{"cache": "c", "item": "i", "action": "get"}"#;

/// One test with these members.
fn case(members: &str) -> String {
    format!("[{{{members}}}]")
}
fn wanting(wanted: &str) -> String {
    case(&format!(r#""name": "n", {GIVEN}, {wanted}"#))
}
fn asking(request: &str) -> String {
    wanting(&format!(r#""deny": [{request}]"#))
}
fn with_given(given: &str) -> String {
    case(&format!(r#""name": "n", "given": {given}, "deny": [{REQUEST}]"#))
}
fn with_tenant(tenant: &str) -> String {
    with_given(&format!(r#"{{"tenant": {tenant}}}"#))
}
fn with_user(user: &str) -> String {
    with_given(&format!(r#"{{"tenant": {{"id": "acme"}}, "user": {user}}}"#))
}

#[track_caller]
fn assert_refused(cases: &[(String, &str)]) {
    assert!(compile(&asking(REQUEST)).is_ok(), "only the mistake is refused");
    for (tests, expected) in cases {
        let error = compile(tests).expect_err(tests).to_string();
        assert!(error.contains(expected), "{tests}: {error}");
    }
}

#[test]
fn mistakes_in_tests_are_told_with_their_place() {
    let many = |count: usize, one: &str| vec![one; count].join(",");
    let good = asking(REQUEST);
    assert_refused(&[
        ("{}".into(), "$.tests: is a list of tests, such as {"),
        ("[7]".into(), "$.tests[0]: a test is a JSON object with name, given"),
        (format!("[{}]", many(65, "7")), "$.tests: holds more than 64 tests; take"),
        (case(&format!("{GIVEN}, \"error\": true")), "$.tests[0]: a test needs a `name`"),
        (case(&format!("\"name\": 7, {GIVEN}, \"error\": true")), "$.tests[0].name: a test needs"),
        (
            case(&format!("\"name\": \" \", {GIVEN}, \"error\": true")),
            "$.tests[0].name: a test needs",
        ),
        (
            case(&format!("\"name\": \"a\\nb\", {GIVEN}, \"error\": true")),
            "$.tests[0].name: a test",
        ),
        (
            case(&format!("\"name\": \"{}\", {GIVEN}, \"error\": true", "x".repeat(257))),
            "$.tests[0].name: a test needs a `name` of 1 to 256",
        ),
        (
            format!(
                "[{0}, {0}]",
                good.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap()
            ),
            "$.tests[1].name: is the name of another test too; give each its own",
        ),
        (case(r#""name": "n", "error": true"#), "$.tests[0]: a test needs `given`: write"),
        (
            wanting(r#""error": true, "describe": "x""#),
            "$.tests[0].describe: is unknown; a test has",
        ),
        (case(&format!(r#""name": "n", {GIVEN}"#)), "$.tests[0]: a test that asks nothing; add"),
        (wanting(r#""allow": []"#), "$.tests[0].allow: asks nothing; put a request in"),
        (wanting(&format!(r#""allow": [{REQUEST}], "deny": []"#)), "$.tests[0].deny: asks nothing"),
        (wanting(r#""allow": {}"#), "$.tests[0].allow: is a list of requests, such as"),
        (
            wanting(&format!(r#""deny": [{}]"#, many(65, REQUEST))),
            "$.tests[0].deny: holds more than 64 requests; spread",
        ),
        (
            wanting(&format!(r#""error": true, "deny": [{REQUEST}]"#)),
            "$.tests[0].error: cannot stand beside `allow` and `deny`",
        ),
        (
            wanting(&format!(r#""error": "x", "allow": [{REQUEST}]"#)),
            "$.tests[0].error: cannot stand beside",
        ),
        (wanting(r#""error": false"#), "$.tests[0].error: is true, the path of the value"),
        (wanting(r#""error": """#), "$.tests[0].error: is true, the path of the value"),
        (wanting(r#""error": 7"#), "$.tests[0].error: is true, the path of the value"),
    ]);
}

#[test]
fn mistakes_in_requests_are_told_with_their_place() {
    assert_refused(&[
        (asking("7"), "$.tests[0].deny[0]: a request is a JSON object"),
        (
            asking(r#"{"cache": "c", "item": "i"}"#),
            "$.tests[0].deny[0]: a request needs an `action`",
        ),
        (
            asking(r#"{"cache": "c", "item": "i", "action": ["get"]}"#),
            "$.tests[0].deny[0].action: a request needs an `action`, in a string",
        ),
        (
            asking(r#"{"cache": "c", "item": "i", "action": "read"}"#),
            "deny[0].action: an action of `cache` is one of delete, delete-cache, flush, get, set",
        ),
        (
            asking(r#"{"cache": "c", "item": "i", "action": "publish"}"#),
            "deny[0].action: an action of `cache` is one of",
        ),
        (
            asking(r#"{"cache": "c", "action": "get"}"#),
            "deny[0]: the selectors (cache) are not those of exactly one resource type; the types",
        ),
        (
            asking(r#"{"cache": "c", "item": "i", "topic": "t", "action": "get"}"#),
            "are not those of exactly one resource type; the types are cache (cache, item)",
        ),
        (
            asking(r#"{"cache": "c", "key": "i", "action": "get"}"#),
            "deny[0]: nothing is called \"key\" here; the types are cache (cache, item)",
        ),
        (
            asking(r#"{"type": "cache", "cache": "c", "item": "i", "action": "get"}"#),
            "deny[0]: nothing is called \"type\" here",
        ),
        (
            asking(r#"{"cache": "c", "item": {"keyPrefix": "i"}, "action": "get"}"#),
            "deny[0].item: is not a string",
        ),
        (asking(r#"{"cache": "c", "item": "", "action": "get"}"#), "deny[0].item: is empty"),
        (
            asking(r#"{"cache": "c", "item": "{{tenant.id}}:1", "action": "get"}"#),
            "deny[0].item: is the text itself, such as `acme:1`: a test holds no",
        ),
    ]);
}

#[test]
fn mistakes_in_what_is_given_are_told_with_their_place() {
    assert_refused(&[
        (with_given("7"), "$.tests[0].given: `given` is a JSON object with tenant, user, client"),
        (with_given("{}"), "$.tests[0].given: needs a tenant: write"),
        (
            with_given(r#"{"tenant": {"id": "acme"}, "role": "admin"}"#),
            "$.tests[0].given.role: is unknown; `given` has tenant, user, client",
        ),
        (with_tenant("\"acme\""), "given.tenant: a tenant is a JSON object with id"),
        (with_tenant("{}"), "given.tenant: needs an `id`, in a string"),
        (with_tenant(r#"{"id": 7}"#), "given.tenant.id: needs an `id`, in a string"),
        (
            with_tenant(r#"{"id": "Acme"}"#),
            "given.tenant.id: \"Acme\" is not a tenant id: expected",
        ),
        (with_tenant(r#"{"id": "a-"}"#), "given.tenant.id: \"a-\" is not a tenant id: expected"),
        (with_tenant(r#"{"id": "acme", "name": 7}"#), "given.tenant.name: is a string"),
        (
            with_tenant(r#"{"id": "acme", "plan": "pro"}"#),
            "given.tenant.plan: is unknown; a tenant",
        ),
        (with_tenant(r#"{"id": "acme", "attributes": []}"#), "tenant.attributes: is a JSON object"),
        (
            with_tenant(r#"{"id": "acme", "attributes": {"plan": null}}"#),
            "given.tenant.attributes.plan: is a string, an integer, true, false or a list",
        ),
        (with_tenant(r#"{"id": "acme", "attributes": {"a": 0.5}}"#), "attributes.a: is a string"),
        (with_tenant(r#"{"id": "acme", "attributes": {"a": [7]}}"#), "attributes.a: is a string"),
        (with_user("7"), "given.user: a user is a JSON object with id, email"),
        (with_user(r#"{"regions": []}"#), "given.user.regions: is unknown; a user has id, email"),
        (with_user(r#"{"id": "dana"}"#), "given.user.id: \"dana\" is not a subject: expected"),
        (with_user(r#"{"email": 7}"#), "given.user.email: is a string"),
        (with_user(r#"{"name": null}"#), "given.user.name: is a string"),
        (with_user(r#"{"groups": "a"}"#), "given.user.groups: is a list of strings; what else"),
        (with_user(r#"{"groups": [7]}"#), "given.user.groups: is a list of strings; what else"),
        (with_user(r#"{"claims": []}"#), "given.user.claims: is a JSON object"),
        (
            with_user(r#"{"email": "a", "claims": {"email": "b"}}"#),
            "given.user.email: stands in `claims` too, and means the same; take one out",
        ),
        (
            with_given(r#"{"tenant": {"id": "acme"}, "client": {"id": "é"}}"#),
            "given.client.id: \"é\" is not a client id: expected",
        ),
        (
            with_given(r#"{"tenant": {"id": "acme"}, "client": {}}"#),
            "given.client: needs an `id`, in a string",
        ),
    ]);
}

#[test]
fn all_mistakes_in_tests_come_at_once_with_line_and_column() {
    let errors = compile(
        "[\n  { \"name\": \"n\", \"given\": {\"tenant\": {\"id\": \"A\"}},\n    \
         \"deny\": [{\"cache\": \"c\", \"item\": \"i\", \"action\": \"read\"}] },\n  {}]",
    );
    let errors = errors.unwrap_err();
    let place =
        |error: &TemplateError| (error.path.clone(), error.line.unwrap(), error.column.unwrap());
    let places: Vec<_> = errors.0.iter().map(place).collect();
    let wanted = [
        ("$.tests[0].given.tenant.id".to_owned(), 7, 45),
        ("$.tests[0].deny[0].action".to_owned(), 8, 52),
        ("$.tests[1]".to_owned(), 9, 3),
        ("$.tests[1]".to_owned(), 9, 3),
        ("$.tests[1]".to_owned(), 9, 3),
    ];
    assert_eq!(places, wanted, "{errors}");
    let json = serde_json::to_value(&errors).unwrap();
    assert_eq!(json[2]["path"], "$.tests[1]");
    assert_eq!((&json[2]["line"], &json[2]["column"]), (&json!(9), &json!(3)));
    assert!(json[2]["message"].as_str().unwrap().contains("a `name`"));
}
