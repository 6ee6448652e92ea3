//! `rolemint apply`

use crate::app;
use crate::cli::{ConfigArgument, print, read_deployment, warn};
use crate::clock::Clock;
use crate::domain::deployment::{EntryId, Plan};
use anyhow::bail;
use clap::Args;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(super) struct Apply {
    /// The deployment file
    file: PathBuf,
    #[command(flatten)]
    config: ConfigArgument,
    /// Delete this entry, which the file does not declare: tenant:acme, provider:corp, client:web, role:admin
    #[arg(long, value_name = "KIND:ID")]
    prune: Vec<EntryId>,
    /// Delete without asking
    #[arg(long)]
    yes: bool,
    /// Print what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Apply {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        // Both are read before either is refused.
        let config = self.config.load();
        let deployment = read_deployment(&self.file);
        let (config, deployment) = match (config, deployment) {
            (Ok(config), Ok(deployment)) => (config, deployment),
            (Err(config), Err(deployment)) => bail!("{config}\n{deployment}"),
            (Err(config), Ok(_)) => return Err(config),
            (Ok(_), Err(deployment)) => return Err(deployment.into()),
        };
        warn(&config);
        let clock = Clock::System;
        if !self.prune.is_empty() && !self.yes && !self.dry_run {
            confirm(&app::apply(&config, &clock, &deployment, &self.prune, true).await?)?;
        }
        let plan = app::apply(&config, &clock, &deployment, &self.prune, self.dry_run).await?;
        print(&plan)?;
        if self.dry_run && !plan.is_empty() {
            print("nothing was changed: this was --dry-run")?;
        }
        Ok(())
    }
}

/// Asks whether a plan that deletes may be carried out.
fn confirm(plan: &Plan) -> anyhow::Result<()> {
    if !plan.deletes() {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        bail!("{plan}\nthis deletes, and there is nobody to ask: add --yes");
    }
    let mut out = io::stderr();
    write!(out, "{plan}\nDelete, and end the tokens and sessions named above? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { bail!("nothing was changed") }
}
