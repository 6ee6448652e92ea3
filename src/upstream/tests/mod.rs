//! A provider of our own, on a real socket, with real keys, that can be made to misbehave.

mod fetching;
mod id_tokens;
mod logins;
mod logout_tokens;

use crate::domain::Time;
use crate::domain::provider::Provider;
use crate::upstream::Upstream;
use crate::upstream::UpstreamLimits;
use crate::upstream::{Misconfiguration, Outage, Refusal, UpstreamError};
use aws_lc_rs::encoding::{AsBigEndian as _, EcPublicKeyUncompressedBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
};
use chrono::DateTime;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

pub(super) const NOW: i64 = 1_800_000_000;

pub(super) fn now() -> Time {
    DateTime::from_timestamp(NOW, 0).unwrap()
}

pub(super) fn limits() -> UpstreamLimits {
    UpstreamLimits { jwks_cooldown: Duration::from_secs(60), ..UpstreamLimits::default() }
}

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) head: String,
    pub(super) body: String,
}

type Answer = Arc<dyn Fn(&mut TcpStream) + Send + Sync>;

#[derive(Default)]
struct Pages {
    log: Vec<Request>,
    answers: HashMap<String, Answer>,
}

/// A provider at `http://127.0.0.1:…`.
pub(super) struct World {
    pub(super) base: String,
    pages: Arc<Mutex<Pages>>,
}

impl World {
    /// One that has only the given keys to show, and behaves.
    pub(super) fn new(keys: &[&Key]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let pages: Arc<Mutex<Pages>> = Arc::default();
        let shared = pages.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let pages = shared.clone();
                std::thread::spawn(move || serve(stream, &pages));
            }
        });
        let world = Self { base, pages };
        world.discovery(|_| {});
        world.keys(keys);
        world
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(super) fn discovery(&self, change: impl FnOnce(&mut Value)) {
        let mut document = json!({
            "issuer": self.base,
            "authorization_endpoint": self.url("/authorize"),
            "token_endpoint": self.url("/token"),
            "userinfo_endpoint": self.url("/userinfo"),
            "jwks_uri": self.url("/jwks"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        });
        change(&mut document);
        self.json("/.well-known/openid-configuration", 200, &document);
    }

    pub(super) fn keys(&self, keys: &[&Key]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.json("/jwks", 200, &json!({ "keys": keys }));
    }

    pub(super) fn json(&self, path: &str, status: u16, body: &Value) {
        self.text(path, status, "Content-Type: application/json", &body.to_string());
    }

    pub(super) fn text(&self, path: &str, status: u16, header: &str, body: &str) {
        let text = format!(
            "HTTP/1.1 {status} -\r\n{header}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        self.raw(path, move |stream| drop(stream.write_all(text.as_bytes())));
    }

    pub(super) fn raw(&self, path: &str, answer: impl Fn(&mut TcpStream) + Send + Sync + 'static) {
        self.pages.lock().unwrap().answers.insert(path.to_owned(), Arc::new(answer));
    }

    /// The same answer as now, but slowly.
    pub(super) fn delay(&self, path: &str, delay: Duration) {
        let answer = self.pages.lock().unwrap().answers[path].clone();
        self.raw(path, move |stream| {
            std::thread::sleep(delay);
            answer(stream);
        });
    }

    pub(super) fn requests(&self, path: &str) -> Vec<Request> {
        let pages = self.pages.lock().unwrap();
        pages.log.iter().filter(|request| request.path == path).cloned().collect()
    }

    pub(super) fn count(&self, path: &str) -> usize {
        self.requests(path).len()
    }

    pub(super) fn total(&self) -> usize {
        self.pages.lock().unwrap().log.len()
    }

    pub(super) fn provider(&self) -> Provider {
        self.provider_with(|_| {})
    }

    pub(super) fn provider_with(&self, change: impl FnOnce(&mut Value)) -> Provider {
        let mut entry = json!({
            "id": "p", "kind": "oidc", "issuer": self.base, "client_id": "us",
            "algorithms": ["RS256", "ES256", "EdDSA"],
            "tenants": { "by": "fixed", "tenant": "acme" },
            "exchange": { "audiences": ["app", "other-app"], "max_age": 300 },
        });
        change(&mut entry);
        serde_json::from_value(entry).unwrap()
    }
}

fn serve(mut stream: TcpStream, pages: &Mutex<Pages>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let request = loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                break Request { path, head: head.to_owned(), body: body.to_owned() };
            }
        }
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    };
    let answer = {
        let mut pages = pages.lock().unwrap();
        pages.log.push(request.clone());
        pages.answers.get(&request.path).cloned()
    };
    match answer {
        Some(answer) => answer(&mut stream),
        None => drop(stream.write_all(b"HTTP/1.1 404 -\r\nContent-Length: 0\r\n\r\n")),
    }
}

pub(super) enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

pub(super) struct Key {
    pub(super) kid: Option<&'static str>,
    pub(super) pair: Arc<Pair>,
}

// RSA keys take long to make, so the tests share a few.
static RSA: LazyLock<[Arc<Pair>; 2]> = LazyLock::new(|| {
    [(); 2].map(|()| Arc::new(Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())))
});

impl Key {
    pub(super) fn rsa(kid: &'static str) -> Self {
        Self { kid: Some(kid), pair: RSA[0].clone() }
    }
    pub(super) fn other_rsa(kid: &'static str) -> Self {
        Self { kid: Some(kid), pair: RSA[1].clone() }
    }
    pub(super) fn p256(kid: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { kid: Some(kid), pair: Arc::new(Pair::P256(pair)) }
    }
    pub(super) fn p384(kid: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        Self { kid: Some(kid), pair: Arc::new(Pair::P384(pair)) }
    }
    pub(super) fn ed(kid: &'static str) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        Self { kid: Some(kid), pair: Arc::new(Pair::Ed(pair)) }
    }

    pub(super) fn algorithm(&self) -> &'static str {
        match *self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::P384(_) => "ES384",
            Pair::Ed(_) => "EdDSA",
        }
    }

    pub(super) fn jwk(&self) -> Value {
        let b64 = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let ec = |pair: &EcdsaKeyPair, curve: &str, size: usize| {
            let point: EcPublicKeyUncompressedBin<'_> = pair.public_key().as_be_bytes().unwrap();
            let (x, y) = point.as_ref()[1..].split_at(size);
            json!({ "kty": "EC", "crv": curve, "x": b64(x), "y": b64(y), "use": "sig" })
        };
        let mut jwk = match &*self.pair {
            Pair::Rsa(pair) => {
                // RSAPublicKey (RFC 8017 §A.1.1) of 2048 bits: the modulus stands after 9 bytes.
                let der = pair.public_key().as_ref();
                json!({ "kty": "RSA", "n": b64(&der[9..265]), "e": "AQAB", "use": "sig" })
            }
            Pair::P256(pair) => ec(pair, "P-256", 32),
            Pair::P384(pair) => ec(pair, "P-384", 48),
            Pair::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref()) })
            }
        };
        if let Some(kid) = self.kid {
            jwk["kid"] = kid.into();
        }
        jwk
    }

    /// A token with exactly this header and payload, and a signature as `algorithm` has it.
    pub(super) fn sign(&self, algorithm: &str, header: &str, payload: &str) -> String {
        let [header, payload] =
            [header, payload].map(|part| BASE64URL_NOPAD.encode(part.as_bytes()));
        let input = format!("{header}.{payload}");
        let random = SystemRandom::new();
        let signature = match &*self.pair {
            Pair::Rsa(pair) => {
                let padding: &dyn aws_lc_rs::signature::RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, input.as_bytes(), &mut signature).unwrap();
                signature
            }
            Pair::P256(pair) | Pair::P384(pair) => {
                pair.sign(&random, input.as_bytes()).unwrap().as_ref().to_vec()
            }
            Pair::Ed(pair) => pair.sign(input.as_bytes()).as_ref().to_vec(),
        };
        format!("{input}.{}", BASE64URL_NOPAD.encode(&signature))
    }

    pub(super) fn header(&self) -> Value {
        let mut header = json!({ "alg": self.algorithm(), "typ": "JWT" });
        if let Some(kid) = self.kid {
            header["kid"] = kid.into();
        }
        header
    }

    pub(super) fn token(&self, claims: &Value) -> String {
        self.sign(self.algorithm(), &self.header().to_string(), &claims.to_string())
    }
}

pub(super) fn refusal<T: std::fmt::Debug>(outcome: Result<T, UpstreamError>) -> Refusal {
    match outcome {
        Err(UpstreamError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}
pub(super) fn outage<T: std::fmt::Debug>(outcome: Result<T, UpstreamError>) -> Outage {
    match outcome {
        Err(UpstreamError::Unreachable(outage)) => outage,
        other => panic!("not an outage: {other:?}"),
    }
}
pub(super) fn misconfiguration<T: std::fmt::Debug>(
    outcome: Result<T, UpstreamError>,
) -> Misconfiguration {
    match outcome {
        Err(UpstreamError::Misconfigured(misconfiguration)) => misconfiguration,
        other => panic!("not a misconfiguration: {other:?}"),
    }
}

pub(super) fn upstream() -> Upstream {
    Upstream::new(limits()).unwrap()
}

#[test]
fn every_call_can_run_on_any_thread() {
    fn is_send<T: Send>(_: T) {}
    let (upstream, world) = (upstream(), World::new(&[]));
    let provider = world.provider();
    is_send(upstream.verify_id_token(&provider, "", now()));
}
