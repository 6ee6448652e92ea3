//! One contract, held by both token stores; then what each of them owes beyond it.

use crate::harness::redis_sets::RedisCluster;
use crate::harness::{Need, met, soon};
use chrono::{DateTime, TimeDelta};
use redis::{Commands as _, Connection};
use rolemint::database::{Database, DbConnection, Location, log};
use rolemint::domain::Time;
use rolemint::domain::client::RefreshTokens;
use rolemint::domain::ids::SessionId;
use rolemint::domain::revocation::{NewRevocation, RevocationTarget};
use rolemint::domain::secret::Digest;
use rolemint::domain::session::{Presented, RefreshState, Refreshed, Session};
use rolemint::token_store::{
    EmbeddedPath, LogPosition, Offer, OneTime, TokenStore, TokenStoreError, Used,
};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const GRACE: i64 = 30_000;
const IDLE: u32 = 7 * 24 * 3600;

// ---- The world of a test ----

/// The revocation log, in which only endings of sessions are of interest here.
struct Log {
    database: Database,
    _folder: Folder,
}

impl Log {
    async fn empty() -> Self {
        let folder = Folder::new();
        let path = folder.0.join("rolemint.db").to_str().unwrap().to_owned();
        let database = Database::open(Location::Sqlite(path), 2).await.unwrap();
        database.migrate().await.unwrap();
        Self { database, _folder: folder }
    }

    /// Appends the ending of a session and answers with its position.
    async fn append_ending(&self, id: SessionId) -> u64 {
        let ending = NewRevocation {
            audience: Vec::new(),
            target: RevocationTarget::Session(id),
            tenant: None,
            expires_at: start() + TimeDelta::days(30),
            by: None,
            reason: "a test ended it".into(),
        };
        let append = move |c: &mut DbConnection| log::append_revocation(c, &ending, start());
        self.database.write(append).await.unwrap().position
    }
}

/// For what never asks the log.
async fn no_log() -> Database {
    Database::open(Location::Sqlite(":memory:".into()), 1).await.unwrap()
}

struct World {
    store: TokenStore,
    log: Log,
    home: Home,
}

enum Home {
    File(Folder),
    Redis(RedisServer),
    Cluster(Arc<RedisCluster>),
}

impl World {
    async fn embedded() -> Option<Self> {
        let folder = Folder::new();
        let log = Log::empty().await;
        let path = EmbeddedPath::File(folder.0.join("tokens.db"));
        let store = TokenStore::open_embedded(path, log.database.clone()).await.unwrap();
        Some(Self { store, log, home: Home::File(folder) })
    }

    async fn redis() -> Option<Self> {
        let server = RedisServer::start()?;
        let log = Log::empty().await;
        let store = TokenStore::open_redis(&server.url(), log.database.clone()).await.unwrap();
        Some(Self { store, log, home: Home::Redis(server) })
    }

    /// In a cluster that has nothing in it.
    async fn cluster(cluster: &Arc<RedisCluster>) -> Self {
        cluster.flush();
        let log = Log::empty().await;
        let home = Home::Cluster(Arc::clone(cluster));
        let store = open(&home, &log).await;
        Self { store, log, home }
    }

    /// Another server on the same store, or this one started again.
    async fn started_again(self) -> Self {
        let Self { store, log, home } = self;
        drop(store);
        let store = open(&home, &log).await;
        Self { store, log, home }
    }

    async fn copy(self) -> (Self, Copy) {
        let Self { store, log, home } = self;
        let copy = match &home {
            Home::File(folder) => {
                drop(store);
                Copy::File(std::fs::read(folder.0.join("tokens.db")).unwrap())
            }
            Home::Redis(server) => Copy::Redis(vec![dump(&mut server.connect().unwrap())]),
            Home::Cluster(cluster) => {
                Copy::Redis(cluster.connections().iter_mut().map(dump).collect())
            }
        };
        let store = open(&home, &log).await;
        (Self { store, log, home }, copy)
    }

    /// The store is what it was when the copy was made. `forgetful`: the server starts anew as well, so
    /// that nobody but the log remembers.
    async fn restore(self, copy: &Copy, forgetful: bool) -> Self {
        let Self { mut store, log, home } = self;
        match (&home, copy) {
            (Home::File(folder), Copy::File(bytes)) => {
                drop(store);
                std::fs::write(folder.0.join("tokens.db"), bytes).unwrap();
                store = open(&home, &log).await;
            }
            (Home::Redis(_) | Home::Cluster(_), Copy::Redis(servers)) => {
                let mut connections = match &home {
                    Home::Cluster(cluster) => cluster.connections(),
                    Home::Redis(server) => vec![server.connect().unwrap()],
                    Home::File(_) => panic!("no servers"),
                };
                for (connection, keys) in connections.iter_mut().zip(servers) {
                    put_back(connection, keys);
                }
                if forgetful {
                    store = open(&home, &log).await;
                }
            }
            _ => panic!("a copy of another store"),
        }
        Self { store, log, home }
    }

    async fn begin(&self, id: SessionId, at: LogPosition, now: Time) -> (Session, RefreshState) {
        let session = session(id, now);
        let state =
            RefreshState::begin(millis(now), i64::from(IDLE) * 1000, millis(session.ends_at));
        self.store.begin(&session, &state, at, now).await.unwrap();
        (session, state)
    }

    async fn refresh(
        &self,
        id: &SessionId,
        generation: u32,
        at: LogPosition,
        now: Time,
    ) -> Option<Refreshed> {
        let offer = rotating(generation);
        self.store.refresh(id, &offer, at, now).await.unwrap().map(|(_, _, refreshed)| refreshed)
    }

    async fn end(&self, id: SessionId) -> u64 {
        let position = self.log.append_ending(id).await;
        self.store.end(&id, position).await.unwrap();
        position
    }
}

async fn open(home: &Home, log: &Log) -> TokenStore {
    match home {
        Home::File(folder) => {
            let path = EmbeddedPath::File(folder.0.join("tokens.db"));
            TokenStore::open_embedded(path, log.database.clone()).await.unwrap()
        }
        Home::Redis(server) => {
            TokenStore::open_redis(&server.url(), log.database.clone()).await.unwrap()
        }
        Home::Cluster(cluster) => {
            TokenStore::open_redis(&cluster.url(), log.database.clone()).await.unwrap()
        }
    }
}

/// Keys with their values and what is left of their time.
type Keys = Vec<(Vec<u8>, Vec<u8>, i64)>;

fn dump(connection: &mut Connection) -> Keys {
    let keys: Vec<Vec<u8>> = connection.keys("*").unwrap();
    let dump = |key: Vec<u8>| {
        let value = redis::cmd("DUMP").arg(&key).query(connection).unwrap();
        let left = redis::cmd("PTTL").arg(&key).query(connection).unwrap();
        (key, value, left)
    };
    keys.into_iter().map(dump).collect()
}

fn put_back(connection: &mut Connection, keys: &Keys) {
    redis::cmd("FLUSHALL").exec(connection).unwrap();
    for (key, value, left) in keys {
        redis::cmd("RESTORE").arg(key).arg(left).arg(value).exec(connection).unwrap();
    }
}

enum Copy {
    File(Vec<u8>),
    /// Of each server.
    Redis(Vec<Keys>),
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "rolemint-token-store-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A Redis of the test's own, which keeps nothing and ends with the test.
struct RedisServer {
    child: Child,
    port: u16,
    folder: Folder,
}

impl RedisServer {
    /// None: the tests are to do without servers.
    fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// None: there is no redis-server, and the test is left out.
    fn start_with(arguments: &[&str]) -> Option<Self> {
        if !met(&[Need::Redis]) {
            return None;
        }
        for _ in 0..5 {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            drop(listener);
            match Self::start_on(port, Folder::new(), arguments) {
                Ok(Some(server)) => return Some(server),
                Ok(None) => {} // somebody else took the port
                Err(error) => panic!("cannot start redis-server: {error}"),
            }
        }
        panic!("redis-server does not start");
    }

    fn start_on(port: u16, folder: Folder, arguments: &[&str]) -> std::io::Result<Option<Self>> {
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--unixsocket", "redis.sock", "--dir"])
            .arg(&folder.0)
            .args(arguments)
            .current_dir(&folder.0)
            .stdout(Stdio::null())
            .spawn()?;
        let mut server = Self { child, port, folder };
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if server.child.try_wait()?.is_some() {
                return Ok(None);
            }
            if server.connect().is_ok() {
                return Ok(Some(server));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server does not answer");
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn socket(&self) -> PathBuf {
        self.folder.0.join("redis.sock")
    }

    fn connect(&self) -> redis::RedisResult<Connection> {
        let mut connection = redis::Client::open(self.url())?.get_connection()?;
        redis::cmd("PING").exec(&mut connection)?;
        Ok(connection)
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        self.connect().unwrap().keys("*").unwrap()
    }

    fn used_memory(&self) -> i64 {
        let mut connection = self.connect().unwrap();
        let info: String = redis::cmd("INFO").arg("memory").query(&mut connection).unwrap();
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        used.trim().parse().unwrap()
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

// ---- Values ----

fn start() -> Time {
    DateTime::from_timestamp_millis(1_700_000_000_000).unwrap()
}

fn after(milliseconds: i64) -> Time {
    start() + TimeDelta::milliseconds(milliseconds)
}

fn millis(time: Time) -> i64 {
    time.timestamp_millis()
}

/// The `number`th session of a bucket.
fn id(bucket: u8, number: u64) -> SessionId {
    let mut bytes = [0; 16];
    bytes[0] = bucket;
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    SessionId::new(bytes)
}

fn session(id: SessionId, now: Time) -> Session {
    Session {
        id,
        subject: "u_mfrggzdfmztwq2lknnwg23tpob".parse().unwrap(),
        tenant: "acme".parse().unwrap(),
        client: "demo-web".parse().unwrap(),
        provider: "demo".parse().unwrap(),
        claims: serde_json::Map::new(),
        requested_scope: Some("calendar:read".parse().unwrap()),
        protocol_scope: "openid profile email".parse().unwrap(),
        requested_details: None,
        audience: vec!["https://api.acme.example".into()],
        refresh_key: Some(1),
        begun_at: now,
        authenticated_at: Some(now - TimeDelta::seconds(2)),
        begun: 0,
        ends_at: now + TimeDelta::days(30),
        idle: IDLE,
    }
}

/// A refresh token of a client with everything at its default.
fn rotating(generation: u32) -> Offer {
    Offer { generation, grace: GRACE, refresh_tokens: RefreshTokens::Rotate }
}

/// What a node asks with that knows the log up to the last ending in the bucket.
const fn known(ended: u64) -> LogPosition {
    LogPosition { required: ended, applied: ended }
}

const fn known_to_nobody() -> LogPosition {
    LogPosition { required: 0, applied: 0 }
}

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
    fn pick<T: std::marker::Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(u64::try_from(from.len()).unwrap())).unwrap()]
    }
}

// ---- The contract ----

macro_rules! contract {
    ($($case:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::World::embedded().await.unwrap()).await;
            })+
        }
        /// On one cluster, one after another.
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn a_cluster_keeps_the_contract() {
            if !met(&[Need::Redis]) {
                return;
            }
            let cluster = Arc::new(RedisCluster::start());
            $(Box::pin($case(World::cluster(&cluster).await)).await;)+
        }
        mod redis_server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(world) = super::World::redis().await {
                    super::$case(world).await;
                }
            })+
        }
    };
}

contract!(
    what_is_put_is_there_once,
    what_is_taken_is_gone,
    kinds_never_meet,
    a_use_is_remembered_beyond_expiry,
    our_now_decides_on_expiry,
    one_of_fifty_uses_is_the_first,
    one_of_fifty_takes_gets_it,
    a_session_is_found_as_it_was_begun,
    a_session_ends,
    a_session_expires_by_our_now,
    a_hundred_refreshes_of_one_generation_have_one_successor,
    every_refresh_is_decided_as_the_pure_function_decides,
    every_case_of_the_table_is_decided_so,
    a_profile_can_be_changed_while_a_session_runs,
    a_restored_store_is_noticed_by_the_log,
    a_restored_store_is_noticed_by_a_server_that_remembers,
    an_emptied_bucket_does_not_revive_what_ended,
    ahead_counts_only_after_the_store_went_back,
    an_ending_that_never_reached_the_store_is_not_passed_over,
    everything_is_there_after_a_new_start,
    an_unreachable_head_is_not_waited_for_forever,
    a_walk_comes_to_each_session_that_lives_once,
    a_walk_through_a_restored_store_does_not_come_to_what_ended,
    the_store_answers_a_ping,
);

async fn what_is_put_is_there_once(world: World) {
    let (store, key) = (&world.store, Digest::of("a"));
    let put = async |value: &'static [u8], expires_at, now| {
        store.put(OneTime::Replay, &key, value, expires_at, now).await.unwrap()
    };
    assert!(put(b"1", after(60_000), start()).await);
    assert!(!put(b"2", after(60_000), start()).await);
    assert!(!put(b"2", after(120_000), after(59_999)).await);
    assert!(put(b"3", after(120_000), after(60_000)).await, "it had expired");
    assert_eq!(
        store.take(OneTime::Replay, &key, after(60_000)).await.unwrap().as_deref(),
        Some(b"3".as_slice())
    );
    assert!(put(b"", after(60_000), start()).await, "it had been taken");
    assert_eq!(
        store.take(OneTime::Replay, &key, start()).await.unwrap().as_deref(),
        Some(b"".as_slice())
    );
}

async fn what_is_taken_is_gone(world: World) {
    let (store, key) = (&world.store, Digest::of("a"));
    let value: Vec<u8> = (0..=255).cycle().take(5000).collect();
    assert_eq!(store.take(OneTime::Login, &key, start()).await.unwrap(), None);
    assert!(store.put(OneTime::Login, &key, &value, after(1000), start()).await.unwrap());
    assert_eq!(store.take(OneTime::Login, &key, after(999)).await.unwrap(), Some(value));
    assert_eq!(store.take(OneTime::Login, &key, start()).await.unwrap(), None);
}

async fn kinds_never_meet(world: World) {
    let (store, key) = (&world.store, Digest::of("a"));
    let kinds = [OneTime::Login, OneTime::Code, OneTime::Replay];
    for (kind, value) in kinds.into_iter().zip([b"l", b"c", b"r"]) {
        assert!(store.put(kind, &key, value, after(1000), start()).await.unwrap());
    }
    for (kind, value) in kinds.into_iter().zip([b"l", b"c", b"r"]) {
        let taken = store.take(kind, &key, start()).await.unwrap();
        assert_eq!(taken.as_deref(), Some(value.as_slice()));
    }
}

async fn a_use_is_remembered_beyond_expiry(world: World) {
    let (store, key) = (&world.store, Digest::of("a"));
    let ten_minutes = 10 * 60 * 1000;
    let use_once = async |now| store.use_once(OneTime::Code, &key, now).await.unwrap();
    assert_eq!(use_once(start()).await, Used::Unknown);
    assert!(store.put(OneTime::Code, &key, b"v", after(60_000), start()).await.unwrap());
    assert_eq!(use_once(after(59_999)).await, Used::First(b"v".into()));
    assert_eq!(use_once(after(59_999)).await, Used::Again(b"v".into()));
    assert_eq!(use_once(after(60_000 + ten_minutes - 1)).await, Used::Again(b"v".into()));
    assert!(!store.put(OneTime::Code, &key, b"w", after(999_999), after(60_001)).await.unwrap());
    assert_eq!(use_once(after(60_000 + ten_minutes)).await, Used::Unknown);
    assert_eq!(store.take(OneTime::Code, &key, start()).await.unwrap(), None, "it was used");

    let late = Digest::of("late");
    assert!(store.put(OneTime::Code, &late, b"v", after(60_000), start()).await.unwrap());
    let used = store.use_once(OneTime::Code, &late, after(60_000)).await.unwrap();
    assert_eq!(used, Used::Unknown, "it had expired before its first use");
}

async fn our_now_decides_on_expiry(world: World) {
    let (store, key) = (&world.store, Digest::of("a"));
    // Long past by any other clock, and days away from each other: only the values count.
    for now in [start() - TimeDelta::days(4000), start(), start() + TimeDelta::days(4000)] {
        let expires_at = now + TimeDelta::seconds(60);
        assert!(store.put(OneTime::Login, &key, b"v", expires_at, now).await.unwrap());
        assert!(!store.put(OneTime::Login, &key, b"v", expires_at, now).await.unwrap());
        let taken = store.take(OneTime::Login, &key, expires_at - TimeDelta::milliseconds(1));
        assert!(taken.await.unwrap().is_some());
        assert!(store.put(OneTime::Login, &key, b"v", expires_at, now).await.unwrap());
        assert!(store.take(OneTime::Login, &key, expires_at).await.unwrap().is_none());
    }
}

async fn one_of_fifty_uses_is_the_first(world: World) {
    let key = Digest::of("a");
    assert!(world.store.put(OneTime::Code, &key, b"v", after(1000), start()).await.unwrap());
    let uses: Vec<_> = (0..50)
        .map(|_| {
            let store = world.store.clone();
            tokio::spawn(async move { store.use_once(OneTime::Code, &key, start()).await.unwrap() })
        })
        .collect();
    let (mut first, mut again) = (0, 0);
    for used in uses {
        match used.await.unwrap() {
            Used::First(_) => first += 1,
            Used::Again(_) => again += 1,
            Used::Unknown => panic!("it is known"),
        }
    }
    assert_eq!((first, again), (1, 49));
}

async fn one_of_fifty_takes_gets_it(world: World) {
    let key = Digest::of("a");
    assert!(world.store.put(OneTime::Login, &key, b"v", after(1000), start()).await.unwrap());
    let takes: Vec<_> = (0..50)
        .map(|_| {
            let store = world.store.clone();
            tokio::spawn(async move { store.take(OneTime::Login, &key, start()).await.unwrap() })
        })
        .collect();
    let mut got = 0;
    for taken in takes {
        got += usize::from(taken.await.unwrap().is_some());
    }
    assert_eq!(got, 1);
}

async fn a_session_is_found_as_it_was_begun(world: World) {
    let at = known_to_nobody();
    assert_eq!(world.store.find(&id(1, 1), at, start()).await.unwrap(), None);
    assert!(!world.store.is_alive(&id(1, 1), at, start()).await.unwrap());
    let begun = world.begin(id(1, 1), at, start()).await;
    assert_eq!(world.store.find(&id(1, 1), at, start()).await.unwrap(), Some(begun));
    assert!(world.store.is_alive(&id(1, 1), at, start()).await.unwrap());
    assert!(!world.store.is_alive(&id(1, 2), at, start()).await.unwrap());

    // Claims up to 4 KiB, and everything that can be absent.
    let claims = serde_json::json!({ "groups": vec!["ünicode"; 400], "n": -1.5, "x": null });
    let bare = Session {
        claims: claims.as_object().unwrap().clone(),
        requested_scope: None,
        requested_details: Some(serde_json::json!([{ "type": "cache", "cache": "c" }])),
        audience: vec![],
        refresh_key: None,
        authenticated_at: None,
        begun: 1 << 40,
        ..session(id(1, 3), start())
    };
    let state = RefreshState::begin(millis(start()), 1000, millis(bare.ends_at));
    world.store.begin(&bare, &state, at, start()).await.unwrap();
    assert_eq!(world.store.find(&bare.id, at, start()).await.unwrap(), Some((bare, state)));
}

async fn a_session_ends(world: World) {
    world.begin(id(1, 1), known_to_nobody(), start()).await;
    world.begin(id(1, 2), known_to_nobody(), start()).await;
    let ended = world.end(id(1, 1)).await;
    let at = known(ended);
    assert!(!world.store.is_alive(&id(1, 1), at, start()).await.unwrap());
    assert!(world.store.is_alive(&id(1, 2), at, start()).await.unwrap());
    assert_eq!(world.refresh(&id(1, 1), 1, at, start()).await, None);
    // An ending of what is not there, or once more, is nothing.
    world.store.end(&id(1, 1), ended).await.unwrap();
    world.end(id(1, 9)).await;
}

async fn a_session_expires_by_our_now(world: World) {
    let at = known_to_nobody();
    world.begin(id(1, 1), at, start()).await;
    let idle = i64::from(IDLE) * 1000;
    assert!(world.store.is_alive(&id(1, 1), at, after(idle - 1)).await.unwrap());
    assert!(!world.store.is_alive(&id(1, 1), at, after(idle)).await.unwrap());
    assert_eq!(world.store.find(&id(1, 1), at, after(idle)).await.unwrap(), None);
    assert_eq!(world.refresh(&id(1, 1), 1, at, after(idle)).await, Some(Refreshed::Expired));
    let Some(Refreshed::Rotated(_)) = world.refresh(&id(1, 1), 1, at, after(idle - 1)).await else {
        panic!("it was in time");
    };
    assert!(world.store.is_alive(&id(1, 1), at, after(idle)).await.unwrap());
}

async fn a_hundred_refreshes_of_one_generation_have_one_successor(world: World) {
    let at = known_to_nobody();
    world.begin(id(1, 1), at, start()).await;
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let store = world.store.clone();
            tokio::spawn(async move {
                let offer = rotating(1);
                store.refresh(&id(1, 1), &offer, at, after(n)).await.unwrap().unwrap()
            })
        })
        .collect();
    let mut rotations = 0;
    for task in tasks {
        let (session, state, refreshed) = task.await.unwrap();
        assert_eq!(session.id, id(1, 1));
        assert_eq!(state.generation, 2);
        rotations += usize::from(matches!(refreshed, Refreshed::Rotated(_)));
    }
    assert_eq!(rotations, 1);
}

/// Any state at all, and then a walk from there: each answer of the store is compared with the pure
/// function's, and so is what is stored afterwards.
async fn every_refresh_is_decided_as_the_pure_function_decides(world: World) {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut outcomes = HashSet::new();
    let walks = match world.home {
        Home::File(_) => 60,
        Home::Redis(_) => 250,
        Home::Cluster(_) => 100,
    };
    let (mut ended, mut went_back_at) = (0, 0);
    for walk in 0..walks {
        let session =
            Session { idle: numbers.pick(&[60, 600, IDLE]), ..session(id(7, walk), start()) };
        let ends_at = millis(session.ends_at);
        let mut state = any_state(&mut numbers, ends_at);
        let mut now = state.changed_at;
        let at = known(ended);
        world.store.begin(&session, &state, at, after(now - millis(start()))).await.unwrap();
        for step in 0..30 {
            now += numbers.pick(&[0, 0, 1, 5, 1000, GRACE - 1, GRACE, GRACE + 1, 60_000, -1000]);
            now += if numbers.below(40) == 0 { 3600 * 1000 } else { 0 };
            let time = DateTime::from_timestamp_millis(now).unwrap();
            if numbers.below(25) == 0 {
                // A bucket behind: another session was ended, and its ending never arrived.
                ended = world.log.append_ending(id(7, 1_000_000)).await;
                went_back_at = went_back_at.max(now);
            }
            let generation = match numbers.below(10) {
                0..=3 => state.generation,
                4..=6 => state.generation.saturating_sub(1),
                7 => state.generation.saturating_sub(u32::try_from(numbers.below(20)).unwrap()),
                8 => state.generation.saturating_add(1),
                _ => state.generation.saturating_add(u32::try_from(numbers.below(50)).unwrap()),
            };
            let presented = Presented {
                generation,
                now,
                grace: numbers.pick(&[GRACE, GRACE, GRACE, 0]),
                idle: i64::from(session.idle) * 1000,
                ends_at,
                refresh_tokens: numbers.pick(&[
                    RefreshTokens::Rotate,
                    RefreshTokens::Rotate,
                    RefreshTokens::Stable,
                ]),
                store_went_back: state.changed_at < went_back_at,
            };
            let expected = state.refresh(&presented);
            let Presented { grace, refresh_tokens, .. } = presented;
            let offer = Offer { generation, grace, refresh_tokens };
            let at = known(ended);
            let answer = world.store.refresh(&session.id, &offer, at, time).await.unwrap();
            // What expired a while ago may have been collected.
            let gone = || (session.clone(), state.clone(), Refreshed::Expired);
            let (_, stored, refreshed) = answer.unwrap_or_else(gone);
            assert_eq!(refreshed, expected, "walk {walk}, step {step}: {presented:?} of {state:?}");
            outcomes.insert(name(&refreshed));
            if let Refreshed::Rotated(next)
            | Refreshed::Kept(next)
            | Refreshed::Repeated(Some(next)) = expected
            {
                state = next;
            }
            assert_eq!(stored, state, "walk {walk}, step {step}: {presented:?}");
            if matches!(refreshed, Refreshed::Expired | Refreshed::Replayed(_)) {
                state = any_state(&mut numbers, ends_at);
                now = state.changed_at;
                let time = DateTime::from_timestamp_millis(now).unwrap();
                world.store.begin(&session, &state, at, time).await.unwrap();
            }
        }
    }
    assert_eq!(outcomes.len(), 7, "{outcomes:?}");
}

/// What a refresh meets, in words that a person can check: the record, what is presented when, and what
/// comes of it.
struct Case {
    name: &'static str,
    /// How long ago each generation before the current one, 5, was superseded; the last one first.
    superseded: &'static [i64],
    late: (u8, bool),
    presented: u32,
    grace: i64,
    refresh_tokens: RefreshTokens,
    went_back: bool,
    /// The answer, and generation, times since superseding and late generations afterwards.
    expected: (&'static str, u32, &'static [i64], (u8, bool)),
}

const ROTATING: Case = Case {
    name: "",
    superseded: &[GRACE],
    late: (0, false),
    presented: 5,
    grace: GRACE,
    refresh_tokens: RefreshTokens::Rotate,
    went_back: false,
    expected: ("", 5, &[GRACE], (0, false)),
};
const STABLE: Case = Case { refresh_tokens: RefreshTokens::Stable, ..ROTATING };

const CASES: &[Case] = &[
    Case {
        name: "the current one rotates",
        expected: ("rotated", 6, &[0], (0, false)),
        ..ROTATING
    },
    Case {
        name: "what is still in the window is remembered",
        superseded: &[GRACE - 1, GRACE],
        expected: ("rotated", 6, &[0, GRACE - 1], (0, false)),
        ..ROTATING
    },
    Case {
        name: "superseded in time, the count goes back to none",
        late: (2, false),
        expected: ("rotated", 6, &[0], (0, false)),
        ..ROTATING
    },
    Case {
        name: "superseded after a late one, the count stays",
        late: (2, true),
        expected: ("rotated", 6, &[0], (2, false)),
        ..ROTATING
    },
    Case {
        name: "sixteen in the window are enough",
        superseded: &[1; 16],
        expected: ("repeated", 5, &[1; 16], (0, false)),
        ..ROTATING
    },
    Case {
        name: "fifteen are not",
        superseded: &[1; 15],
        expected: ("rotated", 6, &[0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], (0, false)),
        ..ROTATING
    },
    Case {
        name: "the one before, in the first half of the window",
        superseded: &[GRACE / 2 - 1],
        presented: 4,
        expected: ("repeated", 5, &[GRACE / 2 - 1], (0, false)),
        ..ROTATING
    },
    Case {
        name: "the one before, in the second half of the window",
        superseded: &[GRACE / 2, GRACE - 1],
        presented: 4,
        late: (2, false),
        expected: ("opened anew", 5, &[0, GRACE - 1], (2, false)),
        ..ROTATING
    },
    Case {
        name: "the one before, in the last moment of the window, after a late answer",
        superseded: &[GRACE - 1],
        presented: 4,
        late: (2, true),
        expected: ("opened anew", 5, &[0], (2, true)),
        ..ROTATING
    },
    Case {
        name: "the first one after four rotations, in the window",
        superseded: &[1, 2, 3, GRACE - 1],
        presented: 1,
        expected: ("repeated", 5, &[1, 2, 3, GRACE - 1], (0, false)),
        ..ROTATING
    },
    Case {
        name: "the one before, late for the first time",
        presented: 4,
        expected: ("opened anew", 5, &[0], (1, true)),
        ..ROTATING
    },
    Case {
        name: "without a window it is late at once",
        superseded: &[0],
        presented: 4,
        grace: 0,
        expected: ("opened anew", 5, &[0], (1, true)),
        ..ROTATING
    },
    Case {
        name: "late again for the same generation counts once",
        presented: 4,
        late: (1, true),
        expected: ("opened anew", 5, &[0], (1, true)),
        ..ROTATING
    },
    Case {
        name: "the second late generation",
        presented: 4,
        late: (1, false),
        expected: ("opened anew", 5, &[0], (2, true)),
        ..ROTATING
    },
    Case {
        name: "the third late generation",
        presented: 4,
        late: (2, false),
        expected: ("replayed", 5, &[GRACE], (2, false)),
        ..ROTATING
    },
    Case {
        name: "older, and out of the window",
        superseded: &[GRACE - 1, GRACE],
        presented: 3,
        expected: ("replayed", 5, &[GRACE - 1, GRACE], (0, false)),
        ..ROTATING
    },
    Case {
        name: "older than is remembered",
        presented: 1,
        expected: ("replayed", 5, &[GRACE], (0, false)),
        ..ROTATING
    },
    Case {
        name: "never handed out",
        presented: 6,
        expected: ("ahead", 5, &[GRACE], (0, false)),
        ..ROTATING
    },
    Case {
        name: "never heard of by a store that went back",
        presented: 9,
        late: (2, true),
        went_back: true,
        expected: ("rotated", 10, &[0], (0, false)),
        ..ROTATING
    },
    Case {
        name: "the current one of a store that went back",
        went_back: true,
        expected: ("rotated", 6, &[0], (0, false)),
        ..ROTATING
    },
    Case {
        name: "a stable one stays",
        superseded: &[GRACE - 1, GRACE],
        late: (2, true),
        expected: ("kept", 5, &[GRACE - 1, GRACE], (2, true)),
        ..STABLE
    },
    Case {
        name: "a stable one stays, however full the memory",
        superseded: &[1; 16],
        expected: ("kept", 5, &[1; 16], (0, false)),
        ..STABLE
    },
    Case {
        name: "one that was superseded before it was stable, in the window",
        superseded: &[GRACE / 2, GRACE - 1],
        presented: 3,
        expected: ("repeated", 5, &[GRACE / 2, GRACE - 1], (0, false)),
        ..STABLE
    },
    Case {
        name: "one that was superseded before it was stable, late",
        presented: 4,
        expected: ("opened anew", 5, &[0], (1, true)),
        ..STABLE
    },
    Case {
        name: "an older one than the stable one",
        presented: 3,
        expected: ("replayed", 5, &[GRACE], (0, false)),
        ..STABLE
    },
    Case {
        name: "one ahead of the stable one",
        presented: 6,
        expected: ("ahead", 5, &[GRACE], (0, false)),
        ..STABLE
    },
    Case {
        name: "one ahead of the stable one, where the store went back",
        presented: 8,
        went_back: true,
        expected: ("rotated", 9, &[0], (0, false)),
        ..STABLE
    },
];

/// The table holds the pure function and both stores.
async fn every_case_of_the_table_is_decided_so(world: World) {
    let now = after(1_000_000);
    for (number, case) in CASES.iter().enumerate() {
        let session = session(id(u8::try_from(number).unwrap(), 1), start());
        let ends_at = millis(session.ends_at);
        let ago = |ages: &[i64]| ages.iter().map(|age| millis(now) - age).collect::<Vec<_>>();
        let state = |generation, superseded, (late, late_counted), changed_at, idle_ends_at| {
            RefreshState { generation, changed_at, idle_ends_at, superseded, late, late_counted }
        };
        let idle_before = millis(now) + 1;
        let before = state(5, ago(case.superseded), case.late, millis(now) - 1, idle_before);
        world.store.begin(&session, &before, known_to_nobody(), now).await.unwrap();
        // Its bucket lacks an ending, then.
        let ended = if case.went_back {
            world.log.append_ending(id(session.id.bucket(), 2)).await
        } else {
            0
        };
        let (answer, generation, superseded, late) = case.expected;
        let idle_ends_at = match answer {
            "rotated" | "kept" => millis(now) + i64::from(IDLE) * 1000,
            _ => idle_before,
        };
        let changed = matches!(answer, "rotated" | "kept" | "opened anew");
        let changed_at = millis(now) - i64::from(!changed);
        let after = state(generation, ago(superseded), late, changed_at, idle_ends_at);

        let pure = before.refresh(&Presented {
            generation: case.presented,
            now: millis(now),
            grace: case.grace,
            idle: i64::from(IDLE) * 1000,
            ends_at,
            refresh_tokens: case.refresh_tokens,
            store_went_back: case.went_back,
        });
        assert_eq!(name(&pure), answer, "{}", case.name);
        let &Case { presented: generation, grace, refresh_tokens, .. } = case;
        let offer = Offer { generation, grace, refresh_tokens };
        let refreshed = world.store.refresh(&session.id, &offer, known(ended), now).await;
        let (_, stored, refreshed) = refreshed.unwrap().unwrap();
        assert_eq!(refreshed, pure, "{}", case.name);
        assert_eq!(stored, after, "{}", case.name);
        let found = world.store.find(&session.id, known(ended), now).await.unwrap();
        assert_eq!(found, Some((session, after)), "{}", case.name);
    }
}

async fn a_profile_can_be_changed_while_a_session_runs(world: World) {
    let at = known_to_nobody();
    world.begin(id(1, 1), at, start()).await;
    let mut seen = Vec::new();
    for (n, (generation, refresh_tokens)) in [
        (1, RefreshTokens::Rotate),
        (2, RefreshTokens::Stable),
        (2, RefreshTokens::Stable),
        (2, RefreshTokens::Rotate),
        (3, RefreshTokens::Rotate),
        (4, RefreshTokens::Stable),
        // Lost, and asked for late under either profile.
        (3, RefreshTokens::Stable),
        (3, RefreshTokens::Rotate),
    ]
    .into_iter()
    .enumerate()
    {
        let offer = Offer { generation, grace: GRACE, refresh_tokens };
        let now = after(i64::try_from(n).unwrap() * 2 * GRACE);
        let answer = world.store.refresh(&id(1, 1), &offer, at, now).await.unwrap();
        let (_, state, refreshed) = answer.unwrap();
        seen.push((name(&refreshed), state.generation));
    }
    let expected = [
        ("rotated", 2),
        ("kept", 2),
        ("kept", 2),
        ("rotated", 3),
        ("rotated", 4),
        ("kept", 4),
        ("opened anew", 4),
        ("opened anew", 4),
    ];
    assert_eq!(seen, expected);
}

fn any_state(numbers: &mut Numbers, ends_at: i64) -> RefreshState {
    let changed_at = millis(start()) + i64::try_from(numbers.below(100_000)).unwrap();
    let count = numbers.pick(&[0, 1, 1, 2, 3, 15, 16, 16]);
    let mut superseded_at = changed_at;
    let mut superseded = Vec::new();
    for _ in 0..count {
        superseded.push(superseded_at);
        superseded_at -= numbers.pick(&[0, 1, 100, GRACE / 2, GRACE]);
    }
    RefreshState {
        generation: numbers.pick(&[1, 2, 3, 20, 1000, u32::MAX - 1, u32::MAX]),
        changed_at,
        idle_ends_at: (changed_at + numbers.pick(&[1, 60_000, 600_000, 1 << 40])).min(ends_at),
        superseded,
        late: numbers.pick(&[0, 1, 2, 3, 254, 255]),
        late_counted: numbers.below(2) == 0,
    }
}

fn name(refreshed: &Refreshed) -> &'static str {
    match refreshed {
        Refreshed::Rotated(_) => "rotated",
        Refreshed::Kept(_) => "kept",
        Refreshed::Repeated(None) => "repeated",
        Refreshed::Repeated(Some(_)) => "opened anew",
        Refreshed::Expired => "expired",
        Refreshed::Replayed(_) => "replayed",
        Refreshed::Ahead { .. } => "ahead",
    }
}

async fn a_restored_store_is_noticed_by_the_log(world: World) {
    for number in 1..=3 {
        world.begin(id(5, number), known_to_nobody(), start()).await;
    }
    world.begin(id(6, 1), known_to_nobody(), start()).await;
    let (world, copy) = world.copy().await;
    world.end(id(5, 1)).await;
    world.end(id(6, 1)).await;
    let ended = world.end(id(5, 2)).await;
    let world = world.restore(&copy, true).await;
    let at = known(ended);
    assert!(!world.store.is_alive(&id(5, 1), at, start()).await.unwrap());
    assert_eq!(world.store.find(&id(5, 2), at, start()).await.unwrap(), None);
    assert_eq!(world.refresh(&id(5, 2), 1, at, start()).await, None);
    assert!(world.store.is_alive(&id(5, 3), at, start()).await.unwrap());
    let at = LogPosition { required: 2, applied: ended };
    assert_eq!(world.refresh(&id(6, 1), 1, at, start()).await, None);
}

async fn a_restored_store_is_noticed_by_a_server_that_remembers(world: World) {
    world.begin(id(5, 1), known_to_nobody(), start()).await;
    let (world, copy) = world.copy().await;
    world.end(id(5, 1)).await;
    // Only Redis can go back while the server runs: then the node need not even know its log.
    let forgetful = matches!(world.home, Home::File(_));
    let at = if forgetful { known(1) } else { known_to_nobody() };
    let world = world.restore(&copy, forgetful).await;
    assert!(!world.store.is_alive(&id(5, 1), at, start()).await.unwrap());
}

async fn an_emptied_bucket_does_not_revive_what_ended(world: World) {
    let (world, empty) = world.copy().await;
    world.begin(id(5, 1), known_to_nobody(), start()).await;
    let ended = world.end(id(5, 1)).await;
    let world = world.restore(&empty, false).await;
    let at = known(ended);
    assert!(!world.store.is_alive(&id(5, 1), at, start()).await.unwrap());
    // And the bucket can be used as before.
    world.begin(id(5, 2), at, start()).await;
    assert!(world.store.is_alive(&id(5, 2), at, start()).await.unwrap());
}

async fn ahead_counts_only_after_the_store_went_back(world: World) {
    world.begin(id(5, 1), known_to_nobody(), start()).await;
    let (world, copy) = world.copy().await;
    let mut generation = 1;
    for n in 1..=3 {
        let at = known_to_nobody();
        let Some(Refreshed::Rotated(state)) =
            world.refresh(&id(5, 1), generation, at, after(n * 100)).await
        else {
            panic!("it is the current one");
        };
        generation = state.generation;
    }
    let ahead = world.refresh(&id(5, 1), 9, known_to_nobody(), after(400)).await;
    assert_eq!(ahead, Some(Refreshed::Ahead { presented: 9, current: 4 }));
    let ended = world.end(id(5, 2)).await;
    let at = known(ended);
    let ahead = world.refresh(&id(5, 1), 9, at, after(400)).await;
    assert_eq!(ahead, Some(Refreshed::Ahead { presented: 9, current: 4 }), "an ending is no proof");

    let world = world.restore(&copy, true).await;
    let Some(Refreshed::Rotated(state)) = world.refresh(&id(5, 1), 4, at, after(500)).await else {
        panic!("the token is the better witness");
    };
    assert_eq!(state.generation, 5);
    let ahead = world.refresh(&id(5, 1), 9, at, after(600)).await;
    assert_eq!(ahead, Some(Refreshed::Ahead { presented: 9, current: 5 }), "once is enough");
}

/// Between its entry in the log and its deletion in the store a server died, or Redis was away. The next
/// ending in the same bucket must not make the marker pass it.
async fn an_ending_that_never_reached_the_store_is_not_passed_over(world: World) {
    world.begin(id(5, 1), known_to_nobody(), start()).await;
    world.begin(id(5, 2), known_to_nobody(), start()).await;
    world.log.append_ending(id(5, 1)).await;
    let ended = world.end(id(5, 2)).await;
    let at = known(ended);
    assert!(!world.store.is_alive(&id(5, 1), at, start()).await.unwrap());
}

async fn everything_is_there_after_a_new_start(world: World) {
    let key = Digest::of("a");
    world.begin(id(5, 1), known_to_nobody(), start()).await;
    let at = known(world.end(id(5, 2)).await);
    assert!(world.store.put(OneTime::Code, &key, b"v", after(1000), start()).await.unwrap());
    let Some(Refreshed::Rotated(state)) = world.refresh(&id(5, 1), 1, at, after(5)).await else {
        panic!("it is the current one");
    };
    let world = world.started_again().await;
    let (_, found) = world.store.find(&id(5, 1), at, after(5)).await.unwrap().unwrap();
    assert_eq!(found, state);
    let used = world.store.use_once(OneTime::Code, &key, start()).await.unwrap();
    assert_eq!(used, Used::First(b"v".into()));
}

async fn an_unreachable_head_is_not_waited_for_forever(world: World) {
    // The node claims to know an ending that the database does not: nothing is answered rather than
    // something wrong.
    let at = LogPosition { required: 7, applied: 7 };
    let answer = world.store.is_alive(&id(5, 1), at, start()).await;
    assert!(matches!(answer, Err(TokenStoreError::Unavailable(_))), "{answer:?}");
}

/// The sessions that a walk comes to, in that order, with something done after each page.
async fn walked(
    world: &World,
    at: LogPosition,
    now: Time,
    between: impl AsyncFn(&[Session]),
) -> Vec<SessionId> {
    let mut walk = world.store.walk(|_| at, now).await.unwrap();
    let mut found = Vec::new();
    while let Some(page) = walk.next(now).await.unwrap() {
        between(&page.sessions).await;
        found.extend(page.sessions.iter().map(|session| session.id));
    }
    found
}

async fn a_walk_comes_to_each_session_that_lives_once(world: World) {
    assert_eq!(walked(&world, known_to_nobody(), start(), async |_| {}).await, []);
    let now = after(1000 * i64::from(IDLE));
    let all: Vec<SessionId> =
        (0..1500_u64).map(|n| id(u8::try_from(n % 256).unwrap(), n)).collect();
    for (n, id) in all.iter().enumerate() {
        // The first ones are idle for too long by now, and one is refreshed in time.
        let begun_at = if n < 10 { start() } else { now };
        world.begin(*id, known_to_nobody(), begun_at).await;
        world.store.put(OneTime::Code, &Digest::of(n.to_string()), b"v", now, now).await.unwrap();
    }
    world.refresh(&all[0], 1, known_to_nobody(), after(1)).await;
    let ended = all[20];
    world.end(ended).await;
    let expected = || {
        let idle = |(n, id): (usize, &SessionId)| (!(1..10).contains(&n)).then_some(*id);
        all.iter().enumerate().filter_map(idle).filter(|id| *id != ended).collect::<HashSet<_>>()
    };
    let found = walked(&world, known_to_nobody(), now, async |_| {}).await;
    assert_eq!((found.len(), found.into_iter().collect()), (expected().len(), expected()));

    // What is there all the while is found, whatever else comes and changes meanwhile.
    let next = AtomicU64::new(10_000);
    let found = walked(&world, known_to_nobody(), now, async |page| {
        for session in page {
            world.refresh(&session.id, 1, known_to_nobody(), now).await;
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number < 14_000 {
                let bucket = u8::try_from(number % 256).unwrap();
                world.begin(id(bucket, number), known_to_nobody(), now).await;
            }
        }
    })
    .await;
    let different: HashSet<SessionId> = found.iter().copied().collect();
    assert_eq!(different.len(), found.len());
    assert!(expected().is_subset(&different));
}

async fn a_walk_through_a_restored_store_does_not_come_to_what_ended(world: World) {
    world.begin(id(7, 1), known_to_nobody(), start()).await;
    world.begin(id(7, 2), known_to_nobody(), start()).await;
    let (world, copy) = world.copy().await;
    let ended = world.end(id(7, 1)).await;
    let world = world.restore(&copy, true).await;
    assert_eq!(walked(&world, known(ended), start(), async |_| {}).await, [id(7, 2)]);
}

async fn the_store_answers_a_ping(world: World) {
    world.store.ping().await.unwrap();
    world.store.for_this_thread().unwrap().ping().await.unwrap();
}

// ---- The embedded store ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_same_file_is_refused_by_name() {
    let world = World::embedded().await.unwrap();
    let Home::File(folder) = &world.home else { panic!() };
    let detour = folder.0.join(".").join("tokens.db");
    let second = TokenStore::open_embedded(EmbeddedPath::File(detour), no_log().await).await;
    let error = second.err().unwrap();
    assert!(matches!(error, TokenStoreError::InUse(_)));
    assert!(error.to_string().contains("tokens.db"), "{error}");
    let world = world.started_again().await;
    world.store.ping().await.unwrap();
}

#[tokio::test]
async fn a_store_is_released_when_the_last_lets_go_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = EmbeddedPath::File(folder.path().join("tokens.db"));
    let store = TokenStore::open_embedded(path.clone(), no_log().await).await.unwrap();
    let other = store.clone();
    let mut released = std::pin::pin!(store.released());
    tokio::select! {
        biased;
        () = &mut released => panic!("somebody still holds it"),
        () = async {} => {}
    }
    drop(other);
    released.await;
    TokenStore::open_embedded(path, no_log().await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_cannot_be_opened_is_an_error() {
    let path = EmbeddedPath::File(Path::new("/nowhere/at/all/tokens.db").into());
    let error = TokenStore::open_embedded(path, no_log().await).await.err().unwrap();
    assert_eq!(error.to_string(), "the token store cannot be reached");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_memory_it_is_the_same_store_without_a_file() {
    let store = TokenStore::open_embedded(EmbeddedPath::Memory, no_log().await).await.unwrap();
    let session = session(id(1, 1), start());
    let state = RefreshState::begin(millis(start()), 1000, millis(session.ends_at));
    store.begin(&session, &state, known_to_nobody(), start()).await.unwrap();
    let found = store.find(&session.id, known_to_nobody(), start()).await.unwrap();
    assert_eq!(found, Some((session, state)));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::embedded().await.unwrap();
    world.begin(id(1, 1), known_to_nobody(), start()).await;
    let Home::File(folder) = &world.home else { panic!() };
    for name in ["tokens.db", "tokens.db-wal"] {
        let mode = std::fs::metadata(folder.0.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}

/// Many writers at once, and more than one round of copying the log: everything acknowledged is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_wrote_at_once_is_all_there_and_garbage_goes() {
    let world = World::embedded().await.unwrap();
    let writers: Vec<_> = (0..100_u8)
        .map(|writer| {
            let store = world.store.clone();
            tokio::spawn(async move {
                for n in 0..60 {
                    let key = Digest::of([writer, n]);
                    let put = store.put(OneTime::Replay, &key, b"v", after(1000), start());
                    assert!(put.await.unwrap());
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let (store, late) = (&world.store, after(24 * 3600 * 1000));
    for key in [[0, 0], [50, 59], [99, 59]].map(Digest::of) {
        assert!(!store.put(OneTime::Replay, &key, b"", after(1000), start()).await.unwrap());
    }
    // A day later some writing sweeps it all away: four rows for each one that is added. By our earlier
    // `now` it would still be there.
    for n in 0..6000_u32 / 3 + 200 {
        let key = Digest::of(format!("later {n}"));
        store.put(OneTime::Login, &key, b"", late + TimeDelta::days(1), late).await.unwrap();
    }
    for key in [[0, 0], [50, 59], [99, 59]].map(Digest::of) {
        assert!(store.take(OneTime::Replay, &key, start()).await.unwrap().is_none());
    }
}

// ---- Redis ----

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_answers_over_its_unix_socket() {
    let Some(server) = RedisServer::start() else { return };
    let url = format!("redis+unix://{}", server.socket().display());
    TokenStore::open_redis(&url, no_log().await).await.unwrap().ping().await.unwrap();
}

/// The rules of an access list that docs/configuration.md names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_of_redis_needs_no_more_than_is_documented() {
    const RULES: &str = "+@all -@dangerous +config|get +info +role +cluster|slots +cluster|nodes";
    let documentation = include_str!("../../docs/configuration.md").replace('\n', " ");
    assert!(documentation.contains(RULES));
    let Some(server) = RedisServer::start() else { return };
    let mut user = redis::cmd("ACL");
    user.arg(&["SETUSER", "rolemint", "on", ">pw", "~*", "&rolemint:revocations"]);
    user.arg(RULES.split(' ').collect::<Vec<_>>()).exec(&mut server.connect().unwrap()).unwrap();
    let url = format!("redis://rolemint:pw@127.0.0.1:{}", server.port);
    let log = Log::empty().await;
    let store = TokenStore::open_redis(&url, log.database.clone()).await.unwrap();
    store.ping().await.unwrap();
    let heard = store.announced();
    // Whoever has not begun to listen hears the next one.
    let next = AtomicU64::new(7);
    let hear = async || {
        store.announce(next.fetch_add(1, Ordering::Relaxed));
        (*heard.borrow() >= 7).then_some(())
    };
    soon("an announcement", hear).await;
    let home = Home::Redis(server);
    a_walk_comes_to_each_session_that_lives_once(World { store, log, home }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_would_lose_sessions_is_refused() {
    let evicting = ["--maxmemory-policy", "allkeys-lru"];
    let Some(server) = RedisServer::start_with(&evicting) else { return };
    let error = TokenStore::open_redis(&server.url(), no_log().await).await.err().unwrap();
    assert!(error.to_string().contains("noeviction"), "{error}");

    let replica = ["--replicaof", "127.0.0.1", "1"];
    let Some(server) = RedisServer::start_with(&replica) else { return };
    let error = TokenStore::open_redis(&server.url(), no_log().await).await.err().unwrap();
    assert!(error.to_string().contains("replica"), "{error}");

    let error = TokenStore::open_redis("redis//:secret@x", no_log().await).await.err().unwrap();
    assert!(matches!(error, TokenStoreError::Unsuitable(_)));
    assert!(!format!("{error:?}").contains("secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_gone_is_reported_at_once_and_used_again_when_it_is_back() {
    let Some(mut world) = World::redis().await else { return };
    let Home::Redis(server) = &mut world.home else { panic!() };
    let port = server.port;
    server.kill();
    for _ in 0..3 {
        let asked = Instant::now();
        let answer = world.store.is_alive(&id(1, 1), known_to_nobody(), start()).await;
        assert!(matches!(answer, Err(TokenStoreError::Unavailable(_))), "{answer:?}");
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    world.home = Home::Redis(RedisServer::start_on(port, Folder::new(), &[]).unwrap().unwrap());
    soon("Redis", async || world.store.ping().await.ok()).await;
    // Scripts are gone with the old one.
    world.begin(id(1, 1), known_to_nobody(), start()).await;
    assert!(world.store.is_alive(&id(1, 1), known_to_nobody(), start()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_silent_is_given_up_soon_and_no_answer_goes_astray() {
    let Some(world) = World::redis().await else { return };
    let Home::Redis(server) = &world.home else { panic!() };
    for number in 0..20 {
        let (key, value) = (Digest::of([number]), [number]);
        let put = world.store.put(OneTime::Code, &key, &value, after(60_000), start());
        assert!(put.await.unwrap());
    }
    server.signal("-STOP");
    let asked = Instant::now();
    let asking: Vec<_> = (0..10_u8)
        .map(|number| {
            let store = world.store.clone();
            tokio::spawn(async move {
                store.use_once(OneTime::Code, &Digest::of([number]), start()).await
            })
        })
        .collect();
    for answer in asking {
        assert!(matches!(answer.await.unwrap(), Err(TokenStoreError::Unavailable(_))));
    }
    assert!(asked.elapsed() < Duration::from_millis(1500), "{:?}", asked.elapsed());
    server.signal("-CONT");
    for number in 0..20_u8 {
        let key = Digest::of([number]);
        let use_once = async || world.store.use_once(OneTime::Code, &key, start()).await.ok();
        match soon("Redis", use_once).await {
            // What was asked for while nobody answered may have been done.
            Used::First(value) | Used::Again(value) => assert_eq!(value, [number]),
            Used::Unknown => panic!("it is known"),
        }
    }
}

/// Nothing has ended in the bucket, but the server remembers that it wrote there with a longer log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_write_moves_the_marker_so_that_going_back_is_noticed_without_an_ending() {
    let Some(world) = World::redis().await else { return };
    world.begin(id(5, 1), known_to_nobody(), start()).await;
    let (world, copy) = world.copy().await;
    let at = LogPosition { required: 0, applied: world.end(id(6, 1)).await };
    for generation in 1..=2 {
        let refreshed = world.refresh(&id(5, 1), generation, at, after(100)).await;
        assert!(matches!(refreshed, Some(Refreshed::Rotated(_))), "{refreshed:?}");
    }
    let world = world.restore(&copy, false).await;
    let refreshed = world.refresh(&id(5, 1), 3, at, after(200)).await;
    assert!(matches!(refreshed, Some(Refreshed::Rotated(_))), "{refreshed:?}");
}

/// A real copy of a real Redis, brought back after a thousand endings: nothing that has ended lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_from_before_a_thousand_endings_revives_none() {
    const SESSIONS: u64 = 1000;
    let Some(mut world) = World::redis().await else { return };
    let nth = |number: u64| id(u8::try_from(number % 256).unwrap(), number);
    for number in 0..SESSIONS + 10 {
        world.begin(nth(number), known_to_nobody(), start()).await;
    }
    let Home::Redis(server) = &mut world.home else { panic!() };
    redis::cmd("SAVE").exec(&mut server.connect().unwrap()).unwrap();
    let snapshot = server.folder.0.join("dump.rdb");
    let copy = std::fs::read(&snapshot).unwrap();
    let mut ended = HashMap::new();
    for number in 0..SESSIONS {
        ended.insert(nth(number).bucket(), world.end(nth(number)).await);
    }
    let Home::Redis(server) = &mut world.home else { panic!() };
    let port = server.port;
    server.kill();
    let folder = Folder::new();
    std::fs::write(folder.0.join("dump.rdb"), copy).unwrap();
    world.home = Home::Redis(RedisServer::start_on(port, folder, &[]).unwrap().unwrap());
    soon("Redis", async || world.store.ping().await.ok()).await;
    for number in 0..SESSIONS {
        let at = known(ended[&nth(number).bucket()]);
        assert!(!world.store.is_alive(&nth(number), at, start()).await.unwrap(), "{number}");
        assert_eq!(world.refresh(&nth(number), 1, at, start()).await, None, "{number}");
    }
    for number in SESSIONS..SESSIONS + 10 {
        let at = known(ended[&nth(number).bucket()]);
        assert!(world.store.is_alive(&nth(number), at, start()).await.unwrap(), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_expires_and_a_session_shares_a_slot_with_its_marker() {
    let Some(world) = World::redis().await else { return };
    let Home::Redis(server) = &world.home else { panic!() };
    let at = known(world.end(id(0xab, 1)).await);
    world.begin(id(0xab, 2), at, start()).await;
    world.refresh(&id(0xab, 2), 1, at, after(5)).await;
    world.refresh(&id(0xab, 2), 1, at, after(5 + GRACE)).await;
    for (kind, key) in [(OneTime::Login, "l"), (OneTime::Code, "c"), (OneTime::Replay, "r")] {
        let key = Digest::of(key);
        assert!(world.store.put(kind, &key, b"v", after(1000), start()).await.unwrap());
    }
    world.store.use_once(OneTime::Code, &Digest::of("c"), start()).await.unwrap();
    let keys = server.keys();
    assert_eq!(keys.len(), 5);
    let mut connection = server.connect().unwrap();
    for key in &keys {
        let left: i64 = redis::cmd("PTTL").arg(key).query(&mut connection).unwrap();
        assert!(left > 0, "{key:?}: {left}");
    }
    let sessions: Vec<_> = keys.iter().filter(|key| key.starts_with(b"{s:ab}")).collect();
    assert_eq!(sessions.len(), 2);
}

/// `cargo test -- --nocapture bytes` prints the figure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_takes_less_than_300_bytes_of_redis() {
    const SESSIONS: u64 = 10_000;
    let Some(world) = World::redis().await else { return };
    let Home::Redis(server) = &world.home else { panic!() };
    world.begin(id(0, 1 << 40), known_to_nobody(), start()).await;
    world.refresh(&id(0, 1 << 40), 1, known_to_nobody(), start()).await;
    let before = server.used_memory();
    let writers: Vec<_> = (0..20)
        .map(|writer| {
            let store = world.store.clone();
            tokio::spawn(async move {
                for n in (writer..SESSIONS).step_by(20) {
                    let id =
                        id(u8::try_from(n % 256).unwrap(), n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                    let session = session(id, start());
                    let ends_at = millis(session.ends_at);
                    let idle = i64::from(IDLE) * 1000;
                    let state = RefreshState::begin(millis(start()), idle, ends_at);
                    let at = known_to_nobody();
                    store.begin(&session, &state, at, start()).await.unwrap();
                    let offer = rotating(1);
                    store.refresh(&id, &offer, at, after(60_000)).await.unwrap().unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let bytes = (server.used_memory() - before) / i64::try_from(SESSIONS).unwrap();
    eprintln!("{bytes} bytes of Redis a session");
    assert!(bytes < 300, "{bytes}");
}
