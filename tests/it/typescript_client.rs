//! The verifier in TypeScript, in a resource server of its own process, against a real server: what it hears of
//! revocations without asking about any token.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Method;
use rolemint::clock::Clock;
use rolemint::domain::permission::Vocabulary;
use serde_json::{Value, json};

use crate::harness::flow::{PORTAL_URI, REDIRECT_URI, Request, claims, forged};
use crate::harness::http::{Answer, Browser};
use crate::harness::process::{Server, Start};
use crate::harness::servers::Stores;
use crate::harness::world::World;
use crate::harness::{Need, SetUp, node, on_both_stores, on_embedded_stores, rounds, soon};

on_both_stores!(
    a_revoked_token_is_refused_within_a_second,
    whatever_a_revocation_names_is_refused,
    while_the_server_is_away_each_route_does_as_it_says,
);
on_embedded_stores!(
    a_token_opens_what_it_allows_and_nothing_else,
    what_is_no_access_token_for_it_opens_nothing,
);

/// Of the tenant `acme`.
const ITEM: &str = "/calendar/acme:7";
/// On the route that goes on while Rolemint is away.
const OPENING_HOURS: &str = "/opening-hours";

/// `examples/resource-server.mjs`.
struct ResourceServer {
    browser: Browser,
    _server: Server,
}

impl ResourceServer {
    async fn start(world: &World, settings: &[(&str, &str)]) -> Self {
        let folder = node::typescript_client().await;
        let mut command = Command::new("node");
        command.current_dir(folder).arg("examples/resource-server.mjs");
        command.envs([("LISTEN", "127.0.0.1:0"), ("CLIENT_ID", "backend"), ("READER", "api-1")]);
        command.env("CLIENT_SECRET", world.deployment.client_secret("backend"));
        command.env("ISSUER", &world.issuer).env("AUDIENCE", &world.issuer);
        command.env("RESOURCE_TYPES", resource_types(world));
        command.envs(settings.iter().copied());
        let mut server = Start::new("resource-server", &command).run();
        let base = server.wait_for("listening", |log| {
            let (_, rest) = log.split_once("listening on ")?;
            rest.contains('\n').then(|| rest.lines().next().unwrap().to_owned())
        });
        Self { browser: Browser::new(&base), _server: server }
    }

    async fn get(&self, path: &str, token: &Value) -> Answer {
        self.browser.bearer(Method::GET, path, token.as_str().unwrap()).await
    }

    /// Why a token opens nothing here; "" if it does.
    async fn refusal(&self, token: &Value) -> String {
        let answer = self.get(ITEM, token).await;
        if answer.status == 200 {
            return String::new();
        }
        answer.json()["error"].as_str().unwrap().to_owned()
    }

    async fn refuses(&self, what: &str, token: &Value, code: &str) {
        soon(what, async || (self.refusal(token).await == code).then_some(())).await;
    }
}

/// A file of the resource types in force.
fn resource_types(world: &World) -> PathBuf {
    let declared = include_str!("../../templates/resources.toml");
    let vocabulary: Vocabulary = toml::from_str(declared).unwrap();
    let file = world.folder().join("resource-types.json");
    fs::write(&file, serde_json::to_string(&vocabulary).unwrap()).unwrap();
    file
}

/// A world with a resource server beside it.
struct Guarded {
    world: World,
    api: ResourceServer,
}

impl SetUp for Guarded {
    const NEEDS: &'static [Need] = &[Need::Node, Need::TypeScript];

    async fn set_up(stores: Stores) -> Self {
        let world = World::set_up(stores).await;
        // A busy machine may take its time.
        let api = ResourceServer::start(&world, &[("STALE_AFTER_MS", "30000")]).await;
        Self { world, api }
    }
}

impl Guarded {
    /// The provider has the machine's clock, and the world's stands still.
    async fn sign_in(&self) -> Value {
        self.world.clock.advance(Clock::System.now() - self.world.clock.now());
        self.world.sign_in("dana").await
    }
}

async fn a_revoked_token_is_refused_within_a_second(guarded: Guarded) {
    let Guarded { world, api } = &guarded;
    let mut tokens = guarded.sign_in().await;
    let mut slowest = Duration::ZERO;
    let count = rounds("ROLEMINT_LONG_RESOURCE_SERVER_REVOCATIONS", 30);
    for round in 1..=count {
        let token = tokens["access_token"].clone();
        api.get(ITEM, &token).await.expect(200);
        // Now the token, now all of its session.
        let whole_session = round % 5 == 0;
        let ended = if whole_session { &tokens["refresh_token"] } else { &token };
        world.revoke("web", ended).await.expect(200);
        let acknowledged = Instant::now();
        api.refuses("the token", &token, "revoked").await;
        slowest = slowest.max(acknowledged.elapsed());
        tokens = if whole_session {
            guarded.sign_in().await
        } else {
            world.refresh("web", &tokens["refresh_token"]).await.expect(200).json()
        };
    }
    eprintln!("{count} revocations: refused at the resource server after {slowest:?} at most");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}

async fn whatever_a_revocation_names_is_refused(mut guarded: Guarded) {
    let dana = guarded.sign_in().await;
    let neighbour = Request::of("neighbour", "com.example.neighbour:/callback");
    let other = guarded.world.sign_in_at(&neighbour, "dana").await;
    for tokens in [&dana, &other] {
        guarded.api.get(ITEM, &tokens["access_token"]).await.expect(200);
    }
    let world = &mut guarded.world;
    world.deployment.client("web").insert("status".to_owned(), "suspended".into());
    world.apply(&[]);
    guarded.api.refuses("a client", &dana["access_token"], "revoked").await;
    guarded.api.get(ITEM, &other["access_token"]).await.expect(200);
    world.deployment.tenant("acme").insert("status".to_owned(), "suspended".into());
    world.apply(&[]);
    guarded.api.refuses("a tenant", &other["access_token"], "revoked").await;

    // What is minted when all is well again lives, and what was revoked stays so.
    world.deployment.client("web").remove("status");
    world.deployment.tenant("acme").remove("status");
    world.apply(&[]);
    soon("the way to the provider", async || {
        let answer = guarded.world.browser().authorize(&Request::web()).await;
        answer.location()?.as_str().starts_with(&guarded.world.provider.issuer).then_some(())
    })
    .await;
    let again = guarded.sign_in().await;
    guarded.api.get(ITEM, &again["access_token"]).await.expect(200);
    for tokens in [&dana, &other] {
        assert_eq!(guarded.api.refusal(&tokens["access_token"]).await, "revoked");
    }
}

async fn while_the_server_is_away_each_route_does_as_it_says(Guarded { mut world, .. }: Guarded) {
    let api = ResourceServer::start(&world, &[]).await;
    let [alive, ended] = [world.sign_in("dana").await, world.sign_in("dana").await];
    let [alive, ended] = [&alive["access_token"], &ended["access_token"]];
    world.revoke("web", ended).await.expect(200);
    api.refuses("a revoked token", ended, "revoked").await;
    world.stop().await;
    api.refuses("staleness", alive, "stale").await;
    let answer = api.get(ITEM, alive).await.expect(503);
    assert_eq!(answer.header("retry-after"), "1");
    assert!(!answer.headers.contains_key("www-authenticate"));
    assert_eq!(api.get(OPENING_HOURS, alive).await.expect(200).json()["stale"], true);
    api.get(OPENING_HOURS, ended).await.expect(401);

    // It goes on by itself, and hears of what was revoked meanwhile.
    world.start().await;
    api.refuses("recovery", alive, "").await;
    world.stop().await;
    world.deployment.tenant("acme").insert("status".to_owned(), "suspended".into());
    world.apply(&[]);
    world.start().await;
    api.refuses("what was revoked meanwhile", alive, "revoked").await;
    api.get(OPENING_HOURS, alive).await.expect(401);
}

async fn a_token_opens_what_it_allows_and_nothing_else(Guarded { world, api }: Guarded) {
    for client in ["web", "es256", "rs256"] {
        let tokens = world.sign_in_at(&Request::of(client, REDIRECT_URI), "dana").await;
        let token = &tokens["access_token"];
        let answer = api.get(ITEM, token).await.expect(200);
        assert_eq!(answer.json()["read_by"], claims(token)["sub"]);
        for other in ["acme-corp:7", "globex:7", "acme", "%ffacme"] {
            let answer = api.get(&format!("/calendar/{other}"), token).await;
            assert!([400, 403].contains(&answer.status), "{other}: {}", answer.status);
        }
        let answer = api.get("/calendar/globex:7", token).await.expect(403);
        assert_eq!(answer.header("www-authenticate"), "Bearer error=\"insufficient_scope\"");
    }
    let gil = world.sign_in_at(&Request::web().with("tenant", "globex"), "gil").await;
    api.get(ITEM, &gil["access_token"]).await.expect(403);
    api.get("/calendar/globex:7", &gil["access_token"]).await.expect(200);
}

async fn what_is_no_access_token_for_it_opens_nothing(Guarded { world, api }: Guarded) {
    let tokens = world.sign_in("dana").await;
    let token = &tokens["access_token"];
    let elsewhere = world.sign_in_at(&Request::of("portal", PORTAL_URI), "dana").await;
    let opaque = world.sign_in_at(&Request::of("opaque", REDIRECT_URI), "dana").await;
    let forged = |header: Value, claims: Value| json!(forged(token, &header, &claims));
    for (what, token, code) in [
        ("an ID token", tokens["id_token"].clone(), "other_type"),
        ("a refresh token", tokens["refresh_token"].clone(), "malformed"),
        ("another audience", elsewhere["access_token"].clone(), "audience"),
        ("an opaque token", opaque["access_token"].clone(), "opaque"),
        ("an unsigned token", forged(json!({ "alg": "none" }), json!({})), "signature"),
        ("a symmetric algorithm", forged(json!({ "alg": "HS256" }), json!({})), "signature"),
        ("another algorithm", forged(json!({ "alg": "ES256" }), json!({})), "signature"),
        ("an unknown key", forged(json!({ "kid": "other" }), json!({})), "unknown_key"),
        ("another type", forged(json!({ "typ": "JWT" }), json!({})), "other_type"),
        ("another tenant", forged(json!({}), json!({ "tenant": "globex" })), "signature"),
    ] {
        assert_eq!(api.refusal(&token).await, code, "{what}");
        let answer = api.get(ITEM, &token).await.expect(401);
        let told = answer.header("www-authenticate");
        assert!(told.starts_with("Bearer error=\"invalid_token\""), "{what}: {told}");
    }
    let answer = api.browser.get(ITEM).await.expect(401);
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    api.get(ITEM, token).await.expect(200);
}
