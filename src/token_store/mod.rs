//! Which tokens are alive: sessions with the state of their refresh tokens, and things that are given
//! out once. Kept in a file of this server's own, or in Redis where several servers share it.
//!
//! A store may be restored from an old copy, or come back empty, and would then know sessions as alive
//! that have been ended. So each of the 256 buckets of sessions has a marker: the position of the
//! revocation log that has been applied to it. Every step looks at the marker in the same atomic
//! moment; if it stands lower than this server knows that it must, the step changes nothing, the
//! endings since then are taken from the database and applied, and the step is done again.

mod embedded;
mod record;
mod redis;
mod walk;

pub use crate::token_store::embedded::{Embedded, EmbeddedPath};
pub use crate::token_store::record::Unreadable;
pub use crate::token_store::redis::{
    BadRedisAddress, ClientCertificate, Redis, RedisAddress, RedisCredentials,
};
pub use crate::token_store::walk::{SessionPage, SessionWalk};

use crate::database::{Database, SessionEndings};
use crate::domain::Time;
use crate::domain::client::RefreshTokens;
use crate::domain::ids::SessionId;
use crate::domain::secret::Digest;
use crate::domain::session::{RefreshState, Refreshed, Session};
use anyhow::anyhow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// A step that finds its bucket behind is done again so many times.
const ATTEMPTS: usize = 4;
/// What no longer matters is kept for so long all the same, in milliseconds: clocks differ.
const GARBAGE_MARGIN: i64 = 10 * 60 * 1000;

/// What a thing that is given out once is for. Two kinds never meet, whatever their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OneTime {
    /// The state of a sign-in under way.
    Login,
    /// An authorization code.
    Code,
    /// The id of something signed that must not be presented twice.
    Replay,
}

/// The answer to the use of something that can be used once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Used {
    First(Vec<u8>),
    /// It was used before.
    Again(Vec<u8>),
    Unknown,
}

/// How far a node knows the revocation log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    /// The last position that ended a session of the bucket.
    pub required: u64,
    /// The position up to which the node knows the log.
    pub applied: u64,
}

/// A refresh token's place in its line, for how long the place before stays good, and whether there is a
/// next one.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    pub generation: u32,
    /// Milliseconds.
    pub grace: i64,
    pub refresh_tokens: RefreshTokens,
}

#[derive(Debug, thiserror::Error)]
pub enum TokenStoreError {
    #[error("the token store cannot be reached")]
    Unavailable(#[source] anyhow::Error),
    #[error("the token store {} is in use by another server", .0.display())]
    InUse(PathBuf),
    #[error("this Redis cannot be the token store: {0}")]
    Unsuitable(String),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

type Result<T> = std::result::Result<T, TokenStoreError>;

/// What a look at a session sees: the marker of its bucket, and its record if there is one.
type Look = (u64, Option<Vec<u8>>);

/// Cheap to clone.
#[derive(Clone)]
pub enum TokenStore {
    Embedded(Embedded),
    Redis(Redis),
}

impl TokenStore {
    /// Opens a file that belongs to this server alone.
    pub async fn open_embedded(path: EmbeddedPath, database: Database) -> Result<Self> {
        Embedded::open(path, database).await.map(Self::Embedded)
    }

    /// Connects to a Redis that asks for nothing but what stands in its address.
    pub async fn open_redis(url: &str, database: Database) -> Result<Self> {
        let address = RedisAddress::parse(url, &RedisCredentials::default());
        let address =
            address.map_err(|error| TokenStoreError::Unsuitable(format!("its address {error}")))?;
        Self::open_redis_at(address, database).await
    }

    /// Connects to a Redis and makes sure that it can be relied on.
    pub async fn open_redis_at(address: RedisAddress, database: Database) -> Result<Self> {
        Redis::open(address, database).await.map(Self::Redis)
    }

    /// The same store over a connection of its own, where it has any: one for each thread that serves
    /// requests spares them waking each other. To be called within that thread's runtime.
    pub fn for_this_thread(&self) -> Result<Self> {
        match self {
            Self::Embedded(store) => Ok(Self::Embedded(store.clone())),
            Self::Redis(store) => Ok(Self::Redis(store.with_own_connection())),
        }
    }

    /// Gives this handle back; resolves when another server may open the store.
    pub async fn released(self) {
        match self {
            Self::Embedded(store) => store.released().await,
            Self::Redis(_) => {}
        }
    }

    pub async fn ping(&self) -> Result<()> {
        match self {
            Self::Embedded(store) => store.ping().await,
            Self::Redis(store) => store.ping().await,
        }
    }

    /// Tells the other servers on this store that the revocation log has come to this position. It is a hint: it
    /// may be lost, and nobody waits for it.
    pub fn announce(&self, position: u64) {
        match self {
            Self::Embedded(_) => {}
            Self::Redis(store) => store.announce(position),
        }
    }

    /// The highest position of the revocation log that was announced by anybody. It also counts as changed whenever
    /// something may have been missed. Of a store of one server nothing is ever heard.
    pub fn announced(&self) -> watch::Receiver<u64> {
        match self {
            Self::Embedded(_) => watch::channel(0).1,
            Self::Redis(store) => store.announced(),
        }
    }

    /// False: it was there already, and has not expired.
    pub async fn put(
        &self,
        kind: OneTime,
        key: &Digest,
        value: &[u8],
        expires_at: Time,
        now: Time,
    ) -> Result<bool> {
        match self {
            Self::Embedded(store) => store.put(kind, key, value, expires_at, now).await,
            Self::Redis(store) => store.put(kind, key, value, expires_at, now).await,
        }
    }

    /// Gets and deletes. One caller gets it.
    pub async fn take(&self, kind: OneTime, key: &Digest, now: Time) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Embedded(store) => store.take(kind, key, now).await,
            Self::Redis(store) => store.take(kind, key, now).await,
        }
    }

    /// One caller is the first. All others, until ten minutes after its expiry, are told that it was used.
    pub async fn use_once(&self, kind: OneTime, key: &Digest, now: Time) -> Result<Used> {
        match self {
            Self::Embedded(store) => store.use_once(kind, key, now).await,
            Self::Redis(store) => store.use_once(kind, key, now).await,
        }
    }

    pub async fn begin(
        &self,
        session: &Session,
        state: &RefreshState,
        at: LogPosition,
        now: Time,
    ) -> Result<()> {
        let record = record::pack(session, state)?;
        let id = &session.id;
        let mut attempts = Attempts::new(self, id, at, now);
        loop {
            let needed = attempts.needed();
            let step = match self {
                Self::Embedded(store) => store.begin(id, &record, needed, at.applied, now).await?,
                Self::Redis(store) => store.begin(id, &record, needed, at.applied, now).await?,
            };
            if attempts.settle(step).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// None: unknown, ended or expired.
    pub async fn find(
        &self,
        id: &SessionId,
        at: LogPosition,
        now: Time,
    ) -> Result<Option<(Session, RefreshState)>> {
        let Some(record) = self.alive(id, at, now).await? else { return Ok(None) };
        Ok(Some(record::unpack(id, &record)?))
    }

    /// Those of these that live, with one look at the store for all of them. A bucket that is behind takes a
    /// look of its own.
    pub async fn find_among(
        &self,
        ids: &[SessionId],
        at: impl Fn(&SessionId) -> LogPosition,
        now: Time,
    ) -> Result<Vec<(Session, RefreshState)>> {
        let looks = match self {
            Self::Embedded(store) => store.look_at_all(ids).await?,
            Self::Redis(store) => store.look_at_all(ids).await?,
        };
        let mut alive = Vec::with_capacity(looks.len());
        for (id, (marker, record)) in ids.iter().zip(looks) {
            let at = at(id);
            let needed = self.witness().seen(id.bucket()).max(at.required);
            if marker < needed {
                alive.extend(self.find(id, at, now).await?);
                continue;
            }
            let Some(record) = record else { continue };
            let (header, _) = record::Header::read(&record)?;
            if record::milliseconds(now) < header.dead_at() {
                alive.push(record::unpack(id, &record)?);
            }
        }
        Ok(alive)
    }

    /// Whether a session lives: introspection's one look.
    pub async fn is_alive(&self, id: &SessionId, at: LogPosition, now: Time) -> Result<bool> {
        Ok(self.alive(id, at, now).await?.is_some())
    }

    /// The record of a session that lives.
    async fn alive(&self, id: &SessionId, at: LogPosition, now: Time) -> Result<Option<Vec<u8>>> {
        let mut attempts = Attempts::new(self, id, at, now);
        let record = loop {
            let needed = attempts.needed();
            let step = match self {
                Self::Embedded(store) => store.look(id, needed).await?,
                Self::Redis(store) => store.look(id, needed).await?,
            };
            if let Some(record) = attempts.settle(step).await? {
                break record;
            }
        };
        let Some(record) = record else { return Ok(None) };
        let (header, _) = record::Header::read(&record)?;
        Ok((record::milliseconds(now) < header.dead_at()).then_some(record))
    }

    /// Decides on a refresh token and stores what follows from it, in one step. Answers with the session,
    /// the state that it is in now, and the decision. None: unknown or ended.
    ///
    /// A replay ends nothing here: its ending goes into the revocation log first.
    pub async fn refresh(
        &self,
        id: &SessionId,
        presented: &Offer,
        at: LogPosition,
        now: Time,
    ) -> Result<Option<(Session, RefreshState, Refreshed)>> {
        let (offer, applied) = (*presented, at.applied);
        let mut attempts = Attempts::new(self, id, at, now);
        let answer = loop {
            let needed = attempts.needed();
            let step = match self {
                Self::Embedded(store) => store.refresh(id, offer, needed, applied, now).await?,
                Self::Redis(store) => store.refresh(id, offer, needed, applied, now).await?,
            };
            if let Some(answer) = attempts.settle(step).await? {
                break answer;
            }
        };
        let Some((record, refreshed)) = answer else { return Ok(None) };
        let (session, state) = record::unpack(id, &record)?;
        Ok(Some((session, state, refreshed)))
    }

    /// Deletes a session whose ending stands in the log at `position`.
    pub async fn end(&self, id: &SessionId, position: u64) -> Result<()> {
        let bucket = id.bucket();
        // What others see while this step is under way says nothing about it.
        let mut seen = self.witness().seen(bucket);
        let mut marker = match self {
            Self::Embedded(store) => store.delete(id).await?,
            Self::Redis(store) => store.delete(id).await?,
        };
        // The marker may pass an ending only together with all endings before it: a server that died, or
        // could not reach the store, between its entry in the log and this call has left one behind.
        for _ in 0..ATTEMPTS {
            if marker < seen {
                // The store went back. The next step finds it so too, and has the time to write down.
                return Ok(());
            }
            if marker >= position {
                self.witness().note(bucket, marker);
                return Ok(());
            }
            seen = self.witness().seen(bucket);
            marker = self.catch_up(bucket, marker, None).await?;
        }
        Err(still_behind(bucket))
    }

    /// Applies the endings after `marker` to a bucket, and answers with the marker that it has then.
    ///
    /// With `now`, the store is taken to have gone back then. It may not have: another server may be about
    /// to delete the session that it has just ended. That does no harm, since all that follows is
    /// that refresh tokens, which only we can have made, are believed where they are ahead of the store.
    async fn catch_up(&self, bucket: u8, marker: u64, now: Option<Time>) -> Result<u64> {
        let witness = self.witness();
        let went_back_at = now.map_or(0, record::milliseconds);
        let endings = witness.database.session_endings(bucket, marker).await;
        let endings = endings.map_err(|error| TokenStoreError::Unavailable(error.into()))?;
        let catch_up = CatchUp { bucket, from: marker, endings, went_back_at };
        let reached = match self {
            Self::Embedded(store) => store.catch_up(catch_up).await?,
            Self::Redis(store) => store.catch_up(&catch_up).await?,
        };
        if reached >= marker {
            witness.note(bucket, reached);
        }
        Ok(reached)
    }

    fn witness(&self) -> &Witness {
        match self {
            Self::Embedded(store) => store.witness(),
            Self::Redis(store) => store.witness(),
        }
    }
}

/// A step that is done again where it finds its bucket behind.
struct Attempts<'a> {
    store: &'a TokenStore,
    bucket: u8,
    at: LogPosition,
    now: Time,
    /// Whoever comes while a bucket is behind finds it so: one catches up, the others wait.
    turn: Option<tokio::sync::MutexGuard<'a, ()>>,
    /// What this server had seen of the bucket before it took the step.
    seen: u64,
    left: usize,
}

impl<'a> Attempts<'a> {
    fn new(store: &'a TokenStore, id: &SessionId, at: LogPosition, now: Time) -> Self {
        Self { store, bucket: id.bucket(), at, now, turn: None, seen: 0, left: ATTEMPTS }
    }

    /// What the marker must have reached.
    fn needed(&mut self) -> u64 {
        self.seen = self.store.witness().seen(self.bucket);
        self.seen.max(self.at.required)
    }

    /// What the step did. None: it is to be done again.
    async fn settle<T>(&mut self, step: Step<T>) -> Result<Option<T>> {
        let (store, bucket) = (self.store, self.bucket);
        if let Some(done) = step.done {
            store.witness().note(bucket, step.marker);
            return Ok(Some(done));
        }
        if self.turn.is_none() {
            // Before it is our turn, somebody else may have caught up.
            self.turn = Some(store.witness().bucket(bucket).catching_up.lock().await);
            return Ok(None);
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| still_behind(bucket))?;
        let (marker, seen) = (step.marker, self.seen);
        if marker < seen {
            tracing::warn!(bucket, marker, seen, "the token store went back in time; catching up");
        }
        store.catch_up(bucket, marker, Some(self.now)).await?;
        Ok(None)
    }
}

/// What an atomic step saw and did.
struct Step<T> {
    marker: u64,
    /// None: the bucket is behind, and nothing was done.
    done: Option<T>,
}

/// The endings that a bucket has missed.
struct CatchUp {
    bucket: u8,
    /// The marker that they were asked for with: lower now, and more is missing.
    from: u64,
    endings: SessionEndings,
    /// Milliseconds since 1970; 0: leave it.
    went_back_at: i64,
}

/// What this server remembers of the store, to notice when it goes back.
struct Witness {
    database: Database,
    buckets: [Bucket; 256],
    /// Stands in for a bucket that is not there, which a `u8` cannot name.
    none: Bucket,
}

#[derive(Default)]
struct Bucket {
    /// The highest marker that was ever seen.
    seen: AtomicU64,
    catching_up: tokio::sync::Mutex<()>,
}

impl Witness {
    fn new(database: Database) -> Self {
        let buckets = std::array::from_fn(|_| Bucket::default());
        Self { database, buckets, none: Bucket::default() }
    }

    fn bucket(&self, bucket: u8) -> &Bucket {
        self.buckets.get(usize::from(bucket)).unwrap_or(&self.none)
    }

    fn seen(&self, bucket: u8) -> u64 {
        self.bucket(bucket).seen.load(Ordering::Relaxed)
    }

    fn note(&self, bucket: u8, marker: u64) {
        self.bucket(bucket).seen.fetch_max(marker, Ordering::Relaxed);
    }
}

fn still_behind(bucket: u8) -> TokenStoreError {
    TokenStoreError::Unavailable(anyhow!("bucket {bucket} is still behind after catching up"))
}
