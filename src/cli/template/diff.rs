//! `rolemint template diff`

use crate::cli::template::files::{self, TemplateFile};
use crate::cli::template::finding::{Finding, lines};
use crate::cli::template::{Beside, FormatArgument, Verdict};
use crate::domain::permission::Vocabulary;
use crate::domain::template::diff::TemplateDiff;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(in crate::cli) struct Diff {
    /// What was
    old: PathBuf,
    /// What is to be
    new: PathBuf,
    #[command(flatten)]
    beside: Beside,
    #[command(flatten)]
    format: FormatArgument,
}

#[derive(Serialize)]
struct Outcome {
    /// Whether anybody might get more than before.
    widens: bool,
    /// None: one of them is no template.
    diff: Option<TemplateDiff>,
    findings: Vec<Finding>,
}

impl Diff {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        let (old, new) = (files::read(&self.old)?, files::read(&self.new)?);
        let vocabulary = files::read_vocabulary(&self.beside, [self.new.as_path()])?;
        let outcome = compare(&old, &new, &self.beside, &vocabulary);
        self.format.print(&outcome, |outcome| match &outcome.diff {
            None => lines(&outcome.findings),
            Some(diff) if diff.is_empty() => "both grant the same".to_owned(),
            Some(diff) => format!("{diff}"),
        })?;
        Ok(Verdict::found(outcome.widens || outcome.diff.is_none()))
    }
}

fn compare(old: &TemplateFile, new: &TemplateFile, beside: &Beside, v: &Vocabulary) -> Outcome {
    // Both stand for one template, whatever the older copy is called.
    let old = TemplateFile { name: new.name.clone(), ..old.clone() };
    match (old.compile(beside, v), new.compile(beside, v)) {
        (Ok(old), Ok(new)) => {
            let diff = TemplateDiff::between(Some(&old), &new, v);
            Outcome { widens: diff.widens(), diff: Some(diff), findings: Vec::new() }
        }
        (was, is) => {
            let failed = [(&old, was.err()), (new, is.err())];
            let findings = failed.into_iter().filter_map(|(file, errors)| Some((file, errors?)));
            let findings = findings.flat_map(|(file, errors)| Finding::errors(file, errors));
            Outcome { widens: false, diff: None, findings: findings.collect() }
        }
    }
}
