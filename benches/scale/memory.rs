//! What a session takes in Redis.

use crate::population::{begin, session};
use crate::{Store, processes};
use anyhow::Context as _;
use rolemint::clock::Clock;
use rolemint::database::{Database, Location};
use rolemint::token_store::TokenStore;
use serde_json::{Map, Value};
use std::io::Write as _;

/// Kept claims of this many bytes beside none.
const CLAIMS: usize = 200;

/// The difference that the sessions make to `used_memory`: all their keys, and what Redis needs to find them.
pub(crate) async fn measure(sessions: usize) -> anyhow::Result<()> {
    for bytes in [0, CLAIMS] {
        let folder = tempfile::tempdir()?;
        let (url, redis) =
            processes::store_url(Store::Redis, folder.path(), "embedded", "redis+unix").await?;
        let path = folder.path().join("rolemint.db");
        let path = path.to_str().context("a path must be UTF-8")?.to_owned();
        let database = Database::open(Location::Sqlite(path), 1).await?;
        database.migrate().await?;
        let tokens = TokenStore::open_redis(&url, database).await?;
        let claims = claims_of(bytes)?;
        let before = used_memory(&url)?;
        let now = Clock::System.now();
        let issuer = "https://login.example.com";
        begin(&tokens, sessions, |number| session(number, "bench", claims.clone(), issuer, 1, now))
            .await?;
        let used = used_memory(&url)?.saturating_sub(before);
        let each = f64::from(u32::try_from(used / 1024)?) * 1024.0
            / f64::from(u32::try_from(sessions)?.max(1));
        let mut out = std::io::stdout();
        writeln!(
            out,
            "Redis: {sessions} sessions with {bytes} bytes of kept claims: {each:.0} bytes each"
        )?;
        drop(redis);
    }
    Ok(())
}

/// As they are kept, as JSON, of exactly so many bytes; none for 0.
fn claims_of(bytes: usize) -> anyhow::Result<Map<String, Value>> {
    let mut claims = Map::new();
    if let Some(length) = bytes.checked_sub(r#"{"name":""}"#.len()) {
        claims.insert("name".to_owned(), "x".repeat(length).into());
        let length = serde_json::to_string(&claims)?.len();
        anyhow::ensure!(length == bytes, "{length} bytes of claims, not {bytes}");
    }
    Ok(claims)
}

fn used_memory(url: &str) -> anyhow::Result<u64> {
    let mut connection = redis::Client::open(url)?.get_connection()?;
    let said: String = redis::cmd("INFO").arg("memory").query(&mut connection)?;
    let line = said.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(line.context("no used_memory")?.trim().parse()?)
}
