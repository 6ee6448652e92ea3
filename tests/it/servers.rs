//! The harness itself: servers start, answer, end, and never outlive the test run.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, Commands as _};
use reqwest::Method;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::harness::http::{Answer, Browser, parameter};
use crate::harness::node::{Provider, people};
use crate::harness::process::{Start, output, process_has_ended, until};
use crate::harness::proxy::Proxy;
use crate::harness::servers::{Postgres, Redis, Trusted};
use crate::harness::{Need, free_port, logs, met, run, secrets, soon, unguessable};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_server_dies_with_the_process_that_started_it() {
    // A shell that starts a server under a guard and is killed, as a test run may be.
    let mut sleep = Command::new("sleep");
    sleep.arg("600");
    let server = Start::new("sleep", &sleep).run();
    let pid = server.pid();
    assert!(!process_has_ended(pid));
    drop(server);
    assert!(process_has_ended(pid));
}

#[test]
fn a_server_dies_when_its_test_panics() {
    let mut sleep = Command::new("sleep");
    sleep.arg("600");
    let server = Start::new("sleep", &sleep).run();
    let pid = server.pid();
    let panicked = std::thread::spawn(move || {
        let _server = server;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(panicked.join().is_err());
    until("its end", LIMIT, || process_has_ended(pid).then_some(()));
}

#[test]
fn a_server_that_ends_by_itself_is_noticed() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo over; exit 3"]);
    let mut server = Start::new("brief", &shell).run();
    server.wait_for("its word", |log| log.contains("over").then_some(()));
    assert_eq!(server.wait().code(), Some(3));
}

#[test]
fn redis_keeps_what_it_was_told_through_a_kill() {
    if !met(&[Need::Redis]) {
        return;
    }
    let mut redis = Redis::durable();
    let _: () = redis.connection().set("k", "v").unwrap();
    let pid = redis.pid();
    redis.kill();
    assert!(process_has_ended(pid));
    redis.start_again();
    let value: String = redis.connection().get("k").unwrap();
    assert_eq!(value, "v");

    let mut impatient = redis.connection();
    impatient.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    redis.pause();
    let unanswered: redis::RedisResult<String> = impatient.get("k");
    assert!(unanswered.is_err());
    redis.resume();
    let value: String = redis.connection().get("k").unwrap();
    assert_eq!(value, "v");
}

#[test]
fn a_wire_can_be_bad_in_every_way() {
    if !met(&[Need::Redis]) {
        return;
    }
    run(async {
        let redis = Redis::start();
        let wire = Proxy::before(&redis.url());
        let client = redis::Client::open(wire.url()).unwrap();
        let connect = async || client.get_multiplexed_async_connection().await;
        let get = async |mut connection: MultiplexedConnection| {
            let value: redis::RedisResult<Option<String>> = connection.get("k").await;
            value
        };
        let connection = connect().await.unwrap();
        assert_eq!(get(connection.clone()).await.unwrap(), None);
        assert_eq!(wire.connections(), 1);

        wire.delay(Duration::from_millis(50));
        let asked = Instant::now();
        get(connection.clone()).await.unwrap();
        assert!(asked.elapsed() >= Duration::from_millis(100), "there and back");

        wire.hold();
        let held = tokio::spawn(get(connection.clone()));
        assert!(tokio::time::timeout(Duration::from_millis(100), held).await.is_err());
        wire.pass();
        assert_eq!(get(connection.clone()).await.unwrap(), None, "what was held is delivered");

        wire.cut();
        let gone = async || get(connection.clone()).await.is_err().then_some(());
        soon("the cut", gone).await;

        let connection = connect().await.unwrap();
        wire.cut_next_answer();
        let set: redis::RedisResult<()> = connection.clone().set("k", "v").await;
        assert!(set.is_err());
        wire.has_cut(1).await;
        // It was done all the same.
        assert_eq!(get(connect().await.unwrap()).await.unwrap().as_deref(), Some("v"));

        wire.refuse();
        assert!(connect().await.is_err());
    });
}

#[test]
fn postgresql_has_a_database_for_each_test() {
    if !met(&[Need::Postgres]) {
        return;
    }
    let cluster = Postgres::shared();
    let psql = |url: &str, sql: &str| {
        output(Command::new("psql").args(["-X", "-A", "-t", url, "-c", sql]), LIMIT)
    };
    let (one, other) = (cluster.database(), cluster.database());
    assert_ne!(one, other);
    psql(&one, "create table t (a int)").success();
    psql(&other, "select * from t").failure();

    let over_tls = cluster.database_over_tls(Trusted::TheServer);
    let ssl = psql(&over_tls, "select ssl from pg_stat_ssl where pid = pg_backend_pid()").success();
    assert_eq!(ssl.trim(), "t");
    psql(&over_tls.replace("sslmode=verify-full", "sslmode=disable"), "select 1").failure();
    psql(&cluster.database_over_tls(Trusted::AStranger), "select 1").failure();
}

#[test]
fn a_cluster_dies_with_its_guard_and_its_files_with_it() {
    if !met(&[Need::Postgres]) {
        return;
    }
    let cluster = Postgres::start();
    assert_eq!(cluster.sql("postgres", "select 1"), "1");
    let (pid, folder) = (cluster.pid(), cluster.folder().to_owned());
    drop(cluster);
    assert!(process_has_ended(pid));
    assert!(!folder.exists());
}

const CALLBACK: &str = "http://127.0.0.1:9/login/callback";

/// Signs dana in at the provider itself, as its client `rolemint`; code and verifier.
async fn sign_in(provider: &Provider, browser: &Browser) -> (String, String) {
    let verifier = unguessable();
    let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(&verifier));
    let mut start = browser.url("/auth");
    start.query_pairs_mut().extend_pairs([
        ("client_id", "rolemint"),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("scope", "openid"),
        ("state", "state"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    let arrived = browser.walk(start, "dana", CALLBACK).await.unwrap();
    assert_eq!(parameter(&arrived, "iss").as_deref(), Some(provider.issuer.as_str()));
    (parameter(&arrived, "code").unwrap(), verifier)
}

async fn redeem(provider: &Provider, browser: &Browser, code: &str, verifier: &str) -> Answer {
    let form = [
        ("grant_type", "authorization_code"),
        ("redirect_uri", CALLBACK),
        ("code", code),
        ("code_verifier", verifier),
    ];
    browser.post_as(("rolemint", &provider.client_secret), "/token", &form).await
}

#[test]
fn a_person_signs_in_at_the_external_provider() {
    if !met(&[Need::Node]) {
        return;
    }
    run(async {
        let provider = Provider::start("http://127.0.0.1:9");
        let browser = Browser::new(&provider.issuer);
        let (code, verifier) = sign_in(&provider, &browser).await;
        assert!(browser.cookies().iter().any(|cookie| cookie.header.contains("httponly")));
        let answer = redeem(&provider, &browser, &code, &verifier).await.expect(200);
        assert!(answer.header("content-type").starts_with("application/json"));
        let tokens = answer.json();
        let token = tokens["access_token"].as_str().unwrap();
        let person = browser.bearer(Method::GET, "/me", token).await.expect(200).json();
        assert_eq!(person["email"], "dana@acme.example");
        redeem(&provider, &browser, &code, &verifier).await.expect_error(400, "invalid_grant");

        // All that came by is looked for in the logs at the end.
        let noted = fs::read_to_string(logs::folder().join("secrets.txt")).unwrap();
        for secret in [&code, token, tokens["id_token"].as_str().unwrap(), &provider.client_secret]
        {
            assert!(noted.contains(secret));
        }
        provider.kill();
    });
}

#[test]
fn the_provider_changes_id_tokens_and_keys_when_told() {
    if !met(&[Need::Node]) {
        return;
    }
    run(async {
        let provider = Provider::with("http://127.0.0.1:9", &people(), &json!({ "alg": "ES256" }));
        let browser = Browser::new(&provider.issuer);
        provider.tamper(&json!({ "claims": { "nonce": "another" }, "alg": "none" })).await;
        let (code, verifier) = sign_in(&provider, &browser).await;
        let answer = redeem(&provider, &browser, &code, &verifier).await.expect(200).json();
        let id_token = answer["id_token"].as_str().unwrap();
        assert!(id_token.ends_with('.'), "{id_token}");

        provider.tamper(&json!({})).await;
        provider.rotate_keys(false).await;
        let browser = Browser::new(&provider.issuer);
        let (code, verifier) = sign_in(&provider, &browser).await;
        redeem(&provider, &browser, &code, &verifier).await.expect(200);
        assert_eq!(provider.requests("/token").await, 2);
    });
}

#[test]
fn ports_and_secrets_are_given_out_once() {
    assert_ne!(free_port(), free_port());
    let secret = unguessable();
    assert_ne!(secret, unguessable());
    secrets::note(&secret);
    secrets::note(&secret);
    let noted = fs::read_to_string(logs::folder().join("secrets.txt")).unwrap();
    assert_eq!(noted.matches(&secret).count(), 1);
}
