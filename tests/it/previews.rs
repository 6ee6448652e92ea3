//! What somebody would get with a template that is not published yet, over `/api/v1`.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::harness::api::{ACME, Administered, BASE, Desk, Seen};
use crate::harness::flow::{Request, claims};
use crate::harness::{on_both_stores, on_embedded_stores};

on_both_stores!(a_preview_is_what_a_refresh_then_gives);
on_embedded_stores!(
    somebody_typed_in_is_shown_the_way_from_claims_to_permissions,
    what_cannot_be_rendered_is_told,
    nobody_is_shown_to_another_tenant,
    a_base_says_who_is_given_their_own_instead,
    what_is_above_a_ceiling_is_cut,
    a_preview_needs_somebody_and_something,
);

fn reading(cache: &str) -> Value {
    json!({ "role": "readonly", "cache": cache, "item": { "keyPrefix": "{{tenant.id}}:" } })
}

fn document(permissions: &[Value]) -> Value {
    json!({ "expires_in": 600, "permissions": permissions })
}

fn typed_in(claims: &Value) -> Value {
    json!({ "tenant": "acme", "provider": "corp", "claims": claims })
}

async fn preview(desk: &Desk<'_>, template: &str, document: &Value, person: &Value) -> Value {
    let body = json!({ "document": document, "person": person });
    desk.post(&format!("{template}/preview"), &body).await.expect(200).json()
}

async fn a_preview_is_what_a_refresh_then_gives(world: Administered) {
    let root = world.admin("root", "platform").await;
    let dana = world.sign_in("dana").await;
    let before = claims(&dana["access_token"]);
    let document = document(&[reading("calendar-events"), reading("reports")]);
    let person = json!({ "subject": before["sub"] });
    let preview = preview(&root, BASE, &document, &person).await;
    assert_eq!((&preview["subject"], &preview["tenant"]), (&before["sub"], &json!("acme")));
    assert_eq!(preview["claims"]["roles"], json!(["data-entry"]));
    assert_eq!(preview["overridden_by"], Value::Null);
    let role = &preview["roles"][0];
    assert_eq!((&role["candidate"], &role["counts"]), (&json!(true), &json!(true)));

    let body = json!({ "document": document, "reason": "why", "confirm_widening": true });
    root.post_seen(&format!("{BASE}/publish"), Seen::Tag("\"1\""), &body).await.expect(201);
    // A token later than its session says when that began.
    world.clock.advance(TimeDelta::seconds(1));
    let dana = world.refresh("web", &dana["refresh_token"]).await.expect(200).json();
    let after = claims(&dana["access_token"]);
    let granted = &preview["granted"];
    let permissions: Vec<Value> = granted["permissions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|explained| explained["permission"].clone())
        .collect();
    assert_eq!(after["authorization_details"], json!(permissions));
    assert_eq!(
        granted["expires_in"],
        after["exp"].as_i64().unwrap() - after["iat"].as_i64().unwrap()
    );
    // But for the protocol scopes, of which one is there, and the version's name.
    let bytes = granted["token_bytes"].as_u64().unwrap();
    let real = u64::try_from(dana["access_token"].as_str().unwrap().len()).unwrap();
    assert!(bytes.abs_diff(real) < 40, "{bytes} and {real}");
    // Nothing was minted that works, and the person is as before.
    assert!(!preview.to_string().contains("eyJ"), "{preview}");
}

async fn somebody_typed_in_is_shown_the_way_from_claims_to_permissions(world: Administered) {
    let root = world.admin("root", "platform").await;
    let each = json!({
        "$each": "user.claims.roles", "$as": "name",
        "role": "readonly", "cache": "lists", "item": "{{tenant.id}}:{{name}}",
    });
    let conditional = json!({
        "$if": "eq tenant.attributes.plan 'basic'",
        "role": "readonly", "cache": "never", "item": { "keyPrefix": "{{tenant.id}}:" },
    });
    let document = document(&[reading("a"), each, conditional]);
    let person = json!({ "roles": ["data-entry"], "shoe_size": 38 });
    let preview = preview(&root, BASE, &document, &typed_in(&person)).await;
    assert_eq!(preview["claims"], json!({ "roles": ["data-entry"] }));
    assert_eq!(preview["claims_not_kept"], json!(["shoe_size"]));
    assert_eq!(preview["mapping"][0]["matched"], "data-entry");
    assert!(preview["mapping"][1]["unmatched"].is_string(), "{preview}");
    let role = &preview["roles"][0];
    assert_eq!(role["template"], "data-entry@draft");
    assert_eq!(role["permissions"].as_array().unwrap().len(), 2);
    let skipped = json!([{
        "at": "$.permissions[2].$if", "reason": "condition_false",
        "condition": "eq tenant.attributes.plan 'basic'",
    }]);
    assert_eq!(role["skipped"], skipped);
    let granted = preview["granted"]["permissions"].as_array().unwrap();
    let listed = granted.iter().find(|one| one["permission"]["cache"] == "lists").unwrap();
    let origin = json!({
        "rules": [{ "rule": 0, "claim": "/roles", "matched": "data-entry" }],
        "role": "data-entry",
        "version": "data-entry@draft",
        "at": "$.permissions[1]",
        "values": [
            { "path": "tenant.id", "text": "acme" },
            { "path": "user.claims.roles[0]", "text": "data-entry" },
        ],
    });
    assert_eq!(listed["from"][0]["origins"], json!([origin]));
    assert!(preview["granted"]["token_bytes"].as_u64().unwrap() > 500);

    // Without the role, and with a list that is empty: it is shown, and not granted.
    let preview = self::preview(&root, BASE, &document, &typed_in(&json!({ "roles": [] }))).await;
    assert!(preview["denied"].is_string(), "{preview}");
    let role = &preview["roles"][0];
    assert_eq!((&role["candidate"], &role["counts"]), (&json!(true), &json!(false)));
    let skipped = json!({ "at": "$.permissions[1].$each", "reason": "empty_list", "list": "user.claims.roles" });
    assert_eq!(role["skipped"][0], skipped);
}

async fn what_cannot_be_rendered_is_told(world: Administered) {
    let root = world.admin("root", "platform").await;
    let mail =
        json!({ "role": "readonly", "cache": "mail", "item": "{{tenant.id}}:{{user.email}}" });
    let person = typed_in(&json!({ "roles": ["data-entry"] }));
    let preview = preview(&root, BASE, &document(&[mail]), &person).await;
    assert!(preview["denied"].is_string(), "{preview}");
    assert_eq!(preview["roles"][0]["error"]["value"], "user.email");
    assert_eq!(preview["roles"][0]["error"]["at"], "$.permissions[0].item");
    // And what is no template has its places.
    let body = json!({ "document": { "permissions": [{}] }, "person": person });
    let answer = root.post(&format!("{BASE}/preview"), &body).await;
    let answer = answer.expect_problem(422, "refused");
    assert!(answer.pointers()[0].starts_with("/permissions/0"), "{}", answer.body);
}

async fn nobody_is_shown_to_another_tenant(world: Administered) {
    let (ada, root) = (world.admin("ada", "acme").await, world.admin("root", "platform").await);
    let of_globex = Request::web().with("tenant", "globex");
    let gil = world.sign_in_at(&of_globex, "gil").await;
    let gil = claims(&gil["access_token"])["sub"].clone();
    let dana = claims(&world.sign_in("dana").await["access_token"])["sub"].clone();
    let path = format!("{ACME}/preview");
    let body = |person: Value| json!({ "document": document(&[reading("a")]), "person": person });
    ada.post(&path, &body(json!({ "subject": dana }))).await.expect(200);
    let strangers = [
        (json!({ "subject": gil }), "/person/subject"),
        (json!({ "subject": "u_aaaaaaaaaaaaaaaaaaaaaaaaaa" }), "/person/subject"),
        (json!({ "tenant": "globex", "provider": "corp", "claims": {} }), "/person/tenant"),
        (json!({ "tenant": "unknown", "provider": "corp", "claims": {} }), "/person/tenant"),
        (json!({ "tenant": "acme", "provider": "other", "claims": {} }), "/person/provider"),
    ];
    let mut answers = Vec::new();
    for (person, pointer) in strangers {
        let answer = ada.post(&path, &body(person)).await.expect_problem(400, "invalid-request");
        assert_eq!(answer.pointers(), [pointer]);
        answers.push(answer.body);
    }
    // Of another tenant, or nobody at all: one answer.
    assert_eq!((&answers[0], &answers[2]), (&answers[1], &answers[3]));
    // Of everybody, for whoever administers all.
    let all = format!("{BASE}/preview");
    // Of a provider that is suspended, or that has no people of this tenant, nobody could sign in.
    for provider in ["asleep", "corp"] {
        let person = json!({ "tenant": "island", "provider": provider, "claims": {} });
        let answer = root.post(&all, &body(person)).await.expect_problem(400, "invalid-request");
        assert_eq!(answer.pointers(), ["/person/provider"], "{provider}");
    }
    root.post(&all, &body(json!({ "subject": gil }))).await.expect(200);
}

async fn a_base_says_who_is_given_their_own_instead(world: Administered) {
    let (ada, root) = (world.admin("ada", "acme").await, world.admin("root", "platform").await);
    let own = document(&[reading("calendar-events")]);
    let body = json!({ "document": own, "reason": "less" });
    ada.post_seen(&format!("{ACME}/publish"), Seen::Nothing, &body).await.expect(201);
    let dana = claims(&world.sign_in("dana").await["access_token"])["sub"].clone();
    let person = json!({ "subject": dana });
    let preview = preview(&root, BASE, &document(&[reading("b")]), &person).await;
    assert_eq!(preview["overridden_by"], "data-entry@1/acme");
    let counts: Vec<_> = preview["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|role| (role["template"].clone(), role["counts"].clone(), role["candidate"].clone()))
        .collect();
    let expected = [
        (json!("data-entry@1/acme"), json!(true), json!(false)),
        (json!("data-entry@draft"), json!(false), json!(true)),
    ];
    assert_eq!(counts, expected);
    let granted = preview["granted"]["permissions"].as_array().unwrap();
    assert_eq!(granted.len(), 1);
    assert_eq!(granted[0]["permission"]["cache"], "calendar-events");
    assert_eq!(granted[0]["from"][0]["origins"][0]["version"], "data-entry@1/acme");
}

async fn what_is_above_a_ceiling_is_cut(world: Administered) {
    let ada = world.admin("ada", "acme").await;
    let dana = claims(&world.sign_in("dana").await["access_token"])["sub"].clone();
    let above = document(&[reading("calendar-events"), reading("secrets")]);
    let preview = preview(&ada, ACME, &above, &json!({ "subject": dana })).await;
    let granted = preview["granted"]["permissions"].as_array().unwrap();
    assert_eq!(granted.len(), 1, "{preview}");
    assert_eq!(granted[0]["permission"]["cache"], "calendar-events");
    assert_eq!(preview["granted"]["cut"][0]["cache"], "secrets");
    assert_eq!(preview["roles"][0]["template"], "data-entry@draft/acme");
}

async fn a_preview_needs_somebody_and_something(world: Administered) {
    let root = world.admin("root", "platform").await;
    let person = typed_in(&json!({ "roles": ["data-entry"] }));
    let good = json!({ "version": 1, "person": person });
    let path = format!("{BASE}/preview");
    root.post(&path, &good).await.expect(200);
    let mut at_portal = good.clone();
    at_portal["client"] = json!("portal");
    assert_eq!(root.post(&path, &at_portal).await.expect(200).json()["client"], "portal");
    let bad = [
        ("/person", json!({}), Some("/person")),
        ("/person", json!({ "subject": "u_x", "tenant": "acme" }), Some("/person")),
        ("/person", json!({ "tenant": "acme", "claims": {} }), Some("/person")),
        ("/person/claims", json!({ "roles": "x".repeat(5000) }), Some("/person/claims")),
        ("/person/claims", json!(1), None),
        ("/version", Value::Null, Some("")),
    ];
    for (place, value, pointer) in bad {
        let mut body = good.clone();
        *body.pointer_mut(place).unwrap() = value;
        let answer = root.post(&path, &body).await.expect_problem(400, "invalid-request");
        if let Some(pointer) = pointer {
            assert_eq!(answer.pointers(), [pointer], "{}", answer.body);
        }
    }
    let mut body = good.clone();
    body["client"] = json!("unknown");
    let answer = root.post(&path, &body).await.expect_problem(400, "invalid-request");
    assert_eq!(answer.pointers(), ["/client"]);
}
