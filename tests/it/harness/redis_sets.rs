//! Redis as it is run where it must not be away: a cluster, and a server whose place others take when Sentinels say
//! so. All on loopback, for one test alone.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::process::{Server, Start, until};
use super::servers::scratch;
use super::{free_port, needs, secrets, unguessable};

const LIMIT: Duration = Duration::from_secs(60);
/// A node that says nothing for so long has failed.
const SILENCE: &str = "2000";
const SLOTS: usize = 16_384;

/// One redis-server among several.
pub(crate) struct Node {
    name: String,
    folder: TempDir,
    port: u16,
    password: String,
    arguments: Vec<String>,
    server: Option<Server>,
}

impl Node {
    fn start(name: String, password: &str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (folder, port, password) = (scratch(), free_port(), password.to_owned());
        let mut node = Self { name, folder, port, password, arguments, server: None };
        node.start_again();
        node
    }

    /// After a kill: on the same port, with what it has on disk.
    pub(crate) fn start_again(&mut self) {
        let mut command = Command::new(needs::on_path("redis-server").unwrap());
        command.current_dir(self.folder.path());
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--requirepass", &self.password, "--masterauth", &self.password]);
        command.args(["--repl-diskless-sync-delay", "0"]).args(&self.arguments);
        let mut server = Start::new(&self.name, &command).run();
        server.wait_until("an answer", |_| self.ask::<String>(&["PING"]));
        self.server = Some(server);
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.server.take().unwrap().kill();
    }

    /// It is there, and answers nothing.
    pub(crate) fn pause(&mut self) {
        self.server.as_mut().unwrap().signal("STOP");
    }

    pub(crate) fn resume(&mut self) {
        self.server.as_mut().unwrap().signal("CONT");
    }

    pub(crate) fn runs(&self) -> bool {
        self.server.is_some()
    }

    /// None: it does not answer, or with something else.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> Option<T> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(1)).ok()?;
        connection.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut question = redis::cmd(command[0]);
        question.arg(&command[1..]).query(&mut connection).ok()
    }

    fn tell(&self, command: &[&str]) {
        let what = format!("{}: {command:?}", self.name);
        until(&what, LIMIT, || self.ask::<redis::Value>(command));
    }

    fn url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}/0", self.password, self.port)
    }

    /// A line of `INFO replication`.
    fn replication(&self, name: &str) -> Option<String> {
        let info: String = self.ask(&["INFO", "replication"])?;
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(value.trim().to_owned())
    }

    pub(crate) fn leads(&self) -> bool {
        self.replication("role").as_deref() == Some("master")
    }

    fn follows_well(&self) -> bool {
        self.replication("master_link_status").as_deref() == Some("up")
    }
}

/// Three that lead, each with a replica.
pub(crate) struct RedisCluster {
    pub(crate) nodes: Vec<Node>,
}

impl RedisCluster {
    pub(crate) fn start() -> Self {
        let password = unguessable();
        secrets::note(&password);
        let buses: Vec<_> = (0..6).map(|_| free_port().to_string()).collect();
        let start = |(number, bus): (usize, &String)| {
            let arguments = ["--cluster-enabled", "yes", "--cluster-port", bus];
            let timeout = ["--cluster-node-timeout", SILENCE];
            let arguments = [&arguments[..], &timeout].concat();
            Node::start(format!("cluster-{number}"), &password, &arguments)
        };
        let nodes: Vec<_> = buses.iter().enumerate().map(start).collect();
        for (number, node) in nodes.iter().enumerate() {
            node.tell(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            if number < 3 {
                let [from, to] = [number, number + 1].map(|third| third * SLOTS / 3);
                let (from, to) = (from.to_string(), (to - 1).to_string());
                node.tell(&["CLUSTER", "ADDSLOTSRANGE", &from, &to]);
            }
        }
        for (node, bus) in nodes.iter().zip(&buses).skip(1) {
            let port = node.port.to_string();
            nodes[0].tell(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]);
        }
        let cluster = Self { nodes };
        until("nodes that know each other", LIMIT, || {
            let knows_all = |node: &Node| {
                let known: Option<String> = node.ask(&["CLUSTER", "NODES"]);
                known.is_some_and(|known| known.matches(" connected").count() == 6)
            };
            cluster.nodes.iter().all(knows_all).then_some(())
        });
        for number in 3..6 {
            let leader: String = cluster.nodes[number - 3].ask(&["CLUSTER", "MYID"]).unwrap();
            cluster.nodes[number].tell(&["CLUSTER", "REPLICATE", &leader]);
        }
        until("a cluster", LIMIT, || {
            let followers = cluster.nodes[3..].iter().all(Node::follows_well);
            (followers && cluster.is_well()).then_some(())
        });
        cluster
    }

    pub(crate) fn url(&self) -> String {
        let seeds: Vec<_> =
            self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://:{}@{}", self.nodes[0].password, seeds.join(","))
    }

    fn is_well(&self) -> bool {
        let well = |node: &Node| {
            let state: Option<String> = node.ask(&["CLUSTER", "INFO"]);
            state.is_some_and(|state| state.contains("cluster_state:ok"))
        };
        self.nodes.iter().filter(|node| node.runs()).all(well)
    }

    /// The numbers of those that lead.
    pub(crate) fn leaders(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|number| self.nodes[*number].leads()).collect()
    }

    /// Until all that run agree that the cluster serves.
    pub(crate) fn heals(&self) {
        until("a cluster that is well again", LIMIT, || self.is_well().then_some(()));
    }

    /// To each that leads, in the order of their numbers.
    pub(crate) fn connections(&self) -> Vec<redis::Connection> {
        let connect = |number: usize| {
            let client = redis::Client::open(self.nodes[number].url()).unwrap();
            client.get_connection().unwrap()
        };
        self.leaders().into_iter().map(connect).collect()
    }

    pub(crate) fn flush(&self) {
        for leader in self.leaders() {
            self.nodes[leader].tell(&["FLUSHALL"]);
        }
    }
}

/// One that leads and two replicas, watched by three Sentinels.
pub(crate) struct Watched {
    pub(crate) servers: Vec<Node>,
    pub(crate) sentinels: Vec<Sentinel>,
    pub(crate) sentinel_password: String,
}

pub(crate) struct Sentinel {
    _folder: TempDir,
    port: u16,
    password: String,
    server: Option<Server>,
}

impl Watched {
    pub(crate) fn start() -> Self {
        let (password, sentinel_password) = (unguessable(), unguessable());
        secrets::note(&password);
        secrets::note(&sentinel_password);
        let leader = Node::start("watched-0".to_owned(), &password, &[]);
        let port = leader.port.to_string();
        let follow = |number| {
            let arguments = ["--replicaof", "127.0.0.1", &port];
            Node::start(format!("watched-{number}"), &password, &arguments)
        };
        let servers = vec![leader, follow(1), follow(2)];
        until("replicas", LIMIT, || servers[1..].iter().all(Node::follows_well).then_some(()));
        let sentinels = (0..3).map(|_| Sentinel::start(&servers[0], &sentinel_password)).collect();
        let watched = Self { servers, sentinels, sentinel_password };
        until("Sentinels that know each other", LIMIT, || {
            let knows_all = |sentinel: &Sentinel| sentinel.knows(2, 2);
            watched.sentinels.iter().all(knows_all).then_some(())
        });
        watched
    }

    pub(crate) fn url(&self) -> String {
        let sentinels: Vec<_> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis+sentinel://:{}@{}/main/0", self.servers[0].password, sentinels.join(","))
    }

    /// The number of the server that the Sentinels say leads.
    pub(crate) fn leader(&self) -> usize {
        let place = self.sentinels.iter().find_map(Sentinel::leader).unwrap();
        self.servers.iter().position(|server| server.port == place).unwrap()
    }

    /// Until the Sentinels have another one lead than this.
    pub(crate) fn replaces(&self, server: usize) {
        until("another server that leads", LIMIT, || {
            let leader = self.leader();
            (leader != server && self.servers[leader].leads()).then_some(())
        });
    }
}

impl Sentinel {
    fn start(leader: &Node, password: &str) -> Self {
        let (folder, port) = (scratch(), free_port());
        let mut settings = String::new();
        for line in [
            format!("port {port}"),
            "bind 127.0.0.1".to_owned(),
            format!("requirepass {password}"),
            format!("sentinel sentinel-pass {password}"),
            format!("sentinel monitor main 127.0.0.1 {} 2", leader.port),
            format!("sentinel auth-pass main {}", leader.password),
            format!("sentinel down-after-milliseconds main {SILENCE}"),
            "sentinel failover-timeout main 5000".to_owned(),
        ] {
            writeln!(settings, "{line}").unwrap();
        }
        fs::write(folder.path().join("sentinel.conf"), settings).unwrap();
        let mut command = Command::new(needs::on_path("redis-server").unwrap());
        command.current_dir(folder.path()).args(["sentinel.conf", "--sentinel"]);
        let mut sentinel =
            Self { _folder: folder, port, password: password.to_owned(), server: None };
        let mut server = Start::new("sentinel", &command).run();
        server.wait_until("an answer", |_| sentinel.leader());
        sentinel.server = Some(server);
        sentinel
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.server.take().unwrap().kill();
    }

    fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> Option<T> {
        let url = format!("redis://:{}@127.0.0.1:{}", self.password, self.port);
        let client = redis::Client::open(url).unwrap();
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(1)).ok()?;
        redis::cmd("SENTINEL").arg(command).query(&mut connection).ok()
    }

    /// The port of the server that leads.
    fn leader(&self) -> Option<u16> {
        let (_, port): (String, u16) = self.ask(&["GET-MASTER-ADDR-BY-NAME", "main"])?;
        Some(port)
    }

    fn knows(&self, replicas: usize, others: usize) -> bool {
        let state: Option<HashMap<String, String>> = self.ask(&["MASTER", "main"]);
        state.is_some_and(|state| {
            let number = |name: &str| state.get(name).and_then(|text| text.parse().ok());
            number("num-slaves") == Some(replicas) && number("num-other-sentinels") == Some(others)
        })
    }
}
