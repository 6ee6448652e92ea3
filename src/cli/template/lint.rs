//! `rolemint template lint`

use crate::cli::template::files::{self, TemplateFile};
use crate::cli::template::finding::{Finding, Severity, lines, unproved_code};
use crate::cli::template::{Beside, FormatArgument, Verdict};
use crate::domain::permission::Vocabulary;
use crate::domain::template;
use crate::domain::template::RoleTemplate;
use crate::domain::template::proof::{Proof, Side, Subjected, prove};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(in crate::cli) struct Lint {
    /// Templates, or folders of them
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    beside: Beside,
    /// End with 1 for warnings, too
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    format: FormatArgument,
}

#[derive(Serialize)]
struct Outcome {
    templates: usize,
    errors: usize,
    warnings: usize,
    findings: Vec<Finding>,
    /// None: there are errors, so that nothing is proved.
    proof: Option<Proof>,
}

impl Lint {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        let templates = files::read_all(&self.paths)?;
        let paths = templates.iter().map(|template| template.path.as_path());
        let vocabulary = files::read_vocabulary(&self.beside, paths)?;
        let outcome = check(&templates, &self.beside, &vocabulary);
        self.format.print(&outcome, |outcome| {
            let Outcome { templates, errors, warnings, findings, proof } = outcome;
            let proof = proof.map_or_else(String::new, |Proof { forms, pairs, .. }| {
                format!("; proved: no two tenants meet ({forms} forms, {pairs} pairs)")
            });
            let findings = lines(findings);
            format!("{findings}{templates} templates: {errors} errors, {warnings} warnings{proof}")
        })?;
        Ok(Verdict::found(outcome.errors > 0 || (self.strict && outcome.warnings > 0)))
    }
}

/// Each by itself, and, if all are right, all with each other.
fn check(templates: &[TemplateFile], beside: &Beside, v: &Vocabulary) -> Outcome {
    let mut findings = Vec::new();
    let mut compiled = Vec::new();
    for file in templates {
        match file.compile(beside, v) {
            Err(errors) => findings.extend(Finding::errors(file, errors)),
            Ok(template) => {
                let found = template::lint(&template, v).into_iter();
                findings.extend(found.map(|found| Finding::warning(file, found)));
                compiled.push((file, template));
            }
        }
    }
    let mut proof = None;
    if compiled.len() == templates.len() {
        match prove_all(&compiled, beside, v) {
            Ok(proved) => proof = Some(proved),
            Err(finding) => findings.push(finding),
        }
    }
    let errors = findings.iter().filter(|found| found.severity == Severity::Error).count();
    let warnings = findings.len().saturating_sub(errors);
    Outcome { templates: templates.len(), errors, warnings, findings, proof }
}

fn prove_all(
    compiled: &[(&TemplateFile, RoleTemplate)],
    beside: &Beside,
    v: &Vocabulary,
) -> Result<Proof, Finding> {
    // Called by their files, so that whoever reads of a meeting finds both.
    let apart = compiled.iter().filter(|(file, _)| !file.crosses_tenants(beside));
    let apart: Vec<_> = apart.map(|(file, template)| (file.shown(), file, template)).collect();
    let subjected: Vec<Subjected<'_>> = apart
        .iter()
        .map(|(name, file, template)| Subjected {
            name,
            tenant: file.name.tenant.as_ref(),
            template,
        })
        .collect();
    prove(&subjected, v).map_err(|unproved| {
        let message = unproved.to_string();
        let (code, side) = (unproved_code(&unproved), unproved.sides().first());
        let at = |side: &Side| {
            let file = apart.iter().find(|(name, ..)| *name == side.template);
            file.map(|(_, file, _)| Finding::at(file, &side.at, code, message.clone()))
        };
        side.and_then(at).unwrap_or_else(|| Finding {
            file: apart.first().map(|(name, ..)| name.clone()).unwrap_or_default(),
            line: 1,
            column: 1,
            path: "$".to_owned(),
            severity: Severity::Error,
            code,
            message,
        })
    })
}
