//! The token store of a server that has it to itself: one file, `tokens.db`.

use crate::database::Database;
use crate::database::tokens::{Marker, Rows, Tokens};
use crate::domain::Time;
use crate::domain::ids::SessionId;
use crate::domain::secret::Digest;
use crate::domain::session::{Presented, RefreshState, Refreshed};
use crate::token_store::record::{Entry, Header, clamp, milliseconds, repack};
use crate::token_store::{
    CatchUp, GARBAGE_MARGIN, Look, Offer, OneTime, Result, Step, TokenStoreError, Unreadable, Used,
    Witness,
};
use anyhow::Context as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// Where the store is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmbeddedPath {
    File(PathBuf),
    /// It ends with the server.
    Memory,
}

#[derive(Clone)]
pub struct Embedded(Arc<Inner>);

struct Inner {
    // In this order: the file is closed before the lock is given back.
    tokens: Tokens,
    _lock: Option<Lock>,
    witness: Witness,
    /// The last to go, so that whoever listens hears that all is closed.
    open: watch::Sender<()>,
}

/// The file is ours alone. It is given back by name: a child that another thread of the process is just
/// starting holds the open file, too, and closing ours would leave it locked for as long.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the token store's lock is given back late");
        }
    }
}

type Record = Vec<u8>;

impl Embedded {
    pub(super) async fn open(path: EmbeddedPath, database: Database) -> Result<Self> {
        let opened = tokio::task::spawn_blocking(move || open(&path)).await;
        let opened = opened.context("cannot open the token store").map_err(unavailable)?;
        let (tokens, lock) = opened?;
        let (witness, open) = (Witness::new(database), watch::Sender::new(()));
        Ok(Self(Arc::new(Inner { tokens, _lock: lock, witness, open })))
    }

    /// Resolves when everybody else has let go of the store, and another server may open it.
    pub(super) async fn released(self) {
        let mut open = self.0.open.subscribe();
        drop(self);
        while open.changed().await.is_ok() {}
    }

    pub(super) fn witness(&self) -> &Witness {
        &self.0.witness
    }

    /// Through the writer: it may have stopped where reading still works.
    pub(super) async fn ping(&self) -> Result<()> {
        self.write(None, |rows| rows.marker(0)).await?;
        Ok(())
    }

    pub(super) async fn put(
        &self,
        kind: OneTime,
        key: &Digest,
        value: &[u8],
        expires_at: Time,
        now: Time,
    ) -> Result<bool> {
        let key = one_time_key(kind, key);
        let entry = Entry { used: false, expires_at: milliseconds(expires_at), value };
        let (packed, collect_at) = (entry.pack(), collect_at(entry.dead_at()));
        let now = milliseconds(now);
        let answer = self.write(Some(now), move |rows| {
            if let Some(packed) = rows.one_time(&key)? {
                match Entry::read(&packed) {
                    Ok(entry) if now < entry.dead_at() => return Ok(Ok(false)),
                    Ok(_) => {}
                    Err(unreadable) => return Ok(Err(unreadable)),
                }
            }
            rows.put_one_time(&key, &packed, collect_at)?;
            Ok(Ok(true))
        });
        Ok(answer.await??)
    }

    pub(super) async fn take(
        &self,
        kind: OneTime,
        key: &Digest,
        now: Time,
    ) -> Result<Option<Vec<u8>>> {
        let (key, now) = (one_time_key(kind, key), milliseconds(now));
        let packed = self.write(Some(now), move |rows| {
            let packed = rows.one_time(&key)?;
            if packed.is_some() {
                rows.delete_one_time(&key)?;
            }
            Ok(packed)
        });
        let Some(packed) = packed.await? else { return Ok(None) };
        Ok(Entry::read(&packed)?.usable(now).map(<[u8]>::to_vec))
    }

    pub(super) async fn use_once(&self, kind: OneTime, key: &Digest, now: Time) -> Result<Used> {
        let (key, now) = (one_time_key(kind, key), milliseconds(now));
        let answer = self.write(Some(now), move |rows| {
            let Some(packed) = rows.one_time(&key)? else { return Ok(Ok(Used::Unknown)) };
            let entry = match Entry::read(&packed) {
                Ok(entry) => entry,
                Err(unreadable) => return Ok(Err(unreadable)),
            };
            if let Some(value) = entry.usable(now) {
                let used = Entry { used: true, ..entry };
                rows.put_one_time(&key, &used.pack(), collect_at(used.dead_at()))?;
                return Ok(Ok(Used::First(value.to_vec())));
            }
            let remembered = entry.used && now < entry.dead_at();
            Ok(Ok(if remembered { Used::Again(entry.value.to_vec()) } else { Used::Unknown }))
        });
        Ok(answer.await??)
    }

    pub(super) async fn begin(
        &self,
        id: &SessionId,
        record: &[u8],
        needed: u64,
        applied: u64,
        now: Time,
    ) -> Result<Step<()>> {
        let id = *id;
        let (header, _) = Header::read(record)?;
        let (record, collect_at) = (record.to_vec(), collect_at(header.dead_at()));
        self.write(Some(milliseconds(now)), move |rows| {
            let mut bucket = BucketRow::read(rows, id.bucket())?;
            if bucket.marker.position < needed {
                return Ok(bucket.behind());
            }
            rows.put_session(id.as_bytes(), &record, collect_at)?;
            bucket.advance(rows, applied)?;
            Ok(bucket.done(()))
        })
        .await
    }

    pub(super) async fn look(&self, id: &SessionId, needed: u64) -> Result<Step<Option<Record>>> {
        let id = *id;
        let read = self.0.tokens.read(move |rows| {
            let (record, marker) = rows.session_and_marker(id.as_bytes(), id.bucket())?;
            let marker = marker.position;
            Ok(Step { marker, done: (marker >= needed).then_some(record) })
        });
        read.await.map_err(unavailable)
    }

    pub(super) async fn look_at_all(&self, ids: &[SessionId]) -> Result<Vec<Look>> {
        let ids = ids.to_vec();
        let read = self.0.tokens.read(move |rows| {
            let look = |id: &SessionId| {
                let (record, marker) = rows.session_and_marker(id.as_bytes(), id.bucket())?;
                Ok((marker.position, record))
            };
            ids.iter().map(look).collect()
        });
        read.await.map_err(unavailable)
    }

    pub(super) async fn refresh(
        &self,
        id: &SessionId,
        offer: Offer,
        needed: u64,
        applied: u64,
        now: Time,
    ) -> Result<Step<Option<(Record, Refreshed)>>> {
        let (id, now) = (*id, milliseconds(now));
        let answer = self.write(Some(now), move |rows| {
            let (record, marker) = rows.session_and_marker(id.as_bytes(), id.bucket())?;
            let mut bucket = BucketRow { bucket: id.bucket(), marker };
            if bucket.marker.position < needed {
                return Ok(Ok(bucket.behind()));
            }
            let Some(record) = record else {
                return Ok(Ok(bucket.done(None)));
            };
            let (refreshed, changed) = match decide(&record, offer, &bucket.marker, now) {
                Ok(decided) => decided,
                Err(unreadable) => return Ok(Err(unreadable)),
            };
            let Some((changed, dead_at)) = changed else {
                return Ok(Ok(bucket.done(Some((record, refreshed)))));
            };
            rows.put_session(id.as_bytes(), &changed, collect_at(dead_at))?;
            bucket.advance(rows, applied)?;
            Ok(Ok(bucket.done(Some((changed, refreshed)))))
        });
        Ok(answer.await??)
    }

    pub(super) async fn delete(&self, id: &SessionId) -> Result<u64> {
        let id = *id;
        self.write(None, move |rows| {
            rows.delete_session(id.as_bytes())?;
            Ok(rows.marker(id.bucket())?.position)
        })
        .await
    }

    pub(super) async fn catch_up(&self, catch_up: CatchUp) -> Result<u64> {
        self.write(None, move |rows| {
            let marker = rows.marker(catch_up.bucket)?;
            if marker.position < catch_up.from {
                return Ok(marker.position);
            }
            for id in &catch_up.endings.sessions {
                rows.delete_session(id.as_bytes())?;
            }
            let position = marker.position.max(catch_up.endings.head);
            let went_back_at = marker.went_back_at.max(catch_up.went_back_at);
            rows.put_marker(catch_up.bucket, Marker { position, went_back_at })?;
            Ok(position)
        })
        .await
    }

    /// How many sessions there are, expired ones included.
    pub(super) async fn count(&self) -> Result<u64> {
        let count = self.0.tokens.read(|rows| Ok(u64::try_from(rows.count_sessions()?)?));
        count.await.map_err(unavailable)
    }

    /// The next sessions in the order of their ids.
    pub(super) async fn page(
        &self,
        after: Option<&SessionId>,
        limit: usize,
    ) -> Result<Vec<(SessionId, Record)>> {
        // No id sorts before the empty one.
        let after = after.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
        let rows = self.0.tokens.read(move |rows| rows.sessions_after(&after, limit));
        let rows = rows.await.map_err(unavailable)?;
        let id = |id: Vec<u8>| id.try_into().map(SessionId::new).map_err(|_| Unreadable);
        let rows = rows.into_iter().map(|(bytes, record)| Ok((id(bytes)?, record)));
        Ok(rows.collect::<std::result::Result<_, Unreadable>>()?)
    }

    async fn write<T: Send + 'static>(
        &self,
        now: Option<i64>,
        work: impl FnOnce(&mut Rows<'_>) -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.0.tokens.write(now, work).await.map_err(unavailable)
    }
}

/// A bucket's marker within a step.
struct BucketRow {
    bucket: u8,
    marker: Marker,
}

impl BucketRow {
    fn read(rows: &mut Rows<'_>, bucket: u8) -> anyhow::Result<Self> {
        Ok(Self { bucket, marker: rows.marker(bucket)? })
    }

    /// All endings up to `applied` have been applied, since those that the node knows of have.
    fn advance(&mut self, rows: &mut Rows<'_>, applied: u64) -> anyhow::Result<()> {
        if self.marker.position < applied {
            self.marker.position = applied;
            rows.put_marker(self.bucket, self.marker)?;
        }
        Ok(())
    }

    const fn behind<T>(&self) -> Step<T> {
        Step { marker: self.marker.position, done: None }
    }

    const fn done<T>(&self, done: T) -> Step<T> {
        Step { marker: self.marker.position, done: Some(done) }
    }
}

/// The decision, and the record that follows from it with the moment from which it is garbage.
type Decided = (Refreshed, Option<(Record, i64)>);

fn decide(
    record: &[u8],
    offer: Offer,
    marker: &Marker,
    now: i64,
) -> std::result::Result<Decided, Unreadable> {
    let (header, _) = Header::read(record)?;
    let refreshed = header.state.refresh(&Presented {
        generation: offer.generation,
        now,
        grace: clamp(offer.grace),
        idle: i64::from(header.idle).saturating_mul(1000),
        ends_at: header.ends_at,
        refresh_tokens: offer.refresh_tokens,
        store_went_back: header.state.changed_at < marker.went_back_at,
    });
    let changed: Option<&RefreshState> = match &refreshed {
        Refreshed::Rotated(state) | Refreshed::Kept(state) | Refreshed::Repeated(Some(state)) => {
            Some(state)
        }
        Refreshed::Repeated(None)
        | Refreshed::Expired
        | Refreshed::Replayed(_)
        | Refreshed::Ahead { .. } => None,
    };
    let changed = changed.map(|state| {
        let dead_at = state.idle_ends_at.min(header.ends_at);
        repack(record, state.clone()).map(|record| (record, dead_at))
    });
    let changed = changed.transpose()?;
    Ok((refreshed, changed))
}

fn open(path: &EmbeddedPath) -> Result<(Tokens, Option<Lock>)> {
    let path = match path {
        EmbeddedPath::Memory => return Ok((Tokens::open(None).map_err(unavailable)?, None)),
        EmbeddedPath::File(path) => path,
    };
    let path = private_file(path)
        .with_context(|| format!("cannot open the token store {}", path.display()))
        .map_err(unavailable)?;
    let mut lock_path = path.clone().into_os_string();
    lock_path.push(".lock");
    let lock = OpenOptions::new().create(true).write(true).truncate(false).open(&lock_path);
    let lock = lock.context("cannot create the token store's lock").map_err(unavailable)?;
    let lock = match lock.try_lock() {
        Ok(()) => Lock(lock),
        Err(TryLockError::WouldBlock) => return Err(TokenStoreError::InUse(path)),
        Err(TryLockError::Error(error)) => {
            let error = anyhow::Error::new(error).context("cannot lock the token store");
            return Err(unavailable(error));
        }
    };
    let tokens = Tokens::open(Some(&path)).map_err(unavailable)?;
    Ok((tokens, Some(lock)))
}

/// The real path, so that two names of one file are one lock. What is created is for its owner only:
/// sessions hold claims about people.
fn private_file(path: &Path) -> io::Result<PathBuf> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    drop(options.open(path)?);
    path.canonicalize()
}

fn one_time_key(kind: OneTime, key: &Digest) -> Vec<u8> {
    let kind = match kind {
        OneTime::Login => b'l',
        OneTime::Code => b'c',
        OneTime::Replay => b'r',
    };
    [&[kind], key.as_bytes().as_slice()].concat()
}

fn collect_at(dead_at: i64) -> i64 {
    dead_at.saturating_add(GARBAGE_MARGIN)
}

fn unavailable(error: anyhow::Error) -> TokenStoreError {
    TokenStoreError::Unavailable(error)
}
