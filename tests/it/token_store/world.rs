//! A token store of a test's own, with the log that it is held against, that can be copied and restored.

use crate::harness::redis_sets::RedisCluster;
use crate::harness::{Need, met};
use crate::token_store::values::{IDLE, millis, rotating, session, start};
use chrono::TimeDelta;
use redis::{Commands as _, Connection};
use rolemint::database::{Database, DbConnection, Location, log};
use rolemint::domain::Time;
use rolemint::domain::ids::SessionId;
use rolemint::domain::revocation::{NewRevocation, RevocationTarget};
use rolemint::domain::session::{RefreshState, Refreshed, Session};
use rolemint::token_store::{EmbeddedPath, LogPosition, TokenStore};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The revocation log, in which only endings of sessions are of interest here.
pub(super) struct Log {
    pub(super) database: Database,
    _folder: Folder,
}

impl Log {
    pub(super) async fn empty() -> Self {
        let folder = Folder::new();
        let path = folder.0.join("rolemint.db").to_str().unwrap().to_owned();
        let database = Database::open(Location::Sqlite(path), 2).await.unwrap();
        database.migrate().await.unwrap();
        Self { database, _folder: folder }
    }

    /// Appends the ending of a session and answers with its position.
    pub(super) async fn append_ending(&self, id: SessionId) -> u64 {
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
pub(super) async fn no_log() -> Database {
    Database::open(Location::Sqlite(":memory:".into()), 1).await.unwrap()
}

pub(super) struct World {
    pub(super) store: TokenStore,
    pub(super) log: Log,
    pub(super) home: Home,
}

pub(super) enum Home {
    File(Folder),
    Redis(RedisServer),
    Cluster(Arc<RedisCluster>),
}

impl World {
    pub(super) async fn embedded() -> Option<Self> {
        let folder = Folder::new();
        let log = Log::empty().await;
        let path = EmbeddedPath::File(folder.0.join("tokens.db"));
        let store = TokenStore::open_embedded(path, log.database.clone()).await.unwrap();
        Some(Self { store, log, home: Home::File(folder) })
    }

    pub(super) async fn redis() -> Option<Self> {
        let server = RedisServer::start()?;
        let log = Log::empty().await;
        let store = TokenStore::open_redis(&server.url(), log.database.clone()).await.unwrap();
        Some(Self { store, log, home: Home::Redis(server) })
    }

    /// In a cluster that has nothing in it.
    pub(super) async fn cluster(cluster: &Arc<RedisCluster>) -> Self {
        cluster.flush();
        let log = Log::empty().await;
        let home = Home::Cluster(Arc::clone(cluster));
        let store = open(&home, &log).await;
        Self { store, log, home }
    }

    /// Another server on the same store, or this one started again.
    pub(super) async fn started_again(self) -> Self {
        let Self { store, log, home } = self;
        drop(store);
        let store = open(&home, &log).await;
        Self { store, log, home }
    }

    pub(super) async fn copy(self) -> (Self, Copy) {
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
    pub(super) async fn restore(self, copy: &Copy, forgetful: bool) -> Self {
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

    pub(super) async fn begin(
        &self,
        id: SessionId,
        at: LogPosition,
        now: Time,
    ) -> (Session, RefreshState) {
        let session = session(id, now);
        let state =
            RefreshState::begin(millis(now), i64::from(IDLE) * 1000, millis(session.ends_at));
        self.store.begin(&session, &state, at, now).await.unwrap();
        (session, state)
    }

    pub(super) async fn refresh(
        &self,
        id: &SessionId,
        generation: u32,
        at: LogPosition,
        now: Time,
    ) -> Option<Refreshed> {
        let offer = rotating(generation);
        self.store.refresh(id, &offer, at, now).await.unwrap().map(|(_, _, refreshed)| refreshed)
    }

    pub(super) async fn end(&self, id: SessionId) -> u64 {
        let position = self.log.append_ending(id).await;
        self.store.end(&id, position).await.unwrap();
        position
    }
}

pub(super) async fn open(home: &Home, log: &Log) -> TokenStore {
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
pub(super) type Keys = Vec<(Vec<u8>, Vec<u8>, i64)>;

pub(super) fn dump(connection: &mut Connection) -> Keys {
    let keys: Vec<Vec<u8>> = connection.keys("*").unwrap();
    let dump = |key: Vec<u8>| {
        let value = redis::cmd("DUMP").arg(&key).query(connection).unwrap();
        let left = redis::cmd("PTTL").arg(&key).query(connection).unwrap();
        (key, value, left)
    };
    keys.into_iter().map(dump).collect()
}

pub(super) fn put_back(connection: &mut Connection, keys: &Keys) {
    redis::cmd("FLUSHALL").exec(connection).unwrap();
    for (key, value, left) in keys {
        redis::cmd("RESTORE").arg(key).arg(left).arg(value).exec(connection).unwrap();
    }
}

pub(super) enum Copy {
    File(Vec<u8>),
    /// Of each server.
    Redis(Vec<Keys>),
}

pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
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
pub(super) struct RedisServer {
    pub(super) child: Child,
    pub(super) port: u16,
    pub(super) folder: Folder,
}

impl RedisServer {
    /// None: the tests are to do without servers.
    pub(super) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// None: there is no redis-server, and the test is left out.
    pub(super) fn start_with(arguments: &[&str]) -> Option<Self> {
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

    pub(super) fn start_on(
        port: u16,
        folder: Folder,
        arguments: &[&str],
    ) -> std::io::Result<Option<Self>> {
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

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.0.join("redis.sock")
    }

    pub(super) fn connect(&self) -> redis::RedisResult<Connection> {
        let mut connection = redis::Client::open(self.url())?.get_connection()?;
        redis::cmd("PING").exec(&mut connection)?;
        Ok(connection)
    }

    pub(super) fn keys(&self) -> Vec<Vec<u8>> {
        self.connect().unwrap().keys("*").unwrap()
    }

    pub(super) fn used_memory(&self) -> i64 {
        let mut connection = self.connect().unwrap();
        let info: String = redis::cmd("INFO").arg("memory").query(&mut connection).unwrap();
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        used.trim().parse().unwrap()
    }

    pub(super) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    pub(super) fn kill(&mut self) {
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
