//! Who is let in to `/api/v1`, and how far.

use chrono::TimeDelta;
use reqwest::Method;
use rolemint::http::routes::{ENDPOINTS, Guard};
use serde_json::json;

use crate::harness::api::{ACME, Administered, BASE, Desk, Seen};
use crate::harness::flow::{API, PORTAL_URI, Request, claims};
use crate::harness::http::parameter;
use crate::harness::{on_both_stores, on_embedded_stores, soon};

on_both_stores!(a_token_that_is_over_administers_nothing, a_tenants_admin_reaches_her_own_tenant);
on_embedded_stores!(
    who_shows_no_good_token_is_told_nothing,
    a_token_for_somebody_else_administers_nothing,
    another_tenant_is_not_there,
    who_has_no_permission_is_refused,
    who_may_only_look_changes_nothing,
    a_platform_admin_reaches_every_tenant,
    what_is_not_there_is_not_found,
);

const GLOBEX: &str = "/roles/data-entry/tenants/globex/template";

async fn who_shows_no_good_token_is_told_nothing(world: Administered) {
    let tokens = world.sign_in("ada").await;
    let bad = [
        "x",
        "a.b.c",
        tokens["refresh_token"].as_str().unwrap(),
        tokens["id_token"].as_str().unwrap(),
    ];
    for token in bad {
        let desk = world.desk(token.to_owned());
        for path in [ACME, BASE, "/roles", "/roles/unknown"] {
            let answer = desk.get(path).await;
            let challenge = "Bearer realm=\"rolemint\", error=\"invalid_token\"";
            assert_eq!(answer.header("www-authenticate"), challenge);
            answer.expect_problem(401, "invalid-token");
        }
    }
    let browser = world.browser();
    let answer = browser.get(&format!("/api/v1{ACME}?access_token=x")).await;
    answer.expect_problem(401, "not-authenticated");
    let request = browser.request(Method::GET, &format!("/api/v1{ACME}"));
    let request = request.header("authorization", world.basic("backend"));
    browser.send(request).await.expect_problem(401, "not-authenticated");
}

async fn a_token_that_is_over_administers_nothing(world: Administered) {
    let tokens = world.sign_in("ada").await;
    let ada = world.desk(tokens["access_token"].as_str().unwrap().to_owned());
    let later = world.admin("ada", "acme").await;
    let path = "/tenants/acme/roles";
    ada.get(path).await.expect(200);
    world.revoke("web", &tokens["refresh_token"]).await.expect(200);
    ada.get(path).await.expect_problem(401, "invalid-token");
    later.get(path).await.expect(200);
    world.clock.advance(TimeDelta::seconds(900));
    later.get(path).await.expect_problem(401, "invalid-token");
}

async fn a_token_for_somebody_else_administers_nothing(mut world: Administered) {
    // Its resource servers are shown it, and could use it here.
    let request = Request::of("portal", PORTAL_URI);
    let tokens = world.sign_in_at(&request, "ada").await;
    let of_portal = tokens["access_token"].as_str().unwrap().to_owned();
    assert_eq!(world.introspect_as("api", &of_portal).await["active"], true);
    let answer = world.desk(of_portal).get("/tenants/acme/roles").await;
    answer.expect_problem(401, "invalid-token");
    // One that is for us too is shown to others all the same.
    let both = [world.issuer.clone(), API.to_owned()];
    let audiences = both.iter().cloned().map(toml::Value::String).collect();
    let portal = world.deployment.client("portal");
    portal.insert("audiences".to_owned(), toml::Value::Array(audiences));
    world.apply(&[]);
    let request = request.adding("resource", &both[0]).adding("resource", &both[1]);
    let token = soon("the new audiences", async || {
        let landing = world.landing(&request, "ada").await;
        parameter(&landing, "code")?;
        let tokens = world.sign_in_at(&request, "ada").await;
        (claims(&tokens["access_token"])["aud"] == json!(both)).then_some(tokens)
    });
    let token = token.await["access_token"].as_str().unwrap().to_owned();
    assert_eq!(world.introspect_as("backend", &token).await["active"], true);
    world.desk(token).get("/tenants/acme/roles").await.expect_problem(401, "invalid-token");
    let alone = request.without("resource").adding("resource", &both[0]);
    let tokens = world.sign_in_at(&alone, "ada").await;
    let token = tokens["access_token"].as_str().unwrap().to_owned();
    world.desk(token).get("/tenants/acme/roles").await.expect(200);
}

/// What there is for a template: with the method and whether it changes something.
fn template_endpoints() -> impl Iterator<Item = (Method, String)> {
    let below =
        |path: &'static str| path.strip_prefix("/api/v1/roles/{role}/tenants/{tenant}/template");
    ENDPOINTS.iter().filter_map(move |endpoint| {
        let path = below(endpoint.path)?.replace("{version}", "1");
        assert_eq!(endpoint.guard, Guard::Admin);
        Some((endpoint.method.parse().unwrap(), path))
    })
}

/// As much of a request as is looked at before who may do it.
async fn try_all(desk: &Desk<'_>, template: &str, status: u16, kind: &str) {
    let mut count = 0;
    for (method, path) in template_endpoints() {
        let path = format!("{template}{path}");
        let answer = desk.call(method, &path, Seen::Tag("\"1\""), Some("{}".into())).await;
        answer.expect_problem(status, kind);
        count += 1;
    }
    assert_eq!(count, 14);
}

async fn a_tenants_admin_reaches_her_own_tenant(world: Administered) {
    let ada = world.admin("ada", "acme").await;
    let shown = ada.get("/tenants/acme/roles").await.expect(200).json();
    let role = json!({ "role": "data-entry", "overridable": true, "published": null });
    assert!(shown["roles"].as_array().unwrap().contains(&role), "{shown}");
    assert!(!shown.to_string().contains("platform-admin"), "{shown}");
    let shown = ada.get("/roles/data-entry/tenants/acme").await.expect(200).json();
    assert_eq!(shown["base"]["version"], 1);
    assert!(shown["ceiling"].as_str().unwrap().contains("reports"));
    // Of a role that she cannot change she sees that there is one.
    let shown = ada.get("/roles/admin/tenants/acme").await.expect(200).json();
    assert_eq!((&shown["overridable"], &shown["base"]), (&json!(false), &json!(null)));
    let draft = json!({ "permissions": [] }).to_string();
    let path = format!("{ACME}/draft");
    ada.call(Method::PUT, &path, Seen::Nothing, Some(draft)).await.expect(201);
    ada.get(&path).await.expect(200);
}

async fn another_tenant_is_not_there(world: Administered) {
    let (ada, root) = (world.admin("ada", "acme").await, world.admin("root", "platform").await);
    // One that is there, one that is not, one that cannot be, and her own under another case.
    let mut answers = Vec::new();
    for tenant in ["globex", "initech", "platform", "a_b", "ACME", "acme%2F..", "*"] {
        let template = format!("/roles/data-entry/tenants/{tenant}/template");
        try_all(&ada, &template, 404, "not-found").await;
        for path in
            [format!("/roles/data-entry/tenants/{tenant}"), format!("/tenants/{tenant}/roles")]
        {
            answers.push(ada.get(&path).await.expect_problem(404, "not-found").body);
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "one answer for all: {answers:?}");
    // Nor when there is something.
    let document = json!({ "expires_in": 900, "scope": ["reports:read"] });
    let body = json!({ "document": document, "reason": "why", "confirm_widening": true });
    root.post_seen(&format!("{GLOBEX}/publish"), Seen::Nothing, &body).await.expect(201);
    root.get(GLOBEX).await.expect(200);
    assert_eq!(ada.get(GLOBEX).await.expect_problem(404, "not-found").body, answers[0]);
    // What is of all tenants, she may not either.
    try_base(&ada).await;
}

async fn try_base(desk: &Desk<'_>) {
    for (method, path) in template_endpoints().filter(|(_, path)| path != "/withdraw") {
        let path = format!("{BASE}{path}");
        let answer = desk.call(method, &path, Seen::Tag("\"1\""), Some("{}".into())).await;
        let challenge = "Bearer realm=\"rolemint\", error=\"insufficient_scope\"";
        assert_eq!(answer.header("www-authenticate"), challenge);
        answer.expect_problem(403, "forbidden");
    }
    for path in ["/roles", "/roles/data-entry", "/roles/data-entry/tenants"] {
        desk.get(path).await.expect_problem(403, "forbidden");
    }
}

async fn who_has_no_permission_is_refused(world: Administered) {
    let dana = world.admin("dana", "acme").await;
    try_all(&dana, ACME, 403, "forbidden").await;
    try_all(&dana, GLOBEX, 404, "not-found").await;
    try_base(&dana).await;
    // Whoever has narrowed a token to less cannot do more with it.
    let tokens = world.sign_in("ada").await;
    let less = json!([{ "type": "rolemint", "role": "manage", "area": "audit", "tenant": "acme" }]);
    let less = [("authorization_details", less.to_string())];
    let less: Vec<_> = less.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let tokens = world.refresh_for("web", &tokens["refresh_token"], &less).await.expect(200).json();
    let narrowed = world.desk(tokens["access_token"].as_str().unwrap().to_owned());
    try_all(&narrowed, ACME, 403, "forbidden").await;
}

async fn who_may_only_look_changes_nothing(world: Administered) {
    let otto = world.admin("otto", "acme").await;
    otto.get("/tenants/acme/roles").await.expect(200);
    otto.get("/roles/data-entry/tenants/acme").await.expect(200);
    otto.get(&format!("{ACME}/versions")).await.expect(200);
    let document = json!({ "document": { "scope": ["reports:read"] } });
    otto.post(&format!("{ACME}/review"), &document).await.expect(200);
    let changes =
        template_endpoints().filter(|(method, path)| *method != Method::GET && path != "/review");
    let mut count = 0;
    for (method, path) in changes {
        let path = format!("{ACME}{path}");
        let answer = otto.call(method, &path, Seen::Tag("\"1\""), Some("{}".into())).await;
        answer.expect_problem(403, "forbidden");
        count += 1;
    }
    assert_eq!(count, 8);
    otto.get(&format!("{GLOBEX}/versions")).await.expect_problem(404, "not-found");
}

async fn a_platform_admin_reaches_every_tenant(world: Administered) {
    let root = world.admin("root", "platform").await;
    let roles = root.get("/roles").await.expect(200).json();
    let names: Vec<_> =
        roles["roles"].as_array().unwrap().iter().map(|role| &role["role"]).collect();
    assert_eq!(names, ["admin", "auditor", "clerk", "data-entry", "platform-admin"]);
    root.get("/roles/data-entry").await.expect(200);
    root.get("/roles/data-entry/tenants").await.expect(200);
    root.get(BASE).await.expect(200);
    for tenant in ["acme", "globex"] {
        root.get(&format!("/tenants/{tenant}/roles")).await.expect(200);
        root.get(&format!("/roles/data-entry/tenants/{tenant}/template/versions"))
            .await
            .expect(200);
    }
}

async fn what_is_not_there_is_not_found(world: Administered) {
    let root = world.admin("root", "platform").await;
    let missing = [
        "/roles/unknown",
        "/roles/unknown/template",
        "/roles/unknown/tenants",
        "/roles/UPPER/template",
        "/roles/data-entry/template/draft",
        "/roles/data-entry/template/versions/2",
        "/roles/data-entry/template/versions/0",
        "/roles/data-entry/template/versions/x",
        "/roles/data-entry/template/diff?from=1&to=2",
        "/roles/data-entry/tenants/acme/template",
        "/roles/data-entry/tenants/unknown",
        "/roles/data-entry/tenants/unknown/template",
        "/tenants/unknown/roles",
    ];
    for path in missing {
        root.get(path).await.expect_problem(404, "not-found");
    }
    let recall = json!({ "how": "revoke", "reason": "why" });
    root.post(&format!("{BASE}/versions/2/recall"), &recall).await.expect_problem(404, "not-found");
}
