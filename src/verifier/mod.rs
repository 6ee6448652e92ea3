//! For resource servers: whether an access token is good, and what it allows, without asking Rolemint.
//!
//! Tokens are checked by signature and claims; what was revoked since is heard over the revocation feed.
//! Needs neither actix-web nor diesel; a program of its own takes this crate with the feature `verifier`
//! alone. `docs/resource-servers.md` shows how.

mod error;
mod event_stream;
mod feed;
mod follow;
mod issuer;
mod keys;
mod message;
mod verified;
mod vocabulary;

#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
mod tests;

use crate::clock::Clock;
use crate::domain::ids::TenantId;
use crate::domain::permission::Vocabulary;
use crate::domain::revocation::RevocationView;
use crate::domain::secret::Secret;
use crate::domain::token::{ACCESS_TOKEN_TYPE, AccessClaims, parse_opaque};
use crate::jws::{self, NotSigned, TOKEN_LIMIT};
use crate::verifier::feed::{Feed, NoFeed};
use crate::verifier::issuer::Issuer;
use crate::verifier::keys::{Away, Keys};
use crate::verifier::message::Message;
use crate::verifier::verified::Permitted;
use crate::verifier::vocabulary::KnownVocabulary;
use chrono::TimeDelta;
use quick_cache::sync::Cache;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use url::form_urlencoded;

pub use crate::verifier::error::INSUFFICIENT_SCOPE;
pub use crate::verifier::error::Misconfigured;
pub use crate::verifier::error::NotVerified;
pub use crate::verifier::verified::Verified;

/// Seconds by which the clocks of two machines may differ.
const SKEW: i64 = 5;
/// Tokens whose signature was checked and that are remembered.
const REMEMBERED: usize = 10_000;
const FORGET_EVERY: Duration = Duration::from_secs(30);
const STALE_AFTER: Duration = Duration::from_secs(5);

/// What a route does while what is known of revocations is old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStale {
    /// Nothing is served: a token may have been revoked.
    #[default]
    Refuse,
    /// What was revoked of late may still be served. What is known to be revoked never is.
    Allow,
}

/// How the revocation log is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Follow {
    /// Over a stream: a revocation counts within a second.
    #[default]
    Stream,
    /// By asking again and again.
    Snapshot { every: Duration },
}

#[derive(Clone, Debug)]
pub struct Settings {
    /// As it stands in tokens.
    pub issuer: String,
    /// What tokens must be for: this resource server, as clients ask for it.
    pub audience: String,
    /// A confidential client that introspects this audience.
    pub client_id: String,
    pub client_secret: Secret<String>,
    /// Under what name the server is told how far this instance is. None: it is not told.
    pub reader: Option<String>,
    /// The tenants that are served here: the only ones of which tokens are taken and revocations heard. None:
    /// all.
    pub tenants: BTreeSet<TenantId>,
    pub follow: Follow,
    /// What is known counts as old when the server has not been heard for so long.
    pub stale_after: Duration,
    /// None: it is asked for at the issuer.
    pub vocabulary: Option<Vocabulary>,
    pub clock: Clock,
}

impl Settings {
    pub fn new(
        issuer: impl Into<String>,
        audience: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: Secret<String>,
    ) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            client_id: client_id.into(),
            client_secret,
            reader: None,
            tenants: BTreeSet::new(),
            follow: Follow::default(),
            stale_after: STALE_AFTER,
            vocabulary: None,
            clock: Clock::System,
        }
    }
}

/// Cheap to clone. It stops following when the last clone is dropped.
#[derive(Clone)]
pub struct Verifier(Arc<Running>);

struct Running {
    shared: Arc<Shared>,
    following: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.following.abort();
    }
}

/// What is known of the revocation log, and when it was last known to be all.
#[derive(Debug, Default)]
struct Known {
    feed: Feed,
    fresh_at: Option<Instant>,
}

/// A token whose signature, issuer and audience were looked at.
struct Remembered {
    kid: String,
    claims: Arc<AccessClaims>,
    permitted: Option<Arc<Permitted>>,
}

struct Shared {
    issuer: Issuer,
    audience: String,
    client_id: String,
    tenants: BTreeSet<TenantId>,
    stale_after: Duration,
    clock: Clock,
    keys: Keys,
    vocabulary: KnownVocabulary,
    known: RwLock<Known>,
    remembered: Cache<[u8; 32], Arc<Remembered>>,
}

/// What a key of the issuer has signed.
struct Signed {
    kid: String,
    claims: Vec<u8>,
}

impl Verifier {
    /// Begins to follow. Has to be called within a tokio runtime.
    pub fn start(settings: Settings) -> Result<Self, Misconfigured> {
        let runtime =
            tokio::runtime::Handle::try_current().map_err(|_| Misconfigured::NoRuntime)?;
        if let Follow::Snapshot { every } = settings.follow
            && settings.stale_after <= every
        {
            return Err(Misconfigured::StaleAfter);
        }
        if settings.reader.as_deref().is_some_and(|name| !is_reader(name)) {
            return Err(Misconfigured::Reader);
        }
        let Settings { issuer, audience, client_id, client_secret, reader, tenants, .. } = settings;
        let query = query(&audience, &tenants);
        let asks_for_vocabulary = settings.vocabulary.is_none();
        let shared = Arc::new(Shared {
            issuer: Issuer::new(&issuer, &client_id, &client_secret)?,
            audience,
            client_id,
            tenants,
            stale_after: settings.stale_after,
            clock: settings.clock,
            keys: Keys::default(),
            vocabulary: KnownVocabulary::new(settings.vocabulary),
            known: RwLock::default(),
            remembered: Cache::new(REMEMBERED),
        });
        let following = {
            let (shared, follow) = (Arc::clone(&shared), settings.follow);
            runtime.spawn(async move {
                let reporting = async {
                    if let Some(reader) = &reader {
                        follow::report(&shared, reader).await;
                    }
                };
                let learning = async {
                    if asks_for_vocabulary {
                        shared.vocabulary.keep(&shared.issuer).await;
                    }
                };
                tokio::join!(
                    shared.follow(follow, &query),
                    reporting,
                    learning,
                    shared.keys.keep(&shared.issuer),
                    shared.keep_forgetting(),
                );
            })
        };
        Ok(Self(Arc::new(Running { shared, following })))
    }

    /// Asks the issuer for nothing but its keys, and for those only when the token names one that is not
    /// known.
    pub async fn verify(&self, token: &str, on_stale: OnStale) -> Result<Verified, NotVerified> {
        self.0.shared.verify(token, on_stale).await
    }

    /// The position of the revocation log up to which this instance knows it. None: it knows nothing yet.
    pub fn position(&self) -> Option<u64> {
        self.0.shared.known().feed.view().map(RevocationView::applied)
    }

    /// Whether routes that refuse what is old refuse now.
    pub fn is_stale(&self) -> bool {
        self.0.shared.is_stale(&self.0.shared.known())
    }
}

/// The access token of an `Authorization` header (RFC 6750 §2.1).
pub fn bearer(header: Option<&str>) -> Result<&str, NotVerified> {
    let (scheme, token) = header.and_then(|value| value.split_once(' ')).unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(NotVerified::Missing) }
}

fn is_reader(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// What is asked for. The server refuses a client that may not hear of the audience's tokens.
fn query(audience: &str, tenants: &BTreeSet<TenantId>) -> String {
    let tenants = tenants.iter().map(|tenant| ("tenant", tenant.as_str()));
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("audience", audience).extend_pairs(tenants).finish()
}

impl Shared {
    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a position was among the messages.
    fn hear(&self, messages: &[Message], now: Instant) -> Result<bool, NoFeed> {
        let mut known = self.known_mut();
        let mut fresh = false;
        for message in messages {
            if let Some(age) = known.feed.hear(message)? {
                known.fresh_at = now.checked_sub(age);
                fresh = true;
            }
        }
        Ok(fresh)
    }

    fn is_stale(&self, known: &Known) -> bool {
        known.feed.view().is_none()
            || known.fresh_at.is_none_or(|at| at.elapsed() > self.stale_after)
    }

    /// Goes on for ever.
    async fn follow(&self, follow: Follow, query: &str) {
        match follow {
            Follow::Stream => {
                follow::stream(self, &format!("/v1/revocations?{query}")).await;
            }
            Follow::Snapshot { every } => {
                let path = format!("/v1/revocations/snapshot?{query}");
                follow::snapshots(self, &path, every).await;
            }
        }
    }

    async fn keep_forgetting(&self) {
        loop {
            tokio::time::sleep(FORGET_EVERY).await;
            let now = self.clock.now() - TimeDelta::seconds(SKEW);
            self.known_mut().feed.forget(now);
        }
    }

    async fn verify(&self, token: &str, on_stale: OnStale) -> Result<Verified, NotVerified> {
        let remembered = self.look_at(token).await?;
        let Remembered { claims, permitted, .. } = &*remembered;
        self.check_times(claims)?;
        let known = self.known();
        if known.feed.view().is_some_and(|view| view.ends_token(&claims.facts())) {
            return Err(NotVerified::Revoked);
        }
        let stale = self.is_stale(&known);
        if stale && on_stale == OnStale::Refuse {
            return Err(NotVerified::Stale);
        }
        Ok(Verified { claims: Arc::clone(claims), permitted: permitted.clone(), stale })
    }

    /// What never changes about a token: remembered by its digest as long as its key is the issuer's.
    async fn look_at(&self, token: &str) -> Result<Arc<Remembered>, NotVerified> {
        if token.len() > TOKEN_LIMIT {
            return Err(NotVerified::Malformed);
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        let vocabulary = self.vocabulary.current();
        let permitted = |claims: &AccessClaims| {
            vocabulary.as_ref().map(|vocabulary| Arc::new(Permitted::of(claims, vocabulary)))
        };
        let known = self.remembered.get(&digest);
        let known = known.filter(|known| self.keys.current().find(&known.kid).is_some());
        if let Some(known) = known {
            let same = match (&known.permitted, &vocabulary) {
                (Some(permitted), Some(vocabulary)) => permitted.is_under(vocabulary),
                (None, None) => true,
                _ => false,
            };
            if same {
                return Ok(known);
            }
            let (kid, claims) = (known.kid.clone(), Arc::clone(&known.claims));
            let permitted = permitted(&claims);
            return Ok(self.remember(digest, Remembered { kid, claims, permitted }));
        }
        if parse_opaque(token).is_some() {
            return Err(NotVerified::Opaque);
        }
        let Signed { kid, claims } = self.signed(ACCESS_TOKEN_TYPE, token).await?;
        let claims = AccessClaims::parse(&claims).ok_or(NotVerified::Malformed)?;
        if claims.iss != self.issuer.name() {
            return Err(NotVerified::Issuer);
        }
        if !claims.aud.contains(&self.audience) {
            return Err(NotVerified::Audience);
        }
        // SECURITY: what is revoked of other tenants is not heard here.
        if !self.tenants.is_empty() && !self.tenants.contains(&claims.tenant) {
            return Err(NotVerified::Tenant);
        }
        let permitted = permitted(&claims);
        let claims = Arc::new(claims);
        Ok(self.remember(digest, Remembered { kid, claims, permitted }))
    }

    fn remember(&self, digest: [u8; 32], remembered: Remembered) -> Arc<Remembered> {
        let remembered = Arc::new(remembered);
        self.remembered.insert(digest, Arc::clone(&remembered));
        remembered
    }

    /// The claims of a JWT that the issuer signed as a `typ`.
    async fn signed(&self, typ: &str, token: &str) -> Result<Signed, NotVerified> {
        let known = self.keys.current();
        let signed = match verify_by(&known, typ, token) {
            Err(NotSigned::UnknownKey) => {
                let newer = self.keys.newer(&self.issuer, &known).await;
                let newer = newer.map_err(|Away| NotVerified::NoKeys)?;
                verify_by(&newer, typ, token)
            }
            signed => signed,
        };
        signed.map_err(|error| match error {
            NotSigned::Malformed => NotVerified::Malformed,
            NotSigned::OtherType => NotVerified::OtherType,
            NotSigned::UnknownKey => NotVerified::UnknownKey,
            NotSigned::Signature => NotVerified::Signature,
        })
    }

    fn check_times(&self, claims: &AccessClaims) -> Result<(), NotVerified> {
        let now = self.clock.now().timestamp();
        let latest = now.saturating_add(SKEW);
        if claims.exp <= now.saturating_sub(SKEW) {
            return Err(NotVerified::Expired);
        }
        if claims.iat > latest {
            return Err(NotVerified::NotYetValid);
        }
        match claims.added.get("nbf").map(Value::as_i64) {
            Some(Some(not_before)) if not_before > latest => Err(NotVerified::NotYetValid),
            Some(None) => Err(NotVerified::Malformed),
            _ => Ok(()),
        }
    }
}

fn verify_by(keys: &keys::KeySet, typ: &str, token: &str) -> Result<Signed, NotSigned> {
    let mut by = None;
    let find = |kid: &str| {
        by = keys.find(kid);
        by
    };
    let claims = jws::verify(typ, token, find)?;
    let kid = by.map(|key| key.kid().to_owned()).unwrap_or_default();
    Ok(Signed { kid, claims })
}
