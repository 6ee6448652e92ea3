//! Sessions: what is kept of each, which ones live, and why one ended.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use rolemint::database;
use rolemint::database::sessions::Whose;
use rolemint::domain::explanation::Explanation;
use rolemint::domain::ids::SessionId;
use rolemint::domain::session::RegisteredSession;
use rolemint::service::sessions::explain_from_database;
use serde_json::{Value, json};

use crate::harness::api::{Administered, Desk};
use crate::harness::flow::{API, PORTAL_URI, REDIRECT_URI, Request, claims, session_of};
use crate::harness::world::World;
use crate::harness::{on_both_stores, on_embedded_stores};

on_both_stores!(
    a_sign_in_is_registered_with_its_session,
    why_a_session_ended_can_be_read,
    what_a_wide_revocation_ended_says_so_long_after,
    another_tenants_sessions_are_not_there,
    an_administrator_ends_a_session,
    live_sessions_are_listed_page_by_page,
);
on_embedded_stores!(
    who_may_not_see_sessions_sees_none,
    what_has_been_over_for_long_is_forgotten,
    the_command_line_says_why_without_a_server,
);

/// What the register says of a session.
async fn registered(world: &World, session: SessionId) -> RegisteredSession {
    let read = world.database().await.read(move |c| database::sessions::find(c, &session)).await;
    read.unwrap().expect("a registered session")
}

async fn a_sign_in_is_registered_with_its_session(world: World) {
    let before = world.clock.now();
    let tokens = world.sign_in("dana").await;
    let session = registered(&world, session_of(&tokens["access_token"])).await;
    let claims = claims(&tokens["access_token"]);
    assert_eq!(session.subject.as_str(), claims["sub"]);
    assert_eq!((session.tenant.as_str(), session.client.as_str()), ("acme", "web"));
    assert_eq!(session.provider.as_str(), "corp");
    assert_eq!(session.begun, claims["rev"].as_u64().unwrap());
    assert!(session.begun_at >= before - TimeDelta::milliseconds(1));
    // Thirty days, and the minute in which the code can be redeemed.
    let longest = TimeDelta::days(30) + TimeDelta::seconds(60);
    assert_eq!(session.ends_at - session.begun_at, longest);

    // Without refresh tokens it lives for one access token.
    let once = Request::of("es256", REDIRECT_URI);
    let tokens = world.sign_in_at(&once, "dana").await;
    let session = registered(&world, session_of(&tokens["access_token"])).await;
    assert_eq!(session.ends_at - session.begun_at, TimeDelta::seconds(900 + 60));
}

/// What an administrator is told of the session of these tokens.
async fn told(desk: &Desk<'_>, tokens: &Value) -> Value {
    let path = format!("/sessions/{}", session_of(&tokens["access_token"]));
    desk.get(&path).await.expect(200).json()
}

#[track_caller]
fn assert_ended(told: &Value, kind: &str, text: &str) {
    assert_eq!((&told["state"], &told["ended"]["kind"]), (&json!("ended"), &json!(kind)), "{told}");
    assert_eq!(told["ended"]["text"], text, "{told}");
}

/// The sessions of a client are short from now on, in seconds.
fn short_lived(world: &mut World, client: &str, idle: i64, absolute: i64) {
    let mut lifetimes = toml::Table::new();
    lifetimes.insert("session_idle".to_owned(), idle.into());
    lifetimes.insert("session_absolute".to_owned(), absolute.into());
    world.deployment.client(client).insert("lifetimes".to_owned(), lifetimes.into());
    world.apply(&[]);
}

async fn why_a_session_ended_can_be_read(mut world: Administered) {
    let tokens = world.sign_in("dana").await;
    let ada = world.admin("ada", "acme").await;
    let shown = told(&ada, &tokens).await;
    assert_eq!((&shown["state"], &shown["client_id"]), (&json!("active"), &json!("web")));
    assert_eq!(shown["subject"], claims(&tokens["access_token"])["sub"]);
    let idle: DateTime<Utc> = shown["idle_ends_at"].as_str().unwrap().parse().unwrap();
    let early = world.clock.now() + TimeDelta::days(7) - idle;
    assert!(early < TimeDelta::seconds(1), "{shown}");

    // Of one whose code nobody has redeemed.
    world.code(&Request::web(), "dana").await;
    let subject = shown["subject"].as_str().unwrap().parse().unwrap();
    let whose = Whose { tenant: None, subject: Some(subject) };
    let (now, database) = (world.clock.now(), world.database().await);
    let all = database.read(move |c| database::sessions::list(c, &whose, None, 10, now)).await;
    let known = session_of(&tokens["access_token"]);
    let fresh = all.unwrap().into_iter().find(|session| session.id != known).unwrap().id;
    let shown = ada.get(&format!("/sessions/{fresh}")).await.expect(200).json();
    assert_eq!(shown["state"], "not_begun", "{shown}");
    world.clock.advance(TimeDelta::seconds(61));
    let shown = ada.get(&format!("/sessions/{fresh}")).await.expect(200).json();
    assert_eq!(shown["ended"]["kind"], "lapsed", "{shown}");

    // A replay, from somewhere; what the thief claims to be is a claim.
    let second = world.refresh("web", &tokens["refresh_token"]).await.expect(200).json();
    world.refresh("web", &second["refresh_token"]).await.expect(200);
    world.clock.advance(TimeDelta::minutes(5));
    let browser = world.browser();
    let stolen = tokens["refresh_token"].as_str().unwrap();
    let form = format!("client_id=web&grant_type=refresh_token&refresh_token={stolen}");
    let request = browser.request(Method::POST, "/oauth2/token").body(form);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let request = request.header("x-forwarded-for", "198.51.100.1");
    let request = request.header("forwarded", "for=198.51.100.1");
    browser.send(request).await.expect_error(400, "invalid_grant");
    let shown = told(&ada, &tokens).await;
    let text = "replayed: refresh generation 1 was presented when 3 was current, for 5 minutes already \
                (from 127.0.0.1)";
    assert_ended(&shown, "replayed", text);
    assert_eq!(shown["ended"]["address"], "127.0.0.1");

    let signed_out = world.sign_in("dana").await;
    world.revoke("web", &signed_out["refresh_token"]).await.expect(200);
    let shown = told(&ada, &signed_out).await;
    assert_ended(&shown, "revoked_by_client", "revoked by its client (from 127.0.0.1)");

    let code = world.code(&Request::web(), "dana").await;
    let twice = world.redeem(&code).await.expect(200).json();
    world.redeem(&code).await.expect(400);
    let text = "its authorization code was used a second time (from 127.0.0.1)";
    assert_ended(&told(&ada, &twice).await, "code_used_twice", text);

    // Never refreshed, and nothing ended it.
    short_lived(&mut world, "web", 30, 60);
    // Whoever signs in first has the server read what is declared now.
    world.sign_in("ada").await;
    let forgotten = world.sign_in("dana").await;
    world.clock.advance(TimeDelta::seconds(60));
    let ada = world.admin("ada", "acme").await;
    assert_eq!(told(&ada, &forgotten).await["ended"]["kind"], "lapsed");
    world.clock.advance(TimeDelta::seconds(60));
    let ada = world.admin("ada", "acme").await;
    assert_eq!(told(&ada, &forgotten).await["ended"]["kind"], "expired");
    // What was recorded is told all the same.
    assert_eq!(told(&ada, &tokens).await["ended"]["kind"], "replayed");
}

async fn what_a_wide_revocation_ended_says_so_long_after(mut world: Administered) {
    let (dana, gil) = (world.sign_in("dana").await, {
        let request = Request::web().with("tenant", "globex");
        world.sign_in_at(&request, "gil").await
    });
    world.deployment.tenant("globex").insert("status".to_owned(), "suspended".into());
    world.apply(&[]);
    let root = world.admin("root", "platform").await;
    let suspended =
        "revoked with tenant globex by rolemint apply (revocation 1): tenant globex suspended";
    let shown = told(&root, &gil).await;
    assert_ended(&shown, "revoked", suspended);
    assert_eq!(shown["ended"]["revocation"]["position"], 1);
    assert_eq!(told(&root, &dana).await["state"], "active");

    // A version is recalled, and with it what began under it.
    let body = json!({ "how": "revoke", "reason": "too wide" });
    let recall = "/roles/data-entry/template/versions/1/recall";
    root.post(recall, &body).await.expect(200);
    let shown = told(&root, &dana).await;
    assert_eq!(shown["ended"]["revocation"]["value"], "data-entry@1", "{shown}");
    let text = shown["ended"]["text"].as_str().unwrap();
    assert!(text.ends_with("template version data-entry@1 was recalled: too wide"), "{text}");
    // Those of others live on.
    let ada = world.sign_in("ada").await;
    assert_eq!(told(&root, &ada).await["state"], "active");

    // The log needs the entry no more; whoever asks, does.
    world.clock.advance(TimeDelta::days(367));
    let now = world.clock.now();
    let keep = TimeDelta::days(400);
    let forget = move |c: &mut database::DbConnection| database::log::forget_expired(c, keep, now);
    assert_eq!(world.database().await.write(forget).await.unwrap(), 0);
    let session = session_of(&gil["access_token"]);
    let known = explain_from_database(&world.database().await, session, now).await.unwrap();
    let Explanation::Ended(ending) = known.unwrap().explanation else { panic!("ended") };
    assert_eq!((ending.kind(), ending.to_string().as_str()), ("revoked", suspended));
    let keep = TimeDelta::zero();
    let forget = move |c: &mut database::DbConnection| database::log::forget_expired(c, keep, now);
    assert_eq!(world.database().await.write(forget).await.unwrap(), 2);
}

async fn another_tenants_sessions_are_not_there(world: Administered) {
    let gil = world.sign_in_at(&Request::web().with("tenant", "globex"), "gil").await;
    let ada = world.admin("ada", "acme").await;
    let theirs = session_of(&gil["access_token"]);
    let why = json!({ "reason": "why" });
    let mut answers = Vec::new();
    let nobodys = SessionId::new([7; 16]);
    for session in [theirs.to_string(), nobodys.to_string(), "x".to_owned()] {
        let path = format!("/sessions/{session}");
        answers.push(ada.get(&path).await.expect_problem(404, "not-found").body);
        let revoked = ada.post(&format!("{path}/revoke"), &why).await;
        answers.push(revoked.expect_problem(404, "not-found").body);
    }
    let order = json!({ "target": "session", "value": theirs.to_string(), "reason": "why" });
    answers.push(ada.post("/revocations", &order).await.expect_problem(404, "not-found").body);
    for tenant in ["globex", "unknown", "platform"] {
        let answer = ada.get(&format!("/sessions?tenant={tenant}")).await;
        answers.push(answer.expect_problem(404, "not-found").body);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    // By the person, nothing of another tenant is found either.
    let subject = claims(&gil["access_token"])["sub"].as_str().unwrap().to_owned();
    let found = ada.get(&format!("/sessions?subject={subject}")).await.expect(200).json();
    assert_eq!(found["sessions"], json!([]));
    assert!(world.is_active(&gil["access_token"]).await);
    let root = world.admin("root", "platform").await;
    assert_eq!(told(&root, &gil).await["state"], "active");
    let found = root.get(&format!("/sessions?subject={subject}")).await.expect(200).json();
    assert_eq!(found["sessions"][0]["session_id"], theirs.to_string());
}

async fn who_may_not_see_sessions_sees_none(world: Administered) {
    let tokens = world.sign_in("dana").await;
    let own = format!("/sessions/{}", session_of(&tokens["access_token"]));
    // Nor whether there is one.
    let none = format!("/sessions/{}", SessionId::new([0; 16]));
    let why = json!({ "reason": "why" });
    let order = json!({ "target": "role", "value": "admin", "reason": "why" });
    for username in ["dana", "otto"] {
        let desk = world.admin(username, "acme").await;
        for path in [&own, &none, "/sessions", "/sessions?tenant=acme", "/revocations"] {
            desk.get(path).await.expect_problem(403, "forbidden");
        }
        desk.post(&format!("{own}/revoke"), &why).await.expect_problem(403, "forbidden");
        desk.post("/revocations", &order).await.expect_problem(403, "forbidden");
    }
    assert!(world.is_active(&tokens["access_token"]).await);
    let root = world.admin("root", "platform").await;
    for path in ["/sessions", "/sessions?tenant=acme&limit=0", "/sessions?tenant=acme&cursor=x"] {
        root.get(path).await.expect_problem(400, "invalid-request");
    }
}

async fn an_administrator_ends_a_session(world: Administered) {
    let (tokens, other) = (world.sign_in("dana").await, world.sign_in("dana").await);
    let ada = world.admin("ada", "acme").await;
    let path = format!("/sessions/{}/revoke", session_of(&tokens["access_token"]));
    for bad in [json!({}), json!({ "reason": " " }), json!({ "reason": "x".repeat(1025) })] {
        ada.post(&path, &bad).await.expect_problem(400, "invalid-request");
    }
    assert!(world.is_active(&tokens["access_token"]).await);
    let done = ada.post(&path, &json!({ "reason": "lost phone" })).await.expect(201).json();
    assert_eq!(done["position"], 1, "{done}");
    assert!(!world.is_active(&tokens["access_token"]).await);
    world.refresh("web", &tokens["refresh_token"]).await.expect_error(400, "invalid_grant");
    let by = claims(&json!(ada.token))["sub"].as_str().unwrap().to_owned();
    let shown = told(&ada, &tokens).await;
    assert_ended(&shown, "revoked_by_administrator", &format!("revoked by {by}: lost phone"));
    // Once more is no error, and no entry of the log.
    let again = ada.post(&path, &json!({ "reason": "lost phone" })).await.expect(200).json();
    assert_eq!(again["position"], json!(null));
    world.refresh("web", &other["refresh_token"]).await.expect(200);

    // One that an exchange has made is in no register, and ends all the same.
    let id_token = world.id_token("dana", &json!({})).await;
    let kind = crate::harness::flow::ID_TOKEN;
    let exchanged = world.exchange("backend", &id_token, kind, &[]).await.expect(200).json();
    assert_eq!(told(&ada, &exchanged).await["state"], "active");
    let path = format!("/sessions/{}/revoke", session_of(&exchanged["access_token"]));
    ada.post(&path, &json!({ "reason": "why" })).await.expect(201);
    assert!(!world.is_active(&exchanged["access_token"]).await);
    assert_eq!(told(&ada, &exchanged).await["ended"]["kind"], "revoked_by_administrator");
}

/// The sessions that are listed, page by page, and how many pages it took.
async fn listed(desk: &Desk<'_>, whose: &str, limit: usize) -> (Vec<String>, usize) {
    let (mut found, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = desk.get(&format!("/sessions?{whose}&limit={limit}{cursor}")).await;
        let page = page.expect(200).json();
        let sessions = page["sessions"].as_array().unwrap();
        assert!(sessions.len() <= limit, "{page}");
        found.extend(sessions.iter().map(|it| it["session_id"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["next"].as_str() {
            None => return (found, pages),
            Some(next) => cursor = format!("&cursor={next}"),
        }
    }
}

async fn live_sessions_are_listed_page_by_page(mut world: Administered) {
    short_lived(&mut world, "web", 300, 3600);
    let root = world.admin("root", "platform").await;
    let ada = world.admin("ada", "acme").await;
    let mut danas = Vec::new();
    for _ in 0..6 {
        danas.push(world.sign_in("dana").await);
        world.clock.advance(TimeDelta::seconds(1));
    }
    // Those of other tenants, and what lives shorter, in between.
    world.sign_in_at(&Request::web().with("tenant", "globex"), "gil").await;
    let portal = Request::of("portal", PORTAL_URI).with("resource", API);
    danas.push(world.sign_in_at(&portal, "dana").await);
    let ids: Vec<String> =
        danas.iter().rev().map(|it| session_of(&it["access_token"]).to_string()).collect();
    let subject = claims(&danas[0]["access_token"])["sub"].as_str().unwrap().to_owned();
    let whose = format!("subject={subject}");
    for limit in [1, 2, 7, 100] {
        assert_eq!(listed(&ada, &whose, limit).await.0, ids, "{limit}");
    }
    assert_eq!(listed(&root, &format!("tenant=acme&{whose}"), 3).await.0, ids);
    // Ada's own is of the tenant, too.
    assert_eq!(listed(&ada, "tenant=acme", 3).await.0.len(), ids.len() + 1);

    // All but the first of them end: the work for a page is bounded, so that some are empty.
    for tokens in &danas[1..] {
        let client = if tokens == danas.last().unwrap() { "portal" } else { "web" };
        world.revoke(client, &tokens["refresh_token"]).await.expect(200);
    }
    let (found, pages) = listed(&ada, &whose, 1).await;
    assert_eq!(found, ids[6..]);
    assert!(pages > 1, "{pages}");
    assert_eq!(listed(&ada, &whose, 100).await, (ids[6..].to_vec(), 1));
    // What is not refreshed is over by itself.
    world.clock.advance(TimeDelta::seconds(300));
    let ada = world.admin("ada", "acme").await;
    assert_eq!(listed(&ada, &whose, 2).await.0, Vec::<String>::new());
    assert_eq!(listed(&ada, "tenant=acme", 2).await.0.len(), 1, "her new one");
}

async fn what_has_been_over_for_long_is_forgotten(world: World) {
    let tokens = world.sign_in("dana").await;
    let kept = world.sign_in("dana").await;
    world.revoke("web", &tokens["refresh_token"]).await.expect(200);
    let database = world.database().await;
    let session = session_of(&tokens["access_token"]);
    let ends_at = registered(&world, session).await.ends_at;
    let forget = async |before: DateTime<Utc>| {
        database.write(move |c| database::sessions::forget_ended(c, before)).await.unwrap()
    };
    assert_eq!(forget(ends_at - TimeDelta::minutes(2)).await, 0);
    let later = registered(&world, session_of(&kept["access_token"])).await.ends_at;
    assert!(later >= ends_at);
    assert_eq!(forget(later).await, 3, "both, and that one of them had ended");
    let told = explain_from_database(&database, session, world.clock.now()).await.unwrap();
    assert!(told.is_none());
}

async fn the_command_line_says_why_without_a_server(world: World) {
    let tokens = world.sign_in("dana").await;
    let session = session_of(&tokens["access_token"]).to_string();
    let said = world.command(&["session", "show", &session]).success();
    assert!(said.contains("nothing has ended it"), "{said}");
    world.revoke("web", &tokens["refresh_token"]).await.expect(200);
    let said = world.command(&["session", "show", &session]).success();
    let address: IpAddr = "127.0.0.1".parse().unwrap();
    assert!(said.contains(&format!("revoked by its client (from {address})")), "{said}");
    let nobodys = SessionId::new([7; 16]).to_string();
    let said = world.command(&["session", "show", &nobodys]).failure();
    assert!(said.contains("nothing is known of session"), "{said}");
}
