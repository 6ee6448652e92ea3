//! `rolemint template test`

use crate::cli::template::files::{self, TemplateFile};
use crate::cli::template::finding::{Finding, lines};
use crate::cli::template::{Beside, FormatArgument, Verdict};
use crate::domain::permission::Vocabulary;
use crate::domain::template::{CaseOutcome, HostileReport};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(in crate::cli) struct Test {
    /// Templates, or folders of them
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    beside: Beside,
    #[command(flatten)]
    format: FormatArgument,
}

#[derive(Serialize)]
struct Outcome {
    passed: usize,
    failed: usize,
    templates: Vec<Tested>,
    /// What failed.
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Tested {
    file: String,
    /// The tests that stand in the document.
    tests: Vec<CaseOutcome>,
    /// None: it is no template.
    hostile: Option<HostileReport>,
}

impl Test {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        let templates = files::read_all(&self.paths)?;
        let paths = templates.iter().map(|template| template.path.as_path());
        let vocabulary = files::read_vocabulary(&self.beside, paths)?;
        let mut outcome =
            Outcome { passed: 0, failed: 0, templates: Vec::new(), findings: Vec::new() };
        for file in &templates {
            let (tested, findings) = test(file, &self.beside, &vocabulary);
            if findings.is_empty() {
                outcome.passed += 1;
            } else {
                outcome.failed += 1;
            }
            outcome.templates.push(tested);
            outcome.findings.extend(findings);
        }
        self.format.print(&outcome, |outcome| {
            let Outcome { passed, failed, templates, findings } = outcome;
            let lines = lines(findings);
            let counts: String = templates.iter().filter_map(counts).collect();
            format!("{lines}{counts}templates: {passed} passed, {failed} failed")
        })?;
        Ok(Verdict::found(outcome.failed > 0))
    }
}

fn counts(tested: &Tested) -> Option<String> {
    let Tested { file, tests, hostile } = tested;
    let HostileReport { rendered, refused, .. } = hostile.as_ref()?;
    let tests = tests.len();
    Some(format!(
        "{file}: {tests} tests; hostile values: {rendered} rendered inside the tenant, {refused} refused\n"
    ))
}

fn test(file: &TemplateFile, beside: &Beside, v: &Vocabulary) -> (Tested, Vec<Finding>) {
    let mut tested = Tested { file: file.shown(), tests: Vec::new(), hostile: None };
    let template = match file.compile(beside, v) {
        Ok(template) => template,
        Err(errors) => return (tested, Finding::errors(file, errors)),
    };
    let mut findings = Vec::new();
    tested.tests = template.run_cases(v);
    for case in &tested.tests {
        let failed = |failure: &String| {
            Finding::at(file, &case.at, "test", format!("{}: {failure}", case.name))
        };
        findings.extend(case.failures.iter().map(failed));
    }
    let hostile = template.run_hostile(v, file.crosses_tenants(beside));
    let failed = |failure: &String| {
        Finding::at(file, "$", "hostile", format!("for hostile values: {failure}"))
    };
    findings.extend(hostile.failures.iter().map(failed));
    tested.hostile = Some(hostile);
    (tested, findings)
}
