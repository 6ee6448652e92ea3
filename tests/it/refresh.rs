//! Refresh tokens: the next one, the same one again, and none for whoever should not have it.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::TimeDelta;
use data_encoding::BASE64URL_NOPAD;
use rolemint::database;
use rolemint::domain::audit::EventKind;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::flow::{API, PORTAL_URI, REDIRECT_URI, REPORTS, Request, claims, session_of};
use crate::harness::nodes::Nodes;
use crate::harness::world::World;
use crate::harness::{on_both_stores, on_embedded_stores, rounds, soon};

on_both_stores!(
    each_refresh_gives_the_next_token,
    a_token_sent_again_at_once_gives_the_same_successor,
    the_third_late_token_in_a_row_ends_the_session,
    an_old_token_ends_its_session_and_no_other,
    a_refresh_token_is_its_own_clients,
    a_request_for_too_much_costs_nothing,
    a_session_ends_when_it_is_idle,
    a_session_ends_at_last,
    many_tabs_get_one_successor,
    of_a_hundred_at_once_over_all_nodes_each_gets_the_same_successor,
    every_node_repeats_what_one_of_them_answered,
);
on_embedded_stores!(
    a_refresh_narrows_the_scope_for_one_token,
    a_refresh_names_protocol_scopes_too,
    a_refresh_narrows_permissions_for_one_token,
    a_refresh_narrows_the_audience_for_one_token,
    roles_and_templates_count_as_they_are_now,
    an_access_token_lives_fifteen_minutes_to_the_second,
    what_is_no_refresh_token_is_refused,
    an_id_token_comes_along_for_the_same_person,
);

/// Asks for the scopes of the role `clerk`.
fn scoped() -> Request {
    Request::web().with("scope", "openid calendar:read calendar:write")
}

/// The generation that a refresh token says it is.
fn generation(token: &Value) -> u32 {
    let bytes = token.as_str().unwrap().strip_prefix("rmr_").unwrap();
    let bytes = BASE64URL_NOPAD.decode(bytes.as_bytes()).unwrap();
    u32::from_be_bytes(bytes[20..24].try_into().unwrap())
}

/// The refresh token that follows.
async fn next(world: &World, token: &Value) -> Value {
    world.refresh("web", token).await.expect(200).json()["refresh_token"].clone()
}

async fn refused(world: &World, token: &Value) {
    let answer = world.refresh("web", token).await.expect_error(400, "invalid_grant");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.json()["error_description"], "the refresh token is not good");
}

async fn ended_because(world: &World, access_token: &Value) -> Option<String> {
    let session = session_of(access_token);
    let database = world.database().await;
    database.read(move |c| database::subjects::find_ended_reason(c, &session)).await.unwrap()
}

async fn events(world: &World, kind: EventKind) -> i64 {
    world.database().await.read(move |c| database::audit::count(c, kind)).await.unwrap()
}

async fn each_refresh_gives_the_next_token(world: World) {
    let first = world.sign_in("dana").await;
    let second = world.refresh("web", &first["refresh_token"]).await.expect(200).json();
    let third = world.refresh("web", &second["refresh_token"]).await.expect(200).json();
    let generations = [&first, &second, &third].map(|tokens| generation(&tokens["refresh_token"]));
    assert_eq!(generations, [1, 2, 3]);
    let [a, b, c] = [&first, &second, &third].map(|tokens| claims(&tokens["access_token"]));
    assert!(a["jti"] != b["jti"] && b["jti"] != c["jti"]);
    for name in
        ["sid", "sub", "tenant", "roles", "aud", "client_id", "scope", "authorization_details"]
    {
        assert_eq!(a[name], c[name], "{name}");
    }
    // The access token in flight lives to its own end.
    assert!(world.is_active(&first["access_token"]).await);
}

async fn a_token_sent_again_at_once_gives_the_same_successor(world: World) {
    let first = world.sign_in("dana").await["refresh_token"].clone();
    let second = next(&world, &first).await;
    world.clock.advance(TimeDelta::seconds(29));
    assert_eq!(next(&world, &first).await, second);
    assert_eq!(next(&world, &first).await, second);
    // Also when its successor has been used meanwhile: the current one, the same for all.
    let third = next(&world, &second).await;
    assert_eq!(next(&world, &first).await, third);
    assert_eq!(next(&world, &second).await, third);
    assert_eq!(events(&world, EventKind::RefreshReplayed).await, 0);
}

async fn the_third_late_token_in_a_row_ends_the_session(world: World) {
    let tokens = world.sign_in("dana").await;
    let mut before = tokens["refresh_token"].clone();
    for _ in 0..2 {
        let current = next(&world, &before).await;
        world.clock.advance(TimeDelta::seconds(30));
        assert_eq!(next(&world, &before).await, current, "an answer may be lost");
        before = current;
    }
    let current = next(&world, &before).await;
    world.clock.advance(TimeDelta::seconds(30));
    refused(&world, &before).await;
    refused(&world, &current).await;
    let reason = ended_because(&world, &tokens["access_token"]).await.unwrap();
    assert!(reason.starts_with("two holders"), "{reason}");
    assert_eq!(events(&world, EventKind::RefreshReplayed).await, 1);
}

async fn an_old_token_ends_its_session_and_no_other(world: World) {
    let stolen = world.sign_in("dana").await;
    let other = world.sign_in("dana").await;
    let second = world.refresh("web", &stolen["refresh_token"]).await.expect(200).json();
    let third = world.refresh("web", &second["refresh_token"]).await.expect(200).json();
    world.clock.advance(TimeDelta::seconds(30));

    refused(&world, &stolen["refresh_token"]).await;
    refused(&world, &third["refresh_token"]).await;
    refused(&world, &second["refresh_token"]).await;
    for tokens in [&stolen, &second, &third] {
        assert!(!world.is_active(&tokens["access_token"]).await);
        world.user_info(&tokens["access_token"]).await.expect(401);
    }
    let reason = ended_because(&world, &stolen["access_token"]).await;
    let expected =
        "replayed: refresh generation 1 was presented when 3 was current, for 30 seconds already";
    assert_eq!(reason.as_deref(), Some(expected));
    assert_eq!(events(&world, EventKind::RefreshReplayed).await, 1);

    assert!(world.is_active(&other["access_token"]).await);
    world.refresh("web", &other["refresh_token"]).await.expect(200);
    assert_eq!(ended_because(&world, &other["access_token"]).await, None);
}

async fn a_refresh_token_is_its_own_clients(world: World) {
    let tokens = world.sign_in("dana").await;
    for thief in ["neighbour", "opaque", "portal"] {
        let answer = world.refresh(thief, &tokens["refresh_token"]).await;
        answer.expect_error(400, "invalid_grant");
    }
    // It ends nothing: whoever has no right to it cannot harm it.
    assert_eq!(generation(&next(&world, &tokens["refresh_token"]).await), 2);
    assert!(world.is_active(&tokens["access_token"]).await);
    // A confidential client's is of no use without its secret.
    let tokens = world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await;
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", "portal"),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ];
    let answer = world.browser().post("/oauth2/token", &form).await;
    answer.expect_error(401, "invalid_client");
    world.refresh("portal", &tokens["refresh_token"]).await.expect(200);
}

async fn a_request_for_too_much_costs_nothing(world: World) {
    let scope = "openid calendar:read";
    let mut token =
        world.sign_in_at(&Request::web().with("scope", scope), "sam").await["refresh_token"]
            .clone();
    let wider =
        r#"[{"type":"cache","role":"readwrite","cache":"payroll","item":{"keyPrefix":"acme:"}}]"#;
    let other = r#"[{"type":"cache","role":"readonly","cache":"calendar-events","item":{"keyPrefix":"globex:"}}]"#;
    let too_much = [
        ("scope", "calendar:write", "invalid_scope"),
        ("scope", "calendar:read admin", "invalid_scope"),
        ("scope", "openid email", "invalid_scope"),
        ("authorization_details", wider, "invalid_authorization_details"),
        ("authorization_details", other, "invalid_authorization_details"),
        ("authorization_details", "[]", "invalid_authorization_details"),
        ("authorization_details", "{}", "invalid_authorization_details"),
        ("audience", API, "invalid_target"),
        ("resource", "https://evil.example", "invalid_target"),
    ];
    // A generation that was spent on a refusal would be late in each round, and the third ends the session.
    for round in 1..=4 {
        for (name, value, error) in too_much {
            let answer = world.refresh_for("web", &token, &[(name, value)]).await;
            assert_eq!(answer.status, 400, "{name} {value}: {}", answer.body);
            answer.expect_error(400, error);
        }
        world.clock.advance(TimeDelta::seconds(31));
        token = next(&world, &token).await;
        assert_eq!(generation(&token), round + 1);
    }
}

async fn a_refresh_narrows_the_scope_for_one_token(world: World) {
    let tokens = world.sign_in_at(&scoped(), "sam").await;
    let scopes = |tokens: &Value| {
        assert_eq!(tokens["scope"], claims(&tokens["access_token"])["scope"]);
        tokens["scope"].as_str().unwrap().to_owned()
    };
    assert_eq!(scopes(&tokens), "calendar:read calendar:write openid");
    let more = [("scope", "openid calendar:read")];
    let narrow = world.refresh_for("web", &tokens["refresh_token"], &more).await.expect(200).json();
    assert_eq!(scopes(&narrow), "calendar:read openid");
    // The next one has all of them again.
    let whole = world.refresh("web", &narrow["refresh_token"]).await.expect(200).json();
    assert_eq!(scopes(&whole), "calendar:read calendar:write openid");
}

/// RFC 6749 §6: the scope of the new token is the requested one, and no more.
async fn a_refresh_names_protocol_scopes_too(world: World) {
    let request = Request::web().with("scope", "openid email calendar:read calendar:write");
    let tokens = world.sign_in_at(&request, "sam").await;
    let mut token = tokens["refresh_token"].clone();
    for scope in ["calendar:read", "calendar:read openid", "openid"] {
        let answer = world.refresh_for("web", &token, &[("scope", scope)]).await.expect(200).json();
        assert_eq!(claims(&answer["access_token"])["scope"], scope);
        assert_eq!(answer["scope"], scope);
        token = answer["refresh_token"].clone();
    }
}

async fn a_refresh_narrows_permissions_for_one_token(world: World) {
    let tokens = world.sign_in_at(&scoped(), "sam").await;
    let details = |tokens: &Value| {
        let claimed = claims(&tokens["access_token"])["authorization_details"].clone();
        assert_eq!(tokens["authorization_details"], claimed);
        claimed.as_array().unwrap().clone()
    };
    let all = details(&tokens);
    assert_eq!(all.len(), 2);
    let one = json!([{
        "type": "cache", "role": "readonly", "cache": "calendar-events", "item": { "keyPrefix": "acme:1:" },
    }]);
    let more = [("authorization_details", one.to_string())];
    let more = more.each_ref().map(|(name, value)| (*name, value.as_str()));
    let narrow = world.refresh_for("web", &tokens["refresh_token"], &more).await.expect(200).json();
    assert_eq!(details(&narrow), *one.as_array().unwrap());
    let whole = world.refresh("web", &narrow["refresh_token"]).await.expect(200).json();
    assert_eq!(details(&whole), all);
}

async fn a_refresh_narrows_the_audience_for_one_token(world: World) {
    let request =
        Request::of("portal", PORTAL_URI).with("audience", API).adding("audience", REPORTS);
    let tokens = world.sign_in_at(&request, "dana").await;
    assert_eq!(claims(&tokens["access_token"])["aud"], json!([API, REPORTS]));
    let more = [("audience", REPORTS)];
    let answer = world.refresh_for("portal", &tokens["refresh_token"], &more).await;
    let narrow = answer.expect(200).json();
    assert_eq!(claims(&narrow["access_token"])["aud"], REPORTS);
    // An audience that the client has and the session has not.
    let tokens = world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await;
    assert_eq!(claims(&tokens["access_token"])["aud"], API);
    let answer = world.refresh_for("portal", &tokens["refresh_token"], &more).await;
    answer.expect_error(400, "invalid_target");
}

async fn roles_and_templates_count_as_they_are_now(mut world: World) {
    let tokens = world.sign_in_at(&scoped(), "sam").await;
    let roles = |tokens: &Value| claims(&tokens["access_token"])["roles"].clone();
    assert_eq!(roles(&tokens), json!(["clerk"]));
    let rule = |role: &str| {
        let rule = toml::toml! { claim = "/roles" contains = "clerk" };
        let mut rule = rule;
        rule.insert("role".to_owned(), role.into());
        toml::Value::Array(vec![rule.into()])
    };
    // A lesser role.
    world.deployment.provider("corp").insert("mappings".to_owned(), rule("data-entry"));
    world.apply(&[]);
    let less = soon("the lesser role", async || {
        let answer = world.refresh("web", &tokens["refresh_token"]).await;
        // Scopes that were asked for and are gone are an error, or the token has none of them.
        if answer.status != 200 {
            answer.expect_error(400, "invalid_scope");
            return Some(None);
        }
        let tokens = answer.json();
        (roles(&tokens) == json!(["data-entry"])).then_some(Some(tokens))
    })
    .await;
    if let Some(less) = less {
        assert_eq!(less["scope"], "openid");
        let details = less["authorization_details"].to_string();
        assert!(!details.contains("readwrite"), "{details}");
    }
    // None at all.
    world.deployment.provider("corp").insert("mappings".to_owned(), toml::Value::Array(vec![]));
    world.apply(&[]);
    soon("no role", async || {
        let answer = world.refresh("web", &tokens["refresh_token"]).await;
        (answer.status == 400 && answer.json()["error"] == "invalid_grant").then_some(())
    })
    .await;
    // The same holds for a code that is redeemed only now, and a sign-in.
    let landing = world.landing(&Request::web(), "sam").await;
    assert_eq!(crate::harness::flow::error_in(&landing, REDIRECT_URI), "access_denied");
}

async fn a_session_ends_when_it_is_idle(world: World) {
    let tokens = world.sign_in("dana").await;
    let week = TimeDelta::days(7);
    world.clock.advance(week - TimeDelta::seconds(1));
    let token = next(&world, &tokens["refresh_token"]).await;
    world.clock.advance(week - TimeDelta::seconds(1));
    let token = next(&world, &token).await;
    world.clock.advance(week);
    refused(&world, &token).await;
    // A clock that goes back revives nothing that a refusal has not seen, and nobody is told another reason.
    refused(&world, &token).await;
}

async fn a_session_ends_at_last(world: World) {
    let mut tokens = world.sign_in("dana").await;
    let begun = world.clock.now();
    for _ in 0..5 {
        world.clock.advance(TimeDelta::days(6) - TimeDelta::seconds(20));
        tokens = world.refresh("web", &tokens["refresh_token"]).await.expect(200).json();
    }
    // No access token outlives its session.
    assert!(
        [99, 100].contains(&tokens["expires_in"].as_i64().unwrap()),
        "{}",
        tokens["expires_in"]
    );
    let end = begun + TimeDelta::days(30);
    world.clock.advance(end - world.clock.now() - TimeDelta::seconds(2));
    assert!(world.is_active(&tokens["access_token"]).await);
    tokens = world.refresh("web", &tokens["refresh_token"]).await.expect(200).json();
    assert!([1, 2].contains(&tokens["expires_in"].as_i64().unwrap()), "{}", tokens["expires_in"]);
    world.clock.advance(TimeDelta::seconds(2));
    refused(&world, &tokens["refresh_token"]).await;
    assert!(!world.is_active(&tokens["access_token"]).await);
}

async fn an_access_token_lives_fifteen_minutes_to_the_second(world: World) {
    let tokens = world.sign_in("dana").await;
    let token = &tokens["access_token"];
    let exp = chrono::DateTime::from_timestamp(claims(token)["exp"].as_i64().unwrap(), 0).unwrap();
    assert_eq!(
        claims(token)["exp"].as_i64().unwrap() - claims(token)["iat"].as_i64().unwrap(),
        900
    );
    world.clock.advance(exp - world.clock.now() - TimeDelta::milliseconds(1));
    assert!(world.is_active(token).await);
    world.user_info(token).await.expect(200);
    world.clock.advance(TimeDelta::milliseconds(1));
    assert!(!world.is_active(token).await);
    world.user_info(token).await.expect(401);
}

async fn what_is_no_refresh_token_is_refused(world: World) {
    let tokens = world.sign_in("dana").await;
    let good = tokens["refresh_token"].as_str().unwrap();
    let mut bytes = BASE64URL_NOPAD.decode(good.strip_prefix("rmr_").unwrap().as_bytes()).unwrap();
    let mut no_tokens = vec![
        "x".to_owned(),
        "rmr_".to_owned(),
        good.to_uppercase(),
        format!("{good}A"),
        format!("{good}="),
        good[..good.len() - 1].to_owned(),
        good.replace("rmr_", "rma_"),
        tokens["access_token"].as_str().unwrap().to_owned(),
        tokens["id_token"].as_str().unwrap().to_owned(),
        "r".repeat(60_000),
    ];
    // Every byte of it, with a checksum that fits: key, session, generation and MAC.
    for at in [3, 4, 19, 23, 24, 39] {
        bytes[at] ^= 1;
        let checksum = <sha2::Sha256 as sha2::Digest>::digest(&bytes[..40]);
        let forged = [&bytes[..40], &checksum[..4]].concat();
        no_tokens.push(format!("rmr_{}", BASE64URL_NOPAD.encode(&forged)));
        bytes[at] ^= 1;
    }
    for token in no_tokens {
        refused(&world, &json!(token)).await;
    }
    assert_eq!(generation(&next(&world, &json!(good)).await), 2);
}

async fn an_id_token_comes_along_for_the_same_person(world: World) {
    let request = Request::web().with("scope", "openid email").with("nonce", "n0nce \"✓");
    let tokens = world.sign_in_at(&request, "dana").await;
    world.clock.advance(TimeDelta::seconds(5));
    let again = world.refresh("web", &tokens["refresh_token"]).await.expect(200).json();
    let (first, second) = (claims(&tokens["id_token"]), claims(&again["id_token"]));
    assert_eq!(first["nonce"], "n0nce \"✓");
    assert!(second.get("nonce").is_none(), "OpenID Connect Core §12.2");
    for name in ["iss", "sub", "aud", "sid", "auth_time", "email"] {
        assert_eq!(first[name], second[name], "{name}");
    }
    assert!(second["iat"].as_i64() > first["iat"].as_i64());
    // Without `openid` there is none.
    let tokens = world.sign_in_at(&Request::web().without("scope"), "dana").await;
    assert!(tokens.get("id_token").is_none());
    let again = world.refresh("web", &tokens["refresh_token"]).await.expect(200).json();
    assert!(again.get("id_token").is_none());
}

async fn many_tabs_get_one_successor(world: World) {
    let token = world.sign_in("dana").await["refresh_token"].clone();
    let all = futures(&world, &token, 20).await;
    let mut successors: Vec<_> = all.iter().map(|answer| answer["refresh_token"].clone()).collect();
    assert!(successors.iter().all(|token| generation(token) == 2));
    successors.dedup();
    assert_eq!(successors.len(), 1);
}

/// The token answers to a refresh that is sent so many times at once.
async fn futures(world: &World, token: &Value, count: usize) -> Vec<Value> {
    let browser = world.browser();
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", "web"),
        ("refresh_token", token.as_str().unwrap()),
    ];
    let mut under_way = JoinSet::new();
    for _ in 0..count {
        let request = browser.request(reqwest::Method::POST, "/oauth2/token");
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request =
            request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let sender = world.browser();
        under_way.spawn(async move { sender.send(request).await.expect(200).json() });
    }
    under_way.join_all().await
}

/// One token, a hundred times at once, spread over nodes whose clocks are five seconds apart; and then
/// its successor in the same way.
async fn of_a_hundred_at_once_over_all_nodes_each_gets_the_same_successor(nodes: Nodes) {
    const AT_ONCE: usize = 100;
    let nodes = Arc::new(nodes);
    let first = nodes.world.sign_in("dana").await;
    let mut token = first["refresh_token"].clone();
    let mut handed_out = 0;
    for round in 1..=rounds("ROLEMINT_LONG_REFRESH_ROUNDS", 20) {
        let mut under_way = JoinSet::new();
        for number in 0..AT_ONCE {
            let (nodes, token) = (Arc::clone(&nodes), token.clone());
            under_way
                .spawn(async move { nodes.refresh(number % nodes.count(), "web", &token).await });
        }
        let mut successors = HashSet::new();
        for answer in under_way.join_all().await {
            match answer.status {
                200 => {
                    handed_out += 1;
                    successors.insert(answer.json()["refresh_token"].to_string());
                }
                // Too much at once is not an answer about the token.
                429 | 503 => {}
                status => panic!("round {round}: {status}: {}", answer.body),
            }
        }
        assert_eq!(successors.len(), 1, "round {round}");
        token = successors.iter().next().unwrap().parse().unwrap();
        assert_eq!(u64::from(generation(&token)), round + 1);
        nodes.advance(TimeDelta::seconds(45));
    }
    eprintln!("{handed_out} refreshes were answered with a token, {AT_ONCE} at once");
    for node in 0..nodes.count() {
        let answer = nodes.refresh(node, "web", &token).await.expect(200).json();
        let introspected = nodes.introspect(node, &answer["access_token"]).await.expect(200);
        assert_eq!(introspected.json()["active"], true, "node {node}");
    }
    assert_eq!(ended_because(&nodes.world, &first["access_token"]).await, None);
    assert_eq!(events(&nodes.world, EventKind::RefreshReplayed).await, 0);
}

/// Also where the one is gone, by each one's clock.
async fn every_node_repeats_what_one_of_them_answered(mut nodes: Nodes) {
    let mut token = nodes.world.sign_in("dana").await["refresh_token"].clone();
    for from in 0..nodes.count() {
        let successor = nodes.refresh(from, "web", &token).await.expect(200).json();
        for other in 0..nodes.count() {
            let again = nodes.refresh(other, "web", &token).await.expect(200).json();
            assert_eq!(again["refresh_token"], successor["refresh_token"], "{from}, {other}");
        }
        token = successor["refresh_token"].clone();
        nodes.advance(TimeDelta::minutes(1));
    }
    if nodes.count() > 1 {
        let successor = nodes.refresh(1, "web", &token).await.expect(200).json();
        nodes.stop(1).await;
        for other in [0, 2] {
            let again = nodes.refresh(other, "web", &token).await.expect(200).json();
            assert_eq!(again["refresh_token"], successor["refresh_token"], "{other}");
        }
    }
}
