//! The token endpoint: who may ask, how, and what an authorization code is good for.

use std::fmt::Write as _;
use std::sync::Arc;

use chrono::TimeDelta;
use data_encoding::BASE64;
use reqwest::Method;
use rolemint::database;
use rolemint::domain::audit::EventKind;
use serde_json::json;

use crate::harness::flow::{PORTAL_URI, REDIRECT_URI, Request, session_of};
use crate::harness::http::Answer;
use crate::harness::world::World;
use crate::harness::{on_both_stores, on_embedded_stores, unguessable};

on_both_stores!(
    a_second_use_of_a_code_ends_what_the_first_made,
    a_code_lives_sixty_seconds,
    a_code_is_redeemed_with_its_own_verifier,
    a_code_is_redeemed_with_its_own_redirect_uri,
    a_code_is_its_own_clients,
    of_fifty_at_once_one_redeems_a_code_at_most,
    a_session_that_ended_by_a_second_use_stays_ended,
    whoever_uses_a_code_again_its_session_ends_for_as_long_as_it_could_have_lived,
    a_code_that_is_used_again_and_again_is_noted_once,
);
on_embedded_stores!(
    whoever_is_not_who_they_say_is_told_the_same,
    a_client_authenticates_in_one_way,
    a_form_is_posted,
    a_body_that_is_no_form_is_refused,
    a_body_over_the_limit_is_refused,
    a_repeated_parameter_is_refused,
    a_grant_that_there_is_not_is_refused,
    a_client_has_its_declared_grants_only,
    an_answer_is_not_stored,
    what_is_in_the_query_does_not_count,
    a_suspended_client_is_nobody,
);

const FORM: &str = "application/x-www-form-urlencoded";

#[track_caller]
fn assert_not_stored(answer: &Answer) {
    assert_eq!(answer.header("cache-control"), "no-store", "{}", answer.body);
    assert_eq!(answer.header("pragma"), "no-cache", "{}", answer.body);
    assert!(answer.headers.get("set-cookie").is_none());
}

/// Refused as any code is that cannot be redeemed: nobody learns why.
#[track_caller]
fn assert_no_grant(answer: Answer) {
    assert_not_stored(&answer);
    let told = answer.expect_error(400, "invalid_grant").json();
    let same =
        json!({ "error": "invalid_grant", "error_description": "the code cannot be redeemed" });
    assert_eq!(told, same);
}

async fn a_second_use_of_a_code_ends_what_the_first_made(world: World) {
    let code = world.code(&Request::web(), "dana").await;
    let tokens = world.redeem(&code).await.expect(200).json();
    assert!(world.is_active(&tokens["access_token"]).await);
    let refreshed = world.refresh("web", &tokens["refresh_token"]).await.expect(200).json();

    assert_no_grant(world.redeem(&code).await);
    for dead in [&tokens, &refreshed] {
        assert!(!world.is_active(&dead["access_token"]).await);
        world.refresh("web", &dead["refresh_token"]).await.expect_error(400, "invalid_grant");
        world.user_info(&dead["access_token"]).await.expect(401);
    }
    let (database, session) = (world.database().await, session_of(&tokens["access_token"]));
    let read = database.read(move |c| {
        Ok((
            database::subjects::find_ended_reason(c, &session)?,
            database::audit::count(c, EventKind::CodeReplayed)?,
        ))
    });
    let (reason, replays) = read.await.unwrap();
    assert_eq!(reason.as_deref(), Some("its authorization code was used a second time"));
    assert_eq!(replays, 1);
}

async fn a_code_lives_sixty_seconds(world: World) {
    let request = Request::web();
    let (early, late) = (world.code(&request, "dana").await, world.code(&request, "dana").await);
    world.clock.advance(TimeDelta::seconds(59));
    world.redeem(&early).await.expect(200);
    world.clock.advance(TimeDelta::seconds(1));
    assert_no_grant(world.redeem(&late).await);
    // Used and expired, it is still known as used.
    world.clock.advance(TimeDelta::seconds(60));
    assert_no_grant(world.redeem(&early).await);
}

async fn a_code_is_redeemed_with_its_own_verifier(world: World) {
    let code = world.code(&Request::web(), "dana").await;
    // Not even a guess: the code is as good as before.
    let (short, long) = ("a".repeat(42), "a".repeat(129));
    for malformed in [
        "",
        "a",
        &short,
        &long,
        "ä".repeat(43).as_str(),
        &format!("{}=", &short),
        &format!("{short} "),
    ] {
        assert_no_grant(world.token("web", &code.form_with("code_verifier", malformed)).await);
    }
    world.redeem(&code).await.expect(200);
    // A wrong guess is the last one.
    let code = world.code(&Request::web(), "dana").await;
    let wrong = unguessable();
    assert_no_grant(world.token("web", &code.form_with("code_verifier", &wrong)).await);
    assert_no_grant(world.redeem(&code).await);
    // The challenge is no verifier.
    let request = Request::web();
    let challenge =
        request.parameters.iter().find(|(name, _)| name == "code_challenge").unwrap().1.clone();
    let code = world.code(&request, "dana").await;
    assert_no_grant(world.token("web", &code.form_with("code_verifier", &challenge)).await);
    // RFC 7636, appendix B.
    let request =
        Request::web().with("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    let code = world.code(&request, "dana").await;
    let vector = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    world.token("web", &code.form_with("code_verifier", vector)).await.expect(200);
}

async fn a_code_is_redeemed_with_its_own_redirect_uri(world: World) {
    let off = [
        "",
        "http://127.0.0.1/callback",
        "http://127.0.0.1:49153/callback",
        "http://127.0.0.1:49152/callback/",
    ];
    for uri in off {
        let code = world.code(&Request::web(), "dana").await;
        assert_no_grant(world.token("web", &code.form_with("redirect_uri", uri)).await);
        assert_no_grant(world.redeem(&code).await);
    }
    // Another one that the client has registered, too.
    let code = world.code(&Request::of("portal", PORTAL_URI), "dana").await;
    let other = code.form_with("redirect_uri", "https://portal.example/other?fixed=1");
    assert_no_grant(world.token("portal", &other).await);
}

async fn a_code_is_its_own_clients(world: World) {
    for thief in ["neighbour", "posting", "portal"] {
        let code = world.code(&Request::web(), "dana").await;
        let answer = if thief == "posting" {
            let secret = world.deployment.client_secret(thief);
            let client = [("client_id", thief), ("client_secret", secret.as_str())];
            world.browser().post("/oauth2/token", &[&client[..], &code.form()].concat()).await
        } else {
            world.token(thief, &code.form()).await
        };
        assert_no_grant(answer);
        // What was in a stranger's hands is of no use to anybody.
        assert_no_grant(world.redeem(&code).await);
    }
}

/// All answers to `count` redemptions of a code that are sent at once.
async fn redeem_at_once(world: &Arc<World>, count: usize) -> Vec<Answer> {
    let code = Arc::new(world.code(&Request::web(), "dana").await);
    let all = (0..count).map(|_| {
        let (world, code) = (Arc::clone(world), Arc::clone(&code));
        tokio::spawn(async move { world.redeem(&code).await })
    });
    let mut answers = Vec::new();
    for answer in all.collect::<Vec<_>>() {
        answers.push(answer.await.unwrap());
    }
    // Once more, so that it was certainly used a second time.
    assert_no_grant(world.redeem(&code).await);
    answers
}

async fn of_fifty_at_once_one_redeems_a_code_at_most(world: World) {
    let world = Arc::new(world);
    let answers = redeem_at_once(&world, 50).await;
    let (good, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    assert!(good.len() <= 1, "{} redeemed it", good.len());
    for answer in refused {
        // A store that is slow for a moment refuses too, and says so.
        if answer.status != 503 {
            assert_no_grant(answer);
        }
    }
    for answer in good {
        let tokens = answer.json();
        assert!(!world.is_active(&tokens["access_token"]).await);
        world.refresh("web", &tokens["refresh_token"]).await.expect_error(400, "invalid_grant");
    }
}

async fn a_session_that_ended_by_a_second_use_stays_ended(world: World) {
    let world = Arc::new(world);
    let mut made = Vec::new();
    for _ in 0..10 {
        let answers = redeem_at_once(&world, 3).await;
        made.extend(answers.iter().filter(|answer| answer.status == 200).map(Answer::json));
    }
    // Longer than a node holds the entry that ended it in memory.
    world.clock.advance(TimeDelta::hours(25));
    for tokens in made {
        let answer = world.refresh("web", &tokens["refresh_token"]).await;
        answer.expect_error(400, "invalid_grant");
    }
}

/// The neighbour's own sessions live for an hour; those of `web` for thirty days.
async fn whoever_uses_a_code_again_its_session_ends_for_as_long_as_it_could_have_lived(
    world: World,
) {
    let code = world.code(&Request::web(), "dana").await;
    world.redeem(&code).await.expect(200);
    assert_no_grant(world.token("neighbour", &code.form()).await);
    let later = world.clock.now() + TimeDelta::hours(2);
    let read = move |c: &mut database::DbConnection| database::log::read_after(c, 0, 0, later);
    let batch = world.database().await.read(read).await.unwrap();
    assert_eq!(batch.revocations.len(), 1, "a node that starts in two hours knows that it ended");
}

async fn a_code_that_is_used_again_and_again_is_noted_once(world: World) {
    let code = world.code(&Request::web(), "dana").await;
    world.redeem(&code).await.expect(200);
    for _ in 0..5 {
        assert_no_grant(world.redeem(&code).await);
    }
    let now = world.clock.now();
    let read = move |c: &mut database::DbConnection| {
        Ok(database::log::read_after(c, 0, 0, now)?.revocations.len())
    };
    let entries = world.database().await.read(read).await.unwrap();
    assert_eq!(entries, 1, "whoever has one used code does not fill the log with it");
}

async fn whoever_is_not_who_they_say_is_told_the_same(world: World) {
    let basic = |id: &str, secret: &str| {
        format!("Basic {}", BASE64.encode(format!("{id}:{secret}").as_bytes()))
    };
    let grant = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    let in_body = |id: &'static str, secret: &'static str| {
        [&[("client_id", id), ("client_secret", secret)], &grant[..]].concat()
    };
    let right = world.deployment.client_secret("portal");
    let browser = world.browser();
    let mut answers = vec![
        (
            "an unknown client",
            browser.post("/oauth2/token", &in_body("nobody", "wrong-secret")).await,
        ),
        (
            "an unknown client in the header",
            world.post_with(&basic("nobody", "wrong-secret"), "/oauth2/token", &grant).await,
        ),
        (
            "a client id that cannot be",
            browser.post("/oauth2/token", &in_body("../nobody\0", "x")).await,
        ),
        (
            "a wrong secret",
            browser.post("/oauth2/token", &in_body("posting", "wrong-secret")).await,
        ),
        (
            "a wrong secret in the header",
            world.post_with(&basic("portal", "wrong-secret"), "/oauth2/token", &grant).await,
        ),
        ("no secret", browser.post("/oauth2/token", &in_body("portal", "")).await),
        ("an empty secret", world.post_with(&basic("portal", ""), "/oauth2/token", &grant).await),
        (
            "a secret of who has none",
            browser.post("/oauth2/token", &in_body("web", "wrong-secret")).await,
        ),
        (
            "a secret of who has none in the header",
            world.post_with(&basic("web", "wrong-secret"), "/oauth2/token", &grant).await,
        ),
        (
            "an empty secret of who has none",
            world.post_with(&basic("web", ""), "/oauth2/token", &grant).await,
        ),
        (
            "another client's secret",
            world.post_with(&basic("api", "x"), "/oauth2/token", &grant).await,
        ),
    ];
    // RFC 6749 §2.3.1: both halves are form-encoded, and this one was not.
    answers.push((
        "a secret as it is",
        world.post_with(&basic("portal", &right), "/oauth2/token", &grant).await,
    ));
    let first = answers[0].1.json();
    for (who, answer) in answers {
        assert_not_stored(&answer);
        assert!(answer.header("www-authenticate").starts_with("Basic"), "{who}");
        let answer = answer.expect_error(401, "invalid_client");
        assert_eq!(answer.json(), first, "{who}");
    }
    // The right one is let in, and refused for its token alone.
    world.token("portal", &grant).await.expect_error(400, "invalid_grant");
}

async fn a_client_authenticates_in_one_way(world: World) {
    let secret = world.deployment.client_secret("portal");
    let grant = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    let twice =
        [&[("client_id", "portal"), ("client_secret", secret.as_str())], &grant[..]].concat();
    world
        .browser()
        .post_as(("portal", &secret), "/oauth2/token", &twice)
        .await
        .expect_error(400, "invalid_request");
    // In the header one client, in the body another.
    let other = [&[("client_id", "web")], &grant[..]].concat();
    world
        .browser()
        .post_as(("portal", &secret), "/oauth2/token", &other)
        .await
        .expect_error(400, "invalid_request");
    let same = [&[("client_id", "portal")], &grant[..]].concat();
    world
        .browser()
        .post_as(("portal", &secret), "/oauth2/token", &same)
        .await
        .expect_error(400, "invalid_grant");
    let malformed = [
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic cG9ydGFs",
        "Basic /w==",
        "Bearer x",
        "Digest username=\"portal\"",
        "",
    ];
    for header in malformed {
        let answer = world.post_with(header, "/oauth2/token", &grant).await;
        assert_not_stored(&answer);
        answer.expect_error(401, "invalid_client");
    }
    let browser = world.browser();
    let request =
        browser.request(Method::POST, "/oauth2/token").basic_auth("portal", Some(&secret));
    let request =
        request.basic_auth("web", Some("x")).header("content-type", FORM).body("grant_type=x");
    browser.send(request).await.expect_error(401, "invalid_client");
    // Nobody at all.
    let answer = browser.post("/oauth2/token", &grant).await;
    assert!(answer.header("www-authenticate").starts_with("Basic"));
    answer.expect_error(401, "invalid_client");
}

async fn a_form_is_posted(world: World) {
    let browser = world.browser();
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD] {
        let answer =
            browser.send(browser.request(method.clone(), "/oauth2/token?grant_type=x")).await;
        assert_eq!(answer.status, 405, "{method}");
        let allowed: Vec<_> = answer.header("allow").split(", ").collect();
        assert!(allowed.contains(&"POST") && !allowed.contains(&"GET"), "{allowed:?}");
    }
}

async fn a_body_that_is_no_form_is_refused(world: World) {
    let good = "client_id=web&grant_type=refresh_token&refresh_token=x";
    let latin = format!("{FORM}; charset=ISO-8859-1");
    let no_forms: [(&str, &[u8]); 9] = [
        (
            "application/json",
            br#"{"client_id":"web","grant_type":"refresh_token","refresh_token":"x"}"#,
        ),
        ("text/plain", good.as_bytes()),
        ("multipart/form-data; boundary=x", good.as_bytes()),
        (&latin, good.as_bytes()),
        ("", good.as_bytes()),
        (FORM, b"client_id=web&grant_type=\xff"),
        (FORM, b"client_id=web&grant_type=%ff"),
        (FORM, b"client_id=web&grant_type=%zz"),
        (FORM, b"client_id=web&grant_type=%c0%80"),
    ];
    for (kind, body) in no_forms {
        let answer = world.post_body("/oauth2/token", kind, body.to_vec()).await;
        assert_not_stored(&answer);
        answer.expect_error(400, "invalid_request");
    }
    for kind in [FORM, "Application/X-WWW-Form-URLEncoded; Charset=\"UTF-8\""] {
        let answer = world.post_body("/oauth2/token", kind, good.as_bytes().to_vec()).await;
        answer.expect_error(400, "invalid_grant");
    }
    let mut many = good.to_owned();
    (0..200).for_each(|number| write!(many, "&p{number}=1").unwrap());
    world
        .post_body("/oauth2/token", FORM, many.into_bytes())
        .await
        .expect_error(400, "invalid_request");
}

async fn a_body_over_the_limit_is_refused(world: World) {
    let body = |length: usize| {
        let mut body = b"client_id=web&grant_type=refresh_token&refresh_token=".to_vec();
        body.resize(length, b'x');
        body
    };
    world.post_body("/oauth2/token", FORM, body(65_536)).await.expect_error(400, "invalid_grant");
    for path in ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"] {
        for length in [65_537, 2_000_000] {
            let answer = world.post_body(path, FORM, body(length)).await;
            assert_not_stored(&answer);
            answer.expect_error(413, "invalid_request");
        }
    }
}

async fn a_repeated_parameter_is_refused(world: World) {
    let code = world.code(&Request::web(), "dana").await;
    for name in ["grant_type", "code", "scope", "client_id", "redirect_uri", "code_verifier", "foo"]
    {
        let mut form = code.form();
        form.push(("client_id", "web"));
        let value = form.iter().find(|(other, _)| *other == name).map_or("x", |(_, value)| value);
        let more: &[_] = if form.iter().any(|(other, _)| *other == name) {
            &[(name, value)]
        } else {
            &[(name, value), (name, value)]
        };
        let answer = world.browser().post("/oauth2/token", &[&form, more].concat()).await;
        assert_not_stored(&answer);
        assert_eq!(answer.expect_error(400, "invalid_request").status, 400, "{name}");
    }
    // None of it used the code up.
    world.redeem(&code).await.expect(200);
}

async fn a_grant_that_there_is_not_is_refused(world: World) {
    for grant in [
        "password",
        "client_credentials",
        "implicit",
        "urn:ietf:params:oauth:grant-type:device_code",
        "Authorization_Code",
        "token-exchange",
        "refresh_token ",
    ] {
        let form = [
            ("grant_type", grant),
            ("username", "dana"),
            ("password", "secret"),
            ("refresh_token", "x"),
        ];
        world.token("web", &form).await.expect_error(400, "unsupported_grant_type");
    }
    for form in [&[][..], &[("grant_type", "")]] {
        world.token("web", form).await.expect_error(400, "invalid_request");
    }
    for missing in [&[("grant_type", "authorization_code")], &[("grant_type", "refresh_token")]] {
        world.token("web", missing).await.expect_error(400, "invalid_request");
    }
    let metadata = world.browser().get("/.well-known/openid-configuration").await.json();
    let advertised = metadata["grant_types_supported"].as_array().unwrap();
    assert!(!advertised.contains(&json!("password")) && !advertised.contains(&json!("implicit")));
}

async fn a_client_has_its_declared_grants_only(world: World) {
    let code = world.code(&Request::web(), "dana").await;
    world.token("backend", &code.form()).await.expect_error(400, "unauthorized_client");
    world.token("api", &code.form()).await.expect_error(400, "unauthorized_client");
    // It was not even looked at.
    let tokens = world.redeem(&code).await.expect(200).json();
    for client in ["es256", "backend", "api"] {
        let answer = world.refresh(client, &tokens["refresh_token"]).await;
        answer.expect_error(400, "unauthorized_client");
    }
    // Nor is one given a refresh token that it could not use.
    let tokens = world.sign_in_at(&Request::of("es256", REDIRECT_URI), "dana").await;
    assert!(tokens.get("refresh_token").is_none(), "{tokens}");
}

async fn an_answer_is_not_stored(world: World) {
    let code = world.code(&Request::web(), "dana").await;
    let answer = world.redeem(&code).await.expect(200);
    assert_not_stored(&answer);
    let tokens = answer.json();
    let now = world.clock.now().timestamp();
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!((&tokens["expires_in"], &tokens["expires_at"]), (&json!(900), &json!(now + 900)));
    assert_eq!(tokens["scope"], "openid");
    assert_not_stored(&world.refresh("web", &tokens["refresh_token"]).await.expect(200));
    let form = [("token", tokens["access_token"].as_str().unwrap())];
    for path in ["/oauth2/introspect", "/oauth2/revoke"] {
        let answer = world.post_as("backend", path, &form).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    let answer = world.user_info(&tokens["access_token"]).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
}

async fn what_is_in_the_query_does_not_count(world: World) {
    let code = world.code(&Request::web(), "dana").await;
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(code.form())
        .append_pair("client_id", "web")
        .finish();
    let path = format!("/oauth2/token?{query}");
    world.post_body(&path, FORM, Vec::new()).await.expect_error(401, "invalid_client");
    world
        .post_body(&path, FORM, b"client_id=web".to_vec())
        .await
        .expect_error(400, "invalid_request");
    world.redeem(&code).await.expect(200);
}

async fn a_suspended_client_is_nobody(mut world: World) {
    let code = world.code(&Request::web(), "dana").await;
    world.deployment.client("web").insert("status".to_owned(), "suspended".into());
    world.apply(&[]);
    crate::harness::soon("the client is suspended", async || {
        let answer = world.refresh("web", &json!("x")).await;
        (answer.status == 401).then_some(())
    })
    .await;
    world.redeem(&code).await.expect_error(401, "invalid_client");
    world.browser().authorize(&Request::web()).await.expect_page(400);
}
