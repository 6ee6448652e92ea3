//! The provider sends the browser back: only the browser that began, once, and with a token that is sound.

use reqwest::Method;
use rolemint::database;
use rolemint::domain::audit::EventKind;
use serde_json::{Value, json};
use url::Url;

use crate::harness::flow::{REDIRECT_URI, Request, error_in};
use crate::harness::http::{Browser, parameter};
use crate::harness::on_both_stores;
use crate::harness::world::World;

on_both_stores!(
    only_the_browser_that_began_comes_back,
    a_sign_in_comes_back_once,
    a_sign_in_comes_back_in_ten_minutes,
    an_answer_of_another_issuer_is_refused_before_its_code_goes_anywhere,
    what_the_provider_refuses_is_passed_on,
    a_callback_that_is_no_answer_gets_a_page,
    an_id_token_that_is_not_sound_signs_nobody_in,
    two_sign_ins_go_on_in_one_browser,
);

/// The callback that a browser is about to follow, at the end of a sign-in at the provider.
async fn callback(world: &World, browser: &Browser) -> Url {
    let until = format!("{}/login/callback", world.issuer);
    browser.walk(browser.url(&Request::web().path()), "dana", &until).await.unwrap()
}

fn path(url: &Url) -> String {
    format!("{}?{}", url.path(), url.query().unwrap())
}

fn with(url: &Url, name: &str, value: Option<&str>) -> Url {
    let mut changed = url.clone();
    let kept: Vec<_> = url
        .query_pairs()
        .filter(|(other, _)| other != name)
        .map(|(a, b)| (a.into_owned(), b.into_owned()))
        .collect();
    changed.query_pairs_mut().clear().extend_pairs(kept);
    if let Some(value) = value {
        changed.query_pairs_mut().append_pair(name, value);
    }
    changed
}

async fn signed_in(world: &World) -> i64 {
    let database = world.database().await;
    database.read(|c| database::audit::count(c, EventKind::SignedIn)).await.unwrap()
}

async fn only_the_browser_that_began_comes_back(world: World) {
    let browser = world.browser();
    let callback = callback(&world, &browser).await;
    // Without a cookie, and with those of a sign-in of its own.
    let stranger = world.browser();
    stranger.get(&path(&callback)).await.expect_page(400);
    stranger.authorize(&Request::web()).await.expect(303);
    stranger.get(&path(&callback)).await.expect_page(400);
    assert_eq!(signed_in(&world).await, 0);
    // None of that took it from who began it.
    let answer = browser.get(&path(&callback)).await;
    assert!(parameter(&answer.location().unwrap(), "code").is_some());
    assert_eq!(signed_in(&world).await, 1);
    assert!(browser.cookies().iter().all(|cookie| !cookie.name.contains("rolemint-login")));
    // The right cookie's name with another's value is no cookie of hers.
    let victim = world.browser();
    let callback = self::callback(&world, &victim).await;
    let cookies = victim.cookies();
    let name = &cookies.iter().find(|cookie| cookie.name.contains("rolemint-login")).unwrap().name;
    let request = world.browser().request(Method::GET, &path(&callback));
    let request =
        request.header("cookie", format!("{name}=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    world.browser().send(request).await.expect_page(400);
    assert_eq!(signed_in(&world).await, 1);
}

async fn a_sign_in_comes_back_once(world: World) {
    let browser = world.browser();
    let callback = callback(&world, &browser).await;
    let cookies: Vec<_> =
        browser.cookies().iter().map(|c| format!("{}={}", c.name, c.value)).collect();
    browser.get(&path(&callback)).await.expect(303);
    browser.get(&path(&callback)).await.expect_page(400);
    // Also where the browser kept its cookie.
    let request =
        browser.request(Method::GET, &path(&callback)).header("cookie", cookies.join("; "));
    browser.send(request).await.expect_page(400);
    assert_eq!(signed_in(&world).await, 1);
}

async fn a_sign_in_comes_back_in_ten_minutes(world: World) {
    let browser = world.browser();
    let callback = callback(&world, &browser).await;
    world.clock.advance(chrono::TimeDelta::minutes(10));
    browser.get(&path(&callback)).await.expect_page(400);
    assert_eq!(signed_in(&world).await, 0);
}

async fn an_answer_of_another_issuer_is_refused_before_its_code_goes_anywhere(world: World) {
    for iss in [Some("https://evil.example"), Some("http://127.0.0.1"), None] {
        let browser = world.browser();
        let callback = callback(&world, &browser).await;
        assert_eq!(parameter(&callback, "iss"), Some(world.provider.issuer.clone()));
        let answer = browser.get(&path(&with(&callback, "iss", iss))).await;
        assert_eq!(answer.error_at(REDIRECT_URI), "access_denied", "{iss:?}");
    }
    let browser = world.browser();
    let callback = callback(&world, &browser).await;
    let slash = format!("{}/", world.provider.issuer);
    let answer = browser.get(&path(&with(&callback, "iss", Some(&slash)))).await;
    assert_eq!(answer.error_at(REDIRECT_URI), "access_denied");
    assert_eq!(world.provider.requests("/token").await, 0);
    assert_eq!(signed_in(&world).await, 0);
}

async fn what_the_provider_refuses_is_passed_on(world: World) {
    let passed_on = [
        ("access_denied", "access_denied"),
        ("login_required", "login_required"),
        ("consent_required", "consent_required"),
        ("interaction_required", "interaction_required"),
        ("temporarily_unavailable", "temporarily_unavailable"),
        // What is not of the standards is not repeated to the client.
        ("<script>alert(1)</script>", "access_denied"),
        ("unauthorized_client", "access_denied"),
        ("a\r\nb", "access_denied"),
    ];
    for (upstream, told) in passed_on {
        let browser = world.browser();
        let begun = browser.authorize(&Request::web()).await.location().unwrap();
        let state = parameter(&begun, "state").unwrap();
        let mut url = browser.url("/login/callback");
        url.query_pairs_mut()
            .append_pair("state", &state)
            .append_pair("error", upstream)
            .append_pair("error_description", "<b>\"told\"</b>\r\n");
        let answer = browser.get(&path(&url)).await;
        assert_eq!(answer.error_at(REDIRECT_URI), told, "{upstream}");
        let location = answer.location().unwrap();
        assert_eq!(parameter(&location, "state").as_deref(), Some("st4te"));
        assert!(!location.as_str().contains("told"), "{location}");
    }
    // At the provider itself: there is no such person.
    let landing = world.landing(&Request::web(), "nobody-knows").await;
    assert_eq!(error_in(&landing, REDIRECT_URI), "access_denied");
}

async fn a_callback_that_is_no_answer_gets_a_page(world: World) {
    let browser = world.browser();
    let callback = callback(&world, &browser).await;
    let state = parameter(&callback, "state").unwrap();
    let code = parameter(&callback, "code").unwrap();
    let no_answers = [
        String::new(),
        format!("state={state}"),
        format!("code={code}"),
        "state=unknown&code=x".to_owned(),
        format!("state={state}&state={state}&code={code}"),
        format!("state={state}&code={code}&code={code}"),
        format!("state={state}&code={code}&error=access_denied"),
        format!("state={state}&code=%ff"),
        format!("state={state}&code="),
    ];
    for query in no_answers {
        let answer = browser.get(&format!("/login/callback?{query}")).await;
        assert!(!answer.expect_page(400).body.contains(&code));
    }
    // And none of them took the sign-in away.
    let answer = browser.get(&path(&callback)).await;
    assert!(parameter(&answer.location().unwrap(), "code").is_some());
}

async fn an_id_token_that_is_not_sound_signs_nobody_in(world: World) {
    let now = world.clock.now().timestamp();
    let claims = |claims: Value| json!({ "claims": claims });
    let unsound = [
        ("another nonce", claims(json!({ "nonce": "another" }))),
        ("no nonce", claims(json!({ "nonce": null }))),
        ("another issuer", claims(json!({ "iss": "https://evil.example" }))),
        ("a list of issuers", claims(json!({ "iss": [world.provider.issuer] }))),
        ("another audience", claims(json!({ "aud": "web-app" }))),
        ("one audience more", claims(json!({ "aud": ["rolemint", "web-app"] }))),
        ("no audience", claims(json!({ "aud": null }))),
        ("another authorized party", claims(json!({ "azp": "web-app" }))),
        ("expired", claims(json!({ "exp": now - 61 }))),
        ("no expiry", claims(json!({ "exp": null }))),
        ("an expiry in words", claims(json!({ "exp": "4000000000" }))),
        ("from the future", claims(json!({ "iat": now + 600 }))),
        ("not yet valid", claims(json!({ "nbf": now + 600 }))),
        ("nobody's", claims(json!({ "sub": "" }))),
        ("without a subject", claims(json!({ "sub": null }))),
        ("a logout token", claims(json!({ "events": {} }))),
        ("an algorithm that the entry does not allow", json!({ "alg": "PS256" })),
        ("another kind of key", json!({ "alg": "ES256" })),
        ("unsigned", json!({ "alg": "none" })),
        ("the public key as a secret", json!({ "alg": "HS256" })),
        (
            "a stranger's key under the right name",
            json!({ "key": "unknown", "header": { "kid": "x" } }),
        ),
        ("a stranger's key without a name", json!({ "key": "unknown" })),
        ("an unknown name", json!({ "header": { "kid": "unknown" } })),
        ("another type", json!({ "header": { "typ": "at+jwt" } })),
        ("something critical", json!({ "header": { "crit": ["b64"], "b64": true } })),
        ("no JWT", json!({ "replace": "e30.e30" })),
        ("an address that is not verified", claims(json!({ "email_verified": false }))),
        ("an address that is verified in words", claims(json!({ "email_verified": "true" }))),
        ("an address of nobody's", claims(json!({ "email": "dana@elsewhere.example" }))),
        ("two addresses", claims(json!({ "email": ["dana@acme.example"] }))),
        (
            "an address of two domains",
            claims(json!({ "email": "dana@acme.example@elsewhere.example" })),
        ),
        ("another tenant's address", claims(json!({ "email": "dana@globex.example" }))),
        ("roles in a text", claims(json!({ "roles": "data-entry" }))),
        (
            "a role in other letters",
            claims(json!({ "roles": ["Data-Entry", "data-entry ", "dаta-entry"] })),
        ),
    ];
    for (what, how) in unsound {
        world.provider.tamper(&how).await;
        let landing = world.landing(&Request::web(), "dana").await;
        assert_eq!(error_in(&landing, REDIRECT_URI), "access_denied", "{what}");
    }
    assert_eq!(signed_in(&world).await, 0);
    world.provider.tamper(&json!({})).await;
    world.sign_in("dana").await;
}

async fn two_sign_ins_go_on_in_one_browser(world: World) {
    let browser = world.browser();
    let first = callback(&world, &browser).await;
    let (dana, other) = (Request::web(), Request::web().with("state", "0ther"));
    let second = browser.authorize(&other).await.location().unwrap();
    let landing = browser.get(&path(&first)).await.location().unwrap();
    assert_eq!(parameter(&landing, "state").as_deref(), Some("st4te"));
    let landing = browser.walk(second, "dana", REDIRECT_URI).await.unwrap();
    assert_eq!(parameter(&landing, "state").as_deref(), Some("0ther"));
    // The codes are bound to the challenge of their own sign-in, and not to the browser.
    let [first, second] = [world.code(&dana, "dana").await, world.code(&other, "dana").await];
    let crossed = first.form_with("code_verifier", &second.verifier);
    world.token("web", &crossed).await.expect_error(400, "invalid_grant");
    world.redeem(&second).await.expect(200);
}
