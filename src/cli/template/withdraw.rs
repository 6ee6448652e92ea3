//! `rolemint template withdraw`

use crate::cli::ConfigArgument;
use crate::cli::installation::{AuthorArguments, Installation};
use crate::cli::template::refusal::Refusal;
use crate::cli::template::{FormatArgument, Verdict};
use crate::domain::template::version::{TemplateName, TemplateVersion};
use crate::service::templates::{self, Withdrawal};
use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

#[derive(Args, Debug)]
pub(in crate::cli) struct Withdraw {
    /// The tenant's own version
    #[arg(value_name = "ROLE/TENANT")]
    name: TemplateName,
    #[command(flatten)]
    config: ConfigArgument,
    #[command(flatten)]
    author: AuthorArguments,
    /// Give it up although the base grants somebody more
    #[arg(long)]
    confirm_widening: bool,
    #[command(flatten)]
    format: FormatArgument,
}

#[derive(Serialize)]
struct Outcome {
    /// None: it was refused.
    withdrawn: Option<TemplateVersion>,
    refusal: Option<Refusal>,
}

impl Withdraw {
    pub(super) async fn run(&self) -> anyhow::Result<Verdict> {
        let tenant = self.name.tenant.clone();
        let tenant = tenant.context("a tenant's own version is named ROLE/TENANT")?;
        let Installation { database, clock, .. } = Installation::open(&self.config).await?;
        let expected = templates::show(&database, &self.name, None).await?.version;
        let withdrawal = Withdrawal {
            role: self.name.role.clone(),
            tenant,
            expected,
            widening_confirmed: self.confirm_widening,
            author: self.author.author(),
        };
        let outcome = match templates::withdraw(&database, &withdrawal, clock.now()).await {
            Ok(()) => Outcome { withdrawn: Some(self.name.at(expected)), refusal: None },
            Err(not) => Outcome { withdrawn: None, refusal: Some(Refusal::of(not)?) },
        };
        self.format.print(&outcome, |outcome| match (&outcome.withdrawn, &outcome.refusal) {
            (Some(version), _) => format!("{version} is withdrawn: the base counts from now on"),
            (None, refusal) => {
                let why = refusal.as_ref().map(|refusal| refusal.message.as_str());
                format!("nothing was changed: {}", why.unwrap_or_default())
            }
        })?;
        Ok(Verdict::found(outcome.refusal.is_some()))
    }
}
