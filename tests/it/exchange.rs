//! A token for another: never for whoever may not, never more than there was.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::harness::deployment::EXCHANGE;
use crate::harness::flow::{
    ACCESS_TOKEN, API, ID_TOKEN, PORTAL_URI, REDIRECT_URI, REPORTS, Request, claims, forged,
    seconds,
};
use crate::harness::http::Answer;
use crate::harness::world::World;
use crate::harness::{on_both_stores, on_embedded_stores};

on_both_stores!(
    an_id_token_is_taken_once_where_it_has_an_id,
    a_revoked_parent_ends_its_children,
    a_chain_of_exchanges_has_an_end,
);
on_embedded_stores!(
    nobody_exchanges_who_was_not_allowed,
    a_request_that_is_not_whole_is_refused,
    a_token_is_what_it_is_declared_to_be,
    an_id_token_that_is_not_sound_is_refused,
    an_id_token_gives_what_a_sign_in_gives,
    a_client_brings_the_tokens_that_it_may,
    an_exchange_never_gives_more_scope,
    an_exchange_never_gives_more_permissions,
    an_exchange_never_gives_another_audience,
    an_exchanged_token_never_outlives_its_parent,
    an_exchange_counts_roles_as_they_are_now,
);

/// RFC 8693 §2.2.2: whatever is wrong with a subject token, the answer is the same.
#[track_caller]
fn assert_not_good(answer: Answer) {
    assert_eq!(answer.header("cache-control"), "no-store");
    let told = answer.expect_error(400, "invalid_request").json();
    let same =
        json!({ "error": "invalid_request", "error_description": "the subject_token is not good" });
    assert_eq!(told, same);
}

async fn of_id_token(world: &World, token: &str) -> Answer {
    world.exchange("backend", token, ID_TOKEN, &[]).await
}

async fn of_access_token(
    world: &World,
    client: &str,
    token: &Value,
    more: &[(&str, &str)],
) -> Answer {
    world.exchange(client, token.as_str().unwrap(), ACCESS_TOKEN, more).await
}

async fn nobody_exchanges_who_was_not_allowed(world: World) {
    let tokens = world.sign_in("dana").await;
    let id_token = world.id_token("dana", &json!({})).await;
    // Not a grant of theirs; the public clients cannot even have it.
    for client in ["web", "neighbour", "posting", "api"] {
        let token = tokens["access_token"].as_str().unwrap();
        let answer = if client == "posting" {
            let secret = world.deployment.client_secret(client);
            let form = [
                ("client_id", client),
                ("client_secret", &secret),
                ("grant_type", EXCHANGE),
                ("subject_token", token),
                ("subject_token_type", ACCESS_TOKEN),
            ];
            world.browser().post("/oauth2/token", &form).await
        } else {
            world.exchange(client, token, ACCESS_TOKEN, &[]).await
        };
        answer.expect_error(400, "unauthorized_client");
    }
    // The grant alone allows nobody's ID tokens.
    for client in ["narrow", "portal"] {
        assert_not_good(world.exchange(client, &id_token, ID_TOKEN, &[]).await);
    }
    // And without its secret nobody is the back end.
    let form = [
        ("client_id", "backend"),
        ("grant_type", EXCHANGE),
        ("subject_token", id_token.as_str()),
        ("subject_token_type", ID_TOKEN),
    ];
    world.browser().post("/oauth2/token", &form).await.expect_error(401, "invalid_client");
    of_id_token(&world, &id_token).await.expect(200);
}

async fn a_request_that_is_not_whole_is_refused(world: World) {
    let token = world.sign_in("dana").await["access_token"].as_str().unwrap().to_owned();
    let whole = [
        ("grant_type", EXCHANGE),
        ("subject_token", token.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    for missing in [1, 2] {
        let mut form = whole.to_vec();
        form[missing].1 = "";
        world.token("backend", &form).await.expect_error(400, "invalid_request");
        form.remove(missing);
        world.token("backend", &form).await.expect_error(400, "invalid_request");
    }
    let more = [
        ("actor_token", token.as_str()),
        ("actor_token_type", ACCESS_TOKEN),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"),
        ("requested_token_type", ID_TOKEN),
        ("requested_token_type", "x"),
        ("subject_token", token.as_str()),
    ];
    for pair in more {
        let answer = world.token("backend", &[&whole[..], &[pair]].concat()).await;
        assert_eq!(answer.status, 400, "{}", pair.0);
        answer.expect_error(400, "invalid_request");
    }
    let refresh = [pair("requested_token_type", ACCESS_TOKEN)];
    let answer = world.token("backend", &[&whole[..], &refresh].concat()).await.expect(200).json();
    assert_eq!(answer["issued_token_type"], ACCESS_TOKEN);
    assert_eq!(answer["token_type"], "Bearer");
    assert!(answer.get("refresh_token").is_none() && answer.get("id_token").is_none());
}

const fn pair<'a>(name: &'a str, value: &'a str) -> (&'a str, &'a str) {
    (name, value)
}

async fn a_token_is_what_it_is_declared_to_be(world: World) {
    let tokens = world.sign_in("dana").await;
    let upstream = world.id_token("dana", &json!({})).await;
    let code = world.code(&Request::web(), "dana").await;
    let text = |name: &str| tokens[name].as_str().unwrap();
    for token in
        ["x", "a.b.c", "rma_AAAA", text("id_token"), text("refresh_token"), &upstream, &code.value]
    {
        assert_not_good(world.exchange("backend", token, ACCESS_TOKEN, &[]).await);
    }
    for token in
        ["x", "a.b.c", text("id_token"), text("refresh_token"), text("access_token"), &code.value]
    {
        assert_not_good(world.exchange("backend", token, ID_TOKEN, &[]).await);
    }
    for kind in [
        "urn:ietf:params:oauth:token-type:jwt",
        "urn:ietf:params:oauth:token-type:refresh_token",
        "urn:ietf:params:oauth:token-type:saml2",
        "access_token",
    ] {
        let answer = world.exchange("backend", text("access_token"), kind, &[]).await;
        answer.expect_error(400, "invalid_request");
    }
    let forged = forged(&tokens["access_token"], &json!({}), &json!({ "tenant": "globex" }));
    assert_not_good(world.exchange("backend", &forged, ACCESS_TOKEN, &[]).await);
    world.clock.advance(TimeDelta::minutes(15));
    assert_not_good(of_access_token(&world, "backend", &tokens["access_token"], &[]).await);
}

async fn an_id_token_that_is_not_sound_is_refused(world: World) {
    let now = world.clock.now().timestamp();
    let unsound = [
        ("for Rolemint itself", json!({ "aud": "rolemint" })),
        ("for another application", json!({ "aud": "another-app" })),
        ("for one application more", json!({ "aud": ["web-app", "another-app"] })),
        ("for nobody", json!({ "aud": null })),
        ("by way of another application", json!({ "azp": "another-app" })),
        ("from elsewhere", json!({ "iss": "https://evil.example" })),
        ("from a list", json!({ "iss": [world.provider.issuer] })),
        ("from nowhere", json!({ "iss": null })),
        ("too old", json!({ "iat": now - 302, "exp": now + 600 })),
        ("without an age", json!({ "iat": null })),
        ("from the future", json!({ "iat": now + 120 })),
        ("expired", json!({ "iat": now - 200, "exp": now - 61 })),
        ("without an end", json!({ "exp": null })),
        ("with an end in words", json!({ "exp": (now + 600).to_string() })),
        ("not yet valid", json!({ "nbf": now + 120 })),
        ("of nobody", json!({ "sub": null })),
        ("an address that is not verified", json!({ "email_verified": false })),
        ("an address that is verified in words", json!({ "email_verified": "true" })),
        ("an address of nobody's", json!({ "email": "dana@elsewhere.example" })),
        ("a logout token", json!({ "events": {} })),
        ("an id that is no text", json!({ "jti": 7 })),
    ];
    for (what, change) in unsound {
        let token = world.id_token("dana", &change).await;
        let answer = of_id_token(&world, &token).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.body);
        assert_not_good(answer);
    }
    let unsigned = [
        ("unsigned", json!({ "header": { "alg": "none" } })),
        ("signed with the public key", json!({ "header": { "alg": "HS256" } })),
        ("signed otherwise", json!({ "header": { "alg": "PS256" } })),
        ("signed by a stranger", json!({ "key": "unknown" })),
        ("signed by an unknown key", json!({ "header": { "kid": "unknown" } })),
        ("an access token", json!({ "header": { "typ": "at+jwt" } })),
        ("critical", json!({ "header": { "crit": ["b64"], "b64": true } })),
    ];
    for (what, how) in unsigned {
        let token = world.id_token_signed("dana", &json!({}), &how).await;
        let answer = of_id_token(&world, &token).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.body);
        assert_not_good(answer);
    }
    // Whoever has no role, or comes with one in the wrong form, has nothing to be granted.
    for change in [
        json!({ "roles": [] }),
        json!({ "roles": "data-entry" }),
        json!({ "roles": ["Data-Entry"] }),
    ] {
        let token = world.id_token("dana", &change).await;
        of_id_token(&world, &token).await.expect_error(400, "invalid_grant");
    }
    // An attacker's unknown keys do not have the provider asked again and again.
    let before = world.provider.requests("/jwks").await;
    for _ in 0..5 {
        let token = world.id_token_signed("dana", &json!({}), &json!({ "key": "unknown" })).await;
        assert_not_good(of_id_token(&world, &token).await);
    }
    assert!(world.provider.requests("/jwks").await <= before + 1);
}

async fn an_id_token_is_taken_once_where_it_has_an_id(world: World) {
    let token = world.id_token("dana", &json!({ "jti": "once" })).await;
    // What is refused for another reason does not use it up.
    let answer =
        world.exchange("backend", &token, ID_TOKEN, &[("audience", "https://evil.example")]).await;
    answer.expect_error(400, "invalid_target");
    of_id_token(&world, &token).await.expect(200);
    assert_not_good(of_id_token(&world, &token).await);
    // The same id in another token of the same issuer.
    let other = world.id_token("gil", &json!({ "jti": "once" })).await;
    assert_not_good(of_id_token(&world, &other).await);
    world.clock.advance(TimeDelta::seconds(299));
    assert_not_good(of_id_token(&world, &token).await);
    // Of many at once, one.
    let token = world.id_token("dana", &json!({ "jti": "race" })).await;
    let mut good = 0;
    let secret = world.deployment.client_secret("backend");
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (browser, token, secret) = (world.browser(), token.clone(), secret.clone());
        all.spawn(async move {
            let form = [
                ("grant_type", EXCHANGE),
                ("subject_token", token.as_str()),
                ("subject_token_type", ID_TOKEN),
            ];
            browser.post_as(("backend", &secret), "/oauth2/token", &form).await.status
        });
    }
    for status in all.join_all().await {
        assert!([200, 400].contains(&status), "{status}");
        good += u32::from(status == 200);
    }
    assert_eq!(good, 1);
}

async fn an_id_token_gives_what_a_sign_in_gives(world: World) {
    let id_token = world.id_token("dana", &json!({})).await;
    let exchanged = of_id_token(&world, &id_token).await.expect(200).json();
    let signed_in = world.sign_in("dana").await;
    let [ours, theirs] = [&exchanged, &signed_in].map(|tokens| claims(&tokens["access_token"]));
    for name in ["sub", "tenant", "roles", "authorization_details", "tpl", "iss"] {
        assert_eq!(ours[name], theirs[name], "{name}");
    }
    assert_eq!(ours["client_id"], "backend");
    assert_ne!(ours["sid"], theirs["sid"]);
    assert_eq!(exchanged["expires_in"], 900);
    assert!(world.is_active(&exchanged["access_token"]).await);
    // It is a session of one token: revoked, it is over.
    world.revoke("backend", &exchanged["access_token"]).await.expect(200);
    assert!(!world.is_active(&exchanged["access_token"]).await);
}

async fn a_client_brings_the_tokens_that_it_may(world: World) {
    let web = world.sign_in("dana").await["access_token"].clone();
    let portal =
        world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await["access_token"].clone();
    // `portal` and `narrow` introspect nothing: their own tokens only.
    assert_not_good(of_access_token(&world, "portal", &web, &[]).await);
    assert_not_good(of_access_token(&world, "narrow", &web, &[]).await);
    assert_not_good(of_access_token(&world, "narrow", &portal, &[]).await);
    // `backend` introspects what is for the issuer, and that is not what `portal` has.
    assert_not_good(of_access_token(&world, "backend", &portal, &[]).await);
    let child = of_access_token(&world, "backend", &web, &[]).await.expect(200).json();
    // Whoever ends the client of the session ends it, which a verifier can tell by the token alone.
    let (child, own) = (claims(&child["access_token"]), claims(&web));
    assert_eq!((&child["client_id"], &child["session_client"]), (&json!("backend"), &json!("web")));
    assert_eq!(own["session_client"], Value::Null);
    of_access_token(&world, "portal", &portal, &[]).await.expect(200);
    // What somebody else exchanged is not one's own.
    let child =
        of_access_token(&world, "portal", &portal, &[]).await.json()["access_token"].clone();
    assert_not_good(of_access_token(&world, "narrow", &child, &[]).await);
    // An opaque one is as good as another.
    let opaque =
        world.sign_in_at(&Request::of("opaque", REDIRECT_URI), "dana").await["access_token"]
            .clone();
    of_access_token(&world, "backend", &opaque, &[]).await.expect(200);
}

async fn an_exchange_never_gives_more_scope(world: World) {
    let request = Request::web().with("scope", "openid email calendar:read");
    let parent = world.sign_in_at(&request, "sam").await["access_token"].clone();
    let scope_of = async |token: &Value, scope: &str| {
        let answer = of_access_token(&world, "backend", token, &[("scope", scope)]).await;
        let tokens = answer.expect(200).json();
        assert_eq!(tokens["scope"], claims(&tokens["access_token"])["scope"]);
        tokens
    };
    for wider in ["calendar:write", "calendar:read calendar:write", "profile", "admin"] {
        let answer = of_access_token(&world, "backend", &parent, &[("scope", wider)]).await;
        answer.expect_error(400, "invalid_scope");
    }
    let all = scope_of(&parent, "").await;
    assert_eq!(all["scope"], "calendar:read email openid");
    let one = scope_of(&parent, "calendar:read").await;
    assert_eq!(one["scope"], "calendar:read");
    // What was given up is gone for all that follow.
    for gone in ["openid", "calendar:write"] {
        let answer =
            of_access_token(&world, "backend", &one["access_token"], &[("scope", gone)]).await;
        answer.expect_error(400, "invalid_scope");
    }
    world.user_info(&one["access_token"]).await.expect(403);
    // Whoever names one protocol scope gets that one.
    let named = scope_of(&parent, "openid").await;
    assert_eq!(named["scope"], "openid");
}

async fn an_exchange_never_gives_more_permissions(world: World) {
    let parent = world.sign_in("dana").await["access_token"].clone();
    let item = |role: &str, item: Value| json!([{ "type": "cache", "role": role, "cache": "calendar-events", "item": item }]);
    let read = item("readonly", json!({ "keyPrefix": "acme:1:" }));
    let ask = async |token: &Value, details: &Value| {
        let details = details.to_string();
        of_access_token(&world, "backend", token, &[("authorization_details", &details)]).await
    };
    let child = ask(&parent, &read).await.expect(200).json();
    assert_eq!(claims(&child["access_token"])["authorization_details"], read);
    let wider = [
        item("readonly", json!({ "keyPrefix": "acme:" })),
        item("readonly", json!({ "keyPrefix": "acme:2:" })),
        item("readwrite", json!({ "keyPrefix": "acme:1:" })),
        item("readonly", json!({ "all": true })),
        item("readonly", json!("acme:2")),
        json!([read[0], { "type": "topic", "role": "publishsubscribe", "cache": "collaboration", "topic": "acme-events" }]),
    ];
    for wider in &wider {
        ask(&child["access_token"], wider).await.expect_error(400, "invalid_authorization_details");
    }
    let malformed = [
        json!([]),
        json!({}),
        json!([1]),
        json!([{}]),
        json!([{ "type": "cache" }]),
        json!([{ "type": "unknown" }]),
        json!([{ "type": "topic", "role": "readonly", "cache": "calendar-events", "item": "acme:1:x" }]),
        json!([{ "type": "cache", "role": "readonly", "cache": "calendar-events", "item": "acme:1:x", "more": 1 }]),
        json!([{ "type": "cache", "role": "readonly", "cache": "calendar-events" }]),
        json!([{ "type": "cache", "role": "readonly", "cache": "calendar-events", "item": { "keyPrefix": "acme:1:", "all": true } }]),
        json!(vec![read[0].clone(); 300]),
    ];
    for malformed in &malformed {
        ask(&parent, malformed).await.expect_error(400, "invalid_authorization_details");
    }
    let twice = r#"[{"type":"cache","role":"readonly","role":"readwrite","cache":"calendar-events","item":"acme:1:x"}]"#;
    let answer =
        of_access_token(&world, "backend", &parent, &[("authorization_details", twice)]).await;
    answer.expect_error(400, "invalid_authorization_details");
}

async fn an_exchange_never_gives_another_audience(world: World) {
    let both = Request::of("portal", PORTAL_URI).with("audience", API).adding("audience", REPORTS);
    let parent = world.sign_in_at(&both, "dana").await["access_token"].clone();
    let answer = of_access_token(&world, "portal", &parent, &[("audience", REPORTS)]).await;
    let child = answer.expect(200).json()["access_token"].clone();
    assert_eq!(claims(&child)["aud"], REPORTS);
    for wanted in [API, "https://evil.example", &world.issuer] {
        let answer = of_access_token(&world, "portal", &child, &[("audience", wanted)]).await;
        answer.expect_error(400, "invalid_target");
        let answer = of_access_token(
            &world,
            "portal",
            &child,
            &[("audience", REPORTS), ("resource", wanted)],
        )
        .await;
        answer.expect_error(400, "invalid_target");
    }
    // `api` checks tokens for its own audience, and this is none of them any more.
    assert_eq!(
        world.introspect_as("api", child.as_str().unwrap()).await,
        json!({ "active": false })
    );
    assert_eq!(world.introspect_as("api", parent.as_str().unwrap()).await["active"], true);
}

async fn an_exchanged_token_never_outlives_its_parent(world: World) {
    let mut parent = world.sign_in("dana").await["access_token"].clone();
    let end = seconds(&parent, "exp");
    for _ in 0..3 {
        world.clock.advance(TimeDelta::seconds(200));
        let child = of_access_token(&world, "backend", &parent, &[]).await.expect(200).json();
        assert_eq!(seconds(&child["access_token"], "exp"), end);
        parent = child["access_token"].clone();
    }
    world.clock.advance(end - world.clock.now());
    assert!(!world.is_active(&parent).await);
    assert_not_good(of_access_token(&world, "backend", &parent, &[]).await);
}

async fn a_revoked_parent_ends_its_children(world: World) {
    let tokens = world.sign_in("dana").await;
    let child =
        of_access_token(&world, "backend", &tokens["access_token"], &[]).await.expect(200).json();
    world.revoke("web", &tokens["refresh_token"]).await.expect(200);
    assert!(!world.is_active(&child["access_token"]).await);
    assert_not_good(of_access_token(&world, "backend", &child["access_token"], &[]).await);
    // By a second use of the code that began it all, too.
    let code = world.code(&Request::web(), "dana").await;
    let tokens = world.redeem(&code).await.expect(200).json();
    let child =
        of_access_token(&world, "backend", &tokens["access_token"], &[]).await.expect(200).json();
    world.redeem(&code).await.expect_error(400, "invalid_grant");
    assert!(!world.is_active(&child["access_token"]).await);
}

async fn a_chain_of_exchanges_has_an_end(world: World) {
    let first = world.sign_in("dana").await["access_token"].clone();
    let mut token = first.clone();
    for depth in 1..=4 {
        token = of_access_token(&world, "backend", &token, &[]).await.expect(200).json()["access_token"].clone();
        assert_eq!(claims(&token)["ancestors"].as_array().unwrap().len(), depth);
    }
    assert_not_good(of_access_token(&world, "backend", &token, &[]).await);
    // The end of the chain dies with its beginning.
    assert!(world.is_active(&token).await);
    world.revoke("web", &first).await.expect(200);
    assert!(!world.is_active(&token).await);
}

async fn an_exchange_counts_roles_as_they_are_now(mut world: World) {
    let tokens = world.sign_in("dana").await;
    world.deployment.provider("corp").insert("mappings".to_owned(), toml::Value::Array(vec![]));
    world.apply(&[]);
    crate::harness::soon("no role", async || {
        let answer = of_access_token(&world, "backend", &tokens["access_token"], &[]).await;
        (answer.status == 400).then_some(answer)
    })
    .await
    .expect_error(400, "invalid_grant");
}
