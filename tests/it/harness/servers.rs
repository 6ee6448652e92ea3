//! Real servers, started for the tests alone: Redis (one for each test that wants it) and PostgreSQL (one
//! cluster for the test run, a database for each test).

use std::fmt::{self, Write as _};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use toml::Table;

use super::needs::{self, Need};
use super::process::{Server, Start, output, until};
use super::proxy::Proxy;
use super::{free_port, secrets, unguessable};

const LIMIT: Duration = Duration::from_secs(60);

/// A folder outside the repository, since PostgreSQL's own user must reach it and a socket's path is short.
pub(crate) fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("rolemint-test-").tempdir().unwrap()
}

pub(crate) struct Redis {
    folder: TempDir,
    port: u16,
    password: String,
    durable: bool,
    server: Option<Server>,
}

impl Redis {
    /// One that keeps everything in memory.
    pub(crate) fn start() -> Self {
        Self::with(false)
    }

    /// One that has written every change to its file before it answers.
    pub(crate) fn durable() -> Self {
        Self::with(true)
    }

    fn with(durable: bool) -> Self {
        let password = unguessable();
        secrets::note(&password);
        let mut redis =
            Self { folder: scratch(), port: free_port(), password, durable, server: None };
        redis.start_again();
        redis
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}/0", self.password, self.port)
    }

    pub(crate) fn connection(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.server.take().unwrap().kill();
    }

    /// After [`Redis::kill`]: on the same port and, if it is durable, with what it held.
    pub(crate) fn start_again(&mut self) {
        let mut command = Command::new(needs::on_path("redis-server").unwrap());
        command.current_dir(self.folder.path());
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--requirepass", &self.password, "--save", "", "--daemonize", "no"]);
        command.args(["--appendonly", if self.durable { "yes" } else { "no" }]);
        command.args(["--appendfsync", "always"]);
        let mut server = Start::new("redis", &command).run();
        server.wait_until("an answer", |_| {
            let client = redis::Client::open(self.url()).unwrap();
            let mut connection = client.get_connection_with_timeout(Duration::from_secs(1)).ok()?;
            redis::cmd("PING").query::<String>(&mut connection).ok()
        });
        self.server = Some(server);
    }

    /// It is there, and answers nothing, until [`Redis::resume`].
    /// Returns when the process has really stopped: a signal is taken a moment after it is sent.
    pub(crate) fn pause(&mut self) {
        self.server.as_mut().unwrap().signal("STOP");
        let stat = format!("/proc/{}/stat", self.pid());
        until("the pause", Duration::from_secs(10), || {
            let stat = fs::read_to_string(&stat).ok()?;
            let (_, state) = stat.rsplit_once(") ")?;
            state.starts_with('T').then_some(())
        });
    }

    pub(crate) fn resume(&mut self) {
        self.server.as_mut().unwrap().signal("CONT");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().pid()
    }
}

/// The one cluster of this test run. It has TLS on, with a certificate of its own.
pub(crate) struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    password: String,
    /// Held for its pipe: when this process ends, the cluster does.
    server: Server,
}

impl Postgres {
    pub(crate) fn shared() -> &'static Self {
        static CLUSTER: OnceLock<Postgres> = OnceLock::new();
        CLUSTER.get_or_init(Self::start)
    }

    /// A cluster for a test that ends it.
    pub(crate) fn start() -> Self {
        let programs = needs::postgres_programs().unwrap();
        let folder = scratch().keep();
        let user = server_user();
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid)).unwrap();
        }
        let run = |program: &Path, arguments: &[&str]| {
            let mut command = as_server_user(program, user);
            output(command.current_dir(&folder).args(arguments), LIMIT).success()
        };
        run(
            &programs.join("initdb"),
            &[
                "-D",
                "data",
                "-U",
                "postgres",
                "--auth=trust",
                "--no-sync",
                "-E",
                "UTF8",
                "--locale=C",
            ],
        );
        let openssl = needs::on_path("openssl").unwrap();
        for name in ["server", "stranger"] {
            let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
            let subject_names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
            #[rustfmt::skip]
            let arguments = [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", "/CN=localhost", "-addext", subject_names,
                "-keyout", &key, "-out", &certificate,
            ];
            run(&openssl, &arguments);
        }
        let rules = "local all all trust\n\
                     hostnossl all over_tls all reject\n\
                     host all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(folder.join("data/pg_hba.conf"), rules).unwrap();
        for file in ["server.crt", "stranger.crt"] {
            fs::set_permissions(folder.join(file), Permissions::from_mode(0o644)).unwrap();
        }
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();

        let port = free_port();
        let mut settings = String::new();
        for (name, value) in [
            ("listen_addresses", "127.0.0.1"),
            ("port", &port.to_string()),
            ("unix_socket_directories", folder.to_str().unwrap()),
            ("max_connections", "200"),
            ("shared_buffers", "32MB"),
            ("fsync", "off"),
            ("ssl", "on"),
            ("ssl_cert_file", folder.join("server.crt").to_str().unwrap()),
            ("ssl_key_file", folder.join("server.key").to_str().unwrap()),
        ] {
            writeln!(settings, "{name} = '{value}'").unwrap();
        }
        let configuration = folder.join("data/postgresql.auto.conf");
        fs::write(configuration, settings).unwrap();

        let mut command = as_server_user(&programs.join("postgres"), user);
        command.current_dir(&folder).args(["-D", "data"]);
        let start =
            Start { end: "QUIT", remove: Some(&folder), ..Start::new("postgres", &command) };
        let mut server = start.run();
        server.wait_for("readiness", |log| {
            log.contains("database system is ready to accept connections").then_some(())
        });
        let password = unguessable();
        secrets::note(&password);
        let cluster = Self { programs, folder, port, password, server };
        for role in ["rolemint", "over_tls"] {
            cluster.sql(
                "postgres",
                &format!("create role {role} login password '{}'", cluster.password),
            );
        }
        cluster
    }

    /// A new, empty database; its URL.
    pub(crate) fn database(&self) -> String {
        let name = self.create_database("rolemint");
        format!(
            "postgres://rolemint:{}@127.0.0.1:{}/{name}?sslmode=disable",
            self.password, self.port
        )
    }

    /// A new, empty database that only a connection with TLS reaches; its URL, in which the server is
    /// checked against `trusted`.
    pub(crate) fn database_over_tls(&self, trusted: Trusted) -> String {
        let name = self.create_database("over_tls");
        let root = self.folder.join(match trusted {
            Trusted::TheServer => "server.crt",
            Trusted::AStranger => "stranger.crt",
        });
        format!(
            "postgres://over_tls:{}@localhost:{}/{name}?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={}",
            self.password,
            self.port,
            root.display(),
        )
    }

    fn create_database(&self, owner: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("create database {name} owner {owner}"));
        name
    }

    /// Runs SQL as the superuser; what it printed, a row a line, columns parted by `|`.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"]);
        psql.arg(&self.folder).args(["-p", &self.port.to_string(), "-d", database, "-c", sql]);
        output(&mut psql, LIMIT).success().trim_end().to_owned()
    }

    /// Changes a setting of the running cluster, for connections that are open too.
    pub(crate) fn set(&self, name: &str, value: &str) {
        self.sql("postgres", &format!("alter system set {name} = '{value}'"));
        self.sql("postgres", "select pg_reload_conf()");
        // The connection of each look is new.
        until("the setting", LIMIT, || {
            let now = self.sql("postgres", &format!("show {name}"));
            (now == value).then_some(())
        });
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Trusted {
    TheServer,
    AStranger,
}

/// PostgreSQL refuses to run as root: then it runs as the user that its package made.
fn server_user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> u32 {
        let text = output(Command::new("id").args(arguments), LIMIT).success();
        text.trim().parse().unwrap()
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

fn as_server_user(program: &Path, user: Option<(u32, u32)>) -> Command {
    let Some((uid, gid)) = user else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={uid}"), format!("--regid={gid}")]);
    command.args(["--clear-groups", "--"]).arg(program);
    command
}

/// The two forms in which Rolemint keeps things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pair {
    SqliteEmbedded,
    PostgresRedis,
}

impl Pair {
    pub(crate) fn needs(self) -> &'static [Need] {
        match self {
            Self::SqliteEmbedded => &[],
            Self::PostgresRedis => &[Need::Postgres, Need::Redis],
        }
    }
}

/// An empty database and an empty token store, for one test.
pub(crate) struct Stores {
    pub(crate) pair: Pair,
    pub(crate) folder: TempDir,
    pub(crate) database_url: String,
    pub(crate) redis: Option<Redis>,
    /// Between Rolemint and Redis, where a test has put one.
    pub(crate) wire: Option<Box<Proxy>>,
    /// The section `[token_store]`, where it is none of these.
    pub(crate) elsewhere: Option<Box<Table>>,
}

impl Stores {
    pub(crate) fn start(pair: Pair) -> Self {
        let folder = scratch();
        match pair {
            Pair::SqliteEmbedded => {
                let database_url = format!("sqlite:{}/rolemint.db", folder.path().display());
                Self { pair, folder, database_url, redis: None, wire: None, elsewhere: None }
            }
            Pair::PostgresRedis => {
                let database_url = Postgres::shared().database();
                Self {
                    pair,
                    folder,
                    database_url,
                    redis: Some(Redis::start()),
                    wire: None,
                    elsewhere: None,
                }
            }
        }
    }

    /// Rolemint reaches Redis by way of a proxy.
    #[must_use]
    pub(crate) fn over_a_wire(mut self) -> Self {
        self.wire = self.redis.as_ref().map(|redis| Box::new(Proxy::before(&redis.url())));
        self
    }

    /// The token store is what this section of the configuration names.
    #[must_use]
    pub(crate) fn elsewhere(mut self, token_store: Table) -> Self {
        self.redis = None;
        self.elsewhere = Some(Box::new(token_store));
        self
    }

    /// The section `[token_store]` of a configuration.
    pub(crate) fn token_store(&self) -> Table {
        match &self.elsewhere {
            Some(elsewhere) => Table::clone(elsewhere),
            None => Table::from_iter([("url".to_owned(), self.token_store_url().into())]),
        }
    }

    pub(crate) fn token_store_url(&self) -> String {
        if let Some(wire) = &self.wire {
            return wire.url().to_owned();
        }
        match &self.redis {
            Some(redis) => redis.url(),
            None => format!("embedded:{}/tokens.db", self.folder.path().display()),
        }
    }
}

/// All that a token store held at some moment.
pub(crate) enum TokenStoreCopy {
    File(Vec<u8>),
    /// Keys, values, and the milliseconds that they have left.
    Redis(Vec<(Vec<u8>, Vec<u8>, i64)>),
}

/// To be used while no server runs: the embedded store is its server's alone.
impl Stores {
    pub(crate) fn copy_token_store(&self) -> TokenStoreCopy {
        let Some(redis) = &self.redis else {
            return TokenStoreCopy::File(fs::read(self.file()).unwrap());
        };
        let mut connection = redis.connection();
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
        let mut dump = |key: Vec<u8>| {
            let value = redis::cmd("DUMP").arg(&key).query(&mut connection).unwrap();
            let left = redis::cmd("PTTL").arg(&key).query(&mut connection).unwrap();
            (key, value, left)
        };
        TokenStoreCopy::Redis(keys.into_iter().map(&mut dump).collect())
    }

    pub(crate) fn put_back_token_store(&self, copy: &TokenStoreCopy) {
        match (copy, &self.redis) {
            (TokenStoreCopy::File(bytes), None) => fs::write(self.file(), bytes).unwrap(),
            (TokenStoreCopy::Redis(keys), Some(redis)) => {
                let mut connection = redis.connection();
                redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
                for (key, value, left) in keys {
                    let mut restore = redis::cmd("RESTORE");
                    restore.arg(key).arg(left).arg(value).exec(&mut connection).unwrap();
                }
            }
            _ => panic!("a copy of another store"),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("tokens.db")
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.pair)
    }
}
