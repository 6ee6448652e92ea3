//! Every secret that a test hands out or is handed is noted here. After the last test
//! `scripts/test` looks for all of them in all logs; one that is found is a failure.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::Value;
use url::Url;

use super::logs;

static NOTED: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

/// Names under which answers carry secrets.
const NAMES: [&str; 13] = [
    "access_token",
    "refresh_token",
    "id_token",
    "auth_token",
    "subject_token",
    "api_key",
    "authorization_code",
    "code_verifier",
    "device_code",
    "user_code",
    "client_secret",
    "cookies",
    "secrets",
];

/// Notes a secret. Of a JWT the signature alone is a secret too.
pub(crate) fn note(secret: &str) {
    let signature = secret.rsplit_once('.').map(|(_, signature)| signature);
    let mut lines = String::new();
    let mut noted = NOTED.lock().unwrap_or_else(PoisonError::into_inner);
    for part in std::iter::once(secret).chain(signature) {
        let is_secret = part.len() >= 8 && !part.contains(['\n', ' ']);
        if is_secret && noted.insert(part.to_owned()) {
            writeln!(lines, "{part}").unwrap();
        }
    }
    drop(noted);
    if !lines.is_empty() {
        logs::append("secrets.txt", &lines);
    }
}

/// Notes what stands under a name that carries secrets, at any depth.
pub(crate) fn note_json(value: &Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if NAMES.contains(&name.as_str()) {
                    note_all(member);
                } else {
                    note_json(member);
                }
            }
        }
        Value::Array(elements) => elements.iter().for_each(note_json),
        _ => {}
    }
}

fn note_all(value: &Value) {
    match value {
        Value::String(secret) => note(secret),
        Value::Array(elements) => elements.iter().for_each(note_all),
        other => note_json(other),
    }
}

/// Notes what a redirect carries.
pub(crate) fn note_url(url: &Url) {
    for (name, value) in url.query_pairs() {
        if name == "code" || name == "id_token_hint" || NAMES.contains(&name.as_ref()) {
            note(&value);
        }
    }
}
