//! An installation with many sessions, as a server finds it when it starts.

use crate::population::{self, begin, session, tenant};
use crate::processes::free_port;
use anyhow::Context as _;
use rolemint::clock::Clock;
use rolemint::database::{Database, Location};
use rolemint::deployment::{self, Surroundings};
use rolemint::domain::token::RefreshClaims;
use rolemint::service;
use rolemint::service::deployment::check_templates;
use rolemint::signing::SealingKey;
use rolemint::token_store::{EmbeddedPath, TokenStore};
use serde_json::{Map, Value, json};
use std::path::Path;

pub(crate) const SECRET: &str = "a-secret-for-the-benchmark";
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
            let session = session(number, "bench", claims(number), &issuer, key, now)?;
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
    text.push_str(&population::declare(&["email", "email_verified", "name", "roles"]));
    text
}

fn claims(number: usize) -> Map<String, Value> {
    let claims = json!({
        "email": format!("person-{number}@{}.example", tenant(number)), "email_verified": true,
        "name": format!("Person {number}"), "roles": ["clerk"],
    });
    if let Value::Object(claims) = claims { claims } else { Map::new() }
}
