//! A resource server that checks tokens by itself: the example, as a process, beside a real Rolemint.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use rolemint::database::{DbConnection, log};
use rolemint::domain::revocation::{NewRevocation, RevocationTarget as Target};
use serde_json::{Value, json};

use crate::harness::flow::{API, PORTAL_URI, REDIRECT_URI, Request, claims, forged, header};
use crate::harness::http::Answer;
use crate::harness::resource_server::ResourceServer;
use crate::harness::world::World;
use crate::harness::{Need, SetUp, Stores, on_both_stores, on_embedded_stores, rounds, soon};

on_both_stores!(a_revoked_token_is_refused_within_a_second, every_target_ends_what_it_names);
on_embedded_stores!(
    it_allows_what_the_permissions_allow,
    what_is_no_good_token_is_refused,
    tokens_of_every_algorithm_are_taken,
    while_rolemint_is_away_each_route_does_as_it_declares,
    what_is_revoked_is_heard_by_snapshots_too,
    the_resource_types_are_for_resource_servers,
);

/// A world, and the example of a resource server beside it.
struct Guarded {
    world: World,
    server: ResourceServer,
}

impl SetUp for Guarded {
    const NEEDS: &'static [Need] = &[Need::Node, Need::Example];

    async fn set_up(stores: Stores) -> Self {
        let world = World::with(stores, |mut deployment| {
            for id in ["es256", "rs256", "opaque"] {
                deployment.client(id).insert("audiences".to_owned(), vec![API].into());
            }
            deployment
        })
        .await;
        let server = ResourceServer::start(&world, &[("STALE_AFTER_MS", "30000")]);
        let guarded = Self { world, server };
        let tokens = guarded.sign_in("dana").await;
        soon("the first reset", async || guarded.reads(&tokens["access_token"]).await).await;
        guarded
    }
}

impl Guarded {
    /// At the client whose tokens are for the resource server.
    async fn sign_in(&self, username: &str) -> Value {
        self.world.sign_in_at(&Request::of("portal", PORTAL_URI), username).await
    }

    async fn reads(&self, token: &Value) -> Option<()> {
        (self.server.item("acme:7", token).await.status == 200).then_some(())
    }

    async fn is_refused_soon(&self, what: &str, token: &Value) {
        soon(what, async || {
            let answer = self.server.item("acme:7", token).await;
            (answer.status != 200).then(|| answer.refused("the access token was revoked"))
        })
        .await;
    }

    /// Appends to the log beside the server.
    async fn append(&self, target: Target, tenant: Option<&str>) {
        let now = self.world.clock.now();
        let entry = NewRevocation {
            target,
            tenant: tenant.map(|tenant| tenant.parse().unwrap()),
            audience: Vec::new(),
            expires_at: now + TimeDelta::hours(1),
            by: None,
            reason: "a test ended it".into(),
        };
        let append = move |c: &mut DbConnection| log::append_revocation(c, &entry, now).map(drop);
        self.world.database().await.write(append).await.unwrap();
    }
}

impl Answer {
    /// 401, and why.
    #[track_caller]
    fn refused(&self, why: &str) {
        assert_eq!(self.status, 401, "{}", self.body);
        let challenge = self.header("www-authenticate");
        assert!(challenge.starts_with("Bearer error=\"invalid_token\""), "{challenge}");
        assert!(challenge.contains(why) || self.body.contains(why), "{challenge} {}", self.body);
    }
}

async fn a_revoked_token_is_refused_within_a_second(guarded: Guarded) {
    let rounds = rounds("ROLEMINT_LONG_RESOURCE_SERVER", 20);
    let mut tokens = guarded.sign_in("dana").await;
    let mut longest = Duration::ZERO;
    for _ in 0..rounds {
        let refresh = &tokens["refresh_token"];
        tokens = guarded.world.refresh("portal", refresh).await.expect(200).json();
        let token = &tokens["access_token"];
        guarded.reads(token).await.expect("a live token is taken");
        guarded.world.revoke("portal", token).await.expect(200);
        let acknowledged = Instant::now();
        guarded.is_refused_soon("the end of the token", token).await;
        longest = longest.max(acknowledged.elapsed());
    }
    eprintln!("{rounds} revocations; the resource server refused after {longest:?} at the latest");
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    // And a whole session.
    guarded.world.revoke("portal", &tokens["refresh_token"]).await.expect(200);
    guarded.is_refused_soon("the end of the session", &tokens["access_token"]).await;
}

async fn every_target_ends_what_it_names(guarded: Guarded) {
    let globex = Request::of("portal", PORTAL_URI).with("tenant", "globex");
    let gil = guarded.world.sign_in_at(&globex, "gil").await["access_token"].clone();
    let of_globex =
        async || (guarded.server.item("globex:7", &gil).await.status == 200).then_some(());
    of_globex().await.expect("a live token is taken");
    let first = guarded.sign_in("dana").await["access_token"].clone();
    let facts = claims(&first);
    let text = |name: &str| facts[name].as_str().unwrap().to_owned();
    // Of another tenant: nothing ends here. Those that come after it show that it was heard.
    guarded.append(Target::Role("data-entry".parse().unwrap()), Some("island")).await;
    for (target, tenant) in [
        (Target::Token(text("jti").parse().unwrap()), None),
        (Target::Session(text("sid").parse().unwrap()), None),
        (Target::Subject(text("sub").parse().unwrap()), None),
        (Target::Tenant(text("tenant").parse().unwrap()), None),
        (Target::Client(text("client_id").parse().unwrap()), Some("acme")),
        (Target::Provider(text("provider").parse().unwrap()), Some("acme")),
        (Target::Role("data-entry".parse().unwrap()), Some("acme")),
        (Target::TemplateVersion("data-entry@1".into()), Some("acme")),
    ] {
        let what = format!("{target:?}");
        let token = guarded.sign_in("dana").await["access_token"].clone();
        guarded.reads(&token).await.unwrap_or_else(|| panic!("begun before {what}"));
        let fresh = claims(&token);
        let target = match target {
            Target::Token(_) => Target::Token(fresh["jti"].as_str().unwrap().parse().unwrap()),
            Target::Session(_) => Target::Session(fresh["sid"].as_str().unwrap().parse().unwrap()),
            target => target,
        };
        guarded.append(target, tenant).await;
        guarded.is_refused_soon(&what, &token).await;
        of_globex().await.unwrap_or_else(|| panic!("nobody else dies of {what}"));
    }
    // Whatever was issued before a moment: everybody's.
    let before = guarded.world.clock.now() + TimeDelta::seconds(1);
    guarded.append(Target::Before(before), None).await;
    soon("the end of everything", async || of_globex().await.is_none().then_some(())).await;
    guarded.world.clock.advance(TimeDelta::seconds(2));
    let token = guarded.sign_in("dana").await["access_token"].clone();
    guarded.reads(&token).await.expect("issued after it");
}

async fn it_allows_what_the_permissions_allow(guarded: Guarded) {
    let token = &guarded.sign_in("dana").await["access_token"];
    let told = guarded.server.item("acme:7", token).await.expect(200).json();
    assert_eq!(told, json!({ "item": "acme:7", "read_by": claims(token)["sub"] }));
    for item in ["globex:7", "acme", "acme-corp:7"] {
        let answer = guarded.server.item(item, token).await.expect(403);
        assert_eq!(answer.header("www-authenticate"), "Bearer error=\"insufficient_scope\"");
    }
    let answer = guarded.server.opening_hours(token).await.expect(200).json();
    assert_eq!(answer, json!({ "open": "always", "stale": false }));
}

async fn what_is_no_good_token_is_refused(guarded: Guarded) {
    let Guarded { world, server } = &guarded;
    let tokens = guarded.sign_in("dana").await;
    let token = &tokens["access_token"];
    let of_web = world.sign_in("dana").await;
    server.item("acme:7", &of_web["access_token"]).await.refused("for another audience");
    server.item("acme:7", &tokens["id_token"]).await.refused("of another kind");
    server.item("acme:7", &tokens["refresh_token"]).await.refused("not built like");
    let opaque = world.sign_in_at(&Request::of("opaque", REDIRECT_URI), "dana").await;
    server.item("acme:7", &opaque["access_token"]).await.refused("only introspection");
    let rsa = world.sign_in_at(&Request::of("rs256", REDIRECT_URI), "dana").await;
    let same = json!({});
    for (forged, why) in [
        (forged(token, &same, &json!({ "tenant": "globex" })), "its signature"),
        (forged(token, &same, &json!({ "exp": 4_000_000_000_u64 })), "its signature"),
        (forged(token, &json!({ "alg": "none" }), &same), "its signature"),
        (forged(token, &json!({ "alg": "HS256" }), &same), "its signature"),
        (forged(token, &json!({ "alg": "ES256" }), &same), "its signature"),
        (
            forged(token, &json!({ "kid": header(&rsa["access_token"])["kid"] }), &same),
            "its signature",
        ),
        (forged(token, &json!({ "kid": "unknown" }), &same), "does not have"),
        (forged(token, &json!({ "typ": "JWT" }), &same), "of another kind"),
        (forged(token, &json!({ "jku": "https://evil.example/jwks" }), &same), "not built like"),
        (forged(token, &json!({ "crit": [] }), &same), "not built like"),
        ("x".to_owned(), "not built like"),
    ] {
        server.item("acme:7", &json!(forged)).await.refused(why);
        server.opening_hours(&json!(forged)).await.refused(why);
    }
    // The resource server's clock is the machine's; Rolemint's goes wrong.
    let of_that_time = async |minutes: i64, tokens: &Value| {
        world.clock.advance(TimeDelta::minutes(minutes));
        world.refresh("portal", &tokens["refresh_token"]).await.expect(200).json()
    };
    let new = of_that_time(20, &tokens).await;
    server.item("acme:7", &new["access_token"]).await.refused("not valid yet");
    let old = of_that_time(-40, &new).await;
    server.item("acme:7", &old["access_token"]).await.refused("has expired");
    guarded.reads(token).await.expect("what is good is good");
}

async fn tokens_of_every_algorithm_are_taken(guarded: Guarded) {
    for client in ["es256", "rs256"] {
        let tokens = guarded.world.sign_in_at(&Request::of(client, REDIRECT_URI), "dana").await;
        let token = &tokens["access_token"];
        assert_eq!(header(token)["alg"], client.to_uppercase());
        guarded.server.item("acme:7", token).await.expect(200);
        guarded.world.revoke(client, token).await.expect(200);
        guarded.is_refused_soon(client, token).await;
    }
}

async fn while_rolemint_is_away_each_route_does_as_it_declares(mut guarded: Guarded) {
    guarded.server = ResourceServer::start(&guarded.world, &[("STALE_AFTER_MS", "1500")]);
    let [kept, revoked, revoked_meanwhile] = [(); 3].map(|()| guarded.sign_in("dana"));
    let (kept, revoked, revoked_meanwhile) = tokio::join!(kept, revoked, revoked_meanwhile);
    let [kept, revoked, revoked_meanwhile] =
        [kept, revoked, revoked_meanwhile].map(|tokens| tokens["access_token"].clone());
    soon("the first reset", async || guarded.reads(&kept).await).await;
    guarded.world.revoke("portal", &revoked).await.expect(200);
    guarded.is_refused_soon("the end of the token", &revoked).await;

    guarded.world.stop().await;
    let refused = soon("the end of what is known", async || {
        let answer = guarded.server.item("acme:7", &kept).await;
        (answer.status != 200).then_some(answer)
    });
    let refused = refused.await.expect(503);
    assert_eq!((refused.header("retry-after"), refused.header("www-authenticate")), ("1", ""));
    let served = guarded.server.opening_hours(&kept).await.expect(200).json();
    assert_eq!(served["stale"], true);
    // What is known is known, however old it is.
    guarded.server.opening_hours(&revoked).await.refused("the access token was revoked");
    let id = claims(&revoked_meanwhile)["jti"].as_str().unwrap().parse().unwrap();
    guarded.append(Target::Token(id), None).await;

    guarded.world.start().await;
    soon("Rolemint is back", async || guarded.reads(&kept).await).await;
    // Nothing was missed: the first thing that is believed again knows of it.
    guarded.server.item("acme:7", &revoked_meanwhile).await.refused("the access token was revoked");
    guarded.server.item("acme:7", &revoked).await.refused("the access token was revoked");
}

async fn what_is_revoked_is_heard_by_snapshots_too(mut guarded: Guarded) {
    let polling = [("SNAPSHOT_EVERY_MS", "200"), ("STALE_AFTER_MS", "30000")];
    guarded.server = ResourceServer::start(&guarded.world, &polling);
    let tokens = guarded.sign_in("dana").await;
    let token = &tokens["access_token"];
    soon("the first snapshot", async || guarded.reads(token).await).await;
    guarded.world.revoke("portal", token).await.expect(200);
    guarded.is_refused_soon("the end of the token", token).await;
    let next = guarded.world.refresh("portal", &tokens["refresh_token"]).await.expect(200).json();
    guarded.reads(&next["access_token"]).await.expect("her session lives");
}

async fn the_resource_types_are_for_resource_servers(world: World) {
    let browser = world.browser();
    let get = async |authorization: Option<String>, seen: Option<&str>| {
        let mut request = browser.request(reqwest::Method::GET, "/v1/resource-types");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        if let Some(seen) = seen {
            request = request.header("if-none-match", seen);
        }
        browser.send(request).await
    };
    get(None, None).await.expect_problem(401, "not-authenticated");
    get(Some(world.basic("narrow")), None).await.expect_problem(403, "forbidden");
    let whole = get(Some(world.basic("api")), None).await.expect(200);
    assert_eq!(whole.header("cache-control"), "private, no-cache");
    assert_eq!(whole.header("content-type"), "application/json");
    let told = whole.json();
    assert_eq!(told["types"]["cache"]["selectors"], json!(["cache", "item"]));
    let declared: toml::Table = include_str!("../../templates/resources.toml").parse().unwrap();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&told["types"]), names(&json!(declared["types"])));
    let etag = whole.header("etag");
    for seen in [etag.to_owned(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
        let answer = get(Some(world.basic("api")), Some(&seen)).await.expect(304);
        assert_eq!((answer.body.as_str(), answer.header("etag")), ("", etag));
    }
    get(Some(world.basic("api")), Some("\"x\"")).await.expect(200);
    // Seen or not, it is told to nobody else.
    get(None, Some(etag)).await.expect_problem(401, "not-authenticated");
}
