//! The whole way of a sign-in, and every place where it may end.

use super::{Key, NOW, World, misconfiguration, now, outage, refusal, upstream};
use crate::domain::Time;
use crate::domain::provider::Provider;
use crate::domain::secret::Secret;
use crate::domain::subject::VerifiedIdentity;
use crate::upstream::Misconfiguration;
use crate::upstream::Outage;
use crate::upstream::Refusal;
use crate::upstream::Upstream;
use crate::upstream::UpstreamError;
use crate::upstream::{CallbackAnswer, LoginOptions, PendingLogin};
use chrono::TimeDelta;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};
use std::collections::HashMap;
use url::Url;

const OPTIONS: LoginOptions<'static> =
    LoginOptions { state: "the state", prompt: None, max_age: None, login_hint: None };

/// One browser on its way.
struct Trip {
    upstream: Upstream,
    provider: Provider,
    pending: PendingLogin,
    query: HashMap<String, String>,
}

impl Trip {
    async fn begin(provider: Provider, options: LoginOptions<'_>) -> Result<Self, UpstreamError> {
        let upstream = upstream();
        let (url, pending) = upstream.begin(&provider, &callback(), &options, now()).await?;
        let query = url.query_pairs().into_owned().collect();
        Ok(Self { upstream, provider, pending, query })
    }

    async fn finish(&self, iss: Option<&str>) -> Result<VerifiedIdentity, UpstreamError> {
        self.finish_at(iss, now()).await
    }

    async fn finish_at(
        &self,
        iss: Option<&str>,
        at: Time,
    ) -> Result<VerifiedIdentity, UpstreamError> {
        let answer =
            CallbackAnswer { code: Secret::new("the code".into()), iss: iss.map(str::to_owned) };
        let secret = Secret::new("it's a:secret".to_owned());
        let (provider, pending) = (&self.provider, &self.pending);
        let callback = callback();
        let finish = self.upstream.finish(provider, Some(&secret), &callback, pending, &answer, at);
        Ok(finish.await?.identity)
    }
}

fn callback() -> Url {
    "https://us.example/login/callback".parse().unwrap()
}

fn claims(world: &World, trip: &Trip) -> Value {
    json!({
        "iss": world.base, "sub": "dana", "aud": "us", "exp": NOW + 600, "iat": NOW,
        "nonce": trip.query["nonce"], "email": "dana@acme.example",
    })
}

fn give(world: &World, key: &Key, claims: &Value) {
    let response = json!({
        "access_token": "the access token", "token_type": "bearer", "expires_in": 60,
        "id_token": key.token(claims),
    });
    world.json("/token", 200, &response);
}

fn form(body: &str) -> HashMap<String, String> {
    url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

#[tokio::test]
async fn a_person_signs_in() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let options = LoginOptions {
        prompt: Some("login consent"),
        max_age: Some(60),
        login_hint: Some("dana@acme.example"),
        ..OPTIONS
    };
    let trip = Trip::begin(world.provider(), options).await.unwrap();
    let query = &trip.query.clone();
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "us"),
        ("redirect_uri", "https://us.example/login/callback"),
        ("scope", "openid profile email"),
        ("state", "the state"),
        ("code_challenge_method", "S256"),
        ("prompt", "login consent"),
        ("max_age", "60"),
        ("login_hint", "dana@acme.example"),
    ] {
        assert_eq!(query[name], value, "{name}");
    }
    assert_eq!(query["nonce"].len(), 43);
    // The store keeps it as text; a log does not show it.
    let stored = serde_json::to_string(&trip.pending).unwrap();
    assert!(stored.contains(&query["nonce"]));
    assert!(!format!("{:?}", trip.pending).contains(&query["nonce"]));
    let trip = Trip { pending: serde_json::from_str(&stored).unwrap(), ..trip };
    let mut told = claims(&world, &trip);
    told["auth_time"] = json!(NOW - 5);
    told["sid"] = json!("there-1");
    give(&world, &key, &told);
    let identity = trip.finish(Some(&world.base)).await.unwrap();
    assert_eq!(identity.session.as_deref(), Some("there-1"));
    assert_eq!(identity.provider.as_str(), "p");
    assert_eq!(identity.upstream_subject, "dana");
    assert_eq!(identity.authenticated_at.unwrap().timestamp(), NOW - 5);
    assert_eq!(Value::Object(identity.claims), told);
    // RFC 6749 §2.3.1: form-encoded, then Basic.
    let request = world.requests("/token").remove(0);
    let basic = data_encoding::BASE64.encode(b"us:it%27s+a%3Asecret");
    assert!(request.head.contains(&format!("Basic {basic}")), "{}", request.head);
    assert!(request.head.contains("user-agent: rolemint"), "{}", request.head);
    let form = form(&request.body);
    assert_eq!(form["grant_type"], "authorization_code");
    assert_eq!(form["code"], "the code");
    assert_eq!(form["redirect_uri"], "https://us.example/login/callback");
    let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(&form["code_verifier"]));
    assert_eq!(challenge, query["code_challenge"]);
}

#[tokio::test]
async fn a_session_name_that_cannot_be_kept_is_none_and_turns_nobody_away() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let longest = "s".repeat(255);
    for (sid, kept) in [
        (json!(longest), Some(longest.as_str())),
        (json!("s".repeat(256)), None),
        (json!(""), None),
        (json!(7), None),
        (Value::Null, None),
    ] {
        let trip = Trip::begin(world.provider(), OPTIONS).await.unwrap();
        let mut told = claims(&world, &trip);
        told["sid"] = sid;
        give(&world, &key, &told);
        let identity = trip.finish(Some(&world.base)).await.unwrap();
        assert_eq!(identity.session.as_deref(), kept, "{}", told["sid"]);
    }
}

#[tokio::test]
async fn a_client_may_post_its_secret() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let provider =
        world.provider_with(|entry| entry["authentication"] = json!("client_secret_post"));
    let trip = Trip::begin(provider, OPTIONS).await.unwrap();
    give(&world, &key, &claims(&world, &trip));
    trip.finish(None).await.unwrap();
    let request = world.requests("/token").remove(0);
    assert_eq!(form(&request.body)["client_secret"], "it's a:secret");
    assert!(!request.head.to_lowercase().contains("authorization:"));
}

#[tokio::test]
async fn no_two_sign_ins_share_a_nonce_or_a_verifier() {
    let world = World::new(&[]);
    let one = Trip::begin(world.provider(), OPTIONS).await.unwrap();
    let two = Trip::begin(world.provider(), OPTIONS).await.unwrap();
    assert_ne!(one.query["nonce"], two.query["nonce"]);
    assert_ne!(one.query["code_challenge"], two.query["code_challenge"]);
}

#[tokio::test]
async fn an_answer_of_another_issuer_never_sees_the_code() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let trip = Trip::begin(world.provider(), OPTIONS).await.unwrap();
    give(&world, &key, &claims(&world, &trip));
    for other in ["https://evil.example", &format!("{}/", world.base), ""] {
        assert_eq!(refusal(trip.finish(Some(other)).await), Refusal::WrongIssuer);
    }
    trip.finish(None).await.unwrap();
    world.discovery(|document| {
        document["authorization_response_iss_parameter_supported"] = json!(true);
    });
    let strict = Trip::begin(world.provider(), OPTIONS).await.unwrap();
    let before = world.count("/token");
    assert_eq!(refusal(strict.finish(None).await), Refusal::MissingIssuer);
    assert_eq!(before, world.count("/token"));
    assert_eq!(before, 1);
}

#[tokio::test]
async fn an_answer_counts_for_the_provider_that_was_asked() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let mut trip = Trip::begin(world.provider(), OPTIONS).await.unwrap();
    give(&world, &key, &claims(&world, &trip));
    trip.provider = world.provider_with(|entry| entry["id"] = json!("q"));
    assert_eq!(refusal(trip.finish(None).await), Refusal::OtherProvider);
    assert_eq!(world.count("/token"), 0);
}

#[tokio::test]
async fn an_id_token_for_somebody_else_or_another_sign_in_is_refused() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let trip = Trip::begin(world.provider(), OPTIONS).await.unwrap();
    let other = Trip::begin(world.provider(), OPTIONS).await.unwrap();
    for (name, value, expected) in [
        ("nonce", json!(other.query["nonce"]), Refusal::Nonce),
        ("nonce", json!(""), Refusal::Nonce),
        ("nonce", json!(null), Refusal::Nonce),
        ("aud", json!("app"), Refusal::Audience),
        ("aud", json!(["us", "app"]), Refusal::Audience),
        ("azp", json!("app"), Refusal::AuthorizedParty),
        ("exp", json!(NOW - 60), Refusal::Expired),
        ("iat", json!(NOW + 61), Refusal::IssuedInFuture),
        ("iss", json!("https://evil.example"), Refusal::WrongIssuer),
        ("events", json!({}), Refusal::TokenType),
        ("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA"), Refusal::AccessTokenHash),
    ] {
        let mut told = claims(&world, &trip);
        told[name] = value.clone();
        give(&world, &key, &told);
        assert_eq!(refusal(trip.finish(None).await), expected, "{name}: {value}");
    }
    let mut told = claims(&world, &trip);
    let digest = Sha512::digest("the access token");
    told["at_hash"] = json!(BASE64URL_NOPAD.encode(&digest[..32]));
    told["azp"] = json!("us");
    told["aud"] = json!(["us"]);
    give(&world, &key, &told);
    trip.finish(None).await.unwrap();
    told.as_object_mut().unwrap().remove("nonce");
    give(&world, &key, &told);
    assert_eq!(refusal(trip.finish(None).await), Refusal::Nonce);
    give(&world, &Key::ed("k"), &claims(&world, &trip));
    assert_eq!(refusal(trip.finish(None).await), Refusal::Signature);
    world.json("/token", 200, &json!({ "access_token": "a", "token_type": "bearer" }));
    assert_eq!(refusal(trip.finish(None).await), Refusal::NoIdToken);
    world.json(
        "/token",
        200,
        &json!({ "access_token": "a", "token_type": "mac", "id_token": "x" }),
    );
    assert_eq!(refusal(trip.finish(None).await), Refusal::TokenType);
}

#[tokio::test]
async fn a_maximum_age_is_held() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let options = LoginOptions { max_age: Some(100), ..OPTIONS };
    let trip = Trip::begin(world.provider(), options).await.unwrap();
    // The person took her time on the consent page: what counts is how old it was when we asked.
    let later = now() + TimeDelta::seconds(500);
    for (auth_time, expected) in [
        (json!(NOW - 160), Ok(())),
        (json!(NOW - 161), Err(Refusal::AuthTime)),
        (json!(NOW + 561), Err(Refusal::AuthTime)),
        (json!("0"), Err(Refusal::Malformed)),
    ] {
        let mut told = claims(&world, &trip);
        told["auth_time"] = auth_time.clone();
        give(&world, &key, &told);
        let outcome = trip.finish_at(None, later).await.map(drop);
        assert_eq!(outcome.map_err(|e| refusal::<()>(Err(e))), expected, "{auth_time}");
    }
    give(&world, &key, &claims(&world, &trip));
    assert_eq!(refusal(trip.finish(None).await), Refusal::AuthTime);
}

#[tokio::test]
async fn user_info_is_asked_for_and_must_be_about_the_same_person() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let provider = world.provider_with(|entry| entry["userinfo"] = json!(true));
    let trip = Trip::begin(provider, OPTIONS).await.unwrap();
    give(&world, &key, &claims(&world, &trip));
    let info = json!({ "sub": "dana", "email": "root@acme.example", "groups": ["g"] });
    world.json("/userinfo", 200, &info);
    let identity = trip.finish(None).await.unwrap();
    assert_eq!(identity.claims["email"], "dana@acme.example");
    assert_eq!(identity.claims["groups"], json!(["g"]));
    let head = world.requests("/userinfo").remove(0).head;
    assert!(head.contains("Bearer the access token"), "{head}");
    for other in [json!({ "sub": "ada" }), json!({}), json!({ "sub": ["dana"] })] {
        world.json("/userinfo", 200, &other);
        assert_eq!(refusal(trip.finish(None).await), Refusal::SubjectMismatch);
    }
    world.json("/userinfo", 401, &json!({}));
    assert_eq!(refusal(trip.finish(None).await), Refusal::UserInfo);
    world.json("/userinfo", 500, &json!({}));
    assert!(matches!(outage(trip.finish(None).await), Outage::Status(500)));
    world.text("/userinfo", 200, "Content-Type: application/jwt", "x");
    assert!(matches!(outage(trip.finish(None).await), Outage::NotJson));
    world.discovery(|document| drop(document.as_object_mut().unwrap().remove("userinfo_endpoint")));
    let trip = Trip { upstream: upstream(), ..trip };
    let found = misconfiguration(trip.finish(None).await);
    assert!(matches!(found, Misconfiguration::NoUserInfoEndpoint));
}

#[tokio::test]
async fn what_the_token_endpoint_says_is_told_apart_and_never_repeated() {
    let world = World::new(&[]);
    let trip = Trip::begin(world.provider(), OPTIONS).await.unwrap();
    let error = |code: &str| json!({ "error": code, "error_description": "LEAK" });
    world.json("/token", 400, &error("invalid_grant"));
    assert_eq!(refusal(trip.finish(None).await), Refusal::Code);
    world.json("/token", 200, &error("bad_verification_code"));
    assert_eq!(refusal(trip.finish(None).await), Refusal::Code);
    for code in ["invalid_client", "unauthorized_client", "incorrect_client_credentials"] {
        world.json("/token", 401, &error(code));
        let found = misconfiguration(trip.finish(None).await);
        assert!(matches!(found, Misconfiguration::Client), "{found:?}");
    }
    world.json("/token", 503, &error("server_error"));
    assert!(matches!(outage(trip.finish(None).await), Outage::Status(503)));
    world.text("/token", 307, "Location: http://127.0.0.1:1/", "");
    let found = misconfiguration(trip.finish(None).await);
    assert!(matches!(found, Misconfiguration::Redirected));
    for body in [json!({ "access_token": ["LEAK"] }), json!({ "access_token": "LEAK" }), json!([])]
    {
        world.json("/token", 200, &body);
        let found = trip.finish(None).await.unwrap_err();
        assert!(!format!("{found:?} {found}").contains("LEAK"));
        assert!(matches!(outage::<()>(Err(found)), Outage::Garbage));
    }
}

fn oauth2(world: &World) -> Provider {
    let entry = json!({
        "id": "hub", "kind": "oauth2", "client_id": "us", "subject": "/id",
        "authorization_endpoint": world.url("/authorize"),
        "token_endpoint": world.url("/token"),
        "userinfo_endpoint": world.url("/user"),
        "scopes": ["read:user"], "tenants": { "by": "fixed", "tenant": "acme" },
    });
    serde_json::from_value(entry).unwrap()
}

#[tokio::test]
async fn a_person_signs_in_at_a_plain_oauth_provider() {
    let world = World::new(&[]);
    let trip = Trip::begin(oauth2(&world), OPTIONS).await.unwrap();
    assert_eq!(trip.query["scope"], "read:user");
    assert_eq!(trip.query["state"], "the state");
    assert_eq!(trip.query["code_challenge_method"], "S256");
    assert!(!trip.query.contains_key("nonce"));
    let response = json!({ "access_token": "a", "token_type": "bearer", "scope": "read:user" });
    world.json("/token", 200, &response);
    world.json("/user", 200, &json!({ "id": 42, "login": "dana" }));
    let identity = trip.finish(None).await.unwrap();
    assert_eq!(identity.upstream_subject, "42");
    assert!(identity.authenticated_at.is_none());
    assert_eq!(Value::Object(identity.claims), json!({ "id": 42, "login": "dana", "sub": "42" }));
    let head = world.requests("/user").remove(0).head;
    for line in ["authorization: Bearer a", "accept: application/json", "user-agent: rolemint"] {
        assert!(head.contains(line), "{head}");
    }
    let challenge = Sha256::digest(&form(&world.requests("/token")[0].body)["code_verifier"]);
    assert_eq!(BASE64URL_NOPAD.encode(&challenge), trip.query["code_challenge"]);
    assert_eq!(refusal(trip.finish(Some(&world.base)).await), Refusal::WrongIssuer);
    assert_eq!(world.count("/token"), 1);
    for nobody in [json!({ "id": null }), json!({ "id": true }), json!({}), json!({ "id": "" })] {
        world.json("/user", 200, &nobody);
        assert_eq!(refusal(trip.finish(None).await), Refusal::Subject);
    }
    world.text("/user", 200, "Content-Type: application/json", r#"{"id":1,"id":2}"#);
    assert!(matches!(outage(trip.finish(None).await), Outage::Garbage));
    let other = serde_json::from_value(
        serde_json::to_value(oauth2(&world))
            .map(|mut entry| {
                entry["id"] = json!("q");
                entry
            })
            .unwrap(),
    );
    let trip = Trip { provider: other.unwrap(), ..trip };
    assert_eq!(refusal(trip.finish(None).await), Refusal::OtherProvider);
}

#[tokio::test]
async fn a_plain_oauth_provider_vouches_for_no_token_and_no_time() {
    let world = World::new(&[]);
    let options = LoginOptions { max_age: Some(60), ..OPTIONS };
    let aged = Trip::begin(oauth2(&world), options).await.map(drop);
    assert_eq!(refusal(aged), Refusal::AuthTime);
    let token = Key::ed("k").token(&json!({}));
    let outcome = upstream().verify_id_token(&oauth2(&world), &token, now()).await;
    assert_eq!(refusal(outcome), Refusal::NotAllowed);
    let mut entry = serde_json::to_value(oauth2(&world)).unwrap();
    entry["authorization_endpoint"] = json!("http://hub.example/authorize");
    let plain = serde_json::from_value(entry).unwrap();
    let found = misconfiguration(Trip::begin(plain, OPTIONS).await.map(drop));
    assert!(matches!(found, Misconfiguration::Endpoint));
}
