//! `rolemint template history`

use crate::cli::ConfigArgument;
use crate::cli::installation::Installation;
use crate::cli::template::{FormatArgument, Verdict};
use crate::domain::template::version::TemplateName;
use crate::service::templates::{self, HistoryEntry};
use clap::Args;
use std::fmt::Write as _;

#[derive(Args, Debug)]
pub(in crate::cli) struct History {
    /// The template
    #[arg(value_name = "ROLE[/TENANT]")]
    name: TemplateName,
    #[command(flatten)]
    config: ConfigArgument,
    /// The newest versions, so many
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Versions before this one
    #[arg(long, value_name = "VERSION")]
    before: Option<u64>,
    #[command(flatten)]
    format: FormatArgument,
}

impl History {
    pub(super) async fn run(&self) -> anyhow::Result<Verdict> {
        let Installation { database, .. } = Installation::open(&self.config).await?;
        let entries = templates::history(&database, &self.name, self.before, self.limit).await?;
        self.format.print(&entries, |entries| entries.iter().map(text).collect())?;
        Ok(Verdict::Fine)
    }
}

fn text(entry: &HistoryEntry) -> String {
    let HistoryEntry { version: summary, diff } = entry;
    let at = summary.published_at.format("%Y-%m-%d %H:%M:%S UTC");
    let mut out =
        format!("{} {at} {}: {}\n", summary.version, summary.published_by, summary.reason);
    let superseded = summary.superseded_at.map(|at| at.format("%Y-%m-%d %H:%M:%S UTC"));
    if let Some(at) = superseded {
        let _ = writeln!(out, "    superseded {at}");
    }
    let diff = diff.as_ref().map_or_else(
        || "does not fit today's vocabulary, so it cannot be compared".to_owned(),
        ToString::to_string,
    );
    for line in diff.lines() {
        let _ = writeln!(out, "    {line}");
    }
    out
}
