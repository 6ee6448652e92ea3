//! Who the person behind an access token is, for whoever holds that token alone.

use reqwest::Method;
use serde_json::json;

use crate::harness::flow::{REDIRECT_URI, Request, claims};
use crate::harness::on_embedded_stores;
use crate::harness::world::World;

on_embedded_stores!(
    the_scopes_open_their_claims_and_no_others,
    whoever_shows_no_good_token_is_challenged,
    a_token_stands_in_one_place,
);

const PATH: &str = "/oauth2/userinfo";

async fn the_scopes_open_their_claims_and_no_others(world: World) {
    for (scope, open) in [
        ("openid", &[][..]),
        ("openid email", &["email", "email_verified"]),
        ("openid profile", &["name"]),
        ("openid email profile", &["email", "email_verified", "name"]),
    ] {
        let tokens = world.sign_in_at(&Request::web().with("scope", scope), "dana").await;
        let token = tokens["access_token"].as_str().unwrap();
        for method in [Method::GET, Method::POST] {
            let answer = world.browser().bearer(method, PATH, token).await.expect(200);
            assert_eq!(answer.header("content-type"), "application/json");
            let mut info = answer.json();
            let info = info.as_object_mut().unwrap();
            assert_eq!(info.remove("sub").unwrap(), claims(&tokens["id_token"])["sub"]);
            assert_eq!(info.remove("tenant").unwrap(), "acme");
            let names: Vec<_> = info.keys().map(String::as_str).collect();
            assert_eq!(names, open, "{scope}");
            for (name, value) in info {
                assert_eq!(claims(&tokens["id_token"])[name.as_str()], *value);
            }
        }
    }
    let tokens = world.sign_in_at(&Request::web().with("scope", "email"), "dana").await;
    let answer = world.user_info(&tokens["access_token"]).await;
    let challenge = answer.header("www-authenticate").to_owned();
    answer.expect_error(403, "insufficient_scope");
    assert!(
        challenge.contains("error=\"insufficient_scope\"")
            && challenge.contains("scope=\"openid\"")
    );
    // An opaque token is a token.
    let tokens = world.sign_in_at(&Request::of("opaque", REDIRECT_URI), "dana").await;
    world.user_info(&tokens["access_token"]).await.expect(200);
}

async fn whoever_shows_no_good_token_is_challenged(world: World) {
    let browser = world.browser();
    let answer = browser.get(PATH).await;
    assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"rolemint\"", "RFC 6750 §3.1");
    assert_eq!(answer.expect(401).body, "");
    let tokens = world.sign_in("dana").await;
    let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
    let upstream = world.id_token("dana", &json!({})).await;
    let code = world.code(&Request::web(), "dana").await;
    for bad in [
        "x".to_owned(),
        "a.b.c".to_owned(),
        text("id_token"),
        text("refresh_token"),
        upstream,
        code.value,
        "x".repeat(8000),
    ] {
        let answer = browser.bearer(Method::GET, PATH, &bad).await;
        assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""));
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.expect(401).json(), json!({ "error": "invalid_token" }));
    }
    world.revoke("web", &tokens["access_token"]).await.expect(200);
    world.user_info(&tokens["access_token"]).await.expect(401);
}

async fn a_token_stands_in_one_place(world: World) {
    let tokens = world.sign_in("dana").await;
    let token = tokens["access_token"].as_str().unwrap();
    let browser = world.browser();
    let with = async |headers: &[String]| {
        let mut request = browser.request(Method::GET, PATH);
        for header in headers {
            request = request.header("authorization", header);
        }
        browser.send(request).await.status
    };
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(with(&[format!("{scheme} {token}")]).await, 200);
    }
    for header in [
        format!("Basic {token}"),
        token.to_owned(),
        format!("Bearer{token}"),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("DPoP {token}"),
    ] {
        assert_eq!(with(&[header]).await, 401);
    }
    assert_eq!(with(&[format!("Bearer {token}"), format!("Bearer {token}")]).await, 401);
    assert_eq!(with(&[format!("Bearer {token}"), "Bearer x".to_owned()]).await, 401);
    // Never in the address, where logs would have it, nor in a form.
    browser.get(&format!("{PATH}?access_token={token}")).await.expect(401);
    browser.post(PATH, &[("access_token", token)]).await.expect(401);
}
