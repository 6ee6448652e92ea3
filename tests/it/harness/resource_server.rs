//! The example of a resource server (`examples/resource_server.rs`) as a process.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::http::{Answer, Browser};
use super::process::{Server, Start};
use super::world::World;

/// Beside the executable, where `cargo test` has built it.
pub(crate) fn example() -> PathBuf {
    let programs = PathBuf::from(env!("CARGO_BIN_EXE_rolemint"));
    programs.with_file_name("examples").join("resource_server")
}

pub(crate) struct ResourceServer {
    browser: Browser,
    _server: Server,
}

impl ResourceServer {
    /// For the audience that the client `api` introspects, with more of its environment.
    pub(crate) fn start(world: &World, more: &[(&str, &str)]) -> Self {
        let mut command = Command::new(example());
        command
            .env("ISSUER", &world.issuer)
            .env("AUDIENCE", super::flow::API)
            .env("CLIENT_ID", "api")
            .env("CLIENT_SECRET", world.deployment.client_secret("api"))
            .env("LISTEN", "127.0.0.1:0")
            .envs(more.iter().copied());
        let mut server = Start::new("resource-server", &command).run();
        let base = server.wait_for("listening", |log| {
            let (_, rest) = log.split_once("listening on ")?;
            rest.contains('\n').then(|| rest.lines().next().unwrap().to_owned())
        });
        Self { browser: Browser::new(&base), _server: server }
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        let request = self.browser.request(reqwest::Method::GET, path).bearer_auth(token);
        self.browser.send(request).await
    }

    /// An item of the tenant's calendar, on the route that refuses while what is known is old.
    pub(crate) async fn item(&self, item: &str, token: &Value) -> Answer {
        self.get(&format!("/calendar/{item}"), token.as_str().unwrap()).await
    }

    /// What is served on while Rolemint is away.
    pub(crate) async fn opening_hours(&self, token: &Value) -> Answer {
        self.get("/opening-hours", token.as_str().unwrap()).await
    }
}
