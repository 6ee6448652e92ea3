use super::*;
use crate::domain::permission::tests::vocabulary;
use serde_json::{Value, json};

const DATA_ENTRY: &str = include_str!("../../../../templates/roles/data-entry.json");
const ADMIN: &str = include_str!("../../../../templates/roles/admin.json");

/// A template's name, the tenant whose override it is, and its source.
type Given<'a> = (&'a str, Option<&'a str>, String);

/// What the compiler would refuse by itself, it lets pass here.
pub(super) fn proved_within(
    given: &[Given<'_>],
    v: &Vocabulary,
    steps: u64,
) -> Result<Proof, Unproved> {
    let compile = |(name, tenant, source): &'_ Given<'_>| {
        let template = RoleTemplate::compile(source, v, true);
        let template = template.unwrap_or_else(|errors| panic!("{source}: {errors}"));
        (name.to_string(), tenant.map(|id| id.parse::<TenantId>().unwrap()), template)
    };
    let compiled: Vec<_> = given.iter().map(compile).collect();
    let subjected: Vec<_> = compiled
        .iter()
        .map(|(name, tenant, template)| Subjected { name, tenant: tenant.as_ref(), template })
        .collect();
    prove_within(&subjected, v, steps)
}

fn permissions(list: &[Value]) -> String {
    json!({ "permissions": list }).to_string()
}

fn item(cache: &Value, item: &Value) -> Value {
    json!({"role": "readonly", "cache": cache, "item": item})
}

/// Two templates with one permission each.
fn pair(one: Value, other: Value) -> Result<Proof, Unproved> {
    let given = [("one@1", None, permissions(&[one])), ("two@1", None, permissions(&[other]))];
    proved_within(&given, &vocabulary(), MAX_STEPS)
}

fn items(one: &Value, other: &Value) -> Result<Proof, Unproved> {
    pair(item(&json!("c"), one), item(&json!("c"), other))
}

#[track_caller]
fn meeting(result: Result<Proof, Unproved>) -> Meeting {
    match result {
        Err(Unproved::Meeting(meeting)) => *meeting,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn tenants_of(result: Result<Proof, Unproved>) -> [String; 2] {
    meeting(result).tenants.map(String::from)
}

fn prefix(text: &str) -> Value {
    json!({ "keyPrefix": text })
}

#[test]
fn the_seed_as_it_was_first_written_is_refused() {
    let bare = permissions(&[item(&json!("calendar-events"), &prefix("{{tenant.id}}"))]);
    let found = meeting(proved_within(&[("data-entry@1", None, bare)], &vocabulary(), MAX_STEPS));
    assert_eq!(
        found.to_string(),
        "tenants `acme` and `acme-corp`: cache `calendar-events`, item `acme-corp:7` is reachable by \
         both, because the `item` prefix `{{tenant.id}}` of `data-entry@1` ($.permissions[0]) has no \
         delimiter (: / | #) right after the tenant; write `{{tenant.id}}:`"
    );
    let shown = serde_json::to_value(Unproved::Meeting(Box::new(found))).unwrap();
    assert_eq!(
        (&shown["reason"], &shown["tenants"]),
        (&json!("meeting"), &json!(["acme", "acme-corp"]))
    );
}

#[test]
fn the_seeds_are_proved() {
    let given = [("data-entry@1", None, DATA_ENTRY.into()), ("admin@1", None, ADMIN.into())];
    let proof = proved_within(&given, &vocabulary(), MAX_STEPS).unwrap();
    assert_eq!(proof, Proof { templates: 2, forms: 8, pairs: 3 + 3 + 10 });
}

#[test]
fn forms_of_different_templates_meet() {
    let topic = |text: &str| json!({"role": "publishonly", "cache": "news", "topic": text});
    let found = meeting(pair(topic("{{tenant.id}}-events"), topic("{{tenant.id}}-b-events")));
    assert_eq!(
        found.to_string(),
        "tenants `acme-b` and `acme`: cache `news`, topic `acme-b-events` is reachable by both, because \
         the `topic` `{{tenant.id}}-events` of `one@1` ($.permissions[0]) matches it for `acme-b`, and the \
         `topic` `{{tenant.id}}-b-events` of `two@1` ($.permissions[0]) for `acme`; write \
         `{{tenant.id}}:b-events` in `two@1` ($.permissions[0])"
    );
    let of_one = permissions(&[topic("{{tenant.id}}-events"), topic("{{tenant.id}}-b-events")]);
    let found = meeting(proved_within(&[("one@1", None, of_one)], &vocabulary(), MAX_STEPS));
    assert_eq!(found.sides.map(|side| side.at), ["$.permissions[1]", "$.permissions[0]"]);
}

#[test]
fn what_meets_and_what_does_not() {
    let [t, events] = ["{{tenant.id}}", "{{tenant.id}}-events"];
    let meet = [
        (json!(t), json!("x-{{tenant.id}}"), ["x-acme", "acme"]),
        (json!("x{{tenant.id}}"), json!("{{tenant.id}}y"), ["acmy", "xacm"]),
        (prefix("{{tenant.id}}:"), prefix("a-{{tenant.id}}:"), ["a-acme", "acme"]),
        (prefix("{{tenant.id}}:a"), json!("b{{tenant.id}}:{{user.id}}"), ["bacme", "acme"]),
        (json!("a:{{tenant.id}}"), json!("{{tenant.id}}:b"), ["b", "a"]),
        (json!({"all": true}), json!(t), ["acme", "acme-corp"]),
        (json!("shared"), json!(t), ["acme", "acme-corp"]),
        (json!("{{user.id}}-events"), json!(events), ["acme", "acme-corp"]),
        (
            json!("{{tenant.id}}!{{user.id}}"),
            json!("{{user.id}}!{{tenant.id}}"),
            ["acme", "acme-corp"],
        ),
        (json!("{{user.id}}!b"), json!("a!{{tenant.id}}"), ["acme-corp", "b"]),
        (json!("{{tenant.id}}{{tenant.id}}"), json!("{{tenant.id}}"), ["acme", "acmeacme"]),
    ];
    for (one, other, tenants) in meet {
        assert_eq!(tenants_of(items(&one, &other)), tenants, "{one} {other}");
    }
    let apart = [
        (prefix("{{tenant.id}}:"), json!(events)),
        (prefix("{{tenant.id}}:"), prefix("{{tenant.id}}/")),
        (prefix("{{tenant.id}}:"), prefix("{{tenant.id}}:{{user.id}}:")),
        (json!(t), json!("{{tenant.id}}.x")),
        (json!("a:{{tenant.id}}"), json!("{{tenant.id}}:b:c")),
        (json!("{{tenant.id}}_x"), json!("{{tenant.id}}x")),
        (json!("{{tenant.id}}{{tenant.id}}"), json!("{{tenant.id}}{{tenant.id}}")),
        (json!("{{tenant.id}}é"), json!("{{tenant.id}}è")),
        (json!("{{tenant.id}}:"), json!(t)),
    ];
    for (one, other) in apart {
        // The form of each alone, where it does not separate.
        items(&one, &other).unwrap_or_else(|unproved| panic!("{one} {other}: {unproved}"));
    }
}

#[test]
fn the_tenants_are_the_same_on_all_levels() {
    let one = item(&json!("{{tenant.id}}-c"), &json!({"all": true}));
    let found = meeting(pair(one.clone(), item(&json!("shared-c"), &prefix("{{tenant.id}}:"))));
    assert_eq!(found.tenants.clone().map(String::from), ["shared", "acme"]);
    let resource = [("cache", "shared-c"), ("item", "acme:7")];
    assert_eq!(found.resource, resource.map(|(key, text)| (key.into(), text.into())));
    // Either level lets two tenants meet, and not the same two.
    let one = item(&json!("a{{tenant.id}}"), &json!("b{{tenant.id}}"));
    let other = item(&json!("{{tenant.id}}"), &json!("{{tenant.id}}"));
    pair(one, other).unwrap();
}

#[test]
fn a_level_counts_down_to_the_widest_action() {
    let v: Vocabulary = toml::from_str(
        r#"
        [types.box]
        selectors = ["box", "thing"]
        kind = "tenant"
        actions = { take = "thing", empty = "box" }
        roles = { taker = ["take"], mover = ["empty", "take"] }
        [types.shelf]
        selectors = ["shelf"]
        kind = "shared"
        safe = ["read"]
        actions = { read = "shelf" }
        roles = { reader = ["read"] }
    "#,
    )
    .unwrap();
    let with =
        |role: &str, shelf: &str| json!({"role": role, "box": shelf, "thing": "{{tenant.id}}"});
    let of = |list: &[Value]| proved_within(&[("one@1", None, permissions(list))], &v, MAX_STEPS);
    let proof = of(&[with("taker", "b"), with("mover", "{{tenant.id}}:")]).unwrap();
    assert_eq!((proof.forms, proof.pairs), (2, 3));
    // Who acts on the box acts on all in it.
    let found = meeting(of(&[with("taker", "b"), with("mover", "{{tenant.id}}")]));
    assert_eq!(found.resource, [("box".to_owned(), "b".to_owned())]);
    meeting(of(&[with("mover", "b")]));
    of(&[json!({"role": "reader", "shelf": "s"})]).unwrap();
}

#[test]
fn an_override_is_its_tenants_alone() {
    let of = |given: &[(&str, Option<&str>, &str)]| {
        let given: Vec<_> = given
            .iter()
            .map(|(name, tenant, text)| {
                (*name, *tenant, permissions(&[item(&json!("c"), &json!(text))]))
            })
            .collect();
        proved_within(&given, &vocabulary(), MAX_STEPS)
    };
    let base = ("r@1", None, "{{tenant.id}}-events");
    let long = "a".repeat(62);
    let b_events = |tenant| ("r@1/x", Some(tenant), "{{tenant.id}}-b-events");
    assert_eq!(tenants_of(of(&[base, b_events("globex")])), ["globex-b", "globex"]);
    assert_eq!(tenants_of(of(&[b_events("globex"), base])), ["globex", "globex-b"]);
    // Nobody has an id that long.
    of(&[base, b_events(&long)]).unwrap();
    // Two overrides meet only for their own tenants.
    let events = |tenant| ("r@2/y", Some(tenant), "{{tenant.id}}-events");
    of(&[events("globex"), b_events("acme")]).unwrap();
    of(&[events("acme-b"), b_events("acme-b")]).unwrap();
    assert_eq!(tenants_of(of(&[events("acme-b"), b_events("acme")])), ["acme-b", "acme"]);
    let many = [events("a"), events("b"), events("acme-b"), b_events("c"), b_events("acme")];
    assert_eq!(tenants_of(of(&many)), ["acme-b", "acme"]);
    // A fixed text is one tenant's own, as long as nobody else has it.
    of(&[("r@1/acme", Some("acme"), "fixed")]).unwrap();
    assert_eq!(
        tenants_of(of(&[("r@1/acme", Some("acme"), "fixed"), ("s@1/x", Some("x"), "fixed")])),
        ["acme", "x"]
    );
    // A base template counts for the tenant of an override, too.
    assert_eq!(
        tenants_of(of(&[("r@1", None, "x-{{tenant.id}}"), ("r@1/b", Some("b"), "x-acme")])),
        ["acme", "b"]
    );
    // `platform` is a tenant like others.
    assert_eq!(tenants_of(of(&[base, b_events("platform")])), ["platform-b", "platform"]);
}

#[test]
fn what_cannot_be_decided_is_refused() {
    let v = vocabulary();
    // The caches can meet, the items cannot, and to see that takes all lengths of all values.
    let values = "{{user.id}}a".repeat(12);
    let with = |cache: &str, end: &str| {
        permissions(&[item(&json!(cache), &json!(format!("{values}{{{{tenant.id}}}}{end}")))])
    };
    let one = with("{{tenant.id}}-events", "!{{user.id}}");
    let other = with("{{tenant.id}}-b-events", "?{{user.id}}");
    let given = [("one@1", None, one), ("two@1", None, other)];
    match proved_within(&given, &v, 1 << 16) {
        Err(Unproved::Undecided(undecided)) => {
            let shown = undecided.to_string();
            assert!(shown.contains("is too much to decide; begin both with"), "{shown}");
        }
        other => panic!("{other:?}"),
    }
    let many = |count: usize| {
        let all: Vec<_> =
            (0..count).map(|n| item(&json!(format!("c{n}")), &json!("{{tenant.id}}"))).collect();
        let given: Vec<_> =
            all.chunks(256).map(|part| ("many@1", None, permissions(part))).collect();
        proved_within(&given, &v, MAX_STEPS)
    };
    assert_eq!(many(300).unwrap().forms, 300);
    assert_eq!(many(4097), Err(Unproved::TooManyForms { forms: 4097, most: 4096 }));
}

#[test]
fn names_of_values_make_no_new_form() {
    let one = item(&json!("c"), &prefix("{{tenant.id}}:{{user.id}}"));
    let other = item(&json!("c"), &prefix("{{tenant.id}}:{{client.id}}"));
    let proof = pair(one, other).unwrap();
    assert_eq!((proof.forms, proof.pairs), (1, 1));
}

#[test]
fn what_begins_alike_is_compared_as_one() {
    let own = |tenant: usize| {
        permissions(&[item(&json!("c"), &prefix(&format!("{{{{tenant.id}}}}:{tenant}:")))])
    };
    let ids: Vec<String> = (0..MAX_FORMS + 900).map(|number| format!("t{number}")).collect();
    let base = permissions(&[item(&json!("c"), &prefix("{{tenant.id}}:"))]);
    let all: Vec<Given<'_>> = ids
        .iter()
        .enumerate()
        .map(|(number, id)| ("own@1", Some(id.as_str()), own(number)))
        .chain([("base@1", None, base)])
        .collect();
    let proof = proved_within(&all, &vocabulary(), MAX_STEPS).unwrap();
    assert_eq!((proof.forms, proof.pairs), (MAX_FORMS + 901, 1));
    // Where the beginnings could meet, the forms themselves are looked at.
    let exact = |text: &str| item(&json!("c"), &json!(text));
    assert!(items(&json!("{{tenant.id}}:a"), &json!("x{{tenant.id}}:b")).is_ok());
    assert_eq!(tenants_of(pair(exact("{{tenant.id}}:a"), exact("x{{tenant.id}}:a"))).len(), 2);
}
