//! The token store of several servers: a Redis that they share. The only folder that names the crate.
//!
//! Everything atomic about one session is in one slot: `{s:XX}` and the session's 16 bytes, beside
//! the marker of the bucket XX. A step that only looks is one command, any other one script.

mod address;
mod connection;
mod link;
mod push;
mod script;
mod suitability;

pub use crate::token_store::redis::address::{
    BadRedisAddress, ClientCertificate, RedisAddress, RedisCredentials,
};

use crate::database::Database;
use crate::domain::Time;
use crate::domain::client::RefreshTokens;
use crate::domain::ids::SessionId;
use crate::domain::secret::Digest;
use crate::domain::session::{Refreshed, Replay};
use crate::token_store::record::{Entry, Header, REMEMBERED_USE, clamp, milliseconds};
use crate::token_store::redis::connection::{Connection, NoConnection, Place, described};
use crate::token_store::redis::link::{Link, Outage};
use crate::token_store::redis::script::{Call, Script};
use crate::token_store::redis::suitability::Unsuitable;
use crate::token_store::{
    CatchUp, GARBAGE_MARGIN, Look, Offer, OneTime, Result, Step, TokenStoreError, Unreadable, Used,
    Witness,
};
use ::redis::{Cmd, FromRedisValue, Pipeline, RedisError, RedisResult};
use anyhow::anyhow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A Redis that is well answers within a millisecond. Whatever the connection is up to, nobody waits for more than
/// so many of these moments, since a caller is to hear within 250 ms that it is away.
const PATIENCE: u32 = 9;
const MOMENT: Duration = Duration::from_millis(20);
/// Or so many of any kind.
const LONGEST_PATIENCE: u32 = 50;

macro_rules! script {
    ($($file:literal),+) => { Script::new(concat!($(include_str!(concat!("../", $file))),+)) };
}

#[derive(Clone)]
pub struct Redis {
    link: Link,
    shared: Arc<Shared>,
}

struct Shared {
    address: Arc<RedisAddress>,
    outage: Outage,
    witness: Witness,
    /// What was found to be wrong with this Redis since it was opened.
    unsuitable: Mutex<Option<Unsuitable>>,
    /// The position of the revocation log to tell the other servers, and the one heard from them.
    announce: watch::Sender<u64>,
    announced: watch::Receiver<u64>,
    begin: Script,
    refresh: Script,
    catch_up: Script,
    put: Script,
    use_once: Script,
}

type Record = Vec<u8>;

impl Redis {
    pub(super) async fn open(address: RedisAddress, database: Database) -> Result<Self> {
        let address = Arc::new(address);
        let outage = Outage::default();
        let link = Link::new(Arc::clone(&address), outage.clone());
        check(&mut link.connection().await.map_err(unfit)?).await?;
        let (announce, positions) = watch::channel(0);
        let (heard, announced) = watch::channel(0);
        tokio::spawn(push::publish(link.clone(), positions));
        tokio::spawn(push::hear(Arc::clone(&address), heard));
        let shared = Arc::new(Shared {
            address,
            outage,
            witness: Witness::new(database),
            unsuitable: Mutex::default(),
            announce,
            announced,
            begin: script!("marker.lua", "begin.lua"),
            refresh: script!("marker.lua", "refresh.lua"),
            catch_up: script!("marker.lua", "catch_up.lua"),
            put: script!("put.lua"),
            use_once: script!("use_once.lua"),
        });
        tokio::spawn(suitability::watch(link.clone(), Arc::downgrade(&shared)));
        Ok(Self { link, shared })
    }

    pub(super) fn with_own_connection(&self) -> Self {
        let shared = Arc::clone(&self.shared);
        let link = Link::new(Arc::clone(&shared.address), shared.outage.clone());
        Self { link, shared }
    }

    pub(super) fn witness(&self) -> &Witness {
        &self.shared.witness
    }

    /// Whether it answers, and is still what it was when it was opened.
    pub(super) async fn ping(&self) -> Result<()> {
        let wrong = self.shared.unsuitable.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(wrong) = wrong {
            return Err(TokenStoreError::Unsuitable(wrong.to_string()));
        }
        self.ask(&::redis::cmd("PING")).await
    }

    pub(super) fn announce(&self, position: u64) {
        self.shared.announce.send_if_modified(|newest| {
            let newer = position > *newest;
            *newest = position.max(*newest);
            newer
        });
    }

    pub(super) fn announced(&self) -> watch::Receiver<u64> {
        self.shared.announced.clone()
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
        let (packed, now) = (entry.pack(), milliseconds(now));
        let keep = time_to_live(entry.expires_at, now);
        let mut set = ::redis::cmd("SET");
        set.arg(&key).arg(&packed).arg("NX").arg("PX").arg(keep);
        // "OK", or nothing when it is there: then it has to be looked at.
        if self.ask::<Option<String>>(&set).await?.is_some() {
            return Ok(true);
        }
        let put = self.shared.put.call().key(&key);
        let put = put.arg(&packed).arg(now).arg(REMEMBERED_USE).arg(keep);
        self.run(&put).await
    }

    pub(super) async fn take(
        &self,
        kind: OneTime,
        key: &Digest,
        now: Time,
    ) -> Result<Option<Vec<u8>>> {
        let mut take = ::redis::cmd("GETDEL");
        take.arg(one_time_key(kind, key));
        let Some(packed) = self.ask::<Option<Vec<u8>>>(&take).await? else { return Ok(None) };
        Ok(Entry::read(&packed)?.usable(milliseconds(now)).map(<[u8]>::to_vec))
    }

    pub(super) async fn use_once(&self, kind: OneTime, key: &Digest, now: Time) -> Result<Used> {
        let use_once = self.shared.use_once.call().key(one_time_key(kind, key));
        let use_once = use_once.arg(milliseconds(now)).arg(REMEMBERED_USE).arg(GARBAGE_MARGIN);
        let (outcome, packed): (u8, Vec<u8>) = self.run(&use_once).await?;
        if outcome == 0 {
            return Ok(Used::Unknown);
        }
        let value = Entry::read(&packed)?.value.to_vec();
        Ok(if outcome == 1 { Used::First(value) } else { Used::Again(value) })
    }

    pub(super) async fn begin(
        &self,
        id: &SessionId,
        record: &[u8],
        needed: u64,
        applied: u64,
        now: Time,
    ) -> Result<Step<()>> {
        let (header, _) = Header::read(record)?;
        let keep = time_to_live(header.dead_at(), milliseconds(now));
        let begin = self.shared.begin.call().key(session_key(id)).key(marker_key(id.bucket()));
        let begin = begin.arg(needed).arg(applied).arg(record).arg(keep);
        let (marker, done): (u64, bool) = self.run(&begin).await?;
        Ok(Step { marker, done: done.then_some(()) })
    }

    pub(super) async fn look(&self, id: &SessionId, needed: u64) -> Result<Step<Option<Record>>> {
        let mut look = ::redis::cmd("MGET");
        look.arg(marker_key(id.bucket())).arg(session_key(id));
        let (packed, record): (Option<Vec<u8>>, Option<Vec<u8>>) = self.ask(&look).await?;
        let marker = position(packed.as_deref())?;
        Ok(Step { marker, done: (marker >= needed).then_some(record) })
    }

    /// In one command: each session with its marker, as `look` does it. A cluster's nodes are asked for their part
    /// each; what is in one slot is read in one moment.
    pub(super) async fn look_at_all(&self, ids: &[SessionId]) -> Result<Vec<Look>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut looks = ::redis::cmd("MGET");
        for id in ids {
            looks.arg(marker_key(id.bucket())).arg(session_key(id));
        }
        let mut found = self.ask::<Vec<Option<Record>>>(&looks).await?.into_iter();
        let mut all = Vec::with_capacity(ids.len());
        while let (Some(marker), Some(record)) = (found.next(), found.next()) {
            all.push((position(marker.as_deref())?, record));
        }
        Ok(all)
    }

    pub(super) async fn refresh(
        &self,
        id: &SessionId,
        offer: Offer,
        needed: u64,
        applied: u64,
        now: Time,
    ) -> Result<Step<Option<(Record, Refreshed)>>> {
        let stable = offer.refresh_tokens == RefreshTokens::Stable;
        let refresh = self.shared.refresh.call().key(session_key(id)).key(marker_key(id.bucket()));
        let refresh = refresh.arg(needed).arg(applied).arg(offer.generation);
        let refresh = refresh.arg(milliseconds(now)).arg(clamp(offer.grace)).arg(GARBAGE_MARGIN);
        let refresh = refresh.arg(u8::from(stable));
        let (marker, outcome, record, late): (u64, u8, Vec<u8>, u8) = self.run(&refresh).await?;
        match outcome {
            0 => return Ok(Step { marker, done: None }),
            1 => return Ok(Step { marker, done: Some(None) }),
            _ => {}
        }
        let (header, _) = Header::read(&record)?;
        let (presented, current) = (offer.generation, header.state.generation);
        let refreshed = match outcome {
            2 => Refreshed::Rotated(header.state),
            3 => Refreshed::Repeated(None),
            4 => Refreshed::Repeated(Some(header.state)),
            5 => Refreshed::Expired,
            6 => Refreshed::Replayed(Replay { presented, current, late }),
            7 => Refreshed::Ahead { presented, current },
            8 => Refreshed::Kept(header.state),
            _ => return Err(TokenStoreError::Unreadable(Unreadable)),
        };
        Ok(Step { marker, done: Some(Some((record, refreshed))) })
    }

    pub(super) async fn delete(&self, id: &SessionId) -> Result<u64> {
        let mut delete = ::redis::pipe();
        delete.atomic().unlink(session_key(id)).ignore().get(marker_key(id.bucket()));
        let (packed,): (Option<Vec<u8>>,) = self.ask_all(&delete).await?;
        position(packed.as_deref())
    }

    pub(super) async fn catch_up(&self, catch_up: &CatchUp) -> Result<u64> {
        let mut call = self.shared.catch_up.call().key(marker_key(catch_up.bucket));
        for id in &catch_up.endings.sessions {
            call = call.key(session_key(id));
        }
        let call = call.arg(catch_up.from).arg(catch_up.endings.head).arg(catch_up.went_back_at);
        self.run(&call).await
    }

    /// How many keys there are: about as many as sessions.
    pub(super) async fn count(&self) -> Result<u64> {
        self.ask(&::redis::cmd("DBSIZE")).await
    }

    /// Where a walk over all keys begins: at every server that leads.
    pub(super) async fn first_stretch(&self) -> Result<Stretch> {
        let ping = ::redis::cmd("PING");
        let leaders = self.in_time(async |connection| connection.ask_leaders::<()>(&ping).await);
        let mut servers: Vec<_> = leaders.await?.into_iter().map(|(place, ())| place).collect();
        servers.sort();
        Ok(Stretch { all: servers.clone(), left: servers, cursor: 0 })
    }

    /// Sessions of the next stretch of the key space, and where to go on. None: that was all.
    ///
    /// What moved to another server meanwhile may have been passed over, so that a walk fails where others lead
    /// at its end than at its beginning.
    pub(super) async fn scan(
        &self,
        mut at: Stretch,
        about: usize,
    ) -> Result<(Option<Stretch>, Vec<SessionId>)> {
        let Some(server) = at.left.last() else {
            return if self.first_stretch().await?.all == at.all {
                Ok((None, Vec::new()))
            } else {
                Err(TokenStoreError::Unavailable(anyhow!("sessions moved during a walk")))
            };
        };
        let mut scan = ::redis::cmd("SCAN");
        scan.arg(at.cursor).arg("MATCH").arg(EVERY_SESSION).arg("COUNT").arg(about);
        let (cursor, keys): (u64, Vec<Vec<u8>>) =
            self.in_time(async |connection| connection.ask_at(server, &scan).await).await?;
        at.cursor = cursor;
        if cursor == 0 {
            at.left.pop();
        }
        Ok((Some(at), keys.iter().filter_map(|key| session_id(key)).collect()))
    }

    /// The records of those sessions that are there.
    pub(super) async fn records(&self, ids: Vec<SessionId>) -> Result<Vec<(SessionId, Record)>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut look = ::redis::cmd("MGET");
        for id in &ids {
            look.arg(session_key(id));
        }
        let records: Vec<Option<Record>> = self.ask(&look).await?;
        let found = ids.into_iter().zip(records);
        Ok(found.filter_map(|(id, record)| Some((id, record?))).collect())
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        self.in_time(async |connection| command.query_async(connection).await).await
    }

    async fn ask_all<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T> {
        self.in_time(async |connection| commands.query_async(connection).await).await
    }

    async fn run<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T> {
        self.in_time(async |connection| call.ask(connection).await).await
    }

    /// An answer that comes too late is nobody's: whoever asked has gone, and the next answer is the next one's.
    async fn in_time<T>(
        &self,
        send: impl AsyncFnOnce(&mut Connection) -> RedisResult<T>,
    ) -> Result<T> {
        let answer =
            async { Ok::<_, TokenStoreError>(send(&mut self.link.connection().await?).await) };
        let answer = tokio::select! {
            biased;
            answer = answer => answer?,
            () = patience() => {
                self.link.complain();
                return Err(TokenStoreError::Unavailable(anyhow!("Redis does not answer")));
            }
        };
        answer.map_err(|error| {
            if is_about_the_connection(&error) {
                self.link.complain();
            }
            TokenStoreError::Unavailable(anyhow!(described(&error)))
        })
    }
}

/// A moment that took much longer than it should counts for nothing: then it was this server that did not get to
/// run, and the answer may well be there.
async fn patience() {
    let mut left = PATIENCE;
    for _ in 0..LONGEST_PATIENCE {
        let began = Instant::now();
        tokio::time::sleep(MOMENT).await;
        if began.elapsed() < MOMENT.saturating_mul(2) {
            left = left.saturating_sub(1);
        }
        if left == 0 {
            return;
        }
    }
}

/// How far a walk over the keys has come.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    all: Vec<Place>,
    /// The last is the one that is under way.
    left: Vec<Place>,
    cursor: u64,
}

/// What would lose or evict sessions, or cannot run the scripts, is refused at start-up.
async fn check(connection: &mut Connection) -> Result<()> {
    let failed = |error| TokenStoreError::Unavailable(anyhow!(described(&error)));
    if let Some(why) = suitability::examine(connection).await.map_err(failed)? {
        return Err(TokenStoreError::Unsuitable(why.to_string()));
    }
    if suitability::policies(connection).await.map_err(failed)?.is_none() {
        tracing::warn!("cannot read maxmemory-policy of Redis; it must be noeviction");
    }
    Ok(())
}

/// Why there is no connection is, where it will not pass, a reason not to begin.
fn unfit(error: TokenStoreError) -> TokenStoreError {
    match &error {
        TokenStoreError::Unavailable(why)
            if matches!(why.downcast_ref(), Some(NoConnection::Replica)) =>
        {
            TokenStoreError::Unsuitable(Unsuitable::Replica.to_string())
        }
        _ => error,
    }
}

/// Whether a connection may be broken, or lead to a server that does not lead any more.
fn is_about_the_connection(error: &RedisError) -> bool {
    let elsewhere =
        matches!(error.code(), Some("READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "MOVED"));
    elsewhere || error.is_timeout() || error.is_unrecoverable_error()
}

/// The keys that `session_key` writes, and no marker.
const EVERY_SESSION: &str = "{s:??}????????????????";

/// The session that a key is of.
fn session_id(key: &[u8]) -> Option<SessionId> {
    let (_, id) = key.split_last_chunk()?;
    let id = SessionId::new(*id);
    (session_key(&id) == key).then_some(id)
}

fn session_key(id: &SessionId) -> Vec<u8> {
    let mut key = marker_key(id.bucket()).into_bytes();
    key.extend_from_slice(id.as_bytes());
    key
}

/// The tag alone. No session's key is as short.
fn marker_key(bucket: u8) -> String {
    format!("{{s:{bucket:02x}}}")
}

fn one_time_key(kind: OneTime, key: &Digest) -> Vec<u8> {
    let kind = match kind {
        OneTime::Login => b"l:",
        OneTime::Code => b"c:",
        OneTime::Replay => b"r:",
    };
    [kind.as_slice(), key.as_bytes()].concat()
}

fn position(marker: Option<&[u8]>) -> Result<u64> {
    let Some(marker) = marker else { return Ok(0) };
    let (position, _) = marker.split_first_chunk().ok_or(Unreadable)?;
    Ok(u64::from_be_bytes(*position))
}

/// Milliseconds.
fn time_to_live(dead_at: i64, now: i64) -> i64 {
    dead_at.saturating_sub(now).max(0).saturating_add(GARBAGE_MARGIN)
}
