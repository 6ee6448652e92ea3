//! The tables that every verifier is held to, whatever it is written in (`clients/conformance`).

use super::*;
use crate::verifier::feed::Messages;
use crate::verifier::message::Entry;
use serde_json::json;
use std::fs;
use std::path::Path;

fn table(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/conformance");
    serde_json::from_str(&fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

/// `token` with other claims; one that is null is absent.
fn claims(token: &Value, changes: &Value) -> AccessClaims {
    let mut claims = token.as_object().unwrap().clone();
    for (name, value) in changes.as_object().into_iter().flatten() {
        match value {
            Value::Null => claims.remove(name),
            value => claims.insert(name.clone(), value.clone()),
        };
    }
    AccessClaims::parse(Value::Object(claims).to_string().as_bytes()).unwrap()
}

#[test]
fn permissions_allow_what_the_table_says() {
    let table = table("permissions.json");
    let token = json!({
        "iss": "i", "sub": "u_dana", "aud": "a", "exp": 2, "iat": 1, "jti": "AQEBAQEBAQEBAQEBAQEBAQ",
        "client_id": "web", "sid": "AgICAgICAgICAgICAgICAg", "tenant": "acme", "provider": "corp",
        "roles": [], "scope": "", "tpl": [], "rev": 0,
    });
    for case in table["cases"].as_array().unwrap() {
        let vocabulary = &table["vocabularies"][case["vocabulary"].as_str().unwrap()];
        let vocabulary: Arc<Vocabulary> =
            Arc::new(serde_json::from_value(vocabulary.clone()).unwrap());
        let claims = claims(&token, &json!({ "authorization_details": case["permissions"] }));
        let permitted = Some(Arc::new(Permitted::of(&claims, &vocabulary)));
        let verified = Verified { claims: Arc::new(claims), permitted, stale: false };
        let unknowing = Verified { permitted: None, ..verified.clone() };
        for check in case["checks"].as_array().unwrap() {
            let action = check["action"].as_str().unwrap();
            let allowed = verified.allows(action, &check["resource"]);
            assert_eq!(allowed, check["allowed"], "{}: {check}", case["name"]);
            assert!(!unknowing.allows(action, &check["resource"]));
        }
    }
}

#[test]
fn revocations_end_what_the_table_says() {
    let table = table("revocations.json");
    for case in table["cases"].as_array().unwrap() {
        let claims = claims(&table["token"], &case["claims"]);
        let mut view = RevocationView::default();
        for entry in case["entries"].as_array().unwrap() {
            let mut entry = entry.clone();
            entry["at"] = json!(1_790_000_000);
            entry["expires_at"] = json!(1_790_086_400);
            let entry: Entry = serde_json::from_value(entry).unwrap();
            entry.apply_to(&mut view);
        }
        view.forget(at(1_790_000_100));
        assert_eq!(view.ends_token(&claims.facts()), case["dead"], "{}", case["name"]);
        // And in time it is forgotten, of whatever kind.
        view.forget(at(1_790_086_400));
        assert!(!view.ends_token(&claims.facts()), "{}", case["name"]);
    }
}

fn at(seconds: i64) -> crate::domain::Time {
    crate::domain::Time::from_timestamp(seconds, 0).unwrap()
}

/// What one reader knows after these connections, each cut into pieces of so many bytes.
fn read(connections: &[Vec<u8>], piece: usize) -> (Feed, bool) {
    let mut feed = Feed::default();
    let mut given_up = false;
    for bytes in connections {
        feed.disconnect();
        let mut messages = Messages::default();
        given_up = bytes.chunks(piece).any(|bytes| {
            let (told, whole) = messages.push(bytes);
            let heard: Result<Vec<_>, _> = told.iter().map(|message| feed.hear(message)).collect();
            heard.is_err() || whole.is_err()
        });
        if given_up {
            feed.give_up();
        }
    }
    (feed, given_up)
}

#[test]
fn streams_tell_what_the_table_says_wherever_they_are_cut() {
    let table = table("streams.json");
    for case in table["cases"].as_array().unwrap() {
        let bytes = |connection: &Value| match connection {
            Value::String(text) => text.clone().into_bytes(),
            lines => {
                let lines = lines.as_array().unwrap().iter().map(|line| line.as_str().unwrap());
                lines.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
            }
        };
        let connections: Vec<_> =
            case["connections"].as_array().unwrap().iter().map(bytes).collect();
        for piece in [1, 2, 3, 5, 7, 11, 64, usize::MAX] {
            let name = format!("{} (pieces of {piece})", case["name"]);
            let (feed, given_up) = read(&connections, piece);
            let expect = &case["expect"];
            assert_eq!(feed.view().is_some(), expect["complete"], "{name}");
            assert_eq!(given_up, expect["given_up"], "{name}");
            assert_eq!(json!(feed.resume()), expect["resume"], "{name}");
            let Some(view) = feed.view() else { continue };
            assert_eq!(view.applied(), expect["position"], "{name}");
            let dead =
                table["tokens"].as_object().unwrap().iter().filter(|(_, changes)| {
                    view.ends_token(&claims(&table["token"], changes).facts())
                });
            let dead: Vec<_> = dead.map(|(name, _)| name).collect();
            assert_eq!(json!(dead), expect["dead"], "{name}");
        }
    }
}
