//! The token store of several servers: a Redis that they share. The only file that names the crate.
//!
//! Everything atomic about one session is in one slot: `{s:XX}` and the session's 16 bytes, beside
//! the marker of the bucket XX. A step that only looks is one command, any other one script.

use crate::database::Database;
use crate::domain::Time;
use crate::domain::client::RefreshTokens;
use crate::domain::ids::SessionId;
use crate::domain::secret::Digest;
use crate::domain::session::{Refreshed, Replay};
use crate::token_store::record::{Entry, Header, REMEMBERED_USE, clamp, milliseconds};
use crate::token_store::{
    CatchUp, GARBAGE_MARGIN, Look, Offer, OneTime, Result, Step, TokenStoreError, Unreadable, Used,
    Witness,
};
use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{
    Client, Cmd, FromRedisValue, IntoConnectionInfo as _, Pipeline, ProtocolVersion, RedisError,
    Script, ScriptInvocation, io::tcp::TcpSettings,
};
use anyhow::anyhow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const CONNECTION_TIMEOUT: Duration = Duration::from_millis(500);
/// A Redis that is well answers within a millisecond; a busy machine may take its time all the same. Whatever
/// the connection is up to, nobody waits longer: a caller is to hear within 250 ms that it is away.
const PATIENCE: Duration = Duration::from_millis(200);
/// A host that has vanished without a word is noticed after this time.
const SILENCE: Duration = Duration::from_secs(5);
const OLDEST: (u32, u32) = (6, 2);

macro_rules! script {
    ($($file:literal),+) => { Script::new(concat!($(include_str!($file)),+)) };
}

#[derive(Clone)]
pub struct Redis {
    connection: ConnectionManager,
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    witness: Witness,
    begin: Script,
    refresh: Script,
    catch_up: Script,
    put: Script,
    use_once: Script,
}

type Record = Vec<u8>;

impl Redis {
    pub(super) async fn open(url: &str, database: Database) -> Result<Self> {
        let client = client(url)?;
        let shared = Shared {
            witness: Witness::new(database),
            begin: script!("marker.lua", "begin.lua"),
            refresh: script!("marker.lua", "refresh.lua"),
            catch_up: script!("marker.lua", "catch_up.lua"),
            put: script!("put.lua"),
            use_once: script!("use_once.lua"),
            client,
        };
        let store = Self { connection: connect(&shared.client)?, shared: Arc::new(shared) };
        store.check().await?;
        Ok(store)
    }

    pub(super) fn with_own_connection(&self) -> Result<Self> {
        let connection = connect(&self.shared.client)?;
        Ok(Self { connection, shared: Arc::clone(&self.shared) })
    }

    pub(super) fn witness(&self) -> &Witness {
        &self.shared.witness
    }

    /// What would lose or evict sessions, or cannot run the scripts, is refused at start-up.
    async fn check(&self) -> Result<()> {
        let unsuitable = |why: String| Err(TokenStoreError::Unsuitable(why));
        let info: String = self.ask(::redis::cmd("INFO").arg("server")).await?;
        let version = field(&info, "redis_version").unwrap_or_default();
        let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
            return unsuitable(format!("version 6.2 or newer is needed, this one is {version:?}"));
        }
        let info: String = self.ask(::redis::cmd("INFO").arg("replication")).await?;
        if field(&info, "role") != Some("master") {
            return unsuitable("it is a replica; name the primary".into());
        }
        let policy: Result<HashMap<String, String>> =
            self.ask(::redis::cmd("CONFIG").arg("GET").arg("maxmemory-policy")).await;
        let Ok(policy) = policy else {
            tracing::warn!("cannot read maxmemory-policy of Redis; it must be noeviction");
            return self.ping().await;
        };
        match policy.get("maxmemory-policy").map(String::as_str) {
            Some("noeviction") | None => Ok(()),
            Some(policy) => unsuitable(format!(
                "its maxmemory-policy is {policy}, which throws sessions away; set noeviction"
            )),
        }
    }

    pub(super) async fn ping(&self) -> Result<()> {
        self.ask(&::redis::cmd("PING")).await
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
        let mut put = self.shared.put.key(&key);
        put.arg(&packed).arg(now).arg(REMEMBERED_USE).arg(keep);
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
        let mut use_once = self.shared.use_once.key(one_time_key(kind, key));
        use_once.arg(milliseconds(now)).arg(REMEMBERED_USE).arg(GARBAGE_MARGIN);
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
        let mut begin = self.shared.begin.key(session_key(id));
        begin.key(marker_key(id.bucket()));
        begin.arg(needed).arg(applied).arg(record).arg(keep);
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

    /// One round trip: each session with its marker, as `look` does it.
    pub(super) async fn look_at_all(&self, ids: &[SessionId]) -> Result<Vec<Look>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut looks = ::redis::pipe();
        for id in ids {
            looks.cmd("MGET").arg(marker_key(id.bucket())).arg(session_key(id));
        }
        let found: Vec<(Option<Vec<u8>>, Option<Record>)> = self.ask_all(&looks).await?;
        let look = |(marker, record): (Option<Vec<u8>>, Option<Record>)| {
            Ok((position(marker.as_deref())?, record))
        };
        found.into_iter().map(look).collect()
    }

    pub(super) async fn refresh(
        &self,
        id: &SessionId,
        offer: Offer,
        needed: u64,
        applied: u64,
        now: Time,
    ) -> Result<Step<Option<(Record, Refreshed)>>> {
        let mut refresh = self.shared.refresh.key(session_key(id));
        refresh.key(marker_key(id.bucket()));
        refresh.arg(needed).arg(applied).arg(offer.generation).arg(milliseconds(now));
        let stable = offer.refresh_tokens == RefreshTokens::Stable;
        refresh.arg(clamp(offer.grace)).arg(GARBAGE_MARGIN).arg(u8::from(stable));
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
        let mut script = self.shared.catch_up.key(marker_key(catch_up.bucket));
        for id in &catch_up.endings.sessions {
            script.key(session_key(id));
        }
        script.arg(catch_up.from).arg(catch_up.endings.head).arg(catch_up.went_back_at);
        self.run(&script).await
    }

    /// How many keys there are: about as many as sessions.
    pub(super) async fn count(&self) -> Result<u64> {
        self.ask(&::redis::cmd("DBSIZE")).await
    }

    /// Sessions of the next stretch of the key space, and where to go on; 0: that was all.
    pub(super) async fn scan(&self, cursor: u64, about: usize) -> Result<(u64, Vec<SessionId>)> {
        let mut scan = ::redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(EVERY_SESSION).arg("COUNT").arg(about);
        let (cursor, keys): (u64, Vec<Vec<u8>>) = self.ask(&scan).await?;
        Ok((cursor, keys.iter().filter_map(|key| session_id(key)).collect()))
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
        let send = |mut connection| async move { command.query_async(&mut connection).await };
        self.in_time(send).await
    }

    async fn ask_all<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T> {
        let send = |mut connection| async move { commands.query_async(&mut connection).await };
        self.in_time(send).await
    }

    async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T> {
        let send = |mut connection| async move { script.invoke_async(&mut connection).await };
        self.in_time(send).await
    }

    async fn in_time<T, F>(&self, send: impl Fn(ConnectionManager) -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, RedisError>>,
    {
        let answer = async {
            match send(self.connection.clone()).await {
                // Nothing was sent. The refusal may be an old one that the connection remembers; by
                // answering with it, it began to connect anew.
                Err(error) if error.is_connection_refusal() => send(self.connection.clone()).await,
                answer => answer,
            }
        };
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer.map_err(unavailable),
            Err(_) => Err(TokenStoreError::Unavailable(anyhow!("Redis does not answer"))),
        }
    }
}

fn client(url: &str) -> Result<Client> {
    // The crate's error may quote the address, and the address a password.
    let wrong = |_| {
        let form = "its address must be redis://[user:password@]host[:port][/db] or unix:///path";
        TokenStoreError::Unsuitable(form.into())
    };
    let settings = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(SILENCE);
    let info = url.into_connection_info().map_err(wrong)?.set_tcp_settings(settings);
    // In RESP3 the connection notices by itself that it was closed, before a request has to.
    let protocol = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let info = info.set_redis_settings(protocol);
    Client::open(info).map_err(wrong)
}

/// Connects when it is first used, and again whenever the connection breaks.
fn connect(client: &Client) -> Result<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        // Ours is the one limit.
        .set_response_timeout(None)
        .set_connection_timeout(Some(CONNECTION_TIMEOUT))
        // Nobody waits for a Redis that is gone: each attempt fails at once, and the next request makes
        // the next one.
        .set_number_of_retries(0)
        .set_pipeline_buffer_size(1024);
    ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(unavailable)
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

/// A line of `INFO`.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn unavailable(error: RedisError) -> TokenStoreError {
    TokenStoreError::Unavailable(error.into())
}
