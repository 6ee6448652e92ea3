//! What the operator configures: a file, over it the environment, and what both mean.
//!
//! Everything that is wrong is reported at once, each with its key, and with its line if it has one.

mod read;
mod source;
mod stores;
#[cfg(test)]
mod tests;

use crate::domain::address::{ForwardedHeader, Network};
use crate::domain::secret::Secret;
use crate::telemetry::LogConfig;
use crate::token_store::RedisAddress;
use crate::toml_reader::Problem;
use chrono::TimeDelta;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// How one server runs.
#[derive(Clone, Debug)]
pub struct Config {
    pub issuer: Url,
    /// Exactly as written: what claims and metadata hold, since issuers are compared as strings.
    pub issuer_text: String,
    pub listen: SocketAddr,
    pub database: DatabaseConfig,
    pub token_store: TokenStoreConfig,
    /// 32 bytes in base64url: what is secret in the database is sealed under it.
    pub encryption_key: Secret<String>,
    pub http: HttpConfig,
    pub sessions: SessionsConfig,
    pub revocation: RevocationConfig,
    pub feed: FeedConfig,
    /// Who shows it is shown metrics. None: nobody is.
    pub metrics_token: Option<Secret<String>>,
    pub upstream: UpstreamConfig,
    pub log: LogConfig,
    /// What works and should not stay so, in words for the log.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    pub url: DatabaseUrl,
    pub max_connections: u32,
}

impl DatabaseConfig {
    pub const DEFAULT_CONNECTIONS: u32 = 10;
}

#[derive(Clone, Debug)]
pub enum DatabaseUrl {
    Sqlite(PathBuf),
    Postgres(Secret<String>),
}

#[derive(Clone, Debug)]
pub enum TokenStoreConfig {
    Embedded(PathBuf),
    Redis(Box<RedisAddress>),
}

#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// None: one for each core.
    pub workers: Option<usize>,
    /// Bytes that a request's body may have.
    pub body_limit: usize,
    /// Who is believed about where a request came from.
    pub trusted_proxies: Vec<Network>,
    pub forwarded_header: ForwardedHeader,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            workers: None,
            body_limit: 65_536,
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct SessionsConfig {
    /// How long it can be asked why a session ended, from the end of the longest that it could have lived.
    pub keep_ended: TimeDelta,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self { keep_ended: TimeDelta::days(400) }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct RevocationConfig {
    /// A node whose view of the log is older than this mints nothing and calls nothing active.
    pub stale_after: Duration,
    pub poll_interval: Duration,
}

impl Default for RevocationConfig {
    fn default() -> Self {
        Self { stale_after: Duration::from_secs(5), poll_interval: Duration::from_millis(200) }
    }
}

/// Streams of the revocation log that one node serves at once.
#[derive(Clone, Copy, Debug)]
pub struct FeedConfig {
    pub max_streams: usize,
    pub max_streams_per_client: usize,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self { max_streams: 1000, max_streams_per_client: 100 }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct UpstreamConfig {
    /// For each call to a provider.
    pub timeout: Duration,
    /// The shortest time between two fetches of a provider's keys for the sake of an unknown `kid`.
    pub jwks_cooldown: Duration,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), jwks_cooldown: Duration::from_secs(30) }
    }
}

impl Config {
    /// Reads the file, if there is one, and what the environment says over it.
    pub fn load(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let Some(path) = path else { return read::config(None, "", env).map_err(ConfigErrors) };
        match std::fs::read_to_string(path) {
            Ok(source) => read::config(Some(path), &source, env).map_err(ConfigErrors),
            Err(error) => Err(ConfigErrors(vec![Problem {
                file: Some(path.display().to_string()),
                line: None,
                message: format!("cannot be read: {error}"),
            }])),
        }
    }
}

/// Everything that is wrong with a configuration. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used")?;
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
