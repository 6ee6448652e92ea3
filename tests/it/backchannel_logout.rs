//! A provider tells that somebody has signed out there (OpenID Connect Back-Channel Logout 1.0).

use chrono::TimeDelta;
use reqwest::Method;
use rolemint::database::{DbConnection, log};
use rolemint::domain::audit::EventKind;
use rolemint::domain::ids::{SessionId, SubjectId};
use rolemint::domain::revocation::{NewRevocation, RevocationTarget};
use rolemint::domain::session::RegisteredSession;
use rolemint::{app::Running, database};
use serde_json::{Value, json};
use std::sync::mpsc;
use std::time::Duration;

use crate::harness::flow::{REDIRECT_URI, Request, claims, error_in, session_of};
use crate::harness::http::{Answer, Browser, parameter};
use crate::harness::world::World;
use crate::harness::{on_both_stores, on_embedded_stores, soon};

on_both_stores!(
    a_logout_at_the_provider_ends_what_came_from_that_session,
    a_logout_of_a_person_ends_all_that_began_before,
    a_session_is_narrowed_to_its_person,
    what_an_exchange_gave_ends_with_the_session_there,
    a_code_that_is_not_redeemed_yet_gives_nothing_any_more,
    a_sign_in_that_crosses_the_logout_of_its_session_signs_nobody_in,
    a_sign_in_that_crosses_the_logout_of_its_person_gives_nothing,
    a_logout_token_is_heeded_once,
    what_cannot_be_recorded_is_not_heeded_and_may_be_told_again,
    many_sessions_cost_as_much_as_a_few,
);
on_embedded_stores!(
    what_is_no_logout_token_is_refused,
    what_is_no_form_with_a_logout_token_is_refused,
    a_provider_that_may_not_tell_is_not_listened_to,
    a_logout_of_nobody_is_heeded,
);

/// Two servers share no embedded store.
mod a_logout_token_is_heeded_by_one_node {
    #[test]
    fn postgres_redis() {
        let pair = crate::harness::Pair::PostgresRedis;
        crate::harness::on(pair, super::a_logout_token_is_heeded_by_one_node);
    }
}

const PATH: &str = "/login/backchannel-logout/corp";
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// A logout token with these claims beside the usual ones (null removes one).
async fn logout_token(world: &World, change: &Value) -> String {
    signed(world, change, &json!({})).await
}

async fn signed(world: &World, change: &Value, how: &Value) -> String {
    let now = world.clock.now().timestamp();
    let mut claims = json!({
        "iss": world.provider.issuer, "aud": "rolemint", "iat": now, "exp": now + 120,
        "jti": crate::harness::unguessable(), "events": { EVENT: {} },
    });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let mut what = json!({ "claims": claims, "header": { "typ": "logout+jwt" } });
    for (name, value) in how.as_object().unwrap() {
        what[name] = value.clone();
    }
    world.provider.sign(&what).await
}

async fn tell(world: &World, token: &str) -> Answer {
    world.browser().post(PATH, &[("logout_token", token)]).await
}

async fn told(world: &World, change: &Value) {
    let answer = tell(world, &logout_token(world, change).await).await.expect(200);
    assert_eq!((answer.header("cache-control"), answer.body.as_str()), ("no-store", ""));
}

/// Somebody signs in with a browser of their own, which stays signed in at the provider.
async fn sign_in(world: &World, username: &str) -> (Browser, Value) {
    let browser = world.browser();
    let tokens = sign_in_again(world, &browser, username).await;
    (browser, tokens)
}

async fn sign_in_again(world: &World, browser: &Browser, username: &str) -> Value {
    let request = Request::web();
    let landing = world.landing_in(browser, &request, username).await;
    redeem(world, &request, &parameter(&landing, "code").unwrap()).await.expect(200).json()
}

async fn redeem(world: &World, request: &Request, code: &str) -> Answer {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", REDIRECT_URI),
        ("code_verifier", request.verifier.as_str()),
    ];
    world.token("web", &form).await
}

/// The provider's name for the session that tokens came from.
async fn upstream_session(world: &World, tokens: &Value) -> String {
    let session = session_of(&tokens["access_token"]);
    let read = world.database().await.read(move |c| database::sessions::find(c, &session)).await;
    read.unwrap().unwrap().upstream_session.expect("the provider names its sessions")
}

/// The refresh token is refused, and the access token dead.
async fn assert_over(world: &World, tokens: &Value) {
    assert!(!world.is_active(&tokens["access_token"]).await);
    world.refresh("web", &tokens["refresh_token"]).await.expect_error(400, "invalid_grant");
}

async fn assert_alive(world: &World, tokens: &Value) {
    assert!(world.is_active(&tokens["access_token"]).await);
    world.refresh("web", &tokens["refresh_token"]).await.expect(200);
}

/// The provider is told by the person herself, and tells Rolemint.
async fn sign_out_at_provider(world: &World, browser: &Browser) {
    let page = format!("{}/session/end", world.provider.issuer);
    let answer = browser.get(&page).await.expect(200);
    let (action, hidden) = answer.form("xsrf").unwrap();
    let mut form: Vec<_> = hidden.iter().map(|(name, value)| (&**name, &**value)).collect();
    form.push(("logout", "yes"));
    let answer = browser.post(action.as_str(), &form).await;
    assert!(answer.status < 400, "{}", answer.body);
}

async fn a_logout_at_the_provider_ends_what_came_from_that_session(world: World) {
    let (browser, first) = sign_in(&world, "dana").await;
    // A second application of hers, so to say: the same session at the provider.
    let second = sign_in_again(&world, &browser, "dana").await;
    let (_elsewhere, other) = sign_in(&world, "dana").await;
    let (_ada, adas) = sign_in(&world, "ada").await;
    let name = upstream_session(&world, &first).await;
    assert_eq!(upstream_session(&world, &second).await, name);
    assert_ne!(upstream_session(&world, &other).await, name);
    assert_alive(&world, &first).await;

    sign_out_at_provider(&world, &browser).await;
    assert_over(&world, &first).await;
    assert_over(&world, &second).await;
    assert_alive(&world, &other).await;
    assert_alive(&world, &adas).await;
    let ended = session_of(&second["access_token"]);
    let database = world.database().await;
    let reason = database.read(move |c| database::subjects::find_ended_reason(c, &ended)).await;
    assert_eq!(reason.unwrap().as_deref(), Some("signed out at the provider"));
    let events = database.read(|c| database::audit::count(c, EventKind::SessionEnded)).await;
    assert_eq!(events.unwrap(), 2);
    // What is over is not ended again.
    told(&world, &json!({ "sid": name, "sub": "dana" })).await;
    let events = database.read(|c| database::audit::count(c, EventKind::SessionEnded)).await;
    assert_eq!(events.unwrap(), 2);
    // And she may sign in again.
    let again = sign_in_again(&world, &browser, "dana").await;
    assert_alive(&world, &again).await;
}

async fn a_logout_of_a_person_ends_all_that_began_before(world: World) {
    let (_one, first) = sign_in(&world, "dana").await;
    let (_two, second) = sign_in(&world, "dana").await;
    let (_ada, adas) = sign_in(&world, "ada").await;
    told(&world, &json!({ "sub": "dana" })).await;
    assert_over(&world, &first).await;
    assert_over(&world, &second).await;
    assert_alive(&world, &adas).await;
    let (_three, third) = sign_in(&world, "dana").await;
    assert_alive(&world, &third).await;
}

async fn a_session_is_narrowed_to_its_person(world: World) {
    let (_dana, danas) = sign_in(&world, "dana").await;
    let name = upstream_session(&world, &danas).await;
    // Whose session it is not.
    told(&world, &json!({ "sid": name, "sub": "ada" })).await;
    assert_alive(&world, &danas).await;
    told(&world, &json!({ "sid": name })).await;
    assert_over(&world, &danas).await;
}

async fn exchange(world: &World, there: &Value) -> Answer {
    let jti = crate::harness::unguessable();
    let token = world.id_token("dana", &json!({ "jti": jti, "sid": there })).await;
    world.exchange("backend", &token, crate::harness::flow::ID_TOKEN, &[]).await
}

async fn what_an_exchange_gave_ends_with_the_session_there(world: World) {
    let given = exchange(&world, &json!("there")).await.expect(200).json();
    let other = exchange(&world, &json!("elsewhere")).await.expect(200).json();
    let nowhere = exchange(&world, &Value::Null).await.expect(200).json();
    told(&world, &json!({ "sid": "there", "sub": "dana" })).await;
    assert!(!world.is_active(&given["access_token"]).await);
    assert!(world.is_active(&other["access_token"]).await);
    assert!(world.is_active(&nowhere["access_token"]).await);
    let ended = session_of(&given["access_token"]);
    let find = move |c: &mut DbConnection| database::sessions::find_end(c, &ended);
    let end = world.database().await.read(find).await.unwrap().unwrap();
    assert_eq!(end.words, "signed out at the provider");
    // Nor is anything given for what was said of that session before; of others, it is.
    exchange(&world, &json!("there")).await.expect_error(400, "invalid_request");
    exchange(&world, &json!("elsewhere")).await.expect(200);
}

async fn a_code_that_is_not_redeemed_yet_gives_nothing_any_more(world: World) {
    let (browser, first) = sign_in(&world, "dana").await;
    let request = Request::web();
    let landing = world.landing_in(&browser, &request, "dana").await;
    let code = parameter(&landing, "code").unwrap();
    let name = upstream_session(&world, &first).await;
    told(&world, &json!({ "sid": name, "sub": "dana" })).await;
    redeem(&world, &request, &code).await.expect_error(400, "invalid_grant");
    assert_over(&world, &first).await;
}

/// As far as the provider, which sends the browser back: where the callback goes.
async fn at_the_callback(world: &World, browser: &Browser, request: &Request) -> String {
    let until = format!("{}/login/callback", world.issuer);
    let callback = browser.walk(browser.url(&request.path()), "dana", &until).await.unwrap();
    format!("{}?{}", callback.path(), callback.query().unwrap())
}

async fn a_sign_in_that_crosses_the_logout_of_its_session_signs_nobody_in(world: World) {
    let (browser, first) = sign_in(&world, "dana").await;
    let name = upstream_session(&world, &first).await;
    let callback = at_the_callback(&world, &browser, &Request::web()).await;
    // The provider's answer names a session that is over by the time at which it would be written down.
    told(&world, &json!({ "sid": name })).await;
    let answer = browser.get(&callback).await;
    assert_eq!(error_in(&answer.location().unwrap(), REDIRECT_URI), "login_required");
    // Long enough after, a provider may use the name again.
    world.clock.advance(TimeDelta::minutes(10));
    let again = sign_in_again(&world, &browser, "dana").await;
    assert_eq!(upstream_session(&world, &again).await, name);
}

async fn a_sign_in_that_crosses_the_logout_of_its_person_gives_nothing(world: World) {
    let browser = world.browser();
    let request = Request::web();
    let callback = at_the_callback(&world, &browser, &request).await;
    world.provider.control("hold", &json!({ "paths": ["/token"] })).await;
    let crossing = async {
        soon("the provider is asked", async || {
            (world.provider.requests("/token").await == 1).then_some(())
        })
        .await;
        told(&world, &json!({ "sub": "dana" })).await;
        world.provider.control("hold", &json!({})).await;
    };
    let (answer, ()) = tokio::join!(browser.get(&callback), crossing);
    let code = parameter(&answer.location().unwrap(), "code").unwrap();
    redeem(&world, &request, &code).await.expect_error(400, "invalid_grant");
}

async fn a_logout_token_is_heeded_once(world: World) {
    let token = logout_token(&world, &json!({ "sub": "dana" })).await;
    tell(&world, &token).await.expect(200);
    let (_dana, tokens) = sign_in(&world, "dana").await;
    tell(&world, &token).await.expect_error(400, "invalid_request");
    // Another token with the same id is the same token; one of another id is not.
    let id = claims(&json!(token))["jti"].clone();
    let same = logout_token(&world, &json!({ "sub": "dana", "jti": id })).await;
    tell(&world, &same).await.expect_error(400, "invalid_request");
    assert_alive(&world, &tokens).await;
    // Of many at once one is heeded.
    let token = logout_token(&world, &json!({ "sub": "ada" })).await;
    let (a, b, c) = tokio::join!(tell(&world, &token), tell(&world, &token), tell(&world, &token));
    let mut answers = [a.status, b.status, c.status];
    answers.sort_unstable();
    assert_eq!(answers, [200, 400, 400]);
}

async fn a_logout_token_is_heeded_by_one_node(world: World) {
    let (node, there): (Running, Browser) = world.another_node().await;
    let (_dana, tokens) = sign_in(&world, "dana").await;
    let token = logout_token(&world, &json!({ "sub": "dana" })).await;
    there.post(PATH, &[("logout_token", &token)]).await.expect(200);
    tell(&world, &token).await.expect_error(400, "invalid_request");
    soon("the other node has heard of it", async || {
        (!world.is_active(&tokens["access_token"]).await).then_some(())
    })
    .await;
    node.stop().await.unwrap();
}

async fn what_cannot_be_recorded_is_not_heeded_and_may_be_told_again(world: World) {
    let (_dana, tokens) = sign_in(&world, "dana").await;
    let name = upstream_session(&world, &tokens).await;
    let token = logout_token(&world, &json!({ "sid": name, "sub": "dana" })).await;
    // Somebody holds the log for longer than a server waits.
    let (release, released) = mpsc::channel::<()>();
    let (under_way, begun) = mpsc::channel::<()>();
    let now = world.clock.now();
    let database = world.database().await;
    let holder = tokio::spawn(async move {
        let write = database.write(move |c| {
            let revocation = NewRevocation {
                target: RevocationTarget::Client("portal".parse().unwrap()),
                tenant: None,
                audience: Vec::new(),
                expires_at: now,
                by: None,
                reason: "never".to_owned(),
            };
            log::append_revocation(c, &revocation, now)?;
            under_way.send(()).unwrap();
            let _ = released.recv_timeout(Duration::from_secs(60));
            Err::<(), _>(database::DatabaseError::TimedOut)
        });
        write.await
    });
    tokio::task::spawn_blocking(move || begun.recv().unwrap()).await.unwrap();
    let answer = tell(&world, &token).await.expect_error(503, "temporarily_unavailable");
    assert_eq!(answer.header("retry-after"), "1");
    release.send(()).unwrap();
    holder.await.unwrap().unwrap_err();
    assert_alive(&world, &tokens).await;
    soon("the log is free", async || (tell(&world, &token).await.status == 200).then_some(()))
        .await;
    assert_over(&world, &tokens).await;
}

async fn many_sessions_cost_as_much_as_a_few(world: World) {
    let (_dana, tokens) = sign_in(&world, "dana").await;
    let (_ada, adas) = sign_in(&world, "ada").await;
    let name = upstream_session(&world, &tokens).await;
    let id = session_of(&tokens["access_token"]);
    let database = world.database().await;
    let write = database.write(move |c| {
        let one = database::sessions::find(c, &id)?.unwrap();
        for number in 0..100 {
            let id = SessionId::new([number; 16]);
            database::sessions::insert(c, &RegisteredSession { id, ..one.clone() })?;
        }
        Ok(())
    });
    write.await.unwrap();
    let appended = async || {
        database.read(|c| log::read_after(c, 0, 0, chrono::DateTime::UNIX_EPOCH)).await.unwrap()
    };
    let before = appended().await.revocation_head;
    told(&world, &json!({ "sid": name })).await;
    assert_over(&world, &tokens).await;
    assert_alive(&world, &adas).await;
    let after = appended().await;
    assert_eq!(after.revocation_head, before + 1);
    let dana = SubjectId::person(&"corp".parse().unwrap(), "dana");
    assert_eq!(after.revocations.last().unwrap().target, RevocationTarget::Subject(dana));
}

/// Claim by claim this is held in `upstream::tests::logout_tokens`; here, that it is asked at all.
async fn what_is_no_logout_token_is_refused(world: World) {
    let (_dana, tokens) = sign_in(&world, "dana").await;
    let dana = json!({ "sub": "dana" });
    let change = |name: &str, value: Value| {
        let mut change = dana.clone();
        change[name] = value;
        change
    };
    let now = world.clock.now().timestamp();
    let typed = |typ: &str| json!({ "header": { "typ": typ } });
    let no_tokens = [
        signed(&world, &dana, &json!({ "key": "unknown" })).await,
        signed(&world, &dana, &json!({ "header": { "alg": "none" } })).await,
        signed(&world, &dana, &json!({ "header": { "alg": "HS256" } })).await,
        signed(&world, &dana, &json!({ "header": { "alg": "PS256" } })).await,
        signed(&world, &dana, &typed("at+jwt")).await,
        logout_token(&world, &change("iss", json!("https://evil.example"))).await,
        logout_token(&world, &change("aud", json!("web-app"))).await,
        logout_token(&world, &change("aud", json!(["rolemint", "web-app"]))).await,
        logout_token(&world, &change("exp", json!(now - 60))).await,
        logout_token(&world, &change("iat", json!(now - 361))).await,
        logout_token(&world, &change("iat", json!(now + 61))).await,
        logout_token(&world, &change("jti", Value::Null)).await,
        logout_token(&world, &change("events", Value::Null)).await,
        logout_token(&world, &change("events", json!({ EVENT: true }))).await,
        logout_token(&world, &change("nonce", json!("n"))).await,
        logout_token(&world, &change("sub", Value::Null)).await,
        // What the provider gave out for other ends, to us and to others.
        world.id_token("dana", &json!({ "aud": "rolemint", "jti": "j" })).await,
        world.provider.sign_in_elsewhere("dana").await,
        tokens["id_token"].as_str().unwrap().to_owned(),
        tokens["access_token"].as_str().unwrap().to_owned(),
        "x".to_owned(),
    ];
    for token in no_tokens {
        let answer = tell(&world, &token).await;
        let said = claims_of(&token);
        assert_eq!(answer.status, 400, "{said}");
        assert_eq!(answer.header("cache-control"), "no-store");
        let same = json!({
            "error": "invalid_request", "error_description": "the logout_token is not good",
        });
        assert_eq!(answer.json(), same, "{said}");
    }
    assert_alive(&world, &tokens).await;
    // And a logout token is no ID token: nobody gets anything for one.
    let token = logout_token(&world, &change("aud", json!("web-app"))).await;
    let answer = world.exchange("backend", &token, crate::harness::flow::ID_TOKEN, &[]).await;
    answer.expect_error(400, "invalid_request");
}

fn claims_of(token: &str) -> Value {
    if token.split('.').count() == 3 { claims(&json!(token)) } else { json!(token) }
}

async fn what_is_no_form_with_a_logout_token_is_refused(world: World) {
    let token = logout_token(&world, &json!({ "sub": "dana" })).await;
    let form = format!("logout_token={token}");
    let kind = "application/x-www-form-urlencoded";
    for (kind, body, status) in [
        (kind, String::new(), 400),
        (kind, "logout_token=".to_owned(), 400),
        (kind, format!("{form}&{form}"), 400),
        (kind, "logout_token=%ff".to_owned(), 400),
        ("application/json", json!({ "logout_token": token }).to_string(), 400),
        ("text/plain", form.clone(), 400),
        (kind, format!("{form}&x={}", "x".repeat(16 * 1024)), 413),
    ] {
        let answer = world.post_body(PATH, kind, body.into_bytes()).await;
        answer.expect_error(status, "invalid_request");
    }
    // In the query it is nothing.
    let answer = world.browser().post(&format!("{PATH}?{form}"), &[]).await;
    answer.expect_error(400, "invalid_request");
    // §2.5: what is not understood is ignored.
    world.post_body(PATH, kind, format!("{form}&x=1").into_bytes()).await.expect(200);
}

async fn a_provider_that_may_not_tell_is_not_listened_to(mut world: World) {
    let (_dana, tokens) = sign_in(&world, "dana").await;
    let token = logout_token(&world, &json!({ "sub": "dana" })).await;
    for path in ["/login/backchannel-logout/nobody", "/login/backchannel-logout/UP%00"] {
        let answer = world.browser().post(path, &[("logout_token", &token)]).await;
        answer.expect_error(404, "invalid_request");
    }
    world.deployment.provider("corp").remove("backchannel_logout");
    world.apply(&[]);
    soon("the change counts", async || {
        let nobody = logout_token(&world, &json!({ "sub": "nobody" })).await;
        (tell(&world, &nobody).await.status == 404).then_some(())
    })
    .await;
    tell(&world, &token).await.expect_error(404, "invalid_request");
    assert_alive(&world, &tokens).await;
    let request = world.browser().request(Method::GET, PATH);
    world.browser().send(request).await.expect(405);
}

async fn a_logout_of_nobody_is_heeded(world: World) {
    told(&world, &json!({ "sid": "unknown" })).await;
    told(&world, &json!({ "sub": "nobody" })).await;
    told(&world, &json!({ "sid": "unknown", "sub": "nobody" })).await;
}
