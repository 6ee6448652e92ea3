//! The installation that a command works on, who works on it, and how what was refused is said.

use crate::app;
use crate::cli::{ConfigArgument, warn};
use crate::clock::Clock;
use crate::config::Config;
use crate::database::Database;
use crate::domain::template::version::TemplateName;
use crate::service::templates::{Author, NotDone};
use clap::Args;
use serde::Serialize;

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
        let name = name.unwrap_or_else(|| "rolemint template".to_owned());
        Author { name, subject: None, reason: self.reason.clone() }
    }
}

/// Why nothing was done, for programs. What has nothing to do with templates is an error of the command.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    /// `refused`, `needs_confirmation`, `conflict`, `unchanged` or `not_there`
    pub(super) code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) template: Option<TemplateName>,
    pub(super) message: String,
}

impl Refusal {
    /// Err: nothing that the caller's templates could be blamed for.
    pub(super) fn of(not: NotDone) -> anyhow::Result<Self> {
        let message = not.to_string();
        let (code, template) = match not {
            NotDone::Refused(review) => ("refused", Some(review.name.clone())),
            NotDone::NeedsConfirmation(review) => ("needs_confirmation", Some(review.name.clone())),
            NotDone::Conflict { name, .. } => ("conflict", Some(name)),
            NotDone::Unchanged(version) => ("unchanged", Some(version.name)),
            NotDone::NotPublished(name) | NotDone::NoDraft(name) => ("not_there", Some(name)),
            NotDone::NoVersion(version) => ("not_there", Some(version.name)),
            not => return Err(not.into()),
        };
        Ok(Self { code, template, message })
    }
}
