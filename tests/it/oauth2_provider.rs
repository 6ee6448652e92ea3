//! A provider that knows plain OAuth 2.0 only: who signed in is what a JSON URL says.

use crate::harness::binary::{Binary, Served};
use crate::harness::deployment::Deployment;
use crate::harness::node::{self, Provider};
use crate::harness::{Need, Stores, met, on_both_stores};
use crate::sign_in::{assert_same_permissions, data_entry, sign_in};
use serde_json::json;
use toml::{Table, Value, toml};

on_both_stores!(a_person_signs_in_through_plain_oauth_and_her_roles_are_mapped);

/// The external provider, described as one that has no ID tokens and no discovery.
fn plain(issuer: &str, client_secret: &str) -> Table {
    let mut entry = toml! {
        id = "corp"
        kind = "oauth2"
        client_id = "rolemint"
        subject = "/sub"
        // Only so that this provider opens its user-info endpoint.
        scopes = ["openid", "profile", "email"]
        keep_claims = ["email", "name", "roles"]
        tenants = { by = "fixed", tenant = "acme" }
        mappings = [{ claim = "/roles", contains = "data-entry", role = "data-entry" }]
    };
    for (name, value) in [
        ("authorization_endpoint", format!("{issuer}/auth")),
        ("token_endpoint", format!("{issuer}/token")),
        ("userinfo_endpoint", format!("{issuer}/me")),
        ("issuer", issuer.to_owned()),
        ("client_secret", client_secret.to_owned()),
    ] {
        entry.insert(name.to_owned(), Value::String(value));
    }
    entry
}

async fn a_person_signs_in_through_plain_oauth_and_her_roles_are_mapped(stores: Stores) {
    if !met(&[Need::Node]) {
        return;
    }
    let mut rolemint = Binary::new(stores);
    let provider = Provider::start(&rolemint.issuer);
    let mut deployment = Deployment::of(&provider).introspecting(&rolemint.issuer);
    *deployment.provider("corp") = plain(&provider.issuer, &provider.client_secret);
    let backend = deployment.client("backend");
    backend.insert("grants".to_owned(), Value::Array(Vec::new()));
    backend.remove("exchange");
    rolemint.apply(&deployment).success();
    rolemint.start();
    let served = Served { rolemint, provider, deployment };

    let answer = node::client(sign_in(&served, "dana", &json!({ "then": ["userinfo"] }))).await;
    assert_same_permissions(&answer["tokens"], &data_entry("acme"));
    assert_eq!(answer["userinfo"]["email"], "dana@acme.example");

    let options = sign_in(&served, "nora", &json!({ "expect_error": true }));
    let refused = node::client(options).await;
    assert_eq!(refused["error"]["error"], "access_denied", "{refused}");
}
