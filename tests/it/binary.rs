//! The executable itself: it starts, says where, answers, refuses what it must, and stops when told.

use std::fs;

use toml::Value;

use crate::harness::binary::{Binary, Dev, command};
use crate::harness::deployment::Deployment;
use crate::harness::http::Browser;
use crate::harness::node::Provider;
use crate::harness::servers::{Pair, Postgres, Trusted, scratch};
use crate::harness::{Need, Stores, met, on_both_stores, run};

on_both_stores!(a_server_starts_on_nothing_answers_and_stops);

async fn a_server_starts_on_nothing_answers_and_stops(stores: Stores) {
    let mut rolemint = Binary::new(stores);
    rolemint.start();
    let browser = rolemint.browser();
    browser.get("/healthz").await.expect(200);
    browser.get("/readyz").await.expect(200);
    let metadata = browser.get("/.well-known/openid-configuration").await.expect(200).json();
    assert_eq!(metadata["issuer"], rolemint.issuer);
    let keys = browser.get("/oauth2/jwks").await.expect(200).json();
    assert!(!keys["keys"].as_array().unwrap().is_empty());
    assert!(rolemint.terminate().success());

    // The keys are those of the first start.
    rolemint.start();
    assert_eq!(rolemint.browser().get("/oauth2/jwks").await.expect(200).json(), keys);
}

#[test]
fn dev_prints_where_it_is_and_serves_the_sample_app() {
    run(async {
        let dev = Dev::start();
        let printed = dev.printed();
        for expected in [format!("{}/demo", dev.base), "curl ".to_owned()] {
            assert!(printed.contains(&expected), "{expected} is not in\n{printed}");
        }
        let browser = Browser::new(&dev.base);
        let page = browser.get("/demo").await.expect(200);
        assert!(page.body.contains("data-testid=\"sign-in\""), "{}", page.body);
        assert!(dev.terminate().success());
    });
}

#[test]
fn dev_listens_on_loopback_alone() {
    let folder = scratch();
    let arguments = ["dev", "--listen", "0.0.0.0:0"];
    command(&arguments, folder.path()).failure();
}

#[test]
fn every_fault_of_a_configuration_is_reported_at_once() {
    let mut rolemint = Binary::new(Stores::start(Pair::SqliteEmbedded));
    let keys = rolemint.configuration["keys"].as_table_mut().unwrap();
    keys.remove("encryption_key");
    keys.insert("encrpytion_key".to_owned(), Value::String("x".to_owned()));
    let store = rolemint.configuration["token_store"].as_table_mut().unwrap();
    store.insert("url".to_owned(), Value::String("memcached://localhost".to_owned()));
    let mut server = rolemint.launch();
    let log = server.wait_until("its end", |server| server.has_ended().then(|| server.log()));
    assert!(!server.wait().success());
    for expected in ["encrpytion_key", "keys.encryption_key", "token_store.url"] {
        assert!(log.contains(expected), "{expected} is not in\n{log}");
    }
}

#[test]
fn a_deployment_file_with_a_fault_names_the_line_and_changes_nothing() {
    let rolemint = Binary::new(Stores::start(Pair::SqliteEmbedded));
    let path = rolemint.folder().join("deployment.toml");
    fs::write(
        &path,
        "[[tenants]]\nid = \"acme\"\nname = \"Acme\"\n\n[[tenants]]\nid = \"Not One\"\n",
    )
    .unwrap();
    let said = rolemint.command(&["apply", path.to_str().unwrap()]).failure();
    assert!(said.contains("line 6") || said.contains(":6"), "{said}");
}

#[test]
fn postgresql_is_reached_over_tls_and_only_where_it_is_trusted() {
    if !met(&[Need::Postgres]) {
        return;
    }
    run(async {
        for (trusted, starts) in [(Trusted::TheServer, true), (Trusted::AStranger, false)] {
            let mut stores = Stores::start(Pair::SqliteEmbedded);
            stores.database_url = Postgres::shared().database_over_tls(trusted);
            let mut rolemint = Binary::new(stores);
            if starts {
                rolemint.start();
                rolemint.browser().get("/readyz").await.expect(200);
            } else {
                assert!(!rolemint.launch().wait().success());
            }
        }
    });
}

/// The pool may be connecting on a thread of its own when a command is done.
#[test]
fn a_command_that_ends_while_its_pool_connects_ends_well() {
    if !met(&[Need::Postgres]) {
        return;
    }
    for url in
        [Postgres::shared().database(), Postgres::shared().database_over_tls(Trusted::TheServer)]
    {
        let mut stores = Stores::start(Pair::SqliteEmbedded);
        stores.database_url = url;
        let rolemint = Binary::new(stores);
        let configuration = rolemint.configure();
        let arguments = ["migrate", "--config", configuration.to_str().unwrap()];
        let migrate = || drop(command(&arguments, rolemint.folder()).success());
        std::thread::scope(|scope| {
            (0..8).for_each(|_| drop(scope.spawn(|| (0..40).for_each(|_| migrate()))));
        });
    }
}

#[test]
fn applying_a_deployment_file_says_what_changes() {
    if !met(&[Need::Node]) {
        return;
    }
    let rolemint = Binary::new(Stores::start(Pair::SqliteEmbedded));
    let provider = Provider::start(&rolemint.issuer);
    let mut deployment = Deployment::of(&provider);
    let plan = rolemint.apply(&deployment).success();
    assert!(plan.contains("acme") && plan.contains("corp"), "{plan}");
    // Twice the same is once.
    let again = rolemint.apply(&deployment).success();
    assert!(!again.contains("acme"), "{again}");
    let attributes = toml::toml! { plan = "free" };
    deployment.tenant("globex").insert("attributes".to_owned(), Value::Table(attributes));
    let changed = rolemint.apply(&deployment).success();
    assert!(changed.contains("globex") && !changed.contains("acme"), "{changed}");

    deployment.provider("corp").insert("issuer".to_owned(), Value::String("not a URL".to_owned()));
    let said = rolemint.apply(&deployment).failure();
    assert!(said.contains("issuer") && said.contains("deployment.toml:25:"), "{said}");
}
