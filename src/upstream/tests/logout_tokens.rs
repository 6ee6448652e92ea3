//! Every reason to refuse a logout token.

use super::{Key, NOW, World, limits, now, refusal, upstream};
use crate::upstream::{Refusal, SignedOut, Upstream, UpstreamError, VerifiedLogout};
use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

fn claims(world: &World) -> Value {
    json!({
        "iss": world.base, "aud": "us", "iat": NOW - 10, "exp": NOW + 110, "jti": "j",
        "sub": "dana", "sid": "s", "events": { EVENT: {} },
    })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, names: &[&str]) -> Value {
    for name in names {
        claims.as_object_mut().unwrap().remove(*name);
    }
    claims
}

async fn verify_at(
    upstream: &Upstream,
    world: &World,
    token: &str,
) -> Result<VerifiedLogout, UpstreamError> {
    let provider = world.provider_with(|entry| entry["backchannel_logout"] = json!(true));
    upstream.verify_logout_token(&provider, token, now()).await
}

async fn verify(world: &World, token: &str) -> Result<VerifiedLogout, UpstreamError> {
    verify_at(&upstream(), world, token).await
}

#[tokio::test]
async fn what_is_verified_is_told() {
    let key = Key::rsa("k");
    let world = World::new(&[&key]);
    let (session, subject) = ("s".to_owned(), "dana".to_owned());
    let cases = [
        (
            claims(&world),
            SignedOut::Session { session: session.clone(), subject: Some(subject.clone()) },
        ),
        (without(claims(&world), &["sub"]), SignedOut::Session { session, subject: None }),
        (without(claims(&world), &["sid"]), SignedOut::Person { subject }),
    ];
    for (claims, expected) in cases {
        let verified = verify(&world, &key.token(&claims)).await.unwrap();
        assert_eq!((verified.id.as_str(), verified.signed_out), ("j", expected));
        assert_eq!(verified.expires_at.timestamp(), NOW + 110 + 60);
    }
}

#[tokio::test]
async fn what_providers_write_is_taken() {
    let key = Key::rsa("k");
    let world = World::new(&[&key]);
    let good = claims(&world);
    for typ in ["logout+jwt", "Logout+JWT", "JWT"] {
        let header = with(key.header(), "typ", json!(typ)).to_string();
        verify(&world, &key.sign("RS256", &header, &good.to_string())).await.unwrap();
    }
    let header = without(key.header(), &["typ"]).to_string();
    verify(&world, &key.sign("RS256", &header, &good.to_string())).await.unwrap();
    for (name, value) in [
        ("aud", json!(["us"])),
        ("typ", json!("Logout")),
        ("events", json!({ EVENT: { "more": 1 }, "https://other.example/event": {} })),
        ("iat", json!(NOW - 360)),
        ("iat", json!(NOW + 60)),
        ("exp", json!(NOW - 59)),
    ] {
        let token = key.token(&with(good.clone(), name, value.clone()));
        verify(&world, &token).await.unwrap_or_else(|_| panic!("{name}: {value}"));
    }
}

#[tokio::test]
async fn claims_that_are_wrong_are_refused_before_a_key_is_looked_for() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let good = claims(&world);
    let long = json!("x".repeat(256));
    let cases = [
        ("iss", json!("https://evil.example"), Refusal::WrongIssuer),
        ("iss", json!([world.base]), Refusal::Malformed),
        ("iss", json!(null), Refusal::Malformed),
        ("aud", json!("app"), Refusal::Audience),
        ("aud", json!(["us", "app"]), Refusal::Audience),
        ("aud", json!([]), Refusal::Audience),
        ("aud", json!(null), Refusal::Malformed),
        ("exp", json!(NOW - 60), Refusal::Expired),
        ("exp", json!(null), Refusal::Malformed),
        ("iat", json!(NOW - 361), Refusal::TooOld),
        ("iat", json!(NOW + 61), Refusal::IssuedInFuture),
        ("iat", json!("now"), Refusal::Malformed),
        ("nbf", json!(NOW + 61), Refusal::NotYetValid),
        ("jti", json!(""), Refusal::MissingTokenId),
        ("jti", long.clone(), Refusal::MissingTokenId),
        ("jti", json!(7), Refusal::Malformed),
        ("nonce", json!("n"), Refusal::TokenType),
        ("nonce", json!(null), Refusal::TokenType),
        ("events", json!(null), Refusal::TokenType),
        ("events", json!({}), Refusal::TokenType),
        ("events", json!([EVENT]), Refusal::TokenType),
        ("events", json!(EVENT), Refusal::TokenType),
        ("events", json!({ EVENT: null }), Refusal::TokenType),
        ("events", json!({ EVENT: true }), Refusal::TokenType),
        ("events", json!({ EVENT: [] }), Refusal::TokenType),
        ("events", json!({ "https://other.example/event": {} }), Refusal::TokenType),
        ("typ", json!("ID"), Refusal::TokenType),
        ("typ", json!("Bearer"), Refusal::TokenType),
        ("sub", json!(""), Refusal::Subject),
        ("sub", long.clone(), Refusal::Subject),
        ("sub", json!("da\u{0}na"), Refusal::Subject),
        ("sub", json!(["dana"]), Refusal::Malformed),
        ("sid", json!(""), Refusal::Subject),
        ("sid", json!("\u{0}"), Refusal::Subject),
        ("sid", long, Refusal::Subject),
        ("sid", json!(null), Refusal::Malformed),
    ];
    for (name, value, expected) in cases {
        let token = key.token(&with(good.clone(), name, value.clone()));
        assert_eq!(refusal(verify(&world, &token).await), expected, "{name}: {value}");
    }
    for (names, expected) in [
        (&["iss"][..], Refusal::Malformed),
        (&["aud"], Refusal::Malformed),
        (&["exp"], Refusal::Malformed),
        (&["iat"], Refusal::Malformed),
        (&["jti"], Refusal::MissingTokenId),
        (&["events"], Refusal::TokenType),
        (&["sub", "sid"], Refusal::Subject),
    ] {
        let token = key.token(&without(good.clone(), names));
        assert_eq!(refusal(verify(&world, &token).await), expected, "without {names:?}");
    }
    assert_eq!(world.total(), 0);
}

#[tokio::test]
async fn a_header_that_is_wrong_is_refused_before_a_key_is_looked_for() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let payload = claims(&world).to_string();
    for (name, value, expected) in [
        ("typ", json!("at+jwt"), Refusal::TokenType),
        ("typ", json!("secevent+jwt"), Refusal::TokenType),
        ("typ", json!(null), Refusal::Malformed),
        ("alg", json!("none"), Refusal::Algorithm),
        ("alg", json!("HS256"), Refusal::Algorithm),
        ("alg", json!("PS256"), Refusal::Algorithm),
        ("crit", json!(["exp"]), Refusal::Critical),
        ("b64", json!(false), Refusal::Critical),
    ] {
        let header = with(key.header(), name, value.clone()).to_string();
        let token = key.sign("EdDSA", &header, &payload);
        assert_eq!(refusal(verify(&world, &token).await), expected, "{name}: {value}");
    }
    let encode = |part: &str| BASE64URL_NOPAD.encode(part.as_bytes());
    let unsigned = format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(&payload));
    let twice = payload.replace(r#""sub":"dana""#, r#""sub":"dana","sub":"ada""#);
    for malformed in [unsigned, key.sign("EdDSA", &key.header().to_string(), &twice), "a.b".into()]
    {
        assert_eq!(refusal(verify(&world, &malformed).await), Refusal::Malformed, "{malformed}");
    }
    let long = key.token(&with(claims(&world), "x", json!("x".repeat(16 * 1024))));
    assert_eq!(refusal(verify(&world, &long).await), Refusal::TooLong);
    assert_eq!(world.total(), 0);
}

#[tokio::test]
async fn only_the_providers_keys_count() {
    let (ours, strangers) = (Key::rsa("k"), Key::other_rsa("k"));
    let world = World::new(&[&ours]);
    let good = claims(&world);
    assert_eq!(refusal(verify(&world, &strangers.token(&good)).await), Refusal::Signature);
    // A key that the token brings along is nobody's.
    let mut header = strangers.header();
    header["jwk"] = strangers.jwk();
    header["jku"] = json!(world.url("/strangers-keys"));
    let brought = strangers.sign("RS256", &header.to_string(), &good.to_string());
    assert_eq!(refusal(verify(&world, &brought).await), Refusal::Signature);
    assert_eq!(world.count("/strangers-keys"), 0);
    // The public key as a secret.
    let jwk = ours.jwk().to_string();
    let header = BASE64URL_NOPAD.encode(br#"{"alg":"HS256","kid":"k"}"#);
    let input = format!("{header}.{}", BASE64URL_NOPAD.encode(good.to_string().as_bytes()));
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, jwk.as_bytes()), input.as_bytes());
    let symmetric = format!("{input}.{}", BASE64URL_NOPAD.encode(mac.as_ref()));
    assert_eq!(refusal(verify(&world, &symmetric).await), Refusal::Algorithm);
    // Another claim under the same signature.
    let token = ours.token(&good);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let other = with(good.clone(), "sub", json!("ada")).to_string();
    let forged = format!("{header}.{}.{signature}", BASE64URL_NOPAD.encode(other.as_bytes()));
    assert_eq!(refusal(verify(&world, &forged).await), Refusal::Signature);
}

#[tokio::test]
async fn a_new_key_of_the_provider_is_found() {
    let (old, new) = (Key::ed("old"), Key::ed("new"));
    let world = World::new(&[&old]);
    let upstream = Upstream::new(crate::upstream::UpstreamLimits {
        jwks_cooldown: std::time::Duration::ZERO,
        ..limits()
    });
    let upstream = upstream.unwrap();
    verify_at(&upstream, &world, &old.token(&claims(&world))).await.unwrap();
    world.keys(&[&new]);
    verify_at(&upstream, &world, &new.token(&claims(&world))).await.unwrap();
}

/// Neither passes for the other, whatever else it holds.
#[tokio::test]
async fn an_id_token_is_no_logout_token_and_no_logout_token_an_id_token() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let id_token = json!({
        "iss": world.base, "sub": "dana", "aud": "us", "exp": NOW + 600, "iat": NOW - 10,
        "jti": "j", "sid": "s",
    });
    let id_token = key.token(&id_token);
    assert_eq!(refusal(verify(&world, &id_token).await), Refusal::TokenType);
    let provider = world.provider_with(|entry| entry["exchange"]["audiences"] = json!(["us"]));
    upstream().verify_id_token(&provider, &id_token, now()).await.unwrap();
    let logout_token = key.token(&claims(&world));
    let outcome = upstream().verify_id_token(&provider, &logout_token, now()).await;
    assert_eq!(refusal(outcome), Refusal::TokenType);
}

#[tokio::test]
async fn a_provider_that_may_not_tell_is_not_listened_to() {
    let key = Key::ed("k");
    let world = World::new(&[&key]);
    let token = key.token(&claims(&world));
    let outcome = upstream().verify_logout_token(&world.provider(), &token, now()).await;
    assert_eq!(refusal(outcome), Refusal::NotAllowed);
}
