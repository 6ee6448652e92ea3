//! `rolemint template recall`

use crate::cli::ConfigArgument;
use crate::cli::installation::{AuthorArguments, Installation};
use crate::cli::template::{FormatArgument, Verdict};
use crate::domain::template::version::TemplateVersion;
use crate::service::templates;
use clap::{Args, ValueEnum};

#[derive(Args, Debug)]
pub(in crate::cli) struct Recall {
    /// The version
    #[arg(value_name = "ROLE@VERSION[/TENANT]")]
    version: TemplateVersion,
    /// What becomes of what it made
    how: How,
    #[command(flatten)]
    config: ConfigArgument,
    #[command(flatten)]
    author: AuthorArguments,
    #[command(flatten)]
    format: FormatArgument,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum How {
    /// Nothing, but that it was decided so is kept
    LetExpire,
    /// Its access tokens are dead now; the next refresh gives others
    RefreshNow,
    /// Its access tokens are dead now, and the sessions that began under it are over
    Revoke,
}

impl From<How> for templates::Recall {
    fn from(how: How) -> Self {
        match how {
            How::LetExpire => Self::LetExpire,
            How::RefreshNow => Self::RefreshNow,
            How::Revoke => Self::Revoke,
        }
    }
}

impl Recall {
    pub(super) async fn run(&self) -> anyhow::Result<Verdict> {
        let Installation { config, database, clock } = Installation::open(&self.config).await?;
        let stale_after = config.revocation.stale_after;
        let (how, author) = (self.how.into(), self.author.author());
        let now = clock.now();
        let recalled =
            templates::recall(&database, &self.version, how, stale_after, &author, now).await?;
        self.format.print(&recalled, |recalled| match recalled.position {
            Some(position) => {
                format!("{} is recalled: revocation {position}", recalled.version)
            }
            None => format!("{} is let expire: nothing is revoked", recalled.version),
        })?;
        Ok(Verdict::Fine)
    }
}
