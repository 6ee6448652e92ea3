//! What is revoked by hand: every target, over HTTP and from the command line, on one node and on several.

use chrono::{SecondsFormat, TimeDelta};
use rolemint::database::{self, log};
use rolemint::domain::audit::EventKind;
use rolemint::domain::ids::SessionId;
use rolemint::domain::revocation::RevocationTarget;
use rolemint::service::revocations::{Order, revoke};
use rolemint::service::templates::Author;
use serde_json::{Value, json};

use crate::harness::api::Administered;
use crate::harness::flow::{Request, claims, session_of};
use crate::harness::nodes::Nodes;
use crate::harness::world::World;
use crate::harness::{on_both_stores, on_embedded_stores, soon};

on_both_stores!(
    every_target_ends_what_it_names,
    a_tenants_admin_ends_what_is_her_tenants,
    what_was_revoked_is_listed,
    what_is_not_durable_is_not_acknowledged,
    whatever_was_minted_before_is_dead_and_whatever_comes_after_lives,
);
on_embedded_stores!(what_cannot_be_revoked_is_refused, the_command_line_revokes_without_a_server);

async fn globex(world: &World) -> Value {
    world.sign_in_at(&Request::web().with("tenant", "globex"), "gil").await
}

/// What ends these tokens, by each target; and whether it ends their session, too.
fn targets(tokens: &Value) -> Vec<(&'static str, String, bool)> {
    let claims = claims(&tokens["access_token"]);
    let text = |name: &str| claims[name].as_str().unwrap().to_owned();
    vec![
        ("token", text("jti"), false),
        ("session", text("sid"), true),
        ("subject", text("sub"), true),
        ("client", text("client_id"), true),
        ("tenant", text("tenant"), true),
        ("provider", "corp".to_owned(), true),
        ("role", "data-entry".to_owned(), false),
        ("template_version", "data-entry@1".to_owned(), false),
    ]
}

async fn every_target_ends_what_it_names(world: Administered) {
    let mut position = 0;
    let first = world.sign_in("dana").await;
    for (number, (target, ..)) in targets(&first).into_iter().enumerate() {
        let (tokens, other) = (world.sign_in("dana").await, globex(&world).await);
        let root = world.admin("root", "platform").await;
        let (_, value, ends_session) = targets(&tokens).swap_remove(number);
        let order = json!({ "target": target, "value": value, "reason": "a test" });
        let done = root.post("/revocations", &order).await.expect(201).json();
        position += 1;
        assert_eq!((&done["position"], &done["value"]), (&json!(position), &json!(value)));
        assert!(!world.is_active(&tokens["access_token"]).await, "{target}");
        let refreshed = world.refresh("web", &tokens["refresh_token"]).await;
        if ends_session {
            refreshed.expect_error(400, "invalid_grant");
        } else {
            // Others are given to a session that lives.
            let refreshed = refreshed.expect(200).json();
            assert!(world.is_active(&refreshed["access_token"]).await, "{target}");
        }
        let wide = ["client", "provider", "role", "template_version"].contains(&target);
        assert_eq!(world.is_active(&other["access_token"]).await, !wide, "{target}");
        // Signing in anew is all it takes.
        let again = world.sign_in("dana").await;
        assert!(world.is_active(&again["access_token"]).await, "{target}");
        world.refresh("web", &again["refresh_token"]).await.expect(200);
    }
    let (before, other) = (world.sign_in("dana").await, globex(&world).await);
    world.clock.advance(TimeDelta::seconds(2));
    let moment = world.clock.now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let root = world.admin("root", "platform").await;
    let order =
        json!({ "target": "before", "value": moment, "tenant": "acme", "reason": "a test" });
    root.post("/revocations", &order).await.expect(201);
    assert!(!world.is_active(&before["access_token"]).await);
    world.refresh("web", &before["refresh_token"]).await.expect_error(400, "invalid_grant");
    assert!(world.is_active(&other["access_token"]).await, "another tenant's");
    let after = world.sign_in("dana").await;
    assert!(world.is_active(&after["access_token"]).await);
    let database = world.database().await;
    let events = database.read(|c| database::audit::count(c, EventKind::Revoked)).await.unwrap();
    assert_eq!(events, position + 1);
}

async fn a_tenants_admin_ends_what_is_her_tenants(world: Administered) {
    for (target, value) in [
        ("client", "web"),
        ("provider", "corp"),
        ("role", "data-entry"),
        ("template_version", "data-entry@1"),
        ("tenant", "acme"),
    ] {
        let (dana, gil) = (world.sign_in("dana").await, globex(&world).await);
        let ada = world.admin("ada", "acme").await;
        let order = json!({ "target": target, "value": value, "reason": "a test" });
        let done = ada.post("/revocations", &order).await.expect(201).json();
        assert_eq!(done["tenant"], "acme", "it is filled in");
        assert!(!world.is_active(&dana["access_token"]).await, "{target}");
        assert!(world.is_active(&gil["access_token"]).await, "{target}");
        world.refresh("web", &gil["refresh_token"]).await.expect(200);
    }
    // Another tenant's she can neither name nor mean.
    let gil = globex(&world).await;
    let ada = world.admin("ada", "acme").await;
    let before = head(&world).await;
    for order in [
        json!({ "target": "client", "value": "web", "tenant": "globex", "reason": "r" }),
        json!({ "target": "tenant", "value": "globex", "reason": "r" }),
        json!({ "target": "tenant", "value": "globex", "tenant": "acme", "reason": "r" }),
        json!({ "target": "session", "value": claims(&gil["access_token"])["sid"], "reason": "r" }),
        json!({ "target": "session", "value": SessionId::new([7; 16]), "reason": "r" }),
    ] {
        ada.post("/revocations", &order).await.expect_problem(404, "not-found");
    }
    assert_eq!(head(&world).await, before, "nothing was written");
    // Nor does a token's or a person's name reach further than her tenant.
    for (target, claim) in [("token", "jti"), ("subject", "sub")] {
        let value = &claims(&gil["access_token"])[claim];
        let order = json!({ "target": target, "value": value, "reason": "r" });
        ada.post("/revocations", &order).await.expect(201);
    }
    assert!(world.is_active(&gil["access_token"]).await);
    world.refresh("web", &gil["refresh_token"]).await.expect(200);
}

/// The position of the log's last entry.
async fn head(world: &World) -> u64 {
    let newest = world.database().await.read(|c| log::list_recorded(c, None, None, 1)).await;
    newest.unwrap().first().map_or(0, |entry| entry.position)
}

async fn what_cannot_be_revoked_is_refused(world: Administered) {
    let root = world.admin("root", "platform").await;
    let soon = (world.clock.now() + TimeDelta::seconds(2)).to_rfc3339();
    for (target, value, reason, pointer) in [
        ("everything", "x", "r", "/target"),
        ("template_version_and_sessions", "data-entry@1", "r", "/target"),
        ("session", "x", "r", "/value"),
        ("token", "", "r", "/value"),
        ("tenant", "Acme", "r", "/value"),
        ("template_version", "data-entry", "r", "/value"),
        ("api_key", "k key", "r", "/value"),
        ("before", "yesterday", "r", "/value"),
        ("before", soon.as_str(), "r", "/value"),
        ("role", "admin", "", "/reason"),
        ("role", "admin", "a\u{0}b", "/reason"),
    ] {
        let order = json!({ "target": target, "value": value, "reason": reason });
        let refused = root.post("/revocations", &order).await;
        let refused = refused.expect_problem(400, "invalid-request");
        assert_eq!(refused.pointers(), [pointer], "{target} {value}");
    }
    let unknown = json!({ "target": "role", "value": "admin", "reason": "r", "why": "r" });
    root.post("/revocations", &unknown).await.expect_problem(400, "invalid-request");
    assert_eq!(head(&world).await, 0, "nothing was written");
}

async fn what_was_revoked_is_listed(world: Administered) {
    let root = world.admin("root", "platform").await;
    for (role, tenant) in
        [("a", json!(null)), ("b", json!("acme")), ("c", json!("globex")), ("d", json!("acme"))]
    {
        let order = json!({ "target": "role", "value": role, "tenant": tenant, "reason": "why" });
        root.post("/revocations", &order).await.expect(201);
    }
    let roles = |page: &Value| -> Vec<String> {
        let entries = page["revocations"].as_array().unwrap();
        entries.iter().map(|entry| entry["value"].as_str().unwrap().to_owned()).collect()
    };
    let page = root.get("/revocations?limit=3").await.expect(200).json();
    assert_eq!(roles(&page), ["d", "c", "b"]);
    let entry = &page["revocations"][0];
    assert_eq!((&entry["target"], &entry["tenant"]), (&json!("role"), &json!("acme")));
    assert_eq!((&entry["position"], &entry["reason"]), (&json!(4), &json!("why")));
    assert_eq!(entry["by"], claims(&json!(root.token))["sub"]);
    let next = &page["next"];
    let page = root.get(&format!("/revocations?limit=3&before={next}")).await.expect(200).json();
    assert_eq!((roles(&page), &page["next"]), (vec!["a".to_owned()], &json!(null)));
    let page = root.get("/revocations?tenant=globex").await.expect(200).json();
    assert_eq!(roles(&page), ["c"]);
    let ada = world.admin("ada", "acme").await;
    let page = ada.get("/revocations").await.expect(200).json();
    assert_eq!(roles(&page), ["d", "b"]);
    ada.get("/revocations?tenant=globex").await.expect_problem(404, "not-found");
}

async fn what_is_not_durable_is_not_acknowledged(world: Administered) {
    let dana = world.sign_in("dana").await;
    let root = world.admin("root", "platform").await;
    // There is nowhere to write to.
    world.database().await.revert_all_migrations().await.unwrap();
    let order = json!({ "target": "tenant", "value": "acme", "reason": "why" });
    root.post("/revocations", &order).await.expect_problem(503, "unavailable");
    let path = format!("/sessions/{}/revoke", session_of(&dana["access_token"]));
    root.post(&path, &json!({ "reason": "why" })).await.expect_problem(503, "unavailable");
}

async fn the_command_line_revokes_without_a_server(mut world: World) {
    let (dana, gil) = (world.sign_in("dana").await, globex(&world).await);
    world.stop().await;
    let session = session_of(&dana["access_token"]).to_string();
    let wrong = ["revoke", "session", &session, "--tenant", "globex", "--reason", "why"];
    let said = world.command(&wrong).failure();
    assert!(said.contains("there is no such session in that tenant"), "{said}");
    let arguments = ["revoke", "session", &session, "--reason", "left", "--by", "ops"];
    let said = world.command(&arguments).success();
    assert!(said.contains(&format!("session {session} is revoked: revocation 1")), "{said}");
    let said = world.command(&["session", "show", &session]).success();
    assert!(said.contains("revoked by ops: left"), "{said}");
    world.start().await;
    assert!(!world.is_active(&dana["access_token"]).await);
    world.refresh("web", &dana["refresh_token"]).await.expect_error(400, "invalid_grant");
    assert!(world.is_active(&gil["access_token"]).await);
    // While it runs, it hears of it.
    let arguments = ["revoke", "tenant", "globex", "--reason", "left"];
    world.command(&arguments).success();
    soon("the end", async || (!world.is_active(&gil["access_token"]).await).then_some(())).await;
}

async fn is_active(nodes: &Nodes, node: usize, token: &Value) -> bool {
    nodes.introspect(node, token).await.expect(200).json()["active"].as_bool().unwrap()
}

/// An entry is committed by somebody else: no node has applied it when it is acknowledged.
async fn whatever_was_minted_before_is_dead_and_whatever_comes_after_lives(nodes: Nodes) {
    let world = &nodes.world;
    let database = world.database().await;
    let first = world.sign_in("dana").await;
    for (number, (kind, ..)) in targets(&first).into_iter().enumerate() {
        let session = world.sign_in("dana").await;
        let (_, value, ends_session) = targets(&session).swap_remove(number);
        // What each node has minted of it, by its own clock.
        let (mut minted, mut newest) = (Vec::new(), session["refresh_token"].clone());
        for node in 0..nodes.count() {
            let tokens = nodes.refresh(node, "web", &newest).await.expect(200).json();
            newest = tokens["refresh_token"].clone();
            minted.push(tokens["access_token"].clone());
        }
        if kind == "token" {
            minted = vec![session["access_token"].clone()];
        }
        let target = RevocationTarget::parse(kind, &value, world.clock.now()).unwrap();
        let author = Author { name: "ops".into(), subject: None, reason: "a test".into() };
        let order = Order { target, tenant: Some("acme".parse().unwrap()), author };
        revoke(&database, &order, world.clock.now()).await.unwrap();

        // Acknowledged: whoever signs in from here on is not hit, on no node and at no time.
        let after = world.sign_in("dana").await;
        for node in 0..nodes.count() {
            assert!(is_active(&nodes, node, &after["access_token"]).await, "{kind} on {node}");
        }
        for node in 0..nodes.count() {
            for token in &minted {
                let dead = async || (!is_active(&nodes, node, token).await).then_some(());
                soon(&format!("the end of a {kind} on node {node}"), dead).await;
            }
            let refreshed = nodes.refresh(node, "web", &newest).await;
            if ends_session {
                refreshed.expect_error(400, "invalid_grant");
                continue;
            }
            // The node has applied it: what it mints now is not hit, on the others neither.
            let refreshed = refreshed.expect(200).json();
            newest = refreshed["refresh_token"].clone();
            for other in 0..nodes.count() {
                let token = &refreshed["access_token"];
                assert!(is_active(&nodes, other, token).await, "{kind}: of {node} on {other}");
            }
        }
        let mut newest = after["refresh_token"].clone();
        for node in 0..nodes.count() {
            assert!(is_active(&nodes, node, &after["access_token"]).await, "{kind} on {node}");
            let tokens = nodes.refresh(node, "web", &newest).await.expect(200).json();
            newest = tokens["refresh_token"].clone();
        }
    }
}
