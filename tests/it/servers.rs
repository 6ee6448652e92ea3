//! The harness itself: servers start, answer, end, and never outlive the test run.

use std::process::Command;
use std::time::Duration;

use redis::Commands as _;
use serde_json::json;

use crate::harness::deployment::Deployment;
use crate::harness::http::{Browser, parameter};
use crate::harness::node::Provider;
use crate::harness::process::{Start, output, process_has_ended, until};
use crate::harness::servers::{Postgres, Redis, Trusted};
use crate::harness::{Need, free_port, logs, met, run, secrets, unguessable};

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

    redis.pause();
    let impatient = redis::Client::open(redis.url()).unwrap();
    assert!(impatient.get_connection_with_timeout(Duration::from_millis(200)).is_err());
    redis.resume();
    let value: String = redis.connection().get("k").unwrap();
    assert_eq!(value, "v");
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

#[test]
fn a_person_signs_in_at_the_external_provider() {
    if !met(&[Need::Node]) {
        return;
    }
    run(async {
        let provider = Provider::with(
            "http://127.0.0.1:9",
            super::harness::node::people(),
            json!({ "alg": "ES256" }),
        );
        let deployment = Deployment::of(&provider).to_string();
        assert!(deployment.contains(&provider.issuer), "{deployment}");

        // The walk that the tests take through Rolemint, at the provider alone.
        let browser = Browser::new(&provider.issuer);
        let verifier = unguessable();
        let challenge = data_encoding::BASE64URL_NOPAD
            .encode(&<sha2::Sha256 as sha2::Digest>::digest(verifier.as_bytes()));
        let mut start = browser.url("/auth");
        start.query_pairs_mut().extend_pairs([
            ("client_id", "rolemint"),
            ("response_type", "code"),
            ("redirect_uri", "http://127.0.0.1:9/login/callback"),
            ("scope", "openid"),
            ("state", "state"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let callback = "http://127.0.0.1:9/login/callback";
        let arrived = browser.walk(start, "dana", callback).await.unwrap();
        let code = parameter(&arrived, "code").unwrap();
        assert_eq!(parameter(&arrived, "iss").as_deref(), Some(provider.issuer.as_str()));
        assert!(!browser.cookies().is_empty());
        let form = [
            ("grant_type", "authorization_code"),
            ("redirect_uri", callback),
            ("code", &code),
            ("code_verifier", &verifier),
        ];
        let client = ("rolemint", provider.client_secret.as_str());
        let tokens = browser.post_as(client, "/token", &form).await.expect(200).json();
        assert!(tokens["id_token"].is_string());
        browser.post_as(client, "/token", &form).await.expect_error(400, "invalid_grant");
        let noted = std::fs::read_to_string(logs::folder().join("secrets.txt")).unwrap();
        assert!(noted.contains(&code));
        assert!(noted.contains(tokens["id_token"].as_str().unwrap()));
        provider.kill();
    });
}

#[test]
fn ports_and_secrets_are_given_out_once() {
    assert_ne!(free_port(), free_port());
    let secret = unguessable();
    assert_ne!(secret, unguessable());
    secrets::note(&secret);
    secrets::note(&secret);
    let noted = std::fs::read_to_string(logs::folder().join("secrets.txt")).unwrap();
    assert_eq!(noted.matches(&secret).count(), 1);
}
