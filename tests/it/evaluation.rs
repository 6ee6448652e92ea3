//! May this token do this, and why: `/v1/evaluation` and `/v1/evaluations`, after `AuthZEN`.

use chrono::TimeDelta;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::harness::flow::{PORTAL_URI, Request};
use crate::harness::http::Answer;
use crate::harness::world::World;
use crate::harness::{on_both_stores, on_embedded_stores};

on_both_stores!(
    what_is_allowed_leads_back_to_claims,
    what_is_refused_says_what_is_lacking,
    a_token_that_is_not_active_is_refused,
);
on_embedded_stores!(
    several_questions_are_answered_in_their_order,
    it_stops_where_it_is_told_to,
    a_token_asks_about_itself_and_no_other,
    a_client_asks_about_what_it_may_introspect,
    only_who_is_known_may_ask,
    a_question_about_nothing_says_where,
    a_body_is_read_strictly,
    a_request_is_found_again_by_its_id,
    a_narrowed_token_is_asked_about_as_it_is,
);

/// The embedded store is never away.
mod what_cannot_be_known_is_no_decision {
    #[test]
    fn postgres_redis() {
        let pair = crate::harness::Pair::PostgresRedis;
        crate::harness::on(pair, super::what_cannot_be_known_is_no_decision);
    }
}

const ONE: &str = "/v1/evaluation";
const SEVERAL: &str = "/v1/evaluations";

fn subject(token: &Value) -> Value {
    json!({ "type": "token", "id": token })
}

fn item(cache: &str, key: &str) -> Value {
    json!({ "type": "cache", "id": key, "properties": { "cache": cache } })
}

/// May the holder of this token do this to an item of `calendar-events`?
fn question(token: &Value, action: &str, key: &str) -> Value {
    json!({
        "subject": subject(token),
        "action": { "name": action },
        "resource": item("calendar-events", key),
    })
}

async fn ask(world: &World, question: &Value) -> Answer {
    world.post_json(&world.basic("backend"), ONE, question).await
}

async fn answer(world: &World, question: &Value) -> Value {
    ask(world, question).await.expect(200).json()
}

async fn answers(world: &World, questions: &Value) -> Vec<Value> {
    let answer = world.post_json(&world.basic("backend"), SEVERAL, questions).await;
    answer.expect(200).json()["evaluations"].as_array().unwrap().clone()
}

async fn what_is_allowed_leads_back_to_claims(world: World) {
    let token = world.sign_in("dana").await["access_token"].clone();
    let answer = ask(&world, &question(&token, "get", "acme:7")).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let permission = json!({
        "type": "cache", "role": "readonly", "cache": "calendar-events", "item": { "keyPrefix": "acme:" },
    });
    let origin = json!({
        "rules": [{ "rule": 0, "claim": "/roles", "matched": "data-entry" }],
        "role": "data-entry",
        "version": "data-entry@1",
        "at": "$.permissions[0]",
        "values": [{ "path": "tenant.id", "text": "acme" }],
    });
    let expected = json!({
        "decision": true,
        "context": { "reason": {
            "code": "permitted",
            "message": "a permission of the token allows it",
            "tenant": "acme",
            "roles": ["data-entry"],
            "tpl": ["data-entry@1"],
            "permission": {
                "permission": permission,
                "from": [{ "permission": permission, "origins": [origin] }],
            },
        } },
    });
    assert_eq!(answer.json(), expected);
}

async fn what_is_refused_says_what_is_lacking(world: World) {
    let token = world.sign_in("dana").await["access_token"].clone();
    let answer_to = async |action: &str, key: &str| {
        let answer = answer(&world, &question(&token, action, key)).await;
        assert_eq!(answer["decision"], false);
        let reason = answer["context"]["reason"].clone();
        assert_eq!(reason["code"], "not_permitted");
        assert_eq!(reason["nearest"]["from"][0]["origins"][0]["at"], "$.permissions[0]");
        reason
    };
    let reason = answer_to("set", "acme:7").await;
    assert_eq!(reason["nearest"]["permission"]["role"], "readonly");
    let message = "the role `readonly` allows get, and not `set`";
    let lacks = json!([{
        "lack": "action", "action": "set", "role": "readonly", "lists": ["get"], "message": message,
    }]);
    assert_eq!(reason["nearest"]["lacks"], lacks);
    let begin = "no permission of the token allows it; the nearest one lacks this: ";
    assert_eq!(reason["message"], format!("{begin}{message}"));

    let reason = answer_to("get", "acme-corp:7").await;
    let lacks = json!([{
        "lack": "selector", "key": "item", "asked": "acme-corp:7", "reaches": { "keyPrefix": "acme:" },
        "message": "`item` is `acme-corp:7`; the permission reaches only keys that begin with `acme:`",
    }]);
    assert_eq!(reason["nearest"]["lacks"], lacks);
    assert_eq!(answer_to("set", "globex:7").await["nearest"]["lacks"].as_array().unwrap().len(), 2);

    let mut of_another_type = question(&token, "invoke", "f");
    of_another_type["resource"] =
        json!({ "type": "function", "id": "f", "properties": { "cache": "c" } });
    let answer = answer(&world, &of_another_type).await;
    assert_eq!(answer["decision"], false);
    assert_eq!(answer["context"]["reason"]["nearest"], Value::Null);
    let message = "the token has no permission for this type of resource";
    assert_eq!(answer["context"]["reason"]["message"], message);
}

#[track_caller]
fn assert_not_active(answer: &Value) {
    assert_eq!(answer["decision"], false);
    let reason = &answer["context"]["reason"];
    assert_eq!(reason["code"], "token_not_active");
    assert_eq!(reason.as_object().unwrap().len(), 2, "it says nothing else: {reason}");
}

async fn a_token_that_is_not_active_is_refused(world: World) {
    let tokens = world.sign_in("dana").await;
    let token = &tokens["access_token"];
    let read = async |token: &Value| answer(&world, &question(token, "get", "acme:7")).await;
    assert_eq!(read(token).await["decision"], true);
    for no_token in [&json!("x"), &json!(""), &tokens["refresh_token"], &tokens["id_token"]] {
        assert_not_active(&read(no_token).await);
    }
    let expires = world.sign_in("dana").await["access_token"].clone();
    world.revoke("web", &tokens["refresh_token"]).await.expect(200);
    assert_not_active(&read(token).await);
    assert_eq!(read(&expires).await["decision"], true);
    world.clock.advance(TimeDelta::seconds(900));
    assert_not_active(&read(&expires).await);
}

async fn several_questions_are_answered_in_their_order(world: World) {
    let (dana, ada) = (world.sign_in("dana").await, world.sign_in("ada").await);
    let (dana, ada) = (&dana["access_token"], &ada["access_token"]);
    let questions = json!({
        "subject": subject(dana),
        "action": { "name": "set" },
        "resource": item("calendar-events", "acme:7"),
        "evaluations": [
            {},
            { "action": { "name": "get" } },
            { "subject": subject(ada) },
            { "subject": subject(ada), "resource": item("calendar-events", "globex:7") },
            { "action": { "name": "fly" } },
            { "subject": { "type": "user", "id": "dana" } },
            { "subject": subject(&json!("x")) },
        ],
    });
    let answers = answers(&world, &questions).await;
    let decisions: Vec<_> = answers.iter().map(|answer| answer["decision"].clone()).collect();
    assert_eq!(decisions, [false, true, true, false, false, false, false]);
    // One that cannot be answered takes nothing from the others.
    let error = &answers[4]["context"]["error"];
    assert_eq!(error["status"], 400);
    assert!(error["message"].as_str().unwrap().contains("/evaluations/4/action/name"), "{error}");
    let error = &answers[5]["context"]["error"];
    assert!(error["message"].as_str().unwrap().contains("/evaluations/5/subject/type"), "{error}");
    assert_not_active(&answers[6]);
    let missing = json!({ "evaluations": [question(dana, "get", "acme:7"), {}] });
    let answer = world.post_json(&world.basic("backend"), SEVERAL, &missing).await;
    let second = answer.expect(200).json()["evaluations"][1].clone();
    assert_eq!(
        (&second["decision"], &second["context"]["error"]["status"]),
        (&json!(false), &json!(400))
    );
    // Without a list it is a single question.
    let single = question(dana, "get", "acme:7");
    let answer = world.post_json(&world.basic("backend"), SEVERAL, &single).await.expect(200);
    assert_eq!(answer.json()["decision"], true);
    assert!(answer.json().get("evaluations").is_none());
}

async fn it_stops_where_it_is_told_to(world: World) {
    let token = world.sign_in("dana").await["access_token"].clone();
    let of = |action: &str| json!({ "action": { "name": action } });
    let asked = |semantic: &str| {
        json!({
            "subject": subject(&token),
            "resource": item("calendar-events", "acme:7"),
            "evaluations": [of("get"), of("set"), of("get")],
            "options": { "evaluations_semantic": semantic },
        })
    };
    for (semantic, expected) in [
        ("execute_all", &[true, false, true][..]),
        ("deny_on_first_deny", &[true, false]),
        ("permit_on_first_permit", &[true]),
    ] {
        let answers = answers(&world, &asked(semantic)).await;
        let decisions: Vec<_> = answers.iter().map(|answer| answer["decision"].clone()).collect();
        assert_eq!(decisions, expected, "{semantic}");
    }
    let answer = world.post_json(&world.basic("backend"), SEVERAL, &asked("guess")).await;
    answer.expect_problem(400, "invalid-request");
}

async fn a_token_asks_about_itself_and_no_other(world: World) {
    let tokens = world.sign_in("dana").await;
    let (own, other) =
        (&tokens["access_token"], world.sign_in("ada").await["access_token"].clone());
    let bearer = |token: &Value| format!("Bearer {}", token.as_str().unwrap());
    let answer = world.post_json(&bearer(own), ONE, &question(own, "get", "acme:7")).await;
    assert_eq!(answer.expect(200).json()["decision"], true);
    for about in [&other, &tokens["refresh_token"], &json!("x")] {
        let answer = world.post_json(&bearer(own), ONE, &question(about, "get", "acme:7")).await;
        answer.expect_problem(403, "forbidden");
    }
    let both = json!({ "evaluations": [question(own, "get", "acme:7"), question(&other, "get", "acme:7")] });
    let answer = world.post_json(&bearer(own), SEVERAL, &both).await.expect(200).json();
    assert_eq!(answer["evaluations"][0]["decision"], true);
    assert_eq!(answer["evaluations"][1]["decision"], false);
    assert_eq!(answer["evaluations"][1]["context"]["error"]["status"], 403);
    // Nor with one that is dead.
    world.revoke("web", &tokens["refresh_token"]).await.expect(200);
    for bad in [own, &tokens["refresh_token"], &json!("x")] {
        let answer = world.post_json(&bearer(bad), ONE, &question(bad, "get", "acme:7")).await;
        let challenge = "Bearer realm=\"rolemint\", error=\"invalid_token\"";
        assert_eq!(answer.header("www-authenticate"), challenge);
        answer.expect_problem(401, "invalid-token");
    }
}

async fn a_client_asks_about_what_it_may_introspect(world: World) {
    let tokens = world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await;
    let asked = question(&tokens["access_token"], "get", "acme:7");
    for client in ["api", "portal"] {
        let answer = world.post_json(&world.basic(client), ONE, &asked).await.expect(200);
        assert_eq!(answer.json()["decision"], true, "{client}");
    }
    for client in ["backend", "narrow"] {
        let answer = world.post_json(&world.basic(client), ONE, &asked).await.expect(200);
        assert_not_active(&answer.json());
    }
}

async fn only_who_is_known_may_ask(world: World) {
    let token = world.sign_in("dana").await["access_token"].clone();
    let asked = question(&token, "get", "acme:7");
    let basic = |pair: &str| format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()));
    for path in [ONE, SEVERAL] {
        for nobody in ["", "Basic", "Basic !", "Digest x", "Bearer"] {
            let answer = world.post_json(nobody, path, &asked).await;
            assert!(!answer.body.contains("decision"));
            answer.expect_problem(401, "not-authenticated");
        }
        for stranger in ["backend:wrong", "nobody:wrong"] {
            let answer = world.post_json(&basic(stranger), path, &asked).await;
            assert_eq!(answer.header("www-authenticate"), "Basic realm=\"rolemint\"");
            answer.expect_problem(401, "invalid-client");
        }
        // A public client proves nothing.
        let answer = world.post_json(&basic("web:"), path, &asked).await;
        answer.expect_problem(401, "invalid-client");
    }
}

async fn a_question_about_nothing_says_where(world: World) {
    let token = world.sign_in("dana").await["access_token"].clone();
    let good = question(&token, "get", "acme:7");
    let wrong = [
        ("/subject/type", json!("user"), "/subject/type", "must be `token`"),
        ("/resource/type", json!("cash"), "/resource/type", "there is no resource type"),
        ("/action/name", json!("fly"), "/action/name", "its actions are"),
        (
            "/resource/properties",
            json!({}),
            "/resource/properties/cache",
            "has to say which `cache`",
        ),
        (
            "/resource/properties",
            json!({ "cache": "c", "key": "x" }),
            "/resource/properties/key",
            "its selectors are cache, item",
        ),
        (
            "/resource/properties",
            json!({ "cache": 1 }),
            "/resource/properties/cache",
            "must be a string",
        ),
        (
            "/resource/properties",
            json!({ "cache": "c", "item": "other" }),
            "/resource/properties/item",
            "is what the action acts on",
        ),
        ("/resource/id", json!(""), "/resource/id", ""),
    ];
    for (place, value, pointer, message) in wrong {
        let mut asked = good.clone();
        *asked.pointer_mut(place).unwrap() = value;
        let answer = ask(&world, &asked).await.expect_problem(400, "invalid-request");
        assert_eq!(answer.pointers(), [pointer], "{}", answer.body);
        assert!(answer.body.contains(message), "{}", answer.body);
    }
    for part in ["subject", "action", "resource"] {
        let mut asked = good.clone();
        asked.as_object_mut().unwrap().remove(part);
        let answer = ask(&world, &asked).await.expect_problem(400, "invalid-request");
        assert_eq!(answer.pointers(), [format!("/{part}")]);
    }
    // What the action acts on may be said twice, if it is the same.
    let mut asked = good.clone();
    asked["resource"]["properties"]["item"] = json!("acme:7");
    assert_eq!(answer(&world, &asked).await["decision"], true);
}

async fn a_body_is_read_strictly(world: World) {
    let token = world.sign_in("dana").await["access_token"].clone();
    let good = question(&token, "get", "acme:7").to_string();
    let send = async |path: &str, kind: &str, body: String| {
        let browser = world.browser();
        let request = browser.request(Method::POST, path);
        let request = request.header(AUTHORIZATION, world.basic("backend"));
        browser.send(request.header(CONTENT_TYPE, kind).body(body)).await
    };
    let json = "application/json";
    send(ONE, json, good.clone()).await.expect(200);
    send(ONE, "application/json; charset=utf-8", good.clone()).await.expect(200);
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"]
    {
        send(ONE, kind, good.clone()).await.expect_problem(415, "unsupported-media-type");
    }
    let twice = good.replacen(
        "\"cache\":\"calendar-events\"",
        "\"cache\":\"c\",\"cache\":\"calendar-events\"",
        1,
    );
    let unknown = good.replacen("\"subject\":", "\"more\":1,\"subject\":", 1);
    assert!(twice != good && unknown != good);
    let doubled = good.replacen("\"subject\":", "\"subject\":null,\"subject\":", 1);
    for bad in ["", "{", "[]", "\"x\"", "{} {}", &twice, &doubled, &unknown] {
        let answer = send(ONE, json, bad.to_owned()).await.expect_problem(400, "invalid-request");
        let mistake = &answer.json()["errors"][0];
        assert!(mistake["line"].is_u64() && mistake["column"].is_u64(), "{}", answer.body);
    }
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    send(ONE, json, deep).await.expect_problem(400, "invalid-request");
    let large = format!("{good}{}", " ".repeat(64 * 1024));
    send(ONE, json, large).await.expect_problem(413, "body-too-large");
    let questions = |count: usize| {
        let several = vec![json!({ "action": { "name": "get" } }); count];
        let mut asked = question(&token, "get", "acme:7");
        asked["evaluations"] = json!(several);
        asked.to_string()
    };
    let answer = send(SEVERAL, json, questions(64)).await.expect(200).json();
    assert_eq!(answer["evaluations"].as_array().unwrap().len(), 64);
    let answer = send(SEVERAL, json, questions(65)).await.expect_problem(400, "invalid-request");
    assert_eq!(answer.pointers(), ["/evaluations"]);
}

async fn a_request_is_found_again_by_its_id(world: World) {
    let token = world.sign_in("dana").await["access_token"].clone();
    let send = async |id: &str, body: String| {
        let browser = world.browser();
        let request = browser.request(Method::POST, ONE).header("x-request-id", id);
        let request = request.header(AUTHORIZATION, world.basic("backend"));
        browser.send(request.header(CONTENT_TYPE, "application/json").body(body)).await
    };
    let good = question(&token, "get", "acme:7").to_string();
    assert_eq!(send("bfe9eb29", good.clone()).await.expect(200).header("x-request-id"), "bfe9eb29");
    assert_eq!(
        send("bfe9eb29", String::new()).await.expect(400).header("x-request-id"),
        "bfe9eb29"
    );
    for id in ["two words", &"x".repeat(129)] {
        assert_eq!(send(id, good.clone()).await.expect(200).header("x-request-id"), "", "{id}");
    }
}

async fn a_narrowed_token_is_asked_about_as_it_is(world: World) {
    let tokens = world.sign_in("dana").await;
    let wanted = json!([{ "role": "readonly", "cache": "calendar-events", "item": "acme:7", "type": "cache" }]);
    let form = [("authorization_details", wanted.to_string())];
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let token = world.refresh_for("web", &tokens["refresh_token"], &form).await.expect(200).json();
    let token = &token["access_token"];
    let answer_to = async |key: &str| answer(&world, &question(token, "get", key)).await;
    let allowed = answer_to("acme:7").await;
    assert_eq!(allowed["decision"], true);
    let by = &allowed["context"]["reason"]["permission"];
    assert_eq!(by["permission"]["item"], "acme:7");
    assert_eq!(by["from"][0]["permission"]["item"], json!({ "keyPrefix": "acme:" }));
    assert_eq!(answer_to("acme:8").await["decision"], false);
}

async fn what_cannot_be_known_is_no_decision(mut world: World) {
    let token = world.sign_in("dana").await["access_token"].clone();
    let asked = question(&token, "get", "acme:7");
    let several = json!({ "evaluations": [asked.clone(), asked.clone()] });
    world.stores().redis.as_mut().unwrap().kill();
    let bearer = format!("Bearer {}", token.as_str().unwrap());
    for authorization in [world.basic("backend"), bearer.clone()] {
        for (path, body) in [(ONE, &asked), (SEVERAL, &several)] {
            let answer = world.post_json(&authorization, path, body).await;
            assert_eq!(answer.header("retry-after"), "1");
            assert!(!answer.body.contains("decision"), "{}", answer.body);
            answer.expect_problem(503, "unavailable");
        }
    }
    let browser = world.browser();
    let request = browser.request(Method::GET, "/api/v1/tenants/acme/roles");
    let request = request.header(AUTHORIZATION, bearer);
    browser.send(request).await.expect_problem(503, "unavailable");
    world.stores().redis.as_mut().unwrap().start_again();
    world.is_ready_again().await;
}
