//! Rolemint as its users run it: the executable, a configuration file, a deployment file.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use regex::Regex;
use tempfile::TempDir;
use toml::{Table, Value};

use super::deployment::Deployment;
use super::flow::REDIRECT_URI;
use super::http::Browser;
use super::node::{self, Provider};
use super::process::{Output, Server, Start, output};
use super::servers::{Stores, scratch};
use super::{Need, SetUp, free_port, secrets, unguessable};

const LIMIT: Duration = Duration::from_secs(60);

/// The executable with nothing of this environment that could configure it, and all it logs.
fn rolemint() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rolemint"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ROLEMINT_") {
            command.env_remove(name);
        }
    }
    command.env("RUST_LOG", "info,rolemint=trace").env("RUST_BACKTRACE", "1");
    command
}

/// Runs a command of the executable to its end.
pub(crate) fn command<S: AsRef<OsStr>>(arguments: &[S], folder: &Path) -> Output {
    output(rolemint().args(arguments).current_dir(folder), LIMIT)
}

/// The address of a log line that says that a server listens.
fn listening(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("listening on http://127.0.0.1:")?;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    // The line may not be all there yet.
    (rest.len() > port.len()).then(|| format!("http://127.0.0.1:{port}"))
}

/// `rolemint serve` on stores of its own, with an external provider: made, but not started, by [`Binary::new`].
pub(crate) struct Binary {
    pub(crate) issuer: String,
    /// `rolemint.toml`: to be changed as a test likes before a start.
    pub(crate) configuration: Table,
    // Before the stores, which it uses, and the folder in them, which is removed with them.
    server: Option<Server>,
    pub(crate) stores: Stores,
}

impl Binary {
    pub(crate) fn new(stores: Stores) -> Self {
        let port = free_port();
        let issuer = format!("http://127.0.0.1:{port}");
        let encryption_key = unguessable();
        secrets::note(&encryption_key);
        let table = |entries: &[(&str, &str)]| {
            let value = |text: &str| Value::String(text.to_owned());
            let entries = entries.iter().map(|(name, text)| ((*name).to_owned(), value(text)));
            entries.collect::<Table>()
        };
        let listen = format!("127.0.0.1:{port}");
        let mut configuration = table(&[("issuer", &issuer), ("listen", &listen)]);
        for (section, entries) in [
            ("database", table(&[("url", &stores.database_url)])),
            ("token_store", stores.token_store()),
            ("keys", table(&[("encryption_key", &encryption_key)])),
            ("log", table(&[("format", "json")])),
        ] {
            configuration.insert(section.to_owned(), Value::Table(entries));
        }
        Self { issuer, configuration, server: None, stores }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.stores.folder.path()
    }

    /// Writes the configuration; its path.
    pub(crate) fn configure(&self) -> PathBuf {
        let path = self.folder().join("rolemint.toml");
        fs::write(&path, self.configuration.to_string()).unwrap();
        path
    }

    /// Runs a command that takes `--config`, to its end.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        let configuration = self.configure();
        let mut arguments: Vec<_> = arguments.iter().map(OsStr::new).collect();
        arguments.extend([OsStr::new("--config"), configuration.as_os_str()]);
        command(&arguments, self.folder())
    }

    /// `rolemint apply`.
    pub(crate) fn apply(&self, deployment: &Deployment) -> Output {
        let path = deployment.write(self.folder());
        self.command(&["apply", path.to_str().unwrap()])
    }

    /// `rolemint serve`, until it listens.
    pub(crate) fn start(&mut self) {
        let mut server = self.launch();
        let address = server.wait_for("listening", listening);
        assert_eq!(address, self.issuer);
        self.server = Some(server);
    }

    /// `rolemint serve`, without waiting for anything: for one that is to refuse.
    pub(crate) fn launch(&self) -> Server {
        let mut command = rolemint();
        command.current_dir(self.folder()).args(["serve", "--config"]).arg(self.configure());
        Start::new("rolemint", &command).run()
    }

    /// Another node of the same issuer on the same stores, and its address.
    pub(crate) fn start_another(&self) -> (Server, String) {
        let port = free_port();
        let mut configuration = self.configuration.clone();
        let listen = Value::String(format!("127.0.0.1:{port}"));
        configuration.insert("listen".to_owned(), listen);
        let path = self.folder().join(format!("rolemint-{port}.toml"));
        fs::write(&path, configuration.to_string()).unwrap();
        let mut command = rolemint();
        command.current_dir(self.folder()).args(["serve", "--config"]).arg(path);
        let mut server = Start::new("rolemint", &command).run();
        let address = server.wait_for("listening", listening);
        (server, address)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().pid()
    }

    /// SIGKILL; then [`Binary::start`] starts it on what it left.
    pub(crate) fn kill(&mut self) {
        self.server.take().unwrap().kill();
    }

    /// SIGTERM; its exit status.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.server.take().unwrap().terminate()
    }

    pub(crate) fn kill_and_start(&mut self) {
        self.kill();
        self.start();
    }

    /// A person's browser, or a program, at this server.
    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.issuer)
    }
}

/// `rolemint serve` with the sample tenants, running, and the external provider that they sign in at.
pub(crate) struct Served {
    pub(crate) rolemint: Binary,
    pub(crate) provider: Provider,
    pub(crate) deployment: Deployment,
}

impl Served {
    /// Dana signs in at the public client `web`: what the client says of it, with its `tokens`.
    pub(crate) async fn sign_in(&self) -> serde_json::Value {
        node::client(serde_json::json!({
            "command": "sign-in",
            "issuer": self.rolemint.issuer,
            "client_id": "web",
            "redirect_uri": REDIRECT_URI,
            "username": "dana",
            "parameters": { "tenant": "acme" },
            "id_token_alg": "EdDSA",
        }))
        .await
    }
}

impl SetUp for Served {
    const NEEDS: &'static [Need] = &[Need::Node];

    async fn set_up(stores: Stores) -> Self {
        let mut rolemint = Binary::new(stores);
        let provider = Provider::start(&rolemint.issuer);
        let deployment = Deployment::of(&provider).introspecting(&rolemint.issuer);
        rolemint.apply(&deployment).success();
        rolemint.start();
        Self { rolemint, provider, deployment }
    }
}

/// `rolemint dev`, running.
pub(crate) struct Dev {
    pub(crate) base: String,
    server: Server,
    _folder: TempDir,
}

impl Dev {
    pub(crate) fn start() -> Self {
        let folder = scratch();
        let data = folder.path().join("data");
        let mut command = rolemint();
        command.current_dir(folder.path()).args(["dev", "--port", "0", "--provider-port", "0"]);
        command.arg("--data-dir").arg(data);
        let mut server = Start::new("dev", &command).run();
        server.wait_for("listening", listening);
        let base = server.wait_for("the address of the sample app", |log| {
            let address = Regex::new(r"(http://127\.0\.0\.1:\d+)/demo\b").unwrap();
            Some(address.captures(log)?[1].to_owned())
        });
        Self { base, server, _folder: folder }
    }

    /// All it has printed.
    pub(crate) fn printed(&self) -> String {
        self.server.log()
    }

    pub(crate) fn terminate(self) -> ExitStatus {
        self.server.terminate()
    }
}
