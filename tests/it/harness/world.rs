//! Rolemint inside the test's own process: a real server on a real port, with a clock that the test moves.

use std::net::TcpListener;
use std::path::Path;

use rolemint::app::{self, Options, Running};
use rolemint::clock::Clock;
use rolemint::config::Config;
use rolemint::database::{Database, Location};
#[cfg(feature = "postgres")]
use rolemint::domain::secret::Secret;
use toml::{Table, Value};

use super::binary::Binary;
use super::deployment::Deployment;
use super::http::Browser;
use super::node::Provider;
use super::process::Output;
use super::servers::Stores;
use super::{Need, SetUp, logs};

/// As [`super::binary::Served`], but in this process.
pub(crate) struct World {
    pub(crate) issuer: String,
    pub(crate) clock: Clock,
    pub(crate) provider: Provider,
    pub(crate) deployment: Deployment,
    running: Option<Running>,
    /// Configuration and files; its process is never started.
    binary: Binary,
}

impl SetUp for World {
    const NEEDS: &'static [Need] = &[Need::Node];

    async fn set_up(stores: Stores) -> Self {
        Self::with(stores, |deployment| deployment).await
    }
}

impl World {
    /// With a deployment that is changed before it is applied.
    pub(crate) async fn with(
        stores: Stores,
        change: impl FnOnce(Deployment) -> Deployment,
    ) -> Self {
        collect_logs();
        let binary = Binary::new(stores);
        let provider = Provider::start(&binary.issuer);
        let deployment =
            Deployment::of(&provider).introspecting(&binary.issuer).with_every_kind_of_client();
        let deployment = change(deployment);
        binary.apply(&deployment).success();
        let issuer = binary.issuer.clone();
        let clock = Clock::manual(Clock::System.now());
        let mut world = Self { issuer, clock, provider, deployment, running: None, binary };
        world.start().await;
        world
    }

    pub(crate) async fn start(&mut self) {
        let running = self.run(None).await;
        assert_eq!(format!("http://{}", running.address()), self.issuer);
        self.running = Some(running);
    }

    async fn run(&self, listener: Option<TcpListener>) -> Running {
        run(&self.binary.configure(), self.clock.clone(), listener).await
    }

    /// A second server on the same stores, to be stopped by the caller; and a way to it.
    pub(crate) async fn another_node(&self) -> (Running, Browser) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let running = self.run(Some(listener)).await;
        let browser = Browser::new(&format!("http://{}", running.address()));
        (running, browser)
    }

    /// Waits until every thread that serves has its token store back.
    pub(crate) async fn is_ready_again(&self) {
        let ready = async || {
            // Each connection is a thread's.
            for _ in 0..24 {
                if self.browser().get("/readyz").await.status != 200 {
                    return None;
                }
            }
            Some(())
        };
        super::soon("readiness", ready).await;
    }

    /// Stops it and starts it with another configuration.
    pub(crate) async fn reconfigure(&mut self, change: impl FnOnce(&mut Table)) {
        self.stop().await;
        change(&mut self.binary.configuration);
        self.start().await;
    }

    pub(crate) async fn stop(&mut self) {
        self.running.take().unwrap().stop().await.unwrap();
    }

    /// The same server, with one more key in its configuration.
    pub(crate) async fn restart_with(&mut self, section: &str, key: &str, value: impl Into<Value>) {
        self.stop().await;
        let configuration = &mut self.binary.configuration;
        let section = configuration.entry(section).or_insert_with(|| Table::new().into());
        section.as_table_mut().unwrap().insert(key.to_owned(), value.into());
        self.start().await;
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.issuer)
    }

    /// `rolemint apply` of [`World::deployment`], while the server runs; `prune` names what it deletes.
    pub(crate) fn apply(&self, prune: &[&str]) {
        let path = self.deployment.write(self.binary.folder());
        let mut arguments = vec!["apply", "--yes", path.to_str().unwrap()];
        arguments.extend(prune.iter().flat_map(|entry| ["--prune", *entry]));
        self.binary.command(&arguments).success();
    }

    pub(crate) async fn can_read_the_log(&self) -> bool {
        self.running.as_ref().unwrap().catch_up().await.is_ok()
    }

    /// What was applied before counts when this returns.
    pub(crate) async fn catch_up(&self) {
        self.running.as_ref().unwrap().catch_up().await.unwrap();
    }

    /// From now on tenants may have their own version of the role `data-entry`, below this document.
    pub(crate) fn allow_own_versions(&mut self, ceiling: &str) {
        std::fs::write(self.folder().join("ceiling.json"), ceiling).unwrap();
        let role = self.deployment.role("data-entry");
        role.insert("ceiling".to_owned(), "ceiling.json".into());
        self.apply(&[]);
    }

    /// A command that takes `--config`, beside the server, in the folder of its files.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        self.binary.command(arguments)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.binary.folder()
    }

    /// `rolemint.toml`, as the server has read it.
    pub(crate) fn configuration(&self) -> &Table {
        &self.binary.configuration
    }

    /// The database, beside the server.
    pub(crate) async fn database(&self) -> Database {
        open(&self.binary.stores.database_url).await
    }

    pub(crate) fn stores(&mut self) -> &mut Stores {
        &mut self.binary.stores
    }
}

/// A server in this process; without a listener it binds the configured address.
pub(super) async fn run(path: &Path, clock: Clock, listener: Option<TcpListener>) -> Running {
    let config = Config::load(Some(path), std::iter::empty()).unwrap();
    app::start(config, Options { clock, extra_routes: None, listener }).await.unwrap()
}

/// A database of the tests, by its URL.
pub(crate) async fn open(url: &str) -> Database {
    open_with(url, 2).await
}

/// With so many connections at most.
pub(crate) async fn open_with(url: &str, connections: u32) -> Database {
    let location = match url.strip_prefix("sqlite:") {
        Some(path) => Location::Sqlite(path.to_owned()),
        #[cfg(feature = "postgres")]
        None => Location::Postgres(Secret::new(url.to_owned())),
        #[cfg(not(feature = "postgres"))]
        None => panic!("a build without PostgreSQL"),
    };
    Database::open(location, connections).await.unwrap()
}

/// Everything that the servers of this process log goes into one file of the log folder.
fn collect_logs() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let file = logs::open(&logs::file("in-process"));
        tracing_subscriber::fmt()
            .with_env_filter("info,rolemint=trace")
            .with_ansi(false)
            .with_writer(std::sync::Mutex::new(file))
            .init();
    });
}
