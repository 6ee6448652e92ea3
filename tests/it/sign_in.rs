//! Signing in through an external provider, with an independent client: from the browser's first request
//! to the end of the token. Everything here is another's code (`oidc-provider`, `openid-client`) but Rolemint.

use serde_json::{Value, json};

use crate::harness::binary::Served;
use crate::harness::deployment::EXCHANGE;
use crate::harness::http::Answer;
use crate::harness::{node, on_both_stores};

on_both_stores!(
    an_independent_client_signs_in_refreshes_checks_and_revokes,
    a_data_entry_clerk_reaches_her_tenant_and_nothing_else,
    who_has_no_declared_role_gets_no_token,
    who_comes_from_no_declared_tenant_gets_no_token,
    the_id_token_of_a_sign_in_elsewhere_is_exchanged,
    an_exchange_never_widens,
);

const REDIRECT_URI: &str = "http://127.0.0.1:49152/callback";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A sign-in of the public client `web`.
pub(crate) fn sign_in(served: &Served, username: &str, more: &Value) -> Value {
    let mut options = json!({
        "command": "sign-in",
        "issuer": served.rolemint.issuer,
        "client_id": "web",
        "redirect_uri": REDIRECT_URI,
        "username": username,
        "parameters": { "tenant": "acme" },
        // Rolemint signs ID tokens with EdDSA unless it is told otherwise.
        "id_token_alg": "EdDSA",
        "backend": backend(served),
    });
    merge(&mut options, more);
    options
}

fn backend(served: &Served) -> Value {
    json!({ "client_id": "backend", "client_secret": served.deployment.client_secret("backend") })
}

fn exchange(served: &Served, parameters: &Value) -> Value {
    let mut options = backend(served);
    let more = json!({
        "command": "exchange",
        "issuer": served.rolemint.issuer,
        "parameters": parameters,
    });
    merge(&mut options, &more);
    options
}

fn merge(object: &mut Value, more: &Value) {
    for (name, value) in more.as_object().unwrap() {
        object[name] = value.clone();
    }
}

/// The permissions of a token answer, each as its members but `type`, in a fixed order.
fn permissions(tokens: &Value) -> Vec<Value> {
    let mut permissions = tokens["authorization_details"].as_array().unwrap().clone();
    for permission in &mut permissions {
        let members = permission.as_object_mut().unwrap();
        assert!(members.remove("type").is_some(), "RFC 9396 wants a type");
    }
    permissions.sort_by_key(Value::to_string);
    permissions
}

/// What the role `data-entry` is for a tenant, and nothing more.
pub(crate) fn data_entry(tenant: &str) -> Vec<Value> {
    vec![
        json!({
            "role": "publishsubscribe",
            "cache": "collaboration",
            "topic": format!("{tenant}-events"),
        }),
        json!({
            "role": "readonly",
            "cache": "calendar-events",
            "item": { "keyPrefix": format!("{tenant}:") },
        }),
    ]
}

#[track_caller]
pub(crate) fn assert_same_permissions(tokens: &Value, expected: &[Value]) {
    let mut expected = expected.to_vec();
    expected.sort_by_key(Value::to_string);
    assert_eq!(permissions(tokens), expected);
}

async fn an_independent_client_signs_in_refreshes_checks_and_revokes(served: Served) {
    let steps =
        ["userinfo", "introspect", "refresh", "refresh", "introspect", "revoke", "introspect"];
    let answer = node::client(sign_in(&served, "dana", &json!({ "then": steps }))).await;

    let issuer = served.rolemint.issuer.as_str();
    assert_eq!(answer["iss"], issuer, "RFC 9207");
    let claims = &answer["id_token_claims"];
    assert_eq!(claims["iss"], issuer);
    assert_eq!(claims["aud"], "web");
    let subject = claims["sub"].as_str().unwrap();
    assert!(subject.starts_with("u_"), "{subject}");
    assert_eq!(answer["userinfo"]["sub"], subject);
    assert_eq!(answer["userinfo"]["email"], "dana@acme.example");

    assert_eq!(answer["tokens"]["expires_in"], 900);
    let refresh_tokens = [
        &answer["tokens"]["refresh_token"],
        &answer["refreshed"][0]["refresh_token"],
        &answer["refreshed"][1]["refresh_token"],
    ];
    assert!(refresh_tokens[0] != refresh_tokens[1] && refresh_tokens[1] != refresh_tokens[2]);

    let introspected = &answer["introspected"];
    for alive in [&introspected[0], &introspected[1]] {
        assert_eq!(alive["active"], true);
        assert_eq!(alive["sub"], subject);
        assert_eq!(alive["tenant"], "acme");
        assert_eq!(alive["roles"], json!(["data-entry"]));
        assert_eq!(alive["client_id"], "web");
    }
    assert_ne!(introspected[0]["jti"], introspected[1]["jti"]);
    assert_eq!(introspected[0]["sid"], introspected[1]["sid"]);
    assert_eq!(introspected[2], json!({ "active": false }), "the sign-out ends the session");
}

async fn a_data_entry_clerk_reaches_her_tenant_and_nothing_else(served: Served) {
    for (username, tenant) in [("dana", "acme"), ("gil", "globex")] {
        let more = json!({ "parameters": { "tenant": tenant }, "then": ["introspect"] });
        let answer = node::client(sign_in(&served, username, &more)).await;
        assert_same_permissions(&answer["introspected"][0], &data_entry(tenant));
        assert_same_permissions(&answer["tokens"], &data_entry(tenant));
        assert_eq!(answer["introspected"][0]["tenant"], tenant);
        assert_eq!(answer["tokens"]["expires_in"], 900);
    }
}

async fn who_has_no_declared_role_gets_no_token(served: Served) {
    // nora has no role, otto one that no rule names.
    for username in ["nora", "otto"] {
        refused(&served, username).await;
    }
}

async fn who_comes_from_no_declared_tenant_gets_no_token(served: Served) {
    // eve's domain belongs to no tenant, ulla's address is not verified, gil is of another tenant.
    for username in ["eve", "ulla", "gil"] {
        refused(&served, username).await;
    }
}

/// Refused: by an error at the redirect URI, or by a page of Rolemint's that says so.
async fn refused(served: &Served, username: &str) {
    let options = sign_in(served, username, &json!({ "expect_error": true }));
    let answer = node::client(options).await;
    let error = &answer["error"];
    let by_redirect = error["error"] == "access_denied";
    let by_page = error["status"] == 403;
    assert!(by_redirect || by_page, "{username}: {answer}");
}

async fn the_id_token_of_a_sign_in_elsewhere_is_exchanged(served: Served) {
    let id_token = served.provider.sign_in_elsewhere("dana").await;
    let parameters = json!({ "subject_token": id_token, "subject_token_type": ID_TOKEN });
    let exchanged = node::client(exchange(&served, &parameters)).await["tokens"].clone();
    assert_same_permissions(&exchanged, &data_entry("acme"));
    assert_eq!(exchanged["issued_token_type"], ACCESS_TOKEN);
    assert!(exchanged.get("refresh_token").is_none(), "nobody asked for one");

    // And again, for one of the permissions only.
    let narrower = vec![data_entry("acme")[1].clone()];
    let mut asked = narrower.clone();
    asked[0]["type"] = permission_type(&exchanged, &narrower[0]);
    let parameters = json!({
        "subject_token": exchanged["access_token"],
        "subject_token_type": ACCESS_TOKEN,
        "authorization_details": json!(asked).to_string(),
    });
    let cut = node::client(exchange(&served, &parameters)).await["tokens"].clone();
    assert_same_permissions(&cut, &narrower);
    assert!(cut["expires_in"].as_u64() <= exchanged["expires_in"].as_u64());

    // What was given up is gone, and asking for it is an error.
    let parameters = json!({
        "subject_token": cut["access_token"],
        "subject_token_type": ACCESS_TOKEN,
        "authorization_details": exchanged["authorization_details"].to_string(),
    });
    let mut wider = exchange(&served, &parameters);
    wider["expect_error"] = json!(true);
    let refused = node::client(wider).await;
    assert_eq!(refused["error"]["error"], "invalid_authorization_details", "{refused}");
}

/// The `type` under which a token answer holds a permission.
fn permission_type(tokens: &Value, permission: &Value) -> Value {
    let held = tokens["authorization_details"].as_array().unwrap();
    let same = |held: &&Value| held["cache"] == permission["cache"];
    held.iter().find(same).unwrap()["type"].clone()
}

async fn an_exchange_never_widens(served: Served) {
    let id_token = served.provider.sign_in_elsewhere("dana").await;
    let parameters = json!({ "subject_token": id_token, "subject_token_type": ID_TOKEN });
    let exchanged = node::client(exchange(&served, &parameters)).await["tokens"].clone();
    let wider = |of: usize, change: &dyn Fn(&mut Value)| {
        let mut permission = data_entry("acme")[of].clone();
        permission["type"] = permission_type(&exchanged, &permission);
        change(&mut permission);
        json!([permission])
    };
    let disjoint = [
        ("another tenant", wider(1, &|p| p["item"] = json!({ "keyPrefix": "globex:" }))),
        ("a neighbour's name", wider(1, &|p| p["item"] = json!({ "keyPrefix": "acme-corp:" }))),
        ("another cache", wider(1, &|p| p["cache"] = json!("payroll"))),
        ("another topic", wider(0, &|p| p["topic"] = json!("globex-events"))),
        ("no selector", wider(1, &|p| drop(p.as_object_mut().unwrap().remove("item")))),
        ("nothing", json!([])),
    ];
    for (attempt, asked) in disjoint {
        let answer = attempt_exchange(&served, &exchanged, &asked).await;
        assert!(is_refusal(&answer), "{attempt}: {}", answer.body);
    }
    // What overlaps with what she has may be cut to that, and never goes beyond.
    let overlapping = [
        ("a shorter prefix", wider(1, &|p| p["item"] = json!({ "keyPrefix": "acme" }))),
        ("every item", wider(1, &|p| p["item"] = json!({ "all": true }))),
        ("writing", wider(1, &|p| p["role"] = json!("readwrite"))),
    ];
    for (attempt, asked) in overlapping {
        let answer = attempt_exchange(&served, &exchanged, &asked).await;
        if !is_refusal(&answer) {
            let granted = permissions(&answer.expect(200).json());
            assert_eq!(granted, data_entry("acme")[1..], "{attempt}");
        }
    }

    // An ID token that was meant for somebody else, and a client that may not exchange.
    let stranger = served
        .provider
        .sign(&json!({ "claims": {
            "iss": served.provider.issuer, "sub": "dana", "aud": "another-app",
            "iat": 1, "exp": 4_000_000_000_u64,
        } }))
        .await;
    let parameters = json!({ "subject_token": stranger, "subject_token_type": ID_TOKEN });
    let mut options = exchange(&served, &parameters);
    options["expect_error"] = json!(true);
    let answer = node::client(options).await;
    let error = answer["error"]["error"].as_str().unwrap();
    assert!(["invalid_request", "invalid_grant"].contains(&error), "{answer}");

    let parameters = [
        ("grant_type", EXCHANGE),
        ("client_id", "web"),
        ("subject_token", exchanged["access_token"].as_str().unwrap()),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    let browser = served.rolemint.browser();
    let answer = browser.post("/oauth2/token", &parameters).await;
    answer.expect_error(400, "unauthorized_client");
}

/// The back end asks for `asked` with a token of its own making.
async fn attempt_exchange(served: &Served, token: &Value, asked: &Value) -> Answer {
    let asked = asked.to_string();
    let form = [
        ("grant_type", EXCHANGE),
        ("subject_token", token["access_token"].as_str().unwrap()),
        ("subject_token_type", ACCESS_TOKEN),
        ("authorization_details", &asked),
    ];
    let secret = served.deployment.client_secret("backend");
    served.rolemint.browser().post_as(("backend", &secret), "/oauth2/token", &form).await
}

fn is_refusal(answer: &Answer) -> bool {
    answer.status == 400 && answer.json()["error"].is_string()
}
