//! Builds the parts of a server from its configuration and puts them together.

use crate::clock::Clock;
use crate::config::Config;
use crate::domain::deployment::{Deployment, EntryId, Plan};
use std::net::SocketAddr;
use std::sync::Arc;

/// Routes beside those of the product: the demo's.
pub type ExtraRoutes = Arc<dyn Fn(&mut actix_web::web::ServiceConfig) + Send + Sync>;

pub struct Options {
    pub clock: Clock,
    pub extra_routes: Option<ExtraRoutes>,
}

/// A server that answers.
pub struct Running {
    address: SocketAddr,
}

impl Running {
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resolves when the server has stopped by itself, which is an error.
    #[expect(clippy::unused_async, reason = "what it will be")]
    pub async fn finished(&mut self) -> anyhow::Result<()> {
        anyhow::bail!("there is no server in this build")
    }

    /// Answers what has been asked, takes nothing new, and ends.
    #[expect(clippy::unused_async, reason = "what it will be")]
    pub async fn stop(self) -> anyhow::Result<()> {
        Ok(())
    }
}

#[expect(clippy::unused_async, reason = "what it will be")]
pub async fn start(_config: Config, _options: Options) -> anyhow::Result<Running> {
    anyhow::bail!("there is no server in this build")
}

/// Makes the database hold what is declared, in one transaction; or only says what would change.
pub fn apply(
    _config: &Config,
    _deployment: &Deployment,
    _prune: &[EntryId],
    _dry_run: bool,
) -> anyhow::Result<Plan> {
    anyhow::bail!("there is no database in this build")
}

/// Brings the database's schema up to date.
pub fn migrate(_config: &Config) -> anyhow::Result<()> {
    anyhow::bail!("there is no database in this build")
}
