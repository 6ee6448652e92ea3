//! An installation with many sessions, as a server finds it when it starts.

use crate::processes::free_port;
use anyhow::Context as _;
use chrono::TimeDelta;
use rolemint::clock::Clock;
use rolemint::database::{Database, Location};
use rolemint::deployment::{self, Surroundings};
use rolemint::domain::Time;
use rolemint::domain::ids::{SessionId, SubjectId};
use rolemint::domain::session::{RefreshState, Session};
use rolemint::domain::token::RefreshClaims;
use rolemint::service;
use rolemint::service::deployment::check_templates;
use rolemint::signing::{SealingKey, random};
use rolemint::token_store::{EmbeddedPath, LogPosition, TokenStore};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::path::Path;
use tokio::task::JoinSet;

pub(crate) const SECRET: &str = "a-secret-for-the-benchmark";
const TENANTS: usize = 1000;
/// Sessions that are begun at once.
const AT_ONCE: usize = 512;
/// Of the sessions, so many have somebody who refreshes, spread over all.
const PEOPLE: usize = 20_000;

const TEMPLATE: &str = r#"{
    "expires_in": 900,
    "permissions": [
        { "role": "readonly", "cache": "calendar-events", "item": { "keyPrefix": "{{tenant.id}}:" } },
        { "role": "publishsubscribe", "cache": "collaboration", "topic": "{{tenant.id}}-events" }
    ]
}"#;

pub(crate) struct Installation {
    pub(crate) port: u16,
    pub(crate) refresh_tokens: Vec<String>,
}

impl Installation {
    /// In this folder, with `rolemint.toml` for a server.
    pub(crate) async fn fill(
        folder: &Path,
        token_store: &str,
        sessions: usize,
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        let issuer = format!("http://127.0.0.1:{port}");
        let encryption_key = SealingKey::generate_text()?;
        let sealing = SealingKey::parse(&encryption_key)?;
        let config = format!(
            "issuer = \"{issuer}\"\nlisten = \"127.0.0.1:{port}\"\n\
             [database]\nurl = \"sqlite:rolemint.db\"\n\
             [token_store]\nurl = \"{token_store}\"\n\
             [keys]\nencryption_key = \"{}\"\n\
             [log]\nformat = \"json\"\nlevel = \"warn\"\n",
            encryption_key.reveal(),
        );
        std::fs::write(folder.join("rolemint.toml"), config)?;

        let path = folder.join("rolemint.db");
        let path = path.to_str().context("a path must be UTF-8")?.to_owned();
        let database = Database::open(Location::Sqlite(path), 4).await?;
        database.migrate().await?;
        let now = Clock::System.now();
        let around = Surroundings {
            read: &|name| Ok(if name == "clerk.json" { TEMPLATE } else { "" }.to_owned()),
            variable: &|_| None,
        };
        let declared =
            deployment::parse("deployment", &declare(&issuer), around, &check_templates)?;
        service::deployment::apply(&database, &sealing, &declared, &[], false, now).await?;
        let keys = service::keys::open_or_make(&database, &sealing, now).await?;
        let tokens = match token_store.strip_prefix("embedded:") {
            Some(path) => {
                TokenStore::open_embedded(EmbeddedPath::File(path.into()), database).await?
            }
            None => TokenStore::open_redis(token_store, database).await?,
        };
        let key = keys.newest_derivation();
        let step = sessions.div_ceil(PEOPLE);
        let mut refresh_tokens = Vec::new();
        begin(&tokens, sessions, |number| {
            let session = session(number, &claims(number), &issuer, key, now)?;
            if number.is_multiple_of(step) {
                let claims = RefreshClaims { key, session: session.id, generation: 1 };
                let token = keys.write_refresh_token(&claims, &session.client)?;
                refresh_tokens.push(token.reveal().clone());
            }
            Ok(session)
        })
        .await?;
        tokens.released().await;
        Ok(Self { port, refresh_tokens })
    }
}

fn tenant(number: usize) -> String {
    format!("tenant-{}", number % TENANTS)
}

/// Without a grace window every refresh is a write.
fn declare(issuer: &str) -> String {
    let mut text = format!(
        r#"
        [[roles]]
        role = "clerk"
        template = "clerk.json"
        [[clients]]
        id = "bench"
        name = "Benchmark"
        authentication = "client_secret_basic"
        client_secret = "{SECRET}"
        grants = ["authorization_code", "refresh_token"]
        redirect_uris = ["http://127.0.0.1/callback"]
        introspects = ["{issuer}"]
        lifetimes = {{ refresh_grace = 0 }}
    "#
    );
    let mut table = String::new();
    for number in 0..TENANTS {
        let id = tenant(number);
        // Writing to a string cannot fail.
        write!(text, "\n[[tenants]]\nid = \"{id}\"\nname = \"{id}\"").ok();
        write!(table, "\"{id}.example\" = \"{id}\", ").ok();
    }
    write!(
        text,
        r#"
        [[providers]]
        id = "corp"
        kind = "oidc"
        issuer = "http://127.0.0.1:2"
        client_id = "rolemint"
        keep_claims = ["email", "email_verified", "name", "roles"]
        tenants = {{ by = "domain", table = {{ {table} }} }}
        mappings = [{{ claim = "/roles", contains = "clerk", role = "clerk" }}]
        "#,
        table = table.trim_end_matches(", "),
    )
    .ok();
    text
}

fn claims(number: usize) -> Map<String, Value> {
    let claims = json!({
        "email": format!("person-{number}@{}.example", tenant(number)), "email_verified": true,
        "name": format!("Person {number}"), "roles": ["clerk"],
    });
    if let Value::Object(claims) = claims { claims } else { Map::new() }
}

/// As a sign-in makes it.
pub(crate) fn session(
    number: usize,
    claims: &Map<String, Value>,
    issuer: &str,
    refresh_key: u32,
    now: Time,
) -> anyhow::Result<Session> {
    let provider = "corp".parse()?;
    Ok(Session {
        id: SessionId::new(random()?),
        subject: SubjectId::person(&provider, &format!("person-{number}")),
        tenant: tenant(number).parse()?,
        client: "bench".parse()?,
        provider,
        claims: claims.clone(),
        requested_scope: None,
        protocol_scope: "openid profile email".parse()?,
        requested_details: None,
        audience: vec![issuer.to_owned()],
        refresh_key: Some(refresh_key),
        begun_at: now,
        authenticated_at: Some(now),
        begun: 0,
        ends_at: now + TimeDelta::days(30),
        idle: 7 * 24 * 3600,
    })
}

/// Begins so many sessions in a token store.
pub(crate) async fn begin(
    tokens: &TokenStore,
    sessions: usize,
    mut session: impl FnMut(usize) -> anyhow::Result<Session>,
) -> anyhow::Result<()> {
    let now = Clock::System.now();
    let mut begun: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for number in 0..sessions {
        let (session, store) = (session(number)?, tokens.clone());
        begun.spawn(async move {
            let idle = i64::from(session.idle) * 1000;
            let ends_at = session.ends_at.timestamp_millis();
            let state = RefreshState::begin(now.timestamp_millis(), idle, ends_at);
            let at = LogPosition { required: 0, applied: 0 };
            Ok(store.begin(&session, &state, at, now).await?)
        });
        if begun.len() >= AT_ONCE {
            begun.join_next().await.context("nothing begun")???;
        }
    }
    while let Some(done) = begun.join_next().await {
        done??;
    }
    Ok(())
}
