//! Every reason to refuse an ID token that was given to be exchanged.

use super::{Key, NOW, World, limits, now, outage, refusal, upstream};
use crate::domain::provider::Provider;
use crate::upstream::Refusal;
use crate::upstream::Upstream;
use crate::upstream::UpstreamLimits;
use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use std::time::Duration;

fn claims(world: &World) -> Value {
    json!({
        "iss": world.base, "sub": "dana", "aud": "app", "exp": NOW + 600, "iat": NOW - 10,
        "email": "dana@acme.example", "groups": ["a", "b"],
    })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

async fn verify(world: &World, token: &str) -> Result<Value, crate::upstream::UpstreamError> {
    verify_at(&upstream(), &world.provider(), token).await
}

async fn verify_at(
    upstream: &Upstream,
    provider: &Provider,
    token: &str,
) -> Result<Value, crate::upstream::UpstreamError> {
    let verified = upstream.verify_id_token(provider, token, now()).await?;
    Ok(Value::Object(verified.identity.claims))
}

#[tokio::test]
async fn a_good_token_of_every_algorithm_is_taken() {
    let keys = [Key::rsa("r"), Key::p256("e"), Key::p384("e3"), Key::ed("d")];
    let world = World::new(&keys.iter().collect::<Vec<_>>());
    let all = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
    let provider = world.provider_with(|entry| entry["algorithms"] = json!(all));
    let upstream = upstream();
    for key in &keys {
        let names: &[&str] = match key.algorithm() {
            "RS256" => &all[..6],
            "ES256" => &["ES256"],
            "ES384" => &["ES384"],
            _ => &["EdDSA"],
        };
        for name in names {
            let header = with(key.header(), "alg", json!(name));
            let token = key.sign(name, &header.to_string(), &claims(&world).to_string());
            let found = verify_at(&upstream, &provider, &token).await;
            assert_eq!(found.unwrap(), claims(&world), "{name}");
        }
    }
    assert_eq!(world.count("/jwks"), 1);
}

#[tokio::test]
async fn what_is_verified_is_told() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let told = with(with(claims(&world), "jti", json!("j")), "auth_time", json!(NOW - 100));
    let token = key.token(&told);
    let verified = upstream().verify_id_token(&world.provider(), &token, now()).await.unwrap();
    assert_eq!(verified.jti.as_deref(), Some("j"));
    assert_eq!(verified.issued_at.timestamp(), NOW - 10);
    assert_eq!(verified.expires_at.timestamp(), NOW + 600);
    assert_eq!(verified.identity.upstream_subject, "dana");
    assert_eq!(verified.identity.authenticated_at.unwrap().timestamp(), NOW - 100);
}

#[tokio::test]
async fn claims_that_are_wrong_are_refused_before_a_key_is_looked_for() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let good = claims(&world);
    let (iss, aud) = (json!(world.base), json!(["app"]));
    let cases = [
        ("iss", json!("https://evil.example"), Refusal::WrongIssuer),
        ("iss", json!(format!("{}/", world.base)), Refusal::WrongIssuer),
        ("iss", json!([iss]), Refusal::Malformed),
        ("iss", json!({ "0": iss }), Refusal::Malformed),
        ("aud", json!("us"), Refusal::Audience),
        ("aud", json!(["app", "evil"]), Refusal::Audience),
        ("aud", json!([]), Refusal::Audience),
        ("aud", json!([aud]), Refusal::Malformed),
        ("aud", json!({ "app": true }), Refusal::Malformed),
        ("aud", json!(null), Refusal::Malformed),
        ("azp", json!("evil"), Refusal::AuthorizedParty),
        ("azp", json!(["app"]), Refusal::Malformed),
        ("exp", json!(NOW - 60), Refusal::Expired),
        ("exp", json!("1900000000"), Refusal::Malformed),
        ("exp", json!(1e300), Refusal::Malformed),
        ("exp", json!(i64::MAX), Refusal::Malformed),
        ("exp", json!(-1), Refusal::Malformed),
        ("iat", json!(NOW + 61), Refusal::IssuedInFuture),
        ("iat", json!(null), Refusal::Malformed),
        ("nbf", json!(NOW + 61), Refusal::NotYetValid),
        ("nbf", json!("0"), Refusal::Malformed),
        ("auth_time", json!(NOW + 61), Refusal::AuthTime),
        ("auth_time", json!("yesterday"), Refusal::Malformed),
        ("sub", json!(""), Refusal::Subject),
        ("sub", json!("x".repeat(256)), Refusal::Subject),
        ("sub", json!(7), Refusal::Malformed),
        ("typ", json!("Bearer"), Refusal::TokenType),
        (
            "events",
            json!({ "http://schemas.openid.net/event/backchannel-logout": {} }),
            Refusal::TokenType,
        ),
    ];
    for (name, value, expected) in cases {
        let token = key.token(&with(good.clone(), name, value.clone()));
        assert_eq!(refusal(verify(&world, &token).await), expected, "{name}: {value}");
    }
    for name in ["iss", "aud", "exp", "iat", "sub"] {
        let token = key.token(&without(good.clone(), name));
        assert_eq!(refusal(verify(&world, &token).await), Refusal::Malformed, "no {name}");
    }
    assert_eq!(world.total(), 0);
    let kept = [
        ("aud", json!(["other-app", "app"])),
        ("azp", json!("other-app")),
        ("exp", json!(NOW - 59)),
        ("iat", json!(NOW + 60)),
        ("iat", json!(1_799_999_990.5)),
        ("nbf", json!(NOW + 60)),
        ("typ", json!("ID")),
        // As Auth0 and Cognito have them.
        ("updated_at", json!("2026-01-02T03:04:05.678Z")),
        ("email_verified", json!("true")),
    ];
    for (name, value) in kept {
        let told = with(good.clone(), name, value.clone());
        let found = verify(&world, &key.token(&told)).await;
        assert_eq!(found.unwrap(), told, "{name}: {value}");
    }
}

#[tokio::test]
async fn headers_that_are_wrong_are_refused_before_a_key_is_looked_for() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let payload = claims(&world).to_string();
    let cases = [
        ("typ", json!("at+jwt"), Refusal::TokenType),
        ("typ", json!("application/at+jwt"), Refusal::TokenType),
        ("typ", json!("logout+jwt"), Refusal::TokenType),
        ("typ", json!("dpop+jwt"), Refusal::TokenType),
        ("typ", json!(""), Refusal::TokenType),
        ("typ", json!(["JWT"]), Refusal::Malformed),
        ("crit", json!([]), Refusal::Critical),
        ("crit", json!(["exp"]), Refusal::Critical),
        ("crit", json!(null), Refusal::Critical),
        ("b64", json!(false), Refusal::Critical),
        ("b64", json!(true), Refusal::Critical),
        ("kid", json!(7), Refusal::Malformed),
        ("alg", json!(null), Refusal::Malformed),
        ("alg", json!(["EdDSA"]), Refusal::Malformed),
        // Known, but not among those of the entry.
        ("alg", json!("PS256"), Refusal::Algorithm),
        ("alg", json!("ES384"), Refusal::Algorithm),
        ("alg", json!("none"), Refusal::Algorithm),
        ("alg", json!("None"), Refusal::Algorithm),
        ("alg", json!("nOnE"), Refusal::Algorithm),
        ("alg", json!(""), Refusal::Algorithm),
        ("alg", json!("HS256"), Refusal::Algorithm),
        ("alg", json!("eddsa"), Refusal::Algorithm),
        ("alg", json!("A128GCM"), Refusal::Algorithm),
    ];
    for (name, value, expected) in cases {
        let header = with(key.header(), name, value.clone()).to_string();
        let token = key.sign("EdDSA", &header, &payload);
        assert_eq!(refusal(verify(&world, &token).await), expected, "{name}: {value}");
    }
    assert_eq!(world.total(), 0);
    for typ in [json!("jwt"), json!("JWT")] {
        let header = with(key.header(), "typ", typ).to_string();
        verify(&world, &key.sign("EdDSA", &header, &payload)).await.unwrap();
    }
    let header = without(key.header(), "typ").to_string();
    verify(&world, &key.sign("EdDSA", &header, &payload)).await.unwrap();
    let header = with(key.header(), "cty", json!("JWT")).to_string();
    let nested = key.sign("EdDSA", &header, &payload);
    assert_eq!(refusal(verify(&world, &nested).await), Refusal::Malformed);
}

#[tokio::test]
async fn tokens_that_are_not_three_plain_parts_are_refused() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let good = key.token(&claims(&world));
    let (header, payload) = (key.header().to_string(), claims(&world).to_string());
    let parts: Vec<&str> = good.split('.').collect();
    let cases = [
        (String::new(), Refusal::Malformed),
        (parts[..2].join("."), Refusal::Malformed),
        (format!("{}.", parts[..2].join(".")), Refusal::Malformed),
        (format!("{good}."), Refusal::Malformed),
        (format!("{good}.{}", parts[2]), Refusal::Malformed),
        (format!("{}=.{}.{}", parts[0], parts[1], parts[2]), Refusal::Malformed),
        (format!("{good}="), Refusal::Malformed),
        (format!(" {good}"), Refusal::Malformed),
        (".".repeat(1_000_000), Refusal::TooLong),
        (key.token(&with(claims(&world), "x", json!("x".repeat(16_000)))), Refusal::TooLong),
        (
            key.sign("EdDSA", r#"{"alg":"EdDSA","kid":"k","alg":"EdDSA"}"#, &payload),
            Refusal::Malformed,
        ),
        (
            key.sign("EdDSA", &header, &payload.replacen('{', r#"{"sub":"root","#, 1)),
            Refusal::Malformed,
        ),
        (
            key.sign("EdDSA", &header, &payload.replacen('{', r#"{"x":{"a":1,"a":2},"#, 1)),
            Refusal::Malformed,
        ),
        (key.sign("EdDSA", &header, "[]"), Refusal::Malformed),
        (key.sign("EdDSA", "\"EdDSA\"", &payload), Refusal::Malformed),
    ];
    for (token, expected) in cases {
        assert_eq!(refusal(verify(&world, &token).await), expected, "{token:.300}");
    }
    assert_eq!(world.total(), 0);
}

#[tokio::test]
async fn a_signature_by_anybody_else_is_refused() {
    let (rsa, ec, ed) = (Key::rsa("r"), Key::p256("e"), Key::ed("d"));
    let world = World::new(&[&rsa, &ec, &ed]);
    let payload = claims(&world).to_string();
    for (kid, forger) in [("r", Key::other_rsa("r")), ("e", Key::p256("e")), ("d", Key::ed("d"))] {
        let token = forger.token(&claims(&world));
        assert_eq!(refusal(verify(&world, &token).await), Refusal::Signature, "{kid}");
    }
    // Another algorithm than the key's, with the signature of the key's own.
    for (alg, kid, key) in [("ES256", "r", &rsa), ("RS256", "e", &ec), ("RS256", "d", &ed)] {
        let header = json!({ "alg": alg, "kid": kid }).to_string();
        let token = key.sign(alg, &header, &payload);
        assert_eq!(refusal(verify(&world, &token).await), Refusal::UnknownKey, "{alg} {kid}");
    }
    // "Psychic" signatures (CVE-2022-21449): r and s are zero.
    let (input, _) = ec
        .token(&claims(&world))
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let zero = format!("{input}.{}", BASE64URL_NOPAD.encode(&[0; 64]));
    assert_eq!(refusal(verify(&world, &zero).await), Refusal::Signature);
    // Claims changed after signing.
    let good = ed.token(&claims(&world));
    let parts: Vec<&str> = good.split('.').collect();
    let other =
        BASE64URL_NOPAD.encode(with(claims(&world), "sub", json!("ada")).to_string().as_bytes());
    let swapped = format!("{}.{other}.{}", parts[0], parts[2]);
    assert_eq!(refusal(verify(&world, &swapped).await), Refusal::Signature);
    // A public key used as a shared secret.
    let jwk = rsa.jwk();
    for secret in [jwk.to_string(), jwk["n"].as_str().unwrap().to_owned()] {
        let header = BASE64URL_NOPAD.encode(br#"{"alg":"HS256","kid":"r"}"#);
        let input = format!("{header}.{}", BASE64URL_NOPAD.encode(payload.as_bytes()));
        let tag =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), input.as_bytes());
        let token = format!("{input}.{}", BASE64URL_NOPAD.encode(tag.as_ref()));
        assert_eq!(refusal(verify(&world, &token).await), Refusal::Algorithm);
    }
}

#[tokio::test]
async fn a_key_that_the_token_brings_along_is_never_looked_at() {
    let (ours, theirs) = (Key::ed("k"), Key::ed("k"));
    let (world, canary) = (World::new(&[&ours]), World::new(&[&theirs]));
    for (name, value) in [
        ("jwk", theirs.jwk()),
        ("jku", json!(canary.url("/jwks"))),
        ("x5u", json!(canary.url("/jwks"))),
        ("x5c", json!(["MIIB"])),
    ] {
        let header = with(theirs.header(), name, value).to_string();
        let token = theirs.sign("EdDSA", &header, &claims(&world).to_string());
        assert_eq!(refusal(verify(&world, &token).await), Refusal::Signature, "{name}");
    }
    assert_eq!(canary.total(), 0);
}

#[tokio::test]
async fn without_a_key_id_every_fitting_key_is_tried() {
    let mut keys = [Key::ed("a"), Key::ed("b"), Key::p256("c")];
    let world = World::new(&[&keys[0], &keys[2], &keys[1]]);
    keys[1].kid = None;
    verify(&world, &keys[1].token(&claims(&world))).await.unwrap();
    let mut stranger = Key::ed("x");
    stranger.kid = None;
    assert_eq!(refusal(verify(&world, &stranger.token(&claims(&world))).await), Refusal::Signature);
    // A key for encryption signs nothing.
    let mut jwk = keys[1].jwk();
    jwk["use"] = json!("enc");
    world.json("/jwks", 200, &json!({ "keys": [jwk] }));
    let token = keys[1].token(&claims(&world));
    assert_eq!(refusal(verify(&world, &token).await), Refusal::UnknownKey);
}

#[tokio::test]
async fn a_key_for_something_else_is_no_candidate() {
    let (mut signs, other) = (Key::ed("a"), Key::ed("b"));
    signs.kid = None;
    for (name, value) in [("use", "enc"), ("alg", "RS256"), ("alg", "A128GCM")] {
        let world = World::new(&[]);
        let mut first = other.jwk();
        first[name] = json!(value);
        world.json("/jwks", 200, &json!({ "keys": [first, signs.jwk()] }));
        verify(&world, &signs.token(&claims(&world))).await.unwrap();
        assert_eq!(world.count("/jwks"), 1);
    }
}

#[tokio::test]
async fn keys_are_asked_for_again_only_when_a_new_one_may_be_there() {
    let mut key = Key::ed("k");
    let world = World::new(&[&key]);
    let (upstream, provider) = (upstream(), world.provider());
    let forged = Key::ed("k").token(&claims(&world));
    let outcome = verify_at(&upstream, &provider, &forged).await;
    assert_eq!(refusal(outcome), Refusal::Signature);
    assert_eq!(world.count("/jwks"), 1);
    // A provider that names no keys has new ones nevertheless.
    key = Key::ed("k");
    key.kid = None;
    world.keys(&[&key]);
    verify_at(&upstream, &provider, &key.token(&claims(&world))).await.unwrap();
    assert_eq!(world.count("/jwks"), 2);
}

#[tokio::test]
async fn weak_and_shared_keys_of_a_provider_are_ignored() {
    let key = Key::rsa("r");
    let world = World::new(&[]);
    let n = BASE64URL_NOPAD.encode(&[0xff; 255]);
    let weak = json!({ "kty": "RSA", "n": n, "e": "AQAB", "kid": "r" });
    let shared = json!({ "kty": "oct", "k": "AAAA", "kid": "r" });
    world.json("/jwks", 200, &json!({ "keys": [weak, shared, 7, { "kty": "NEW" }] }));
    let token = key.token(&claims(&world));
    assert_eq!(refusal(verify(&world, &token).await), Refusal::UnknownKey);
}

#[tokio::test]
async fn the_entry_decides_what_is_exchanged() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let upstream = upstream();
    let closed = world.provider_with(|entry| entry["exchange"] = json!(null));
    let token = key.token(&claims(&world));
    assert_eq!(refusal(verify_at(&upstream, &closed, &token).await), Refusal::NotAllowed);
    let nobody = world.provider_with(|entry| entry["exchange"]["audiences"] = json!([]));
    assert_eq!(refusal(verify_at(&upstream, &nobody, &token).await), Refusal::Audience);
    let ages = [(300, Ok(())), (301, Err(Refusal::TooOld))];
    for (age, expected) in ages {
        let token = key.token(&with(claims(&world), "iat", json!(NOW - age)));
        let outcome = verify(&world, &token).await.map(drop);
        assert_eq!(outcome.map_err(|e| refusal::<()>(Err(e))), expected, "{age}");
    }
    let strict = world.provider_with(|entry| entry["exchange"]["require_jti"] = json!(true));
    for (jti, expected) in [
        (json!(""), Err(Refusal::MissingTokenId)),
        (json!(1), Err(Refusal::Malformed)),
        (json!("j"), Ok(())),
    ] {
        let token = key.token(&with(claims(&world), "jti", jti));
        let outcome = verify_at(&upstream, &strict, &token).await.map(drop);
        assert_eq!(outcome.map_err(|e| refusal::<()>(Err(e))), expected);
    }
    assert_eq!(refusal(verify_at(&upstream, &strict, &token).await), Refusal::MissingTokenId);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_up_key_ids_cost_one_request_in_a_cooldown() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let cooldown = Duration::from_millis(1500);
    let upstream = Upstream::new(UpstreamLimits { jwks_cooldown: cooldown, ..limits() }).unwrap();
    verify_at(&upstream, &world.provider(), &key.token(&claims(&world))).await.unwrap();
    assert_eq!(world.count("/jwks"), 1);
    for wave in 0..2 {
        let mut storm = tokio::task::JoinSet::new();
        for n in 0..100 {
            let (upstream, provider) = (upstream.clone(), world.provider());
            let header = json!({ "alg": "EdDSA", "kid": format!("{wave}-{n}") }).to_string();
            let token = key.sign("EdDSA", &header, &claims(&world).to_string());
            storm.spawn(async move {
                assert_eq!(
                    refusal(verify_at(&upstream, &provider, &token).await),
                    Refusal::UnknownKey
                );
            });
        }
        while let Some(done) = storm.join_next().await {
            done.unwrap();
        }
        for n in 0..3 {
            let header = json!({ "alg": "EdDSA", "kid": format!("late-{n}") }).to_string();
            let token = key.sign("EdDSA", &header, &claims(&world).to_string());
            let outcome = verify_at(&upstream, &world.provider(), &token).await;
            assert_eq!(refusal(outcome), Refusal::UnknownKey);
        }
        assert_eq!(world.count("/jwks"), 2 + wave);
        if wave == 0 {
            tokio::time::sleep(cooldown).await;
        }
    }
    assert_eq!(world.count("/.well-known/openid-configuration"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_is_taken_at_once_by_everybody() {
    let (old, new) = (Key::ed("old"), Key::ed("new"));
    let world = World::new(&[&old]);
    let upstream = upstream();
    verify_at(&upstream, &world.provider(), &old.token(&claims(&world))).await.unwrap();
    world.keys(&[&new]);
    world.delay("/jwks", Duration::from_millis(100));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (upstream, provider) = (upstream.clone(), world.provider());
        let token = new.token(&claims(&world));
        all.spawn(async move { verify_at(&upstream, &provider, &token).await.unwrap() });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    assert_eq!(world.count("/jwks"), 2);
    // The old one is gone with them.
    let token = old.token(&claims(&world));
    assert_eq!(refusal(verify_at(&upstream, &world.provider(), &token).await), Refusal::UnknownKey);
    assert_eq!(world.count("/jwks"), 2);
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_use_up_the_cooldown() {
    let (old, new) = (Key::ed("old"), Key::ed("new"));
    let world = World::new(&[&old]);
    let (upstream, provider) = (upstream(), world.provider());
    verify_at(&upstream, &provider, &old.token(&claims(&world))).await.unwrap();
    world.keys(&[&new]);
    world.delay("/jwks", Duration::from_millis(200));
    let token = new.token(&claims(&world));
    let hasty = verify_at(&upstream, &provider, &token);
    tokio::time::timeout(Duration::from_millis(50), hasty).await.unwrap_err();
    verify_at(&upstream, &provider, &token).await.unwrap();
    assert_eq!(world.count("/jwks"), 2);
}

#[tokio::test]
async fn a_readable_key_is_not_held_up_by_a_slow_refetch() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let (upstream, provider) = (upstream(), world.provider());
    let good = key.token(&claims(&world));
    verify_at(&upstream, &provider, &good).await.unwrap();
    world.delay("/jwks", Duration::from_secs(4));
    let unknown = Key::ed("unknown").token(&claims(&world));
    let (upstream2, provider2) = (upstream.clone(), provider.clone());
    let slow =
        tokio::spawn(async move { verify_at(&upstream2, &provider2, &unknown).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let quick = verify_at(&upstream, &provider, &good);
    tokio::time::timeout(Duration::from_secs(2), quick).await.unwrap().unwrap();
    slow.abort();
}

#[tokio::test]
async fn keys_outlive_a_short_outage_and_not_a_long_one() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let limits = UpstreamLimits {
        metadata_max_age: Duration::from_secs(1),
        jwks_cooldown: Duration::from_millis(50),
        ..limits()
    };
    let (upstream, provider) = (Upstream::new(limits).unwrap(), world.provider());
    let token = key.token(&claims(&world));
    verify_at(&upstream, &provider, &token).await.unwrap();
    for path in ["/jwks", "/.well-known/openid-configuration"] {
        world.text(path, 503, "X: y", "");
    }
    tokio::time::sleep(Duration::from_millis(1100)).await;
    verify_at(&upstream, &provider, &token).await.unwrap();
    assert!(world.count("/.well-known/openid-configuration") > 1);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    outage(verify_at(&upstream, &provider, &token).await);
    world.discovery(|_| {});
    world.keys(&[&key]);
    verify_at(&upstream, &provider, &token).await.unwrap();
}
