//! The life of a role template over `/api/v1`: drafts, review, publishing, history, taking back.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::api::{
    ACME, Administered, BASE, Desk, FIRST, Seen, document, publish, reading,
};
use crate::harness::flow::{Request, claims};
use crate::harness::{on_both_stores, on_embedded_stores, soon};

on_both_stores!(
    a_template_lives_from_draft_to_recall,
    of_two_admins_at_once_one_publishes,
    a_tenants_own_version_counts_for_that_tenant_alone,
    a_draft_is_nobodys_to_overwrite,
    what_a_version_made_is_revoked,
);
on_embedded_stores!(
    history_comes_in_parts,
    what_a_version_made_is_let_expire_or_refreshed,
    an_own_version_is_withdrawn,
);

/// Two servers share no embedded store.
mod a_version_reaches_another_node {
    #[test]
    fn postgres_redis() {
        let pair = crate::harness::Pair::PostgresRedis;
        crate::harness::on(pair, super::a_version_reaches_another_node);
    }
}

fn templates(token: &Value) -> Value {
    claims(token)["tpl"].clone()
}

/// The caches whose items a token may read.
fn caches(token: &Value) -> Vec<String> {
    let claims = claims(token);
    let details = claims["authorization_details"].as_array().unwrap();
    let of_items = details.iter().filter(|detail| detail["type"] == "cache");
    of_items.map(|detail| detail["cache"].as_str().unwrap().to_owned()).collect()
}

async fn a_template_lives_from_draft_to_recall(world: Administered) {
    let root = world.admin("root", "platform").await;
    let dana = world.sign_in("dana").await;
    assert_eq!(templates(&dana["access_token"]), json!(["data-entry@1"]));
    let refresh = async |tokens: &Value| {
        world.refresh("web", &tokens["refresh_token"]).await.expect(200).json()
    };

    let published = root.get(BASE).await.expect(200);
    assert_eq!(published.header("etag"), "\"1\"");
    assert_eq!(published.header("cache-control"), "no-store");
    assert!(published.json()["source"].as_str().unwrap().contains("calendar-events"));

    // A draft may have mistakes; a review says where.
    let path = format!("{BASE}/draft");
    let text = "{\n  \"permissions\": [\n    { \"role\": \"readonly\" }\n  ]\n}";
    let draft =
        root.call(Method::PUT, &path, Seen::Nothing, Some(text.to_owned())).await.expect(201);
    assert_eq!(draft.json()["source"], text, "as it was sent");
    let revision = draft.json()["revision"].clone();
    assert_eq!(draft.header("etag"), format!("\"{revision}\""));
    let review = root.post(&format!("{BASE}/review"), &json!({ "draft": revision })).await;
    let review = review.expect(200).json();
    assert_eq!(review["passes"], false);
    let error = &review["errors"][0];
    let place = (&error["pointer"], &error["path"], &error["line"], &error["column"]);
    let expected = (&json!("/permissions/0"), &json!("$.permissions[0]"), &json!(3), &json!(5));
    assert_eq!(place, expected);

    let better = document(&[reading("reports")]).to_string();
    let tag = draft.header("etag").to_owned();
    let draft = root.call(Method::PUT, &path, Seen::Tag(&tag), Some(better)).await.expect(200);
    let revision = draft.json()["revision"].clone();
    assert_eq!(root.get(&path).await.expect(200).header("etag"), format!("\"{revision}\""));
    let review = root.post(&format!("{BASE}/review"), &json!({ "draft": revision })).await;
    let review = review.expect(200).json();
    assert_eq!((&review["passes"], &review["widens"]), (&json!(true), &json!(true)));
    assert_eq!(review["errors"], json!([]));
    assert!(review["proof"]["templates"].as_u64().unwrap() >= 3, "{review}");
    assert_eq!(review["diff"]["changes"][0]["kind"], "gained");
    assert_eq!(review["diff"]["changes"][0]["after"]["selectors"]["cache"], "reports");

    let body = json!({ "draft": revision, "reason": "Reports, too", "confirm_widening": true });
    let answer = root.post_seen(&format!("{BASE}/publish"), FIRST, &body).await.expect(201);
    assert_eq!(answer.header("location"), "/api/v1/roles/data-entry/template/versions/2");
    assert_eq!((answer.header("etag"), &answer.json()["tpl"]), ("\"2\"", &json!("data-entry@2")));
    root.get(&path).await.expect_problem(404, "not-found");

    assert_history(&root, &published.json()).await;
    // At the next refresh, at the latest.
    let second = refresh(&dana).await;
    assert_eq!(templates(&second["access_token"]), json!(["data-entry@2"]));
    assert_eq!(caches(&second["access_token"]), ["calendar-events", "reports"]);
    assert!(world.is_active(&dana["access_token"]).await, "what was minted lives on");

    // What narrows needs no confirmation.
    let body = json!({ "version": 1, "reason": "Too much" });
    let answer = root.post_seen(&format!("{BASE}/rollback"), Seen::Tag("\"2\""), &body).await;
    assert_eq!(answer.expect(201).json()["tpl"], "data-entry@3");
    let third = refresh(&second).await;
    assert_eq!(templates(&third["access_token"]), json!(["data-entry@3"]));
    assert_eq!(caches(&third["access_token"]), ["calendar-events"]);
    assert_eq!(root.get(BASE).await.json()["source"], published.json()["source"]);

    let body = json!({ "how": "refresh_now", "reason": "It was too much" });
    let answer = root.post(&format!("{BASE}/versions/2/recall"), &body).await.expect(200).json();
    assert_eq!(answer["tpl"], "data-entry@2");
    assert!(answer["position"].is_u64(), "{answer}");
    assert!(!world.is_active(&second["access_token"]).await);
    assert!(world.is_active(&third["access_token"]).await);
    assert!(world.is_active(&dana["access_token"]).await);
    refresh(&third).await;
}

/// Of two versions, with who, when, why and what.
async fn assert_history(root: &Desk<'_>, first: &Value) {
    let history = root.get(&format!("{BASE}/versions")).await.expect(200).json();
    let [newest, oldest] = history["versions"].as_array().unwrap().as_slice() else {
        panic!("{history}")
    };
    let root_id = claims(&json!(root.token))["sub"].clone();
    assert_eq!((&newest["version"], &newest["state"]), (&json!(2), &json!("published")));
    assert_eq!((&newest["published_by"], &newest["created_by"]), (&root_id, &root_id));
    assert_eq!(newest["reason"], "Reports, too");
    assert_eq!(newest["diff"]["changes"].as_array().unwrap().len(), 1);
    assert_eq!((&oldest["version"], &oldest["state"]), (&json!(1), &json!("superseded")));
    assert_eq!(oldest["superseded_at"], newest["published_at"]);
    let diff = root.get(&format!("{BASE}/diff?from=2&to=1")).await.expect(200).json();
    assert_eq!((&diff["from"], &diff["to"]), (&json!("data-entry@2"), &json!("data-entry@1")));
    assert_eq!(
        (&diff["widens"], &diff["diff"]["changes"][0]["kind"]),
        (&json!(false), &json!("lost"))
    );
    let old = root.get(&format!("{BASE}/versions/1")).await.expect(200).json();
    assert_eq!(old["source"], first["source"]);
}

async fn of_two_admins_at_once_one_publishes(world: Administered) {
    let (root, petra) =
        (world.admin("root", "platform").await, world.admin("petra", "platform").await);
    let (one, other) = (document(&[reading("a")]), document(&[reading("b")]));
    let both =
        tokio::join!(publish(&root, BASE, FIRST, &one), publish(&petra, BASE, FIRST, &other),);
    let (won, lost) = if both.0.status == 201 { both } else { (both.1, both.0) };
    assert_eq!(won.expect(201).json()["version"], 2);
    let lost = lost.expect_problem(412, "precondition-failed");
    assert!(lost.body.contains("version 2 is published now"), "{}", lost.body);
    let published = root.get(BASE).await.expect(200).json();
    let history = root.get(&format!("{BASE}/versions")).await.expect(200).json();
    assert_eq!(history["versions"].as_array().unwrap().len(), 2);
    // Nothing of the other's: neither a version nor a draft, and the first stays what it was.
    let (one, other) = (one.to_string(), other.to_string());
    let by_root = published["source"] == json!(one);
    let (winner, by) = if by_root { (one, &root) } else { (other, &petra) };
    assert_eq!(published["source"], winner);
    assert_eq!(published["published_by"], claims(&json!(by.token))["sub"]);
    root.get(&format!("{BASE}/draft")).await.expect_problem(404, "not-found");
    // Whoever looks again can go on.
    publish(&petra, BASE, Seen::Tag("\"2\""), &document(&[reading("c")])).await.expect(201);
}

async fn a_draft_is_nobodys_to_overwrite(world: Administered) {
    let (root, petra) =
        (world.admin("root", "platform").await, world.admin("petra", "platform").await);
    let path = format!("{BASE}/draft");
    let put = async |desk: &Desk<'_>, seen: Seen<'_>, text: &str| {
        desk.call(Method::PUT, &path, seen, Some(text.to_owned())).await
    };
    let first = put(&root, Seen::Nothing, "1").await.expect(201);
    put(&petra, Seen::Nothing, "2").await.expect_problem(412, "precondition-failed");
    let tag = first.header("etag").to_owned();
    let seen = Seen::Tag(&tag);
    let both = tokio::join!(put(&root, seen, "3"), put(&petra, seen, "4"));
    let mut statuses = [both.0.status, both.1.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    let kept = if both.0.status == 200 { "3" } else { "4" };
    let draft = root.get(&path).await.expect(200);
    assert_eq!(draft.json()["source"], kept);
    for stale in
        [seen, Seen::Tag("\"0\""), Seen::Tag("W/\"1\""), Seen::Tag("\"x\""), Seen::Tag("1")]
    {
        put(&petra, stale, "5").await.expect_problem(412, "precondition-failed");
        let answer = petra.call(Method::DELETE, &path, stale, None).await;
        answer.expect_problem(412, "precondition-failed");
    }
    // A draft that has changed is not published, nor reviewed as if it had not.
    let old: u64 = tag.trim_matches('"').parse().unwrap();
    let body = json!({ "draft": old, "reason": "why" });
    let answer = root.post_seen(&format!("{BASE}/publish"), FIRST, &body).await;
    answer.expect_problem(412, "precondition-failed");
    let answer = root.post(&format!("{BASE}/review"), &json!({ "draft": old })).await;
    answer.expect_problem(412, "precondition-failed");
    assert_eq!(root.get(&path).await.expect(200).json()["source"], kept);
    let tag = draft.header("etag");
    root.call(Method::DELETE, &path, Seen::Tag(tag), None).await.expect(204);
    root.get(&path).await.expect_problem(404, "not-found");
    // Another one later is never taken for this one.
    let later = put(&root, Seen::Nothing, "6").await.expect(201);
    assert_ne!(later.header("etag"), tag);
    put(&petra, Seen::Tag(tag), "7").await.expect_problem(412, "precondition-failed");
}

async fn a_tenants_own_version_counts_for_that_tenant_alone(world: Administered) {
    let (ada, root) = (world.admin("ada", "acme").await, world.admin("root", "platform").await);
    let of_globex = Request::web().with("tenant", "globex");
    let (dana, gil) = (world.sign_in("dana").await, world.sign_in_at(&of_globex, "gil").await);
    let own = document(&[reading("reports")]);
    let answer = publish(&ada, ACME, Seen::Nothing, &own).await.expect(201);
    assert_eq!(answer.json()["tpl"], "data-entry@1/acme");
    assert_eq!(
        answer.header("location"),
        "/api/v1/roles/data-entry/tenants/acme/template/versions/1"
    );
    let refresh = async |tokens: &Value| {
        world.refresh("web", &tokens["refresh_token"]).await.expect(200).json()
    };
    let (dana, gil) = (refresh(&dana).await, refresh(&gil).await);
    assert_eq!(templates(&dana["access_token"]), json!(["data-entry@1/acme"]));
    assert_eq!(caches(&dana["access_token"]), ["calendar-events", "reports"]);
    assert_eq!(templates(&gil["access_token"]), json!(["data-entry@1"]));
    assert_eq!(caches(&gil["access_token"]), ["calendar-events"]);

    // The platform sees who has their own, and how it differs.
    let shown = root.get("/roles/data-entry/tenants").await.expect(200).json();
    assert_eq!(shown["overrides"].as_array().unwrap().len(), 1);
    assert_eq!(shown["overrides"][0]["tenant"], "acme");
    assert_eq!(shown["overrides"][0]["diff"]["changes"][0]["kind"], "gained");
    assert_eq!(root.get("/roles/data-entry").await.expect(200).json()["overrides"], 1);
    // And who does, after a new base.
    let answer = publish(&root, BASE, FIRST, &document(&[reading("b")])).await.expect(201).json();
    assert_eq!(
        (&answer["overrides"], &answer["differing"][0]["tenant"]),
        (&json!(1), &json!("acme"))
    );
    let (dana, gil) = (refresh(&dana).await, refresh(&gil).await);
    assert_eq!(templates(&dana["access_token"]), json!(["data-entry@1/acme"]));
    assert_eq!(templates(&gil["access_token"]), json!(["data-entry@2"]));
}

async fn an_own_version_is_withdrawn(world: Administered) {
    let ada = world.admin("ada", "acme").await;
    let dana = world.sign_in("dana").await;
    let less = json!({ "expires_in": 900, "permissions": [reading("calendar-events")] });
    publish(&ada, ACME, Seen::Nothing, &less).await.expect(201);
    let path = format!("{ACME}/withdraw");
    // The base gives more.
    let body = json!({ "reason": "back to what all have" });
    let answer = ada.post_seen(&path, FIRST, &body).await.expect_problem(409, "needs-confirmation");
    assert_eq!(answer.json()["review"]["diff"]["changes"][0]["kind"], "gained");
    ada.get(ACME).await.expect(200);
    let body = json!({ "reason": "back to what all have", "confirm_widening": true });
    ada.post_seen(&path, Seen::Tag("\"2\""), &body)
        .await
        .expect_problem(412, "precondition-failed");
    ada.post_seen(&path, FIRST, &body).await.expect(204);
    ada.get(ACME).await.expect_problem(404, "not-found");
    ada.post_seen(&path, FIRST, &body).await.expect_problem(412, "precondition-failed");
    let dana = world.refresh("web", &dana["refresh_token"]).await.expect(200).json();
    assert_eq!(templates(&dana["access_token"]), json!(["data-entry@1"]));
    // Its history stays, and the next one has another number.
    let history = ada.get(&format!("{ACME}/versions")).await.expect(200).json();
    assert_eq!(history["versions"][0]["state"], "superseded");
    let answer = publish(&ada, ACME, Seen::Nothing, &document(&[])).await.expect(201);
    assert_eq!(answer.json()["tpl"], "data-entry@2/acme");
}

async fn what_a_version_made_is_revoked(world: Administered) {
    let root = world.admin("root", "platform").await;
    let of_first = world.sign_in("dana").await;
    let path = format!("{BASE}/versions/1/recall");
    publish(&root, BASE, FIRST, &document(&[reading("b")])).await.expect(201);
    let body = json!({ "how": "revoke", "reason": "It was wrong" });
    root.post(&path, &body).await.expect(200);
    assert!(!world.is_active(&of_first["access_token"]).await);
    let answer = world.refresh("web", &of_first["refresh_token"]).await;
    answer.expect_error(400, "invalid_grant");
    let new = world.sign_in("dana").await;
    assert!(world.is_active(&new["access_token"]).await);
    // Somebody without that role has nothing to fear.
    root.get(BASE).await.expect(200);
}

async fn what_a_version_made_is_let_expire_or_refreshed(world: Administered) {
    let root = world.admin("root", "platform").await;
    let dana = world.sign_in("dana").await;
    let path = format!("{BASE}/versions/1/recall");
    let body = json!({ "how": "let_expire", "reason": "Nobody is hurt" });
    let answer = root.post(&path, &body).await.expect(200).json();
    assert_eq!(answer["position"], Value::Null);
    assert!(world.is_active(&dana["access_token"]).await);
    let body = json!({ "how": "refresh_now", "reason": "At once" });
    root.post(&path, &body).await.expect(200);
    assert!(!world.is_active(&dana["access_token"]).await);
    let dana = world.refresh("web", &dana["refresh_token"]).await.expect(200).json();
    assert!(world.is_active(&dana["access_token"]).await);
}

async fn history_comes_in_parts(world: Administered) {
    let root = world.admin("root", "platform").await;
    for version in 1..5_u32 {
        let tag = format!("\"{version}\"");
        let document = document(&[reading(&format!("c{version}"))]);
        publish(&root, BASE, Seen::Tag(&tag), &document).await.expect(201);
    }
    let (mut seen, mut query) = (Vec::new(), String::new());
    loop {
        let page = root.get(&format!("{BASE}/versions?limit=2{query}")).await.expect(200).json();
        let versions = page["versions"].as_array().unwrap();
        assert!(versions.len() <= 2);
        seen.extend(versions.iter().map(|version| version["version"].as_u64().unwrap()));
        assert!(versions.iter().all(|version| version["diff"].is_object()));
        let Some(next) = page["next"].as_u64() else { break };
        query = format!("&before={next}");
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
}

async fn a_version_reaches_another_node(world: Administered) {
    let (node, there) = world.another_node().await;
    let root = world.admin("root", "platform").await;
    let refresh = async |token: &Value| {
        let form = [
            ("client_id", "web"),
            ("grant_type", "refresh_token"),
            ("refresh_token", token.as_str().unwrap()),
        ];
        there.post("/oauth2/token", &form).await.expect(200).json()
    };
    let dana = world.sign_in("dana").await;
    // The other one knows the role as it was.
    let known = refresh(&dana["refresh_token"]).await;
    assert_eq!(templates(&known["access_token"]), json!(["data-entry@1"]));
    publish(&root, BASE, FIRST, &document(&[reading("reports")])).await.expect(201);
    let known = std::sync::Mutex::new(known);
    soon("the new version at the other node", async || {
        let token = known.lock().unwrap()["refresh_token"].clone();
        let next = refresh(&token).await;
        let arrived = templates(&next["access_token"]) == json!(["data-entry@2"]);
        *known.lock().unwrap() = next;
        arrived.then_some(())
    })
    .await;
    node.stop().await.unwrap();
}
