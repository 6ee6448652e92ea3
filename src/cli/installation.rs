//! The installation that a command works on, and who works on it.

use crate::app;
use crate::cli::{ConfigArgument, warn};
use crate::clock::Clock;
use crate::config::Config;
use crate::database::Database;
use crate::service::templates::Author;
use clap::Args;

/// The database and the clock; a server that runs on it hears of what is done within a second.
pub(super) struct Installation {
    pub(super) config: Config,
    pub(super) database: Database,
    pub(super) clock: Clock,
}

impl Installation {
    pub(super) async fn open(config: &ConfigArgument) -> anyhow::Result<Self> {
        let config = config.load()?;
        warn(&config);
        let database = app::open_migrated(&config).await?;
        Ok(Self { config, database, clock: Clock::System })
    }
}

/// What history shows of whoever does something.
#[derive(Args, Clone, Debug)]
pub(super) struct AuthorArguments {
    /// Why: history shows it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who: history shows it; without it, the variable USER
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl AuthorArguments {
    pub(super) fn author(&self) -> Author {
        let user = || std::env::var("USER").ok().filter(|user| !user.is_empty());
        let name = self.by.clone().or_else(user);
        let name = name.unwrap_or_else(|| "rolemint".to_owned());
        Author { name, subject: None, reason: self.reason.clone() }
    }
}
