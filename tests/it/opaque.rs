//! The forms that a client's tokens may have, read by somebody else's code: no library of ours takes part.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::harness::flow::{ACCESS_TOKEN, REDIRECT_URI, Request, header};
use crate::harness::world::World;
use crate::harness::{on_both_stores, on_embedded_stores};

on_both_stores!(an_opaque_token_says_nothing_and_works_as_any_other);
on_embedded_stores!(
    each_algorithm_signs_so_that_the_published_key_verifies,
    an_opaque_token_that_was_touched_is_none,
);

fn decode(text: &str) -> Vec<u8> {
    BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
}

/// With the key of that name, as it is published.
async fn verifies(world: &World, token: &Value) -> bool {
    let kid = header(token)["kid"].clone();
    let keys = world.browser().get("/oauth2/jwks").await.expect(200).json();
    let key =
        keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap().clone();
    assert_eq!(key["alg"], header(token)["alg"]);
    let (message, signature) = token.as_str().unwrap().rsplit_once('.').unwrap();
    let (message, signature) = (message.as_bytes(), decode(signature));
    let member = |name: &str| decode(key[name].as_str().unwrap());
    match key["alg"].as_str().unwrap() {
        "EdDSA" => UnparsedPublicKey::new(&ED25519, member("x")).verify(message, &signature),
        "ES256" => {
            let point = [vec![4], member("x"), member("y")].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, &signature)
        }
        "RS256" => {
            let (n, e) = (member("n"), member("e"));
            RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, &signature)
        }
        other => panic!("{other}"),
    }
    .is_ok()
}

async fn each_algorithm_signs_so_that_the_published_key_verifies(world: World) {
    for (client, algorithm) in [("web", "EdDSA"), ("es256", "ES256"), ("rs256", "RS256")] {
        let tokens = world.sign_in_at(&Request::of(client, REDIRECT_URI), "dana").await;
        for (name, kind) in [("access_token", "at+jwt"), ("id_token", "JWT")] {
            let token = &tokens[name];
            assert_eq!(header(token)["alg"], algorithm);
            assert_eq!(header(token)["typ"], kind);
            assert!(verifies(&world, token).await, "{client} {name}");
            let text = token.as_str().unwrap();
            let touched = text.replacen(&text[40..44], "AAAA", 1);
            if touched != text {
                let (head, _) = text.split_once('.').unwrap();
                if touched.starts_with(head) {
                    assert!(!verifies(&world, &json!(touched)).await);
                }
            }
        }
        assert!(world.is_active(&tokens["access_token"]).await);
    }
}

async fn an_opaque_token_says_nothing_and_works_as_any_other(world: World) {
    let tokens = world.sign_in_at(&Request::of("opaque", REDIRECT_URI), "dana").await;
    let token = tokens["access_token"].as_str().unwrap();
    let sealed = decode(token.strip_prefix("rma_").unwrap());
    for word in ["acme", "dana", "data-entry", "calendar", "aud"] {
        assert!(!String::from_utf8_lossy(&sealed).contains(word), "{word}");
    }
    let told = world.introspect(&tokens["access_token"]).await;
    assert_eq!(told["active"], true);
    assert_eq!((&told["tenant"], &told["client_id"]), (&json!("acme"), &json!("opaque")));
    assert_eq!(told["authorization_details"], tokens["authorization_details"]);
    // What the back end, a client of signed tokens, has of it, is signed.
    let child = world.exchange("backend", token, ACCESS_TOKEN, &[]).await.expect(200).json();
    assert!(verifies(&world, &child["access_token"]).await);

    world.refresh("opaque", &tokens["refresh_token"]).await.expect(200);
    world.revoke("opaque", &tokens["access_token"]).await.expect(200);
    for dead in [&tokens, &child] {
        assert!(!world.is_active(&dead["access_token"]).await);
    }
    let tokens = world.sign_in_at(&Request::of("opaque", REDIRECT_URI), "dana").await;
    world.clock.advance(chrono::TimeDelta::minutes(15));
    assert!(!world.is_active(&tokens["access_token"]).await);
}

async fn an_opaque_token_that_was_touched_is_none(world: World) {
    let tokens = world.sign_in_at(&Request::of("opaque", REDIRECT_URI), "dana").await;
    let token = tokens["access_token"].as_str().unwrap();
    let sealed = decode(token.strip_prefix("rma_").unwrap());
    // The key's id, the nonce, the text and the tag.
    for at in [0, 3, 4, 15, 16, sealed.len() / 2, sealed.len() - 1] {
        let mut touched = sealed.clone();
        touched[at] ^= 1;
        let touched = json!(format!("rma_{}", BASE64URL_NOPAD.encode(&touched)));
        assert!(!world.is_active(&touched).await, "{at}");
        world.user_info(&touched).await.expect(401);
    }
    for touched in [
        &token[..token.len() - 1],
        &token[..20],
        &format!("{token}A"),
        &token.replace("rma_", "rmr_"),
    ] {
        assert!(!world.is_active(&json!(touched)).await);
    }
    assert!(world.is_active(&tokens["access_token"]).await);
}
