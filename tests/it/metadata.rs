//! What the server says of itself, and to which browser pages it speaks.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;

use crate::harness::flow::{APP_ORIGIN, Request};
use crate::harness::http::Answer;
use crate::harness::on_embedded_stores;
use crate::harness::world::World;

on_embedded_stores!(
    both_documents_say_the_same_and_what_is_true,
    every_key_is_public,
    a_hostile_host_changes_nothing,
    anybody_may_read_what_is_public,
    a_page_of_a_declared_origin_may_ask_and_no_other,
    health_and_readiness_say_no_more,
);

const DOCUMENTS: [&str; 2] =
    ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"];

async fn both_documents_say_the_same_and_what_is_true(world: World) {
    let browser = world.browser();
    let [openid, oauth] = DOCUMENTS.map(|path| browser.get(path));
    let (openid, oauth) = (openid.await.expect(200), oauth.await.expect(200));
    assert_eq!(openid.header("content-type"), "application/json");
    let metadata = openid.json();
    assert_eq!(metadata, oauth.json());
    assert_eq!(metadata["issuer"], world.issuer.as_str());
    // Every endpoint is ours and answers, in its own way, a request that is not in order.
    let endpoints: Vec<_> = metadata
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| name.ends_with("_endpoint") || *name == "jwks_uri")
        .map(|(name, url)| {
            (name.as_str(), url.as_str().unwrap().strip_prefix(&world.issuer).unwrap())
        })
        .collect();
    assert_eq!(endpoints.len(), 6, "{endpoints:?}");
    for (name, path) in endpoints {
        let (answer, expected) = match name {
            "jwks_uri" => (browser.get(path).await, 200),
            "authorization_endpoint" => (browser.get(path).await, 400),
            "userinfo_endpoint" => (browser.get(path).await, 401),
            _ => (browser.post(path, &[]).await, 401),
        };
        assert_eq!(answer.status, expected, "{name}");
    }
    for (name, expected) in [
        ("response_types_supported", json!(["code"])),
        ("response_modes_supported", json!(["query"])),
        ("code_challenge_methods_supported", json!(["S256"])),
        ("subject_types_supported", json!(["public"])),
        ("authorization_response_iss_parameter_supported", json!(true)),
        ("request_parameter_supported", json!(false)),
        ("request_uri_parameter_supported", json!(false)),
    ] {
        assert_eq!(metadata[name], expected, "{name}");
    }
    for (name, value) in metadata.as_object().unwrap() {
        assert!(value.as_array().is_none_or(|list| !list.is_empty()), "RFC 8414 §3.2: {name}");
    }
    // Every algorithm has its key.
    let keys = browser.get("/oauth2/jwks").await.json();
    let algorithms: BTreeSet<_> =
        keys["keys"].as_array().unwrap().iter().map(|key| key["alg"].as_str().unwrap()).collect();
    let advertised = metadata["id_token_signing_alg_values_supported"].as_array().unwrap();
    assert_eq!(algorithms, advertised.iter().map(|alg| alg.as_str().unwrap()).collect());
    assert!(!algorithms.contains("none") && !algorithms.iter().any(|alg| alg.starts_with("HS")));
}

async fn every_key_is_public(world: World) {
    let answer = world.browser().get("/oauth2/jwks").await.expect(200);
    let keys = answer.json()["keys"].as_array().unwrap().clone();
    let mut names = BTreeSet::new();
    for key in &keys {
        let members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        let allowed = ["alg", "crv", "e", "kid", "kty", "n", "use", "x", "y"];
        assert!(members.iter().all(|name| allowed.contains(name)), "{members:?}");
        assert_eq!(key["use"], "sig");
        assert!(names.insert(key["kid"].as_str().unwrap().to_owned()), "two keys of one name");
    }
    assert_eq!(keys.len(), 3);
    assert!(answer.header("cache-control").contains("max-age="));
    // The keys are kept, not made anew.
    let mut world = world;
    world.stop().await;
    world.start().await;
    assert_eq!(world.browser().get("/oauth2/jwks").await.json()["keys"], json!(keys));
}

async fn a_hostile_host_changes_nothing(world: World) {
    let browser = world.browser();
    let plain = browser.get(DOCUMENTS[0]).await.body;
    let headers = [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/evil"),
        ("x-original-url", "/evil"),
        ("forwarded", "host=evil.example;proto=https"),
        ("x-forwarded-for", "127.0.0.1"),
    ];
    for (name, value) in headers {
        let request = browser.request(Method::GET, DOCUMENTS[0]).header(name, value);
        assert_eq!(browser.send(request).await.expect(200).body, plain, "{name}");
        let request = browser.request(Method::GET, &Request::web().path()).header(name, value);
        let answer = browser.send(request).await.expect(303);
        assert!(!answer.header("location").contains("evil"), "{name}");
        let cookie = answer.header("set-cookie");
        assert!(!cookie.contains("evil") && !cookie.contains("Secure"), "{name}");
    }
}

async fn anybody_may_read_what_is_public(world: World) {
    for path in [DOCUMENTS[0], DOCUMENTS[1], "/oauth2/jwks"] {
        let browser = world.browser();
        let request =
            browser.request(Method::GET, path).header("origin", "https://anywhere.example");
        let answer = browser.send(request).await.expect(200);
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
        assert!(answer.headers.get("access-control-allow-credentials").is_none());
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

fn cors_headers(answer: &Answer) -> Vec<String> {
    let names = answer.headers.keys().map(|name| name.as_str().to_owned());
    names.filter(|name| name.starts_with("access-control-")).collect()
}

async fn a_page_of_a_declared_origin_may_ask_and_no_other(world: World) {
    let tokens = world.sign_in("dana").await;
    let browser = world.browser();
    let strangers = [
        "https://evil.example",
        "null",
        "https://app.example.evil.example",
        "http://app.example",
        "https://app.example:444",
        "https://APP.example",
        "*",
    ];
    let token = tokens["access_token"].as_str().unwrap();
    let form = |body: &str| (Method::POST, body.to_owned());
    let asked = [
        ("/oauth2/token", form("client_id=web&grant_type=refresh_token&refresh_token=x"), true),
        ("/oauth2/revoke", form("client_id=web&token=x"), true),
        ("/oauth2/userinfo", (Method::GET, String::new()), true),
        // A page of web's is none of the neighbour's, and a program's endpoint is no page's.
        (
            "/oauth2/token",
            form("client_id=neighbour&grant_type=refresh_token&refresh_token=x"),
            false,
        ),
        ("/oauth2/introspect", form("client_id=web&token=x"), false),
        ("/login/provider", form("continue=x"), false),
    ];
    for (path, (method, body), may) in asked {
        for origin in strangers.iter().chain([&APP_ORIGIN]) {
            let request = browser.request(method.clone(), path).header("origin", *origin);
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            let answer = browser.send(request.bearer_auth(token).body(body.clone())).await;
            // A bearer token is no client's authentication: so once more without.
            let answer = if path == "/oauth2/userinfo" {
                answer
            } else {
                let request = browser.request(method.clone(), path).header("origin", *origin);
                let request = request.header("content-type", "application/x-www-form-urlencoded");
                browser.send(request.body(body.clone())).await
            };
            if may && *origin == APP_ORIGIN {
                assert_eq!(answer.header("access-control-allow-origin"), APP_ORIGIN, "{path}");
                assert_eq!(answer.header("vary"), "Origin");
                assert!(answer.headers.get("access-control-allow-credentials").is_none());
            } else {
                assert!(cors_headers(&answer).is_empty(), "{path} {origin}");
            }
            let preflight = browser
                .request(Method::OPTIONS, path)
                .header("origin", *origin)
                .header("access-control-request-method", method.as_str())
                .header("access-control-request-headers", "authorization");
            let answer = browser.send(preflight).await;
            if ["/oauth2/introspect", "/login/provider"].contains(&path) || *origin != APP_ORIGIN {
                assert!(cors_headers(&answer).is_empty(), "OPTIONS {path} {origin}");
            } else {
                assert_eq!(answer.expect(204).header("access-control-allow-origin"), APP_ORIGIN);
            }
        }
    }
}

async fn health_and_readiness_say_no_more(world: World) {
    for path in ["/healthz", "/readyz"] {
        let answer = world.browser().get(path).await.expect(200);
        assert_eq!(answer.json(), json!({ "status": "ok" }));
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(answer.headers.get("server").is_none());
    }
    for path in [
        "/",
        "/demo",
        "/metrics",
        "/oauth2",
        "/oauth2/",
        "/oauth2/token/",
        "/OAUTH2/token",
        "/.git/config",
        "/oauth2/..%2fhealthz",
    ] {
        let answer = world.browser().get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.location().is_none());
    }
}
