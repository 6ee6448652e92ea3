//! Whether a token is alive: only for who may ask, and whatever is not is never told apart.

use chrono::TimeDelta;
use serde_json::{Value, json};
use toml::Value as Toml;

use crate::harness::flow::{API, PORTAL_URI, REDIRECT_URI, Request, claims, forged, header};
use crate::harness::world::World;
use crate::harness::{on_both_stores, on_embedded_stores, soon};

on_both_stores!(
    an_active_token_says_what_it_is,
    a_token_of_another_audience_is_inactive,
    a_suspended_tenant_ends_its_tokens,
    a_suspended_client_ends_its_tokens,
    a_suspended_provider_ends_its_tokens,
    a_deleted_client_ends_its_tokens,
    a_provider_that_loses_a_tenant_ends_its_tokens,
);
on_embedded_stores!(
    only_a_client_with_a_secret_may_ask,
    what_is_no_token_is_inactive,
    a_forged_token_is_inactive,
    a_refresh_token_is_shown_to_its_own_client_alone,
    a_wrong_hint_changes_nothing,
    a_replaced_role_ends_its_tokens,
);

fn inactive() -> Value {
    json!({ "active": false })
}

async fn an_active_token_says_what_it_is(world: World) {
    let tokens = world.sign_in("dana").await;
    let told = world.introspect(&tokens["access_token"]).await;
    let mut expected = claims(&tokens["access_token"]);
    expected["active"] = json!(true);
    expected["token_type"] = json!("Bearer");
    assert_eq!(told, expected);
    assert_eq!(header(&tokens["access_token"])["typ"], "at+jwt");
    for name in [
        "iss",
        "sub",
        "aud",
        "exp",
        "iat",
        "jti",
        "client_id",
        "sid",
        "tenant",
        "roles",
        "scope",
        "authorization_details",
        "tpl",
        "rev",
    ] {
        assert!(told.get(name).is_some(), "RFC 9068 and our own: {name}");
    }
    assert!(told.get("email").is_none(), "an access token holds nothing personal");
    // A client may always check what is its own.
    assert_eq!(
        world.introspect_as("backend", tokens["access_token"].as_str().unwrap()).await,
        told
    );
}

async fn a_token_of_another_audience_is_inactive(world: World) {
    let tokens = world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await;
    let token = tokens["access_token"].as_str().unwrap();
    assert_eq!(claims(&tokens["access_token"])["aud"], API);
    assert_eq!(world.introspect_as("api", token).await["active"], true);
    assert_eq!(world.introspect_as("portal", token).await["active"], true, "its own");
    for other in ["backend", "narrow", "posting"] {
        assert_eq!(world.introspect_as(other, token).await, inactive(), "{other}");
    }
    // And the other way round.
    let tokens = world.sign_in("dana").await;
    for other in ["api", "portal", "narrow"] {
        let token = tokens["access_token"].as_str().unwrap();
        assert_eq!(world.introspect_as(other, token).await, inactive(), "{other}");
    }
}

async fn only_a_client_with_a_secret_may_ask(world: World) {
    let tokens = world.sign_in("dana").await;
    let token = ("token", tokens["access_token"].as_str().unwrap());
    let browser = world.browser();
    let nobody = browser.post("/oauth2/introspect", &[token]).await;
    assert!(nobody.header("www-authenticate").starts_with("Basic"));
    assert_eq!(nobody.header("cache-control"), "no-store");
    assert!(!nobody.expect_error(401, "invalid_client").body.contains("active"));
    // Not even its own client, if that is public.
    for client in ["web", "neighbour"] {
        let answer = world.post_as(client, "/oauth2/introspect", &[token]).await;
        answer.expect_error(401, "invalid_client");
    }
    let answer = browser.post_as(("backend", "wrong-secret"), "/oauth2/introspect", &[token]).await;
    answer.expect_error(401, "invalid_client");
    let answer = browser.get(&format!("/oauth2/introspect?token={}", token.1)).await;
    assert_eq!(answer.header("allow"), "POST");
    answer.expect(405);
    for form in [&[][..], &[("token", "")], &[token, token]] {
        let answer = world.post_as("backend", "/oauth2/introspect", form).await;
        answer.expect_error(400, "invalid_request");
    }
    // A token opens no door that a secret does.
    let token = tokens["access_token"].as_str().unwrap();
    let answer = world
        .post_with(&format!("Bearer {token}"), "/oauth2/introspect", &[("token", token)])
        .await;
    answer.expect_error(401, "invalid_client");
}

async fn what_is_no_token_is_inactive(world: World) {
    let tokens = world.sign_in("dana").await;
    let upstream = world.id_token("dana", &json!({})).await;
    let token = tokens["access_token"].as_str().unwrap();
    let long = "x".repeat(60_000);
    let dots = ".".repeat(60_000);
    let no_tokens = [
        "x",
        ".",
        "..",
        "a.b.c",
        "rmr_",
        "rma_",
        "rma_AAAA",
        "rmc_AAAA",
        "e30.e30.e30",
        "\0",
        "ünïcødé",
        &long,
        &dots,
        &format!("rma_{long}"),
        &format!("{token}."),
        &format!(".{token}"),
        &format!("{token}="),
        &format!(" {token}"),
        &format!("{token}.{token}"),
        &upstream,
        // Ours, and no access token.
        tokens["id_token"].as_str().unwrap(),
    ];
    for no_token in no_tokens {
        assert_eq!(world.introspect_as("backend", no_token).await, inactive(), "{no_token:.40}");
    }
    // A code is none either.
    let code = world.code(&Request::web(), "dana").await;
    assert_eq!(world.introspect_as("backend", &code.value).await, inactive());
    world.clock.advance(TimeDelta::minutes(15));
    assert_eq!(world.introspect(&tokens["access_token"]).await, inactive(), "expired");
}

async fn a_forged_token_is_inactive(world: World) {
    let token = world.sign_in("dana").await["access_token"].clone();
    let rsa =
        world.sign_in_at(&Request::of("rs256", REDIRECT_URI), "dana").await["access_token"].clone();
    let same = json!({});
    let mut all = vec![
        forged(&token, &same, &json!({ "tenant": "globex" })),
        forged(&token, &same, &json!({ "exp": 4_000_000_000_u64 })),
        forged(&token, &same, &json!({ "roles": ["admin"] })),
        forged(&token, &json!({ "alg": "none" }), &same),
        forged(&token, &json!({ "alg": "HS256" }), &same),
        forged(&token, &json!({ "alg": "ES256" }), &same),
        forged(&token, &json!({ "typ": "JWT" }), &same),
        forged(&token, &json!({ "kid": "unknown" }), &same),
        forged(&token, &json!({ "kid": header(&rsa)["kid"] }), &same),
        forged(&token, &json!({ "crit": [] }), &same),
        forged(&token, &json!({ "jku": "https://evil.example/jwks" }), &same),
    ];
    let text = token.as_str().unwrap();
    let (signed, signature) = text.rsplit_once('.').unwrap();
    let other = rsa.as_str().unwrap().rsplit_once('.').unwrap().1;
    all.extend([
        format!("{signed}."),
        signed.to_owned(),
        format!("{signed}.{other}"),
        format!("{signed}.{}", &signature[4..]),
    ]);
    // One bit in the middle of the signature.
    let middle = signature.len() / 2;
    let bit = if &signature[middle..=middle] == "A" { "B" } else { "A" };
    all.push(format!("{signed}.{}{bit}{}", &signature[..middle], &signature[middle + 1..]));
    assert!(world.is_active(&token).await);
    for forged in all {
        assert_ne!(forged, text);
        assert_eq!(world.introspect_as("backend", &forged).await, inactive(), "{forged}");
        world.user_info(&json!(forged)).await.expect(401);
    }
    assert!(world.is_active(&token).await);
}

async fn a_refresh_token_is_shown_to_its_own_client_alone(world: World) {
    let tokens = world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await;
    let token = tokens["refresh_token"].as_str().unwrap();
    let told = world.introspect_as("portal", token).await;
    assert_eq!(told["active"], true);
    assert_eq!(told["sid"], claims(&tokens["access_token"])["sid"]);
    for other in ["api", "backend", "narrow"] {
        assert_eq!(world.introspect_as(other, token).await, inactive(), "{other}");
    }
    let next = world.refresh("portal", &tokens["refresh_token"]).await.expect(200).json();
    assert_eq!(world.introspect_as("portal", token).await, inactive(), "superseded");
    world.revoke("portal", &next["refresh_token"]).await.expect(200);
    let token = next["refresh_token"].as_str().unwrap();
    assert_eq!(world.introspect_as("portal", token).await, inactive(), "revoked");
}

async fn a_wrong_hint_changes_nothing(world: World) {
    let tokens = world.sign_in("dana").await;
    for hint in ["refresh_token", "access_token", "pac_token", ""] {
        let form = [("token", tokens["access_token"].as_str().unwrap()), ("token_type_hint", hint)];
        let answer = world.post_as("backend", "/oauth2/introspect", &form).await;
        assert_eq!(answer.expect(200).json()["active"], true, "{hint}");
    }
}

/// Everything that a person at `web` has is dead soon after the deployment file was applied.
async fn assert_ends(world: World, tokens: &Value, prune: &[&str]) {
    assert!(world.is_active(&tokens["access_token"]).await);
    // What was exchanged from it by another client, which nobody touched, dies with it.
    let token = tokens["access_token"].as_str().unwrap();
    let kind = crate::harness::flow::ACCESS_TOKEN;
    let child = world.exchange("backend", token, kind, &[]).await.expect(200).json();
    assert!(world.is_active(&child["access_token"]).await);
    world.apply(prune);
    soon("the end of the token", async || {
        (!world.is_active(&tokens["access_token"]).await).then_some(())
    })
    .await;
    assert!(!world.is_active(&child["access_token"]).await);
    world.user_info(&tokens["access_token"]).await.expect(401);
    let refreshed = world.refresh("web", &tokens["refresh_token"]).await;
    assert!([400, 401].contains(&refreshed.status), "{}", refreshed.body);
    let exchanged = world.exchange("backend", token, kind, &[]).await;
    exchanged.expect_error(400, "invalid_request");
}

async fn a_suspended_tenant_ends_its_tokens(mut world: World) {
    let tokens = world.sign_in("dana").await;
    world.deployment.tenant("acme").insert("status".to_owned(), "suspended".into());
    assert_ends(world, &tokens, &[]).await;
}

async fn a_suspended_client_ends_its_tokens(mut world: World) {
    let tokens = world.sign_in("dana").await;
    world.deployment.client("web").insert("status".to_owned(), "suspended".into());
    assert_ends(world, &tokens, &[]).await;
}

async fn a_suspended_provider_ends_its_tokens(mut world: World) {
    let tokens = world.sign_in("dana").await;
    world.deployment.provider("corp").insert("status".to_owned(), "suspended".into());
    assert_ends(world, &tokens, &[]).await;
}

async fn a_deleted_client_ends_its_tokens(mut world: World) {
    let tokens = world.sign_in("dana").await;
    let clients = world.deployment.0["clients"].as_array_mut().unwrap();
    let web = clients.iter().find(|client| client["id"].as_str() == Some("web")).unwrap().clone();
    clients.retain(|client| client["id"].as_str() != Some("web"));
    world.apply(&["client:web"]);
    soon("the end of the token", async || {
        (!world.is_active(&tokens["access_token"]).await).then_some(())
    })
    .await;
    // Declared again, it is another client.
    world.deployment.0["clients"].as_array_mut().unwrap().push(web);
    world.apply(&[]);
    soon("the client is back", async || {
        let answer = world.refresh("web", &tokens["refresh_token"]).await;
        (answer.status == 400).then_some(())
    })
    .await;
    assert!(!world.is_active(&tokens["access_token"]).await);
    world.sign_in("dana").await;
}

async fn a_provider_that_loses_a_tenant_ends_its_tokens(mut world: World) {
    let tokens = world.sign_in("dana").await;
    let gil = world.sign_in_at(&Request::web().with("tenant", "globex"), "gil").await;
    let tenants =
        toml::toml! { tenants = { by = "domain", table = { "globex.example" = "globex" } } };
    let tenants: Toml = tenants["tenants"].clone();
    world.deployment.provider("corp").insert("tenants".to_owned(), tenants);
    world.apply(&[]);
    soon("the end of the token", async || {
        (!world.is_active(&tokens["access_token"]).await).then_some(())
    })
    .await;
    world.refresh("web", &tokens["refresh_token"]).await.expect_error(400, "invalid_grant");
    // Nobody else's.
    assert!(world.is_active(&gil["access_token"]).await);
    world.refresh("web", &gil["refresh_token"]).await.expect(200);
}

async fn a_replaced_role_ends_its_tokens(mut world: World) {
    let tokens = world.sign_in("sam").await;
    // Nobody has the role any more, and then there is none.
    let rule = toml::toml! { claim = "/roles" contains = "data-entry" role = "data-entry" };
    world.deployment.provider("corp").insert("mappings".to_owned(), Toml::Array(vec![rule.into()]));
    world.apply(&[]);
    let roles = world.deployment.0["roles"].as_array_mut().unwrap();
    roles.retain(|role| role["role"].as_str() != Some("clerk"));
    world.apply(&["role:clerk"]);
    soon("the end of the token", async || {
        (!world.is_active(&tokens["access_token"]).await).then_some(())
    })
    .await;
}
