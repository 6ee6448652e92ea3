//! What the product does: a file for each thing a caller can ask for. Takes and returns domain values.
//!
//! `Service` is opaque outside this module: the edge can hold it and pass it back, but it reaches the
//! database and the token store through a service function only.

pub mod administration;
pub mod authenticate;
pub mod authorize;
pub mod backchannel_logout;
pub mod code;
pub mod cors;
pub mod deployment;
pub mod ending;
pub mod evaluation;
pub mod exchange;
pub mod feed;
pub mod impact;
pub mod introspection;
pub mod issue;
pub mod keys;
pub mod login;
pub mod metadata;
pub mod metrics;
pub mod preview;
pub mod readiness;
mod recheck;
pub mod refresh;
pub mod resource_server;
pub mod revocation;
pub mod revocations;
pub mod sessions;
pub mod templates;
pub mod userinfo;

use crate::catalog::{Catalog, Stale};
use crate::clock::Clock;
use crate::database::{Database, DatabaseError};
use crate::domain::Time;
use crate::domain::ids::SessionId;
use crate::domain::token::AccessClaims;
use crate::service::feed::Feed;
use crate::service::metrics::Counters;
use crate::signing::{KeyError, KeyRing, SealingKey};
use crate::token_store::{LogPosition, TokenStore, TokenStoreError};
use crate::upstream::{Upstream, UpstreamError};
use quick_cache::sync::Cache;
use std::error::Error as _;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use url::Url;

/// Verified tokens that are remembered, so that a token that is introspected again costs no signature check.
const VERIFIED_TOKENS: usize = 50_000;

#[derive(Clone)]
pub struct Service(Arc<Inner>);

/// What a service is made of.
pub struct Parts {
    /// As it stands in the configuration and in every token: no trailing slash.
    pub issuer: String,
    pub database: Database,
    pub catalog: Catalog,
    pub tokens: TokenStore,
    pub upstream: Upstream,
    pub keys: KeyRing,
    pub sealing: SealingKey,
    pub feed: Feed,
    pub clock: Clock,
}

struct Inner {
    tokens: TokenStore,
    shared: Arc<Shared>,
}

/// What all threads have in common.
struct Shared {
    issuer: String,
    /// Where upstream providers send the browser back to.
    callback: Url,
    database: Database,
    catalog: Catalog,
    upstream: Upstream,
    keys: KeyRing,
    sealing: SealingKey,
    feed: Feed,
    counters: Counters,
    clock: Clock,
    verified: Cache<[u8; 32], Arc<AccessClaims>>,
    jwks: String,
    code_replays: tokio::sync::Mutex<()>,
    impact: impact::Places,
    reviews: templates::Turns,
}

/// Something that this server depends on is away. Nothing was granted and nothing acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    TokenStore(#[from] TokenStoreError),
    #[error(transparent)]
    Stale(#[from] Stale),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// What is away, with everything that led to it: for the log, never for a client.
pub struct Report<'a>(pub &'a Unavailable);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Service {
    /// Fails only where the issuer is no base for URLs.
    pub fn new(parts: Parts) -> Result<Self, url::ParseError> {
        let callback = Url::parse(&format!("{}/login/callback", parts.issuer))?;
        let jwks = parts.keys.jwks().to_string();
        let shared = Shared {
            issuer: parts.issuer,
            callback,
            database: parts.database,
            catalog: parts.catalog,
            upstream: parts.upstream,
            keys: parts.keys,
            sealing: parts.sealing,
            feed: parts.feed,
            counters: Counters::default(),
            clock: parts.clock,
            verified: Cache::new(VERIFIED_TOKENS),
            jwks,
            code_replays: tokio::sync::Mutex::new(()),
            impact: impact::Places::default(),
            reviews: templates::Turns::default(),
        };
        Ok(Self(Arc::new(Inner { tokens: parts.tokens, shared: Arc::new(shared) })))
    }

    /// The same service with a way to the token store that is this thread's own. To be called within that
    /// thread's runtime.
    pub fn for_this_thread(&self) -> Result<Self, TokenStoreError> {
        let tokens = self.0.tokens.for_this_thread()?;
        Ok(Self(Arc::new(Inner { tokens, shared: Arc::clone(&self.0.shared) })))
    }

    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    pub fn now(&self) -> Time {
        self.0.clock.now()
    }
}

impl Deref for Inner {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Inner {
    /// The position of the log up to which this node's answers can be trusted: what is minted from here
    /// on bears it, and a revocation after it ends what was minted.
    fn revision(&self) -> Result<u64, Stale> {
        self.catalog.check_fresh()?;
        Ok(self.catalog.revocations().applied())
    }

    /// What the token store must have seen to be believed about a session.
    fn log_position(&self, session: &SessionId) -> LogPosition {
        let view = self.catalog.revocations();
        LogPosition { required: view.bucket_ending(session.bucket()), applied: view.applied() }
    }
}
