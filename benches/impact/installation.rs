//! An installation with many tenants, sessions and people, and the service over it, in this process.

use crate::Store;
use crate::population::{self, session, tenant};
use anyhow::{Context as _, bail};
use rolemint::catalog::Catalog;
use rolemint::clock::Clock;
use rolemint::database::{Database, Location, subjects};
use rolemint::deployment::{self, Surroundings};
use rolemint::domain::Time;
use rolemint::domain::ids::{SubjectId, TenantId};
use rolemint::domain::subject::Subject;
use rolemint::domain::token::RefreshClaims;
use rolemint::service::deployment::check_templates;
use rolemint::service::feed::{Feed, FeedLimits};
use rolemint::service::{self, Parts, Service};
use rolemint::signing::{KeyRing, SealingKey};
use rolemint::token_store::{EmbeddedPath, TokenStore};
use rolemint::upstream::{Upstream, UpstreamLimits};
use serde_json::{Map, Value, json};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;

/// People who are written in one transaction.
const AT_ONCE: usize = 512;

/// What counts: two permissions for everybody, one for each region.
const IN_FORCE: &str = r#"{
    "expires_in": 900,
    "permissions": [
        { "role": "readonly", "cache": "calendar-events", "item": { "keyPrefix": "{{tenant.id}}:" } },
        { "role": "publishsubscribe", "cache": "collaboration", "topic": "{{tenant.id}}-events" },
        { "$each": "user.claims.regions", "$as": "region",
          "role": "readonly", "cache": "reports", "item": { "keyPrefix": "{{tenant.id}}:{{region}}:" } }
    ],
    "scope": ["calendar:read"]
}"#;

/// Everybody loses one permission and gains another, so that all are compared to the end.
pub(crate) const CANDIDATE: &str = r#"{
    "expires_in": 900,
    "permissions": [
        { "role": "readwrite", "cache": "calendar-events", "item": { "keyPrefix": "{{tenant.id}}:" } },
        { "$each": "user.claims.regions", "$as": "region",
          "role": "readonly", "cache": "reports", "item": { "keyPrefix": "{{tenant.id}}:{{region}}:" } }
    ],
    "scope": ["calendar:read"]
}"#;

/// Ended in this order.
pub(crate) struct Installation {
    pub(crate) service: Service,
    pub(crate) refresh_tokens: Vec<String>,
    _redis: Option<Redis>,
    _folder: tempfile::TempDir,
}

struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Installation {
    /// With so many sessions and people; and of the sessions, so many whose refresh tokens are known.
    pub(crate) async fn fill(
        store: Store,
        sessions: usize,
        people: usize,
        refreshed: usize,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("rolemint.db");
        let path = path.to_str().context("a path must be UTF-8")?.to_owned();
        let database = Database::open(Location::Sqlite(path), 10).await?;
        database.migrate().await?;
        let clock = Clock::System;
        let now = clock.now();
        let sealing = SealingKey::parse(&SealingKey::generate_text()?)?;
        let around = Surroundings {
            read: &|name| Ok(if name == "clerk.json" { IN_FORCE } else { "" }.to_owned()),
            variable: &|_| None,
        };
        let declared = deployment::parse("deployment", &deployment(), around, &check_templates)?;
        service::deployment::apply(&database, &sealing, &declared, &[], false, now).await?;
        let (tokens, redis) = open(store, folder.path(), &database).await?;
        let keys = service::keys::open_or_make(&database, &sealing, now).await?;
        let refresh_tokens = begin(&tokens, &keys, sessions, refreshed, now).await?;
        sign_in(&database, people, now).await?;
        let catalog =
            Catalog::open(database.clone(), clock.clone(), Duration::from_secs(5)).await?;
        tokio::spawn(catalog.clone().follow(Duration::from_secs(1), tokens.announced()));
        let service = Service::new(Parts {
            issuer: "http://127.0.0.1:1".to_owned(),
            database,
            catalog,
            tokens,
            upstream: Upstream::new(UpstreamLimits::default())?,
            keys,
            sealing,
            feed: Feed::new(FeedLimits { streams: 1, streams_per_client: 1 }),
            clock,
        })?;
        Ok(Self { service, refresh_tokens, _redis: redis, _folder: folder })
    }
}

/// Without a grace window every refresh is a write.
fn deployment() -> String {
    let client = r#"
        [[roles]]
        role = "clerk"
        template = "clerk.json"
        [[clients]]
        id = "web"
        name = "Web"
        authentication = "none"
        grants = ["authorization_code", "refresh_token"]
        redirect_uris = ["http://127.0.0.1/callback"]
        lifetimes = { refresh_grace = 0 }
    "#;
    let tenants = population::declare(&["email", "email_verified", "name", "roles", "regions"]);
    format!("{client}{tenants}")
}

async fn open(
    store: Store,
    folder: &std::path::Path,
    database: &Database,
) -> anyhow::Result<(TokenStore, Option<Redis>)> {
    if store == Store::Embedded {
        let path = EmbeddedPath::File(folder.join("tokens.db"));
        return Ok((TokenStore::open_embedded(path, database.clone()).await?, None));
    }
    let socket = folder.join("redis.sock");
    let path = socket.to_str().context("a path must be UTF-8")?;
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"]);
    let server = Redis(command.current_dir(folder).stdout(Stdio::null()).spawn()?);
    let began = Instant::now();
    while UnixStream::connect(&socket).await.is_err() {
        if began.elapsed() > Duration::from_secs(20) {
            bail!("redis-server does not start");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let url = format!("redis+unix://{path}");
    Ok((TokenStore::open_redis(&url, database.clone()).await?, Some(server)))
}

fn person(number: usize) -> anyhow::Result<(Subject, TenantId, String)> {
    let tenant = tenant(number);
    let provider = "corp".parse()?;
    let upstream = format!("person-{number}");
    let regions: &[&str] = &["emea", "apac", "amer"];
    let claims = json!({
        "email": format!("person-{number}@{tenant}.example"), "email_verified": true,
        "name": format!("Person {number}"), "roles": ["clerk"],
        "regions": regions.iter().take(number % 4).collect::<Vec<_>>(),
    });
    let claims = if let Value::Object(claims) = claims { claims } else { Map::new() };
    let id = SubjectId::person(&provider, &upstream);
    Ok((Subject { id, provider, claims }, tenant.parse()?, upstream))
}

/// The refresh tokens of the first `known` sessions.
async fn begin(
    tokens: &TokenStore,
    keys: &KeyRing,
    sessions: usize,
    known: usize,
    now: Time,
) -> anyhow::Result<Vec<String>> {
    let mut refresh_tokens = Vec::new();
    let key = keys.newest_derivation();
    population::begin(tokens, sessions, |number| {
        let (subject, ..) = person(number)?;
        let session = session(number, "web", subject.claims, "http://127.0.0.1:1", key, now)?;
        if number < known {
            let claims = RefreshClaims { key, session: session.id, generation: 1 };
            let token = keys.write_refresh_token(&claims, &session.client)?;
            refresh_tokens.push(token.reveal().clone());
        }
        Ok(session)
    })
    .await?;
    Ok(refresh_tokens)
}

async fn sign_in(database: &Database, people: usize, now: Time) -> anyhow::Result<()> {
    for first in (0..people).step_by(AT_ONCE) {
        let page: Vec<_> =
            (first..people.min(first + AT_ONCE)).map(person).collect::<Result<_, _>>()?;
        database
            .write(move |c| {
                for (subject, tenant, upstream) in &page {
                    subjects::put(c, subject, upstream, tenant, now)?;
                }
                Ok(())
            })
            .await?;
    }
    Ok(())
}
