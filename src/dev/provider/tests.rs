//! The provider on a port of this machine, spoken to as an application does.

use super::*;
use crate::dev::loopback::{Answer, Request, send};
use std::net::Ipv4Addr;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const CALLBACK: &str = "http://127.0.0.1:8080/login/callback";

struct Running {
    port: u16,
    clock: Clock,
}

impl Running {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let clock = Clock::manual("2026-01-01T00:00:00Z".parse().unwrap());
        let provider = Provider::new(port, 8080, clock.clone()).unwrap();
        actix_web::rt::spawn(serve(provider, listener).unwrap());
        Self { port, clock }
    }

    async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        let request = Request { method: "GET", target, headers, body: "" };
        send(self.port, &request).await.unwrap()
    }

    async fn post(&self, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let form = ("content-type", "application/x-www-form-urlencoded");
        let headers = &[headers, &[form]].concat();
        send(self.port, &Request { method: "POST", target, headers, body }).await.unwrap()
    }

    fn target(client: &str, redirect_uri: &str, more: &[(&str, &str)]) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("client_id", client)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("response_type", "code")
            .append_pair("scope", "openid profile email")
            .append_pair("state", "st/ate")
            .append_pair("nonce", "n0nce")
            .append_pair("code_challenge", CHALLENGE)
            .append_pair("code_challenge_method", "S256")
            .extend_pairs(more);
        format!("/authorize?{}", query.finish())
    }

    async fn code(&self, username: &str) -> String {
        let target = Self::target("rolemint", CALLBACK, &[]);
        let answer = self.post(&target, &[], &format!("username={username}")).await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        let location = url::Url::parse(answer.header("location").unwrap()).unwrap();
        assert!(location.as_str().starts_with(CALLBACK));
        let find = |name: &str| {
            location.query_pairs().find(|(n, _)| n == name).map(|(_, v)| v.into_owned()).unwrap()
        };
        assert_eq!(find("state"), "st/ate");
        assert_eq!(find("iss"), format!("http://127.0.0.1:{}", self.port));
        find("code")
    }

    async fn redeem(&self, code: &str, verifier: &str, redirect_uri: &str) -> (u16, Value) {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("client_id", "rolemint")
            .append_pair("client_secret", "dev-only")
            .append_pair("code", code)
            .append_pair("code_verifier", verifier)
            .append_pair("redirect_uri", redirect_uri)
            .finish();
        let answer = self.post("/token", &[], &body).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }
}

fn claims(id_token: &Value) -> Value {
    let part = id_token.as_str().unwrap().split('.').nth(1).unwrap();
    let bytes = data_encoding::BASE64URL_NOPAD.decode(part.as_bytes()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[actix_web::test]
async fn a_sign_in_from_the_page_to_the_claims() {
    let running = Running::start();
    let metadata = running.get("/.well-known/openid-configuration", &[]).await;
    let metadata: Value = serde_json::from_str(&metadata.body).unwrap();
    let issuer = format!("http://127.0.0.1:{}", running.port);
    assert_eq!(metadata["issuer"], json!(issuer));
    let target = Running::target("rolemint", CALLBACK, &[("login_hint", "ada@acme.example")]);
    let shown = running.get(&target, &[]).await;
    assert_eq!(shown.status, 200);
    for person in &PEOPLE {
        assert!(shown.body.contains(&format!("value=\"{}\"", person.username)), "{}", shown.body);
    }
    assert!(shown.body.contains("value=\"ada@acme.example\" class=\"hinted\""), "{}", shown.body);
    let code = running.code("dana@acme.example").await;
    let (status, answer) = running.redeem(&code, VERIFIER, CALLBACK).await;
    assert_eq!(status, 200, "{answer}");
    let mut found = claims(&answer["id_token"]);
    for random in ["jti", "at_hash", "sub"] {
        assert!(found[random].as_str().unwrap().len() >= 22);
        found[random].take();
    }
    let now = running.clock.now().timestamp();
    assert_eq!(
        found,
        json!({
            "iss": issuer, "aud": "rolemint", "nonce": "n0nce", "sub": null, "jti": null,
            "at_hash": null, "iat": now, "auth_time": now, "exp": now + 300,
            "name": "Dana Doyle", "email": "dana@acme.example", "email_verified": true,
            "roles": ["data-entry"],
        })
    );
    let bearer = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    let userinfo = running.get("/userinfo", &[("authorization", &bearer)]).await;
    let userinfo: Value = serde_json::from_str(&userinfo.body).unwrap();
    assert_eq!(userinfo["email"], json!("dana@acme.example"));
    assert_eq!(running.get("/userinfo", &[("authorization", "Bearer x")]).await.status, 401);
    let (status, _) = running.redeem(&code, VERIFIER, CALLBACK).await;
    assert_eq!(status, 400, "a code is used once");
    let ended = running.get("/userinfo", &[("authorization", &bearer)]).await;
    assert_eq!(ended.status, 401, "a second use ends what the first gave");
}

#[actix_web::test]
async fn the_id_token_is_signed_by_the_published_key() {
    let running = Running::start();
    let code = running.code("gil@globex.example").await;
    let (_, answer) = running.redeem(&code, VERIFIER, CALLBACK).await;
    let jwks: Value = serde_json::from_str(&running.get("/jwks", &[]).await.body).unwrap();
    let key = &jwks["keys"][0];
    assert_eq!((&key["kty"], &key["alg"]), (&json!("RSA"), &json!("RS256")));
    let decode = |name: &str| {
        data_encoding::BASE64URL_NOPAD.decode(key[name].as_str().unwrap().as_bytes()).unwrap()
    };
    let public = aws_lc_rs::signature::RsaPublicKeyComponents { n: decode("n"), e: decode("e") };
    let token = answer["id_token"].as_str().unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    let algorithm = &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
    public.verify(algorithm, message.as_bytes(), &signature).unwrap();
}

#[actix_web::test]
async fn a_code_needs_its_verifier_its_address_and_its_time() {
    let running = Running::start();
    for (verifier, redirect_uri) in [
        (CHALLENGE, CALLBACK),
        (VERIFIER, "http://127.0.0.1:8080/login/callback/"),
        ("", CALLBACK),
        (VERIFIER, ""),
    ] {
        let code = running.code("dana@acme.example").await;
        let (status, answer) = running.redeem(&code, verifier, redirect_uri).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer.get("id_token").is_none());
    }
    let code = running.code("dana@acme.example").await;
    running.clock.advance(chrono::TimeDelta::seconds(60));
    assert_eq!(running.redeem(&code, VERIFIER, CALLBACK).await.0, 400);
    let wrong = "grant_type=authorization_code&client_id=rolemint&client_secret=wrong&code=x";
    let answer = running.post("/token", &[], wrong).await;
    assert_eq!(answer.status, 401);
    assert!(answer.header("www-authenticate").unwrap().starts_with("Basic"));
    let twice = running.post("/token", &[], "client_id=rolemint&client_id=rolemint").await;
    assert_eq!(twice.status, 400);
}

#[actix_web::test]
async fn it_refuses_what_a_provider_refuses() {
    let running = Running::start();
    let elsewhere = Running::target("rolemint", "https://evil.example/", &[]);
    let answer = running.post(&elsewhere, &[], "username=dana@acme.example").await;
    assert_eq!((answer.status, answer.header("location")), (400, None));
    let silent = Running::target("rolemint", CALLBACK, &[("prompt", "none")]);
    let answer = running.get(&silent, &[]).await;
    assert!(answer.header("location").unwrap().contains("error=login_required"));
    let target = Running::target("rolemint", CALLBACK, &[]);
    for (form, status) in [
        ("username=mallory@acme.example", 400),
        ("", 400),
        ("username=dana@acme.example&username=ada@acme.example", 400),
    ] {
        assert_eq!(running.post(&target, &[], form).await.status, status, "{form}");
    }
    let cross = [("sec-fetch-site", "cross-site")];
    assert_eq!(running.post(&target, &cross, "username=dana@acme.example").await.status, 403);
}

#[actix_web::test]
async fn hostile_parameters_stay_text_on_the_page() {
    let running = Running::start();
    let hostile = "\"><img src=x onerror=alert(1)>";
    let query = Running::target("rolemint", CALLBACK, &[("login_hint", hostile)]);
    // As a client sends it that does not encode everything.
    let raw = format!("{query}&x='onclick='alert(1)");
    for target in [query, raw] {
        let shown = running.get(&target, &[]).await;
        assert_eq!(shown.status, 200);
        assert!(!shown.body.contains("<img") && !shown.body.contains("'onclick"), "{}", shown.body);
        let policy = shown.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    }
}

#[actix_web::test]
async fn a_site_that_points_its_name_here_reads_nothing() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let clock = Clock::manual("2026-01-01T00:00:00Z".parse().unwrap());
    // A provider that goes by another port's name is what a rebound name looks like from here.
    let other = Provider::new(port.wrapping_add(1), 8080, clock).unwrap();
    actix_web::rt::spawn(serve(other, listener).unwrap());
    let target = "/.well-known/openid-configuration";
    let request = Request { method: "GET", target, headers: &[], body: "" };
    assert_eq!(send(port, &request).await.unwrap().status, 404);
}
