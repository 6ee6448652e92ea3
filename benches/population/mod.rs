//! Tenants, and people of them with sessions, in any number.

use anyhow::Context as _;
use chrono::TimeDelta;
use rolemint::clock::Clock;
use rolemint::domain::Time;
use rolemint::domain::ids::{SessionId, SubjectId};
use rolemint::domain::session::{RefreshState, Session};
use rolemint::signing::random;
use rolemint::token_store::{LogPosition, TokenStore};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use tokio::task::JoinSet;

const TENANTS: usize = 1000;
/// Sessions that are begun at once.
const AT_ONCE: usize = 512;

pub(crate) fn tenant(number: usize) -> String {
    format!("tenant-{}", number % TENANTS)
}

/// The tenants and their provider, as a deployment declares them.
pub(crate) fn declare(kept_claims: &[&str]) -> String {
    let (mut text, mut table) = (String::new(), String::new());
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
        keep_claims = {kept_claims:?}
        tenants = {{ by = "domain", table = {{ {table} }} }}
        mappings = [{{ claim = "/roles", contains = "clerk", role = "clerk" }}]
        "#,
        table = table.trim_end_matches(", "),
    )
    .ok();
    text
}

/// As a sign-in at that provider makes it.
pub(crate) fn session(
    number: usize,
    client: &str,
    claims: Map<String, Value>,
    audience: &str,
    refresh_key: u32,
    now: Time,
) -> anyhow::Result<Session> {
    let provider = "corp".parse()?;
    Ok(Session {
        id: SessionId::new(random()?),
        subject: SubjectId::person(&provider, &format!("person-{number}")),
        tenant: tenant(number).parse()?,
        client: client.parse()?,
        provider,
        claims,
        requested_scope: None,
        protocol_scope: "openid profile email".parse()?,
        requested_details: None,
        audience: vec![audience.to_owned()],
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
