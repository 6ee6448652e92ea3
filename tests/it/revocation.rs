//! Ending what one holds, and nothing that is another's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use rolemint::database::{self, DbConnection};
use serde_json::{Value, json};

use crate::harness::flow::{ACCESS_TOKEN, PORTAL_URI, REDIRECT_URI, Request, forged, session_of};
use crate::harness::nodes::Nodes;
use crate::harness::world::World;
use crate::harness::{Pair, on, on_both_stores, on_embedded_stores, rounds};

on_both_stores!(
    a_refresh_token_ends_its_session,
    an_access_token_ends_itself_and_what_was_exchanged_from_it,
    another_clients_token_is_not_ended,
    whatever_a_refresh_races_nothing_of_a_revoked_session_lives,
);
on_embedded_stores!(
    what_is_unknown_is_as_good_as_ended,
    only_a_client_may_revoke,
    a_wrong_hint_still_ends_it,
    a_superseded_refresh_token_ends_its_session_too,
    what_is_over_by_its_time_adds_nothing_to_the_log,
);

async fn a_refresh_token_ends_its_session(world: World) {
    let tokens = world.sign_in("dana").await;
    let other = world.sign_in("dana").await;
    let refreshed = world.refresh("web", &tokens["refresh_token"]).await.expect(200).json();
    let token = refreshed["access_token"].as_str().unwrap();
    let child = world.exchange("backend", token, ACCESS_TOKEN, &[]).await.expect(200).json();

    let answer = world.revoke("web", &refreshed["refresh_token"]).await.expect(200);
    assert_eq!(answer.body, "");
    assert_eq!(answer.header("cache-control"), "no-store");
    for dead in [&tokens, &refreshed, &child] {
        assert!(!world.is_active(&dead["access_token"]).await);
        world.user_info(&dead["access_token"]).await.expect(401);
    }
    for dead in [&tokens, &refreshed] {
        world.refresh("web", &dead["refresh_token"]).await.expect_error(400, "invalid_grant");
    }
    let exchanged = world.exchange("backend", token, ACCESS_TOKEN, &[]).await;
    exchanged.expect_error(400, "invalid_request");
    let (session, database) = (session_of(&tokens["access_token"]), world.database().await);
    let reason = database.read(move |c| database::subjects::find_ended_reason(c, &session)).await;
    assert_eq!(reason.unwrap().as_deref(), Some("revoked by its client"));
    // Again is no error, and her other session lives.
    world.revoke("web", &refreshed["refresh_token"]).await.expect(200);
    assert!(world.is_active(&other["access_token"]).await);
    world.refresh("web", &other["refresh_token"]).await.expect(200);
}

async fn an_access_token_ends_itself_and_what_was_exchanged_from_it(world: World) {
    let tokens = world.sign_in("dana").await;
    let sibling = world.refresh("web", &tokens["refresh_token"]).await.expect(200).json();
    let exchange = async |parent: &Value| {
        let parent = parent["access_token"].as_str().unwrap();
        world.exchange("backend", parent, ACCESS_TOKEN, &[]).await.expect(200).json()
    };
    let child = exchange(&tokens).await;
    let grandchild = exchange(&child).await;
    let cousin = exchange(&sibling).await;
    for alive in [&tokens, &sibling, &child, &grandchild, &cousin] {
        assert!(world.is_active(&alive["access_token"]).await);
    }
    world.revoke("backend", &child["access_token"]).await.expect(200);
    assert!(!world.is_active(&child["access_token"]).await);
    assert!(!world.is_active(&grandchild["access_token"]).await);
    assert!(world.is_active(&tokens["access_token"]).await, "what it came from lives");
    let again = exchange(&tokens).await;

    world.revoke("web", &tokens["access_token"]).await.expect(200);
    for dead in [&tokens, &child, &grandchild, &again] {
        assert!(!world.is_active(&dead["access_token"]).await);
    }
    let parent = tokens["access_token"].as_str().unwrap();
    let refused = world.exchange("backend", parent, ACCESS_TOKEN, &[]).await;
    refused.expect_error(400, "invalid_request");
    for alive in [&sibling, &cousin] {
        assert!(world.is_active(&alive["access_token"]).await);
    }
    world.refresh("web", &sibling["refresh_token"]).await.expect(200);
}

async fn another_clients_token_is_not_ended(world: World) {
    let tokens = world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await;
    for thief in ["web", "backend", "api"] {
        for kind in ["access_token", "refresh_token"] {
            let answer = world.revoke(thief, &tokens[kind]).await;
            assert_eq!(answer.status, 400, "{thief}: {}", answer.body);
            answer.expect_error(400, "unauthorized_client");
        }
    }
    // A refresh token that only looks like the other client's is nobody's, and nobody is told more.
    let token = tokens["refresh_token"].as_str().unwrap();
    let swapped = format!("{}{}", &token[..token.len() - 8], "AAAAAAAA");
    let answer = world.revoke("web", &json!(swapped)).await;
    assert_eq!(answer.expect(200).body, "");
    let access_token = tokens["access_token"].as_str().unwrap();
    assert_eq!(world.introspect_as("portal", access_token).await["active"], true);
    world.refresh("portal", &tokens["refresh_token"]).await.expect(200);
    // Without its secret the client itself is a stranger.
    let form = [("client_id", "portal"), ("token", access_token)];
    world.browser().post("/oauth2/revoke", &form).await.expect_error(401, "invalid_client");
    assert_eq!(world.introspect_as("portal", access_token).await["active"], true);
}

/// A token store that is away is never taken for one that knows nothing.
#[test]
fn nothing_is_answered_without_the_token_store() {
    on(Pair::PostgresRedis, async |mut world: World| {
        let (tokens, other) = (world.sign_in("dana").await, world.sign_in("dana").await);
        let code = world.code(&Request::web(), "dana").await;
        world.stores().redis.as_mut().unwrap().kill();
        let form = [("token", tokens["access_token"].as_str().unwrap())];
        let answers = [
            ("introspection", world.post_as("backend", "/oauth2/introspect", &form).await),
            ("userinfo", world.user_info(&tokens["access_token"]).await),
            ("a refresh", world.refresh("web", &tokens["refresh_token"]).await),
            ("a code", world.redeem(&code).await),
            ("readiness", world.browser().get("/readyz").await),
        ];
        for (what, answer) in answers {
            assert_eq!(answer.status, 503, "{what}: {}", answer.body);
            assert_eq!(answer.header("retry-after"), "1", "{what}");
            assert!(!answer.body.contains("edis"), "{what}: {}", answer.body);
        }
        world.browser().get("/healthz").await.expect(200);
        // Whose a refresh token is it proves itself, and the log ends its session.
        world.revoke("web", &other["refresh_token"]).await.expect(200);
        let ended = session_of(&other["access_token"]);
        let find = move |c: &mut DbConnection| database::sessions::find_end(c, &ended);
        let end = world.database().await.read(find).await.unwrap().unwrap();
        assert_eq!(end.words, "revoked by its client");
        // It comes back with nothing in it, and nothing in it is alive.
        world.stores().redis.as_mut().unwrap().start_again();
        world.is_ready_again().await;
        world.refresh("web", &tokens["refresh_token"]).await.expect_error(400, "invalid_grant");
        assert!(!world.is_active(&tokens["access_token"]).await);
        world.redeem(&code).await.expect_error(400, "invalid_grant");
        let tokens = world.sign_in("dana").await;
        assert!(world.is_active(&tokens["access_token"]).await);
    });
}

async fn what_is_unknown_is_as_good_as_ended(world: World) {
    let tokens = world.sign_in("dana").await;
    let forged = forged(&tokens["access_token"], &json!({}), &json!({ "tenant": "globex" }));
    let long = "x".repeat(60_000);
    let unknown = [
        "x",
        "a.b.c",
        "rmr_AAAA",
        "rma_AAAA",
        "\0",
        &long,
        &forged,
        // An ID token is no token of this endpoint.
        tokens["id_token"].as_str().unwrap(),
    ];
    for token in unknown {
        let answer = world.revoke("web", &json!(token)).await;
        assert_eq!(answer.expect(200).body, "", "{token:.40}");
    }
    assert!(world.is_active(&tokens["access_token"]).await);
    world.clock.advance(TimeDelta::minutes(15));
    world.revoke("web", &tokens["access_token"]).await.expect(200);
    world.refresh("web", &tokens["refresh_token"]).await.expect(200);
}

async fn only_a_client_may_revoke(world: World) {
    let tokens = world.sign_in("dana").await;
    let token = ("token", tokens["refresh_token"].as_str().unwrap());
    let browser = world.browser();
    let answer = browser.post("/oauth2/revoke", &[token]).await;
    assert!(answer.header("www-authenticate").starts_with("Basic"));
    answer.expect_error(401, "invalid_client");
    let answer = browser.post("/oauth2/revoke", &[token, ("client_id", "nobody")]).await;
    answer.expect_error(401, "invalid_client");
    let answer = browser.get(&format!("/oauth2/revoke?client_id=web&token={}", token.1)).await;
    answer.expect(405);
    for form in [&[][..], &[("token", "")], &[token, token]] {
        let answer = world.post_as("web", "/oauth2/revoke", form).await;
        answer.expect_error(400, "invalid_request");
    }
    world.refresh("web", &tokens["refresh_token"]).await.expect(200);
}

async fn a_wrong_hint_still_ends_it(world: World) {
    for (kind, hint) in [
        ("access_token", "refresh_token"),
        ("refresh_token", "access_token"),
        ("access_token", "foo"),
    ] {
        let tokens = world.sign_in("dana").await;
        let form = [("token", tokens[kind].as_str().unwrap()), ("token_type_hint", hint)];
        world.post_as("web", "/oauth2/revoke", &form).await.expect(200);
        assert!(!world.is_active(&tokens["access_token"]).await, "{kind} as {hint}");
    }
}

/// However often it is told, and long after the session's entry has left the memory.
async fn what_is_over_by_its_time_adds_nothing_to_the_log(world: World) {
    let tokens = world.sign_in("dana").await;
    world.clock.advance(TimeDelta::days(31));
    for _ in 0..3 {
        world.revoke("web", &tokens["refresh_token"]).await.expect(200);
    }
    let list = |c: &mut DbConnection| database::log::list_recorded(c, None, None, 10);
    assert_eq!(world.database().await.read(list).await.unwrap(), []);
}

async fn a_superseded_refresh_token_ends_its_session_too(world: World) {
    let tokens = world.sign_in("dana").await;
    let next = world.refresh("web", &tokens["refresh_token"]).await.expect(200).json();
    world.revoke("web", &tokens["refresh_token"]).await.expect(200);
    assert!(!world.is_active(&next["access_token"]).await);
    world.refresh("web", &next["refresh_token"]).await.expect_error(400, "invalid_grant");
}

/// RFC 7009 §2: after the answer nothing of the session is alive on any node, whenever and wherever it
/// was made.
async fn whatever_a_refresh_races_nothing_of_a_revoked_session_lives(nodes: Nodes) {
    let nodes = Arc::new(nodes);
    // Signed in at the provider once; each of these is one more session.
    let browser = nodes.world.browser();
    let mut moved = Instant::now();
    // Three refreshes race in each.
    for round in 0..rounds("ROLEMINT_LONG_REVOCATION_RACES", 60) {
        // The provider's clock goes by itself, and says when somebody signed in.
        nodes.advance(TimeDelta::from_std(moved.elapsed()).unwrap());
        moved = Instant::now();
        let request = Request::web();
        let landing = nodes.world.landing_in(&browser, &request, "dana").await;
        let code = crate::harness::http::parameter(&landing, "code").unwrap();
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", request.verifier.as_str()),
        ];
        let tokens = nodes.world.token("web", &form).await.expect(200).json();
        // Each round the revocation begins a little later, and at another node.
        let moment = round % 40;
        let at = |number: u64| usize::try_from(round + number).unwrap() % nodes.count();
        let refresh = |after: u64, node: usize| {
            let (nodes, token) = (Arc::clone(&nodes), tokens["refresh_token"].clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_micros(after)).await;
                nodes.refresh(node, "web", &token).await
            })
        };
        let refreshing = [refresh(0, at(1)), refresh(moment * 50, at(2)), refresh(4000, at(0))];
        tokio::time::sleep(Duration::from_micros(moment * 150)).await;
        nodes.revoke(at(0), "web", &tokens["refresh_token"]).await.expect(200);
        let mut made = vec![tokens.clone()];
        for refreshing in refreshing {
            let answer = refreshing.await.unwrap();
            if answer.status == 200 {
                made.push(answer.json());
            } else {
                answer.expect_error(400, "invalid_grant");
            }
        }
        for (tokens, node) in
            made.iter().flat_map(|made| (0..nodes.count()).map(move |n| (made, n)))
        {
            let introspected = nodes.introspect(node, &tokens["access_token"]).await.expect(200);
            assert_eq!(introspected.json(), json!({ "active": false }), "round {round}, {node}");
            let answer = nodes.refresh(node, "web", &tokens["refresh_token"]).await;
            answer.expect_error(400, "invalid_grant");
        }
    }
}
