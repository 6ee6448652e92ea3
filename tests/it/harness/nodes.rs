//! Several servers on one database and one token store, in this process: each with an address and a
//! clock of its own and, where a test puts something in between, with its own way to the stores.

use std::net::TcpListener;

use chrono::TimeDelta;
use rolemint::app::Running;
use rolemint::clock::Clock;
use serde_json::Value;
use toml::Table;

use super::deployment::Deployment;
use super::http::{Answer, Browser};
use super::servers::{Pair, Stores};
use super::world::{self, World};
use super::{Need, SetUp};

/// The nodes of an installation. On the embedded stores, which no two servers share, there is one.
pub(crate) struct Nodes {
    /// The first: people sign in here, since it has the address of the issuer.
    pub(crate) world: World,
    nodes: Vec<Node>,
}

/// How a node differs from the first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Apart {
    /// How far its clock is ahead of the first one's.
    pub(crate) ahead: TimeDelta,
    /// The way to the stores, where it is not the first one's: through a proxy.
    pub(crate) database_url: Option<String>,
    pub(crate) token_store_url: Option<String>,
}

struct Node {
    clock: Clock,
    client: Browser,
    /// None: the first, which its world runs, or one that was stopped.
    running: Option<Running>,
}

impl SetUp for Nodes {
    const NEEDS: &'static [Need] = &[Need::Node];

    /// Three, whose clocks are five seconds apart.
    async fn set_up(stores: Stores) -> Self {
        let several = stores.pair == Pair::PostgresRedis;
        let mut nodes = Self::one(stores, |deployment| deployment).await;
        for ahead in if several { &[5, -5][..] } else { &[] } {
            nodes.add(Apart { ahead: TimeDelta::seconds(*ahead), ..Apart::default() }).await;
        }
        nodes
    }
}

impl Nodes {
    /// The first alone, with a deployment that is changed before it is applied.
    pub(crate) async fn one(stores: Stores, change: impl FnOnce(Deployment) -> Deployment) -> Self {
        let world = World::with(stores, change).await;
        let client = world.browser();
        let first = Node { clock: world.clock.clone(), client, running: None };
        Self { world, nodes: vec![first] }
    }

    /// One more, on the stores of the first; its number.
    pub(crate) async fn add(&mut self, apart: Apart) -> usize {
        let number = self.nodes.len();
        let mut configuration = self.world.configuration().clone();
        let mut point = |section: &str, url: Option<String>| {
            let Some(url) = url else { return };
            let section = configuration[section].as_table_mut().unwrap();
            section.insert("url".to_owned(), url.into());
        };
        point("database", apart.database_url);
        point("token_store", apart.token_store_url);
        let path = self.world.folder().join(format!("node-{number}.toml"));
        std::fs::write(&path, Table::to_string(&configuration)).unwrap();
        let clock = Clock::manual(self.world.clock.now() + apart.ahead);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let running = world::run(&path, clock.clone(), Some(listener)).await;
        let client = Browser::new(&format!("http://{}", running.address()));
        self.nodes.push(Node { clock, client, running: Some(running) });
        number
    }

    /// Ends a node other than the first, as a server that is told to.
    pub(crate) async fn stop(&mut self, node: usize) {
        self.nodes[node].running.take().unwrap().stop().await.unwrap();
    }

    pub(crate) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// `127.0.0.1` and the port that it listens on.
    pub(crate) fn address(&self, node: usize) -> String {
        self.nodes[node].client.url("/").authority().to_owned()
    }

    pub(crate) fn client(&self, node: usize) -> &Browser {
        &self.nodes[node].client
    }

    /// Moves all clocks; they stay as far apart as they are.
    pub(crate) fn advance(&self, by: TimeDelta) {
        self.nodes.iter().for_each(|node| node.clock.advance(by));
    }

    pub(crate) async fn refresh(&self, node: usize, client: &str, token: &Value) -> Answer {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token.as_str().unwrap())];
        self.world.post_at(&self.nodes[node].client, client, "/oauth2/token", &form).await
    }

    pub(crate) async fn revoke(&self, node: usize, client: &str, token: &Value) -> Answer {
        let form = [("token", token.as_str().unwrap())];
        self.world.post_at(&self.nodes[node].client, client, "/oauth2/revoke", &form).await
    }

    pub(crate) async fn introspect(&self, node: usize, token: &Value) -> Answer {
        let form = [("token", token.as_str().unwrap())];
        self.world.post_at(&self.nodes[node].client, "backend", "/oauth2/introspect", &form).await
    }
}
