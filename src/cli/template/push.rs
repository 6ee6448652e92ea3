//! `rolemint template push`

use crate::cli::ConfigArgument;
use crate::cli::installation::{AuthorArguments, Installation};
use crate::cli::template::files::{self, TemplateFile};
use crate::cli::template::finding::{Finding, lines, unproved_code};
use crate::cli::template::refusal::Refusal;
use crate::cli::template::{FormatArgument, Verdict};
use crate::domain::template::TemplateErrors;
use crate::domain::template::diff::TemplateDiff;
use crate::domain::template::proof::Unproved;
use crate::domain::template::review::Review;
use crate::domain::template::version::{TemplateName, TemplateVersion};
use crate::service::templates::{self, Content, NotDone, Publication};
use anyhow::bail;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(in crate::cli) struct Push {
    /// Templates, or folders of them
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArgument,
    #[command(flatten)]
    author: AuthorArguments,
    /// Publish what grants somebody more than before, too
    #[arg(long)]
    confirm_widening: bool,
    /// Refuse unless this is the published version; without it, the one of when the command began
    #[arg(long, value_name = "ROLE@VERSION[/TENANT]")]
    expect: Vec<TemplateVersion>,
    /// Say what would be published, and publish nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: FormatArgument,
}

#[derive(Default, Serialize)]
struct Outcome {
    dry_run: bool,
    /// What differs from what is published.
    changes: Vec<Change>,
    unchanged: Vec<TemplateVersion>,
    /// What is wrong with the files. Nothing is published then.
    findings: Vec<Finding>,
    /// Why nothing was published although nothing is wrong with the files.
    refusal: Option<Refusal>,
}

#[derive(Serialize)]
struct Change {
    template: TemplateName,
    file: String,
    /// In place of this.
    before: Option<TemplateVersion>,
    /// None: it was not published.
    published: Option<TemplateVersion>,
    widens: bool,
    diff: Option<TemplateDiff>,
    /// Tenants' own versions that differ from what is a new base.
    differing: Vec<TemplateVersion>,
}

impl Push {
    pub(super) async fn run(&self) -> anyhow::Result<Verdict> {
        let read = files::read_all(&self.paths)?;
        check_names(&read)?;
        let installation = Installation::open(&self.config).await?;
        let mut outcome = Outcome { dry_run: self.dry_run, ..Outcome::default() };
        let (mut files, mut publications) = (Vec::new(), Vec::new());
        for file in read {
            let expected = match self.find_published(&installation, &file.name).await? {
                Some((version, source)) if source == file.source => {
                    outcome.unchanged.push(file.name.at(version));
                    continue;
                }
                published => published.map(|(version, _)| version),
            };
            publications.push(self.publication(&file, expected));
            files.push(file);
        }
        self.publish(&installation, &files, &publications, &mut outcome).await?;
        self.format.print(&outcome, text)?;
        Ok(Verdict::found(!outcome.findings.is_empty() || outcome.refusal.is_some()))
    }

    fn publication(&self, file: &TemplateFile, expected: Option<u64>) -> Publication {
        let told = self.expect.iter().find(|version| version.name == file.name);
        Publication {
            name: file.name.clone(),
            content: Content::Source(file.source.clone()),
            expected: told.map(|version| version.version).or(expected),
            widening_confirmed: self.confirm_widening,
            author: self.author.author(),
        }
    }

    async fn find_published(
        &self,
        installation: &Installation,
        name: &TemplateName,
    ) -> anyhow::Result<Option<(u64, String)>> {
        match templates::show(&installation.database, name, None).await {
            Ok(found) => Ok(Some((found.version, found.source))),
            Err(NotDone::NotPublished(_)) => Ok(None),
            Err(not) => Err(not.into()),
        }
    }

    async fn publish(
        &self,
        installation: &Installation,
        files: &[TemplateFile],
        publications: &[Publication],
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        let Installation { database, clock, .. } = installation;
        let proposed: Vec<_> =
            files.iter().map(|file| (file.name.clone(), file.source.clone())).collect();
        let reviews = templates::review_all(database, &proposed).await?;
        for ((file, publication), review) in files.iter().zip(publications).zip(reviews) {
            outcome.findings.extend(findings(file, &review, files));
            outcome.changes.push(Change {
                template: file.name.clone(),
                file: file.shown(),
                before: publication.expected.map(|version| file.name.at(version)),
                published: None,
                widens: review.widens,
                diff: review.diff,
                differing: Vec::new(),
            });
        }
        if self.dry_run || publications.is_empty() || !outcome.findings.is_empty() {
            return Ok(());
        }
        match templates::publish_all(database, publications, clock.now()).await {
            Err(not) => outcome.refusal = Some(Refusal::of(not)?),
            Ok(published) => {
                for (change, published) in outcome.changes.iter_mut().zip(published) {
                    change.published = Some(published.version);
                    let differing = published.differing.into_iter();
                    change.differing = differing.map(|one| one.version).collect();
                }
            }
        }
        Ok(())
    }
}

fn check_names(files: &[TemplateFile]) -> anyhow::Result<()> {
    let mut seen: BTreeMap<&TemplateName, &TemplateFile> = BTreeMap::new();
    for file in files {
        if let Some(other) = seen.insert(&file.name, file) {
            bail!("{} and {} are both the template {}", other.shown(), file.shown(), file.name);
        }
    }
    Ok(())
}

fn findings(file: &TemplateFile, review: &Review, files: &[TemplateFile]) -> Vec<Finding> {
    let mut found = Finding::errors(file, TemplateErrors(review.errors.clone()));
    for case in &review.cases {
        let failed = |failure: &String| {
            Finding::at(file, &case.at, "test", format!("{}: {failure}", case.name))
        };
        found.extend(case.failures.iter().map(failed));
    }
    let hostile = review.hostile.failures.iter();
    found.extend(hostile.map(|failure| {
        Finding::at(file, "$", "hostile", format!("for hostile values: {failure}"))
    }));
    let excess = review.excess.iter();
    found.extend(excess.map(|one| Finding::at(file, &one.at, "ceiling", one.message.clone())));
    found.extend(review.unproved.iter().filter_map(|unproved| meeting(file, unproved, files)));
    found
}

/// Where the boundary is not proved: once, although each that has a part in it is refused for it.
fn meeting(file: &TemplateFile, unproved: &Unproved, files: &[TemplateFile]) -> Option<Finding> {
    let sides = unproved.sides();
    let side_of = |file: &TemplateFile| {
        let name = file.name.to_string();
        sides.iter().find(|side| side.template == name)
    };
    let first = files.iter().find(|file| side_of(file).is_some());
    if first.is_some_and(|first| first.name != file.name) {
        return None;
    }
    let at = side_of(file).map_or("$", |side| &side.at);
    Some(Finding::at(file, at, unproved_code(unproved), unproved.to_string()))
}

fn text(outcome: &Outcome) -> String {
    let mut out = lines(&outcome.findings);
    for change in &outcome.changes {
        let before = change.before.as_ref().map_or("nothing".to_owned(), ToString::to_string);
        let after = match &change.published {
            Some(version) => format!("published {version}"),
            None => format!("not published: {}", change.template),
        };
        let widens = if change.widens { ", grants more" } else { "" };
        let _ = writeln!(out, "{after} in place of {before}{widens} ({})", change.file);
        let diff = change.diff.as_ref().map(ToString::to_string).unwrap_or_default();
        for line in diff.lines() {
            let _ = writeln!(out, "    {line}");
        }
        for version in &change.differing {
            let _ = writeln!(out, "    {version} differs from it");
        }
    }
    for version in &outcome.unchanged {
        let _ = writeln!(out, "unchanged: {version}");
    }
    if let Some(refusal) = &outcome.refusal {
        let _ = writeln!(out, "nothing was published: {}", refusal.message);
        if refusal.code == "needs_confirmation" {
            let _ = writeln!(out, "look at what it grants more above, then add --confirm-widening");
        }
    } else if !outcome.findings.is_empty() {
        out.push_str("nothing was published\n");
    } else if outcome.dry_run {
        out.push_str("nothing was published: this was --dry-run\n");
    }
    out
}
