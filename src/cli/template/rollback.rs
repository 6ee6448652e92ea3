//! `rolemint template rollback`

use crate::cli::ConfigArgument;
use crate::cli::installation::{AuthorArguments, Installation};
use crate::cli::template::refusal::Refusal;
use crate::cli::template::{FormatArgument, Verdict};
use crate::domain::template::diff::TemplateDiff;
use crate::domain::template::version::TemplateVersion;
use crate::service::templates::{self, NotDone};
use clap::Args;
use serde::Serialize;

#[derive(Args, Debug)]
pub(in crate::cli) struct Rollback {
    /// The version whose content is to be published again
    #[arg(value_name = "ROLE@VERSION[/TENANT]")]
    version: TemplateVersion,
    #[command(flatten)]
    config: ConfigArgument,
    #[command(flatten)]
    author: AuthorArguments,
    /// Publish it although it grants somebody more than what is published now
    #[arg(long)]
    confirm_widening: bool,
    /// Refuse unless this is the published version; without it, the one of when the command began
    #[arg(long, value_name = "VERSION")]
    expect: Option<u64>,
    #[command(flatten)]
    format: FormatArgument,
}

#[derive(Serialize)]
struct Outcome {
    /// None: it was refused.
    published: Option<TemplateVersion>,
    diff: Option<TemplateDiff>,
    refusal: Option<Refusal>,
}

impl Rollback {
    pub(super) async fn run(&self) -> anyhow::Result<Verdict> {
        let Installation { database, clock, .. } = Installation::open(&self.config).await?;
        let published = match templates::show(&database, &self.version.name, None).await {
            Ok(published) => Some(published.version),
            Err(NotDone::NotPublished(_)) => None,
            Err(not) => return Err(not.into()),
        };
        let expected = self.expect.or(published);
        let (confirmed, author) = (self.confirm_widening, self.author.author());
        let done = templates::rollback(
            &database,
            &self.version,
            expected,
            confirmed,
            &author,
            clock.now(),
        );
        let outcome = match done.await {
            Ok(done) => {
                let (published, diff) = (Some(done.version), done.review.diff);
                Outcome { published, diff, refusal: None }
            }
            Err(not) => {
                let diff = match &not {
                    NotDone::NeedsConfirmation(review) => review.diff.clone(),
                    _ => None,
                };
                Outcome { published: None, diff, refusal: Some(Refusal::of(not)?) }
            }
        };
        self.format.print(&outcome, |outcome| {
            let diff = outcome.diff.as_ref().map(|diff| format!("{diff}\n")).unwrap_or_default();
            let done = match (&outcome.published, &outcome.refusal) {
                (Some(version), _) => format!("published {version}, as {} was", self.version),
                (None, Some(refusal)) if refusal.code == "needs_confirmation" => {
                    format!("nothing was published: {}: add --confirm-widening", refusal.message)
                }
                (None, refusal) => {
                    let why = refusal.as_ref().map(|refusal| refusal.message.as_str());
                    format!("nothing was published: {}", why.unwrap_or_default())
                }
            };
            diff + &done
        })?;
        Ok(Verdict::found(outcome.refusal.is_some()))
    }
}
