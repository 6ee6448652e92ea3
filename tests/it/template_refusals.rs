//! What `/api/v1` does not do to a role template, and how it says so.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::api::{
    ACME, Administered, BASE, Desk, FIRST, Seen, document, publication, publish, reading,
};
use crate::harness::{on_both_stores, on_embedded_stores};

on_both_stores!(what_does_not_pass_is_not_published);
on_embedded_stores!(
    what_is_changed_says_what_was_seen,
    what_widens_is_confirmed,
    what_meets_another_tenants_own_is_concealed,
    a_tenants_own_version_stays_below_its_ceiling,
    a_role_without_a_ceiling_is_nobodys_own,
    a_request_is_read_strictly,
    a_review_changes_nothing,
);

async fn what_is_changed_says_what_was_seen(world: Administered) {
    let root = world.admin("root", "platform").await;
    let wider = document(&[reading("reports")]);
    let drafted = document(&[]).to_string();
    let draft = format!("{BASE}/draft");
    let changes = [
        (Method::PUT, draft.clone(), Some(drafted.clone())),
        (Method::DELETE, draft.clone(), None),
        (Method::POST, format!("{BASE}/publish"), Some(publication(&wider).to_string())),
        (
            Method::POST,
            format!("{BASE}/rollback"),
            Some(json!({"version": 1, "reason": "x"}).to_string()),
        ),
        (Method::POST, format!("{ACME}/withdraw"), Some(json!({"reason": "x"}).to_string())),
    ];
    for (method, path, body) in &changes {
        let call = |seen| root.call(method.clone(), path, seen, body.clone());
        call(Seen::Unsaid).await.expect_problem(428, "precondition-required");
        // Any version at all is none that was seen.
        for unclear in ["*", "\"1\", \"2\""] {
            call(Seen::Tag(unclear)).await.expect_problem(400, "invalid-request");
        }
        for stale in ["\"7\"", "\"x\"", "W/\"1\"", "1"] {
            call(Seen::Tag(stale)).await.expect_problem(412, "precondition-failed");
        }
    }
    for (method, path) in [(Method::DELETE, &draft), (Method::POST, &format!("{ACME}/withdraw"))] {
        let body = Some(json!({ "reason": "x" }).to_string());
        let answer = root.call(method, path, Seen::Nothing, body).await;
        answer.expect_problem(428, "precondition-required");
    }
    // There is one.
    publish(&root, BASE, Seen::Nothing, &wider).await.expect_problem(412, "precondition-failed");
    // Twice, and both at once.
    let browser = world.browser();
    let request = root.request(&browser, Method::PUT, &draft).header("if-match", "\"1\"");
    let request = request.header("if-match", "\"1\"").header("content-type", "application/json");
    browser.send(request.body(drafted.clone())).await.expect_problem(400, "invalid-request");
    let request = root.request(&browser, Method::PUT, &draft).header("if-match", "\"1\"");
    let request = request.header("if-none-match", "*").header("content-type", "application/json");
    browser.send(request.body(drafted)).await.expect_problem(400, "invalid-request");
    assert_eq!(root.get(BASE).await.expect(200).header("etag"), "\"1\"");
    root.get(&draft).await.expect_problem(404, "not-found");
}

async fn what_widens_is_confirmed(world: Administered) {
    let root = world.admin("root", "platform").await;
    let mut body = publication(&document(&[reading("reports")]));
    for unconfirmed in [Value::Null, json!(false)] {
        body["confirm_widening"] = unconfirmed.clone();
        if unconfirmed.is_null() {
            body.as_object_mut().unwrap().remove("confirm_widening");
        }
        let answer = root.post_seen(&format!("{BASE}/publish"), FIRST, &body).await;
        let answer = answer.expect_problem(409, "needs-confirmation");
        let change = &answer.json()["review"]["diff"]["changes"][0];
        assert_eq!(
            (&change["kind"], &change["after"]["at"]),
            (&json!("gained"), &json!("$.permissions[2]"))
        );
    }
    assert_eq!(root.get(BASE).await.expect(200).header("etag"), "\"1\"");
    body["confirm_widening"] = json!(true);
    root.post_seen(&format!("{BASE}/publish"), FIRST, &body).await.expect(201);
    publish(&root, BASE, Seen::Tag("\"2\""), &document(&[])).await.expect(201);
    let body = json!({ "version": 2, "reason": "again" });
    let answer = root.post_seen(&format!("{BASE}/rollback"), Seen::Tag("\"3\""), &body).await;
    answer.expect_problem(409, "needs-confirmation");
    let same = publish(&root, BASE, Seen::Tag("\"3\""), &document(&[])).await;
    same.expect_problem(409, "unchanged");
}

async fn what_does_not_pass_is_not_published(world: Administered) {
    let root = world.admin("root", "platform").await;
    let with_test = |mut document: Value, test: &Value| {
        document["tests"] = json!([test]);
        document
    };
    let refused = async |document: &Value| {
        let answer = publish(&root, BASE, FIRST, document).await.expect_problem(422, "refused");
        let review = root.post(&format!("{BASE}/review"), &json!({ "document": document })).await;
        let review = review.expect(200).json();
        assert_eq!(review["passes"], false);
        assert_eq!(review["errors"], answer.json()["errors"], "a review says the same");
        assert_eq!(root.get(BASE).await.expect(200).header("etag"), "\"1\"");
        answer
    };
    // A test that fails.
    let test = json!({
        "name": "reads no reports", "given": { "tenant": { "id": "acme" } },
        "deny": [{ "cache": "reports", "item": "acme:1", "action": "get" }],
    });
    let answer = refused(&with_test(document(&[reading("reports")]), &test)).await;
    assert_eq!(answer.pointers(), ["/tests/0"]);
    let message = answer.json()["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("reads no reports"), "{message}");

    // One that is not separated at all.
    let open =
        json!({ "role": "readonly", "cache": "reports", "item": { "keyPrefix": "{{tenant.id}}" } });
    let answer = refused(&document(&[open])).await;
    assert_eq!(answer.pointers(), ["/permissions/2"]);
    assert!(answer.body.contains("write `{{tenant.id}}:`"), "{}", answer.body);

    // One that meets another: the counter-example.
    let meeting = json!({ "role": "publishonly", "cache": "collaboration", "topic": "{{tenant.id}}-b-events" });
    let alone = json!({ "expires_in": 900, "permissions": [meeting] });
    let answer = refused(&alone).await;
    let unproved = &answer.json()["review"]["unproved"];
    assert_eq!(unproved["reason"], "meeting");
    assert_eq!(unproved["resource_type"], "topic");
    assert_eq!(unproved["tenants"].as_array().unwrap().len(), 2);
    assert_eq!(answer.pointers(), ["/permissions/0"]);
    assert_eq!(
        answer.json()["errors"][0]["message"].as_str().unwrap().matches("tenants `").count(),
        1
    );

    // Mistakes, with their places, all at once.
    let broken = "{\n \"expires_in\": 0,\n \"permissions\": [\n  { \"role\": \"fly\", \"cache\": \"c\", \"item\": \"{{tenant.id}}:\" }\n ]\n}";
    let body = format!("{{\"reason\": \"x\", \"document\": {broken}}}");
    let path = format!("{BASE}/publish");
    let answer = root.call(Method::POST, &path, FIRST, Some(body)).await;
    let answer = answer.expect_problem(422, "refused");
    let errors = answer.json()["errors"].clone();
    let place = |n: usize| (errors[n]["pointer"].clone(), errors[n]["line"].clone());
    let mut places = [place(0), place(1)];
    places.sort_by_key(|place| place.1.as_u64());
    assert_eq!(places[0], (json!("/expires_in"), json!(2)), "{errors}");
    assert_eq!(places[1], (json!("/permissions/0/role"), json!(4)), "{errors}");
}

async fn what_meets_another_tenants_own_is_concealed(world: Administered) {
    let root = world.admin("root", "platform").await;
    let (ada, gus) = (world.admin("ada", "acme").await, world.admin("gus", "globex").await);
    let globex = "/roles/data-entry/tenants/globex/template";
    let hears = |topic: &str| {
        let permission = json!({ "role": "subscribeonly", "cache": "news", "topic": topic });
        json!({ "expires_in": 900, "permissions": [permission] })
    };
    publish(&gus, globex, Seen::Nothing, &hears("{{tenant.id}}-acme-news")).await.expect(201);
    let clash = hears("globex-{{tenant.id}}-news");
    let review = async |desk: &Desk<'_>, template: &str, document: &Value| {
        let answer =
            desk.post(&format!("{template}/review"), &json!({ "document": document })).await;
        answer.expect(200)
    };
    let all = review(&root, ACME, &clash).await.json();
    assert_eq!(all["unproved"]["reason"], "meeting");
    assert_eq!(all["unproved"]["resource"][1][1], "globex-acme-news");
    assert!(all["unproved"]["sides"].to_string().contains("data-entry@1/globex"), "{all}");
    let own = review(&ada, ACME, &clash).await;
    let refused = publish(&ada, ACME, Seen::Nothing, &clash).await.expect_problem(422, "refused");
    for (answer, unproved) in
        [(&own, &own.json()["unproved"]), (&refused, &refused.json()["review"]["unproved"])]
    {
        assert_eq!(unproved["reason"], "concealed");
        assert_eq!(unproved["side"]["at"], "$.permissions[0]");
        for secret in ["data-entry@1/globex", "/globex", "acme-news"] {
            assert!(!answer.body.contains(secret), "{secret}: {}", answer.body);
        }
    }
    let pointers = refused.pointers();
    assert!(pointers.iter().all(|pointer| pointer == "/permissions/0"), "{pointers:?}");
}

/// What a platform's ceiling lets a tenant have, and no more.
async fn a_tenants_own_version_stays_below_its_ceiling(world: Administered) {
    let ada = world.admin("ada", "acme").await;
    let writing = json!({ "role": "readwrite", "cache": "reports", "item": { "keyPrefix": "{{tenant.id}}:" } });
    let above = document(&[reading("reports"), writing]);
    let answer = publish(&ada, ACME, Seen::Nothing, &above).await.expect_problem(422, "refused");
    assert_eq!(answer.pointers(), ["/permissions/3"]);
    assert_eq!(answer.json()["review"]["excess"][0]["at"], "$.permissions[3]");
    let mut long = document(&[]);
    long["expires_in"] = json!(3600);
    let answer = publish(&ada, ACME, Seen::Nothing, &long).await.expect_problem(422, "refused");
    assert_eq!(answer.pointers(), ["/expires_in"]);
    ada.get(ACME).await.expect_problem(404, "not-found");
    publish(&ada, ACME, Seen::Nothing, &document(&[reading("reports")])).await.expect(201);
}

async fn a_role_without_a_ceiling_is_nobodys_own(world: Administered) {
    for (desk, role) in [
        (world.admin("ada", "acme").await, "clerk"),
        (world.admin("root", "platform").await, "platform-admin"),
    ] {
        let template = format!("/roles/{role}/tenants/acme/template");
        let scope = json!({ "scope": ["reports:read"] });
        publish(&desk, &template, Seen::Nothing, &scope)
            .await
            .expect_problem(409, "not-overridable");
        let path = format!("{template}/draft");
        let answer = desk.call(Method::PUT, &path, Seen::Nothing, Some("{}".to_owned())).await;
        answer.expect_problem(409, "not-overridable");
        let answer = desk.post(&format!("{template}/review"), &json!({ "document": scope })).await;
        answer.expect_problem(409, "not-overridable");
    }
}

async fn a_request_is_read_strictly(world: Administered) {
    let root = world.admin("root", "platform").await;
    let path = format!("{BASE}/publish");
    let good = publication(&document(&[reading("b")]));
    let change = |name: &str, value: Option<Value>| {
        let mut body = good.clone();
        match value {
            Some(value) => body[name] = value,
            None => drop(body.as_object_mut().unwrap().remove(name)),
        }
        body.to_string()
    };
    let twice = good.to_string().replacen("\"reason\":", "\"reason\":\"y\",\"reason\":", 1);
    let bad = [
        change("document", None),
        change("reason", None),
        change("reason", Some(json!(1))),
        change("reason", Some(json!(""))),
        change("reason", Some(json!(" "))),
        change("reason", Some(json!("x".repeat(1025)))),
        change("draft", Some(json!(1))),
        change("version", Some(json!(1))),
        change("confirm_widening", Some(json!("yes"))),
        change("more", Some(json!(1))),
        twice,
        String::new(),
        "[]".to_owned(),
    ];
    for body in bad {
        let answer = root.call(Method::POST, &path, FIRST, Some(body.clone())).await;
        assert_eq!(answer.expect_problem(400, "invalid-request").header("etag"), "", "{body}");
    }
    let browser = world.browser();
    let request = root.request(&browser, Method::POST, &path).header("if-match", "\"1\"");
    let request = request.header("content-type", "text/plain").body(good.to_string());
    browser.send(request).await.expect_problem(415, "unsupported-media-type");
    // A draft may be too long for a template, and not much longer.
    let draft = format!("{BASE}/draft");
    let put = |size: usize| root.call(Method::PUT, &draft, Seen::Nothing, Some("x".repeat(size)));
    put(256 * 1024 + 1).await.expect_problem(413, "body-too-large");
    put(300 * 1024).await.expect_problem(413, "body-too-large");
    let long = put(256 * 1024).await.expect(201);
    let padded = format!("{good}{}", " ".repeat(288 * 1024));
    let answer = root.call(Method::POST, &path, FIRST, Some(padded)).await;
    answer.expect_problem(413, "body-too-large");
    let candidate = json!({ "draft": long.json()["revision"] });
    let review = root.post(&format!("{BASE}/review"), &candidate).await.expect(200).json();
    assert!(review["errors"][0]["message"].as_str().unwrap().contains("64 KiB"), "{review}");
    for how in [json!("explode"), json!(null)] {
        let body = json!({ "how": how, "reason": "x" });
        let answer = root.post(&format!("{BASE}/versions/1/recall"), &body).await;
        answer.expect_problem(400, "invalid-request");
    }
    let body = json!({ "how": "revoke", "reason": "" });
    let answer = root.post(&format!("{BASE}/versions/1/recall"), &body).await;
    assert_eq!(answer.expect_problem(400, "invalid-request").pointers(), ["/reason"]);
    for query in ["limit=0", "limit=101", "limit=x", "before=x", "before=1&before=2", "limit=%zz"] {
        let answer = root.get(&format!("{BASE}/versions?{query}")).await;
        answer.expect_problem(400, "invalid-request");
    }
    for query in ["", "?from=1", "?from=x&to=1"] {
        root.get(&format!("{BASE}/diff{query}")).await.expect_problem(400, "invalid-request");
    }
    root.get("/roles/data-entry/tenants?after=A").await.expect_problem(400, "invalid-request");
    assert_eq!(root.get(BASE).await.expect(200).header("etag"), "\"1\"");
}

async fn a_review_changes_nothing(world: Administered) {
    let root = world.admin("root", "platform").await;
    for candidate in [json!({ "document": document(&[reading("b")]) }), json!({ "version": 1 })] {
        let review = root.post(&format!("{BASE}/review"), &candidate).await.expect(200).json();
        assert_eq!(review["passes"], true);
        assert!(
            review["findings"].as_array().unwrap().iter().all(|one| one["pointer"].is_string())
        );
    }
    for neither in [json!({}), json!({ "version": 1, "draft": 1 })] {
        let answer = root.post(&format!("{BASE}/review"), &neither).await;
        answer.expect_problem(400, "invalid-request");
    }
    let missing = root.post(&format!("{BASE}/review"), &json!({ "version": 2 })).await;
    missing.expect_problem(404, "not-found");
    assert_eq!(root.get(BASE).await.expect(200).header("etag"), "\"1\"");
    let history = root.get(&format!("{BASE}/versions")).await.expect(200).json();
    assert_eq!(history["versions"].as_array().unwrap().len(), 1);
}
